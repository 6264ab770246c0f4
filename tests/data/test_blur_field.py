"""Blur as numbers that can be averaged, against what is done to lines by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from degrep_jax.data import blur_field
from degrep_jax.data.pipeline import Turn

FLAGS = st.booleans()


def _line(values):
  """(length in pixels, direction in degrees, 0 .. 180) of a point of a field."""
  strength, x, y, _ = values
  return (2 * strength) ** 2, np.rad2deg(np.arctan2(y, x) / 2) % 180


@given(extent=st.floats(0.5, 90), angle=st.floats(-10, 10))
def test_a_field_tells_length_and_direction(extent, angle):
  length, direction = _line(blur_field.of_paths(*np.array([[[extent]], [[angle]]]))[0, 0])
  assert length == pytest.approx(extent, rel=1e-4)
  apart = (direction - np.rad2deg(angle)) % 180
  assert min(apart, 180 - apart) < 0.01


def test_directions_without_a_head_average():
  # 10 degrees and 170 are 20 apart: their mean is 0, not 90.
  angles = np.deg2rad([[10.0, 170.0]])
  mean = blur_field.of_paths(np.full((1, 2), 9.0), angles).mean((0, 1))
  assert min(_line(mean)[1], 180 - _line(mean)[1]) < 1e-3


def test_what_is_not_known_and_what_is_still():
  assert blur_field.unknown(18).shape == blur_field.still(18).shape == (4, 4, 4)
  assert not blur_field.unknown(18).any()
  np.testing.assert_array_equal(blur_field.still(8)[0, 0], [0, 0, 0, 1])


def test_points_lie_in_the_middle_of_squares():
  np.testing.assert_array_equal(blur_field.points(-2, 8), [-0.5, 3.5])


@given(horizontal=FLAGS, vertical=FLAGS, transpose=FLAGS, seed=st.integers(0, 2**32))
def test_a_turned_field_is_that_of_the_turned_lines(horizontal, vertical, transpose, seed):
  rng = np.random.default_rng(seed)
  extent, angle = rng.uniform(0, 60, (5, 5)), rng.uniform(0, np.pi, (5, 5))
  lines = np.stack([extent, np.cos(angle), np.sin(angle)], -1)  # length, x, y
  if horizontal:
    lines = lines[:, ::-1] * (1, -1, 1)
  if vertical:
    lines = lines[::-1] * (1, 1, -1)
  if transpose:
    lines = lines.swapaxes(0, 1)[..., [0, 2, 1]]
  expected = blur_field.of_paths(lines[..., 0], np.arctan2(lines[..., 2], lines[..., 1]))
  turn = Turn(horizontal, vertical, transpose)
  found = turn.of_field(blur_field.of_paths(extent, angle))
  np.testing.assert_allclose(found, expected, atol=1e-5)
