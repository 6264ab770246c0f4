"""Saved networks, of a workdir or a file: module, variables, and what is known of them."""

import os
import pathlib
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from degrep_jax import checkpoints, run_config
from degrep_jax.checkpoints import exported
from degrep_jax.common.errors import UserError
from degrep_jax.inference.pictures import require
from degrep_jax.models import factory

TILE = 256  # px, where no config says otherwise


class SavedNetwork(NamedTuple):
  """What a `Restorer` is made of.

  Attributes:
    module: of a network of `factory.NETWORKS`.
    variables: of the module.
    about: 'step', 'config' (dict), 'checkpoint' (path) and 'tile' (px, of the run's evaluation).
  """

  module: nn.Module
  variables: dict[str, Any]
  about: dict[str, Any]


def load(
  directory: str | os.PathLike[str],
  step: int | None = None,
  config: ml_collections.ConfigDict | None = None,
) -> SavedNetwork:
  """Reads a network; arguments and errors are those of `Restorer.from_checkpoint`."""
  directory = pathlib.Path(directory)
  if exported.is_one(directory):
    require(step is None, f'{directory} is a file, which has no steps: leave out the step')
    saved = exported.load(directory)
  else:
    saved = _of_workdir(directory, step, config)
  config = saved.config if config is None else config
  tile = config.get('eval', {}).get('tile', TILE)
  try:
    module = factory.build_network(config.model, axis_name=None)
  except AttributeError as error:
    path = directory if exported.is_one(directory) else directory / run_config.FILE
    raise UserError(f'{path} does not describe a network: {error}.') from None
  picture = jax.ShapeDtypeStruct((1, tile, tile, 3), jnp.float32)
  inputs = [picture] * factory.NETWORKS[config.model.network].inputs
  expected = jax.eval_shape(module.init, jax.random.key(0), *inputs)
  if saved.folded:
    expected = {name: tree for name, tree in expected.items() if name != 'spectral'}
  checkpoints.require_same_shapes(directory, saved.variables, expected)
  about = {
    'step': saved.step,
    'config': config.to_dict(),
    'checkpoint': str(saved.path.absolute()),
    'tile': tile,
  }
  return SavedNetwork(module, saved.variables, about)


def _of_workdir(
  workdir: pathlib.Path, step: int | None, config: ml_collections.ConfigDict | None
) -> exported.Exported:
  """What a file of the same network would hold."""
  saved = checkpoints.load_network(workdir, step)
  config = run_config.load(workdir) if config is None else config
  at, variables = int(saved['step']), checkpoints.variables(saved)
  return exported.Exported(
    workdir / checkpoints.FOLDER / str(at), variables, {}, config, at, folded=False, notes={}
  )
