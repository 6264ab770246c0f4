"""The encoder for short trainings: detail alone, norms of places alone."""

import functools

import jax
import numpy as np
import pytest
import scipy.ndimage

from degrep_jax.models import encoder
from degrep_jax.models.encoder import Encoder
from degrep_jax.models.layers import channel_norm

NET = Encoder(width=4, variant='local', stages=(1, 2, 4), input_size=None)


@pytest.fixture(scope='module')
def pictures():
  return np.random.default_rng(0).random((2, 64, 320, 3), np.float32)


@pytest.fixture(scope='module')
def run(pictures):
  """The net with random weights, compiled."""
  return functools.partial(jax.jit(NET.apply), NET.lazy_init(jax.random.key(0), pictures))


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


def test_nothing_is_spectral(pictures):
  shapes = jax.eval_shape(NET.init, jax.random.key(0), pictures)
  assert set(shapes) == {'params'}


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
