"""The encoders for short trainings: detail alone, norms of places alone, differences of pixels."""

import functools
import itertools

import jax
import numpy as np
import pytest
import scipy.ndimage

from degrep_jax.models import encoder
from degrep_jax.models.encoder import Encoder
from degrep_jax.models.layers import channel_norm

NETS = {
  variant: Encoder(width=4, variant=variant, stages=(1, 2, 4), input_size=None)
  for variant in ('local', 'structure')
}


@pytest.fixture(scope='module')
def pictures():
  return np.random.default_rng(0).random((2, 64, 320, 3), np.float32)


@pytest.fixture(scope='module', params=NETS)
def run(request, pictures):
  """A net with random weights, compiled."""
  net = NETS[request.param]
  return functools.partial(jax.jit(net.apply), net.lazy_init(jax.random.key(0), pictures))


def test_detail_is_what_a_square_mean_leaves(pictures):
  expected = pictures - scipy.ndimage.uniform_filter(
    pictures.astype(np.float64), size=(0, 5, 5, 0), mode='nearest'
  )
  np.testing.assert_allclose(encoder.detail(pictures), 10 * expected, rtol=0, atol=1e-5)


def test_places_are_divided_by_the_size_of_their_channels():
  x = np.array([[[[3.0, -4.0]], [[0.0, 0.0]]]], np.float32)
  expected = np.array([3.0, -4.0]) / np.sqrt((9 + 16) / 2)
  np.testing.assert_allclose(channel_norm(x)[0, 0, 0], expected, rtol=1e-5)
  assert not np.any(channel_norm(x)[0, 1])


@pytest.mark.parametrize('variant', NETS)
def test_nothing_is_spectral(pictures, variant):
  shapes = jax.eval_shape(NETS[variant].init, jax.random.key(0), pictures)
  assert set(shapes) == {'params'}


def _logarithms(pictures, square):
  """ln(mean squared difference + 1e-5) by (distance, (right, down)), (B, h, w) each."""
  grey = pictures.astype(np.float64).mean(-1)
  padded = np.pad(grey, ((0, 0), (8, 8), (8, 8)), mode='reflect')
  b, h, w = grey.shape
  found = {}
  for distance in (1, 2, 4, 8):
    for right, down in ((1, 0), (1, 1), (0, 1), (-1, 1)):
      y, x = 8 + distance * down, 8 + distance * right
      square_of = (padded[:, y : y + h, x : x + w] - grey) ** 2
      means = square_of.reshape(b, h // square, square, w // square, square).mean((2, 4))
      found[distance, (right, down)] = np.log(means + 1e-5)
  return found


def test_structure_is_how_much_pixels_differ(pictures):
  logs = _logarithms(pictures, 16)
  parts = [[], [], [], []]
  for distance in (1, 2, 4, 8):
    right, falling, down, rising = (logs[distance, d] for d in ((1, 0), (1, 1), (0, 1), (-1, 1)))
    parts[0].append(0.8 * (down - right))
    parts[1].append(1.2 * (rising - falling))
    parts[2].append(right + down - rising - falling + 1)
    parts[3].append((right + down + rising + falling) / 4)
  first, second, third, last = parts[3]
  parts[3] = [2.7 * (x + 0.75) for x in (first - second, second - third, third - last)]
  expected = np.stack([*itertools.chain(*parts), 0.5 * (last + 6)], -1)
  found = encoder.structure(pictures, 16)
  assert found.shape == (2, 4, 20, 16)
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize(('angle', 'channel'), [(0, 0), (45, 4), (90, 0), (135, 4)])
def test_structure_tells_the_direction_of_a_blur(pictures, angle, channel):
  # The first four channels grow with cos 2a, the next four with sin 2a.
  line = np.zeros((9, 9))
  steps = np.arange(-4, 5)
  line[
    (4 + steps * round(np.sin(np.deg2rad(angle)) * 1.2)),
    (4 + steps * round(np.cos(np.deg2rad(angle)) * 1.2)),
  ] = 1 / 9
  blurred = scipy.ndimage.convolve(pictures, line[None, :, :, None].astype(np.float32))
  change = np.asarray(encoder.structure(blurred, 16) - encoder.structure(pictures, 16)).mean(
    (0, 1, 2)
  )
  sign = {0: 1, 45: 1, 90: -1, 135: -1}[angle]
  assert sign * change[channel] > 1
  assert abs(change[4 - channel]) < 0.3 * abs(change[channel])


def test_around_is_the_mean_of_the_places_about_one():
  values = np.random.default_rng(0).random((1, 6, 7, 2), np.float32)
  expected = values[:, :3, 1:6].mean((1, 2))
  np.testing.assert_allclose(encoder.around(values)[:, 0, 3], expected, rtol=1e-5)


def test_brightness_does_not_matter_and_blur_does(run, pictures):
  dim = pictures / 2
  map_ = run(dim)
  assert map_.shape == (2, 4, 20, 16)
  np.testing.assert_allclose(run(dim + 0.25), map_, rtol=0, atol=1e-3)
  blurred = scipy.ndimage.uniform_filter(dim, size=(0, 1, 9, 0), mode='nearest')
  assert np.abs(run(blurred) - map_).max() > 0.05


def test_far_away_a_map_is_that_of_another_picture(run, pictures):
  both = pictures.copy()
  both[:, :, :16] = pictures[::-1, :, :16]
  found, expected = run(both), run(pictures)
  assert np.abs(found[:, :, 0] - expected[:, :, 0]).max() > 0.05
  # After the stages 7 convolutions see 8 px more each on either side, 5 after the pooling 16 px:
  # 136, and what the stages see, 7 + 4 * 6 px at most.
  first = -(-(16 + 136 + 31) // 16)
  np.testing.assert_allclose(found[:, :, first:], expected[:, :, first:], rtol=0, atol=1e-5)


@pytest.mark.parametrize('variant', encoder.VARIANTS)
def test_a_gain_enlarges_the_map_and_not_the_features(pictures, variant):
  net = Encoder(width=4, variant=variant, stages=(1, 2), input_size=None)
  variables = net.lazy_init(jax.random.key(0), pictures)
  enlarging = net.clone(gain=30.0)
  np.testing.assert_allclose(
    enlarging.apply(variables, pictures), 30 * net.apply(variables, pictures), rtol=1e-6
  )
  for found, expected in zip(
    enlarging.apply(variables, pictures, features=True),
    net.apply(variables, pictures, features=True),
    strict=True,
  ):
    np.testing.assert_array_equal(found, expected)
