"""Photographs blurred as by all sorts of cameras: what differs from one shot to the next is drawn
here, wide, where exposure.py is one camera."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from degrep_jax.common.errors import UserError
from degrep_jax.data import blur_field
from degrep_jax.data.released.trees import DAMAGE
from degrep_jax.data.synthetic import camera, exposure
from degrep_jax.data.synthetic.camera import DISPLAY, HERO6, SRGB, Finish, Response
from degrep_jax.data.synthetic.exposure import BlurExample, Window
from degrep_jax.data.synthetic.motion import Layer, Motion, draw_path, draw_region

SHORTEST = 3.0  # px, of the paths that are drawn; where the camera turns they are shorter
REGIONS = (0.4, 0.3, 0.2, 0.1)  # shares of exposures with 0, 1, ... regions
# What a region does: nearer than the rest it moves more, it moves on its own, or the camera
# follows it.
NEARER, ALONE, FOLLOWED = KINDS = ('nearer', 'alone', 'followed')
KIND_SHARES = (0.4, 0.45, 0.15)
STRAIGHTNESS = 3  # power of a uniform number that says how a path bends: most are nearly straight
JITTER = 0.1  # mean of how strongly paths tremble
FEW_FRAMES = 0.2  # share of the exposures that are averages of 7 to 13 frames, as GoPro's are
KERNEL_SHARE = 0.1  # of the exposures, where there are kernels
CLIPPED = 250  # level from which a highlight may have been brighter than it is shown
BRIGHTEST = 8.0  # times that it was
GRID = 16  # px of the blocks of JPEG with half the colour resolution
RIM = 6  # px around a window that sharpening looks at


@dataclass(frozen=True)
class PhotoBlur:
  """What shots are drawn from.

  Attributes:
    shake: longest path of the camera over the exposure, pixels; lengths are log-uniform.
    rotation: largest roll over the exposure, degrees.
    object_motion: longest own path of a region, pixels; lengths are log-uniform.
    sub_frames: most pictures averaged, an odd number.
    noise: largest standard deviation of noise at mid-grey, in 8-bit levels.
    rest: share of the exposures whose camera is at rest.
    display: share whose sub-frames are averaged as they are displayed; of the others half are in
      linear light, half by a measured response.
    kernels: of real camera shake, (H, W) float each, sums 1; a share of the exposures, if any.
  """

  shake: float
  rotation: float
  object_motion: float
  sub_frames: int
  noise: float
  rest: float
  display: float
  kernels: Sequence[np.ndarray] = field(default=(), repr=False)

  def __post_init__(self):
    if self.sub_frames < 3 or self.sub_frames % 2 == 0:
      raise UserError(f'sub_frames is {self.sub_frames}; it must be an odd number, 3 or more.')
    for name in ('shake', 'object_motion'):
      if getattr(self, name) < SHORTEST:
        raise UserError(f'{name} is {getattr(self, name)}; it must be {SHORTEST} px or more.')
    for name in ('rotation', 'noise'):
      if getattr(self, name) < 0:
        raise UserError(f'{name} is {getattr(self, name)}; it must not be negative.')
    for name in ('rest', 'display'):
      if not 0 <= getattr(self, name) <= 1:
        raise UserError(f'{name} is {getattr(self, name)}; it must be in 0 .. 1.')


@dataclass(frozen=True)
class Shot:
  """One exposure.

  Attributes:
    motion: of camera and regions.
    kernel: (h, w) float, odd sides, what a point becomes; in place of the motion, or None.
    response: in whose light sub-frames are averaged.
    highlights: times that clipped light was brighter.
    finish: what the camera does afterwards.
  """

  motion: Motion
  kernel: np.ndarray | None
  response: Response
  highlights: float
  finish: Finish


def read_kernels(path: str | Path) -> tuple[np.ndarray, ...]:
  """Kernels of a .npz file with an array each, as Levin et al. (CVPR 2009) measured them.

  Raises:
    UserError: the file cannot be read, or holds something else.
  """
  try:
    # Opened here, since NumPy leaves a damaged file open.
    with open(path, 'rb') as file, np.load(file) as arrays:
      kernels = [np.asarray(arrays[name], float) for name in arrays.files]
  except (OSError, AttributeError, TypeError, *DAMAGE) as error:
    raise UserError(f'{path} cannot be read as kernels (.npz): {error}') from error
  for kernel in kernels:
    if kernel.ndim != 2 or not np.isfinite(kernel).all() or (kernel < 0).any() or not kernel.any():
      raise UserError(f'{path} holds an array that is no kernel: (H, W), not negative, not empty.')
  return tuple(kernel / kernel.sum() for kernel in kernels)


def draw_shot(blur: PhotoBlur, shape: tuple[int, ...], rng: np.random.Generator) -> Shot:
  """Draws one shot of a photograph of `shape` (H, W, ...)."""
  kernel = None
  if blur.kernels and rng.uniform() < KERNEL_SHARE:
    kernel = _turned(blur.kernels[int(rng.integers(len(blur.kernels)))], rng)
    layers: tuple[Layer, ...] = (Layer(np.eye(2, 3)[None]),)
  else:
    layers = draw_layers(blur, shape, rng)
  displayed = rng.uniform() < blur.display
  response = DISPLAY if displayed else (SRGB, HERO6)[rng.integers(2)]
  # What was averaged as it was displayed had been clipped before.
  highlights = 1.0 if displayed else log_uniform(rng, 1, BRIGHTEST)
  return Shot(Motion(layers), kernel, response, highlights, draw_finish(blur.noise, rng))


def draw_finish(noise: float, rng: np.random.Generator) -> Finish:
  """Noise of up to `noise`, mostly far less, in half of the shots; two in five are sharpened, three
  in five compressed."""
  amount = noise * rng.uniform() ** 2 * (rng.uniform() < 0.5)
  grain = rng.uniform(0.4, 0.9) if rng.uniform() < 0.5 else 0.0
  sharpening = rng.uniform(0.1, 0.8) if rng.uniform() < 0.4 else 0.0
  quality = int(rng.integers(75, 99)) if rng.uniform() < 0.6 else None
  return Finish(amount, rng.uniform(0.05, 0.4), grain, sharpening, rng.uniform(0.7, 1.5), quality)


def draw_layers(
  blur: PhotoBlur, shape: tuple[int, ...], rng: np.random.Generator
) -> tuple[Layer, ...]:
  """The moving layers of a photograph, front to back: a camera that shifts, rolls, comes nearer and
  sees a tilted plane, and regions in front of it."""
  height, width = shape[:2]
  rests = rng.uniform() < blur.rest
  length = 0.0 if rests else log_uniform(rng, SHORTEST, blur.shake)
  kinds = list(rng.choice(KINDS, rng.choice(len(REGIONS), p=REGIONS), p=KIND_SHARES))
  if rests:
    kinds = [ALONE] * max(len(kinds), 1)
  own = [log_uniform(rng, SHORTEST, blur.object_motion) * (kind == ALONE) for kind in kinds]

  def bend() -> float:
    return float(rng.uniform() ** STRAIGHTNESS)

  steps = _frames(1.5 * length + max(own, default=0), blur.sub_frames, rng)
  shift = draw_path(rng, steps, 2, bend(), rng.exponential(JITTER)) * length
  lever = 0.35 * np.hypot(height, width)
  roll = draw_path(rng, steps, 1)[:, 0]
  most = min(np.deg2rad(blur.rotation), length / lever)
  roll *= most * rng.uniform() * (rng.uniform() < 0.6)
  zoom = draw_path(rng, steps, 1)[:, 0] * length / lever * rng.uniform() * (rng.uniform() < 0.3)
  angle = rng.uniform(0, 2 * np.pi)
  tilt = np.array([np.cos(angle), np.sin(angle)]) * rng.uniform() * (rng.uniform() < 0.4)
  centre = rng.uniform(0.3, 0.7, 2) * (width, height)

  def views(factor: float, path: np.ndarray) -> np.ndarray:
    return camera_views(shift * factor + path, roll, zoom, tilt / max(height, width), centre)

  layers = []
  for kind, extent in zip(kinds, own, strict=True):
    factor = {NEARER: rng.uniform(1.2, 2.5), FOLLOWED: rng.uniform(0, 0.3)}.get(kind, 1.0)
    path = draw_path(rng, steps, 2, bend()) * extent
    region = draw_region(rng, height, width, sizes=(0.06, 0.45), squeezes=(0.3, 1))
    layers.append(Layer(views(factor, path), region))
  return (*layers, Layer(views(1.0, np.zeros(2))))


def camera_views(
  shift: np.ndarray, roll: np.ndarray, zoom: np.ndarray, tilt: np.ndarray, centre: np.ndarray
) -> np.ndarray:
  """Affine maps (S, 2, 3) from pixels of sub-frames to the photograph.

  Args:
    shift: (S, 2) of the camera, pixels.
    roll: (S,) radians about `centre`.
    zoom: (S,) by which distances from the centre grow, 0 for not at all.
    tilt: (2,) by which the shift grows for a pixel to the right and down, relative.
    centre: (2,) x, y.
  """
  cos, sin = np.cos(roll), np.sin(roll)
  turn = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
  linear = turn * (1 + zoom)[:, None, None] + shift[:, :, None] * tilt
  return np.concatenate([linear, (centre + shift - linear @ centre)[:, :, None]], 2)


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
  """A number in low .. high whose logarithm is uniform."""
  return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def grown(window: Window, finish: Finish) -> Window:
  """A window with what the camera's sharpening sees around it, in whole blocks of JPEG."""
  rim = RIM if finish.sharpening else 0
  grid = GRID if finish.quality is not None else 1
  rows, columns = (
    slice((part.start - rim) // grid * grid, -(-(part.stop + rim) // grid) * grid)
    for part in window
  )
  return rows, columns


def margin(shot: Shot, window: Window) -> int:
  """Pixels around a window that its exposure depends on."""
  if shot.kernel is not None:
    return max(shot.kernel.shape) // 2
  return exposure.reach(shot.motion, window)


def take(
  shot: Shot, patch: np.ndarray, around: int, window: Window, rng: np.random.Generator
) -> np.ndarray:
  """The blurry picture of a window of a photograph, (h, w, 3) uint8.

  Args:
    shot: of the whole photograph.
    patch: (h + 2 around, w + 2 around, 3) uint8, the window and what is around it.
    around: `margin` of the window.
    window: rows and columns in the photograph.
    rng: of the noise.
  """
  light = exposure.to_light(patch, shot.response)
  if shot.highlights > 1:
    clipped = (patch >= CLIPPED).all(-1)
    light[clipped, :3] *= shot.highlights
  if shot.kernel is None:
    mean = exposure.average(light, around, shot.motion, window)
  else:
    # filter2D correlates.
    mean = cv2.filter2D(light, -1, shot.kernel[::-1, ::-1])
    mean = mean[around : len(mean) - around, around : mean.shape[1] - around, :3]
  levels = shot.response.values(np.clip(mean, 0, 1)) * np.float32(255)
  return camera.finish(levels, shot.finish, rng)


def blurs(shot: Shot, window: Window) -> bool:
  """Whether a tenth of a window moves by half a pixel or more, or all of it is blurred by a
  kernel."""
  x, y = (np.linspace(part.start, part.stop - 1, 32, dtype=np.float32) for part in reversed(window))
  extent, *_ = exposure.paths(shot.motion, *np.meshgrid(x, y))
  return shot.kernel is not None or (extent >= 0.5).mean() >= 0.1


def field_of(shot: Shot, window: Window) -> np.ndarray:
  """The field of a window's blur, see blur_field.py."""
  x, y = (blur_field.points(part.start, part.stop) for part in reversed(window))
  extent, direction, _ = exposure.paths(shot.motion, *np.meshgrid(x, y))
  return blur_field.of_paths(*_of_kernel(shot.kernel, extent, direction))


def exposed(
  shot: Shot,
  window: Window,
  seen: Callable[[Window, int], np.ndarray],
  rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
  """A window under a shot, blurry and sharp, (h, w, 3) uint8.

  Args:
    shot: of the whole photograph.
    window: rows and columns in the photograph.
    seen: (window, around) -> what is there, (h + 2 around, w + 2 around, 3) uint8.
    rng: of the noise.
  """
  whole = grown(window, shot.finish)
  around = margin(shot, whole)
  patch = seen(whole, around)
  blurry = take(shot, patch, around, whole, rng)
  sharp = patch[around : len(patch) - around, around : patch.shape[1] - around]
  return part(blurry, whole, window), part(sharp, whole, window)


def picture(photo: np.ndarray, shot: Shot, window: Window, rng: np.random.Generator) -> np.ndarray:
  """The blurry picture of a window of a photograph (H, W, 3) uint8."""
  return exposed(shot, window, functools.partial(exposure.cut, photo), rng)[0]


def shoot(photo: np.ndarray, shot: Shot, window: Window, rng: np.random.Generator) -> BlurExample:
  """A window of a photograph (H, W, 3) uint8 and its blur. The extent of a kernel is that of a line
  with the same second moment."""
  blurry = picture(photo, shot, window, rng)
  extent, direction, moving, swept = exposure.measure(shot.motion, window)
  extent, direction = _of_kernel(shot.kernel, extent, direction)
  return BlurExample(blurry, photo[window].copy(), extent, direction, moving, swept)


def _of_kernel(
  kernel: np.ndarray | None, extent: np.ndarray, direction: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Path lengths and directions as they are, or everywhere those of a kernel's line."""
  if kernel is None:
    return extent, direction
  length, angle = kernel_line(kernel)
  return np.full_like(extent, length), np.full_like(direction, angle)


def part(picture: np.ndarray, whole: Window, window: Window) -> np.ndarray:
  """A window of the picture of a larger window."""
  rows, columns = (
    slice(inner.start - outer.start, inner.stop - outer.start)
    for inner, outer in zip(window, whole, strict=True)
  )
  return picture[rows, columns]


def kernel_line(kernel: np.ndarray) -> tuple[float, float]:
  """Length in pixels and direction in radians of the even line that has the largest second moment
  of a kernel."""
  y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]]
  weight = kernel / kernel.sum()
  dx, dy = x - (weight * x).sum(), y - (weight * y).sum()
  xx, xy, yy = (weight * dx * dx).sum(), (weight * dx * dy).sum(), (weight * dy * dy).sum()
  largest = (xx + yy) / 2 + np.hypot((xx - yy) / 2, xy)
  return float(np.sqrt(12 * largest)), float(0.5 * np.arctan2(2 * xy, xx - yy))


def _frames(length: float, most: int, rng: np.random.Generator) -> int:
  """How many sub-frames a path of that length is seen in, an odd number up to `most`."""
  if rng.uniform() < FEW_FRAMES:
    return min(int(2 * rng.integers(3, 7) + 1), most)
  return min(2 * int(np.ceil(length / rng.uniform(1, 2) / 2)) + 3, most)


def _turned(kernel: np.ndarray, rng: np.random.Generator) -> np.ndarray:
  """A kernel turned by any angle and resized, its centre of gravity in the middle."""
  y, x = np.mgrid[: kernel.shape[0], : kernel.shape[1]]
  centre = np.array([(kernel * x).sum(), (kernel * y).sum()]) / kernel.sum()
  size = log_uniform(rng, 0.5, 1.6)
  farthest = np.hypot(x - centre[0], y - centre[1])[kernel > 0].max()
  side = int(np.ceil(size * max(farthest, np.hypot(*kernel.shape) / 2))) * 2 + 3
  turn = cv2.getRotationMatrix2D(tuple(centre), np.rad2deg(rng.uniform(0, 2 * np.pi)), size)
  turn[:, 2] += side // 2 - centre
  turned = np.maximum(cv2.warpAffine(kernel, turn, (side, side), flags=cv2.INTER_AREA), 0)
  return (turned / turned.sum()).astype(np.float32)
