"""The layers that every network is made of: the one convolution, its transpose, norms and resizing.

Every convolution of the project passes through `conv2d`, so that a faster path has one home. Arrays
are NHWC, kernels HWIO. Initial weights follow PyTorch's default (uniform with bound 1 / sqrt(fan
in), biases too), which is what the released networks start from.

Convolutions compute in the type of their kernels, norms take their statistics in float32 or what is
wider: casting the parameters to bfloat16 makes a network compute in it.
"""

import functools
import inspect
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from degrep_jax.models import spectral_norm

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')
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


def pad(x: jax.Array, amount: int, mode: str) -> jax.Array:
  """Pads height and width of `(B, H, W, C)` by `amount`; mode 'zeros' or 'reflect' (without the
  border)."""
  widths = ((0, 0), (amount, amount), (amount, amount), (0, 0))
  return jnp.pad(x, widths) if mode == 'zeros' else jnp.pad(x, widths, mode='reflect')


def _plain_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
  return lax.conv_general_dilated(
    x, kernel, (stride, stride), [(padding, padding)] * 2, dimension_numbers=_LAYOUT
  )


def _space_to_depth_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
  """A 4x4 convolution of stride 2 as a 2x2 one of stride 1 over blocks of 2x2 pixels."""
  n, *size, c = x.shape
  rows, columns = ((s + 2 * padding - 4) // stride + 2 for s in size)
  ends = (2 * blocks - s - padding for blocks, s in zip((rows, columns), size, strict=True))
  x = lax.pad(
    x, jnp.zeros((), x.dtype), [(0, 0, 0), *((padding, end, 0) for end in ends), (0, 0, 0)]
  )
  blocks = x.reshape(n, rows, 2, columns, 2, c).transpose(0, 1, 3, 2, 4, 5)
  kernel = kernel.reshape(2, 2, 2, 2, c, -1).transpose(0, 2, 1, 3, 4, 5).reshape(2, 2, 4 * c, -1)
  return _plain_conv(blocks.reshape(n, rows, columns, 4 * c), kernel, 1, 0)


def _im2col_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
  """A convolution of stride 1 as one matrix product."""
  k, features = kernel.shape[0], kernel.shape[-1]
  x = pad(x, padding, 'zeros')
  height, width = (s - k + 1 for s in x.shape[1:3])
  shifted = [x[:, i : i + height, j : j + width] for i in range(k) for j in range(k)]
  return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, features)


def _padded_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
  return _plain_conv(pad(x, padding, 'zeros'), kernel, stride, 0)


def _cpu_forms(x: jax.Array, kernel: jax.Array, stride: int, padding: int):
  """Equal forms whose (input, filter) gradients XLA's CPU backend computes fastest, as measured.

  For a 4x4 convolution of stride 2 the input gradient of the space-to-depth form takes a third of
  the time of the plain one's at full width. The filter gradient of the plain form takes 25 to 50
  times as long where the padding exceeds that of an odd kernel, and twice as long as a matrix
  product where there are fewer positions than channels. Elsewhere none of these is faster.
  """
  k = kernel.shape[0]
  input_form = _space_to_depth_conv if (k, stride) == (4, 2) else _plain_conv
  positions = x.size // x.shape[-1]
  if stride == 1 and k > 1 and positions <= x.shape[-1]:
    return input_form, _im2col_conv
  return input_form, _padded_conv if stride == 1 and 2 * padding > k - 1 else _plain_conv


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: int = 0) -> jax.Array:
  """Cross-correlation with zero padding: the one convolution of the project.

  Args:
    x: `(B, H, W, in)`.
    kernel: `(k, k, in, out)`.
    stride: the same in both directions.
    padding: zeros added on each side.

  Returns:
    `(B, (H + 2 padding - k) // stride + 1, ..., out)`. The gradients, by reverse mode alone, are
    computed in whatever equal form is fastest on the platform.
  """
  return _plain_conv(x, kernel, stride, padding)


