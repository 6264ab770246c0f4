"""Whole pictures through a net of one fixed input size: cut into tiles, predict, average.

Every call of the net sees exactly (batch, tile, tile, 3), so that XLA compiles once whatever the
sizes of the pictures, and a batch is filled across the borders of pictures.
"""

import collections
import functools
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

Predict = Callable[..., Any]  # stacks of tiles in, a tree of stacks of tiles out


def tile_corners(height: int, width: int, tile: int = 256) -> list[tuple[int, int]]:
  """Where the tiles of a picture lie: as few as cover it, evenly spread, the last at its border.

  Args:
    height, width: of the picture, px.
    tile: side of the square tiles, px.

  Returns:
    [(row, column)] of the upper left corners, row by row. A side shorter than a tile has the one
    corner 0: pad the picture up to the tile.

  Source: basicsr/models/image_restoration2_model.py, grids.
  """
  return list(itertools.product(_starts(height, tile), _starts(width, tile)))


def restore_tiled(predict: Predict, *pictures: np.ndarray, tile: int, batch: int) -> Any:
  """Restores one picture, or one set of pictures of the same place, tile by tile.

  Args:
    predict: called as predict(*stacks), one stack per picture, each float32 (batch, tile, tile, 3);
      returns an array (batch, tile, tile, C) or a tree (tuple, list, dict) of such arrays.
    *pictures: float32 (H, W, 3) each and of one shape, H, W >= 1: blurry, or blurry and sharp.
      Where they are smaller than a tile they are mirrored up to it and the result is cropped.
    tile: side of the square tiles, px; where tiles overlap they are averaged.
    batch: tiles in a call.

  Returns:
    float32 (H, W, C), or a tree of them in the shape of predict's answer. Not clipped.

  Raises:
    ValueError: a picture is not float32 (H, W, 3), they differ in shape, or the batch is below 1.
  """
  return next(restore_many(predict, [pictures], tile=tile, batch=batch))


def restore_many(
  predict: Predict,
  examples: Iterable[tuple[np.ndarray, ...]],
  *,
  tile: int,
  batch: int,
) -> Iterator[Any]:
  """Restores a stream of pictures with ceil(all their tiles / batch) calls of `predict`.

  Lazy: besides one batch of tiles it holds the example being cut and the one being put together.
  The last batch is filled up by repeating its last tile; what that yields is dropped.

  Args:
    examples: iterable of tuples of pictures, each tuple as in `restore_tiled`; sizes may change
      from tuple to tuple.
    predict, tile, batch: as in `restore_tiled`.

  Yields:
    For every example, in order, what `restore_tiled` returns.

  Raises:
    ValueError: as `restore_tiled`, when the example is reached.
  """
  if batch < 1:
    raise ValueError(f'a batch must hold at least one tile, not {batch}')
  # Of the examples already cut but not yet put together.
  sizes: collections.deque[tuple[int, int]] = collections.deque()
  restored = predict_each(predict, _cut(examples, tile, sizes), batch)
  for first in restored:
    height, width = sizes.popleft()
    corners = tile_corners(height, width, tile)
    tiles = [first, *itertools.islice(restored, len(corners) - 1)]
    average = functools.partial(_average, corners=corners, size=(height, width))
    yield jax.tree.map(average, *tiles)


def _starts(size, tile):
  """Rising starts of the tiles along one side of `size` px."""
  count = max(1, -(-size // tile))  # rounds up
  step = -((tile - size) // (count - 1)) if count > 1 else 0
  return [max(0, min(i * step, size - tile)) for i in range(count)]


def _cut(examples, tile, sizes):
  """Yields every tile as a tuple of (tile, tile, 3); appends (H, W) of each example to `sizes`."""
  for pictures in examples:
    _check(pictures)
    height, width = pictures[0].shape[:2]
    sizes.append((height, width))
    margins = ((0, max(0, tile - height)), (0, max(0, tile - width)), (0, 0))
    padded = [np.pad(picture, margins, mode='symmetric') for picture in pictures]
    for row, column in tile_corners(height, width, tile):
      yield tuple(picture[row : row + tile, column : column + tile] for picture in padded)


def predict_each(
  predict: Predict, tiles: Iterator[tuple[np.ndarray, ...]], batch: int
) -> Iterator[Any]:
  """Yields predict's answer for every tuple of tiles, asking in batches of exactly `batch`."""
  while group := list(itertools.islice(tiles, batch)):
    full = group + group[-1:] * (batch - len(group))
    answer = jax.device_get(predict(*(np.stack(stack) for stack in zip(*full, strict=True))))
    for i in range(len(group)):
      yield jax.tree.map(operator.itemgetter(i), answer)


def _average(*tiles, corners, size):
  """Tiles (tile, tile, C) at their corners averaged into float32 (*size, C)."""
  side = len(tiles[0])
  shape = np.maximum(size, side)
  total = np.zeros((*shape, tiles[0].shape[-1]), np.float32)
  weight = np.zeros((*shape, 1), np.float32)
  for tile, (row, column) in zip(tiles, corners, strict=True):
    place = np.s_[row : row + side, column : column + side]
    total[place] += tile
    weight[place] += 1
  return (total / weight)[: size[0], : size[1]]


def _check(pictures):
  """Raises ValueError unless the pictures are float32 (H, W, 3) of one shape with H, W >= 1."""
  for picture in pictures:
    if picture.dtype != np.float32 or picture.ndim != 3 or picture.shape[2] != 3:
      raise ValueError(f'a picture must be float32 (H, W, 3), not {picture.dtype} {picture.shape}')
    if picture.shape != pictures[0].shape or 0 in picture.shape:
      shapes = [other.shape for other in pictures]
      raise ValueError(f'pictures of one place must agree and have no side 0, not {shapes}')
