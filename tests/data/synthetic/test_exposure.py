import numpy as np
import pytest
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from degrep_jax.data.synthetic import exposure
from degrep_jax.data.synthetic.exposure import blur_photograph, expose, measure
from degrep_jax.data.synthetic.motion import (
  Blur,
  Layer,
  Motion,
  Region,
  camera_maps,
  draw_motion,
  moved,
)

STILL = Blur(shake=0, rotation=0, object_motion=0, sub_frames=5, noise=0)
STRONG = Blur(shake=15, rotation=3, object_motion=15, sub_frames=9, noise=0)
OBJECT = Blur(shake=0, rotation=0, object_motion=40, sub_frames=9, noise=0)


def smooth(height, width, seed=0):
  """Light (H, W, 4) in [0, 1] with opacity 1."""
  noise = np.random.default_rng(seed).random((height, width, 3))
  light = np.ones((height, width, 4), np.float32)
  light[..., :3] = np.clip(ndimage.gaussian_filter(noise, (3, 3, 0)) * 6 - 2.5, 0, 1)
  return light


def photograph(height=90, width=120):
  return exposure.to_sensor(smooth(height, width)[..., :3], 0, np.random.default_rng(0))


def whole(picture):
  return slice(0, picture.shape[0]), slice(0, picture.shape[1])


def shift(dx, dy=None, path=None, region=None):
  """A camera that shifts without turning; `dx` (S,) px."""
  dx = np.asarray(dx, float)
  moves = np.stack([dx, np.zeros(len(dx)) if dy is None else np.asarray(dy, float)], 1)
  camera = camera_maps(moves, np.zeros(len(dx)), np.zeros(2))
  if region is None:
    return Motion((Layer(camera),))
  return Motion((Layer(moved(camera, -path), region), Layer(camera)))


def circle(x, y, radius):
  return Region(np.array([x, y], float), np.eye(2), radius, np.zeros(0, np.complex64))


def test_linear_light_of_srgb():
  light = exposure.to_light(np.array([[[0, 10, 188], [255, 128, 1]]], np.uint8))
  expected = [[0, 10 / 255 / 12.92, 0.5029, 1], [1, 0.2159, 1 / 255 / 12.92, 1]]
  np.testing.assert_allclose(light[0], expected, atol=1e-4)


def test_sensor_undoes_linear_light():
  levels = np.arange(255, dtype=np.uint8).reshape(5, 17, 3)
  light = exposure.to_light(levels)[..., :3]
  np.testing.assert_array_equal(exposure.to_sensor(light, 0, np.random.default_rng(0)), levels)


def test_noise_has_its_standard_deviation():
  grey = exposure.to_light(np.full((100, 100, 3), 128, np.uint8))[..., :3]
  noisy = exposure.to_sensor(grey, 5.0, np.random.default_rng(0)).astype(float)
  assert noisy.std() == pytest.approx(5, abs=0.15)
  assert noisy.mean() == pytest.approx(128, abs=0.15)


def test_without_motion_blurry_is_the_photograph():
  photo = photograph()
  example = blur_photograph(photo, STILL, np.random.default_rng(0))
  np.testing.assert_array_equal(example.blurry, photo)
  np.testing.assert_array_equal(example.sharp, photo)
  assert not example.moving.any() and not example.extent.any()


@pytest.mark.parametrize('seed', range(4))
def test_blur_of_a_constant_picture_is_constant(seed):
  photo = np.full((70, 90, 3), (10, 130, 250), np.uint8)
  np.testing.assert_array_equal(
    blur_photograph(photo, STRONG, np.random.default_rng(seed)).blurry, photo
  )


def test_a_line_is_spread_over_the_path():
  line = np.zeros((20, 40, 4), np.float32)
  line[:, 21] = 1
  out = expose(line, shift(np.arange(-3, 4)), whole(line))
  expected = np.zeros((20, 40, 3))
  expected[:, 18:25] = 1 / 7
  np.testing.assert_allclose(out, expected, atol=1e-6)


def test_the_blur_follows_the_cameras_path():
  point = np.zeros((30, 30, 4), np.float32)
  point[15, 15] = 1
  out = expose(point, shift([-4, 0, 2], [1, 0, 3]), whole(point))[..., 0]
  # A camera that looks 4 px to the left shows the point 4 px further right.
  seen = {tuple(index) for index in np.argwhere(out > 0.3)}
  assert seen == {(14, 19), (15, 15), (12, 13)}


