"""Values of pixels: exact ends, rounding, the way there and back."""

import numpy as np

from degrep_jax.common import pixels


def test_to_float_ends_are_exact():
  floats = pixels.to_float(np.array([0, 51, 255], np.uint8))
  assert floats.dtype == np.float32
  np.testing.assert_array_equal(floats, np.array([0, 0.2, 1], np.float32))


def test_to_uint8_rounds_and_clips():
  values = np.array([-0.3, 0.49 / 255, 0.51 / 255, 253.6 / 255, 1, 7])
  np.testing.assert_array_equal(pixels.to_uint8(values), [0, 0, 1, 254, 255, 255])


def test_every_level_survives_the_way_to_float_and_back():
  levels = np.arange(256, dtype=np.uint8)
  np.testing.assert_array_equal(pixels.to_uint8(pixels.to_float(levels)), levels)
