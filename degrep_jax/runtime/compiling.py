"""How every program of this package is compiled: XLA's options, each with its reason.

They are experimental. One that the installed jaxlib does not know is left out, which costs time and
nothing else.
"""

import ctypes
import functools
import gc
import os
from collections.abc import Callable
from typing import Any

import jax

# By platform.
_OPTIONS = {
  'cpu': {
    # Matrix products by YNNPACK, convolutions by Eigen. jaxlib 0.10 hands both to YNNPACK, whose
    # convolutions take twice as long in narrow networks, and their filter gradients three times.
    'xla_cpu_experimental_ynn_fusion_type': 'LIBRARY_FUSION_TYPE_DOT',
  },
}


@functools.cache
def is_known(name: str, value: str | bool) -> bool:
  """Whether the installed jaxlib has this option and this value of it."""
  try:
    jax.jit(lambda: 0).lower().compile({name: value})
  except jax.errors.JaxRuntimeError:
    return False
  return True


def options(keep_barriers: bool = False) -> dict[str, str]:
  """The options of a program for the default backend, for `Lowered.compile`.

  Args:
    keep_barriers: of a program whose barriers save memory, as those of a training step: they say
      that something is computed again, one part after another, or not before it is due. XLA's CPU
      backend drops them before it merges and orders operations.
  """
  platform = jax.default_backend()
  wanted = _OPTIONS.get(platform, {})
  if keep_barriers and platform == 'cpu':
    wanted = wanted | {'xla_disable_hlo_passes': 'cse_barrier_expander'}
  return {name: value for name, value in wanted.items() if is_known(name, value)}


def compiled(lowered: Any, keep_barriers: bool = False) -> Any:
  """A lowered program compiled with `options`, of which malloc keeps nothing but the result.

  What the compiler and the making of parameters have freed stays with the process otherwise: 1 GiB
  beside a training step of MSDI-Net at full width, an eighth of its peak.
  """
  program = lowered.compile(options(keep_barriers))
  del lowered
  gc.collect()
  trim = getattr(ctypes.CDLL(None), 'malloc_trim', None) if os.name == 'posix' else None
  if trim is not None:  # glibc's alone
    trim(0)
  return program


def jit(function: Callable[..., Any], **keywords: Any) -> Any:
  """`jax.jit` with `options`; keywords: of `jax.jit`."""
  return jax.jit(function, compiler_options=options(), **keywords)
