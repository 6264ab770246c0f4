import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degrep_jax.common.errors import UserError
from degrep_jax.data.synthetic import motion
from degrep_jax.data.synthetic.motion import Blur, Region

SHAPE = (300, 400, 3)
BLUR = Blur(shake=12, rotation=2, object_motion=14, sub_frames=17, noise=3)


@pytest.mark.parametrize('sub_frames', [-1, 0, 4])
def test_sub_frames_must_be_odd(sub_frames):
  with pytest.raises(UserError, match=f'sub_frames is {sub_frames}'):
    Blur(1, 1, 1, sub_frames, 1)


@pytest.mark.parametrize('field', ['shake', 'rotation', 'object_motion', 'noise'])
def test_amounts_must_not_be_negative(field):
  amounts = {'shake': 1, 'rotation': 1, 'object_motion': 1, 'sub_frames': 3, 'noise': 1}
  with pytest.raises(UserError, match=f'{field} is -1'):
    Blur(**amounts | {field: -1})


def test_the_share_at_rest_is_a_share():
  with pytest.raises(UserError, match=r'rest is 1\.5'):
    Blur(1, 1, 1, 3, 1, rest=1.5)


@settings(deadline=None, max_examples=50)
@given(
  seed=st.integers(0, 2**32), steps=st.sampled_from([3, 13, 31]), dimensions=st.sampled_from([1, 2])
)
def test_paths_rest_at_the_middle_and_have_extent_one(seed, steps, dimensions):
  path = motion.draw_path(np.random.default_rng(seed), steps, dimensions)
  assert path.shape == (steps, dimensions)
  np.testing.assert_array_equal(path[steps // 2], 0)
  farthest = max(np.hypot(*np.pad(a - b, (0, 2 - dimensions))) for a in path for b in path)
  assert farthest == pytest.approx(1)


def test_a_single_sub_frame_does_not_move():
  np.testing.assert_array_equal(motion.draw_path(np.random.default_rng(0), 1, 2), [[0, 0]])


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 2**32), strength=st.floats(0, 1))
def test_drawn_amounts_stay_below_the_maxima(seed, strength):
  drawn = motion.draw_motion(BLUR, SHAPE, np.random.default_rng(seed), strength)
  region, camera = (layer.views for layer in drawn.layers)
  angle = np.arctan2(camera[:, 1, 0], camera[:, 0, 0])
  assert np.rad2deg(np.ptp(angle)) <= 2 * strength + 1e-9
  assert np.ptp((region - camera)[:, :, 2], axis=0).max() <= 14 * strength + 1e-9
  assert 0 <= drawn.noise <= 3
  np.testing.assert_array_equal(camera[8], np.eye(2, 3))


def test_strength_one_without_rotation_uses_the_whole_shake():
  drawn = motion.draw_motion(Blur(12, 0, 0, 17, 0), SHAPE, np.random.default_rng(0), 1.0)
  (camera,) = drawn.layers
  shift = camera.views[:, :, 2]
  extent = np.linalg.norm(shift[:, None] - shift[None], axis=-1).max()
  assert extent == pytest.approx(12)
  assert camera.region is None


def test_camera_turns_about_its_centre_then_shifts():
  camera = motion.camera_maps(
    np.array([[3.0, -1.0]]), np.array([np.pi / 2]), np.array([10.0, 20.0])
  )
  np.testing.assert_allclose(camera[0] @ [10, 20, 1], [13, 19])
  np.testing.assert_allclose(camera[0] @ [15, 20, 1], [13, 24])


def test_depth_in_a_circle_is_the_distance_to_its_outline():
  circle = Region(np.array([10.0, 20.0]), np.eye(2), 8.0, np.zeros(0, np.complex64))
  x, y = np.array([[10.0, 15.0, 10.0, 22.0]]), np.array([[20.0, 20.0, 12.0, 20.0]])
  np.testing.assert_allclose(circle.depth(x, y)[0], [[7, 3, 0, -4]])  # distances count from 1 px


def test_harmonics_bulge_where_they_should():
  region = Region(np.zeros(2), np.eye(2), 10.0, np.array([0.2, 0.1], np.complex64))
  angles = np.linspace(0, 2 * np.pi, 9)[None]
  depth, _ = region.depth(10 * np.cos(angles), 10 * np.sin(angles))
  np.testing.assert_allclose(depth, 2 * np.cos(2 * angles) + np.cos(3 * angles), atol=1e-5)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32))
def test_regions_cover_some_of_the_picture(seed):
  region = motion.draw_region(np.random.default_rng(seed), 300, 400)
  y, x = np.mgrid[:300, :400].astype(np.float32)
  covered = (region.depth(x, y)[0] > 0).mean()
  assert 0 < covered < 0.5
