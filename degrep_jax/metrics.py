"""PSNR and the SSIMs that deblurring papers report, in float64 on 8-bit pictures.

The two SSIMs are different numbers under one name: the 3-D one (released evaluation, MATLAB on an
RGB array) blurs over rows, columns and channels and reads higher than the 2-D one (BasicSR,
scikit-image), which treats each channel alone and leaves out a border of 5 px.

RealBlur's pairs were taken by two cameras that do not see exactly the same: its scores are taken
after an alignment, and one that fails is `AlignmentError`, never a number.
"""

import os
from typing import NamedTuple

import cv2
import numpy as np
import skimage.metrics
from scipy import ndimage

_SIGMA = 1.5
_RADIUS = 5
SIDE = 2 * _RADIUS + 1  # the least height and width that one window covers
_C1 = (0.01 * 255) ** 2
_C2 = (0.03 * 255) ** 2
# BT.601's luma in the studio range: Y of R, G, B in 0 .. 255 is 16 .. 235.
_LUMA = np.array([65.481, 128.553, 24.966]) / 255
_LUMA_BLACK = 16
# Threads that score at once at most: a picture of 1280x720 takes each some 200 MB.
THREADS = min(8, os.cpu_count() or 1)
_ECC_ITERATIONS = 100
_ECC_BLUR = 5  # side of the Gaussian window that ECC smoothes both pictures with, px
# What tells an alignment from a place where ECC was lost: two shots of one scene from nearly the
# same place come to 0.9 and more in both.
_LEAST_CORRELATION = 0.5
_LEAST_OVERLAP = 0.5  # of the picture's area


def psnr(a: np.ndarray, b: np.ndarray, *, crop_border: int = 0, luma: bool = False) -> float:
  """Peak signal-to-noise ratio of two pictures over all pixels and channels.

  Args:
    a, b: uint8 (H, W, 3), RGB.
    crop_border: px left out at every side.
    luma: compare `luma_of` the pictures instead of their three channels.

  Returns:
    float, dB; inf where the pictures are identical.

  Raises:
    ValueError: the shapes differ, or an array is not uint8 (H, W, 3) with H, W >= 1 inside the
      border.

  Source: basicsr/metrics/psnr_ssim.py, calculate_psnr.
  """
  a, b = _compared(a, b, 1, crop_border, luma)
  return decibels(np.mean((a - b) ** 2))


def ssim_3d(a: np.ndarray, b: np.ndarray, *, crop_border: int = 0, luma: bool = False) -> float:
  """SSIM with an 11x11x11 Gaussian window over rows, columns and channels, edges replicated.

  Args:
    a, b: uint8 (H, W, 3), RGB, H and W at least 11 inside the border.
    crop_border, luma: as in `psnr`; of luma alone the window is 11x11.

  Returns:
    float, at most 1: the mean over the whole map, its border included.

  Raises:
    ValueError: the shapes differ, or an array is not uint8 (H, W, 3) with H, W >= 11 inside the
      border.

  Source: basicsr/metrics/psnr_ssim.py, _ssim_3d, of luma _ssim_cly (in float32 there, in float64
  here).
  """
  a, b = _compared(a, b, SIDE, crop_border, luma)
  mean_a, mean_b = _blur_3d(a), _blur_3d(b)
  product, squares = mean_a * mean_b, mean_a**2 + mean_b**2
  covariance = _blur_3d(a * b) - product
  variances = _blur_3d(a**2 + b**2) - squares
  numerator = (2 * product + _C1) * (2 * covariance + _C2)
  return float(np.mean(numerator / ((squares + _C1) * (variances + _C2))))


def ssim_2d(a: np.ndarray, b: np.ndarray, *, crop_border: int = 0, luma: bool = False) -> float:
  """SSIM with an 11x11 Gaussian window in each channel, mean over channels and the valid region.

  Args:
    a, b: uint8 (H, W, 3), RGB, H and W at least 11 inside the border.
    crop_border, luma: as in `psnr`.

  Returns:
    float, at most 1: the mean without a border of 5 px, where windows would leave the picture.

  Raises:
    ValueError: the shapes differ, or an array is not uint8 (H, W, 3) with H, W >= 11 inside the
      border.

  Source: scikit-image's structural_similarity, which equals BasicSR's calculate_ssim.
  """
  a, b = _compared(a, b, SIDE, crop_border, luma)
  return float(np.mean(_inside(ssim_map(a, b, peak=255))))


def has_window(shape: tuple[int, ...], crop_border: int = 0) -> bool:
  """Whether SSIM's window fits into a picture (H, W, ...), or its part inside a border, px."""
  return min(shape[:2]) - 2 * crop_border >= SIDE


def luma_of(picture: np.ndarray) -> np.ndarray:
  """Y of BT.601, float64 (H, W, 1) in 16 .. 235, not rounded, of an RGB picture uint8 (H, W, 3).

  MATLAB's rgb2ycbcr, which rounds a uint8 result; BasicSR's to_y_channel, which does not.
  """
  return (picture @ _LUMA + _LUMA_BLACK)[..., None]


class AlignmentError(Exception):
  """No homography was found that lays a restored picture over the sharp one."""


class Alignment(NamedTuple):
  """A restored picture laid over the sharp one.

  Attributes:
    restored: float64 (H, W, 3), 1 is white; interpolated, so a little outside 0 .. 1 in places.
    inside: bool (H, W), where `restored` is known.
  """

  restored: np.ndarray
  inside: np.ndarray