def _conv2d_forward(x, kernel, stride, padding):
  return conv2d(x, kernel, stride, padding), (x, kernel)


def _conv2d_backward(stride, padding, residuals, cotangent):
  def gradient(form, argument):
    def run(x, kernel, cotangent):
      arguments = [x, kernel]

      def of_one(value):
        arguments[argument] = value
        return form(*arguments, stride, padding)

      return jax.vjp(of_one, arguments[argument])[1](cotangent)[0]

    return run

  def choose(form, argument):
    plain = gradient(_plain_conv, argument)
    if form is _plain_conv:
      return plain(*residuals, cotangent)
    return lax.platform_dependent(
      *residuals, cotangent, cpu=gradient(form, argument), default=plain
    )

  forms = _cpu_forms(*residuals, stride, padding)
  return tuple(choose(form, argument) for argument, form in enumerate(forms))


conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def upconv2x2(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Transposed 2x2 convolution of stride 2 as a 1x1 convolution and depth-to-space: exact.

  The filter gradient of XLA's own transposed form takes 10 to 20 times as long on a CPU.

  Args:
    x: `(B, H, W, in)`.
    kernel: `(2, 2, in, out)`; `kernel[a, b]` makes the pixel (2 i + a, 2 j + b).

  Returns:
    `(B, 2 H, 2 W, out)`.
  """
  n, h, w, _ = x.shape
  y = jnp.einsum('nhwi,rcio->nhrwco', x, kernel)
  return y.reshape(n, 2 * h, 2 * w, kernel.shape[-1])


def _biased(y: jax.Array, bias: jax.Array) -> jax.Array:
  """y + bias; in float32, in which the bias' gradient then is summed over all pixels."""
  return (widened(y) + widened(bias)).astype(y.dtype)


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
    bound = 1 / np.sqrt(
      4 * self.features
    )  # PyTorch counts the fan-in of a transposed kernel by its outputs
    kernel = self.param('kernel', _uniform(bound), (2, 2, x.shape[-1], self.features))
    y = upconv2x2(x.astype(kernel.dtype), kernel)
    return _biased(y, self.param('bias', _uniform(bound), (self.features,)))


def moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Mean and biased variance over height and width of `(B, H, W, C)`, both `(B, 1, 1, C)`."""
  mean = x.mean((1, 2), keepdims=True)
  return mean, jnp.square(x - mean).mean((1, 2), keepdims=True)


def instance_norm(x: jax.Array) -> jax.Array:
  """Instance normalisation without affine parameters over height and width of `(B, H, W, C)`."""
  dtype, x = jnp.result_type(x), widened(x)
  mean, variance = moments(x)
  return ((x - mean) * lax.rsqrt(variance + NORM_EPS)).astype(dtype)


class HalfInstanceNorm(nn.Module):
  """Affine instance norm of the first half of the channels (HINet, Chen et al. 2021); the rest
  passes.

  Written as one multiplication and addition over all channels, so that no feature map is split and
  joined.
  """

  @nn.compact
  def __call__(self, x: jax.Array, moments: Moments = moments) -> jax.Array:
    """Args: x `(B, H, W, C)`; moments: gives the mean and variance of the first half, in a shape
    that broadcasts with it."""
    dtype, x = x.dtype, widened(x)
    half = x.shape[-1] // 2
    mean, variance = moments(x[..., :half])
    scale = self.param('scale', nn.initializers.ones, (half,)) * lax.rsqrt(variance + NORM_EPS)
    bias = self.param('bias', nn.initializers.zeros, (half,))
    rest = [(0, 0)] * 3 + [(0, x.shape[-1] - half)]
    y = (x - jnp.pad(mean, rest)) * jnp.pad(scale, rest, constant_values=1)
    return (y + jnp.pad(bias, rest[3:])).astype(dtype)


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
