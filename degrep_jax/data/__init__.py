"""Pairs of a blurry and a sharp picture: where they come from and how batches are made of them.

pairs.py reads folders; synthetic.py blurs embedded photographs by a motion (motion.py) seen during
an exposure (exposure.py); preprocess.py augments and converts; pipeline.py feeds training.
"""
