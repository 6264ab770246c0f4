"""Several looks at a picture, mirrored and turned (self-ensemble) and at several sizes; what they
change together, and how much of it a result takes.

Source of the self-ensemble: Timofte et al., CVPR 2016, "Seven ways to improve example-based single
image super resolution", section 3.5; the field calls it x8 or "+".
"""

import collections
import itertools
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from degrep_jax.common.pixels import finished, in_floats
from degrep_jax.inference import scales
from degrep_jax.inference.tiles import Progress

SIZES = (1, 2, 4, 8)
_ROWS = 256  # at a time, to need no further picture of floats


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
  factors: Callable[[tuple[int, int]], list[float]] | None = None,
  progress: Progress | None = None,
) -> Iterator[np.ndarray]:
  """Yields every picture with what several looks change of it, `finished`.

  At each of its sizes it is seen in `size` views, whose mean less the picture is the change. The
  changes at several sizes are averaged, weighted by the squares of their energies; places of one
  colour stay (`scales.structure`).

  Args:
    pictures: `(H, W, C)` each, uint8, uint16 or floats in [0, 1].
    restore: a stream of looks, and what to tell of the progress with each, to what becomes of them,
      float32 in the size of the look, one by one and in order.
    size: views at each of the sizes, of `SIZES`.
    strength: of the change in the result, 0 none, 1 all.
    factors: (height, width) of a picture to its sizes, as `scales.factors`; None: as it is.
    progress: told of the share of a picture that is done, of one after the other.
  """
  waiting: collections.deque[tuple[np.ndarray, list[float]]] = collections.deque()
  shares: collections.deque[tuple[float, float]] = collections.deque()  # from, to, of each look

  def looks() -> Iterator[np.ndarray]:
    for picture in pictures:
      found = factors(picture.shape[:2]) if factors else [1.0]
      # A copy: who gave the picture may write into it while it waits.
      waiting.append((picture.copy(), found))
      shares.extend(_shares(found, size))
      for factor in found:
        look = picture if factor == 1 else scales.resized(picture, factor)
        yield from (seen(look, number) for number in range(size))
        del look  # which would stay in memory until the next is made

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
    del first
    if not factors:
      yield _changed(picture, _change(picture, 1.0, _mean(rest, size)), strength)
      continue
    mask = scales.structure(picture)[..., None]
    change, weights = np.zeros((*picture.shape[:2], 3), np.float32), 0.0
    for factor in found:
      one = _change(picture, factor, _mean(rest, size))
      one *= mask
      weight = scales.energy(one) ** 2
      weights += weight
      if weight:  # the mean of what there is so far moves towards it
        one -= change
        one *= np.float32(weight / weights)
        change += one
      del one
    yield _changed(picture, change, strength)


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
    # The look is made again: kept until its result comes it would cost 12 bytes a pixel.
    result -= scales.resized(picture, factor)
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
