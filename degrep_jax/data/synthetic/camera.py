"""What a camera makes of light besides motion: its response, noise, sharpening and JPEG."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

MID_GREY = 0.18  # light of the grey that noise is stated for
MOST_NOISE = 2.5  # times that of mid-grey, which cameras hide in the shadows

_VALUES = np.arange(256) / 255


@dataclass(frozen=True)
class Response:
  """How a camera turns light into values, both in [0, 1].

  Attributes:
    light: of the 256 levels, float32.
    values: of light, any shape.
  """

  light: np.ndarray
  values: Callable[[np.ndarray], np.ndarray]


def _srgb(light: np.ndarray) -> np.ndarray:
  return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


_SRGB_LIGHT = np.where(_VALUES <= 0.04045, _VALUES / 12.92, ((_VALUES + 0.055) / 1.055) ** 2.4)

# A GoPro Hero6's: light = expm1(b value) / expm1(b), fitted to the response that the authors of
# REDS measured (Nah et al., CVPRW 2019) for levels 16 to 249, which it meets within 8 %, 3 % rms.
_HERO6 = 4.43

# Averaging values as they are displayed is averaging light by this response.
DISPLAY = Response(_VALUES.astype(np.float32), lambda light: light)
SRGB = Response(_SRGB_LIGHT.astype(np.float32), _srgb)
HERO6 = Response(
  (np.expm1(_HERO6 * _VALUES) / np.expm1(_HERO6)).astype(np.float32),
  lambda light: np.log1p(light * np.float32(np.expm1(_HERO6))) / np.float32(_HERO6),
)


@dataclass(frozen=True)
class Finish:
  """What happens to a picture after the exposure.

  Attributes:
    noise: standard deviation at mid-grey, in 8-bit levels.
    read: share of the noise's variance at mid-grey that does not grow with the light.
    grain: standard deviation of the Gaussian that the noise is smoothed with, pixels; 0: none.
    sharpening: amount of unsharp masking.
    radius: standard deviation of its Gaussian, pixels.
    quality: of JPEG, 0 .. 100; None: no compression.
  """

  noise: float = 0.0
  read: float = 0.0
  grain: float = 0.0
  sharpening: float = 0.0
  radius: float = 1.0
  quality: int | None = None


def noise_levels(noise: float, read: float) -> np.ndarray:
  """Standard deviation (256,) of Poisson-Gaussian noise in light, in levels of the sRGB curve.

  See `Finish`. Where the curve is steep, in the shadows, it is limited.
  """
  slope = np.gradient(_SRGB_LIGHT)
  at_grey = np.interp(MID_GREY, _SRGB_LIGHT, slope)
  variance = (1 - read) * _SRGB_LIGHT / MID_GREY + read
  return noise * np.minimum(np.sqrt(variance) * at_grey / slope, MOST_NOISE).astype(np.float32)


def finish(levels: np.ndarray, how: Finish, rng: np.random.Generator) -> np.ndarray:
  """Levels (H, W, 3) float in 0 .. 255 to a picture, uint8: noise, sharpening, rounding, JPEG."""
  if how.noise:
    grain = rng.standard_normal(levels.shape, np.float32)
    if how.grain:
      kernel = cv2.getGaussianKernel(5, how.grain)
      grain = cv2.sepFilter2D(grain, -1, kernel, kernel) / np.float32((kernel**2).sum())
    spread = noise_levels(how.noise, how.read)
    levels = levels + grain * spread[np.rint(levels).astype(np.uint8)]
  if how.sharpening:
    smooth = cv2.GaussianBlur(levels, (0, 0), how.radius)
    levels = levels + how.sharpening * (levels - smooth)
  picture = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
  return picture if how.quality is None else compressed(picture, how.quality)


def compressed(picture: np.ndarray, quality: int) -> np.ndarray:
  """RGB uint8 after JPEG with half the colour resolution."""
  bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
  _, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
  decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
  assert decoded is not None
  return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
