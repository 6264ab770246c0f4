"""A picture at several sizes: how many pixels wide a blur is depends on the size of its picture,
and a network removes best those as wide as it was trained on.

Ours, not the paper's. The changes that a network makes at the different sizes are averaged, each
with the square of its energy as weight: where the network finds nothing that it knows, it changes
little. What this gains: docs/models.md, "At several sizes".
"""

import cv2
import numpy as np

from degrep_jax.common.pixels import in_floats

_OCTAVE = 2  # sizes between a side and twice as much
_FURTHEST = 4  # times as large or as small as the picture
_SQUARE, _AROUND = 16, 2  # px, and squares: what is compared for `structure`
_LEVELS = 2  # of 255: what rounding and JPEG leave of one colour stays below


def factors(size: tuple[int, int], most: int, least: int) -> list[float]:
  """The sizes at which a picture is seen, as factors of its sides: powers of the root of 2, rising.

  Args:
    size: height and width of the picture, px.
    most: pixels of the largest.
    least: px of the shorter side of the smallest.

  Returns:
    1.0, whatever the bounds, and what they allow from 1/4 to 4.
  """
  steps = range(-_OCTAVE * 2, _OCTAVE * 2 + 1)
  height, width = size
  return [
    factor
    for factor in (float(_FURTHEST ** (step / (2 * _OCTAVE))) for step in steps)
    if factor == 1
    or (factor > 1 and factor**2 * height * width <= most)
    or (factor < 1 and factor * min(size) >= least)
  ]


def resized(picture: np.ndarray, factor: float) -> np.ndarray:
  """A picture `(H, W, C)`, unsigned integers or floats in [0, 1], as float32 with sides `factor`
  times as long, rounded to pixels, in [0, 1]: by areas where it becomes smaller, else bicubic."""
  height, width = (max(1, round(factor * side)) for side in picture.shape[:2])
  look = _resized(in_floats(picture), (height, width))
  return np.clip(look, 0, 1, out=look)


def resized_back(change: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """What became of a `resized` picture, float32 `(h, w, C)` of any range, in the size `(H, W)` that
  the picture had."""
  return _resized(change, size)


def _resized(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  smaller = size[0] * size[1] < values.shape[0] * values.shape[1]
  by = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
  return cv2.resize(values, size[::-1], interpolation=by)


def energy(change: np.ndarray) -> float:
  """Mean square of `(H, W, C)`, without a copy of the whole: 0 to 1 of a change in [-1, 1]."""
  return sum(float(np.square(row, dtype=np.float64).sum()) for row in change) / change.size


def structure(picture: np.ndarray) -> np.ndarray:
  """Where a picture has anything to restore.

  What is of one colour around is so for every blur of it. Networks may change it nevertheless in
  the mode 'full', whose norms find no variance there, and the more, the more weight it would have.

  Args:
    picture: `(H, W, C)`, unsigned integers or floats in [0, 1].

  Returns:
    float32 `(H, W)`: 0 where all within some 40 px is of one colour, 1 where it differs by two
    levels of 255 or more, between these in proportion.
  """
  height, width = picture.shape[:2]
  fill = ((0, -height % _SQUARE), (0, -width % _SQUARE), (0, 0))
  squares = np.pad(picture, fill, 'edge').reshape(
    (height + fill[0][1]) // _SQUARE, _SQUARE, (width + fill[1][1]) // _SQUARE, _SQUARE, -1
  )
  near = np.ones((2 * _AROUND + 1, 2 * _AROUND + 1), np.uint8)
  highest = cv2.dilate(in_floats(squares.max((1, 3))), near)
  lowest = cv2.erode(in_floats(squares.min((1, 3))), near)
  found = np.clip((highest - lowest).max(-1) * np.float32(255 / _LEVELS), 0, 1)
  whole = cv2.resize(found, (squares.shape[2] * _SQUARE, squares.shape[0] * _SQUARE))
  return whole[:height, :width]
