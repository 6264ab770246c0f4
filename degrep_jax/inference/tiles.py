"""Whole pictures through a net of one fixed input size: cut into tiles, predict, join.

Every call of the net sees exactly (batch, tile, tile, 3), so that XLA compiles once whatever the
sizes of the pictures, and a batch is filled across the borders of pictures. Besides the pictures
and what becomes of them, memory holds a batch of tiles and a band of rows one tile high.

How tiles lie and what each of them counts for is a `Layout`, the same for rows and columns:
`averaged` (the released protocol) or `feathered` (no seams).
"""

import collections
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from degrep_jax.common.pixels import in_floats

Predict = Callable[..., Any]  # stacks of tiles in, a tree of stacks of tiles out
Finish = Callable[[np.ndarray, np.dtype], np.ndarray]
Progress = Callable[[float], None]  # told the share of a picture that is done, up to 1

FLOAT = np.dtype(np.float32)
# Weights of feathered tiles are multiples of this. The product of two of them is then exact in
# float32, and so is the sum over the four tiles that meet at a corner: it is 1, not nearly 1.
_QUANTUM = 2.0**-11


class Side(NamedTuple):
  """Tiles along one side of a picture.

  Attributes:
    starts: rising first pixels of the tiles.
    weights: float32 (tiles, tile), what each pixel of a tile counts for; those of all tiles at one
      pixel of the picture sum to 1.
  """

  starts: tuple[int, ...]
  weights: np.ndarray


Layout = Callable[[int, int], Side]  # (size of the side, tile)


def averaged(size: int, tile: int) -> Side:
  """As few tiles as cover a side, evenly spread, the last at its end; where they overlap they count
  alike. A side shorter than a tile has the one start 0.

  Source: basicsr/models/image_restoration2_model.py, grids.
  """
  starts = _starts(size, tile)
  count = np.zeros(max(size, tile), np.float32)
  for start in starts:
    count[start : start + tile] += 1
  return Side(tuple(starts), np.stack([1 / count[start : start + tile] for start in starts]))


