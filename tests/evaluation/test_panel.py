"""The figure of examples: pictures pixel for pixel, one magnification, colours of the maps."""

import numpy as np
import pytest
from matplotlib import image
from skimage import data

from degrep_jax.evaluation import panel
from degrep_jax.inference import map_colours

PHOTOGRAPH = data.astronaut()
PLACES = ('sharp', 'blurry', 'degradation_map', 'reblurred', 'deblurred')


def _row(height, width, name='astronaut', seed=0):
  rng = np.random.default_rng(seed)
  start = 100 * seed  # so that no row's picture lies inside another's
  sharp = PHOTOGRAPH[start : start + height, start : start + width]
  offsets = {'blurry': 20, 'reblurred': 23, 'deblurred': 5}
  others = {k: np.clip(sharp.astype(int) + v, 0, 255).astype(np.uint8) for k, v in offsets.items()}
  return {'name': name, 'sharp': sharp, 'degradation_map': rng.normal(size=(4, 4, 8)), **others}


def _read(path):
  return np.round(image.imread(path)[..., :3] * 255).astype(np.uint8)


def _find(figure, picture):
  """Corners (row, column) where the figure holds the picture exactly."""
  height, width = picture.shape[:2]
  windows = np.lib.stride_tricks.sliding_window_view(figure[..., 0], (1, width))[:, :, 0]
  starts = np.argwhere((windows[: len(figure) - height + 1] == picture[0, :, 0]).all(-1))
  return [
    tuple(at) for at in starts
    if (figure[at[0] : at[0] + height, at[1] : at[1] + width] == picture).all()
  ]  # fmt: skip


def test_pictures_are_drawn_pixel_for_pixel_in_their_columns(tmp_path):
  rows = [_row(96, 128, 'one'), _row(80, 100, 'two', seed=1)]
  panel.panel(rows, tmp_path / 'panel.png')
  figure = _read(tmp_path / 'panel.png')
  tops = []
  for row in rows:
    shown = {k: row[k].repeat(2, 0).repeat(2, 1) for k in PLACES if k != 'degradation_map'}
    found = [_find(figure, picture) for picture in shown.values()]
    assert [len(corners) for corners in found] == [1, 1, 1, 1]
    (top,) = {corners[0][0] for corners in found}
    tops.append(top)
    lefts = [corners[0][1] for corners in found]
    assert lefts == sorted(lefts)
  assert tops[1] > tops[0] + 2 * 96


def test_wide_pictures_are_reduced_alike(tmp_path):
  rows = [_row(60, 80), _row(300, 400, seed=1)]
  panel.panel(rows, tmp_path / 'panel.png')
  figure = _read(tmp_path / 'panel.png')
  for row in rows:
    sharp = row['sharp'].astype(float)
    mean = (sharp[::2, ::2] + sharp[1::2, ::2] + sharp[::2, 1::2] + sharp[1::2, 1::2]) / 4
    assert len(_find(figure, np.round(mean).astype(np.uint8))) == 1


def test_the_map_alone_shows_its_colours_in_blocks(tmp_path):
  row = _row(256, 256)
  panel.panel([row], tmp_path / 'panel.png', overlay=0)
  (colours,) = map_colours.map_colours([row['degradation_map']])
  blocks = np.round(np.kron(colours, np.ones((64, 64, 1))) * 255).astype(np.uint8)
  assert len(_find(_read(tmp_path / 'panel.png'), blocks)) == 1


def test_the_photograph_shows_through_the_map(tmp_path):
  row = _row(256, 256)
  panel.panel([row], tmp_path / 'panel.png', overlay=1)
  grey = np.round(row['blurry'].mean(-1, keepdims=True)).astype(np.uint8).repeat(3, -1)
  assert len(_find(_read(tmp_path / 'panel.png'), grey)) == 1


def test_captions_give_each_psnr_against_its_own_reference():
  row = _row(64, 64)
  for key, value in {'sharp': 100, 'blurry': 120, 'reblurred': 123, 'deblurred': 95}.items():
    row[key] = np.full((64, 64, 3), value, np.uint8)
  # 20 log10(255 / difference) of 20, 3 and 5 levels
  assert {place: panel._caption(row, place) for place in PLACES} == {
    'sharp': 'astronaut',
    'blurry': '22.11 dB to sharp',
    'degradation_map': '4 × 4 places, 8 channels',
    'reblurred': '38.59 dB to blurry (+16.48)',
    'deblurred': '34.15 dB to sharp (+12.04)',
  }


def test_networks_without_map_or_reblurring_get_fewer_columns(tmp_path):
  whole = _row(64, 64)
  missing = ('reblurred', 'degradation_map')
  widths = [_draw_without(whole, missing[:count], tmp_path / 'panel.png') for count in (0, 1, 2)]
  # Every column is as wide as the next.
  assert widths[0] - widths[1] == widths[1] - widths[2] > 256


def _draw_without(row, missing, path):
  """Width of the figure; what remains is shown as it is, and nothing of what is missing."""
  panel.panel([{k: v for k, v in row.items() if k not in missing}], path)
  figure = _read(path)
  for place in ('sharp', 'blurry', 'reblurred', 'deblurred'):
    shown = row[place].repeat(5, 0).repeat(5, 1)
    assert len(_find(figure, shown)) == (place not in missing)
  return figure.shape[1]


def test_names_are_not_read_as_formulas(tmp_path):
  panel.panel([_row(64, 64, name='$x_{$')], tmp_path / 'panel.png')
  assert _read(tmp_path / 'panel.png').shape[1] > 5 * 256


def test_the_same_examples_give_the_same_file(tmp_path):
  for name in ('a.png', 'b.png'):
    panel.panel([_row(64, 64)], tmp_path / name)
  assert (tmp_path / 'a.png').read_bytes() == (tmp_path / 'b.png').read_bytes()


def test_what_cannot_be_drawn_is_refused(tmp_path):
  with pytest.raises(ValueError, match='no examples'):
    panel.panel([], tmp_path / 'panel.png')
  with pytest.raises(ValueError, match='shape'):
    panel.panel([{**_row(64, 64), 'blurry': PHOTOGRAPH}], tmp_path / 'panel.png')
  with pytest.raises(ValueError, match='uint8'):
    panel.panel([{**_row(64, 64), 'deblurred': np.zeros((64, 64, 3))}], tmp_path / 'panel.png')
  assert not list(tmp_path.iterdir())
