"""Blur as a moving camera makes it: sub-frames of a photograph averaged in linear light.

A photograph is seen by a camera that shakes and turns, while a region of it moves on its own and
hides what lies behind it. High-speed frames are averaged likewise to make GoPro (Nah et al., CVPR
2017, section 3.1; in linear light its `blur_gamma`). The middle sub-frame is the photograph itself,
so sharp pictures are real ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from degrep_jax.data.synthetic.camera import SRGB, Response
from degrep_jax.data.synthetic.motion import Blur, Layer, Motion, draw_motion, moved

# Pixels over which a moving region's edge goes from absent to opaque, as a lens would show it.
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
  blurry = to_sensor(expose(to_light(photo), motion, window), motion.noise, rng)
  return BlurExample(blurry, photo[window].copy(), *measure(motion, window))


def to_light(photo: np.ndarray, response: Response = SRGB) -> np.ndarray:
  """uint8 (H, W, 3) to float32 light in [0, 1], (H, W, 4) with opacity 1.

  Four channels because OpenCV warps them several times faster than three.
  """
  light = np.ones((*photo.shape[:2], 4), np.float32)
  light[..., :3] = response.light[photo]
  return light


def to_sensor(light: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
  """Light in [0, 1] to uint8 by the sRGB curve, with Gaussian noise, rounded."""
  value = SRGB.values(np.clip(light, 0, 1)) * 255
  if noise:
    value += noise * rng.standard_normal(value.shape, np.float32)
  return np.rint(np.clip(value, 0, 255)).astype(np.uint8)


def expose(light: np.ndarray, motion: Motion, window: Window) -> np.ndarray:
  """Averages the sub-frames of a window: (H, W, 4) light to (h, w, 3). Reflects at the borders."""
  margin = reach(motion, window)
  return average(cut(light, window, margin), margin, motion, window)


def reach(motion: Motion, window: Window) -> int:
  """Pixels beyond the window that the picture made of it depends on."""
  (top, left), (height, width) = _corner(window), _size(window)
  corners = np.array([[x, y, 1] for x in (left, left + width) for y in (top, top + height)])
  seen = max(
    np.abs(corners @ layer.views.swapaxes(1, 2) - corners[:, :2]).max() for layer in motion.layers
  )
  # The filling behind regions comes from as far outside their outlines as it shows inside.
  hidden = 2 * _parting(motion, corners) + 2 * EDGE if len(motion.layers) > 1 else 0
  return int(np.ceil(seen + hidden)) + 2


def cut(picture: np.ndarray, window: Window, margin: int) -> np.ndarray:
  """A window and what is around it, (h + 2 margin, w + 2 margin, C), mirrored beyond the borders of
  the picture (H, W, C)."""
  (rows, above, below), (columns, left, right) = (
    _within(part, margin, side) for part, side in zip(window, picture.shape, strict=False)
  )
  patch = picture[rows, columns]
  if not (above or below or left or right):
    return patch
  return cv2.copyMakeBorder(patch, above, below, left, right, cv2.BORDER_REFLECT_101)


def _within(part: slice, margin: int, side: int) -> tuple[slice, int, int]:
  """What there is of a part of a side and its margin, and what lacks before and after."""
  start, stop = part.start - margin, part.stop + margin
  return slice(max(start, 0), min(stop, side)), max(-start, 0), max(stop - side, 0)


def average(patch: np.ndarray, margin: int, motion: Motion, window: Window) -> np.ndarray:
  """`expose` of light (h + 2 margin, w + 2 margin, 4) that was cut with that margin."""
  (top, left), (height, width) = _corner(window), _size(window)
  origin = np.array([left - margin, top - margin])
  total = np.zeros((height, width, 4), np.float32)
  *fronts, (behind, paths) = [
    (picture, moved(_shifted(layer.views, (left, top)), -origin))
    for picture, layer in _pictures(patch, origin, motion)
  ]
  for step, view in enumerate(paths):
    frame = _warp(behind, view, width, height)
    for picture, views in reversed(fronts):
      front = _warp(picture, views[step], width, height)
      frame = front + (1 - front[..., 3:]) * frame
    total += frame
  return total[..., :3] / len(paths)


def measure(
  motion: Motion, window: Window
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
  """Path lengths and directions (h, w) float32, the moving regions and what they sweep (h, w) bool
  of a window; see BlurExample."""
  x, y = _grid(_corner(window), _size(window))
  swept = np.zeros(x.shape, bool)
  for layer in motion.layers[:-1]:
    assert layer.region is not None
    for view in layer.views:
      # A pixel more, which interpolation reaches.
      swept |= layer.region.depth(*_seen(view, x, y))[0] > -1
  return *paths(motion, x, y), swept


def paths(
  motion: Motion, x: np.ndarray, y: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """`measure` of the points (x, y), any shape, but for what is swept."""
  *regions, rest = motion.layers
  extent, direction = _path(rest.views, x, y)
  moving = np.zeros(x.shape, bool)
  for layer in reversed(regions):
    assert layer.region is not None
    shown = layer.region.depth(x, y)[0] >= EDGE / 2
    for own, whole in zip((extent, direction), _path(layer.views, x[shown], y[shown]), strict=True):
      own[shown] = whole
    moving |= shown
  return extent, direction, moving


def _path(views: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Lengths and directions, float32, of the paths that the points of a layer take."""
  length, xx, xy, yy = np.zeros((4, *x.shape))
  sums, last = np.zeros((2, *x.shape)), None
  for view in views:
    place = np.stack(_seen(view, x, y)) - (x, y)  # near zero, so that sums of squares are exact
    if last is not None:
      length += np.hypot(*(place - last))
    last = place
    sums += place
    xx += place[0] * place[0]
    xy += place[0] * place[1]
    yy += place[1] * place[1]
  mean_x, mean_y = sums / len(views)
  xx, xy, yy = (
    total / len(views) - mean
    for total, mean in ((xx, mean_x * mean_x), (xy, mean_x * mean_y), (yy, mean_y * mean_y))
  )
  # The major axis of the second moments; tiny ones are the rounding of points at rest.
  direction = 0.5 * np.arctan2(2 * xy, xx - yy)
  direction[length < 1e-3] = 0
  return length.astype(np.float32), direction.astype(np.float32)


