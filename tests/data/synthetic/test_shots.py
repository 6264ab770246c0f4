import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage, signal

from degrep_jax.common.errors import UserError
from degrep_jax.data.synthetic import exposure, shots
from degrep_jax.data.synthetic.camera import DISPLAY, HERO6, SRGB, Finish
from degrep_jax.data.synthetic.motion import Layer, Motion, Region
from degrep_jax.data.synthetic.shots import PhotoBlur, Shot, camera_views, draw_shot, shoot

BLUR = PhotoBlur(
  shake=20, rotation=3, object_motion=20, sub_frames=31, noise=3, rest=0.2, display=0.5
)
STILL = np.zeros(9)


def photograph(height=90, width=120, seed=0):
  noise = np.random.default_rng(seed).random((height, width, 3))
  smooth = ndimage.gaussian_filter(noise, (2, 2, 0)) * 6 - 2.5
  return np.rint(np.clip(smooth, 0, 1) * 255).astype(np.uint8)


def whole(picture):
  return slice(0, picture.shape[0]), slice(0, picture.shape[1])


def shot(views, *regions, response=SRGB, **others):
  """A shot without noise; regions are (views, region)."""
  layers = *(Layer(*layer) for layer in regions), Layer(views)
  return Shot(
    Motion(layers),
    **{'kernel': None, 'highlights': 1.0, 'finish': Finish()} | others,
    response=response,
  )


def shifting(path, roll=None, zoom=None, tilt=(0, 0), centre=(0, 0)):
  still = np.zeros(len(path))
  roll, zoom = (still if given is None else given for given in (roll, zoom))
  return camera_views(np.asarray(path, float), roll, zoom, np.array(tilt), np.array(centre))


def line(length, angle, steps):
  return np.outer(np.linspace(-0.5, 0.5, steps) * length, [np.cos(angle), np.sin(angle)])


@settings(deadline=None, max_examples=20)
@given(length=st.floats(4, 40), angle=st.floats(-1.5, 1.5))
def test_a_point_leaves_a_line_of_the_stated_extent_and_direction(length, angle):
  photo = np.zeros((101, 101, 3), np.uint8)
  photo[50, 50] = 255
  views = shifting(line(length, angle, 81))
  example = shoot(photo, shot(views), whole(photo), np.random.default_rng(0))
  extent, direction = example.extent[50, 50], example.direction[50, 50]
  y, x = np.nonzero(example.blurry[..., 0] > 5)
  along = (x - 50) * np.cos(direction) + (y - 50) * np.sin(direction)
  across = (y - 50) * np.cos(direction) - (x - 50) * np.sin(direction)
  # Interpolation spreads a point over less than a pixel to each side.
  assert extent - 1 < np.ptp(along) < extent + 2.9
  assert np.abs(across).max() < 1.5
  assert extent == pytest.approx(length, rel=1e-3)
  assert np.cos(2 * (direction - angle)) == pytest.approx(1, abs=1e-5)


def test_views_shift_roll_and_come_nearer_about_the_centre():
  views = shifting([[3, -1]], np.array([np.pi / 2]), np.array([0.5]), centre=(10, 20))
  np.testing.assert_allclose(views[0] @ [10, 20, 1], [13, 19])
  np.testing.assert_allclose(views[0] @ [14, 20, 1], [13, 25])


def test_a_tilted_plane_shifts_more_where_it_is_nearer():
  views = shifting([[4, 2]], tilt=(0.01, 0), centre=(50, 50))
  np.testing.assert_allclose(views[0] @ [50, 90, 1], [54, 92])
  np.testing.assert_allclose(views[0] @ [100, 50, 1], [106, 53])  # half as much again


def test_coming_nearer_blurs_away_from_the_centre():
  views = shifting(np.zeros((21, 2)), zoom=np.linspace(-0.1, 0.1, 21), centre=(60, 45))
  extent, direction, *_ = exposure.measure(Motion((Layer(views),)), whole(photograph()))
  y, x = np.mgrid[:90, :120]
  np.testing.assert_allclose(extent, 0.2 * np.hypot(x - 60, y - 45), atol=1e-3)
  away = np.hypot(x - 60, y - 45) > 3
  outwards = np.arctan2(y - 45, x - 60)
  np.testing.assert_allclose(np.cos(2 * (direction - outwards))[away], 1, atol=1e-4)


