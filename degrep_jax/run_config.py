"""A config checked before any work starts, and kept beside the run that it describes."""

import json
import pathlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import ml_collections

from degrep_jax.common import shipped_configs
from degrep_jax.common.errors import UserError
from degrep_jax.common.files import plain, write_json
from degrep_jax.data.mixture import parts_of
from degrep_jax.data.released.layouts import DATASETS, FULL, PICTURES
from degrep_jax.models import factory, vgg
from degrep_jax.models.variables import DTYPES

FILE = 'config.json'
SOURCES = ('folder', 'list', 'tfds', 'photos', 'synthetic', 'mixture')
NAN_POLICIES = ON_ERROR = ('stop', 'skip')
# The fields that decide the maps of E and the pyramid.
MAP = (
  'encoder',
  'encoder_width',
  'encoder_stages',
  'encoder_input',
  'encoder_gain',
  'modulation',
  'unshuffle',
  'global_code',
  'without_map',
)
# What a run may change when it is continued: none of these reaches the trained weights of a step.
FREE = (
  'train.steps',
  'train.remat',
  'train.nan_',
  'data.on_error',
  'data.eval_root',
  'data.eval_variants',
  'data.evaluate',  # of a part
  'eval.',
  'log.',
)
_PART = re.compile(r'^data\.parts\.[^.]+\.')
# Fields that the config of an older run lacks, with what it did.
ADDED = {
  'train.accumulate_steps': 1,
  'train.remat': False,
  'train.dtype': 'float32',
  'train.ema_decay': 0.0,
  'model.encoder_gain': 1.0,
  'model.without_map': False,
  'model.unshuffle': 1,
  'loss.gan_warmup_steps': 0,
  'loss.blur_field': 0.0,
  'train.start_from': '',
  'data.shrink': 1,
  'data.rest': 0.0,
  'data.scene': 0,
  'data.photographs': '',
  'data.display_share': 0.7,
  'data.sharp_share': 0.05,
  'data.flat_share': 0.03,
  'data.reference_share': 0.0,
  'data.kernels': '',
  'data.held_out_share': 0.1,
  'data.held_out_list': '',
}


def _require(condition: bool, field: str, value: Any, demand: str) -> None:
  if not condition:
    raise UserError(f'config.{field} is {value!r}: {demand}.')


def _require_fields(config: ml_collections.ConfigDict, places: tuple[str, ...] = ('',)) -> None:
  """Raises UserError where a config lacks fields of `configs/default.py` that begin so."""
  lacking = [
    field for field in _lacking(config, shipped_configs.default()) if field.startswith(places)
  ]
  if lacking:
    raise UserError(f'the config lacks {", ".join(lacking)}: add what configs/default.py has.')


def _lacking(
  config: ml_collections.ConfigDict, default: ml_collections.ConfigDict, prefix: str = ''
) -> Iterator[str]:
  """Fields, and whole groups, of a default config that another does not have."""
  for name, value in default.items():
    if name not in config:
      yield f'{prefix}{name}'
    elif isinstance(value, ml_collections.ConfigDict):
      yield from _lacking(config[name], value, f'{prefix}{name}.')


def _one_of(choices: Iterable[str]) -> str:
  return f'choose one of {", ".join(choices)}'


def check_evaluation(config: ml_collections.ConfigDict, devices: int) -> None:
  """Raises UserError, naming the field, where an evaluation with `config` must fail."""
  _require_fields(config, ('data', 'eval', 'model'))
  _check_data(config.data)
  _check_batch('eval.batch_size', config.eval.batch_size, devices)
  _check_model(config.model)
  factory.check_tile(config.model, config.eval.tile, 'eval.tile')


