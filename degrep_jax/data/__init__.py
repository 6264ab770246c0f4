"""Pairs of a blurry and a sharp picture: where they come from and how batches are made of them.

pairs.py reads folders; synthetic.py blurs embedded photographs by a motion (motion.py) seen during
an exposure (exposure.py). Released datasets are found (layouts.py) and checked (released.py) in
folders and archives (trees.py), written by preparation.py through the TFDS builders in builders/
and read back by prepared.py, sub-pictures by png.py. source.py chooses among all these;
preprocess.py augments and converts; pipeline.py feeds training. restored.py finds what any program
made of a source's blurry pictures.
"""