@pytest.mark.parametrize('seed', range(8))
def test_a_window_shows_what_the_whole_shows_there(seed):
  photo, window = photograph(), (slice(12, 50), slice(40, 95))
  drawn = draw_shot(BLUR, photo.shape, np.random.default_rng(seed))
  # Noise is drawn for the picture that is asked for, and what is compressed in the blocks at its
  # border was sharpened at the border.
  finish = dataclasses.replace(drawn.finish, noise=0)
  if finish.sharpening:
    finish = dataclasses.replace(finish, quality=None)
  drawn = dataclasses.replace(drawn, finish=finish)
  all_of_it, there = (
    shoot(photo, drawn, part, np.random.default_rng(0)) for part in (whole(photo), window)
  )
  np.testing.assert_array_equal(there.sharp, all_of_it.sharp[window])
  np.testing.assert_array_equal(there.moving, all_of_it.moving[window])
  np.testing.assert_array_equal(there.swept, all_of_it.swept[window])
  np.testing.assert_allclose(there.extent, all_of_it.extent[window], atol=1e-3)
  difference = np.abs(there.blurry.astype(int) - all_of_it.blurry[window])
  assert difference.mean() < 0.1 and difference.max() <= 8


@pytest.mark.parametrize('seed', range(4))
def test_a_constant_picture_stays_what_it_is(seed):
  photo = np.full((70, 90, 3), (10, 130, 240), np.uint8)
  drawn = draw_shot(BLUR, photo.shape, np.random.default_rng(seed))
  drawn = dataclasses.replace(drawn, finish=Finish())
  example = shoot(photo, drawn, whole(photo), np.random.default_rng(0))
  np.testing.assert_array_equal(example.blurry, photo)


@pytest.mark.parametrize(
  ('response', 'grey'),
  # Half of the light: 127.5 of 255 displayed; 255 * (1.055 / 2^(1/2.4) - 0.055) = 187.5;
  # 255 * ln(1 + expm1(4.43) / 2) / 4.43 = 215.8
  [(DISPLAY, 127.5), (SRGB, 187.5), (HERO6, 215.8)],
)
def test_frames_are_averaged_in_the_light_of_the_response(response, grey):
  photo = np.zeros((20, 60, 3), np.uint8)
  photo[:, 30:] = 255
  views = shifting(np.stack([np.linspace(-4.5, 4.5, 10), np.zeros(10)], 1))
  example = shoot(photo, shot(views, response=response), whole(photo), np.random.default_rng(0))
  # Between columns 29 and 30 lies the middle of the ramp.
  assert example.blurry[10, 29:31, 0].astype(float).mean() == pytest.approx(grey, abs=3)
  assert example.blurry[10, 20, 0] == 0 and example.blurry[10, 40, 0] == 255


def test_a_highlight_leaves_a_streak_as_bright_as_it_was():
  photo = np.zeros((30, 60, 3), np.uint8)
  photo[15, 30] = 255
  views = shifting(np.stack([np.arange(-4.0, 5), STILL], 1))

  def streak(highlights):
    made = shot(views, response=DISPLAY, highlights=highlights)
    return shoot(photo, made, whole(photo), np.random.default_rng(0)).blurry[15, 26:35, 0]

  np.testing.assert_array_equal(streak(1.0), np.rint(255 / 9))
  np.testing.assert_array_equal(streak(6.0), np.rint(6 * 255 / 9))
  np.testing.assert_array_equal(streak(12.0), 255)


