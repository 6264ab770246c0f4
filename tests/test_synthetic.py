import socket

import cv2
import numpy as np
import pytest

from degrep_jax.data.synthetic import PHOTOGRAPHS, Blur, SyntheticPairs, photograph
from degrep_jax.errors import UserError

BLUR = Blur(shake=12, rotation=1, object_motion=14, sub_frames=5, noise=1)


@pytest.fixture(scope='module')
def held_out():
  return SyntheticPairs('test', BLUR, variants=2, seed=0)


def psnr(blurry, sharp):
  return 10 * np.log10(255**2 / np.mean((blurry.astype(float) - sharp) ** 2))


def found_in(crop, file):
  """Whether the crop's pixels stand somewhere in the photograph."""
  difference = cv2.matchTemplate(photograph(file), crop, cv2.TM_SQDIFF)
  y, x = np.unravel_index(difference.argmin(), difference.shape)
  return np.array_equal(photograph(file)[y : y + len(crop), x : x + len(crop)], crop)


def test_names(held_out):
  expected = ['chelsea/0', 'chelsea/1', 'coffee/0', 'coffee/1', 'camera/0', 'camera/1']
  assert list(held_out.names) == expected and len(held_out) == 6
  assert len(SyntheticPairs('train', BLUR, variants=3, seed=0)) == 24


def test_photographs_are_read_without_a_network(monkeypatch):
  def refuse(*_):
    raise AssertionError('the network was used')

  monkeypatch.setattr(socket, 'socket', refuse)
  for file in (*PHOTOGRAPHS['train'], *PHOTOGRAPHS['test']):
    photo = photograph.__wrapped__(file)
    assert photo.dtype == np.uint8 and photo.ndim == 3 and min(photo.shape[:2]) >= 256


def test_held_out_photographs_are_the_whole_sharp_pictures(held_out):
  pair = held_out.pair(3)
  assert pair.name == 'coffee/1'
  np.testing.assert_array_equal(pair.sharp, photograph('coffee.png'))
  assert pair.blurry.shape == pair.sharp.shape == (400, 600, 3)


def test_no_held_out_picture_is_used_for_training():
  train = SyntheticPairs('train', BLUR, variants=1, seed=0)
  for item in range(len(train)):
    _, sharp = train.crop(item, 64, np.random.default_rng(item))
    assert any(found_in(sharp, file) for file in PHOTOGRAPHS['train'])
    assert not any(found_in(sharp, file) for file in PHOTOGRAPHS['test'])


def test_splits_share_no_scene():
  def thumbnail(file):
    small = cv2.resize(photograph(file).mean(-1), (16, 16), interpolation=cv2.INTER_AREA)
    return (small - small.mean()) / small.std()

  def likeness(a, b):
    return (thumbnail(a) * thumbnail(b)).mean()

  assert likeness('motorcycle_left.png', 'motorcycle_right.png') > 0.7
  pairs = [(a, b) for a in PHOTOGRAPHS['train'] for b in PHOTOGRAPHS['test']]
  assert max(likeness(a, b) for a, b in pairs) < 0.5


def test_fixed_examples_are_functions_of_seed_and_item(held_out):
  again, other = (SyntheticPairs('test', BLUR, 2, seed) for seed in (0, 1))
  np.testing.assert_array_equal(held_out.pair(2).blurry, again.pair(2).blurry)
  assert (held_out.pair(2).blurry != other.pair(2).blurry).mean() > 0.2
  assert (held_out.pair(2).blurry != held_out.pair(3).blurry).mean() > 0.2


def test_example_and_pair_agree(held_out):
  example, pair = held_out.example(0), held_out.pair(0)
  np.testing.assert_array_equal(example.blurry, pair.blurry)
  assert example.extent.shape == example.moving.shape == pair.sharp.shape[:2]
  assert example.extent.dtype == np.float32 and example.moving.dtype == bool


def test_held_out_blurs_are_spread_from_light_to_strong():
  shake = Blur(shake=20, rotation=0, object_motion=0, sub_frames=5, noise=0)
  source = SyntheticPairs('test', shake, variants=6, seed=0)
  for photo in range(3):
    extents = sorted(source.example(6 * photo + k).extent.mean() for k in range(6))
    assert extents[0] < 10 and extents[-1] > 16


def test_crops_are_fixed_by_their_random_numbers():
  source = SyntheticPairs('train', BLUR, 1, 0)
  one, same, other = (source.crop(0, 48, np.random.default_rng(seed)) for seed in (5, 5, 6))
  np.testing.assert_array_equal(one, same)
  assert one[0].shape == one[1].shape == (48, 48, 3) and one[0].dtype == np.uint8
  assert (one[1] != other[1]).any()


def test_a_crop_is_the_blurred_sharp_window():
  still = Blur(shake=0, rotation=0, object_motion=0, sub_frames=3, noise=0)
  blurry, sharp = SyntheticPairs('train', still, 1, 0).crop(1, 64, np.random.default_rng(0))
  np.testing.assert_array_equal(blurry, sharp)
  moving, noisy = Blur(12, 1, 14, 5, 0), Blur(0, 0, 0, 1, 8)
  for blur in (moving, noisy):
    blurry, sharp = SyntheticPairs('train', blur, 1, 0).crop(1, 64, np.random.default_rng(0))
    assert 14 < psnr(blurry, sharp) < 50


def test_crop_larger_than_a_photograph():
  with pytest.raises(UserError, match=r'coins/0 is 384x303, smaller .* lower data\.crop'):
    SyntheticPairs('train', BLUR, 1, 0).crop(5, 304, np.random.default_rng(0))


def test_unknown_split_and_no_variants():
  with pytest.raises(UserError, match=r"no split 'val'"):
    SyntheticPairs('val', BLUR, 1, 0)
  with pytest.raises(UserError, match='variants is 0'):
    SyntheticPairs('test', BLUR, 0, 0)


def test_missing_photograph():
  with pytest.raises(UserError, match=r'without its photograph none\.png'):
    photograph('none.png')