def _seen(view: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Where in the photograph the points (x, y) of a sub-frame come from."""
  return tuple(row[0] * x + row[1] * y + row[2] for row in view)


def _corner(window: Window) -> tuple[int, int]:
  return window[0].start, window[1].start


def _size(window: Window) -> tuple[int, int]:
  return window[0].stop - window[0].start, window[1].stop - window[1].start


def _grid(corner: tuple[int, int], size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
  """x and y of the pixels, (h, w) float32."""
  y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
  return x + np.float32(corner[1]), y + np.float32(corner[0])


def _shifted(views: np.ndarray, start: tuple[int, int]) -> np.ndarray:
  """The maps (S, 2, 3) of pixels counted from `start` (x, y)."""
  return moved(views, views[..., :2] @ start)


def _warp(picture: np.ndarray, affine: np.ndarray, width: int, height: int) -> np.ndarray:
  flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
  return cv2.warpAffine(
    picture, affine, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101
  )


def _parting(motion: Motion, places: np.ndarray) -> float:
  """Pixels by which layers part at most from the hindmost at the places (N, 3) of x, y, 1."""
  *regions, rest = motion.layers
  return max(
    float(np.abs(places @ (layer.views - rest.views).swapaxes(1, 2)).max()) for layer in regions
  )


def _pictures(
  patch: np.ndarray, origin: np.ndarray, motion: Motion
) -> Iterator[tuple[np.ndarray, Layer]]:
  """The layers that a patch shows and their pictures, front to back: the regions', premultiplied by
  their opacity, and all that lies behind them.

  Nobody photographed what is behind: its rim, all that ever shows, is filled with the
  surroundings mirrored at the outline. While the regions are at rest they hide the filling exactly.
  """
  *regions, rest = motion.layers
  height, width = patch.shape[:2]
  left, top = origin
  corners = np.array([[x, y, 1] for x in (left, left + width) for y in (top, top + height)])
  for layer in regions:
    assert layer.region is not None
    x, y = _grid((top, left), (height, width))
    depth, distance = layer.region.depth(x, y)
    ramp = np.clip(depth / EDGE, 0, 1)
    if not ramp.any():
      continue
    opacity = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    yield patch * opacity[..., None], layer
    mirrored = 2 * np.clip(depth - EDGE, 0, _parting(motion, corners) + 1)
    outward = mirrored / distance
    centre_x, centre_y = layer.region.centre
    map_x = (x - left + (x - centre_x) * outward).astype(np.float32)
    map_y = (y - top + (y - centre_y) * outward).astype(np.float32)
    patch = cv2.remap(patch, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
  yield patch, rest
