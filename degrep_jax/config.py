"""A config checked before any work starts, and kept beside the run that it describes."""

import json
import pathlib
from typing import Any

import ml_collections
from ml_collections.config_dict import FrozenConfigDict

from degrep_jax.errors import UserError
from degrep_jax.models import factory
from degrep_jax.report import write_atomically

FILE = 'config.json'
SOURCES = ('folder', 'synthetic')
# What a run may change when it is continued: none of these reaches the trained weights of a step.
FREE = ('train.steps', 'data.eval_root', 'data.eval_variants', 'eval.', 'log.')


def _require(condition: bool, field: str, value: Any, demand: str) -> None:
  if not condition:
    raise UserError(f'config.{field} is {value!r}: {demand}.')


def check(config: ml_collections.ConfigDict, devices: int) -> None:
  """Raises UserError, naming the field, where a run with `config` on `devices` devices must
  fail."""
  data, loss = config.data, config.loss
  _require(data.source in SOURCES, 'data.source', data.source, f'choose one of {SOURCES}')
  _require(
    data.source != 'folder' or data.root,
    *('data.root', data.root, 'name the folder that holds train/ and test/ with blur/ and sharp/'),
  )
  for field, size in (
    ('train.batch_size', config.train.batch_size),
    ('eval.batch_size', config.eval.batch_size),
  ):
    _require(
      size > 0 and size % devices == 0,
      field,
      size,
      f'it must be a multiple of the {devices} devices',
    )
  factory.check_size(config.model, data.crop, 'data.crop')
  factory.check_size(config.model, config.eval.tile, 'eval.tile')
  weights = [value for key, value in loss.items() if key != 'vgg_path']
  _require(
    min(weights) >= 0 < max(weights), 'loss', weights, 'weights are not negative, one is positive'
  )
  _require(
    not loss.vgg or loss.vgg_path,
    'loss.vgg_path',
    loss.vgg_path,
    ("loss.vgg needs torchvision's vgg19-*.pth; name the file, or set config.loss.vgg=0"),
  )
  for field in (
    'every_steps',
    'pictures_every_steps',
    'checkpoint_every_steps',
    'keep_checkpoints',
    'evaluate_every_steps',
  ):
    _require(config.log[field] > 0, f'log.{field}', config.log[field], 'it must be positive')
  _require(config.train.steps > 0, 'train.steps', config.train.steps, 'it must be positive')
  _require(config.seed >= 0, 'seed', config.seed, 'it must not be negative')


def _flat(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
  fields: dict[str, Any] = {}
  for key, value in tree.items():
    nested = isinstance(value, dict)
    fields |= _flat(value, f'{prefix}{key}.') if nested else {f'{prefix}{key}': value}
  return fields


def _plain(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """As it comes back from JSON: tuples are lists there."""
  return json.loads(json.dumps(FrozenConfigDict(config).as_configdict().to_dict()))


def _differing(path: pathlib.Path, config: ml_collections.ConfigDict) -> list[tuple[str, str]]:
  """(field, its two values as text) of a saved config and this one."""
  try:
    saved = _flat(json.loads(path.read_text()))
  except ValueError:
    raise UserError(f'{path} is damaged: restore it, or choose another --workdir.') from None
  ours = _flat(_plain(config))
  return [
    (field, f'{field} (there {saved.get(field)!r}, now {ours.get(field)!r})')
    for field in sorted(saved.keys() | ours.keys())
    if saved.get(field) != ours.get(field)
  ]


def keep_in(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """Writes `<workdir>/config.json`, or makes sure that the one there describes the same training.

  Raises:
    UserError: the workdir cannot be written, or belongs to a run with other fields (named).
  """
  path = workdir / FILE
  if path.exists():
    texts = [text for field, text in _differing(path, config) if not field.startswith(FREE)]
    if texts:
      raise UserError(
        f'{workdir} holds a run of another config: choose another --workdir, or set back '
        f'{", ".join(texts)}.'
      )
  write_atomically(path, (json.dumps(_plain(config), indent=2) + '\n').encode())


def require_same_model(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """Raises UserError, naming the fields, where a workdir's run has another `config.model`."""
  path = workdir / FILE
  if path.exists():
    texts = [text for field, text in _differing(path, config) if field.startswith('model.')]
    if texts:
      raise UserError(f'{workdir} holds another model: set back {", ".join(texts)}.')
