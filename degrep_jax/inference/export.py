"""Checkpoints in forms that other programs read: safetensors, StableHLO by `jax.export`, and
ONNX."""

import datetime
import importlib.metadata
import json
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.export
import numpy as np
import safetensors.numpy
from flax import traverse_util

from degrep_jax import checkpoints
from degrep_jax import run_config as configs
from degrep_jax.checkpoints import exported
from degrep_jax.common.errors import UserError
from degrep_jax.common.files import write_atomically
from degrep_jax.inference.pictures import require
from degrep_jax.inference.restorer import Restorer
from degrep_jax.models import spectral_norm

PLATFORMS = ('cpu', 'cuda', 'rocm', 'tpu')
LAYOUTS = ('NHWC', 'NCHW')
STORED = ('float32', 'float16')  # types of the values in a safetensors file
_OWN = ('network', 'step', 'spectral_norm', 'config')  # metadata that no note may name
# Fields of a config that say where something lay on the machine of a run.
_PATHS = (
  'root',
  'eval_root',
  'photographs',
  'kernels',
  'held_out_list',
  'vgg_path',
  'init_from',
  'start_from',
)


def to_safetensors(
  workdir: str | os.PathLike[str],
  path: str | os.PathLike[str],
  *,
  step: int | None = None,
  fold: bool = True,
  dtype: str = 'float32',
  notes: Mapping[str, str] | None = None,
) -> int:
  """Writes the variables of a network, or of the parts of one, as a safetensors file.

  An array's name is its path with '/' between the levels, the collection first, as in
  'params/encoder/down_0/conv/kernel'; no level holds a '/'. Split there and nested again they are
  what the module's `apply` takes, folded or not. Kernels are (height, width, in, out). The metadata
  are texts: 'network' ('' of parts), 'step', 'date' of the checkpoint, 'spectral_norm' ('folded' or
  'stored') and 'config', JSON as in config.json, with the names of folders in place of their paths.
  The same checkpoint and arguments give the same bytes. `Restorer.from_checkpoint` takes the file.

  Args:
    workdir: of a run, or of `degrep convert`; or such a file.
    path: the file to write.
    step: of the checkpoint; None takes the newest.
    fold: divides every kernel under a spectral norm by its sigma, which leaves plain convolutions;
      otherwise kernels are as they are trained, with the vectors u and v ('spectral/...').
    dtype: of what is stored, 'float32' or 'float16'.
    notes: what else the metadata are to say.

  Returns:
    The number of values written.

  Raises:
    UserError: no checkpoint, none of that step, nothing but a discriminator there, values that the
      type cannot hold, a note of a name that is taken, or a file that cannot be written.
  """
  notes = dict(notes or {})
  require(dtype in STORED, f'a file of {dtype}: choose one of {", ".join(STORED)}')
  for name in notes:
    require(name not in _OWN, f'a note {name}: the file says that itself, choose another name')
  variables, metadata = _weights_of(workdir, step, fold)
  flat = traverse_util.flatten_dict(variables, sep='/')
  with np.errstate(over='ignore'):  # told below
    arrays = {name: np.ascontiguousarray(x, dtype) for name, x in flat.items()}
  for name, x in arrays.items():
    fits = np.isfinite(x).all() or not np.isfinite(flat[name]).all()
    require(fits, f'{name} of {workdir} holds values that {dtype} cannot: write float32')
  data = safetensors.numpy.save(arrays, metadata | notes)
  write_atomically(path, _in_order(data))
  return sum(x.size for x in arrays.values())


def _weights_of(
  workdir: str | os.PathLike[str], step: int | None, fold: bool
) -> tuple[dict[str, Any], dict[str, str]]:
  """The variables of a workdir or a file, and what a file is to say of them."""
  if exported.is_one(workdir):
    require(step is None, f'{workdir} is a file, which has no steps: leave out the step')
    saved = exported.load(workdir)
    require(fold or not saved.folded, f'{workdir} has folded kernels alone, not stored ones')
    variables, fields, at, told = saved.variables, saved.config.to_dict(), saved.step, saved.notes
    fold = fold and not saved.folded
    spectral = exported.FOLDED if fold or saved.folded else exported.STORED
  else:
    state = checkpoints.load(workdir, step)
    variables, at = checkpoints.variables(state), int(state['step'])
    config = pathlib.Path(workdir) / configs.FILE
    fields = configs.parse(config) if config.exists() else {}
    told = {'date': day} if (day := checkpoints.saved_on(workdir, at)) else {}
    spectral = exported.FOLDED if fold else exported.STORED
  if not variables['params']:
    raise UserError(f'{workdir} holds a discriminator alone, which restores nothing: no export.')
  if fold:
    variables = spectral_norm.folded(variables)
  return variables, told | {
    'network': fields.get('model', {}).get('network', ''),
    'step': str(at),
    'spectral_norm': spectral,
    'config': json.dumps(_without_paths(fields)),
  }


def _in_order(data: bytes) -> bytes:
  """A safetensors file with its metadata in the order of their names: the library writes them in
  another order every time."""
  length = int.from_bytes(data[:8], 'little')
  header = json.loads(data[8 : 8 + length])
  header['__metadata__'] = dict(sorted(header['__metadata__'].items()))
  text = json.dumps(header, separators=(',', ':'), ensure_ascii=False).encode()
  text += b' ' * (-len(text) % 8)  # as the library aligns arrays
  return len(text).to_bytes(8, 'little') + text + data[8 + length :]


