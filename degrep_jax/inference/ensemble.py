"""Self-ensemble: the mean of what a network makes of a picture's mirror images and turns; and how
much of it a result takes.

Source: Timofte et al., CVPR 2016, "Seven ways to improve example-based single image super
resolution", section 3.5; the field calls it x8 or "+".
"""

import collections
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from degrep_jax.common.pixels import finished, in_floats

SIZES = (1, 2, 4, 8)
_ROWS = 256  # finished at a time, to need no second picture of floats


def seen(picture: np.ndarray, number: int) -> np.ndarray:
  """One of the eight ways to look at a picture `(H, W, C)`.

  The first n of them are the views of an ensemble of n. Rows and columns are exchanged first: what
  a network makes of such views differs most, and the mean of what differs gains most.

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


def means(
  pictures: Iterable[np.ndarray],
  restore: Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]],
  size: int,
  strength: float,
) -> Iterator[np.ndarray]:
  """Yields of each picture the mean of what becomes of `size` views, blended with the picture,
  `finished`. Takes 24 bytes a pixel besides.

  Args:
    pictures: `(H, W, C)` each.
    restore: a stream of views to what becomes of them, float32, one by one and in order.
    size: of `SIZES`.
    strength: of the mean in the result, 0 the picture itself, 1 the mean.
  """
  waiting: collections.deque[np.ndarray] = collections.deque()

  def views() -> Iterator[np.ndarray]:
    for picture in pictures:
      waiting.append(picture)
      yield from (seen(picture, number) for number in range(size))

  results = restore(views())
  for total in results:
    for number in range(1, size):
      total += turned_back(next(results), number)
    picture = waiting.popleft()
    result = np.empty_like(picture)
    for top in range(0, len(picture), _ROWS):
      rows = np.s_[top : top + _ROWS]
      before, mean = in_floats(picture[rows]), total[rows] / np.float32(size)
      result[rows] = finished(before + np.float32(strength) * (mean - before), picture.dtype)
    yield result


def share_of_all(
  progress: Callable[[float], None] | None, size: int
) -> Callable[[float], None] | None:
  """Tells of a picture what it is told of one of its views after the other."""
  if progress is None:
    return None
  done = 0

  def told(share: float) -> None:
    nonlocal done
    progress((done + share) / size)
    done = (done + (share == 1)) % size

  return told
