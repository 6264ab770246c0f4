"""Pairs made by blurring sharp photographs: a motion (motion.py) seen during an exposure
(exposure.py).

Of the photographs inside scikit-image (pairs.py) one camera's exposures are drawn; of a folder of
photographs (photographs.py) those of all sorts (shots.py), with what cameras do afterwards
(camera.py).
"""
