"""Blur as a moving camera makes it: sub-frames of a photograph averaged in linear light.

A photograph is seen by a camera that shakes and turns, while a region of it moves on its own and
hides what lies behind it. High-speed frames are averaged likewise to make GoPro (Nah et al., CVPR
2017, section 3.1; in linear light its `blur_gamma`). The middle sub-frame is the photograph itself,
so sharp pictures are real ones.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from degrep_jax.data.synthetic.motion import Blur, Motion, draw_motion

# Pixels over which the moving region's edge goes from absent to opaque, as a lens would show it.
EDGE = 2.0

Window = tuple[slice, slice]


@dataclass(frozen=True)
class BlurExample:
  """blurry, sharp: (H, W, 3) uint8. extent: (H, W) float32, length of each pixel's path over the
  exposure in pixels. direction: (H, W) float32, of the path's longest axis, radians in
  (-pi / 2, pi / 2] from the x axis towards the y axis (down); 0 where nothing moves. moving: (H, W)
  bool, where the picture moves on its own. swept: (H, W) bool, where that part is at any time of
  the exposure: around `moving` lies what it hides and uncovers, blurred without moving itself."""

  blurry: np.ndarray
  sharp: np.ndarray
  extent: np.ndarray
  direction: np.ndarray
  moving: np.ndarray
  swept: np.ndarray


def blur_photograph(
  photo: np.ndarray,
  blur: Blur,
  rng: np.random.Generator,
  window: Window | None = None,
  strength: float | None = None,
) -> BlurExample:
  """Blurs a window of a photograph, (H, W, 3) uint8, with motion drawn from `rng`.

  The motion is drawn for the whole photograph: a window shows what the whole would show there.
  window: rows and columns, by default all. strength: see `draw_motion`.
  """
  window = window or (slice(0, photo.shape[0]), slice(0, photo.shape[1]))
  motion = draw_motion(blur, photo.shape, rng, strength)
  blurry = to_sensor(expose(to_linear(photo), motion, window), motion.noise, rng)
  return BlurExample(blurry, photo[window].copy(), *measure(motion, window))


def to_linear(photo: np.ndarray) -> np.ndarray:
  """uint8 (H, W, 3) to float32 light in [0, 1] by the sRGB curve, (H, W, 4) with opacity 1.

  Four channels because OpenCV warps them several times faster than three.
  """
  value = np.arange(256) / 255
  curve = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
  light = np.ones((*photo.shape[:2], 4), np.float32)
  light[..., :3] = curve.astype(np.float32)[photo]
  return light


def to_sensor(light: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
  """Light in [0, 1] to uint8 by the sRGB curve, with Gaussian noise, rounded."""
  light = np.clip(light, 0, 1)
  value = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055) * 255
  if noise:
    value += noise * rng.standard_normal(value.shape, np.float32)
  return np.rint(np.clip(value, 0, 255)).astype(np.uint8)


def expose(linear: np.ndarray, motion: Motion, window: Window) -> np.ndarray:
  """Averages the sub-frames of a window: (H, W, 4) light to (h, w, 3). Reflects at the borders."""
  (top, left), (height, width) = _corner(window), _size(window)
  margin = _reach(motion, window)
  origin = np.array([left - margin, top - margin])
  patch = _warp(linear, _shifted(_IDENTITY, origin), width + 2 * margin, height + 2 * margin)
  layer, behind = _layers(patch, linear, origin, motion)
  total = np.zeros((height, width, 4), np.float32)
  for camera, offset in zip(motion.camera, motion.path, strict=True):
    view = _shifted(camera, (left, top))
    frame = _warp(behind, _moved(view, -origin), width, height)
    if layer is not None:
      front = _warp(layer, _moved(view, -origin - offset), width, height)
      frame = front + (1 - front[..., 3:]) * frame
    total += frame
  return total[..., :3] / len(motion.camera)


def measure(
  motion: Motion, window: Window
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Path lengths and directions (h, w) float32, the moving region and what it sweeps (h, w) bool of
  a window; see BlurExample."""
  x, y = _grid(_corner(window), _size(window))
  views = [
    (
      camera[0, 0] * x + camera[0, 1] * y + camera[0, 2],
      camera[1, 0] * x + camera[1, 1] * y + camera[1, 2],
    )
    for camera in motion.camera
  ]
  moving, swept = np.zeros((2, *x.shape), bool)
  if motion.region is not None:
    moving = motion.region.depth(x, y)[0] >= EDGE / 2
    for (seen_x, seen_y), own in zip(views, motion.path, strict=True):
      # A pixel more, which interpolation reaches.
      swept |= motion.region.depth(seen_x - own[0], seen_y - own[1])[0] > -1
  # (S, 2, h, w): where each pixel's light came from
  path = np.array(views) - motion.path[:, :, None, None] * moving
  extent = np.hypot(*np.diff(path, axis=0).swapaxes(0, 1)).sum(0)
  dx, dy = (path - path.mean(0)).swapaxes(0, 1)
  # The major axis of the second moments; tiny ones are the rounding of points at rest.
  direction = 0.5 * np.arctan2(2 * (dx * dy).sum(0), (dx * dx - dy * dy).sum(0))
  direction[extent < 1e-3] = 0
  return extent.astype(np.float32), direction.astype(np.float32), moving, swept


