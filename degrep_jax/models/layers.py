"""The layers that every network is made of: convolution, its transpose, norms and resizing.

Arrays are NHWC, kernels HWIO. Initial weights follow PyTorch's default (uniform with bound 1 /
sqrt(fan in), biases too), which is what the released networks start from.

Convolutions compute in the type of their kernels, norms take their statistics in float32 or what is
wider: casting the parameters to bfloat16 makes a network compute in it.
"""

import inspect
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from degrep_jax.models import spectral_norm
from degrep_jax.models.convolution import conv2d, pad, upconv2x2
from degrep_jax.models.sums import over_positions

NORM_EPS = 1e-5

Moments = Callable[[jax.Array], tuple[jax.Array, jax.Array]]  # features to (mean, variance)


def rematerialised(block: type[nn.Module], remat: bool) -> type[nn.Module]:
  """A kind of block or, with `remat`, the one that keeps only what goes in: what lies between is
  computed again when gradients are. Its variables have the same names and move once."""
  if not remat:
    return block
  arguments = list(inspect.signature(block.__call__).parameters)
  static = (arguments.index('train'),) if 'train' in arguments else ()
  return nn.remat(block, static_argnums=static)


def widened(x: jax.Array) -> jax.Array:
  """bfloat16 as float32; float32 and float64 as they are."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def leaky_relu(x: jax.Array) -> jax.Array:
  """LeakyReLU of slope 0.2, the activation of every network here unless its docstring says
  otherwise."""
  return nn.leaky_relu(x, 0.2)


@jax.custom_vjp
def inner_leaky_relu(x: jax.Array) -> jax.Array:
  """`leaky_relu` of what a convolution reads next, which keeps the result for its own gradient: the
  signs are taken from there, and x is not kept as well."""
  return leaky_relu(x)


def _inner_leaky_relu_forward(x):
  y = leaky_relu(x)
  return y, y


def _inner_leaky_relu_backward(y, cotangent):
  return (jnp.where(y >= 0, cotangent, 0.2 * cotangent),)


inner_leaky_relu.defvjp(_inner_leaky_relu_forward, _inner_leaky_relu_backward)


@jax.custom_vjp
def _biased(y: jax.Array, bias: jax.Array) -> jax.Array:
  """y + bias; in float32, in which the bias' gradient then is summed over all pixels."""
  return (widened(y) + widened(bias)).astype(y.dtype)


def _biased_forward(y, bias):
  return _biased(y, bias), bias


def _biased_backward(bias, cotangent):
  return cotangent, over_positions(widened(cotangent)).sum((0, 1, 2)).astype(bias.dtype)


_biased.defvjp(_biased_forward, _biased_backward)


def _uniform(bound: float):
  return lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -bound, bound)


class Conv(nn.Module):
  """Convolution with zero or reflection padding, optionally spectral-normalised.

  Attributes:
    features: filters.
    kernel: side of the square kernel.
    stride: the same in both directions.
    padding: pixels on each side; None is half the kernel.
    padding_mode: 'zeros' or 'reflect'.
    use_bias: adds a bias per filter.
    spectral: divides the kernel by its largest singular value; u and v live in the collection
      'spectral' and advance by one power iteration per call with `train=True` (the collection must
      then be mutable). Applied without `train` to variables that lack u and v, it takes the kernel
      as divided already (`spectral_norm.folded`).
  """

  features: int
  kernel: int = 3
  stride: int = 1
  padding: int | None = None
  padding_mode: str = 'zeros'
  use_bias: bool = True
  spectral: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    shape = (self.kernel, self.kernel, x.shape[-1], self.features)
    bound = 1 / np.sqrt(np.prod(shape[:3]))
    kernel = self.param('kernel', _uniform(bound), shape)
    if self.spectral and (train or self.is_initializing() or self.has_variable('spectral', 'u')):
      kernel = self._normalised(kernel, train)
    x = x.astype(kernel.dtype)
    padding = self.kernel // 2 if self.padding is None else self.padding
    if padding and self.padding_mode == 'reflect':
      x, padding = pad(x, padding, 'reflect'), 0
    y = conv2d(x, kernel, self.stride, padding)
    return _biased(y, self.param('bias', _uniform(bound), (self.features,))) if self.use_bias else y

  def _normalised(self, kernel: jax.Array, train: bool) -> jax.Array:
    def initial_u():
      u = jax.random.normal(self.make_rng('params'), (self.features,))
      return u / jnp.linalg.norm(u)

    dtype, kernel = kernel.dtype, widened(kernel)
    u = self.variable('spectral', 'u', initial_u)
    # Not drawn at random as PyTorch does: an untrained network then has a meaningful sigma too.
    v = self.variable('spectral', 'v', lambda: spectral_norm.right_vector(kernel, u.value))
    if train and not self.is_initializing():
      u.value, v.value = spectral_norm.power_iteration(kernel, u.value)
    # A product with the reciprocal is one program for every caller: XLA then merges equal passes of
    # a network, which it does not where a shared divisor is rewritten in one of them.
    return (kernel * (1 / spectral_norm.sigma(kernel, u.value, v.value))).astype(dtype)


