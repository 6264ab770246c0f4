"""Spectral normalisation by power iteration, written by hand (Miyato et al. 2018, algorithm 1).

The released code uses `torch.nn.utils.spectral_norm`; this is its arithmetic. A convolution kernel
`(kh, kw, in, out)` is read as the matrix W of shape `(out, kh * kw * in)`, whose largest singular
value is sigma = u^T W v. u (out,) and v (kh * kw * in,) are both stored: evaluation never iterates,
and a v computed anew from u would give another sigma.
"""

import jax
import jax.numpy as jnp

EPS = 1e-12  # as torch.nn.functional.normalize


def _unit(x: jax.Array) -> jax.Array:
  return x / jnp.maximum(jnp.linalg.norm(x), EPS)


def _matrix(kernel: jax.Array) -> jax.Array:
  """W^T: `(kh * kw * in, out)`, which for a kernel stored as HWIO is a reshape without a copy."""
  return kernel.reshape(-1, kernel.shape[-1])


def right_vector(kernel: jax.Array, u: jax.Array) -> jax.Array:
  """v = W^T u / |W^T u|, shape `(kh * kw * in,)`."""
  return _unit(_matrix(kernel) @ u)


def power_iteration(kernel: jax.Array, u: jax.Array) -> tuple[jax.Array, jax.Array]:
  """One step of the power iteration.

  Args:
    kernel: `(kh, kw, in, out)`.
    u: unit vector `(out,)`.

  Returns:
    The next `(u, v)`; both are constants for the gradient.
  """
  kernel, u = jax.lax.stop_gradient((kernel, u))
  v = right_vector(kernel, u)
  return _unit(v @ _matrix(kernel)), v


def sigma(kernel: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
  """u^T W v, a scalar; differentiable in `kernel` alone."""
  u, v = jax.lax.stop_gradient((u, v))
  return v @ _matrix(kernel) @ u