def test_regions_hide_each_other_in_their_order():
  photo = np.zeros((60, 60, 3), np.uint8)
  y, x = np.mgrid[:60, :60]
  photo[np.hypot(x - 20, y - 30) < 10] = (255, 0, 0)
  photo[np.hypot(x - 40, y - 30) < 10] = (0, 255, 0)
  one, other = (Region(np.array([at, 30.0]), np.eye(2), 12.0, np.zeros(0)) for at in (20, 40))
  still, right = np.zeros((3, 2)), [[0, 0], [0, 0], [20, 0]]

  def end(*regions):
    """The last of three frames, times three."""
    made = shot(shifting(still), *regions, response=DISPLAY)
    return shoot(photo, made, whole(photo), np.random.default_rng(0)).blurry[30, 40]

  moving = shifting(np.negative(right)), one
  assert list(end(moving, (shifting(still), other))) == [85, 170, 0]
  assert list(end((shifting(still), other), moving)) == [0, 255, 0]


def test_a_kernel_is_convolved():
  photo, kernel = photograph(), np.random.default_rng(0).random((5, 7))
  kernel /= kernel.sum()
  made = shot(shifting([[0, 0]]), response=DISPLAY, kernel=kernel)
  example = shoot(photo, made, whole(photo), np.random.default_rng(0))
  expected = np.stack(
    [signal.convolve2d(photo[..., c].astype(float), kernel, 'valid') for c in range(3)], -1
  )
  np.testing.assert_allclose(example.blurry[2:-2, 3:-3].astype(float), expected, atol=0.51)


@settings(deadline=None, max_examples=20)
@given(angle=st.floats(-1.5, 1.5), half=st.integers(10, 20))
def test_extent_and_direction_of_a_kernel_are_those_of_its_line(angle, half):
  kernel = np.zeros((51, 51))
  for at in np.linspace(-half, half, 400):
    kernel[round(25 + at * np.sin(angle)), round(25 + at * np.cos(angle))] += 1
  length, direction = shots.kernel_line(kernel)
  assert length == pytest.approx(2 * half, abs=1)
  assert np.cos(2 * (direction - angle)) > 0.99


def test_the_field_of_a_kernel_is_that_of_its_line():
  kernel = np.zeros((21, 21))
  steps = np.arange(-10, 11)
  kernel[10 + steps, 10 + steps] = 1 / 21  # falling to the right: 45 degrees, y being down
  made = shot(shifting([[0, 0]]), kernel=kernel)
  field = shots.field_of(made, (slice(8, 24), slice(0, 32)))
  assert field.shape == (4, 8, 4)
  # The second moment of 21 points at distances of sqrt(2), as that of an even line.
  strength = np.sqrt(np.sqrt(12 * 2 * np.mean(steps**2))) / 2
  np.testing.assert_allclose(field[..., 0], strength, rtol=1e-5)
  np.testing.assert_allclose(field[..., 1], 0, atol=1e-5)
  np.testing.assert_allclose(field[..., 2], strength, rtol=1e-5)
  assert (field[..., 3] == 1).all()