def _check_data(data: ml_collections.ConfigDict, place: str = 'data') -> None:
  _require(data.source in SOURCES, f'{place}.source', data.source, _one_of(SOURCES))
  _require(data.shrink >= 1, f'{place}.shrink', data.shrink, 'it must be 1 or more')
  mixture = data.source == 'mixture'
  if not (mixture or data.source == 'synthetic'):
    _check_files(data, place)
    return
  demand = f'set config.{place}.source=folder to read it'
  if mixture:
    demand = 'each of data.parts has its own'
  for field in ('root', 'eval_root'):
    _require(not data[field], f'{place}.{field}', data[field], demand)
  if mixture:
    for name, part in parts_of(data).items():
      _check_data(part, f'{place}.parts.{name}')


def inputs(config: ml_collections.ConfigDict) -> tuple[str, ...]:
  """What a batch of the joint stage has, fields of `data.pairs.Crop`."""
  sources = _training_sources(config.data).values()
  photographs = [source for source in sources if source.source == 'photos']
  reference = any(part.reference_share for part in photographs)
  field = config.loss.blur_field and photographs
  given = {'blurry': True, 'sharp': True, 'reference': reference, 'field': field}
  return tuple(name for name, wanted in given.items() if wanted)


def _training_sources(data: ml_collections.ConfigDict) -> dict[str, ml_collections.ConfigDict]:
  """What is trained on by its place in the config: the data themselves, or parts of a mixture."""
  if data.source != 'mixture':
    return {'data': data}
  return {f'data.parts.{name}': part for name, part in parts_of(data).items() if part.weight}


def _check_files(data: ml_collections.ConfigDict, place: str) -> None:
  demand = 'name the folder that holds the pairs'
  if data.source == 'folder':
    demand = 'name the folder that holds train/ and test/ with blur/ and sharp/'
  if data.source == 'tfds':
    demand = 'name the folder that degrep prepare wrote to (its --data_dir)'
    _require(data.name in DATASETS, f'{place}.name', data.name, _one_of(DATASETS))
  _require(data.pictures in PICTURES, f'{place}.pictures', data.pictures, _one_of(PICTURES))
  if data.source == 'photos':
    demand = 'name the folder that holds the photographs'
    shares = ('display_share', 'sharp_share', 'flat_share', 'reference_share', 'held_out_share')
    for field in shares:
      _require(0 <= data[field] <= 1, f'{place}.{field}', data[field], 'it must be in 0 .. 1')
    left = data.sharp_share + data.flat_share
    _require(left <= 1, f'{place}.sharp_share', data.sharp_share, 'with flat_share it is above 1')
  _require(data.root or data.eval_root, f'{place}.root', data.root, demand)
  demand = "name the lists of pairs, for instance 'RealBlur_J'"
  listed = data.source != 'list' or data.list_name
  _require(listed, f'{place}.list_name', data.list_name, demand)


def _check_training_data(data: ml_collections.ConfigDict) -> None:
  for place, source in _training_sources(data).items():
    demand = 'name the folder that holds the training pictures'
    _require(source.root or source.source == 'synthetic', f'{place}.root', source.root, demand)
    # What a part leaves to `data` may be meant for other parts.
    own = data if place == 'data' else data.parts[place.removeprefix('data.parts.')]
    unread = source.source in ('photos', 'synthetic') and 'shrink' in own and source.shrink > 1
    demand = 'crops of photographs have random sizes as it is, set it to 1'
    _require(not unread, f'{place}.shrink', source.shrink, demand)
    unread = source.source == 'list' and 'pictures' in own and source.pictures != FULL
    demand = f'lists name whole pictures, set it to {FULL}'
    _require(not unread, f'{place}.pictures', source.pictures, demand)


def _check_model(model: ml_collections.ConfigDict) -> None:
  factory.check_choices(model)
  widths = 'width', 'encoder_width', 'modulation_hidden', 'discriminator_width'
  for field in (*widths, 'encoder_gain'):
    _require(model[field] > 0, f'model.{field}', model[field], 'it must be positive')
  stages = tuple(model.encoder_stages)
  _require(
    all(stage > 0 for stage in stages), 'model.encoder_stages', stages, 'all must be positive'
  )


