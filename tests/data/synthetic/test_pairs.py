import itertools
import socket

import cv2
import numpy as np
import photo_folder
import pytest

from degrep_jax.common.errors import UserError
from degrep_jax.data.synthetic.pairs import PHOTOGRAPHS, Blur, SyntheticPairs, photograph

BLUR = Blur(shake=12, rotation=1, object_motion=14, sub_frames=5, noise=1)


@pytest.fixture(scope='module')
def held_out():
  return SyntheticPairs('test', BLUR, variants=2, seed=0)


def psnr(blurry, sharp):
  return 10 * np.log10(255**2 / np.mean((blurry.astype(float) - sharp) ** 2))


def light(picture):
  """The sRGB curve from 8-bit levels to linear light."""
  value = np.arange(256) / 255
  curve = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
  return curve.astype(np.float32)[picture]


def levels(linear):
  """The sRGB curve from linear light to 8-bit levels, not rounded."""
  return 255 * np.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear ** (1 / 2.4) - 0.055)


def explain(crop, window):
  """How a channel each of the crop arises from the window: channels, gains, largest error.

  The gains are those of the least squares in linear light; the error is in 8-bit levels.
  """
  recolouring = []
  for seen in np.moveaxis(crop, -1, 0):
    gains = [float((light(seen) * c).sum() / (c * c).sum()) for c in np.moveaxis(window, -1, 0)]
    errors = [np.abs(levels(gain * window[..., c]) - seen).max() for c, gain in enumerate(gains)]
    recolouring.append((int(np.argmin(errors)), gains[np.argmin(errors)], min(errors)))
  channels, gains, errors = zip(*recolouring, strict=True)
  return channels, gains, max(errors)


def resized(photo, scale):
  how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
  return photo if scale == 1 else cv2.resize(photo, None, fx=scale, fy=scale, interpolation=how)


def found_in(crop, file):
  """`explain` of the window, in any size of the photograph, that is most like the crop."""
  found = []
  for scale, channel in itertools.product((0.6, 1, 1.5), range(3)):
    photo = light(resized(photograph(file), scale))
    # Normalised by the two norms, 1 where one window is a multiple of the other.
    likeness = cv2.matchTemplate(photo[..., channel], light(crop[..., 0]), cv2.TM_CCORR_NORMED)
    y, x = np.unravel_index(likeness.argmax(), likeness.shape)
    found.append((*explain(crop, photo[y : y + len(crop), x : x + len(crop)]), scale))
  return min(found, key=lambda explained: explained[2])


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
  for item, file in enumerate(PHOTOGRAPHS['train']):
    _, sharp = train.crop(item, 64, np.random.default_rng(item))
    assert found_in(sharp, file)[2] < 1
    assert all(found_in(sharp, other)[2] > 4 for other in PHOTOGRAPHS['test'])


def test_crops_come_in_all_sizes_orders_of_the_channels_and_in_any_light():
  train = SyntheticPairs('train', BLUR, variants=1, seed=0)
  orders, gains, scales = set(), [], set()
  for seed in range(40):
    _, sharp = train.crop(0, 64, np.random.default_rng(seed))
    order, gain, error, scale = found_in(sharp, 'astronaut.png')
    assert error < 1
    orders.add(order)
    scales.add(scale)
    gains.extend(gain)
  assert orders == set(itertools.permutations(range(3)))
  assert scales == {0.6, 1, 1.5}
  assert 0.49 < min(gains) < 0.54 and 0.96 < max(gains) < 1.01
  assert np.mean(gains) == pytest.approx(0.75, abs=0.05)


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
  assert example.extent.shape == example.moving.shape == example.swept.shape == pair.sharp.shape[:2]
  assert example.extent.dtype == np.float32 and example.moving.dtype == bool
  assert example.direction.shape == example.extent.shape
  assert example.direction.dtype == np.float32


