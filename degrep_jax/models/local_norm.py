"""Whole pictures through networks that were trained on crops: what padding and norms should see.

Pictures of many sizes share a program when they are padded, at their lower and right border, to one
size. `converted` makes a network give for them what it gives for the unpadded picture.

A network trained on crops also knows the statistics of crops; those of a whole picture are others,
and it loses accuracy. The test-time local converter (TLC, Chu et al., "Improving Image Restoration
by Revisiting Global Information Aggregation", ECCV 2022) takes them over a window around each pixel
instead. It is written anew here: the released one sums in an integral image, which in float32 loses
so many digits that variances of smooth pictures come out negative.
"""

import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from degrep_jax.models.layers import Conv, HalfInstanceNorm

Stats = tuple[jax.Array, jax.Array]  # mean, biased variance


def converted(side: int, extents: jax.Array, window: int) -> contextlib.AbstractContextManager:
  """A context in which modules do not see the padding of the pictures that they are applied to.

  Convolutions find at the border of a picture the zeros, or the reflection, that they find at the
  border of an array; half instance norms take the statistics of the picture alone.

  Args:
    side: height and width of the padded pictures, px.
    extents: int32 `(B, 2)`, height and width of the pictures in them; multiples of what a pixel of
      the coarsest features stands for.
    window: side of TLC's window, px of the picture; coarser features get a smaller one in
      proportion. 0: the statistics of the whole picture.
  """

  def intercept(following, args, kwargs, context):
    module = context.module
    if context.method_name != '__call__' or not isinstance(module, Conv | HalfInstanceNorm):
      return following(*args, **kwargs)
    x, *others = args
    inside = -(-extents * x.shape[1] // side)  # a degradation map reaches over the border
    if isinstance(module, Conv):
      if module.kernel > 1:
        x = (_reflected if module.padding_mode == 'reflect' else _hidden)(x, inside)
      return following(x, *others, **kwargs)
    moments = functools.partial(extent_moments, extents=inside)
    if window:
      length = max(1, window * x.shape[1] // side)
      moments = functools.partial(window_moments, extents=inside, window=length)
    return following(x, moments=moments)

  return nn.intercept_methods(intercept)


def _beyond(x: jax.Array, extents: jax.Array) -> tuple[jax.Array, jax.Array]:
  """How far each row and column lies behind the last of its picture, `(B, H, 1, 1)` and `(B, 1, W,
  1)`: negative within."""
  rows, columns = (jnp.arange(x.shape[axis]) - extents[:, axis - 1, None] for axis in (1, 2))
  return rows[:, :, None, None], columns[:, None, :, None]


def _hidden(x: jax.Array, extents: jax.Array) -> jax.Array:
  """Zeros outside the pictures."""
  rows, columns = _beyond(x, extents)
  return jnp.where((rows < 0) & (columns < 0), x, 0)


def _reflected(x: jax.Array, extents: jax.Array) -> jax.Array:
  """The reflection of the pictures in the first row and column outside, as far as a 3x3 kernel
  sees."""
  for axis, beyond in zip((1, 2), _beyond(x, extents), strict=True):
    x = jnp.where(beyond == 0, jnp.roll(x, 2, axis), x)
  return x


def extent_moments(x: jax.Array, extents: jax.Array) -> Stats:
  """Mean and biased variance over the upper left part of each picture.

  Args:
    x: `(B, H, W, C)`.
    extents: int32 `(B, 2)`, height and width of that part.

  Returns:
    Both `(B, 1, 1, C)`.
  """
  count = extents.prod(-1).astype(x.dtype)[:, None, None, None]

  def mean(values):
    return _hidden(values, extents).sum((1, 2), keepdims=True) / count

  centre = mean(x)
  return centre, mean(jnp.square(x - centre))


def window_moments(x: jax.Array, extents: jax.Array, window: int) -> Stats:
  """Mean and biased variance over the window around every pixel.

  The window is moved into the picture where it would leave it, and is as large as the picture where
  that is smaller: what the released code's replicated edges amount to.

  Args:
    x: `(B, H, W, C)`.
    extents: int32 `(B, 2)`, height and width of the pictures, the upper left parts of `x`.
    window: side in pixels of `x`.

  Returns:
    Both `(B, H, W, C)`; outside the pictures they are finite and mean nothing.
  """
  stats, starts = (x, jnp.zeros_like(x)), []
  for axis in (1, 2):
    size, extent = x.shape[axis], extents[:, axis - 1, None]
    length = min(window, size)
    stats = _moving(stats, extent, length, axis)
    first = jnp.arange(size) - (length - 1) // 2
    starts.append(jnp.clip(first, 0, jnp.maximum(extent - length, 0)))
  mean, variance = (jax.vmap(lambda s, i, j: s[i][:, j])(stat, *starts) for stat in stats)
  return mean, variance


def _moving(stats: Stats, extent: jax.Array, length: int, axis: int) -> Stats:
  """The statistics of every `length` successive rows (axis 1) or columns (axis 2) together.

  Windows of 1, 2, 4 ... rows are merged to those of twice as many, and these to `length` by its
  binary digits. No sum is ever subtracted from another, so that float32 is accurate everywhere.

  Args:
    stats: of single rows, `(B, H, W, C)`.
    extent: int32 `(B, 1)`: rows beyond it do not count.

  Returns:
    `H - length + 1` rows: row p stands for rows p to p + length - 1.
  """
  covered, span = length & -length, 1  # rows in a window of the result so far, of the next power
  while span < covered:
    stats, span = _merged(stats, span, stats, span, extent, axis), 2 * span
  result = stats
  while covered < length:
    stats, span = _merged(stats, span, stats, span, extent, axis), 2 * span
    if length & span:
      result, covered = _merged(result, covered, stats, span, extent, axis), covered + span
  return result


def _merged(a: Stats, n_a: int, b: Stats, n_b: int, extent: jax.Array, axis: int) -> Stats:
  """Windows of `n_a` rows and those of `n_b` rows that follow them as one (Chan et al. 1979)."""
  rows = b[0].shape[axis] - n_a
  # Else XLA may compute a window anew for every window that it is part of.
  a, b = jax.lax.optimization_barrier((a, b))
  mean_a, variance_a = (jax.lax.slice_in_dim(s, 0, rows, axis=axis) for s in a)
  mean_b, variance_b = (jax.lax.slice_in_dim(s, n_a, n_a + rows, axis=axis) for s in b)
  left = extent - jnp.arange(rows)  # rows of the picture from here on
  counts = jnp.clip(left, 0, n_a), jnp.clip(left - n_a, 0, n_b)
  share = counts[1] / jnp.maximum(counts[0] + counts[1], 1)
  share = jnp.expand_dims(share, (2, 3) if axis == 1 else (1, 3)).astype(mean_a.dtype)
  difference = mean_b - mean_a
  variance = variance_a + (variance_b - variance_a) * share
  return mean_a + difference * share, variance + jnp.square(difference) * (share * (1 - share))
