"""Pairs made by blurring sharp photographs (pairs.py): a motion (motion.py) seen during an exposure
(exposure.py)."""
