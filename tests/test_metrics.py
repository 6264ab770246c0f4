"""PSNR, SSIMs and RealBlur's alignment against the released figures, direct sums and hand-made
pictures."""

import json
import math
import runpy

import numpy as np
import pytest
import reference
import skimage.data
from scipy import ndimage

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


def _direct_ssim(x, y):
  """SSIM at every place of two volumes, edges replicated, by the sums that define it."""
  taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
  window = np.ones(())
  for _ in range(x.ndim):
    window = window[..., None] * (taps / taps.sum())

  def mean(volume):
    padded = np.pad(volume, 5, mode='edge')
    views = np.lib.stride_tricks.sliding_window_view(padded, window.shape)
    return np.tensordot(views, window, x.ndim)

  covariance = mean(x * y) - mean(x) * mean(y)
  variances = mean(x * x) - mean(x) ** 2 + mean(y * y) - mean(y) ** 2
  c1, c2 = 2.55**2, 7.65**2
  values = (2 * mean(x) * mean(y) + c1) * (2 * covariance + c2)
  return values / ((mean(x) ** 2 + mean(y) ** 2 + c1) * (variances + c2))


def test_ssim_3d_is_the_direct_sum_over_the_window():
  a, b = np.random.default_rng(1).integers(0, 256, (2, 11, 13, 3), dtype=np.uint8)
  values = _direct_ssim(a.astype(float), b.astype(float))
  assert metrics.ssim_3d(a, b) == pytest.approx(values.mean(), abs=1e-9)


# --- luma and borders ----------------------------------------------------------------------------


# BT.601: 16 + (65.481 R + 128.553 G + 24.966 B) / 255.
@pytest.mark.parametrize(
  ('colour', 'y'),
  [
    ((0, 0, 0), 16),
    ((255, 255, 255), 235),
    ((255, 0, 0), 81.481),
    ((0, 255, 0), 144.553),
    ((0, 0, 255), 40.966),
    ((51, 102, 204), 16 + 13.0962 + 51.4212 + 19.9728),
  ],
)
def test_luma_by_hand(colour, y):
  found = metrics.luma_of(_picture(0) + np.array(colour, np.uint8))
  assert found.shape == (11, 12, 1)
  np.testing.assert_allclose(found, y, rtol=0, atol=1e-9)


def test_psnr_of_luma_by_hand():
  a, b = _picture(0), _picture(0)
  b[:, 0] = (255, 0, 0)  # one column of 12: luma differs by 65.481
  expected = 10 * math.log10(255**2 * 12 / 65.481**2)
  assert metrics.psnr(a, b, luma=True) == pytest.approx(expected, abs=1e-9)


def test_ssims_of_luma_are_the_direct_sum_over_the_window():
  a, b = np.random.default_rng(2).integers(0, 256, (2, 14, 13, 3), dtype=np.uint8)
  values = _direct_ssim(metrics.luma_of(a)[..., 0], metrics.luma_of(b)[..., 0])
  assert metrics.ssim_3d(a, b, luma=True) == pytest.approx(values.mean(), abs=1e-9)
  inside = values[5:-5, 5:-5].mean()
  assert metrics.ssim_2d(a, b, luma=True) == pytest.approx(inside, abs=1e-9)


@pytest.mark.parametrize('metric', _ALL)
@pytest.mark.parametrize('luma', [False, True])
def test_a_border_is_left_out(metric, luma):
  a, b = np.random.default_rng(3).integers(0, 256, (2, 20, 25, 3), dtype=np.uint8)
  inner = np.s_[4:-4, 4:-4]
  expected = metric(a[inner], b[inner], luma=luma)
  assert metric(a, b, crop_border=4, luma=luma) == expected
  b[:4], b[-4:], b[:, :4], b[:, -4:] = 0, 0, 0, 0
  assert metric(a, b, crop_border=4, luma=luma) == expected


@pytest.mark.parametrize('metric', _ALL)
def test_borders_that_leave_too_little_are_refused(metric):
  a = _picture(7, 20, 20)
  with pytest.raises(ValueError, match='sides >='):
    metric(a, a, crop_border=10)
  with pytest.raises(ValueError, match='must not be negative'):
    metric(a, a, crop_border=-1)


# --- RealBlur ------------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def realblur_cases(golden):
  """[(reference figures, restored, sharp)], checked against the sums stored beside them."""
  arrays, found = reference.read_arrays(golden / 'realblur_ecc.npz'), []
  for case in json.loads((golden / 'realblur_ecc.json').read_text()):
    restored, sharp = (arrays[f'{name}{case["i"]}'] for name in ('restored', 'gt'))
    assert (restored.sum(), sharp.sum()) == (case['sum_d'], case['sum_gt'])
    found.append((case, restored, sharp))
  assert found
  return found


def test_realblurs_scores_are_the_released_figures(realblur_cases):
  for case, restored, sharp in realblur_cases:
    found = metrics.realblur(restored, sharp)
    assert found['psnr'] == pytest.approx(case['psnr'], abs=0.05)
    assert found['ssim_2d'] == pytest.approx(case['ssim'], abs=0.001)
    assert metrics.psnr(restored, sharp) == pytest.approx(case['unaligned_psnr'], abs=1e-4)


@pytest.fixture(scope='module')
def photograph():
  return skimage.data.chelsea()[:160, 100:300]


def test_a_shifted_and_dimmed_photograph_is_laid_over_itself(photograph):
  shifted = ndimage.shift(photograph * 0.8, (3, -5, 0), order=1, mode='nearest')
  aligned, inside = metrics.align(np.rint(shifted).astype(np.uint8), photograph)
  assert aligned.dtype == np.float64 and aligned.shape == photograph.shape
  # Moved back by 3 rows and 5 columns, which leaves the last 3 rows and first 5 columns unknown.
  expected = np.zeros((160, 200), bool)
  expected[:-3, 5:] = True
  assert np.mean(inside != expected) < 0.01
  found, expected = (x[8:-8, 8:-8].astype(float) for x in (aligned, photograph))
  # The brightness was matched before they lay over each other, and is a little off.
  gain = np.sum(found * expected) / np.sum(found * found) / 255
  assert 0.95 < gain < 1.05
  assert np.abs(found * 255 * gain - expected).mean() < 1


def test_what_lies_outside_the_overlap_is_not_scored(photograph):
  moved = np.roll(photograph, 12, axis=1)  # its first columns are the photograph's last
  assert metrics.psnr(moved, photograph) < 20
  found = metrics.realblur(moved, photograph)
  assert found['psnr'] > 30
  assert found['ssim_2d'] > 0.99  # were the 6 % outside counted as 0, it could not be


@pytest.mark.parametrize(
  ('restored', 'message'),
  [
    (lambda x: np.zeros_like(x), 'black'),
    (lambda x: np.full_like(x, 90), 'ECC'),
    (lambda x: 255 - x, 'no homography'),
    (lambda x: np.random.default_rng(0).integers(0, 256, x.shape, np.uint8), 'no homography'),
  ],
)
def test_a_failed_alignment_is_an_error(photograph, restored, message):
  with pytest.raises(metrics.AlignmentError, match=message):
    metrics.realblur(restored(photograph), photograph)


def test_an_alignment_that_is_lost_is_an_error():
  photograph = skimage.data.chelsea()
  with pytest.raises(metrics.AlignmentError, match=r'lost: a correlation of 0\.\d\d'):
    metrics.realblur(np.roll(photograph, 100, axis=1), photograph)


# --- what cannot be compared ---------------------------------------------------------------------


@pytest.mark.parametrize('metric', (*_ALL, metrics.realblur))
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