class UpConv(nn.Module):
  """Transposed convolution 2x2 of stride 2 with bias: `(B, H, W, C)` to `(B, 2 H, 2 W,
  features)`."""

  features: int

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    # PyTorch counts the fan-in of a transposed kernel by its outputs.
    bound = 1 / np.sqrt(4 * self.features)
    kernel = self.param('kernel', _uniform(bound), (2, 2, x.shape[-1], self.features))
    y = upconv2x2(x.astype(kernel.dtype), kernel)
    return _biased(y, self.param('bias', _uniform(bound), (self.features,)))


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and biased variance over height and width of `(B, H, W, C)`, both `(B, 1, 1, C)`."""
  mean = x.mean((1, 2), keepdims=True)
  return mean, jnp.square(x - mean).mean((1, 2), keepdims=True)


def _affine(
  x: jax.Array, scale: jax.Array, bias: jax.Array, mean: jax.Array, variance: jax.Array
) -> jax.Array:
  """The first channels normalised, scaled and shifted, as many as `scale` has; the rest passes.

  Written as one multiplication and addition over all channels, so that no feature map is split and
  joined.
  """
  wide = widened(x)
  y = (wide - _spread(mean, wide)) * _spread(scale * lax.rsqrt(variance + NORM_EPS), wide, 1)
  return (y + _spread(bias, wide)).astype(x.dtype)


def _spread(values: jax.Array, x: jax.Array, rest: float = 0) -> jax.Array:
  """Values of the first channels `(..., c)` as those of all of x, `rest` for the others."""
  others = x.shape[-1] - values.shape[-1]
  widths = [(0, 0)] * (values.ndim - 1) + [(0, others)]
  return jnp.pad(values, widths, constant_values=rest) if others else values


@jax.custom_vjp
def _normalised(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
  """`_affine` with the moments over height and width of `(B, H, W, C)`; scale and bias `(c,)`."""
  return _affine(x, scale, bias, *moments(widened(x[..., : len(scale)])))


def _normalised_forward(x, scale, bias):
  wide, c, count = widened(x), len(scale), x.shape[1] * x.shape[2]
  mean = over_positions(wide)[..., :c] / count
  variance = over_positions(jnp.square(wide[..., :c] - mean)) / count
  return _affine(x, scale, bias, mean, variance), (x[..., :c], scale, bias, mean, variance)


def _normalised_backward(residuals, cotangent):
  """Of y = scale * z + bias and z = (x - mean) * inverse; dx = scale * inverse * (dy - mean(dy) - z
  * mean(dy * z)), means over the positions."""
  x, scale, bias, mean, variance = residuals
  dy, c, count = widened(cotangent), len(scale), x.shape[1] * x.shape[2]
  deviation, inverse = widened(x) - mean, lax.rsqrt(variance + NORM_EPS)
  dbias = over_positions(dy)[..., :c]
  dscale = over_positions(dy[..., :c] * deviation) * inverse
  slope = scale * inverse
  means = slope * (dbias + deviation * inverse * dscale) / count
  dx = dy * _spread(slope, dy, 1) - _spread(means, dy)
  dscale, dbias = (
    total.sum((0, 1, 2)).astype(of.dtype) for total, of in ((dscale, scale), (dbias, bias))
  )
  return dx.astype(x.dtype), dscale, dbias


_normalised.defvjp(_normalised_forward, _normalised_backward)


def instance_norm(x: jax.Array) -> jax.Array:
  """Instance normalisation without affine parameters over height and width of `(B, H, W, C)`."""
  x = jnp.asarray(x)
  ones = widened(jnp.ones(x.shape[-1], x.dtype))
  return _normalised(x, ones, jnp.zeros_like(ones))


def channel_norm(x: jax.Array) -> jax.Array:
  """Every place of `(B, H, W, C)` divided by the root mean square of its channels (Zhang and
  Sennrich 2019, without a scale)."""
  dtype, x = jnp.result_type(x), widened(x)
  return (x * lax.rsqrt(jnp.square(x).mean(-1, keepdims=True) + NORM_EPS)).astype(dtype)


class HalfInstanceNorm(nn.Module):
  """Affine instance norm of the first half of the channels (HINet, Chen et al. 2021); the rest
  passes."""

  @nn.compact
  def __call__(self, x: jax.Array, moments: Moments | None = None) -> jax.Array:
    """Args: x `(B, H, W, C)`; moments: gives the mean and variance of the first half, in a shape
    that broadcasts with it; None: those over height and width."""
    half = x.shape[-1] // 2
    scale = self.param('scale', nn.initializers.ones, (half,))
    bias = self.param('bias', nn.initializers.zeros, (half,))
    if moments is None:
      return _normalised(x, scale, bias)
    return _affine(x, scale, bias, *moments(widened(x[..., :half])))


class BatchNorm(nn.Module):
  """Batch norm without affine parameters, as PyTorch's: the running variance is the unbiased one.

  Flax's keeps the biased variance, hence this one. Running statistics (collection 'batch_stats')
  move by 0.1 per training pass; with `axis_name` the statistics are those of the whole batch of all
  devices.
  """

  axis_name: str | None = None

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    features = x.shape[-1]
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (features,))
    running_var = self.variable('batch_stats', 'var', jnp.ones, (features,))
    if not train or self.is_initializing():
      y = (x - running_mean.value) * lax.rsqrt(running_var.value + NORM_EPS)
      return y.astype(x.dtype)
    # Moments about the running mean: one reduction over the devices, and little cancellation.
    centred = x - running_mean.value
    moments = jnp.stack([centred.mean((0, 1, 2)), jnp.square(centred).mean((0, 1, 2))])
    count = x.size // features
    if self.axis_name is not None:
      moments = lax.pmean(moments, self.axis_name)
      count *= lax.axis_size(self.axis_name)
    shift, variance = moments[0], jnp.maximum(moments[1] - jnp.square(moments[0]), 0)
    running_mean.value += 0.1 * shift
    running_var.value += 0.1 * (variance * (count / (count - 1)) - running_var.value)
    return ((centred - shift) * lax.rsqrt(variance + NORM_EPS)).astype(x.dtype)


def resize_nearest(x: jax.Array, size: Sequence[int]) -> jax.Array:
  """Nearest neighbour as PyTorch's `F.interpolate`: output pixel i reads input pixel floor(i * in /
  out).

  Args:
    x: `(B, H, W, C)`.
    size: wanted (height, width).
  """
  for axis, wanted in zip((1, 2), size, strict=True):
    if x.shape[axis] != wanted:
      x = x.take(np.arange(wanted) * x.shape[axis] // wanted, axis)
  return x


def upsample2(x: jax.Array) -> jax.Array:
  """Nearest neighbour, twice the height and width: `(B, 2 H, 2 W, C)`."""
  return resize_nearest(x, (2 * x.shape[1], 2 * x.shape[2]))


def space_to_depth(x: jax.Array, side: int) -> jax.Array:
  """Squares of `side` x `side` pixels as one: `(B, H, W, C)` to `(B, H / side, W / side, side ** 2
  C)`, the values of a square row by row, channels last."""
  n, h, w, c = x.shape
  squares = x.reshape(n, h // side, side, w // side, side, c).transpose(0, 1, 3, 2, 4, 5)
  return squares.reshape(n, h // side, w // side, side**2 * c)


def depth_to_space(x: jax.Array, side: int) -> jax.Array:
  """The inverse of `space_to_depth`: `(B, h, w, side ** 2 C)` to `(B, side h, side w, C)`."""
  n, h, w, c = x.shape
  squares = x.reshape(n, h, w, side, side, c // side**2).transpose(0, 1, 3, 2, 4, 5)
  return squares.reshape(n, side * h, side * w, c // side**2)
