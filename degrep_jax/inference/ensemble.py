"""Self-ensemble: the mean of what a network makes of a picture's mirror images and turns.

Source: Timofte et al., CVPR 2016, "Seven ways to improve example-based single image super
resolution", section 3.5; the field calls it x8 or "+".
"""

import collections
from collections.abc import Callable, Iterable, Iterator

import numpy as np

SIZES = (1, 2, 4, 8)


def seen(picture: np.ndarray, number: int) -> np.ndarray:
  """One of the eight ways to look at a picture `(H, W, C)`.

  Args:
    number: 0 the picture; 1 mirrored left to right, 2 top to bottom, 3 both; 4 to 7 the same with
      rows and columns exchanged before, `(W, H, C)`.
  """
  if number & 4:
    picture = picture.transpose(1, 0, 2)
  return np.ascontiguousarray(_mirrored(picture, number))


def turned_back(picture: np.ndarray, number: int) -> np.ndarray:
  """What `seen` was given, of what it gave."""
  picture = _mirrored(picture, number)
  return picture.transpose(1, 0, 2) if number & 4 else picture


def _mirrored(picture: np.ndarray, number: int) -> np.ndarray:
  return picture[:: -1 if number & 2 else 1, :: -1 if number & 1 else 1]


def means(
  pictures: Iterable[np.ndarray],
  restore: Callable[[Iterator[np.ndarray]], Iterator[np.ndarray]],
  size: int,
  finish: Callable[[np.ndarray, np.dtype], np.ndarray],
) -> Iterator[np.ndarray]:
  """Yields the mean of what becomes of `size` views of each picture.

  Args:
    pictures: `(H, W, C)` each.
    restore: a stream of views to what becomes of them, float32, one by one and in order.
    size: of `SIZES`.
    finish: what is yielded of a mean, given the dtype of its picture.
  """
  dtypes: collections.deque[np.dtype] = collections.deque()

  def views() -> Iterator[np.ndarray]:
    for picture in pictures:
      dtypes.append(picture.dtype)
      yield from (seen(picture, number) for number in range(size))

  results = restore(views())
  for first in results:
    total = first.copy()
    for number in range(1, size):
      total += turned_back(next(results), number)
    yield finish(total / np.float32(size), dtypes.popleft())


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
