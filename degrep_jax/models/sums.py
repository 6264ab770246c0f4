"""Sums over the positions of feature maps, of which the gradients of biases and norms consist."""

import jax
import jax.numpy as jnp
from jax import lax


def _plain(x: jax.Array) -> jax.Array:
  return x.sum((1, 2), keepdims=True)


def _by_products(x: jax.Array) -> jax.Array:
  """Each row of a picture times a row of ones, then the rows' sums times ones.

  XLA's CPU backend adds up the positions of one channel after another, in strides; its product runs
  along the channels, which takes a half to a third of the time.
  """
  n, h, w, c = x.shape

  def summed(x):
    ones = jnp.ones(x.shape[:2], x.dtype)
    return lax.dot_general(ones, x, (((1,), (1,)), ((0,), (0,))))

  rows = summed(x.reshape(n * h, w, c))
  return summed(rows.reshape(n, h, c)).reshape(n, 1, 1, c)


def over_positions(x: jax.Array) -> jax.Array:
  """Sums over height and width: `(B, H, W, C)` to `(B, 1, 1, C)`, in whatever equal form is fastest
  on the platform. Not meant to be differentiated: it is what gradients are made of."""
  return lax.platform_dependent(x, cpu=_by_products, default=_plain)
