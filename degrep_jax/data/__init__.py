"""Pairs of a blurry and a sharp picture: where they come from and how batches are made of them.

source.py chooses: folders and lists of files (pairs.py), released datasets written and read through
TensorFlow Datasets (builders/, from the layouts of released/), or photographs blurred on the fly
(synthetic/). pipeline.py augments them and feeds training.
"""
