"""Blur as numbers that can be averaged and learned: how far, and along which line, a place moved.

A field has a point every `STEP` pixels of a picture, (h, w, 4) float32: the strength s, then
s cos 2a and s sin 2a of the direction a, which has no head and no tail, and 1 where all that is
known, 0 where nothing is. Ours.
"""

import numpy as np

STEP = 4  # px between points
CHANNELS = 3  # of what is known of a point


def of_paths(extent: np.ndarray, direction: np.ndarray) -> np.ndarray:
  """From path lengths in pixels and directions in radians, as `BlurExample` has them, (h, w, 4).

  The strength is half the root of the length: 0.5 for one pixel, 4 for 64. So a pixel more counts
  for more where there are few, and what is learned stays of the order of 1.
  """
  strength = np.sqrt(extent) / 2
  turns = strength * np.cos(2 * direction), strength * np.sin(2 * direction)
  return np.stack([strength, *turns, np.ones_like(strength)], -1).astype(np.float32)


def points(start: int, stop: int) -> np.ndarray:
  """Places in `start` .. `stop` along one axis at which a field is known, in the middle of each
  `STEP` pixels."""
  firsts = np.arange(start, stop - STEP + 1, STEP)
  return firsts.astype(np.float32) + np.float32((STEP - 1) / 2)


def still(size: int) -> np.ndarray:
  """The field of a square picture that did not move."""
  side = len(points(0, size))
  return of_paths(*np.zeros((2, side, side)))


def unknown(size: int) -> np.ndarray:
  """The field of a square picture of which nothing is known."""
  return np.zeros((len(points(0, size)),) * 2 + (CHANNELS + 1,), np.float32)
