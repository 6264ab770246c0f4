"""A picture at several sizes: which, how it is resized, and what the looks give together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from plain_nets import restorer
from rounding import FEW

from degrep_jax.common.errors import UserError
from degrep_jax.inference import ensemble, scales

ROOT = np.sqrt(2)


def noise(*shape):
  return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


@pytest.mark.parametrize(
  ('size', 'most', 'expected'),
  [
    ((720, 1280), 1_000_000, [0.5, ROOT / 2, 1]),  # 0.35 would leave 255 px
    ((360, 640), 1_000_000, [1, ROOT, 2]),
    ((180, 320), 1_000_000, [1, ROOT, 2, 2 * ROOT, 4]),
    ((3000, 4000), 1_000_000, [0.25, ROOT / 4, 0.5, ROOT / 2, 1]),
    ((720, 1280), 4_000_000, [0.5, ROOT / 2, 1, ROOT, 2]),
    ((1, 5), 1_000_000, [1, ROOT, 2, 2 * ROOT, 4]),
    ((2000, 100), 1, [1]),
  ],
)
def test_which_sizes_a_picture_is_seen_at(size, most, expected):
  found = scales.factors(size, most, 256)
  np.testing.assert_allclose(found, expected, rtol=1e-15)
  assert 1.0 in found


def test_smaller_by_two_is_the_mean_of_squares():
  picture = noise(12, 20).astype(np.float32) / 255
  means = picture.reshape(6, 2, 10, 2, 3).mean((1, 3))
  np.testing.assert_allclose(scales.resized(picture, 0.5), means, rtol=0, atol=FEW)
  np.testing.assert_allclose(scales.resized_back(picture, (6, 10)), means, rtol=0, atol=FEW)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([0.25, ROOT / 2, ROOT, 2.0, 4.0]))
def test_sizes_are_rounded_and_values_stay_in_range(height, width, factor):
  picture = noise(height, width).astype(np.float32) / 255
  there = scales.resized(picture, factor)
  assert there.shape == (max(1, round(height * factor)), max(1, round(width * factor)), 3)
  assert there.dtype == np.float32 and there.min() >= 0 and there.max() <= 1
  flat = scales.resized(np.full_like(picture, 0.3), factor)
  np.testing.assert_allclose(flat, 0.3, rtol=0, atol=FEW)
  assert scales.resized_back(there, (height, width)).shape == picture.shape


@pytest.mark.parametrize('factor', [0.5, ROOT / 2, ROOT, 2.0, 2 * ROOT, 4.0])
def test_smooth_pictures_lie_where_they_lay_after_the_way_there_and_back(factor):
  y, x = np.mgrid[:64, :96]
  waves = np.stack([np.sin(x / 9), np.cos(y / 8), np.sin((x + y) / 11)], -1)
  picture = (0.5 + 0.3 * waves).astype(np.float32)
  back = scales.resized_back(scales.resized(picture, factor), (64, 96))
  inner = np.s_[4:-4, 4:-4]
  # A shift by a tenth of a pixel would show as 0.3 / 8 / 10.
  assert np.abs(back - picture)[inner].mean() < 0.002


def test_energy_is_the_mean_square():
  values = np.random.default_rng(0).normal(size=(30, 20, 3)).astype(np.float32)
  assert scales.energy(values) == pytest.approx(np.mean(values.astype(np.float64) ** 2), rel=1e-12)
  assert scales.energy(np.zeros((2, 3, 3), np.float32)) == 0


def restored_by(changes):
  """What adds to each look a constant of the look's height."""

  def restore(looks, progress):
    for look in looks:
      progress(0.5)
      progress(1)
      yield look / np.float32(255 if look.dtype == np.uint8 else 1) + np.float32(changes[len(look)])

  return restore


def test_sizes_count_by_the_square_of_the_energy_of_their_change():
  picture = np.full((8, 8, 3), 102, np.uint8)
  picture[:, 4:] = 51
  changes = {4: 0.1, 8: 0.05, 16: -0.2}
  powers = [np.array(list(changes.values())) ** power for power in (5, 4)]
  expected = picture / 255 + 0.5 * powers[0].sum() / powers[1].sum()
  told = []
  (result,) = ensemble.together(
    [picture],
    restored_by(changes),
    size=1,
    strength=0.5,
    factors=lambda size: [0.5, 1.0, 2.0],
    progress=told.append,
  )
  np.testing.assert_array_equal(result, np.rint(255 * np.clip(expected, 0, 1)))
  # The looks have 16, 64 and 256 pixels.
  np.testing.assert_allclose(told, np.array([8, 16, 48, 80, 208, 336]) / 336, rtol=1e-15)


def test_where_no_size_changes_anything_the_picture_stays():
  pictures = [noise(*size) for size in ((70, 40), (20, 90), (1, 5))]
  net = restorer(mode='feathered', tile=32, scales=20_000, ensemble=2, strength=0.7)
  for dtype in (np.uint8, np.uint16):
    given_ = [picture.astype(dtype) for picture in pictures]
    for result, picture in zip(net.deblur(iter(given_)), given_, strict=True):
      np.testing.assert_array_equal(result, picture)
      assert result.dtype == dtype


@pytest.mark.parametrize('mode', ['tiles', 'feathered', 'full'])
def test_a_net_that_darkens_does_so_at_every_size(mode):
  picture = noise(40, 50) // 2 + 100
  net = restorer(lambda x, _: x - 0.2, mode=mode, tile=32, scales=20_000)
  np.testing.assert_array_equal(net.deblur(picture), picture - 51)
  assert net.scales == 20_000


def test_who_gives_pictures_may_write_into_them_afterwards():
  def pictures():
    frame = np.empty((16, 16, 3), np.uint8)
    for value in (10, 100, 200):
      frame[:] = value
      yield frame

  net = restorer(strength=0.9, batch=8)
  assert [int(result[0, 0, 0]) for result in net.deblur(pictures())] == [10, 100, 200]


@pytest.mark.parametrize('wrong', [-1, 0.5, None, '1M'])
def test_what_is_no_number_of_pixels_is_refused(wrong):
  with pytest.raises(
    UserError, match=r'scales of .*: it must be 0, for one size, or a number of pixels'
  ):
    restorer(scales=wrong)


@pytest.mark.parametrize(('levels', 'expected'), [(0, 0), (1, 0.5), (2, 1), (200, 1)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float32])
def test_structure_is_where_a_picture_is_not_of_one_colour(levels, expected, dtype):
  picture = np.full((203, 301, 3), 40, np.uint8)
  picture[100, 150, 1] += levels
  if dtype == np.uint16:
    picture = picture.astype(np.uint16) * 257
  elif dtype == np.float32:
    picture = picture / np.float32(255)
  there = scales.structure(picture)
  assert there.shape == (203, 301) and there.dtype == np.float32
  # In squares of 16 px, to the second around that of the pixel.
  np.testing.assert_allclose(there[72:136, 120:184], expected, rtol=0, atol=1e-4)
  away = np.hypot(*(np.mgrid[:203, :301] - np.array([100, 150])[:, None, None])) > 90
  assert not there[away].any()


def test_what_is_of_one_colour_stays():
  picture = np.full((200, 220, 3), 90, np.uint8)
  picture[:, :20] = noise(200, 20)
  result = restorer(lambda x, _: x + 0.2, strength=0.9, scales=1).deblur(picture)
  np.testing.assert_array_equal(result[:, 120:], 90)
  assert np.abs(result[:, 8:30].astype(int) - picture[:, 8:30]).max() >= 45  # 0.9 of 0.2 * 255
