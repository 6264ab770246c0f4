"""A probe of maps: what a small decoder rebuilds of the pictures that they were made of."""

import functools
from typing import Any, NamedTuple

import cv2
import fields
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from degrep_jax.common.console import say
from degrep_jax.common.pixels import to_float, to_uint8
from degrep_jax.metrics import psnr
from degrep_jax.models.layers import leaky_relu
from degrep_jax.runtime import compiling

BLOCK = 4  # px a side of the blocks that the decoder writes
BATCH = 32


class Decoder(nn.Module):
  """A picture from its map: (N, h, w, C) to (N, side, side, 3).

  What a place of the grid means is learned as well, so that a code that is the same everywhere can
  be told apart by place.

  Attributes:
    side: of the picture, a multiple of `BLOCK` and h times a power of 2, at least 2.
    width: channels.
  """

  side: int
  width: int = 64

  @nn.compact
  def __call__(self, maps: jax.Array) -> jax.Array:
    conv = functools.partial(nn.Conv, kernel_size=(3, 3))
    _, h, w, _ = maps.shape
    place = self.param('place', nn.initializers.normal(0.1), (h, w, self.width))
    x = leaky_relu(conv(self.width)(maps) + place)
    while x.shape[1] < self.side // BLOCK:
      x = leaky_relu(conv(self.width)(x.repeat(2, 1).repeat(2, 2)))
    x = conv(3 * BLOCK**2)(leaky_relu(conv(self.width)(x)))
    n, h, w, _ = x.shape
    blocks = x.reshape(n, h, w, BLOCK, BLOCK, 3).transpose(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, h * BLOCK, w * BLOCK, 3)


class Scale(NamedTuple):
  """Mean of the training maps in every place, and deviation from it per channel."""

  mean: np.ndarray
  deviation: np.ndarray

  @classmethod
  def of(cls, maps: np.ndarray) -> 'Scale':
    """Of maps (N, h, w, C); channels that do not vary become 0."""
    mean = maps.mean(0, dtype=np.float64)
    deviation = np.sqrt(np.mean((maps - mean) ** 2, (0, 1, 2)))
    return cls(mean, np.maximum(deviation, 1e-6 * max(float(deviation.max()), 1e-30)))

  def __call__(self, maps: np.ndarray) -> np.ndarray:
    return ((maps - self.mean) / self.deviation).astype(np.float32)


def train_decoder(maps: np.ndarray, pictures: np.ndarray, steps: int, seed: int) -> Any:
  """A decoder trained by mean squared error, Adam with a cosine: a function of maps.

  Args:
    maps: (N, h, w, C), standardised.
    pictures: (N, S, S, 3) uint8 that they belong to.
  """
  mean = to_float(pictures).mean((0, 1, 2))
  decoder = Decoder(pictures.shape[1])
  optimizer = optax.adamw(optax.cosine_decay_schedule(2e-3, steps), weight_decay=1e-3)

  @compiling.jit
  def step(params, state, batch, target):
    def loss(params):
      return jnp.mean((decoder.apply(params, batch) + mean - target) ** 2)

    value, gradient = jax.value_and_grad(loss)(params)
    updates, state = optimizer.update(gradient, state, params)
    return optax.apply_updates(params, updates), state, value

  params = decoder.init(jax.random.key(seed), maps[:1])
  state = optimizer.init(params)
  rng = np.random.default_rng(seed)
  for number in range(steps):
    chosen = rng.integers(len(maps), size=BATCH)
    params, state, value = step(params, state, maps[chosen], to_float(pictures[chosen]))
    if number % 100 == 99:
      say(f'probe: step {number + 1}/{steps}, root mean square error {float(value) ** 0.5:.4f}')
  apply = compiling.jit(decoder.apply)

  def decode(maps: np.ndarray) -> np.ndarray:
    parts = [np.asarray(apply(params, maps[i : i + BATCH])) for i in range(0, len(maps), BATCH)]
    return to_uint8(np.concatenate(parts) + mean)

  return decode


def reduced(pictures: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
  """Means of pictures (N, S, S, 3) over the places of a grid (h, w): (N, h, w, 3)."""
  return np.stack([cv2.resize(p, grid[::-1], interpolation=cv2.INTER_AREA) for p in pictures])


def thumbnails(pictures: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
  """Pictures (N, S, S, 3) reduced to a grid (h, w) of means and enlarged again, bicubic."""
  size = pictures.shape[2], pictures.shape[1]
  how = cv2.INTER_CUBIC if min(grid) > 1 else cv2.INTER_NEAREST
  return np.stack([cv2.resize(p, size, interpolation=how) for p in reduced(pictures, grid)])


def correlation(a: np.ndarray, b: np.ndarray) -> float:
  """Mean over pictures (N, S, S, 3) of the correlation of their grey values; 0 for a flat one."""
  x, y = (fields.grey(p).reshape(len(p), -1).astype(np.float64) for p in (a, b))
  x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
  scale = np.sqrt((x**2).sum(1) * (y**2).sum(1))
  return float(np.mean(np.divide((x * y).sum(1), scale, out=np.zeros(len(x)), where=scale > 1e-9)))


def rebuilt(result: np.ndarray, pictures: np.ndarray) -> dict[str, float]:
  """Scores of what stands for the pictures."""
  db = np.mean([psnr(a, b) for a, b in zip(result, pictures, strict=True)])
  return {'psnr': float(db), 'correlation': correlation(result, pictures)}


class Probe(NamedTuple):
  """What is rebuilt from maps: of held-out pictures `truth`, by what `training` ones taught.

  Attributes:
    truth, training: (N, S, S, 3) uint8.
    steps, seed: of the decoders' training.
  """

  truth: np.ndarray
  training: np.ndarray
  steps: int
  seed: int

  def __call__(
    self, maps: np.ndarray, known: np.ndarray, name: str
  ) -> tuple[dict[str, Any], np.ndarray]:
    """Scores of a decoder of maps of `truth`, trained on those `known` of `training`, and what it
    rebuilt."""
    say(f'{name}: training the probe')
    scale = Scale.of(known)
    decode = train_decoder(scale(known), self.training, self.steps, self.seed)
    result, few = decode(scale(maps)), slice(0, 256)
    on_training = rebuilt(decode(scale(known[few])), self.training[few])
    return {'decoder': rebuilt(result, self.truth), 'decoder_on_training': on_training}, result

  def baselines(self, grid: tuple[int, int]) -> tuple[dict[str, Any], np.ndarray]:
    """Scores of what needs no map, and what a decoder made of the pictures reduced to a grid."""
    mean = np.broadcast_to(np.rint(self.training.mean(0)).astype(np.uint8), self.truth.shape)
    small = (to_float(reduced(pictures, grid)) for pictures in (self.truth, self.training))
    decoded, result = self(*small, f'thumbnails of {grid[0]}x{grid[1]}')
    scores = {
      'mean': rebuilt(mean, self.truth),
      'thumbnail': rebuilt(thumbnails(self.truth, grid), self.truth),
      'decoded_thumbnail': decoded['decoder'],
    }
    return scores, result