def test_averaging_happens_in_linear_light():
  photo = np.zeros((10, 40, 3), np.uint8)
  photo[:, 20:] = 255
  light = expose(exposure.to_light(photo), shift([-4, -3, -2, -1, 0, 1, 2, 3, 4]), whole(photo))
  blurry = exposure.to_sensor(light, 0, np.random.default_rng(0))[5, :, 0]
  # Column 20 sees white in 5 of 9 sub-frames: 255 * (1.055 * (5/9)^(1/2.4) - 0.055) = 196.6
  assert blurry[20] == 197
  # Column 19, 4 of 9: 177.9
  assert blurry[19] == 178
  assert blurry[15] == 0 and blurry[24] == 255


def test_a_turned_view_agrees_with_scipy():
  light = smooth(60, 80)
  camera = camera_maps(np.array([[2.5, -1.25]]), np.array([0.1]), np.array([30.0, 20.0]))
  out = expose(light, Motion((Layer(camera),)), whole(light))
  y, x = np.mgrid[:60, :80]
  cos, sin = np.cos(0.1), np.sin(0.1)
  seen_x = cos * (x - 30) - sin * (y - 20) + 30 + 2.5
  seen_y = sin * (x - 30) + cos * (y - 20) + 20 - 1.25
  for channel in range(3):
    expected = ndimage.map_coordinates(
      light[..., channel], [seen_y, seen_x], order=1, mode='mirror'
    )
    # OpenCV places samples on a grid of 1/32 px.
    np.testing.assert_allclose(out[..., channel], expected, atol=0.02)


@pytest.mark.parametrize('blur', [STRONG, OBJECT])
@pytest.mark.parametrize('seed', range(6))
def test_a_window_shows_what_the_whole_shows_there(seed, blur):
  photo = photograph()
  window = slice(12, 50), slice(40, 95)
  whole_one = blur_photograph(photo, blur, np.random.default_rng(seed))
  part = blur_photograph(photo, blur, np.random.default_rng(seed), window)
  np.testing.assert_array_equal(part.sharp, whole_one.sharp[window])
  np.testing.assert_array_equal(part.moving, whole_one.moving[window])
  np.testing.assert_array_equal(part.swept, whole_one.swept[window])
  np.testing.assert_allclose(part.extent, whole_one.extent[window], atol=1e-3)
  np.testing.assert_allclose(part.blurry.astype(int), whole_one.blurry[window], atol=2)


def test_what_shows_behind_a_region_comes_from_beyond_a_small_window():
  light = smooth(90, 120)
  # The region's edge at 90 moves to 76, and shows what lies behind from 76 on: what is mirrored
  # from 104, further than anything in the window moves.
  path = np.array([[-14.0, 0], [0, 0], [14, 0]])
  motion = shift([0, 0, 0], path=path, region=circle(60, 45, 30))
  window = slice(40, 50), slice(72, 78)
  shown = expose(light, motion, window)
  np.testing.assert_allclose(shown, expose(light, motion, whole(light))[window], atol=1e-6)


def test_a_region_at_rest_hides_the_filling_behind_it():
  light = smooth(60, 80)
  motion = shift([0], path=np.array([[0.0, 0.0]]), region=circle(40, 30, 15))
  np.testing.assert_allclose(expose(light, motion, whole(light)), light[..., :3], atol=1e-6)


def test_a_moving_disc_covers_and_uncovers_what_is_behind():
  y, x = np.mgrid[:80, :100]
  disc = np.ones((80, 100, 4), np.float32)
  disc[..., :3] = (np.hypot(x - 50, y - 40) < 15)[..., None]
  path = np.array([[0, 1], [0, 0], [7, 0]])
  out = expose(disc, shift([0, 0, 0], path=path, region=circle(50, 40, 20)), whole(disc))
  shown = [np.roll(disc[..., 0], (down, right), (0, 1)) for right, down in path]
  expected = np.mean(shown, axis=0)
  np.testing.assert_allclose(out[..., 1], expected, atol=1e-5)


