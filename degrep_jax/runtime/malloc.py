"""What malloc does with memory that is freed. Of glibc's alone: elsewhere nothing happens."""

import ctypes
import os
from collections.abc import Callable

# Parameters of mallopt, from <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX, _ARENA_MAX = -1, -4, -8


def _function(name: str) -> Callable[..., int] | None:
  return getattr(ctypes.CDLL(None), name, None) if os.name == 'posix' else None


def trim() -> None:
  """Gives to the system what is freed, wherever it lies."""
  malloc_trim = _function('malloc_trim')
  if malloc_trim is not None:
    malloc_trim(0)


def keep_freed() -> None:
  """From now on large blocks that are freed are kept for the next ones.

  XLA's CPU backend asks for the whole memory of a program whenever it runs: 0.8 GiB for a step of
  MSDI-Net at width 16. malloc by default gets such a block from the system and returns it, and the
  system clears its pages one by one when they are written to, a fifth of the time of a step. So all
  blocks come from one heap that does not shrink: a thread's own could not hold large ones.
  To be called before JAX has begun its threads, by programs that run the same steps again and
  again; one that reads pictures of many sizes would keep more than it needs.
  """
  mallopt = _function('mallopt')
  if mallopt is not None:
    for parameter, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):
      mallopt(parameter, value)
