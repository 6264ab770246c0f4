"""Several looks at a picture, mirrored and turned (self-ensemble) and at several sizes; the change
that they have in common, and how much of it a result takes.

Source of the self-ensemble: Timofte et al., CVPR 2016, "Seven ways to improve example-based single
image super resolution", section 3.5; the field calls it x8 or "+".
"""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np

from degrep_jax.common.pixels import finished, in_floats
from degrep_jax.inference import scales

SIZES = (1, 2, 4, 8)
_ROWS = 256  # at a time, to need no further picture of floats
_SQUARE = 16  # px

Progress = Callable[[float], None]


def seen(picture: np.ndarray, number: int) -> np.ndarray:
  """One of the eight ways to look at a picture `(H, W, C)`.

  The first n of them are the views of an ensemble of n.

  Args:
    number: 0 the picture; 1 with rows and columns exchanged, `(W, H, C)`; 2 mirrored top to bottom;
      3 exchanged, then mirrored so; 4 to 7 the same, mirrored left to right as well.
  """
  if number & 1:
    picture = picture.transpose(1, 0, 2)
  return np.ascontiguousarray(_mirrored(picture, number))


def turned_back(picture: np.ndarray, number: int) -> np.ndarray:
  """What `seen` was given, of what it gave."""
  picture = _mirrored(picture, number)
  return picture.transpose(1, 0, 2) if number & 1 else picture


def _mirrored(picture: np.ndarray, number: int) -> np.ndarray:
  return picture[:: -1 if number & 2 else 1, :: -1 if number & 4 else 1]


def together(
  pictures: Iterable[np.ndarray],
  restore: Callable[[Iterator[np.ndarray], Progress], Iterator[np.ndarray]],
  *,
  size: int,
  strength: float,
  factors: Callable[[tuple[int, int]], list[float]],
  progress: Progress | None = None,
) -> Iterator[np.ndarray]:
  """Yields every picture changed by what several looks at it have in common, `finished`.

  At each of its sizes it is seen in `size` views, whose mean less the picture is the change; that
  of the sizes together is the mean, weighted by the squares of their energies. What is of one
  colour stays: see `structure`. Holds some 32 bytes a pixel of the picture besides what restoring
  takes.

  Args:
    pictures: `(H, W, C)` each, uint8, uint16 or floats in [0, 1].
    restore: a stream of looks, and what to tell of the progress with each, to what becomes of them,
      float32 in the size of the look, one by one and in order.
    size: views at each of the sizes, of `SIZES`.
    strength: of the change in the result, 0 none, 1 all.
    factors: (height, width) of a picture to its sizes, as `scales.factors`.
    progress: told of the share of a picture that is done, of one after the other.
  """
  waiting: collections.deque[tuple[np.ndarray, list[float]]] = collections.deque()
  shares: collections.deque[tuple[float, float]] = collections.deque()  # from, to, of each look

  def looks() -> Iterator[np.ndarray]:
    for picture in pictures:
      found = factors(picture.shape[:2])
      # A copy: who gave the picture may write into it while it waits.
      waiting.append((picture.copy(), found))
      shares.extend(_shares(found, size))
      for factor in found:
        look = picture if factor == 1 else scales.resized(in_floats(picture), factor)
        yield from (seen(look, number) for number in range(size))

  def told(share: float) -> None:
    first, last = shares[0]
    if progress:
      progress(last if share == 1 else first + share * (last - first))
    if share == 1:
      shares.popleft()

  results = restore(looks(), told)
  for first in results:
    picture, found = waiting.popleft()
    rest = itertools.chain([first], results)
    there = structure(picture)[..., None]
    change, weights = _change(picture, found[0], _mean(rest, size)), 0.0
    change *= there
    if found[1:]:
      weights = scales.energy(change) ** 2
    for factor in found[1:]:
      one = _change(picture, factor, _mean(rest, size))
      one *= there
      weight = scales.energy(one) ** 2
      weights += weight
      if weight:  # the mean of what there is so far moves towards it
        one -= change
        one *= np.float32(weight / weights)
        change += one
    yield _changed(picture, change, strength)


def structure(picture: np.ndarray) -> np.ndarray:
  """Where a picture `(H, W, C)` has anything to restore, float32 `(H, W)`.

  0 where all within some 40 px is of one colour, 1 where it differs by two levels of 255 or more,
  between these in proportion. What is of one colour was so before any blur; yet networks may change
  it in the mode 'full', whose norms find no variance there.
  """
  height, width = picture.shape[:2]
  fill = ((0, -height % _SQUARE), (0, -width % _SQUARE), (0, 0))
  squares = np.pad(picture, fill, 'edge').reshape(
    (height + fill[0][1]) // _SQUARE, _SQUARE, (width + fill[1][1]) // _SQUARE, _SQUARE, -1
  )
  near = np.ones((5, 5), np.uint8)  # squares
  most = cv2.dilate(in_floats(squares.max((1, 3))), near)
  least = cv2.erode(in_floats(squares.min((1, 3))), near)
  found = np.clip((most - least).max(-1) * np.float32(255 / 2), 0, 1)
  whole = cv2.resize(found, (squares.shape[2] * _SQUARE, squares.shape[0] * _SQUARE))
  return whole[:height, :width]


def _shares(factors: list[float], size: int) -> list[tuple[float, float]]:
  """From which share of the work to which the looks at a picture go; they cost what pixels do."""
  ends = np.cumsum(np.repeat(np.square(factors), size))
  return list(itertools.pairwise([0.0, *(ends / ends[-1]).tolist()]))


def _mean(results: Iterator[np.ndarray], size: int) -> np.ndarray:
  total = next(results)
  for number in range(1, size):
    total += turned_back(next(results), number)
  total /= np.float32(size)
  return total


def _change(picture: np.ndarray, factor: float, result: np.ndarray) -> np.ndarray:
  """What became of a look at the picture less the look, in the size of the picture."""
  if factor != 1:
    result -= scales.resized(in_floats(picture), factor)
    return scales.resized_back(result, picture.shape[:2])
  for top in range(0, len(picture), _ROWS):
    rows = np.s_[top : top + _ROWS]
    result[rows] -= in_floats(picture[rows])
  return result


def _changed(picture: np.ndarray, change: np.ndarray, strength: float) -> np.ndarray:
  result = np.empty_like(picture)
  for top in range(0, len(picture), _ROWS):
    rows = np.s_[top : top + _ROWS]
    after = in_floats(picture[rows]) + np.float32(strength) * change[rows]
    result[rows] = finished(after, picture.dtype)
  return result