def check(config: ml_collections.ConfigDict, devices: int, evaluating: int | None = None) -> None:
  """Raises UserError, naming the field, where a training with `config` must fail.

  Args:
    config: as `configs/default.py`.
    devices: that share a batch.
    evaluating: those of the process that evaluates; None: all.
  """
  check_evaluation(config, devices if evaluating is None else evaluating)
  data, loss = config.data, config.loss
  _check_training_data(data)
  demand = "loss.vgg needs torchvision's vgg19-*.pth; name the file, or set config.loss.vgg=0"
  _require(not loss.vgg or loss.vgg_path, 'loss.vgg_path', loss.vgg_path, demand)
  check_step(config, devices)
  for field, value in config.log.items():
    least = 0 if field == 'profile_first_step' else 1
    demand = 'it must not be negative' if not least else 'it must be positive'
    _require(value >= least, f'log.{field}', value, demand)
  train, log = config.train, config.log
  traced = log.profile_first_step + log.profile_steps - 1 if log.profile_first_step else 0
  demand = f'with log.profile_steps it must end by train.steps, {train.steps}'
  _require(traced <= train.steps, 'log.profile_first_step', log.profile_first_step, demand)
  for field, value, choices in (
    ('train.nan_policy', train.nan_policy, NAN_POLICIES),
    ('data.on_error', data.on_error, ON_ERROR),
  ):
    _require(value in choices, field, value, _one_of(choices))
  _require(train.nan_skips > 0, 'train.nan_skips', train.nan_skips, 'it must be positive')
  _require(config.train.steps > 0, 'train.steps', config.train.steps, 'it must be positive')


def check_step(config: ml_collections.ConfigDict, devices: int) -> None:
  """Raises UserError, naming the field, where there can be no training step of `config`, whatever
  the data."""
  _require_fields(config)
  hyper = config.optimizer
  # jax.random takes so many bits.
  _require(0 <= config.seed < 2**32, 'seed', config.seed, 'it must be in 0 .. 4294967295')
  _check_model(config.model)
  _check_batch('train.batch_size', config.train.batch_size, devices)
  _check_memory(config.train, devices)
  factory.check_size(config.model, config.data.crop, 'data.crop')
  _check_losses(config)
  _check_stage(config)
  for field in ('learning_rate', 'schedule_steps', 'clip_norm'):
    _require(hyper[field] > 0, f'optimizer.{field}', hyper[field], 'it must be positive')
  _require(
    hyper.warmup_steps >= 0, 'optimizer.warmup_steps', hyper.warmup_steps, 'it must not be negative'
  )
  rate, demand = hyper.final_learning_rate, 'it must be in 0 .. optimizer.learning_rate'
  _require(0 <= rate <= hyper.learning_rate, 'optimizer.final_learning_rate', rate, demand)
  for field in ('beta1', 'beta2'):
    _require(0 <= hyper[field] < 1, f'optimizer.{field}', hyper[field], 'it must be in [0, 1)')


def _check_losses(config: ml_collections.ConfigDict) -> None:
  loss, network = config.loss, config.model.network
  its_own = factory.NETWORKS[network].losses
  others = 'vgg_path', 'gan_warmup_steps'
  weights = {name: weight for name, weight in loss.items() if name not in others}
  for name, weight in weights.items():
    _require(weight >= 0, f'loss.{name}', weight, 'it must not be negative')
    demand = f'the network {network} has no such loss, set it to 0'
    _require(name in its_own or not weight, f'loss.{name}', weight, demand)
  learned = weights | {'blur_field': loss.blur_field if 'field' in inputs(config) else 0.0}
  _require(max(learned.values()) > 0, 'loss', learned, 'one weight must be positive')
  demand = f'VGG19 needs {vgg.SMALLEST} at least, or loss.vgg=0'
  _require(not loss.vgg or config.data.crop >= vgg.SMALLEST, 'data.crop', config.data.crop, demand)
  data, demand = config.data, 'photographs alone have known blur (data.source=photos): set it to 0'
  sources = [data, *data.parts.values()] if data.source == 'mixture' else [data]
  # Also a part of weight 0, so that a recipe can be followed without its photographs.
  known = any(source.get('source') == 'photos' for source in sources)
  _require(known or not loss.blur_field, 'loss.blur_field', loss.blur_field, demand)
  demand = 'model.without_map leaves no map to learn it: set one of the two to 0'
  taught = config.model.without_map and loss.blur_field
  _require(not taught, 'loss.blur_field', loss.blur_field, demand)
  first, field = loss.gan_warmup_steps, 'loss.gan_warmup_steps'
  _require(first >= 0, field, first, 'it must not be negative')
  demand = 'it waits for loss.gan or loss.feature_matching, which are 0: set it to 0'
  _require(not first or loss.gan or loss.feature_matching, field, first, demand)


