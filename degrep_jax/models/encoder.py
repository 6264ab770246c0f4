"""The degradation encoder E: a blurry picture to its 2-D degradation map.

Five variants. `table1` is the supplementary material's Table 1. `official_v1` and `official_v2` are
the released `encoder1.py` and `encoder2.py`, which put instance norm after the spectral
convolutions and leave the 7x7 convolution and the residual blocks without spectral norm. `local` is
ours, for trainings of hours: Table 1 without spectral norms, which let a map vary little at first;
it sees the picture's detail alone and norms over the channels of a place. Instance norms take away
how blurred a picture is as a whole, and give tiles of it other maps. `structure` is `local` that
sees how much pixels differ at several distances in four directions as well, which a blur along one
of them lowers: left to itself `local` does not find directions. All share one stem of stride-2
convolutions, `stages`.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from degrep_jax.models.convolution import pad
from degrep_jax.models.layers import Conv, channel_norm, instance_norm, leaky_relu

FEATURES = 5  # convolutions whose outputs the deblurring stage's loss compares
# Of the 3x3 convolutions, see `EncoderConv`; the rest is spectral-normalised where these are alone.
NORMS = {
  'table1': 'spectral',
  'official_v1': 'instance',
  'official_v2': 'instance',
  'local': 'channel',
  'structure': 'channel',
}
VARIANTS = tuple(NORMS)
DETAIL = 5  # px, side of the squares whose mean is no detail
DETAIL_GAIN = 10.0  # brings the detail of photographs, some 0.03, to the order of 1
DISTANCES = (1, 2, 4, 8)  # px at which pixels are compared
DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1))  # rows and columns
NEIGHBOURHOOD = 5  # places of the map: a motion is known better from more of the picture
EPSILON = 1e-5  # of a squared difference, above what rounding to 8 bits makes


def detail(picture: jax.Array) -> jax.Array:
  """Every pixel less the mean of the square around it, enlarged; `(B, H, W, 3)` in [0, 1] and as
  large. Edges are repeated."""
  _, h, w, _ = picture.shape
  rim = DETAIL // 2
  padded = pad(picture, rim, 'edge')
  rows = functools.reduce(jnp.add, [padded[:, i : i + h] for i in range(DETAIL)])
  squares = functools.reduce(jnp.add, [rows[:, :, i : i + w] for i in range(DETAIL)])
  return DETAIL_GAIN * (picture - squares / DETAIL**2)


def structure(picture: jax.Array, square: int) -> jax.Array:
  """How much pixels differ at `DISTANCES` in `DIRECTIONS`: logarithms of mean squared differences
  over squares of a side, combined so that each number tells one thing.

  Args:
    picture: `(B, H, W, 3)` in [0, 1]; beyond its edges it is mirrored.
    square: side in pixels, of which H and W are multiples.

  Returns:
    `(B, H // square, W // square, 16)`, of the order of 1: at every distance more down than across,
    more on the rising diagonal than on the falling one, and more on the axes than the diagonals;
    how it falls from each distance to the one before; and how much it is at the largest.
  """
  _, h, w, _ = picture.shape
  grey, rim = picture.mean(-1, keepdims=True), max(DISTANCES)
  padded = pad(grey, rim, 'reflect')
  differences = []
  for distance in DISTANCES:
    for down, right in DIRECTIONS:
      i, j = rim + distance * down, rim + distance * right
      differences.append(jnp.square(padded[:, i : i + h, j : j + w] - grey))
  means = nn.avg_pool(jnp.concatenate(differences, -1), (square, square), (square, square))
  return jnp.log(means + EPSILON) @ _MIXED + _CENTRES


def _mixed() -> tuple[np.ndarray, np.ndarray]:
  """Weights (16, 16) of the logarithms of `structure`, by distance and then direction, and what is
  added. By these the numbers have means of -0.2 .. 0.2 and standard deviations of 0.8 .. 1.4 over
  the places of photographs under synthetic blur (as in configs/small_joint.py)."""
  logs = np.eye(len(DISTANCES) * len(DIRECTIONS)).reshape(-1, len(DISTANCES), len(DIRECTIONS))
  across, falling, down, rising = np.moveaxis(logs, -1, 0)
  whole = logs.mean(-1)
  parts = [
    (0.8 * (down - across), 0.0),
    (1.2 * (rising - falling), 0.0),
    (across + down - falling - rising, 1.0),
    (2.7 * (whole[:, :-1] - whole[:, 1:]), 2.7 * 0.75),
    (0.5 * whole[:, -1:], 0.5 * 6),
  ]
  weights = np.concatenate([part for part, _ in parts], 1)
  centres = np.concatenate([np.full(part.shape[1], centre) for part, centre in parts])
  return weights.astype(np.float32), centres.astype(np.float32)


_MIXED, _CENTRES = _mixed()


def around(values: jax.Array) -> jax.Array:
  """Means over the square of `NEIGHBOURHOOD` places a side about each of `(B, h, w, C)`, of those
  that are there."""
  return nn.avg_pool(
    values, (NEIGHBOURHOOD, NEIGHBOURHOOD), padding='SAME', count_include_pad=False
  )


class EncoderConv(nn.Module):
  """3x3 convolution of a variant: spectral-normalised with bias (`norm` 'spectral'); the same
  without bias, followed by instance norm ('instance'); or plain with bias, followed by a norm over
  the channels ('channel')."""

  features: int
  norm: str
  stride: int = 1
  padding_mode: str = 'zeros'

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    x = Conv(
      self.features,
      stride=self.stride,
      padding_mode=self.padding_mode,
      use_bias=self.norm != 'instance',
      spectral=self.norm != 'channel',
      name='conv',
    )(x, train)
    if self.norm == 'spectral':
      return x
    return instance_norm(x) if self.norm == 'instance' else channel_norm(x)


class ResidualBlock(nn.Module):
  """act(x + conv(act(conv(x)))), 3x3 convolutions with bias and reflection padding; keeps the
  shape."""

  spectral: bool

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    y = Conv(x.shape[-1], padding_mode='reflect', spectral=self.spectral, name='conv_0')(x, train)
    y = leaky_relu(y)
    y = Conv(x.shape[-1], padding_mode='reflect', spectral=self.spectral, name='conv_1')(y, train)
    return leaky_relu(x + y)


class Encoder(nn.Module):
  """E. Input `(B, H, W, 3)` in [0, 1], output the degradation map `(B, h, w, C)`, unbounded.

  With `features=True` the output is the feature maps that the deblurring stage's loss compares
  (released `encoder1.ConvEncoderLoss`): what the first five convolutions give before their
  activations, in their order, of the picture in its own size; fewer where there are fewer stages.

  At 256x256 and width 64: 4x4x256, `official_v2` 8x8x2048.

  Attributes:
    width: channels of the first convolution.
    variant: one of `VARIANTS`.
    stages: channels of the stride-2 convolutions in units of `width`; each halves the picture. The
      7x7 convolution follows the first.
    input_size: any other picture is resized to this square first (bilinear, half-pixel centres, no
      antialiasing), as the released code does with 256; None takes every picture as it is.
    gain: the map is so many times what the last convolution gives. Ours: the spectral norms of
      `table1` and an average over places leave it nearly constant at first.
  """

  width: int = 64
  variant: str = 'table1'
  stages: tuple[int, ...] = (1, 2, 4, 8, 8)
  input_size: int | None = 256
  gain: float = 1.0

  @property
  def halvings(self) -> int:
    """How often it halves its input: at each stage and, but for version 2, in its pooling."""
    return len(self.stages) + (self.variant != 'official_v2')

  @property
  def multiple(self) -> int:
    """Of which height and width of the pictures must be multiples."""
    return 1 if self.input_size is not None else 2**self.halvings

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False, features: bool = False) -> Any:
    norm, size = NORMS[self.variant], self.input_size
    if size is not None and x.shape[1:3] != (size, size) and not features:
      x = jax.image.resize(x, (x.shape[0], size, size, 3), 'bilinear', antialias=False)
    picture = x
    if norm == 'channel':
      x = detail(x)
    spectral, outputs = norm == 'spectral', []
    for i, multiple in enumerate(self.stages):
      x = EncoderConv(multiple * self.width, norm, stride=2, name=f'down_{i}')(x, train)
      outputs.append(x)
      if i == 0:
        x = Conv(self.width, kernel=7, padding_mode='reflect', spectral=spectral, name='conv_7x7')(
          leaky_relu(x), train
        )
        outputs.append(x)
      if i < len(self.stages) - 1:
        x = leaky_relu(x)
    if features:
      return tuple(outputs[:FEATURES])
    wide = self.variant == 'official_v2'
    x = self._wide_head(x, train) if wide else self._head(x, picture, train)
    return x if self.gain == 1 else self.gain * x

  def _head(self, x: jax.Array, picture: jax.Array, train: bool) -> jax.Array:
    norm = NORMS[self.variant]
    spectral = norm == 'spectral'
    mode = 'zeros' if norm == 'instance' else 'reflect'
    x = EncoderConv(x.shape[-1], norm, padding_mode=mode, name='conv_body')(leaky_relu(x), train)
    for i in range(5):
      x = ResidualBlock(spectral, name=f'residual_{i}')(x, train)
      if i == 2:
        x = nn.avg_pool(x, (2, 2), (2, 2))
    if self.variant == 'structure':
      seen = structure(picture, 2**self.halvings)
      x = jnp.concatenate([x, seen.astype(x.dtype), around(seen).astype(x.dtype)], -1)
    return EncoderConv(4 * self.width, norm, padding_mode='reflect', name='conv_out')(x, train)

  def _wide_head(self, x: jax.Array, train: bool) -> jax.Array:
    for i in range(3):
      x = ResidualBlock(spectral=False, name=f'residual_{i}')(x, train)
    norm = NORMS[self.variant]
    for i in range(3):
      x = EncoderConv(32 * self.width, norm, padding_mode='reflect', name=f'conv_out_{i}')(x, train)
      x = leaky_relu(x)
    return x
