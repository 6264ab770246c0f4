"""Spectral normalisation by power iteration, written by hand (Miyato et al. 2018, algorithm 1).

The released code uses `torch.nn.utils.spectral_norm`; this is its arithmetic. A convolution kernel
`(kh, kw, in, out)` is read as the matrix W of shape `(out, kh * kw * in)`, whose largest singular
value is sigma = u^T W v. u (out,) and v (kh * kw * in,) are both stored: evaluation never iterates,
and a v computed anew from u would give another sigma. Where nothing is trained any more, `folded`
divides the kernels once and for all.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

EPS = 1e-12  # as torch.nn.functional.normalize

# Accelerators would multiply with fewer bits than float32 has, and every kernel is divided by this.
_product = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)


def _unit(x: jax.Array) -> jax.Array:
  return x / jnp.maximum(jnp.linalg.norm(x), EPS)


def _matrix(kernel: jax.Array) -> jax.Array:
  """W^T: `(kh * kw * in, out)`, which for a kernel stored as HWIO is a reshape without a copy."""
  return kernel.reshape(-1, kernel.shape[-1])


def right_vector(kernel: jax.Array, u: jax.Array) -> jax.Array:
  """v = W^T u / |W^T u|, shape `(kh * kw * in,)`."""
  return _unit(_product(_matrix(kernel), u))


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
  return _unit(_product(v, _matrix(kernel))), v


def sigma(kernel: jax.Array, u: jax.Array, v: jax.Array) -> jax.Array:
  """u^T W v, a scalar; differentiable in `kernel` alone."""
  u, v = jax.lax.stop_gradient((u, v))
  return _product(_product(v, _matrix(kernel)), u)


def folded(variables: dict[str, Any]) -> dict[str, Any]:
  """The variables of a network for evaluation: every kernel that has u and v divided by its sigma.

  The result lacks the collection 'spectral'; `layers.Conv` then takes a kernel as normalised. The
  outputs are those of the given variables to rounding.

  Args:
    variables: {collection: tree}, of NumPy arrays, which stay such, or of JAX's, traced or not.
  """

  def fold(params, vectors):
    if 'u' not in vectors:
      return params | {name: fold(params[name], inner) for name, inner in vectors.items()}
    kernel = params['kernel']
    return params | {'kernel': kernel * (1 / (vectors['v'] @ _matrix(kernel) @ vectors['u']))}

  rest = {name: tree for name, tree in variables.items() if name != 'spectral'}
  return rest | {'params': fold(variables['params'], variables.get('spectral', {}))}


def unfolded(variables: dict[str, Any], like: dict[str, Any]) -> dict[str, Any]:
  """Folded variables with a collection 'spectral' again, for more training.

  u and v are the leading singular vectors of the kernels, whose sigma is 1 but for what the power
  iteration had not found when they were folded.

  Args:
    variables: as `folded` gives them.
    like: a collection 'spectral' of the same network.
  """

  def vectors(params, like):
    if 'u' not in like:
      return {name: vectors(params[name], inner) for name, inner in like.items()}
    left, _, right = np.linalg.svd(_matrix(np.asarray(params['kernel'])), full_matrices=False)
    return {'u': right[0], 'v': left[:, 0]}

  return variables | {'spectral': vectors(variables['params'], like)}