_IDENTITY = np.eye(2, 3)


def _corner(window: Window) -> tuple[int, int]:
  return window[0].start, window[1].start


def _size(window: Window) -> tuple[int, int]:
  return window[0].stop - window[0].start, window[1].stop - window[1].start


def _grid(corner: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
  """x and y of the pixels, (h, w) float32."""
  y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
  return x + np.float32(corner[1]), y + np.float32(corner[0])


def _shifted(affine: np.ndarray, start: tuple[int, int] | np.ndarray) -> np.ndarray:
  """The map of pixels counted from `start` (x, y)."""
  return np.column_stack([affine[:, :2], affine[:, :2] @ start + affine[:, 2]])


def _moved(affine: np.ndarray, offset: np.ndarray) -> np.ndarray:
  return np.column_stack([affine[:, :2], affine[:, 2] + offset])


def _warp(picture: np.ndarray, affine: np.ndarray, width: int, height: int) -> np.ndarray:
  flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
  return cv2.warpAffine(
    picture, affine, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101
  )


def _reach(motion: Motion, window: Window) -> int:
  """Pixels beyond the window that any sub-frame sees."""
  (top, left), (height, width) = _corner(window), _size(window)
  corners = np.array([[x, y, 1] for x in (left, left + width) for y in (top, top + height)])
  seen = corners @ motion.camera.swapaxes(1, 2) - corners[:, :2]
  return int(np.ceil(np.abs(seen).max() + np.abs(motion.path).max())) + 2


def _layers(
  patch: np.ndarray, linear: np.ndarray, origin: np.ndarray, motion: Motion
) -> tuple[np.ndarray | None, np.ndarray]:
  """The moving region of a patch, premultiplied by its opacity, and what lies behind it.

  Nobody photographed what is behind: its rim, all that ever shows, is filled with the
  surroundings mirrored at the outline. While the region is at rest it hides the filling exactly.
  """
  if motion.region is None:
    return None, patch
  x, y = _grid((origin[1], origin[0]), patch.shape[:2])
  depth, distance = motion.region.depth(x, y)
  ramp = np.clip(depth / EDGE, 0, 1)
  if not ramp.any():
    return None, patch
  opacity = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
  mirrored = 2 * np.clip(depth - EDGE, 0, 2 * np.abs(motion.path).max() + 2)
  outward = 1 + mirrored / distance
  centre_x, centre_y = motion.region.centre
  map_x = (centre_x + (x - centre_x) * outward).astype(np.float32)
  map_y = (centre_y + (y - centre_y) * outward).astype(np.float32)
  behind = cv2.remap(linear, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
  return patch * opacity[..., None], behind