def _without_paths(fields: dict[str, Any]) -> dict[str, Any]:
  """A config that names folders and files by their own names, not by where they lay. Several are
  separated by commas."""

  def names(paths: str) -> str:
    return ','.join(os.path.basename(path.strip().rstrip('/')) for path in paths.split(','))

  return {
    name: _without_paths(value)
    if isinstance(value, dict)
    else names(value)
    if name in _PATHS
    else value
    for name, value in fields.items()
  }


def to_stablehlo(
  restorer: Restorer, path: str | os.PathLike[str], *, batch: int | None = None
) -> None:
  """Writes the deblurring of tiles, weights and all, as a program that `jax.export` loads.

  The program takes float32 `(B, tile, tile, 3)` in [0, 1] and returns what `Restorer.apply` calls
  'deblurred', of the same shape, not clipped. JAX promises to read such files for 6 months: the
  program's `fun_name` says which JAX made it and when.

  Args:
    restorer: of the checkpoint; its tile is that of the program.
    path: the file to write.
    batch: B; None leaves it to the caller.

  Raises:
    UserError: a batch below 1, or a file that cannot be written.
  """
  tiles = _tiles(restorer, batch)
  # Arrays of the host become constants of the program, and belong to no device.
  variables = jax.tree.map(np.asarray, restorer.variables)
  deblur = _deblurring(restorer)

  def program(blurry: jax.Array) -> jax.Array:
    return deblur(variables, blurry)['deblurred']

  program.__name__ = f'deblur by {_made_by()} on {_today()}'
  exported = jax.export.export(jax.jit(program), platforms=PLATFORMS)(tiles)
  write_atomically(path, bytes(exported.serialize()))


def to_onnx(
  restorer: Restorer,
  path: str | os.PathLike[str],
  *,
  batch: int | None = None,
  layout: str = 'NHWC',
) -> None:
  """Writes the deblurring of tiles, weights and all, as an ONNX model.

  The model's input 'blurry' is float32 in [0, 1], its output 'deblurred' what `Restorer.apply`
  calls so, of the same shape, not clipped. Its metadata are texts: what goes in and comes out,
  'network', 'tile', 'layout', 'step', 'date', and the versions of what made it.

  Args:
    restorer: of the checkpoint; its tile is that of the model.
    path: the file to write.
    batch: B; None leaves it to the caller.
    layout: 'NHWC' for `(B, tile, tile, 3)`, 'NCHW' for `(B, 3, tile, tile)`.

  Raises:
    UserError: a batch below 1, no such layout, a restorer of another type than float32, a network
      of more than 2 GiB, no package onnx, or a file that cannot be written.
  """
  require(layout in LAYOUTS, f'a layout {layout!r}: choose one of {", ".join(LAYOUTS)}')
  require(restorer.dtype == 'float32', f'{restorer.dtype}: ONNX takes float32 here')
  try:
    from degrep_jax.inference import to_onnx as converter
  except ImportError:
    raise UserError("ONNX is missing: run pip install '.[onnx]' in the clone.") from None
  model = converter.convert(
    _deblurring(restorer), restorer.variables, {'blurry': _tiles(restorer, batch)}, layout
  )
  about, shape = restorer.about, ('B', restorer.tile, restorer.tile, 3)
  if layout == 'NCHW':
    shape = ('B', 3, restorer.tile, restorer.tile)
  tiles = f'float32 ({", ".join(map(str, shape))}), RGB'
  model.doc_string = 'Deblurring of the tiles of photographs, by degrep_jax.'
  model.producer_name = 'degrep_jax'
  model.producer_version = importlib.metadata.version('degrep_jax')
  metadata = {
    'task': 'deblurring',
    'input': f'blurry: {tiles} in [0, 1]',
    'output': f'deblurred: {tiles}, to be clipped to [0, 1]',
    'network': restorer.network,
    'tile': str(restorer.tile),
    'layout': layout,
    'step': str(about['step']),
    'config': json.dumps(_without_paths(about['config'] or {})),
    'versions': _made_by(),
    'date': _today(),
  }
  for key, value in metadata.items():
    model.metadata_props.add(key=key, value=value)
  write_atomically(path, model.SerializeToString())


def _deblurring(restorer: Restorer) -> Callable[[Any, jax.Array], dict[str, jax.Array]]:
  """(variables, blurry tiles) to {'deblurred': tiles}."""
  module: Any = restorer.module

  def deblur(variables: Any, blurry: jax.Array) -> dict[str, jax.Array]:
    given: tuple[jax.Array, ...] = ()
    if restorer.has_map:
      given = (module.apply(variables, blurry, method='degradation_map'),)
    deblurred = module.apply(variables, blurry, *given, method='deblur')['deblurred']
    return {'deblurred': deblurred}

  return deblur


def _tiles(restorer: Restorer, batch: int | None) -> jax.ShapeDtypeStruct:
  """What an exported program takes; any number of tiles for None."""
  require(batch is None or batch >= 1, f'a batch of {batch} tiles: it must be 1 at least')
  size = batch if batch is not None else jax.export.symbolic_shape('batch')[0]
  return jax.ShapeDtypeStruct((size, restorer.tile, restorer.tile, 3), np.float32)


def _made_by() -> str:
  """The versions of what writes a program."""
  names = {'degrep_jax': 'degrep_jax', 'JAX': 'jax'}
  return ', '.join(f'{name} {importlib.metadata.version(of)}' for name, of in names.items())


def _today() -> str:
  return datetime.datetime.now(datetime.UTC).date().isoformat()
