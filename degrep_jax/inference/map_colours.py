"""Degradation maps as colours: their principal components, with nothing of the tiles' borders.

E sees tiles, and what it says near a tile's border is more of the border than of the picture. Two
means against that, for pictures alone (`Restorer.degradation_map` gives maps as they are): tiles
overlap by half and fade into each other, and what all tiles share place by place is taken away. The
latter repeats itself from tile to tile, so that it can be told when all pictures have been seen.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import scipy.linalg

from degrep_jax.common.errors import UserError
from degrep_jax.inference.restorer import Restorer
from degrep_jax.inference.tiles import Progress


def map_colours(maps: Sequence[np.ndarray]) -> list[np.ndarray]:
  """Degradation maps as colours: their three principal components as red, green and blue.

  Args:
    maps: float (h, w, C) each, C the same in all; their places are taken together, so that a
      colour means the same in every map. One after another is read, three times: they may lie on
      the disk (`np.load(..., mmap_mode='r')`).

  Returns:
    float64 (h, w, 3) each. Every component is scaled to [0, 1] over all the maps; one that does
    not vary is 0.5.
  """
  channels = maps[0].shape[-1]
  count = sum(m.shape[0] * m.shape[1] for m in maps)
  mean = sum(m.sum((0, 1), np.float64) for m in maps) / count
  largest, moment = 0.0, np.zeros((channels, channels))
  for m in maps:
    places = m.reshape(-1, channels) - mean
    largest = max(largest, np.abs(places).max())
    moment += places.T @ places
  kept = min(3, channels)
  axes = scipy.linalg.eigh(moment, subset_by_index=(channels - kept, channels - 1))[1][:, ::-1]
  # An axis may point either way: its largest entry is made positive, so that colours are stable.
  axes *= np.sign(np.take_along_axis(axes, np.abs(axes).argmax(0)[None], 0))
  values = [np.pad((m - mean) @ axes, ((0, 0), (0, 0), (0, 3 - kept))) for m in maps]
  low = np.min([v.min((0, 1)) for v in values], 0)
  extent = np.max([v.max((0, 1)) for v in values], 0) - low
  varies = extent > 1e-9 * max(largest, 1e-30)
  return [np.where(varies, (v - low) / np.where(varies, extent, 1), 0.5) for v in values]


def without_common(maps: Sequence[np.ndarray], tile: tuple[int, int]) -> list[np.ndarray]:
  """Maps less what all their tiles share place by place, the traces of the tiles' borders.

  Args:
    maps: float (h, w, C) each, put together from tiles.
    tile: height and width of a tile's map.

  Returns:
    Maps of the same shapes; as they are where there is one tile in all.
  """
  tiles = [m.reshape(m.shape[0] // tile[0], tile[0], -1, tile[1], m.shape[-1]) for m in maps]
  count = sum(t.shape[0] * t.shape[2] for t in tiles)
  if count == 1:
    return list(maps)
  common = sum(t.sum((0, 2)) for t in tiles) / count
  return [(t - common[:, None]).reshape(m.shape) for t, m in zip(tiles, maps, strict=True)]


def over_photograph(
  colour: np.ndarray, blurry: np.ndarray, cell: float | None = None, overlay: float = 0.4
) -> np.ndarray:
  """Colours of a map over the photograph that it belongs to.

  Args:
    colour: float (h, w, 3) in [0, 1].
    blurry: uint8 (H, W, 3).
    cell: px of the photograph that a place of the map stands for, in both directions, from the
      upper left; None is as many as make the map as large as the photograph.
    overlay: how much of the grey picture shows through the map, 0 (not at all) to 1.

  Returns:
    uint8 (H, W, 3), the map enlarged by its nearest places.
  """
  rows, columns = (
    (np.arange(side) * places // side if cell is None else np.arange(side) // cell).astype(int)
    for side, places in zip(blurry.shape, colour.shape[:2], strict=False)
  )
  grey = blurry.astype(np.float32).mean(-1, keepdims=True) / 255
  shaded = ((1 - overlay) * colour).astype(np.float32)[rows][:, columns] + overlay * grey
  return np.round(shaded * 255).astype(np.uint8)


class MapPictures:
  """Maps of any number of photographs in colours that mean the same in all of them.

  First every photograph is given to `read`; what that returns is then, for all of them together,
  given to `colours`, and each colouring with its photograph to `over_photograph`.

  Args:
    restorer: of a network that has an E, in any mode.

  Raises:
    UserError: the network has none.
  """

  def __init__(self, restorer: Restorer):
    if not restorer.has_map:
      raise UserError(
        f'a {restorer.title} has no degradation map: take the checkpoint of another network.'
      )
    self._restorer = restorer
    self._total, self._count = np.zeros(()), 0  # of the tiles' maps, place by place

  def read(self, picture: np.ndarray, progress: Progress | None = None) -> np.ndarray:
    """The map of a picture `(H, W, 3)`, float32 `(h, w, C)`, still with what all tiles share;
    `progress` is told the share of its tiles that are done.

    Raises:
      UserError: as `Restorer.degradation_map`.
    """
    tile, cell = self._restorer.tile, self._restorer.cell
    side = tile // cell
    step = max(1, side // 2)  # places from one tile to the next
    counts = [-(-length // cell) for length in picture.shape[:2]]
    # As many tiles lie over every place of the picture: they start before it and end behind it.
    rows, columns = (range(0, side - step + count, step) for count in counts)
    window = _window(side, step)[:, None] * _window(side, step)
    blended: np.ndarray | None = None
    for number, part in enumerate(self._tiles(picture, rows, columns, side - step)):
      if blended is None:
        blended = np.zeros((rows[-1] + side, columns[-1] + side, part.shape[-1]), np.float32)
      row, column = rows[number // len(columns)], columns[number % len(columns)]
      blended[row : row + side, column : column + side] += window[..., None] * part
      self._total, self._count = self._total + part, self._count + 1
      if progress:
        progress((number + 1) / (len(rows) * len(columns)))
    assert blended is not None
    return blended[side - step :, side - step :][: counts[0], : counts[1]]

  def _tiles(
    self, picture: np.ndarray, rows: range, columns: range, before: int
  ) -> Iterator[np.ndarray]:
    """Maps of the tiles that start at these places, `before` of which lie before the picture."""
    tile, cell = self._restorer.tile, self._restorer.cell
    widths = [
      (before * cell, max(0, starts[-1] * cell + tile - before * cell - length))
      for starts, length in zip((rows, columns), picture.shape, strict=False)
    ]
    padded = np.pad(picture, (*widths, (0, 0)), mode='symmetric')
    return self._restorer.degradation_map(
      padded[row * cell :, column * cell :][:tile, :tile] for row in rows for column in columns
    )

  def colours(self, maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All the maps that `read` gave, float32 `(h, w, C)`, as colours `(h, w, 3)` in [0, 1].

    The maps may lie on the disk: one after another is read, a few times.
    """
    return map_colours(_Without(self._shared(), maps))

  def _shared(self) -> np.ndarray:
    """What all tiles share, blended as they are: from the upper left of a picture it repeats itself
    in both directions."""
    common = self._total / self._count
    side = len(common)
    step = max(1, side // 2)
    window = _window(side, step)
    places = (np.arange(side) - side) % step
    shared = np.zeros((step, step, common.shape[-1]), np.float32)
    np.add.at(shared, np.ix_(places, places), window[:, None, None] * window[:, None] * common)
    return shared


class _Without(Sequence[np.ndarray]):
  """Maps less a pattern that repeats itself in both directions."""

  def __init__(self, pattern: np.ndarray, maps: Sequence[np.ndarray]):
    self._pattern, self._maps = pattern, maps

  def __len__(self) -> int:
    return len(self._maps)

  def __getitem__(self, item):
    rows, columns = (
      np.arange(n) % m
      for n, m in zip(self._maps[item].shape, self._pattern.shape[:2], strict=False)
    )
    return self._maps[item] - self._pattern[rows][:, columns]


def _window(side: int, step: int) -> np.ndarray:
  """A raised cosine, (side,), whose copies every `step` places sum to one."""
  window = np.square(np.sin(np.pi * (np.arange(side) + 0.5) / side))
  total = np.zeros(step)
  np.add.at(total, np.arange(side) % step, window)
  return (window / total[np.arange(side) % step]).astype(np.float32)