def test_kernels_are_drawn_turned_and_centred():
  kernel = np.zeros((9, 15))
  kernel[4, 2:13] = 1 / 11
  blur = dataclasses.replace(BLUR, kernels=(kernel,))
  drawn = [draw_shot(blur, (90, 120, 3), np.random.default_rng(seed)) for seed in range(200)]
  kernels = [each.kernel for each in drawn if each.kernel is not None]
  assert 8 < len(kernels) < 35  # a tenth
  directions = [shots.kernel_line(each)[1] for each in kernels]
  assert np.ptp(directions) > 1.5
  for each in kernels:
    assert each.sum() == pytest.approx(1) and each.shape[0] % 2 == each.shape[1] % 2 == 1
    centre = ndimage.center_of_mass(each)
    np.testing.assert_allclose(centre, np.array(each.shape) // 2, atol=0.3)


def test_a_tail_far_from_the_centre_of_gravity_is_kept():
  kernel = np.zeros((41, 41))
  kernel[4:8, 4:8], kernel[18:22, 18:22], kernel[34:38, 34:38] = 0.8, 0.1, 0.1
  blur = dataclasses.replace(BLUR, kernels=(kernel,))
  drawn = [draw_shot(blur, (90, 120, 3), np.random.default_rng(seed)) for seed in range(200)]
  kernels = [each.kernel for each in drawn if each.kernel is not None]
  assert kernels
  for each in kernels:
    centre = ndimage.center_of_mass(each)
    np.testing.assert_allclose(centre, np.array(each.shape) // 2, atol=1)


def test_lengths_are_log_uniform_up_to_the_largest():
  blur = dataclasses.replace(BLUR, shake=40, rest=0)
  lengths = []
  for seed in range(400):
    rest = draw_shot(blur, (720, 1280, 3), np.random.default_rng(seed)).motion.layers[-1]
    seen = rest.views @ [640, 360, 1]
    lengths.append(np.linalg.norm(seen[:, None] - seen[None], axis=-1).max())
  assert max(lengths) < 60  # roll and zoom about another centre add to the shift
  # Of 3 .. 40 the middle of the logarithms is 11.
  assert np.median(lengths) == pytest.approx(11, rel=0.25)


def test_a_share_of_the_cameras_is_at_rest_and_then_a_region_moves():
  blur = dataclasses.replace(BLUR, rest=0.5)
  drawn = [
    draw_shot(blur, (200, 300, 3), np.random.default_rng(seed)).motion.layers for seed in range(200)
  ]
  still = [layers for layers in drawn if not np.ptp(layers[-1].views, axis=0).any()]
  assert 75 < len(still) < 125
  for layers in still:
    assert all(np.ptp(layer.views, axis=0).any() for layer in layers[:-1]) and len(layers) > 1


@pytest.mark.parametrize('seed', range(20))
def test_every_layer_is_where_the_photograph_has_it_in_the_middle(seed):
  layers = draw_shot(BLUR, (200, 300, 3), np.random.default_rng(seed)).motion.layers
  for layer in layers:
    middle = layer.views[len(layer.views) // 2]
    np.testing.assert_allclose(middle, np.eye(2, 3), atol=1e-9)
  assert {len(layer.views) for layer in layers} == {len(layers[0].views)}
  assert layers[-1].region is None and all(layer.region is not None for layer in layers[:-1])


@pytest.mark.parametrize(
  ('fields', 'named'),
  [
    ({'sub_frames': 4}, 'sub_frames is 4'),
    ({'shake': 0.0}, 'shake is 0.0'),
    ({'object_motion': 0.1}, r'object_motion is 0\.1'),
    ({'rotation': -1}, 'rotation is -1'),
    ({'display': 1.5}, r'display is 1\.5'),
  ],
)
def test_unfit_amounts(fields, named):
  with pytest.raises(UserError, match=named):
    dataclasses.replace(BLUR, **fields)


def test_kernels_are_read(tmp_path):
  np.savez(tmp_path / 'k.npz', one=np.full((3, 5), 2.0), two=np.eye(3))
  one, two = shots.read_kernels(tmp_path / 'k.npz')
  np.testing.assert_allclose(one, 1 / 15)
  np.testing.assert_allclose(two, np.eye(3) / 3)


@pytest.mark.parametrize('array', [np.zeros((3, 3)), np.ones(4), -np.ones((2, 2)), 'no'])
def test_what_is_no_kernel(tmp_path, array):
  np.savez(tmp_path / 'k.npz', array)
  with pytest.raises(UserError, match=r'k\.npz (holds an array that is no kernel|cannot be read)'):
    shots.read_kernels(tmp_path / 'k.npz')
  with pytest.raises(UserError, match=r'none\.npz cannot be read'):
    shots.read_kernels(tmp_path / 'none.npz')


@pytest.mark.parametrize('share', [0, 0.4, 0.95])
def test_kernels_that_are_cut_off(tmp_path, share):
  path = tmp_path / 'k.npz'
  np.savez_compressed(path, one=np.random.default_rng(0).uniform(size=(9, 9)), two=np.eye(3))
  path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
  with pytest.raises(UserError, match=r'k\.npz cannot be read'):
    shots.read_kernels(path)