def align(restored: np.ndarray, sharp: np.ndarray) -> Alignment:
  """Matches the brightness of a restored picture to the sharp one and lays it over that.

  Args:
    restored, sharp: uint8 (H, W, 3), RGB.

  Raises:
    ValueError: the shapes differ, or an array is not uint8 (H, W, 3) with H, W >= 11.
    AlignmentError: ECC found no homography, or one after which the pictures hardly overlap or
      agree.

  Source: rimchang/RealBlur, evaluation_RealBlur_ecc.py, after Koehler et al. (ECCV 2012): intensity
  scaled by sum(xz) / sum(zz); ECC on grey, 100 iterations; cubic interpolation.
  """
  _check(restored, sharp, SIDE)
  if not restored.any():
    raise AlignmentError('the restored picture is black')
  z, x = restored / 255, sharp / 255
  z *= np.sum(x * z) / np.sum(z * z)
  # OpenCV in float32: in float64 its cubic warp (5.0.0) is wrong near the border.
  grey = [cv2.cvtColor(p.astype(np.float32), cv2.COLOR_RGB2GRAY) for p in (x, z)]
  everywhere = np.ones(x.shape[:2], np.uint8)
  criteria = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, _ECC_ITERATIONS, 0.0)
  try:
    correlation, homography = cv2.findTransformECC(
      grey[0],
      grey[1],
      np.eye(3, dtype=np.float32),
      cv2.MOTION_HOMOGRAPHY,
      criteria,
      inputMask=everywhere,
      gaussFiltSize=_ECC_BLUR,
    )
  except cv2.error as error:
    raise AlignmentError(f'ECC found no homography ({error.err.strip()})') from None

  def laid_over(picture, interpolation, border):
    flags = cv2.WARP_INVERSE_MAP | interpolation
    size = x.shape[1::-1]
    return cv2.warpPerspective(picture, homography, size, flags=flags, borderMode=border)

  inside = laid_over(everywhere, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT) > 0
  overlap = np.mean(inside)
  if not (correlation >= _LEAST_CORRELATION and overlap >= _LEAST_OVERLAP):
    raise AlignmentError(
      f'ECC was lost: a correlation of {correlation:.2f}, {overlap:.0%} of the pictures overlap'
    )
  aligned = laid_over(z.astype(np.float32), cv2.INTER_CUBIC, cv2.BORDER_REFLECT)
  return Alignment(aligned.astype(np.float64), inside)


def realblur(restored: np.ndarray, sharp: np.ndarray) -> dict[str, float]:
  """PSNR and 2-D SSIM as RealBlur's authors take them: after `align`, where the pictures overlap.

  Args:
    restored, sharp: uint8 (H, W, 3), RGB, H and W at least 11.

  Returns:
    'psnr', dB, and 'ssim_2d'.

  Raises:
    ValueError, AlignmentError: as `align`.

  Source: rimchang/RealBlur, evaluation_RealBlur_ecc.py (in float32 there, in float64 here).
  """
  aligned, inside = align(restored, sharp)
  mask = inside[..., None].astype(np.float64)
  z, x = aligned * mask, sharp / 255 * mask
  similarity = _inside(ssim_map(x, z, peak=1) * mask)
  return {
    'psnr': decibels(255**2 * np.sum((x - z) ** 2) / (3 * np.sum(mask))),
    'ssim_2d': float(np.sum(similarity) / (3 * np.sum(_inside(mask)))),
  }


def decibels(mean_square: float) -> float:
  """PSNR, dB, of a mean squared error in 8-bit levels; inf where there is none."""
  return float(10 * np.log10(255**2 / mean_square)) if mean_square else float('inf')


def ssim_map(a: np.ndarray, b: np.ndarray, peak: float) -> np.ndarray:
  """The 2-D SSIM around every pixel of pictures (H, W, C) whose white is `peak`, (H, W, C);
  meaningless in the outer 5 px."""
  _, similarity = skimage.metrics.structural_similarity(
    a,
    b,
    channel_axis=-1,
    data_range=peak,
    gaussian_weights=True,
    sigma=_SIGMA,
    use_sample_covariance=False,
    full=True,
  )
  return similarity


def _inside(volume):
  """Without the border where a window would leave the picture."""
  return volume[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]


def _blur_3d(volume):
  """Gaussian window over (H, W, C) with replicated edges; float64 in and out."""
  blurred = ndimage.gaussian_filter(volume, _SIGMA, radius=_RADIUS, mode='nearest', axes=(0, 1))
  # Over so few channels the window is a small matrix, far faster than a filter of short lines.
  identity = np.eye(volume.shape[-1])
  channels = ndimage.gaussian_filter1d(identity, _SIGMA, axis=1, radius=_RADIUS, mode='nearest')
  return blurred @ channels


def _compared(a, b, least, crop_border, luma):
  """What of two pictures is compared, float64 (H, W, 3 or 1) in 8-bit levels."""
  if crop_border < 0:
    raise ValueError(f'crop_border is {crop_border}: it must not be negative')
  _check(a, b, least + 2 * crop_border)
  rows, columns = (slice(crop_border, side - crop_border) for side in a.shape[:2])
  a, b = a[rows, columns], b[rows, columns]
  return (luma_of(a), luma_of(b)) if luma else (a.astype(np.float64), b.astype(np.float64))


def _check(a, b, least):
  """Raises ValueError unless a and b are uint8 (H, W, 3) of one shape with H, W >= least."""
  if a.shape != b.shape:
    raise ValueError(f'pictures to compare differ in shape: {a.shape} and {b.shape}')
  if a.dtype != np.uint8 or b.dtype != np.uint8:
    raise ValueError(f'pictures to compare must be uint8, not {a.dtype} and {b.dtype}')
  if a.ndim != 3 or a.shape[2] != 3 or min(a.shape[:2]) < least:
    raise ValueError(f'pictures to compare must be (H, W, 3), sides >= {least}, not {a.shape}')