def test_another_photograph_is_blurred_by_the_very_same_motion(held_out):
  own = held_out.example(0)
  same = held_out.example(0, photograph('chelsea.png'))
  np.testing.assert_array_equal(same.blurry, own.blurry)
  other = held_out.example(0, photograph('coffee.png'))
  np.testing.assert_array_equal(other.extent, own.extent)
  np.testing.assert_array_equal(other.moving, own.moving)
  size = own.sharp.shape[1::-1]
  expected = cv2.resize(photograph('coffee.png'), size, interpolation=cv2.INTER_AREA)
  np.testing.assert_array_equal(other.sharp, expected)
  assert psnr(other.blurry, other.sharp) < 40


def test_held_out_blurs_are_spread_from_light_to_strong():
  shake = Blur(shake=20, rotation=0, object_motion=0, sub_frames=5, noise=0)
  source = SyntheticPairs('test', shake, variants=6, seed=0)
  for photo in range(3):
    extents = sorted(source.example(6 * photo + k).extent.mean() for k in range(6))
    assert extents[0] < 10 and extents[-1] > 16


def test_scenes_are_reduced_windows_of_the_photographs():
  source = SyntheticPairs('test', BLUR, variants=3, seed=0, scene=48)
  for item, file in ((0, 'chelsea.png'), (4, 'coffee.png')):
    example, photo = source.example(item), photograph(file)
    assert example.sharp.shape == example.blurry.shape == (48, 48, 3)
    assert example.extent.shape == (48, 48)
    likeness = []
    for share in (0.8, 0.55, 0.3):
      scale = 48 / share / min(photo.shape[:2])
      reduced = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
      likeness.append(cv2.matchTemplate(reduced, example.sharp, cv2.TM_CCOEFF_NORMED).max())
    assert max(likeness) > 0.99  # reduced in linear light there, in the sRGB curve here
  again = source.example(4)
  np.testing.assert_array_equal(again.blurry, example.blurry)
  moved = source.example(4, source.example(0).sharp)
  np.testing.assert_array_equal(moved.sharp, source.example(0).sharp)
  np.testing.assert_array_equal(moved.extent, example.extent)
  assert (source.example(3).sharp != source.example(5).sharp).any()


def test_crops_of_scenes_show_the_scene_whole():
  source = SyntheticPairs('train', BLUR, 1, 0, min_size=32, scene=32)
  blurry, sharp = source.crop(0, 32, np.random.default_rng(3))
  assert blurry.shape == sharp.shape == (32, 32, 3)
  assert psnr(blurry, sharp) < 40


def test_a_camera_at_rest_leaves_all_but_the_region_sharp():
  still = Blur(shake=12, rotation=1, object_motion=14, sub_frames=5, noise=0, rest=1)
  source, rims = SyntheticPairs('test', still, variants=4, seed=0, scene=64), []
  for item in range(len(source)):
    example = source.example(item)
    assert not example.extent[~example.moving].any()
    difference = np.abs(example.blurry.astype(int) - example.sharp)
    assert difference[~example.swept].max(initial=0) <= 1
    rims.append(difference[example.swept & ~example.moving].max(initial=0))
  assert np.median(rims) > 10  # around the region, what its edge hides and uncovers
  shares = [
    (source.example(item).extent[~source.example(item).moving].max(initial=0) > 0)
    for source in [SyntheticPairs('test', Blur(12, 0, 0, 5, 0, rest=0.5), 20, 0, scene=32)]
    for item in range(60)
  ]
  assert 0.3 < np.mean(shares) < 0.7


@pytest.mark.parametrize('scene', [31, 451, -4])
def test_scenes_that_cannot_be_cut(scene):
  with pytest.raises(UserError, match=r'data\.scene is .*in 32 \(the crop\) \.\. 450'):
    SyntheticPairs('test', BLUR, 1, 0, min_size=32, scene=scene)


