"""Instance norms of whole pictures: TLC against NumPy, padding unseen."""

import functools

import float64
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from float64 import CLOSE, apart
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import U, gamma

from degrep_jax.models import layers, local_norm

moments = jax.jit(local_norm.window_moments, static_argnames='window')


def _pictures(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _windows(picture, height, width, window):
  """(place, values in float64) around every pixel of the part (height, width)."""
  part = picture[:height, :width].astype(np.float64)
  for i, j in np.ndindex(height, width):
    # Clamped into the picture, not cut off at its border.
    top, left = (
      min(max(at - (window - 1) // 2, 0), max(size - window, 0))
      for at, size in ((i, height), (j, width))
    )
    yield (i, j), part[top : top + window, left : left + window]


def _expected(picture, height, width, window):
  """Moments in float64 around every pixel of the part (height, width), pixel by pixel."""
  mean, variance = np.empty((2, height, width, picture.shape[-1]))
  for at, inside in _windows(picture, height, width, window):
    mean[at], variance[at] = inside.mean((0, 1)), inside.var((0, 1))
  return mean, variance


@functools.cache
def _moments(window):
  """The moments in float64; squares of values up to 4 are off by 16 CLOSE."""
  return float64.jit(functools.partial(local_norm.window_moments, window=window))


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 12), st.integers(1, 11), st.integers(1, 14))
def test_moments_are_those_of_the_window_in_the_picture(height, width, window):
  x = _pictures((1, 12, 11, 2))
  # What lies outside the picture must not matter.
  x[:, height:] = 1e3
  x[:, :, width:] = -1e3
  found = _moments(window)(x, np.array([[height, width]]))
  expected = _expected(x[0], height, width, window)
  for given_, wanted in zip(found, expected, strict=True):
    assert np.isfinite(given_).all()
    np.testing.assert_allclose(given_[0, :height, :width], wanted, rtol=0, atol=16 * CLOSE)


def test_each_picture_of_a_batch_has_its_own_extent():
  x = _pictures((2, 9, 9, 2), seed=1)
  found = _moments(4)(x, np.array([[9, 5], [6, 9]]))
  for i, (height, width) in enumerate(((9, 5), (6, 9))):
    expected = _expected(x[i], height, width, 4)
    for given_, wanted in zip(found, expected, strict=True):
      np.testing.assert_allclose(given_[i, :height, :width], wanted, rtol=0, atol=16 * CLOSE)


@pytest.mark.parametrize('offset', [0, 1e-3, 1, 100])
def test_constant_pictures_have_no_variance(offset):
  x = np.full((1, 64, 80, 2), offset, np.float32)
  mean, variance = moments(x, jnp.array([[64, 80]]), window=48)
  # An integral image is off by 1e-7 of the square of the mean, and of either sign.
  np.testing.assert_array_equal(mean, x)
  np.testing.assert_array_equal(variance, 0)


def test_smooth_eight_bit_pictures_keep_their_digits():
  # A ramp of single levels that starts far from the picture's mean, beside a bright half.
  levels = np.zeros((1, 96, 200, 1))
  levels[..., :100, 0] = np.arange(100) // 50
  levels[..., 100:, 0] = 255
  x = (levels / 255 * 30).astype(np.float32)
  mean, variance = moments(x, jnp.array([[96, 200]]), window=24)
  wanted_mean, wanted_variance = _expected(x[0], 96, 200, 24)
  largest, span = np.empty_like(wanted_mean), np.empty_like(wanted_mean)
  for at, inside in _windows(x[0], 96, 200, 24):
    largest[at], span[at] = inside.max((0, 1)), np.ptp(inside, (0, 1))
  # A window of 24 is merged of others five times for either side. A merger rounds the mean three
  # times, which is as large as the window's values, and the variance eight times, which is as large
  # as the square of their range: 7e-8 in the ramp, where an integral image would be off by 1e-3.
  assert (np.abs(mean[0] - wanted_mean) <= 10 * 3 * U * largest).all()
  assert (np.abs(variance[0] - wanted_variance) <= 10 * 8 * U * span**2).all()


def test_extents_alone_decide_the_statistics_of_a_whole_picture():
  x = _pictures((2, 8, 10, 3), seed=2) + 5
  mean, variance = local_norm.extent_moments(jnp.array(x), jnp.array([[8, 10], [3, 4]]))
  for i, (height, width) in enumerate(((8, 10), (3, 4))):
    part = x[i, :height, :width].astype(np.float64)
    # Sums of as many terms, and a division; a difference and its square are rounded besides.
    terms = height * width
    np.testing.assert_allclose(mean[i, 0, 0], part.mean((0, 1)), rtol=gamma(terms + 1))
    np.testing.assert_allclose(variance[i, 0, 0], part.var((0, 1)), rtol=gamma(terms + 4))


@pytest.mark.parametrize('mode', ['zeros', 'reflect'])
def test_convolutions_find_the_border_of_the_picture_and_not_of_the_array(mode):
  conv = layers.Conv(2, padding_mode=mode)
  x = _pictures((1, 12, 16, 3), seed=3)
  variables = conv.init(jax.random.key(0), x)

  @float64.jit
  def apply_to_part(variables, x):
    with local_norm.converted(12, jnp.array([[8, 10]]), 0):
      return conv.apply(variables, x)

  expected = float64.jit(conv.apply)(variables, x[:, :8, :10])
  assert apart(apply_to_part(variables, x)[:, :8, :10], expected) < CLOSE


def test_outside_the_context_nothing_is_changed():
  x = _pictures((1, 8, 8, 4))
  norm = layers.HalfInstanceNorm()
  variables = norm.init(jax.random.key(0), x)
  before = norm.apply(variables, x)
  with local_norm.converted(8, jnp.array([[4, 4]]), 0):
    assert np.abs(norm.apply(variables, x) - before).max() > 0.01
  np.testing.assert_array_equal(norm.apply(variables, x), before)
