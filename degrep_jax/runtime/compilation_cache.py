"""Compiled programs kept on disk, so that the second start of a command is quick.

A command calls `enable` before it compiles anything, unless it is told `--no-cache`:

  if not args.no_cache:
    cache.enable()
"""

import os
import pathlib

import platformdirs

LEAST_SECONDS = 0.1  # of compiling, below which keeping a program does not pay


def enable() -> pathlib.Path:
  """From now on JAX keeps what it compiles, and finds it again.

  Programs of other versions, devices or networks are no danger: they are other files. Where the
  folder cannot be written JAX warns and goes on.

  Returns:
    The folder: $JAX_COMPILATION_CACHE_DIR, or else degrep_jax/programs in the user's cache
    (~/.cache on Linux, $XDG_CACHE_HOME where that is set). It may be deleted at any time.
  """
  import jax

  if not os.environ.get('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'):
    jax.config.update('jax_persistent_cache_min_compile_time_secs', LEAST_SECONDS)
  if named := os.environ.get('JAX_COMPILATION_CACHE_DIR'):  # which JAX reads itself
    return pathlib.Path(named)
  folder = pathlib.Path(platformdirs.user_cache_dir('degrep_jax', appauthor=False), 'programs')
  jax.config.update('jax_compilation_cache_dir', str(folder))
  return folder
