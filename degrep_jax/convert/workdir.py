"""A released file as a workdir of ours: the checkpoint and the config beside it."""

import collections
import pathlib
import shutil
from typing import Any

import flax.linen as nn
import numpy as np

from degrep_jax import checkpoints
from degrep_jax import run_config as configs
from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError, is_full
from degrep_jax.common.files import write_json
from degrep_jax.convert.state_dicts import convert, kind_of
from degrep_jax.convert.torch_files import read_state_dict
from degrep_jax.models import factory
from degrep_jax.models.encoder import Encoder
from degrep_jax.models.pyramid import MapPyramid
from degrep_jax.models.variables import FROZEN, count_parameters, split


def convert_file(kind: str, path: pathlib.Path, out: pathlib.Path) -> None:
  """Writes a released file as a checkpoint of ours, and says what nothing reads.

  `out` becomes a workdir: of a whole net for `--mode=eval`, of E and pyramid (alone or in a whole
  net) for `train.init_from`, of a whole net for `train.start_from`, of any for `checkpoints.load`.
  No training continues in it.

  Args:
    kind: one of `KINDS`.
    path: a PyTorch file.
    out: a folder that holds no checkpoint yet.

  Raises:
    UserError: no such kind, a file that cannot be used, or `out` holds a checkpoint or cannot be
      written; nothing is written then.
  """
  kind_of(kind)  # before a file of gigabytes is read
  if checkpoints.saved_steps(out) or (out / configs.FILE).exists():
    raise UserError(f'{out} holds a run or a checkpoint already: choose another folder.')
  there = out / checkpoints.FOLDER  # which is removed where something fails
  if there.exists() and not (there.is_dir() and not any(there.iterdir())):
    raise UserError(f'{there} is there and not empty: choose another folder than {out}.')
  try:
    module, variables, unread = convert(kind, read_state_dict(path))
  except UserError as error:
    sentence = str(error)
    raise UserError(sentence if str(path) in sentence else f'{path}: {sentence}') from None
  try:
    with checkpoints.Checkpoints(out, keep=1) as saved:
      saved.save(0, {'step': np.zeros((), np.int32)} | _saved(kind, variables))
    write_json(out / configs.FILE, {'model': _model_fields(module)})
  except BaseException as error:
    # So that the same command may be given again.
    shutil.rmtree(out / checkpoints.FOLDER, ignore_errors=True)
    if is_full(error):
      sentence = f'the disk of {out} is full: nothing was written; make room for the weights there.'
      raise UserError(sentence) from error
    raise
  if unread:
    endings = collections.Counter(key.rsplit('.', 2)[-2] for key in unread)
    what = ', '.join(f'{count} of {ending}' for ending, count in sorted(endings.items()))
    total = sum(np.size(value) for value in unread.values())
    say(f'dropped {total:,} values that nothing reads there: keys {what}')
  say(f'wrote {count_parameters(variables["params"]):,} parameters to {out}')


def _saved(kind: str, variables: dict) -> dict[str, Any]:
  """As `checkpoints.load` gives a state, without optimisers."""
  if kind.startswith(('encoder', 'upsampler')):
    part = 'encoder' if kind.startswith('encoder') else 'pyramid'
    return {'frozen': {collection: {part: tree} for collection, tree in variables.items()}}
  taken_over = any(row.frozen for row in factory.NETWORKS.values() if row.released == kind)
  frozen, rest = split(variables, FROZEN) if taken_over else ({}, dict(variables))
  network = {'params': rest.pop('params'), 'statistics': rest}
  if kind == 'discriminator':
    return {'discriminator': network}
  return {'generator': network} | ({'frozen': frozen} if frozen else {})


def _model_fields(module: nn.Module) -> dict[str, Any]:
  """The fields of `config.model` that a converted network has."""
  if isinstance(module, Encoder):
    return {
      'encoder': module.variant,
      'encoder_width': module.width,
      'encoder_stages': module.stages,
      'encoder_input': module.input_size,
      'encoder_gain': module.gain,
    }
  if isinstance(module, MapPyramid):
    return {'modulation': 'spade', 'unshuffle': 1}
  name = factory.name_of(module)
  if name is None:
    return {}
  whole: Any = module
  unet = whole.deblurrer if factory.NETWORKS[name].has_map else whole
  fields = {'network': name, 'width': unet.width, 'depth': unet.depth, 'unshuffle': 1}
  if factory.NETWORKS[name].has_map:
    fields |= _model_fields(whole.encoder) | _model_fields(whole.pyramid)
    fields |= {'global_code': False, 'without_map': False, 'modulation_hidden': unet.hidden}
  return fields