def test_only_the_region_moves_when_the_camera_rests():
  light = smooth(80, 100)
  steps = np.arange(-3, 4)
  motion = shift(0 * steps, path=np.stack([0 * steps, steps], 1), region=circle(50, 40, 25))
  out = expose(light, motion, whole(light))
  y, x = np.mgrid[:80, :100]
  distance = np.hypot(x - 50, y - 40)
  outside, inside = distance > 25 + 4, distance < 25 - 7
  np.testing.assert_allclose(out[outside], light[outside][:, :3], atol=1e-6)
  along = ndimage.uniform_filter1d(light, 7, axis=0)
  np.testing.assert_allclose(out[inside], along[inside][:, :3], atol=1e-5)


def test_a_region_sweeps_its_outline_along_its_path():
  path = np.array([[0.0, -6], [0, 0], [9, 0]])
  _, _, moving, swept = measure(
    shift([0, 0, 0], path=path, region=circle(50, 40, 20)), (slice(0, 80), slice(0, 100))
  )
  y, x = np.mgrid[:80, :100]
  expected = np.any([np.hypot(x - 50 - right, y - 40 - down) < 21 for right, down in path], 0)
  np.testing.assert_array_equal(swept, expected)
  assert swept[moving].all() and swept[40, 77] and not moving[40, 77]


def test_extent_of_a_translation_is_its_path_length():
  extent, direction, *_ = measure(
    shift([-6, -3, 0, 3, 0], [-8, -4, 0, 4, 0]), (slice(0, 20), slice(5, 30))
  )
  np.testing.assert_allclose(extent, np.full((20, 25), 20), rtol=1e-6)  # four steps of 5 px
  np.testing.assert_allclose(direction, np.arctan2(4, 3), atol=1e-5)


def test_extent_of_a_rotation_grows_with_the_distance_from_its_centre():
  turn = np.deg2rad(np.linspace(-2, 2, 41))
  camera = camera_maps(np.zeros((41, 2)), turn, np.array([30.0, 10.0]))
  extent, direction, *_ = measure(Motion((Layer(camera),)), (slice(0, 50), slice(0, 70)))
  y, x = np.mgrid[:50, :70]
  np.testing.assert_allclose(extent, np.hypot(x - 30, y - 10) * np.deg2rad(4), atol=1e-3)
  # Everything moves at right angles to the line from the centre.
  across = np.arctan2(y - 10, x - 30) + np.pi / 2
  away = np.hypot(x - 30, y - 10) > 5
  np.testing.assert_allclose(np.cos(2 * (direction - across))[away], 1, atol=1e-3)


def test_extent_of_the_region_adds_its_own_motion():
  path = np.stack([np.arange(-2, 3) * 1.5, np.zeros(5)], 1)
  motion = shift(np.arange(-2, 3) * 0.5, path=path, region=circle(50, 40, 20))
  extent, direction, moving, _ = measure(motion, (slice(0, 80), slice(0, 100)))
  # Camera and region move the same way by 0.5 and 1.5 px a step: the camera follows the region.
  np.testing.assert_allclose(extent[moving], 4, rtol=1e-5)
  np.testing.assert_allclose(extent[~moving], 2, rtol=1e-5)
  assert moving.sum() == pytest.approx(np.pi * 19**2, rel=0.02)  # where it is half opaque
  np.testing.assert_allclose(direction, 0, atol=1e-6)


def test_what_rests_has_no_direction():
  still = shift(np.zeros(5))
  extent, direction, *_ = measure(still, (slice(0, 9), slice(0, 7)))
  assert not extent.any() and not direction.any()


def test_the_drawn_blur_is_centred_on_the_sharp_picture():
  photo, offsets = photograph(120, 160), []
  grey = photo.mean(-1)
  for seed in range(12):
    blur = Blur(shake=8, rotation=0, object_motion=0, sub_frames=9, noise=0)
    motion = draw_motion(blur, photo.shape, np.random.default_rng(seed), 1.0)
    path = motion.layers[-1].views[:, :, 2]
    blurry = expose(exposure.to_light(photo), motion, whole(photo)).mean(-1)
    towards, _, _ = phase_cross_correlation(grey, blurry, normalization=None)
    moved = -towards[::-1]
    np.testing.assert_allclose(moved, -path.mean(0), atol=2)
    offsets.append(moved)
  assert np.abs(np.mean(offsets, axis=0)).max() <= 1
