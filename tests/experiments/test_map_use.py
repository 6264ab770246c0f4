"""The tiles that map_use.py scores."""

import map_use
import numpy as np
import pytest


@pytest.mark.parametrize(
  'shape, tops, lefts',
  [
    ((20, 28), (2, 10), (6, 14)),  # two tiles of 8 either way around the middle
    ((13, 9), (2,), (0,)),  # room for one
    ((8, 17), (0,), (0, 8)),
    ((7, 30), (), (7, 15)),  # smaller than a tile
  ],
)
def test_tiles_lie_around_the_middle(shape, tops, lefts):
  picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
  tiles = map_use.middle_tiles(picture, 8)
  expected = [picture[top : top + 8, left : left + 8] / 255 for top in tops for left in lefts]
  assert tiles.shape == (len(expected), 8, 8, 3)
  assert np.allclose(tiles, np.reshape(expected, tiles.shape), atol=1e-6)
