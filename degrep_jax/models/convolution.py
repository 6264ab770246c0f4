"""The one convolution, its 2x2 transpose and padding.

Every convolution of the project passes through `conv2d`, so that a faster path has one home. Arrays
are NHWC, kernels HWIO.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

_LAYOUT = ('NHWC', 'HWIO', 'NHWC')

# From so many pictures on, CPUs compute filter gradients in the plain form, which takes more
# memory.
PLAIN_FROM = 8


def pad(x: jax.Array, amount: int, mode: str) -> jax.Array:
  """Pads height and width of `(B, H, W, C)` by `amount`; mode 'zeros', 'reflect' (without the
  border) or 'edge' (the border repeated)."""
  if mode == 'edge':  # jnp.pad slices all axes for it, the batch too, whose size may be open
    for axis in (1, 2):
      first, last = (lax.slice_in_dim(x, at, at + 1, axis=axis) for at in (0, x.shape[axis] - 1))
      x = jnp.concatenate([*[first] * amount, x, *[last] * amount], axis)
    return x
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


def _patches(x: jax.Array, k: int, stride: int) -> jax.Array:
  """What lies under a kernel of side k at each position, side by side.

  `(B, H, W, C)` to `(B, (H - k) // stride + 1, ..., k * k * C)`.
  """
  height, width = ((s - k) // stride * stride + 1 for s in x.shape[1:3])
  taps = [x[:, i : i + height : stride, j : j + width : stride] for i in range(k) for j in range(k)]
  return jnp.concatenate(taps, axis=-1)


def _im2col_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
  """A convolution as one matrix product."""
  k, features = kernel.shape[0], kernel.shape[-1]
  return _patches(pad(x, padding, 'zeros'), k, stride) @ kernel.reshape(-1, features)


def _padded_conv(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> jax.Array:
  return _plain_conv(pad(x, padding, 'zeros'), kernel, stride, 0)


# The gradient of a convolution by one of its arguments: of (x, kernel, cotangent, stride, padding).
_Gradient = Callable[[jax.Array, jax.Array, jax.Array, int, int], jax.Array]


def _gradient(form: Callable[..., jax.Array], argument: int) -> _Gradient:
  """What JAX derives from a form, by x (0) or the kernel (1)."""

  def run(x, kernel, cotangent, stride, padding):
    arguments = [x, kernel]

    def of_one(value):
      arguments[argument] = value
      return form(*arguments, stride, padding)

    return jax.vjp(of_one, arguments[argument])[1](cotangent)[0]

  return run


def _pointwise_filter_gradient(
  x: jax.Array, kernel: jax.Array, cotangent: jax.Array, stride: int, padding: int
) -> jax.Array:
  """That of a 1x1 convolution of stride 1 without padding: one matrix product, whose transposed
  side is the cotangent and whose result is transposed, which is small."""
  del stride, padding
  channels, features = kernel.shape[2:]
  product = _summed_over_positions(cotangent.reshape(-1, features), x.reshape(-1, channels))
  return product.T.reshape(kernel.shape).astype(kernel.dtype)


def _summed_over_positions(a: jax.Array, b: jax.Array) -> jax.Array:
  """a^T b in float32 or what is wider."""
  dtype = jnp.promote_types(a.dtype, jnp.float32)
  return lax.dot_general(a, b, (((0,), (0,)), ((), ())), preferred_element_type=dtype)


def _blocked_filter_gradient(
  x: jax.Array, kernel: jax.Array, cotangent: jax.Array, stride: int, padding: int
) -> jax.Array:
  """The filter gradient as a sum of matrix products, one for each block of rows.

  What lies under the kernel at the positions of a block is copied side by side, `(positions, k * k
  * in)`, and multiplied with the block's cotangent. The copies stay in the caches, where those of a
  whole feature map go to memory and back, nine times as large as the map. The cotangent, narrow
  beside them, is the side that the product transposes. Blocks are 8 rows, more where these are
  fewer than 512 positions: the product's sum is read and written once a block.
  """
  k, _, channels, features = kernel.shape
  _, height, width, _ = cotangent.shape
  blocks = -(-height // max(8, 512 // width))
  rows = -(-height // blocks)
  under = (rows - 1) * stride + k
  right = (width - 1) * stride + k - x.shape[2] - padding
  bottom = (blocks * rows - 1) * stride + k - x.shape[1] - padding
  edges = (0, 0, 0), (padding, bottom, 0), (padding, right, 0), (0, 0, 0)
  x = lax.pad(x, jnp.zeros((), x.dtype), edges)
  cotangent = jnp.pad(cotangent, ((0, 0), (0, blocks * rows - height), (0, 0), (0, 0)))

  def of_block(picture, top):
    size = 1, under, x.shape[2], channels
    patches = _patches(lax.dynamic_slice(x, (picture, top * stride, 0, 0), size), k, stride)
    moved = lax.dynamic_slice(cotangent, (picture, top, 0, 0), (1, rows, width, features))
    positions = rows * width
    return _summed_over_positions(
      moved.reshape(positions, features), patches.reshape(positions, -1)
    )

  shape = features, k * k * channels
  total = _summed_over_blocks(of_block, shape, cotangent, blocks, rows)
  return total.T.reshape(kernel.shape).astype(kernel.dtype)


def _columns_filter_gradient(
  x: jax.Array, kernel: jax.Array, cotangent: jax.Array, stride: int, padding: int
) -> jax.Array:
  """That of a convolution of stride 1, as a sum of convolutions, one for each block of rows, whose
  channels are the columns of the map.

  x, as it lies, is the kernel `(rows, 1, columns, in)`, and slides over the cotangent with a border
  of zeros, transposed and shifted by each column of the filter, `(out, rows + k - 1, k, columns)`:
  what comes out is the filter's gradient, `(out, k, k, in)`, turned around. Eigen takes the rows
  under its kernel from where they lie, so that nothing is copied k * k times. Blocks are of some
  2,048 positions: what is transposed stays in the caches.
  """
  del stride
  k, _, channels, features = kernel.shape
  _, height, width, _ = x.shape
  blocks = -(-height // max(8, 2048 // width))
  rows = -(-height // blocks)
  below = blocks * rows - height
  border = k - 1 - padding
  edges = (0, 0, 0), (border, border + below, 0), (border, border, 0), (0, 0, 0)
  cotangent = lax.pad(cotangent, jnp.zeros((), cotangent.dtype), edges)
  x = jnp.pad(x, ((0, 0), (0, below), (0, 0), (0, 0)))
  size = 1, rows + k - 1, width + k - 1, features
  dtype = jnp.promote_types(x.dtype, jnp.float32)

  def of_block(picture, top):
    moved = lax.dynamic_slice(cotangent, (picture, top, 0, 0), size)[0].transpose(2, 0, 1)
    # Apart, or the shifted copies are each gathered across the map's rows.
    moved = lax.optimization_barrier(moved)
    moved = jnp.stack([moved[:, :, j : j + width] for j in range(k)], 2)
    still = lax.dynamic_slice(x, (picture, top, 0, 0), (1, rows, width, channels))
    return lax.conv_general_dilated(
      moved,
      still.transpose(1, 0, 2, 3),
      (1, 1),
      'VALID',
      dimension_numbers=_LAYOUT,
      preferred_element_type=dtype,
    )

  shape = features, k, k, channels
  total = _summed_over_blocks(of_block, shape, cotangent, blocks, rows)
  return total[:, ::-1, ::-1].transpose(1, 2, 3, 0).astype(kernel.dtype)


def _summed_over_blocks(
  of_block: Callable[[jax.Array, jax.Array], jax.Array],
  shape: tuple[int, ...],
  cotangent: jax.Array,
  blocks: int,
  rows: int,
) -> jax.Array:
  """The sum, in float32 or what is wider, of what (picture, first row) of each block gives, of a
  shape; `blocks` of `rows` in every picture of the cotangent."""

  def add(total, block):
    return total + of_block(block // blocks, block % blocks * rows), None

  # Zeros that are there no sooner than the cotangent: constants XLA makes and copies at the start
  # of a step, for every loop of it.
  zero = 0 * cotangent[0, 0, 0, 0].astype(jnp.promote_types(cotangent.dtype, jnp.float32))
  total, _ = lax.scan(add, jnp.full(shape, zero), jnp.arange(len(cotangent) * blocks))
  return total


_plain_input_gradient = _gradient(_plain_conv, 0)
_plain_filter_gradient = _gradient(_plain_conv, 1)
_space_to_depth_input_gradient = _gradient(_space_to_depth_conv, 0)
_space_to_depth_filter_gradient = _gradient(_space_to_depth_conv, 1)
_im2col_input_gradient = _gradient(_im2col_conv, 0)
_im2col_filter_gradient = _gradient(_im2col_conv, 1)
_padded_filter_gradient = _gradient(_padded_conv, 1)


def _when_due(gradient: _Gradient) -> _Gradient:
  """That does nothing with x before the cotangent is there: XLA would pad and copy x where it is
  made, and keep the copy beside it."""
  if gradient is _plain_filter_gradient:
    return gradient

  def run(x, kernel, cotangent, stride, padding):
    x, _ = lax.optimization_barrier((x, cotangent))
    return gradient(x, kernel, cotangent, stride, padding)

  return run


def _cpu_input_gradient(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> _Gradient:
  """How XLA's CPU backend computes the input gradient fastest, as measured.

  The plain form turns the kernel around and transposes it first, which is slow: for a deep layer,
  whose kernel is larger than its feature map, the product with the kernel as it lies, added up at
  the places that it came from, takes 1/2 to 1/15 of the time. It makes a map k * k times as large,
  and is slower where there are many positions. For a 4x4 convolution of stride 2 the space-to-depth
  form takes 1/2 to 1/4 of the time.
  """
  k, features = kernel.shape[0], kernel.shape[-1]
  height, width = ((s + 2 * padding - k) // stride + 1 for s in x.shape[1:3])
  if k > 1 and len(x) * height * width <= 2 * features:
    return _im2col_input_gradient
  return _space_to_depth_input_gradient if (k, stride) == (4, 2) else _plain_input_gradient


def _cpu_filter_gradient(x: jax.Array, kernel: jax.Array, stride: int, padding: int) -> _Gradient:
  """How XLA's CPU backend computes the filter gradient fastest, as measured.

  The plain form contracts over the pictures of the batch in its inner loop: from eight on it is the
  fastest in narrow nets, with one it takes 1.3 to 7 times as long as the blocked one. The columns'
  form takes 0.25 to 0.9 of the blocked one's time, where it does not make more channels than there
  were: it transposes the new ones. For a 1x1
  convolution it takes 2 to 4 times as long as a product, for a 4x4 one of stride 2 1.4 to 5 times
  as long as the space-to-depth form, where the padding exceeds that of an odd kernel 25 to 50 times
  as long, and twice as long as a product where there are fewer positions than channels. For 7x7
  kernels nothing is faster.
  """
  k = kernel.shape[0]
  if k == 1 and stride == 1 and padding == 0:
    return _pointwise_filter_gradient
  if (k, stride) == (4, 2):
    return _space_to_depth_filter_gradient
  if 1 < k <= 4:
    if x.size // x.shape[-1] <= x.shape[-1]:
      return _im2col_filter_gradient
    if len(x) < PLAIN_FROM:
      thins_out = stride == 1 and kernel.shape[-1] <= x.shape[-1]
      return _columns_filter_gradient if thins_out else _blocked_filter_gradient
  return _padded_filter_gradient if stride == 1 and 2 * padding > k - 1 else _plain_filter_gradient


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
  def choose(on_cpu, plain):
    on_cpu, plain = (
      functools.partial(of, stride=stride, padding=padding) for of in (on_cpu, plain)
    )
    if on_cpu.func is plain.func:
      return plain(*residuals, cotangent)
    return lax.platform_dependent(*residuals, cotangent, cpu=on_cpu, default=plain)

  of_input = choose(_cpu_input_gradient(*residuals, stride, padding), _plain_input_gradient)
  of_kernel = choose(
    _when_due(_cpu_filter_gradient(*residuals, stride, padding)), _plain_filter_gradient
  )
  return of_input, of_kernel


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
