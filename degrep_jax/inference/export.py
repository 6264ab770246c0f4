"""Checkpoints in forms that other programs read: safetensors, and StableHLO by `jax.export`."""

import json
import os
import pathlib
from typing import Any

import jax
import jax.export
import numpy as np
import safetensors.numpy
from flax import traverse_util

from degrep_jax import checkpoints
from degrep_jax import run_config as configs
from degrep_jax.common.errors import UserError
from degrep_jax.common.files import write_atomically
from degrep_jax.inference.restorer import Restorer
from degrep_jax.models import spectral_norm

PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')


def to_safetensors(
  workdir: str | os.PathLike[str],
  path: str | os.PathLike[str],
  *,
  step: int | None = None,
  fold: bool = True,
) -> int:
  """Writes the variables of a network, or of the parts of one, as a safetensors file.

  An array's name is its path with '/' between the levels, the collection first, as in
  'params/encoder/down_0/conv/kernel'; no level holds a '/'. Split there and nested again they are
  what the module's `apply` takes, folded or not. Kernels are (height, width, in, out). The metadata
  are texts: 'network' ('' of parts), 'step', 'spectral_norm' ('folded' or 'stored') and 'config',
  JSON as in config.json.

  Args:
    workdir: of a run, or of `degrep convert`.
    path: the file to write.
    step: of the checkpoint; None takes the newest.
    fold: divides every kernel under a spectral norm by its sigma, which leaves plain convolutions;
      otherwise kernels are as they are trained, with the vectors u and v ('spectral/...').

  Returns:
    The number of values written.

  Raises:
    UserError: no checkpoint, none of that step, nothing but a discriminator there, or a file that
      cannot be written.
  """
  saved = checkpoints.load(workdir, step)
  variables = checkpoints.variables(saved)
  if not variables['params']:
    raise UserError(f'{workdir} holds a discriminator alone, which restores nothing: no export.')
  if fold:
    variables = spectral_norm.folded(variables)
  arrays = {
    '/'.join(names): np.ascontiguousarray(x)
    for names, x in traverse_util.flatten_dict(variables).items()
  }
  config = pathlib.Path(workdir) / configs.FILE
  fields = configs.parse(config) if config.exists() else {}
  metadata = {
    'network': fields.get('model', {}).get('network', ''),
    'step': str(int(saved['step'])),
    'spectral_norm': 'folded' if fold else 'stored',
    'config': json.dumps(fields),
  }
  write_atomically(path, safetensors.numpy.save(arrays, metadata))
  return sum(x.size for x in arrays.values())


def to_stablehlo(
  restorer: Restorer, path: str | os.PathLike[str], *, batch: int | None = None
) -> None:
  """Writes the deblurring of tiles, weights and all, as a program that `jax.export` loads.

  The program takes float32 `(B, tile, tile, 3)` in [0, 1] and returns what `Restorer.apply` calls
  'deblurred', of the same shape, not clipped.

  Args:
    restorer: of the checkpoint; its tile is that of the program.
    path: the file to write.
    batch: B; None leaves it to the caller.

  Raises:
    UserError: a batch below 1, or a file that cannot be written.
  """
  if batch is not None and batch < 1:
    raise UserError(f'a batch of {batch} tiles: it must be 1 at least.')
  # Arrays of the host become constants of the program, and belong to no device.
  variables = jax.tree.map(np.asarray, restorer.variables)
  module: Any = restorer.module

  def deblur(blurry: jax.Array) -> jax.Array:
    given: tuple[jax.Array, ...] = ()
    if restorer.has_map:
      given = (module.apply(variables, blurry, method='degradation_map'),)
    return module.apply(variables, blurry, *given, method='deblur')['deblurred']

  size = batch if batch is not None else jax.export.symbolic_shape('batch')[0]
  tiles = jax.ShapeDtypeStruct((size, restorer.tile, restorer.tile, 3), np.float32)
  exported = jax.export.export(jax.jit(deblur), platforms=PLATFORMS)(tiles)
  write_atomically(path, bytes(exported.serialize()))
