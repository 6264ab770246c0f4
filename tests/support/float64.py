"""Float64, where what is claimed to be equal is compared.

Two programs that compute the same add in another order, and their results differ by rounding: by
how much depends on the compiler and on the width of the processor's registers. In float32 nothing
but a measurement tells how much that is, where more than a few sums follow each other. In float64
the bound holds before anything is run, and a mistake (a term, a mean or an order that is not the
intended one) lies far above it.

`CLOSE`, as a part of the norm of what is compared: a sum of n terms in any order is off by n u of
the sum of their sizes, u = 2^-53 = 1.1e-16. Sums here run over 4 pictures of 32x32 pixels in three
colours at most, n = 1.2e4 (that of the squares of all gradients over 9e4, once); a gradient comes
from some 50 sums, one after the other: 50 n u = 7e-11. A layer that enlarges a relative error, as a
norm does of features that vary less than they are large, has ten times as much.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from quick import COMPILER

CLOSE = 1e-9


def wide(tree: Any) -> Any:
  """Arrays as NumPy's, of float64 where they were of float32."""
  return jax.tree.map(lambda x: np.asarray(x, np.float64 if x.dtype == np.float32 else None), tree)


def apart(actual: Any, expected: Any) -> float:
  """Norm of the difference of two trees as a part of the norm of the second."""
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  pairs = list(zip(*map(jax.tree.leaves, (actual, expected)), strict=True))
  for x in (x for pair in pairs for x in pair):
    assert x.dtype == np.float64
  difference = sum(np.square(a - b).sum() for a, b in pairs)
  return float(np.sqrt(difference / sum(np.square(b).sum() for _, b in pairs)))


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
  """A compiled function of arrays, which are widened, to NumPy arrays, all of whose numbers with a
  fraction must be of float64 still."""
  compiled = jax.jit(function, compiler_options=COMPILER)

  @functools.wraps(function)
  def call(*arguments):
    with jax.enable_x64(True):
      results = jax.tree.map(np.asarray, compiled(*wide(arguments)))
    assert all(x.dtype.kind != 'f' or x.dtype == np.float64 for x in jax.tree.leaves(results))
    return results

  return call
