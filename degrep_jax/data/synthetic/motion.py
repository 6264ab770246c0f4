"""How a camera and a part of the scene move during one exposure: drawn at random, smooth."""

from dataclasses import dataclass

import numpy as np

from degrep_jax.common.errors import UserError

# Smallest strength of an example: below it the blurry picture is as good as sharp.
WEAKEST = 0.25
# By which the amplitudes of a trembling path's 4 harmonics fall.
TREMBLING = np.arange(1, 5)[:, None] ** 1.5


@dataclass(frozen=True)
class Blur:
  """How strongly pictures are blurred at most; each example draws its own amounts below these.

  Attributes:
    shake: largest extent of the camera's path, pixels.
    rotation: angle the camera turns through during the exposure, degrees.
    object_motion: largest extent of the moving region's own path, pixels.
    sub_frames: pictures averaged, an odd number (the middle one is the sharp picture).
    noise: standard deviation of the blurry picture's noise, in 8-bit units.
    rest: share of the examples whose camera is at rest, so that only the region moves.
  """

  shake: float
  rotation: float
  object_motion: float
  sub_frames: int
  noise: float
  rest: float = 0.0

  def __post_init__(self):
    if self.sub_frames < 1 or self.sub_frames % 2 == 0:
      raise UserError(f'sub_frames is {self.sub_frames}; it must be a positive odd number.')
    for name in ('shake', 'rotation', 'object_motion', 'noise'):
      if getattr(self, name) < 0:
        raise UserError(f'{name} is {getattr(self, name)}; it must not be negative.')
    if not 0 <= self.rest <= 1:
      raise UserError(f'rest is {self.rest}; it must be in 0 .. 1.')


@dataclass(frozen=True)
class Region:
  """A smooth closed outline: an ellipse with a few harmonics.

  Attributes:
    centre: (2,) x, y in the photograph, pixels.
    to_circle: (2, 2) matrix that takes the ellipse to a circle of its larger radius.
    radius: of that circle, pixels.
    harmonics: (K,) complex amplitudes of cos(k phi), k = 2 .. K + 1, relative to the radius.
  """

  centre: np.ndarray
  to_circle: np.ndarray
  radius: float
  harmonics: np.ndarray

  def depth(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Depth inside the outline (negative outside) and distance from the centre, pixels."""
    u, v = np.tensordot(self.to_circle, np.stack([x, y]) - self.centre[:, None, None], 1)
    z = (u + 1j * v).astype(np.complex64)
    distance = np.maximum(np.abs(z), 1)
    turn = z / distance
    power, outline = turn, np.ones(z.shape, np.float32)
    for amplitude in self.harmonics:
      power = power * turn
      outline += (power * amplitude).real
    return self.radius * outline - distance, distance


@dataclass(frozen=True)
class Layer:
  """A part of the scene and how it is seen during S sub-frames.

  Attributes:
    views: (S, 2, 3) affine maps from pixels (x, y) of a sub-frame to the photograph.
    region: its outline in the photograph; None: everything.
  """

  views: np.ndarray
  region: Region | None = None


@dataclass(frozen=True)
class Motion:
  """What moves during one exposure, S sub-frames; in the middle one all is where the photograph has
  it.

  Attributes:
    layers: front to back; the last, and it alone, has no region.
    noise: standard deviation in 8-bit units.
  """

  layers: tuple[Layer, ...]
  noise: float = 0.0


def draw_motion(
  blur: Blur, shape: tuple[int, ...], rng: np.random.Generator, strength: float | None = None
) -> Motion:
  """Draws one exposure of a picture of `shape` (H, W, ...).

  strength in [0, 1] is the fraction of the maxima that this example may reach, drawn if None.
  """
  strength = rng.uniform(WEAKEST, 1) if strength is None else strength
  height, width = shape[:2]
  shift = draw_path(rng, blur.sub_frames, 2) * blur.shake * strength
  turn = draw_path(rng, blur.sub_frames, 1)[:, 0] * np.deg2rad(blur.rotation) * rng.uniform()
  centre = rng.uniform(0.2, 0.8, 2) * (width, height)
  path = draw_path(rng, blur.sub_frames, 2) * blur.object_motion * rng.uniform()
  region = draw_region(rng, height, width)
  if blur.rest and rng.uniform() < blur.rest:
    shift, turn = 0 * shift, 0 * turn
  camera = camera_maps(shift, turn * strength, centre)
  layers = [Layer(camera)]
  if path.any():
    layers.insert(0, Layer(moved(camera, -path * strength), region))
  return Motion(tuple(layers), blur.noise * rng.uniform())


def draw_path(
  rng: np.random.Generator, steps: int, dimensions: int, bend: float = 1.0, jitter: float = 0.0
) -> np.ndarray:
  """A smooth path (steps, dimensions), zero at the middle step, its extent (largest distance of
  two points) 1: speed, acceleration and its change are drawn, so paths bend and hook.

  bend: how strongly, 0 for a straight line. jitter: how strongly it trembles, relative to the
  speed.
  """
  time = np.linspace(-1, 1, steps) if steps > 1 else np.zeros(1)
  speed, turn, hook = rng.normal(size=(3, dimensions)) * [[1], [0.35 * bend], [0.35 * bend]]
  path = np.outer(time, speed) + np.outer(time**2, turn) + np.outer(time**3, hook)
  if jitter:
    waves = np.sin(np.outer(time, np.pi * np.arange(1, 5)) + rng.uniform(0, 2 * np.pi, 4))
    path += jitter * (waves - waves[steps // 2]) @ (rng.normal(size=(4, dimensions)) / TREMBLING)
  extent = np.linalg.norm(path[:, None] - path[None], axis=-1).max()
  return path / extent if extent > 0 else path


def draw_region(
  rng: np.random.Generator,
  height: int,
  width: int,
  sizes: tuple[float, float] = (0.15, 0.35),
  squeezes: tuple[float, float] = (0.5, 1),
) -> Region:
  """A blob anywhere in the picture, by default of about an eighth of it. sizes: of its radius,
  relative to the shorter side. squeezes: of its shorter axis, relative to the longer."""
  angle, squeeze = rng.uniform(0, np.pi), rng.uniform(*squeezes)
  cos, sin = np.cos(angle), np.sin(angle)
  harmonics = rng.normal(size=(3, 2)) @ (1, 1j) * (0.12, 0.06, 0.04)
  return Region(
    centre=rng.uniform(0.1, 0.9, 2) * (width, height),
    to_circle=np.array([[cos, sin], [-sin / squeeze, cos / squeeze]]),
    radius=rng.uniform(*sizes) * min(height, width),
    harmonics=harmonics.astype(np.complex64),
  )


def camera_maps(shift: np.ndarray, turn: np.ndarray, centre: np.ndarray) -> np.ndarray:
  """Affine maps (S, 2, 3): rotation by `turn` (S,) radians about `centre`, then `shift` (S, 2)."""
  cos, sin = np.cos(turn), np.sin(turn)
  rotation = np.stack([np.stack([cos, -sin], -1), np.stack([sin, cos], -1)], 1)
  offset = centre + shift - rotation @ centre
  return np.concatenate([rotation, offset[:, :, None]], 2)


def moved(affine: np.ndarray, offset: np.ndarray) -> np.ndarray:
  """Affine maps (..., 2, 3) with an offset (..., 2) added to their results."""
  linear, shift = affine[..., :2], affine[..., 2:]
  return np.concatenate([linear, shift + offset[..., None]], -1)
