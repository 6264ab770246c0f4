"""PSNR and the two SSIMs that deblurring papers report, in float64 on 8-bit pictures.

The two SSIMs are different numbers under one name: the 3-D one (released evaluation, MATLAB on an
RGB array) blurs over rows, columns and channels and reads higher than the 2-D one (BasicSR,
scikit-image), which treats each channel alone and leaves out a border of 5 px.
"""

import numpy as np
import skimage.metrics
from scipy import ndimage

_SIGMA = 1.5
_RADIUS = 5
_SIDE = 2 * _RADIUS + 1  # the least height and width that one window covers
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2


def psnr(a: np.ndarray, b: np.ndarray) -> float:
  """Peak signal-to-noise ratio of two pictures over all pixels and channels.

  Args:
    a, b: uint8 (H, W, 3), RGB.

  Returns:
    float, dB; inf where the pictures are identical.

  Raises:
    ValueError: the shapes differ, or an array is not uint8 (H, W, 3) with H, W >= 1.

  Source: basicsr/metrics/psnr_ssim.py, calculate_psnr, crop_border 0.
  """
  _check(a, b, least=1)
  error = np.mean((a.astype(np.float64) - b) ** 2)
  return float(10 * np.log10(255**2 / error)) if error else float('inf')


def ssim_3d(a: np.ndarray, b: np.ndarray) -> float:
  """SSIM with an 11x11x11 Gaussian window over rows, columns and channels, edges replicated.

  Args:
    a, b: uint8 (H, W, 3), RGB, H and W at least 11.

  Returns:
    float, at most 1: the mean over the whole map, border included.

  Raises:
    ValueError: the shapes differ, or an array is not uint8 (H, W, 3) with H, W >= 11.

  Source: basicsr/metrics/psnr_ssim.py, _ssim_3d (in float32 there, in float64 here).
  """
  _check(a, b, least=_SIDE)
  a, b = a.astype(np.float64), b.astype(np.float64)
  mean_a, mean_b = _blur_3d(a), _blur_3d(b)
  product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
  covariance = _blur_3d(a * b) - product
  variances = _blur_3d(a**2 + b**2) - squares
  numerator = (2 * product + _C1) * (2 * covariance + _C2)
  return float(np.mean(numerator / ((squares + _C1) * (variances + _C2))))


def ssim_2d(a: np.ndarray, b: np.ndarray) -> float:
  """SSIM with an 11x11 Gaussian window in each channel, mean over channels and the valid region.

  Args:
    a, b: uint8 (H, W, 3), RGB, H and W at least 11.

  Returns:
    float, at most 1: the mean without a border of 5 px, where windows would leave the picture.

  Raises:
    ValueError: the shapes differ, or an array is not uint8 (H, W, 3) with H, W >= 11.

  Source: scikit-image's structural_similarity, which equals BasicSR's calculate_ssim.
  """
  _check(a, b, least=_SIDE)
  return float(
    skimage.metrics.structural_similarity(
      a,
      b,
      channel_axis=-1,
      data_range=255,
      gaussian_weights=True,
      sigma=_SIGMA,
      use_sample_covariance=False,
    )
  )


def _blur_3d(volume):
  """Gaussian window over (H, W, 3) with replicated edges; float64 in and out."""
  blurred = ndimage.gaussian_filter(volume, _SIGMA, radius=_RADIUS, mode='nearest', axes=(0, 1))
  # Over only three channels the window is a 3x3 matrix, far faster than a filter of short lines.
  channels = ndimage.gaussian_filter1d(np.eye(3), _SIGMA, axis=1, radius=_RADIUS, mode='nearest')
  return blurred @ channels


def _check(a, b, least):
  """Raises ValueError unless a and b are uint8 (H, W, 3) of one shape with H, W >= least."""
  if a.shape != b.shape:
    raise ValueError(f'pictures to compare differ in shape: {a.shape} and {b.shape}')
  if a.dtype != np.uint8 or b.dtype != np.uint8:
    raise ValueError(f'pictures to compare must be uint8, not {a.dtype} and {b.dtype}')
  if a.ndim != 3 or a.shape[2] != 3 or min(a.shape[:2]) < least:
    raise ValueError(f'pictures to compare must be (H, W, 3), sides >= {least}, not {a.shape}')
