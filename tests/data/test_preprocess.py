import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from degrep_jax.data import preprocess


def dihedral(picture):
  """The eight flips and turns of a picture, by NumPy's rot90."""
  turned = [np.rot90(picture, k) for k in range(4)]
  return turned + [turn[:, ::-1] for turn in turned]


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), side=st.integers(2, 9))
def test_both_pictures_get_the_same_flip_or_turn(seed, side):
  sharp = np.arange(side * side * 3, dtype=np.float32).reshape(side, side, 3)
  blurry, out = preprocess.augment(sharp + 1000, sharp, np.random.default_rng(seed))
  np.testing.assert_array_equal(blurry, out + 1000)
  assert any(np.array_equal(out, one) for one in dihedral(sharp))


def test_all_eight_flips_and_turns_are_drawn_about_equally():
  sharp = np.arange(12).reshape(2, 2, 3)
  rng = np.random.default_rng(0)
  draws = [preprocess.augment(sharp, sharp, rng)[1] for _ in range(800)]
  counts = [sum(np.array_equal(draw, one) for draw in draws) for one in dihedral(sharp)]
  assert sum(counts) == 800
  assert min(counts) > 65 and max(counts) < 135  # 100 expected, standard deviation 9.4


def test_augmenting_does_not_touch_its_input():
  blurry, sharp = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), np.uint8)
  before = blurry.copy(), sharp.copy()
  for seed in range(8):
    for picture in preprocess.augment(blurry, sharp, np.random.default_rng(seed)):
      picture[:] = 0
  np.testing.assert_array_equal((blurry, sharp), before)


def test_to_float_ends_are_exact():
  floats = preprocess.to_float(np.array([0, 51, 255], np.uint8))
  assert floats.dtype == np.float32
  np.testing.assert_array_equal(floats, np.array([0, 0.2, 1], np.float32))


def test_to_uint8_rounds_and_clips():
  values = np.array([-0.3, 0.49 / 255, 0.51 / 255, 253.6 / 255, 1, 7])
  np.testing.assert_array_equal(preprocess.to_uint8(values), [0, 0, 1, 254, 255, 255])


def test_every_level_survives_the_way_to_float_and_back():
  levels = np.arange(256, dtype=np.uint8)
  np.testing.assert_array_equal(preprocess.to_uint8(preprocess.to_float(levels)), levels)
