"""A picture at several sizes: how many pixels wide a blur is depends on the size of its picture,
and a network removes best those as wide as it was trained on.

Ours, not the paper's. The changes that a network makes at the different sizes are averaged, each
with the square of its energy as weight: where the network finds nothing that it knows, it changes
little. What this gains: docs/models.md, "At several sizes".
"""

import cv2
import numpy as np

_OCTAVE = 2  # sizes between a side and twice as much
_FURTHEST = 4  # times as large or as small as the picture


def factors(size: tuple[int, int], most: int, least: int) -> list[float]:
  """The sizes at which a picture is seen, as factors of its sides: powers of the root of 2, rising.

  Args:
    size: height and width of the picture, px.
    most: pixels of the largest; 0 for the picture as it is alone.
    least: px of the shorter side of the smallest.

  Returns:
    1.0, whatever the bounds, and what they allow from 1/4 to 4.
  """
  steps = range(-_OCTAVE * 2, _OCTAVE * 2 + 1)
  found = [float(_FURTHEST ** (step / (2 * _OCTAVE))) for step in steps] if most else [1.0]
  height, width = size
  return [
    factor
    for factor in found
    if factor == 1
    or (factor > 1 and factor**2 * height * width <= most)
    or (factor < 1 and factor * min(size) >= least)
  ]


def resized(picture: np.ndarray, factor: float) -> np.ndarray:
  """A picture float32 `(H, W, C)` in [0, 1] with sides `factor` times as long, rounded to pixels,
  and in [0, 1] again: by areas where it becomes smaller, else bicubic."""
  height, width = (max(1, round(factor * side)) for side in picture.shape[:2])
  return np.clip(_resized(picture, (height, width)), 0, 1)


def resized_back(change: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """What became of a `resized` picture, float32 `(h, w, C)` of any range, in the size `(H, W)` that
  the picture had."""
  return _resized(change, size)


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  smaller = size[0] * size[1] < values.shape[0] * values.shape[1]
  by = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
  return cv2.resize(values, size[::-1], interpolation=by)


def energy(change: np.ndarray) -> float:
  """Mean square of `(H, W, C)`, without a copy of the whole."""
  return sum(float(np.square(row, dtype=np.float64).sum()) for row in change) / change.size