def _check_stage(config: ml_collections.ConfigDict) -> None:
  network, train = config.model.network, config.train
  row = factory.NETWORKS[network]
  demand = f'the network {network} takes no parts from elsewhere, leave it empty'
  given = train.init_from
  _require(not given or row.frozen, 'train.init_from', given, demand)
  demand = f'train.start_from, {train.start_from}, holds these parts as well: leave one empty'
  _require(not (given and train.start_from), 'train.init_from', given, demand)
  demand = f'the network {network} has no discriminator, leave it False'
  official = train.official_order
  _require(not official or row.can_reblur, 'train.official_order', official, demand)
  demand = f'it is for Gr, which the network {network} does not have, set it to 0'
  for place, source in _training_sources(config.data).items():
    unread = source.source == 'photos' and source.reference_share and not row.can_reblur
    _require(not unread, f'{place}.reference_share', source.reference_share, demand)
  demand = f'only the joint stage has that ablation, not {network}'
  model = config.model
  for field in ('global_code', 'without_map'):
    _require(not model[field] or row.can_reblur, f'model.{field}', model[field], demand)
  demand = 'it leaves nothing of the map that global_code would average: set one of the two'
  both = model.without_map and model.global_code
  _require(not both, 'model.without_map', True, demand)


def _check_batch(field: str, size: int, devices: int) -> None:
  demand = f'it must be a positive multiple of the {devices} devices'
  _require(size > 0 and size % devices == 0, field, size, demand)


def _check_memory(train: ml_collections.ConfigDict, devices: int) -> None:
  share, parts = train.batch_size // devices, train.accumulate_steps
  demand = f'it must divide the {share} pictures that each of the {devices} devices takes'
  _require(parts > 0 and share % parts == 0, 'train.accumulate_steps', parts, demand)
  _require(train.dtype in DTYPES, 'train.dtype', train.dtype, _one_of(DTYPES))
  decay = train.ema_decay
  _require(0 <= decay < 1, 'train.ema_decay', decay, 'it must be in [0, 1), 0 for no average')


def flat(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
  """Nested groups of fields as {'group.field': value}."""
  fields: dict[str, Any] = {}
  for key, value in tree.items():
    nested = isinstance(value, dict)
    fields |= flat(value, f'{prefix}{key}.') if nested else {f'{prefix}{key}': value}
  return fields


def parse(path: pathlib.Path) -> dict[str, Any]:
  """A saved config, nested, with what runs did before its newer fields were there.

  Raises:
    UserError: the file cannot be read, or is no config.
  """
  try:
    tree = json.loads(path.read_text())
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}.') from None
  except ValueError:
    tree = None
  if not isinstance(tree, dict):
    raise UserError(f'{path} is damaged: restore it, or name another folder.')
  return completed(tree)


def completed(tree: dict[str, Any]) -> dict[str, Any]:
  """A nested config with what runs did before its newer fields were there, in place."""
  whole = {name: group for name, group in tree.items() if isinstance(group, dict)}
  if 'network' not in whole.get('model', {}):
    whole.pop('model', None)  # of parts, whose fields are few
  for field, value in ADDED.items():
    group, name = field.split('.')
    if group in whole:
      whole[group].setdefault(name, value)
  return tree


def read(path: pathlib.Path) -> dict[str, Any]:
  """A saved config as {'group.field': value}.

  Raises:
    UserError: the file cannot be read, or is no config.
  """
  return flat(parse(path))


