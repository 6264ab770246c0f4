"""The mode 'full': a whole picture at once, or in few large windows.

Windows are squares of at most three sizes, which overlap and fade into each other. What a picture
lacks of one is mirrored, and told to the network by the window's extent.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np

from degrep_jax.inference import tiles
from degrep_jax.inference.pictures import require

# In tiles; with tiles of 256 px 640, 1280 and 2048, which frames of videos and photographs of 2.7
# megapixels fill well.
SIDES = (2.5, 5, 8)
_SPARE = 3 * 2**28  # bytes of the memory not for the network: Python, JAX, bands of rows


@dataclasses.dataclass(frozen=True)
class Windows:
  """The windows of one network.

  Attributes:
    tile: side of a tile, px, by which windows are measured.
    cell: px that a pixel of the degradation map stands for; 1 where there is no map.
    multiple: of which the sides of what the network takes must be, px.
  """

  tile: int
  cell: int
  multiple: int

  @property
  def unit(self) -> int:
    """Of which the windows' starts and sides are multiples, px."""
    return math.lcm(self.cell, self.multiple)

  @property
  def sides(self) -> list[int]:
    """Sides of the windows, px, the smallest first."""
    return [self.unit * math.ceil(n * self.tile / self.unit) for n in SIDES]

  def fitting(self, memory: int, weights: int, needed: int) -> list[int]:
    """The sides that fit into a memory.

    Args:
      memory: bytes allowed.
      weights: bytes of the network's variables.
      needed: bytes that a window of the smallest side takes besides.

    Raises:
      UserError: none fits.
    """
    smallest, *larger = self.sides
    left = memory - _SPARE - weights
    require(
      needed <= left,
      f'{memory / 2**30:.2f} GiB of memory are too little for this network in the mode full: '
      f'allow {(memory - left + needed) / 2**30:.2f}, or take another mode',
    )
    # What a program takes grows with the area.
    return [smallest, *(side for side in larger if needed * (side / smallest) ** 2 <= left)]

  def arranged(
    self, size: Sequence[int], sides: Sequence[int]
  ) -> tuple[int, tiles.Side, tiles.Side]:
    """(side, rows, columns): the windows that a picture is restored in.

    They follow from its size and from what fits into the memory, whatever was restored before: one
    window, the smallest that holds it, or else those of the least area, of equal ones the largest.
    """
    choices = {}
    for side in sides:
      rows, columns = (
        tiles.feathered(n, side, self.tile // 4, context=self.tile // 2, unit=self.unit)
        for n in size
      )
      count = len(rows.starts) * len(columns.starts)
      choices[count > 1, count * side**2, -side] = side, rows, columns
    return choices[min(choices)]

  def cut(
    self,
    pictures: Sequence[np.ndarray],
    degradation_map: np.ndarray | None,
    side: int,
    rows: tiles.Side,
    columns: tiles.Side,
  ) -> Iterator[tuple[np.ndarray, ...]]:
    """Yields (extent, parts of the pictures, the map's part where there is one) of every window;
    the extent is the (height, width) that the picture fills."""
    # A picture ends where its coarsest features do.
    ends = [self.multiple * -(-n // self.multiple) for n in pictures[0].shape[:2]]
    for corner in itertools.product(rows.starts, columns.starts):
      extent = [min(side, end - start) for end, start in zip(ends, corner, strict=True)]
      parts = [tiles.window(picture, *corner, side, 'reflect') for picture in pictures]
      if degradation_map is not None:
        top, left = (start // self.cell for start in corner)
        parts.append(_repeated(degradation_map, top, left, side // self.cell))
      yield np.array(extent, np.int32), *parts

  def blank(self, count: int, degradation_map: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """What `cut` gives of a window of the smallest side, of `count` pictures without content."""
    side = self.sides[0]
    first = tiles.Side((0,), np.ones((1, side), np.float32))
    pictures = [np.zeros((1, 1, 3), np.float32)] * count
    (arguments,) = self.cut(pictures, degradation_map, side, first, first)
    return arguments


def _repeated(degradation_map: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
  """A square part of a map, whose border repeats where the map ends."""
  rows, columns = (
    np.minimum(np.arange(first, first + side), n - 1)
    for first, n in zip((top, left), degradation_map.shape, strict=False)
  )
  return degradation_map[rows[:, None], columns]
