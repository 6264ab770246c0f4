import numpy as np
import pytest
from scipy import ndimage

from degrep_jax.data.synthetic import camera
from degrep_jax.data.synthetic.camera import DISPLAY, HERO6, SRGB, Finish


@pytest.mark.parametrize('response', [DISPLAY, SRGB, HERO6])
def test_values_undo_light(response):
  assert response.light[0] == 0 and response.light[255] == pytest.approx(1)
  np.testing.assert_allclose(response.values(response.light) * 255, np.arange(256), atol=1e-2)


def test_displayed_values_are_their_own_light():
  np.testing.assert_allclose(DISPLAY.light, np.arange(256) / 255)


def test_hero6_is_as_measured():
  # Levels 64, 128, 192 and 240 of the authors' table, relative to 128.
  measured = np.array([0.2680, 1.0, 3.4061, 7.5438])
  light = HERO6.light[[64, 128, 192, 240]]
  np.testing.assert_allclose(light / light[1], measured, rtol=0.08)


def test_without_anything_levels_are_rounded():
  levels = np.array([[[-3.0, 0.4, 99.6], [254.6, 255, 300]]], np.float32)
  out = camera.finish(levels, Finish(), np.random.default_rng(0))
  np.testing.assert_array_equal(out, [[[0, 0, 100], [255, 255, 255]]])


@pytest.mark.parametrize('grain', [0.0, 0.7])
def test_noise_has_its_standard_deviation_at_mid_grey(grain):
  levels = np.full((200, 200, 3), 118, np.float32)  # 0.18 of the light
  out = camera.finish(levels, Finish(noise=6, read=0.2, grain=grain), np.random.default_rng(0))
  assert out.std() == pytest.approx(6, abs=0.2)
  neighbours = np.corrcoef(out[:, 1:].ravel(), out[:, :-1].ravel())[0, 1]
  assert neighbours > 0.3 if grain else abs(neighbours) < 0.02


def test_noise_of_photons_grows_with_the_root_of_the_light():
  spread = camera.noise_levels(4, 0)
  light = SRGB.light.astype(float)
  in_light = spread * np.gradient(light)
  bright = np.array([60, 128, 200, 250])
  np.testing.assert_allclose(in_light[bright] ** 2 / light[bright], 16 * 0.0033**2 / 0.18, rtol=0.1)
  assert camera.noise_levels(4, 1)[10] == pytest.approx(10)  # limited in the shadows


def test_sharpening_is_an_unsharp_mask():
  levels = np.zeros((20, 30, 3), np.float32) + 100
  levels[:, 15:] = 150
  out = camera.finish(levels, Finish(sharpening=0.5, radius=1), np.random.default_rng(0))
  expected = 1.5 * levels - 0.5 * ndimage.gaussian_filter(levels, (1, 1, 0), truncate=4)
  np.testing.assert_allclose(out.astype(float), expected, atol=1)
  assert out.max() > 155


def test_jpeg_loses_more_at_lower_quality():
  rng = np.random.default_rng(0)
  levels = ndimage.gaussian_filter(rng.uniform(0, 255, (64, 64, 3)), (1.5, 1.5, 0))
  levels = levels.astype(np.float32)

  def error(quality):
    out = camera.finish(levels, Finish(quality=quality), np.random.default_rng(0))
    return np.abs(out - levels).mean()

  assert error(None) < 0.3 < error(95) < error(75)
