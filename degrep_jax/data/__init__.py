"""Pairs of a blurry and a sharp picture: where they come from and how batches are made of them.

source.py chooses: folders and lists of files (pairs.py, lists.py), released datasets written and
read through TensorFlow Datasets (builders/, from the layouts of released/), photographs blurred on
the fly (synthetic/), or several of these in shares (mixture.py). pipeline.py augments them and
feeds training.
"""