def load(workdir: pathlib.Path) -> ml_collections.ConfigDict:
  """The config beside a checkpoint of a whole network; of converted weights it has the fields of
  `config.model` alone.

  Raises:
    UserError: no config, a damaged one, or one of parts of a network.
  """
  config = ml_collections.ConfigDict(parse(workdir / FILE))
  if 'network' not in config.get('model', {}):
    raise UserError(f'{workdir} holds parts of a network alone: name the folder of a whole one.')
  return config


def _differing(saved: dict[str, Any], config: ml_collections.ConfigDict) -> list[tuple[str, str]]:
  """(field, its two values as text) of a saved config and this one."""
  ours = flat(plain(config.to_dict()))
  return [
    (field, f'{field} (there {_value(saved, field)!r}, now {_value(ours, field)!r})')
    for field in sorted(saved.keys() | ours.keys())
    if _value(saved, field) != _value(ours, field)
  ]


def _value(config: dict[str, Any], field: str) -> Any:
  """Of a flat config; what a part of a mixture does not set is that of `data`."""
  return config[field] if field in config else config.get(_PART.sub('data.', field))


def keep_in(workdir: pathlib.Path, config: ml_collections.ConfigDict, has_checkpoint: bool) -> None:
  """Writes `<workdir>/config.json`.

  Where there is one, makes sure first that it is a run's; where the workdir has a checkpoint, that
  it describes the same training.

  Raises:
    UserError: the workdir cannot be written, is not a run's, or belongs to a run with other fields
      (named).
  """
  path = workdir / FILE
  if path.exists():
    saved = read(path)
    if 'train.steps' not in saved:
      what = f"a {FILE} that is no run's"
      if has_checkpoint:
        what = 'converted weights, which no training can be continued from'
      raise UserError(f'{workdir} holds {what}: choose another --workdir.')
    differing = _differing(saved, config) if has_checkpoint else []
    texts = [text for field, text in differing if not _is_free(field)]
    if texts:
      raise UserError(
        f'{workdir} holds a run of another config: choose another --workdir, or set back '
        f'{", ".join(texts)}.'
      )
  write_json(path, config.to_dict())


def require_same_model(
  workdir: pathlib.Path, config: ml_collections.ConfigDict
) -> dict[str, Any] | None:
  """The config of a workdir's run, nested; None where none is saved.

  Raises:
    UserError: it has another `config.model`; the fields are named.
  """
  return _require_same(workdir, config, lambda field: field.startswith('model.'))


def require_same_encoder(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """Raises UserError, naming the fields, where a workdir's run makes other degradation maps."""
  _require_same(workdir, config, lambda field: field.removeprefix('model.') in MAP)


def require_same_network(
  name: str, saved: Mapping[str, Any], config: ml_collections.ConfigDict
) -> None:
  """Raises UserError, naming the fields, where a saved config, nested, has another `config.model`;
  the discriminator may be another."""

  def matters(field: str) -> bool:
    return field.startswith('model.') and field != 'model.discriminator_width'

  if texts := _changed(flat(plain(dict(saved))), config, matters):
    raise UserError(f'{name} is another network: set {", ".join(texts)}.')


def _changed(
  saved: dict[str, Any], config: ml_collections.ConfigDict, matters: Callable[[str], bool]
) -> list[str]:
  """The fields that matter of a saved config, flat, that have other values in this one, as text."""
  return [text for field, text in _differing(saved, config) if matters(field) and field in saved]


def _is_free(field: str) -> bool:
  return _PART.sub('data.', field).startswith(FREE)


def _require_same(
  workdir: pathlib.Path, config: ml_collections.ConfigDict, matters: Callable[[str], bool]
) -> dict[str, Any] | None:
  path = workdir / FILE
  if not path.exists():
    return None
  tree = parse(path)
  saved = flat(tree)  # of converted parts, fewer fields
  if texts := _changed(saved, config, matters):
    raise UserError(f'{workdir} holds another model: set back {", ".join(texts)}.')
  return tree
