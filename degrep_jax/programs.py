"""Compiled programs kept on disk, so that the second start of a command is quick."""

import os
import pathlib


def keep() -> None:
  """From now on JAX keeps what takes it a second and more to compile, and finds it again.

  The folder is $JAX_COMPILATION_CACHE_DIR, or else degrep_jax in the user's cache
  ($XDG_CACHE_HOME, ~/.cache). Programs of other versions, devices or networks are no danger: they
  are other files. Where the folder cannot be written JAX warns and goes on.
  """
  if os.environ.get('JAX_COMPILATION_CACHE_DIR'):
    return  # JAX reads it
  import jax

  cache = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
  jax.config.update('jax_compilation_cache_dir', str(pathlib.Path(cache, 'degrep_jax')))
