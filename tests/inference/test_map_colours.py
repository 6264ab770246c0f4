"""Colours of degradation maps: one meaning in all of them, no seams, nothing of the tiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import U, gamma

from degrep_jax.common.errors import UserError
from degrep_jax.inference import map_colours


def test_map_colours_are_the_principal_components():
  rng = np.random.default_rng(3)
  factors = rng.normal(size=(4 * 4 + 2 * 3, 3)) * (9, 3, 1)
  axes = np.linalg.qr(rng.normal(size=(16, 3)))[0].T
  places = factors @ axes + rng.normal(size=16)
  centred = places - places.mean(0)
  _, vectors = np.linalg.eigh(centred.T @ centred)
  colours = map_colours.map_colours([places[:16].reshape(4, 4, 16), places[16:].reshape(2, 3, 16)])
  assert [c.shape for c in colours] == [(4, 4, 3), (2, 3, 3)]
  flat = np.concatenate([c.reshape(-1, 3) for c in colours])
  np.testing.assert_allclose([flat.min(0), flat.max(0)], [[0] * 3, [1] * 3], atol=1e-12)
  for i in range(3):
    expected = centred @ vectors[:, -1 - i]
    assert abs(np.corrcoef(expected, flat[:, i])[0, 1]) == pytest.approx(1, abs=1e-9)


def test_map_colours_do_not_depend_on_the_order_of_the_examples():
  a, b = np.random.default_rng(4).normal(size=(2, 4, 4, 32))
  forth, back = map_colours.map_colours([a, b]), map_colours.map_colours([b, a])
  np.testing.assert_allclose(forth, back[::-1], atol=1e-9)


@pytest.mark.parametrize('shape', [(4, 4, 8), (1, 1, 256), (2, 2, 1)])
def test_maps_that_vary_little_or_not_are_even_grey(shape):
  (colours,) = map_colours.map_colours([np.full(shape, 0.1, np.float32)])
  np.testing.assert_array_equal(colours, np.full((*shape[:2], 3), 0.5))


def test_what_all_tiles_share_is_taken_from_the_maps():
  rng = np.random.default_rng(0)
  common, own = rng.normal(size=(2, 3, 4)), rng.normal(size=(3, 4))
  own -= own.mean(0)  # of the three tiles
  first = np.concatenate([common + own[0], common + own[1]], axis=1)
  maps = map_colours.without_common([first, common + own[2]], (2, 3))
  np.testing.assert_allclose(maps[0][:, :3], np.broadcast_to(own[0], (2, 3, 4)), atol=1e-12)
  np.testing.assert_allclose(maps[0][:, 3:], np.broadcast_to(own[1], (2, 3, 4)), atol=1e-12)
  np.testing.assert_allclose(maps[1], np.broadcast_to(own[2], (2, 3, 4)), atol=1e-12)


def test_a_single_tile_keeps_its_map():
  own = np.random.default_rng(0).normal(size=(2, 3, 4))
  np.testing.assert_array_equal(map_colours.without_common([own], (2, 3))[0], own)


# --- of photographs ----------------------------------------------------------------------------


class Means:
  """In a restorer's place: an E that reads the mean of every cell, and adds what the tile's borders
  do to it."""

  has_map = True
  title = 'joint net'

  def __init__(self, side, cell, border=None):
    self.tile, self.cell = side * cell, cell
    self.border = np.zeros((side, side, 3), np.float32) if border is None else border

  def degradation_map(self, tiles):
    for tile in tiles:
      assert tile.shape == (self.tile, self.tile, 3)
      yield cells(tile, self.cell) + self.border


def cells(picture, cell):
  """Means over cells of a picture, mirrored up to whole ones."""
  missing = [(0, -side % cell) for side in picture.shape[:2]]
  whole = np.pad(picture, (*missing, (0, 0)), 'symmetric')
  height, width = (side // cell for side in whole.shape[:2])
  return np.float32(whole.reshape(height, cell, width, cell, 3).mean((1, 3)))


def noise(height, width, seed=0):
  return np.random.default_rng(seed).random((height, width, 3), np.float32)


SIDES = st.integers(1, 6)


@given(st.integers(1, 70), st.integers(1, 70), SIDES, st.integers(1, 5))
@settings(deadline=None, max_examples=60)
def test_blended_tiles_are_the_whole(height, width, side, cell):
  picture = noise(height, width)
  read = map_colours.MapPictures(Means(side, cell)).read(picture)
  # Means of up to 25 pixels, blended of four tiles by weights that are rounded, too.
  np.testing.assert_allclose(read, cells(picture, cell), rtol=0, atol=gamma(25 + 4 * 4))


@given(SIDES, st.integers(0, 1000))
@settings(deadline=None, max_examples=30)
def test_what_all_tiles_share_is_gone(side, seed):
  """The colours are those of an E that borders mean nothing to."""
  border = 10 * np.random.default_rng(seed).normal(size=(side, side, 3)).astype(np.float32)
  # Colours that vary so differently that rounding cannot turn their components.
  photographs = [
    noise(21, 34, seed) * np.float32([1, 0.5, 0.25]),
    noise(13, 8, seed + 1) * np.float32([1, 0.5, 0.25]),
  ]
  colours = []
  for encoder in (Means(side, 2), Means(side, 2, border)):
    pictures = map_colours.MapPictures(encoder)
    colours.append(pictures.colours([pictures.read(x) for x in photographs]))
  for plain, cleaned in zip(*colours, strict=True):
    # Values up to 40 are rounded some ten times; the least component extends over 0.1 at least.
    np.testing.assert_allclose(cleaned, plain, rtol=0, atol=2 * 10 * 40 * U / 0.1)


def test_a_net_without_an_encoder_is_refused():
  encoder = Means(4, 2)
  encoder.has_map = False
  with pytest.raises(UserError, match='has no degradation map'):
    map_colours.MapPictures(encoder)
