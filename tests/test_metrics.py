"""PSNR and SSIM against the released code's figures, direct sums and hand-made pictures."""

import json
import math
import runpy

import numpy as np
import pytest

from degrep_jax import metrics

_ALL = (metrics.psnr, metrics.ssim_3d, metrics.ssim_2d)


def _picture(value, height=11, width=12):
  return np.full((height, width, 3), value, np.uint8)


@pytest.fixture(scope='module')
def cases(golden):
  """[(reference figures, a, b)], the pictures checked against the sums stored beside them."""
  inputs = runpy.run_path(str(golden / 'inputs.py'))
  found = []
  for case in json.loads((golden / 'metrics.json').read_text()):
    salt, h, w = case['salt'], case['h'], case['w']
    a = inputs['image'](f'{salt}m{h}', 1, h, w)[0]
    b = a + inputs['noise'](f'{salt}n{h}', a.size).reshape(a.shape) * case['amp']
    a, b = (np.round(np.clip(x, 0, 1) * 255).astype(np.uint8) for x in (a, b))
    assert (a.sum(), b.sum()) == (case['sum_A'], case['sum_B'])
    found.append((case, a, b))
  assert found
  return found


def test_psnr_is_the_released_figure(cases):
  for case, a, b in cases:
    assert metrics.psnr(a, b) == pytest.approx(case['psnr'], abs=1e-6)


def test_ssims_are_the_released_figures(cases):
  for case, a, b in cases:
    assert metrics.ssim_3d(a, b) == pytest.approx(case['ssim_3d'], abs=1e-4)
    assert metrics.ssim_2d(a, b) == pytest.approx(case['ssim_2d_valid'], abs=1e-4)


def test_psnr_by_hand():
  a, b = _picture(100), _picture(100)
  b[0, 0] = (103, 96, 100)  # squared errors 9 + 16 + 0 over 11 * 12 * 3 values
  assert metrics.psnr(a, b) == pytest.approx(10 * math.log10(255**2 * 396 / 25), abs=1e-9)


def test_psnr_keeps_its_scale_on_nearly_black_pictures():
  # The released function takes a picture without a value above 1 for one in [0, 1].
  assert metrics.psnr(_picture(0), _picture(1)) == pytest.approx(20 * math.log10(255), abs=1e-9)


def test_psnr_does_not_wrap_around():
  assert metrics.psnr(_picture(255), _picture(0)) == metrics.psnr(_picture(0), _picture(255)) == 0


def test_identical_pictures():
  a = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
  assert metrics.psnr(a, a.copy()) == float('inf')
  assert metrics.ssim_3d(a, a.copy()) == pytest.approx(1, abs=1e-12)
  assert metrics.ssim_2d(a, a.copy()) == pytest.approx(1, abs=1e-12)


def test_ssim_3d_is_the_direct_sum_over_the_window():
  rng = np.random.default_rng(1)
  a, b = rng.integers(0, 256, (2, 11, 13, 3), dtype=np.uint8)
  taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
  window = np.einsum('i,j,k->ijk', taps, taps, taps) / taps.sum() ** 3

  def mean(volume):
    padded = np.pad(volume, 5, mode='edge')
    views = np.lib.stride_tricks.sliding_window_view(padded, window.shape)
    return np.einsum('xyzijk,ijk->xyz', views, window)

  x, y = a.astype(float), b.astype(float)
  covariance = mean(x * y) - mean(x) * mean(y)
  variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
  c1, c2 = 2.55**2, 7.65**2
  values = (2 * mean(x) * mean(y) + c1) * (2 * covariance + c2)
  values /= (mean(x) ** 2 + mean(y) ** 2 + c1) * (variances + c2)
  assert metrics.ssim_3d(a, b) == pytest.approx(values.mean(), abs=1e-9)


@pytest.mark.parametrize('metric', _ALL)
@pytest.mark.parametrize(
  ('a', 'b', 'message'),
  [
    (_picture(1), _picture(1, 12, 11), 'differ in shape'),
    (_picture(1).astype(np.float32), _picture(1), 'uint8'),
    (_picture(1)[..., 0], _picture(1)[..., 0], r'\(H, W, 3\)'),
    (_picture(1)[..., :2], _picture(1)[..., :2], r'\(H, W, 3\)'),
    (_picture(1, 0), _picture(1, 0), 'sides'),
  ],
)
def test_other_arrays_are_refused(metric, a, b, message):
  with pytest.raises(ValueError, match=message):
    metric(a, b)


def test_ssim_needs_a_whole_window():
  small = _picture(7, 10, 40)
  for ssim in (metrics.ssim_3d, metrics.ssim_2d):
    with pytest.raises(ValueError, match='>= 11'):
      ssim(small, small)
  assert metrics.psnr(small, small) == float('inf')