def feathered(
  size: int, tile: int, blend: int | None = None, context: int = 0, unit: int = 1
) -> Side:
  """Evenly spread tiles that fade into each other by a raised cosine.

  Args:
    size: of the side, px.
    tile: side of the tiles, px.
    blend: px over which one tile gives way to the next; None is a quarter of the tile.
    context: px at an inner border of a tile that count for nothing.
    unit: of which the starts are multiples, a divisor of the tile; the last tile may then reach
      beyond the side by less than one.

  Raises:
    ValueError: 2 context + 3 blend exceed the tile.
  """
  blend = max(1, tile // 4) if blend is None else blend
  if blend > 1 and 2 * context + 3 * blend > tile:
    raise ValueError(f'a pixel would count in three tiles of {tile} px: {blend=}, {context=}')
  step = max(1, (tile - blend - 2 * context) // unit)  # units between two starts at most
  room = -(-(size - tile) // unit)  # units between the first start and the last
  count = 1 + max(0, -(-room // step))
  starts = [unit * round(i * room / (count - 1)) for i in range(count)] if count > 1 else [0]
  weights = np.ones((count, tile), np.float32)
  for i, (start, following) in enumerate(itertools.pairwise(starts)):
    shared = start + tile - following
    length = min(blend, shared)
    first = (shared - length) // 2
    ramp = np.zeros(shared)
    ramp[first : first + length] = (1 - np.cos(np.pi * (np.arange(length) + 0.5) / length)) / 2
    ramp[first + length :] = 1
    ramp = np.rint(ramp / _QUANTUM) * _QUANTUM
    weights[i + 1, :shared] *= ramp
    weights[i, tile - shared :] *= 1 - ramp
  return Side(tuple(starts), weights)


def as_it_is(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """Finished rows stay float32."""
  del dtype
  return rows


def restore_many(
  predict: Predict,
  examples: Iterable[tuple[np.ndarray, ...]],
  *,
  tile: int,
  batch: int,
  layout: Layout = averaged,
  finish: Finish = as_it_is,
  cell: int = 1,
  progress: Progress | None = None,
) -> Iterator[Any]:
  """Restores a stream of pictures with ceil(all their tiles / batch) calls of `predict`.

  Lazy: besides one batch of tiles it holds the example being cut and the one being put together.
  The last batch is filled up by repeating its last tile; what that yields is dropped.

  Args:
    predict: called as predict(*stacks), one stack per picture, each float32 (batch, tile, tile, 3);
      returns an array (batch, tile, tile, C) or a tree (tuple, list, dict) of such arrays.
    examples: iterable of tuples of pictures of one place, (H, W, 3) each and of one shape, H, W >=
      1: blurry, or blurry and sharp; sizes may change from tuple to tuple. Float, or unsigned
      integers, which become floats in [0, 1]. Where they are smaller than a tile they are mirrored
      up to it and the result is cropped.
    tile: side of the square tiles, px.
    batch: tiles in a call.
    layout: of the tiles along either side.
    finish: makes finished float32 rows (h, W, C) what the result holds, given the dtype of the
      example's last picture.
    cell: px of the picture for one pixel of the answers, which are (batch, tile / cell, ...); tiles
      then lie on multiples of it, pictures are mirrored up to one, and the result is
      (ceil(H / cell), ceil(W / cell), C).
    progress: told of every tile, of one picture after the other.

  Yields:
    For every example, in order, float32 (H, W, C), not clipped, or a tree of them in the shape of
    predict's answer, `finish`ed.

  Raises:
    ValueError: the batch is below 1, or, when the example is reached, a picture is not (H, W, 3) or
      of another kind of number, or they differ in shape.
  """
  if batch < 1:
    raise ValueError(f'a batch must hold at least one tile, not {batch}')
  # Of the examples already cut but not yet put together.
  waiting: collections.deque[tuple[Side, Side, tuple[int, int], np.dtype]] = collections.deque()

  def cut() -> Iterator[tuple[np.ndarray, ...]]:
    for pictures in examples:
      _check(pictures)
      height, width = (-(-side // cell) for side in pictures[0].shape[:2])
      rows, columns = (layout(side, tile // cell) for side in (height, width))
      waiting.append((rows, columns, (height, width), pictures[-1].dtype))
      for row, column in itertools.product(rows.starts, columns.starts):
        yield tuple(window(picture, cell * row, cell * column, tile) for picture in pictures)

  restored = predict_each(predict, cut(), batch)
  for first in restored:
    rows, columns, size, dtype = waiting.popleft()
    count = len(rows.starts) * len(columns.starts)
    tiles = itertools.chain([first], itertools.islice(restored, count - 1))
    yield joined(tiles, rows, columns, size, finish, dtype, progress)


def window(
  picture: np.ndarray, top: int, left: int, side: int, padding: str = 'symmetric'
) -> np.ndarray:
  """A square part of a picture (H, W, 3) as float32, unsigned integers scaled to [0, 1].

  Args:
    picture: as in `restore_many`.
    top, left: first row and column, within the picture.
    side: of the part, px. What the picture lacks below and to the right is mirrored.
    padding: how, a mode of `numpy.pad`: 'symmetric' repeats the border, 'reflect' does not.
  """
  part = in_floats(picture[top : top + side, left : left + side])
  missing = side - part.shape[0], side - part.shape[1]
  return np.pad(part, ((0, missing[0]), (0, missing[1]), (0, 0)), mode=padding)  # type: ignore


def _starts(size, tile):
  """Rising starts of the tiles along one side of `size` px."""
  count = max(1, -(-size // tile))  # rounds up
  step = -((tile - size) // (count - 1)) if count > 1 else 0
  return [max(0, min(i * step, size - tile)) for i in range(count)]


def predict_each(
  predict: Predict, tiles: Iterator[tuple[np.ndarray, ...]], batch: int
) -> Iterator[Any]:
  """Yields predict's answer for every tuple of tiles, asking in batches of exactly `batch`."""
  while group := list(itertools.islice(tiles, batch)):
    full = group + group[-1:] * (batch - len(group))
    answer = jax.device_get(predict(*(np.stack(stack) for stack in zip(*full, strict=True))))
    for i in range(len(group)):
      yield jax.tree.map(operator.itemgetter(i), answer)


def joined(
  tiles: Iterator[Any],
  rows: Side,
  columns: Side,
  size: tuple[int, int],
  finish: Finish = as_it_is,
  dtype: np.dtype = FLOAT,
  progress: Progress | None = None,
) -> Any:
  """Whole results put together from those of tiles, which come row by row.

  A pixel gets its share of every tile in the order of the tiles. Rows that no later tile reaches
  are finished and leave the float32 band.

  Args:
    tiles: trees of float32 (tile, tile, C), one for every start of `rows` and `columns`.
    rows, columns: how they lie, the first for the height.
    size: height and width of the result; what tiles hold beyond it is dropped.
    finish, dtype, progress: as in `restore_many`.
  """
  joiners: list[_Joiner] = []
  structure = None
  for row, column in itertools.product(range(len(rows.starts)), range(len(columns.starts))):
    leaves, structure = jax.tree.flatten(next(tiles))
    joiners = joiners or [_Joiner(x, rows, columns, size, finish, dtype) for x in leaves]
    for joiner, leaf in zip(joiners, leaves, strict=True):
      joiner.add(leaf, row, column)
    if progress:
      done = row * len(columns.starts) + column + 1
      progress(done / (len(rows.starts) * len(columns.starts)))
  return jax.tree.unflatten(structure, [joiner.whole for joiner in joiners])


class _Joiner:
  """One whole result (H, W, C) and the band of rows that is being added up."""

  def __init__(self, first, rows, columns, size, finish, dtype):
    self._rows, self._columns, self._size = rows, columns, size
    self._finish, self._dtype = finish, dtype
    side, channels = first.shape[-2:]
    self._band = np.zeros((side, columns.starts[-1] + side, channels), np.float32)
    self.whole = np.empty((*size, channels), finish(self._band[:0], dtype).dtype)

  def add(self, tile, row, column):
    weight = self._rows.weights[row, :, None, None] * self._columns.weights[column, None, :, None]
    start = self._columns.starts[column]
    self._band[:, start : start + tile.shape[1]] += tile * weight
    if column == len(self._columns.starts) - 1:
      self._end_row(row)

  def _end_row(self, row):
    starts, (height, width) = self._rows.starts, self._size
    start = starts[row]
    end = starts[row + 1] if row + 1 < len(starts) else height
    done = min(end - start, len(self._band))
    self.whole[start : start + done] = self._finish(self._band[:done, :width], self._dtype)
    self._band[: len(self._band) - done] = self._band[done:].copy()
    self._band[len(self._band) - done :] = 0


def _check(pictures):
  """Raises ValueError unless the pictures are (H, W, 3) of one shape, H, W >= 1, and of numbers
  that `window` reads."""
  for picture in pictures:
    if picture.dtype.kind not in 'fu' or picture.ndim != 3 or picture.shape[2] != 3:
      raise ValueError(
        'a picture must be float or unsigned integers, (H, W, 3), not '
        f'{picture.dtype} {picture.shape}'
      )
    if picture.shape != pictures[0].shape or 0 in picture.shape:
      shapes = [other.shape for other in pictures]
      raise ValueError(f'pictures of one place must agree and have no side 0, not {shapes}')
