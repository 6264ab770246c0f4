"""Networks as single files: the safetensors of `degrep export`, read again."""

import json
import os
import pathlib
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import safetensors
from flax import traverse_util

from degrep_jax import run_config
from degrep_jax.common.errors import UserError

SUFFIX = '.safetensors'  # by which a file is told from a workdir
FOLDED, STORED = 'folded', 'stored'  # of kernels under spectral norms


class Exported(NamedTuple):
  """A whole network of a file.

  Attributes:
    path: the file.
    variables: {collection: tree} as the module's `apply` takes them, float32; None where they were
      not asked for.
    shapes: the same as `jax.ShapeDtypeStruct`, of the types in which they are stored.
    config: of the run.
    step: of the checkpoint.
    folded: whether kernels are divided by their spectral norms, and have no vectors any more.
    notes: what else the metadata say, texts: 'date' of the checkpoint, and `--note`.
  """

  path: pathlib.Path
  variables: Any
  shapes: dict[str, Any]
  config: ml_collections.ConfigDict
  step: int
  folded: bool
  notes: dict[str, str]


def is_one(path: str | os.PathLike[str]) -> bool:
  """Whether a name is that of such a file, rather than of a workdir."""
  return pathlib.Path(path).suffix.lower() == SUFFIX


def load(path: str | os.PathLike[str]) -> Exported:
  """A network and what is told of it.

  Raises:
    UserError: the file cannot be read, is not one of `degrep export`, or holds parts alone.
  """
  return _read(pathlib.Path(path), weights=True)


def describe(path: str | os.PathLike[str]) -> Exported:
  """As `load`, without reading the weights."""
  return _read(pathlib.Path(path), weights=False)


def _read(path: pathlib.Path, weights: bool) -> Exported:
  arrays: dict[str, np.ndarray] = {}
  shapes: dict[str, jax.ShapeDtypeStruct] = {}
  try:
    with safetensors.safe_open(path, 'numpy') as file:
      told = dict(file.metadata() or {})
      for name in file.keys():  # noqa: SIM118, it is no dictionary
        part = file.get_slice(name)
        dtype = {'F16': np.float16}.get(part.get_dtype(), np.float32)
        shapes[name] = jax.ShapeDtypeStruct(part.get_shape(), dtype)
        if weights:
          arrays[name] = file.get_tensor(name).astype(np.float32)
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror or error}.') from None
  except safetensors.SafetensorError:
    raise UserError(f'{path} is no safetensors file, or damaged.') from None
  try:
    network, step = told.pop('network'), int(told.pop('step'))
    folded = told.pop('spectral_norm') == FOLDED
    config = ml_collections.ConfigDict(run_config.completed(json.loads(told.pop('config'))))
  except (KeyError, ValueError):
    raise UserError(f'{path} was not written by degrep export: it says no network.') from None
  if not network:
    raise UserError(f'{path} holds parts of a network alone: name the file of a whole one.')
  nested = traverse_util.unflatten_dict
  variables = nested(arrays, sep='/') if weights else None
  return Exported(path, variables, nested(shapes, sep='/'), config, step, folded, told)