def test_crops_are_fixed_by_their_random_numbers():
  source = SyntheticPairs('train', BLUR, 1, 0)
  one, same, other = (source.crop(0, 48, np.random.default_rng(seed)) for seed in (5, 5, 6))
  np.testing.assert_array_equal(one, same)
  assert one[0].shape == one[1].shape == (48, 48, 3) and one[0].dtype == np.uint8
  assert (one[1] != other[1]).any()


def test_blurry_and_sharp_crops_share_their_recolouring():
  still = Blur(shake=0, rotation=0, object_motion=0, sub_frames=3, noise=0)
  source = SyntheticPairs('train', still, 1, 0)
  for item in range(len(source)):
    blurry, sharp = source.crop(item, 64, np.random.default_rng(item))
    np.testing.assert_allclose(blurry.astype(int), sharp, rtol=0, atol=1)


def test_a_crop_is_the_blurred_sharp_window():
  moving, noisy = Blur(12, 1, 14, 5, 0), Blur(0, 0, 0, 1, 8)
  for blur in (moving, noisy):
    blurry, sharp = SyntheticPairs('train', blur, 1, 0).crop(1, 64, np.random.default_rng(0))
    assert 14 < psnr(blurry, sharp) < 50
    # Blur moves light about and loses none of it.
    assert light(blurry).mean((0, 1)) == pytest.approx(light(sharp).mean((0, 1)), rel=0.03)


def test_crop_larger_than_a_photograph():
  with pytest.raises(UserError, match=r'data\.crop is 304, more than the 303 px'):
    SyntheticPairs('train', BLUR, 1, 0, min_size=304)
  SyntheticPairs('train', BLUR, 1, 0, min_size=303)
  with pytest.raises(UserError, match=r'coins/0 is 384x303, smaller .* lower data\.crop'):
    SyntheticPairs('train', BLUR, 1, 0).crop(5, 600, np.random.default_rng(0))


@pytest.fixture
def photos(tmp_path):
  """(name, file) of photographs of 80x60 in a folder, two of them of one scene."""
  photo_folder.write(tmp_path, ('a', 'trip/1', 'trip/2'))
  return [(name, tmp_path / f'{name}.png') for name in ('a', 'trip/1', 'trip/2')]


def test_photographs_of_a_folder(photos):
  source = SyntheticPairs('train', BLUR, 2, 0, photos=photos)
  assert source.names == ('a/0', 'a/1', 'trip/1/0', 'trip/1/1', 'trip/2/0', 'trip/2/1')
  assert source.scenes == ('a', 'a', 'trip', 'trip', 'trip', 'trip')
  np.testing.assert_array_equal(source.pair(3).sharp, photo_folder.photograph(1))
  blurry, sharp = source.crop(0, 40, np.random.default_rng(0))
  assert blurry.shape == sharp.shape == (40, 40, 3) and (blurry != sharp).any()
  scenes = SyntheticPairs('test', BLUR, 1, 0, min_size=32, scene=32, photos=photos)
  assert scenes.example(2).sharp.shape == (32, 32, 3)


def test_scenes_of_a_folder_that_cannot_be_cut(photos):
  with pytest.raises(UserError, match=r'data\.crop is 61, more than the 60 px of the photograph a'):
    SyntheticPairs('train', BLUR, 1, 0, min_size=61, photos=photos)
  with pytest.raises(UserError, match=r'data\.scene is 91; .* \.\. 90'):
    SyntheticPairs('train', BLUR, 1, 0, scene=91, photos=photos)


def test_unknown_split_and_no_variants():
  with pytest.raises(UserError, match=r"no split 'val'"):
    SyntheticPairs('val', BLUR, 1, 0)
  with pytest.raises(UserError, match='variants is 0'):
    SyntheticPairs('test', BLUR, 0, 0)


def test_missing_photograph():
  with pytest.raises(UserError, match=r'without its photograph none\.png'):
    photograph('none.png')
