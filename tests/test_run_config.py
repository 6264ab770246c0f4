"""Configs: what is refused before any work, what a workdir remembers, and no field without use."""

import json
import pathlib
import re

import pytest

from configs import default
from degrep_jax import run_config as configs
from degrep_jax.common.errors import UserError
from degrep_jax.models import factory

ROOT = pathlib.Path(__file__).parents[1]
NAMES = sorted(path.stem for path in (ROOT / 'configs').glob('*.py') if path.stem != '__init__')


def _config(**fields):
  """The default config on synthetic data, with `group__field=value` changed."""
  config = default.get_config()
  config.data.source = 'synthetic'
  config.update_from_flattened_dict({key.replace('__', '.'): v for key, v in fields.items()})
  return config


def _load(name):
  namespace = {}
  path = ROOT / 'configs' / f'{name}.py'
  exec(compile(path.read_text(), str(path), 'exec'), namespace)
  return namespace['get_config']()


def _flat(config, prefix=''):
  """{dotted name: value} of every field."""
  fields = {}
  for key, value in config.items():
    if hasattr(value, 'items'):
      fields |= _flat(value, f'{prefix}{key}.')
    else:
      fields[prefix + key] = value
  return fields


def test_the_default_networks_pass():
  configs.check(_config(), devices=8)


def test_tiles_are_shared_by_the_devices_of_the_process_that_evaluates():
  config = _config(train__batch_size=32, eval__batch_size=8)
  configs.check(config, devices=16, evaluating=8)  # two machines of eight
  with pytest.raises(UserError, match=r'config\.eval\.batch_size is 8.*16 devices'):
    configs.check(config, devices=16)


@pytest.mark.parametrize(
  ('fields', 'named'),
  [
    ({'train__batch_size': 30}, 'config.train.batch_size is 30.*4 devices'),
    ({'train__batch_size': 0}, 'config.train.batch_size is 0'),
    ({'train__accumulate_steps': 3}, 'config.train.accumulate_steps is 3.*8 pictures.*4 devices'),
    ({'train__accumulate_steps': 0}, 'config.train.accumulate_steps is 0'),
    ({'train__dtype': 'half'}, "config.train.dtype is 'half': choose one of float32, bfloat16."),
    ({'train__ema_decay': 1.0}, 'config.train.ema_decay is 1.0'),
    ({'train__ema_decay': -0.5}, 'config.train.ema_decay is -0.5'),
    ({'eval__batch_size': 6}, 'config.eval.batch_size is 6.*4 devices'),
    ({'data__source': 'web'}, "config.data.source is 'web'.*folder.*synthetic"),
    ({'data__source': 'folder'}, "config.data.root is ''"),
    ({'data__shrink': 0}, 'config.data.shrink is 0: it must be 1 or more'),
    ({'data__source': 'list'}, "config.data.root is ''"),
    ({'data__source': 'list', 'data__root': 'RealBlur'}, "config.data.list_name is ''"),
    ({'data__source': 'tfds'}, "config.data.root is ''.*degrep prepare"),
    (
      {'data__source': 'tfds', 'data__root': 'data', 'data__name': 'reds'},
      "config.data.name is 'reds'.*gopro.*hide.*realblur_j.*realblur_r",
    ),
    (
      {'data__source': 'tfds', 'data__root': 'data', 'data__pictures': 'sub256'},
      "config.data.pictures is 'sub256'.*full.*sub512",
    ),
    (
      {'model__encoder': 'table2'},
      "config.model.encoder is 'table2': choose one of table1, official_v1, official_v2, local.",
    ),
    ({'model__modulation': 'film'}, "model.modulation is 'film': choose one of spade, sam."),
    ({'model__unshuffle': 3}, 'config.model.unshuffle is 3: choose one of 1, 2, 4'),
    ({'data__source': 'photos'}, "config.data.root is ''.*photographs"),
    (
      {'data__source': 'photos', 'data__root': 'photos', 'data__reference_share': 1.5},
      r'config\.data\.reference_share is 1\.5: it must be in 0 \.\. 1',
    ),
    (
      {'data__source': 'photos', 'data__root': 'photos', 'data__sharp_share': -0.1},
      r'config\.data\.sharp_share is -0\.1',
    ),
    (
      {'data__source': 'mixture', 'data__root': 'photos'},
      "config.data.root is 'photos': each of data.parts has its own",
    ),
    (
      {'data__source': 'mixture', 'data__eval_root': 'held_out'},
      "config.data.eval_root is 'held_out': each of data.parts has its own",
    ),
    (
      {'data__eval_root': 'held_out'},
      "config.data.eval_root is 'held_out': set config.data.source=folder to read it",
    ),
    ({'data__shrink': 2}, 'config.data.shrink is 2: crops of photographs have random sizes'),
    (
      {
        'data__source': 'list',
        'data__root': 'RealBlur',
        'data__list_name': 'RealBlur_J',
        'data__pictures': 'sub512',
      },
      "config.data.pictures is 'sub512': lists name whole pictures, set it to full",
    ),
    (
      {
        'model__network': 'msdi_net',
        'loss__gan': 0.0,
        'loss__reblur_l1': 0.0,
        'data__source': 'photos',
        'data__root': 'photos',
        'data__reference_share': 0.5,
      },
      r'config\.data\.reference_share is 0\.5: it is for Gr, which the network msdi_net',
    ),
    ({'model__network': 'unet'}, "config.model.network is 'unet'.*joint, msdi_net, hinet"),
    ({'loss__psnr': 1.0}, 'config.loss.psnr is 1.0.*joint has no such loss'),
    ({'loss__gan_warmup_steps': -1}, 'config.loss.gan_warmup_steps is -1'),
    ({'loss__blur_field': 0.5}, r'config\.loss\.blur_field is 0\.5: photographs alone'),
    (
      {
        'loss__blur_field': 0.5,
        'data__source': 'photos',
        'data__root': 'x',
        'model__without_map': True,
      },
      r'config\.loss\.blur_field is 0\.5: model\.without_map leaves no map',
    ),
    (
      {'loss__gan_warmup_steps': 9, 'loss__gan': 0.0},
      'config.loss.gan_warmup_steps is 9: it waits for loss.gan or loss.feature_matching',
    ),
    ({'model__network': 'hinet'}, 'config.loss.gan is 1.0.*hinet has no such loss'),
    ({'optimizer__final_learning_rate': 1.0}, 'config.optimizer.final_learning_rate is 1.0'),
    ({'optimizer__final_learning_rate': -1e-7}, 'config.optimizer.final_learning_rate is -1e-07'),
    ({'train__init_from': 'runs/joint'}, "config.train.init_from is 'runs/joint'"),
    ({'data__crop': 100}, 'config.data.crop is 100.*multiple of 16'),
    ({'data__crop': 16}, 'config.data.crop is 16.*32 at least'),
    ({'eval__tile': 120}, 'config.eval.tile is 120'),
    (
      {'model__encoder': 'official_v2', 'model__depth': 3, 'eval__tile': 100},
      'config.eval.tile is 100: with a map of 8x8 places it must be a multiple of 8',
    ),
    ({'model__encoder_input': 64}, 'config.model.encoder_input is 64.*128 at least'),
    ({'model__encoder_input': 200}, 'config.model.encoder_input is 200.*multiple of 64'),
    ({'model__encoder_input': 0, 'data__crop': 64}, 'config.data.crop is 64.*128 at least'),
    ({'model__encoder_input': 0, 'data__crop': 144}, 'config.data.crop is 144.*multiple of 64'),
    ({'model__encoder_input': 0, 'eval__tile': 64}, 'config.eval.tile is 64.*128 at least'),
    ({'model__depth': 9}, r'config.model.depth is 9.*2 \.\. 7'),
    ({'model__depth': 1}, 'config.model.depth is 1'),
    ({'model__depth': 5, 'model__encoder_stages': (1, 2)}, 'config.model.depth is 5'),
    ({'model__encoder_stages': ()}, 'model.encoder_stages'),
    ({'model__encoder_gain': 0.0}, 'model.encoder_gain is 0.0: it must be positive'),
    ({'model__encoder_stages': (1, 2, -4, 8, 8)}, r'model.encoder_stages is \(1, 2, -4, 8, 8\)'),
    (
      {'loss__vgg': 1.0, 'loss__vgg_path': __file__, 'model__depth': 3, 'data__crop': 12},
      'config.data.crop is 12: VGG19 needs 16 at least, or loss.vgg=0',
    ),
    ({'model__width': 0}, 'config.model.width is 0'),
    ({'model__modulation_hidden': -4}, 'config.model.modulation_hidden is -4'),
    ({'optimizer__learning_rate': 0.0}, 'config.optimizer.learning_rate is 0.0'),
    ({'optimizer__schedule_steps': 0}, 'config.optimizer.schedule_steps is 0'),
    ({'optimizer__warmup_steps': -1}, 'config.optimizer.warmup_steps is -1'),
    ({'optimizer__clip_norm': -1.0}, 'config.optimizer.clip_norm is -1.0'),
    ({'optimizer__beta1': 1.5}, 'config.optimizer.beta1 is 1.5'),
    (
      {'loss__gan': 0.0, 'loss__reblur_l1': 0.0, 'loss__deblur_l1': 0.0},
      "config.loss is .*'gan': 0.0.*one weight must be positive",
    ),
    ({'loss__feature_matching': -1.0}, 'config.loss.feature_matching is -1.0.*not be negative'),
    ({'loss__vgg': 30.0}, "config.loss.vgg_path is ''.*vgg19"),
    ({'train__steps': 0}, 'config.train.steps is 0'),
    ({'seed': -1}, 'config.seed is -1'),
    ({'seed': 2**32}, r'config.seed is 4294967296: it must be in 0 \.\. 4294967295'),
    ({'log__every_steps': 0}, 'config.log.every_steps is 0'),
    ({'log__pictures_every_steps': 0}, 'config.log.pictures_every_steps is 0'),
    ({'log__checkpoint_every_steps': 0}, 'config.log.checkpoint_every_steps is 0'),
    ({'log__evaluate_every_steps': -5}, 'config.log.evaluate_every_steps is -5'),
    ({'log__keep_checkpoints': 0}, 'config.log.keep_checkpoints is 0'),
    ({'log__profile_first_step': -1}, 'config.log.profile_first_step is -1'),
    ({'log__profile_first_step': 5, 'train__steps': 8}, 'config.log.profile_first_step is 5.*8'),
    ({'log__profile_steps': 0}, 'config.log.profile_steps is 0'),
    ({'train__nan_policy': 'go on'}, "config.train.nan_policy is 'go on'.*stop, skip"),
    ({'train__nan_skips': 0}, 'config.train.nan_skips is 0'),
    ({'data__on_error': 'hide'}, "config.data.on_error is 'hide'.*stop, skip"),
  ],
)
def test_what_must_fail_is_refused_by_name(fields, named):
  with pytest.raises(UserError, match=named) as refusal:
    configs.check(_config(**fields), devices=4)
  assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('name', ['eval', 'data.parts', 'train.ema_decay', 'seed'])
def test_a_config_that_lacks_something_is_refused_by_its_name(name):
  config = _config()
  with config.unlocked():
    *groups, leaf = name.split('.')
    del (config[groups[0]] if groups else config)[leaf]
  refused = pytest.raises(UserError, match=f'^the config lacks {name}: add what')
  with refused:
    configs.check(config, devices=1)
  if name in ('eval', 'data.parts'):
    with refused:
      configs.check_evaluation(config, devices=1)
  else:  # which reads neither
    configs.check_evaluation(config, devices=1)


@pytest.mark.parametrize(
  ('field', 'named'),
  [
    ('encoder', "config.model.encoder is 'cubist'.*table1, official_v1, official_v2"),
    ('modulation', "config.model.modulation is 'cubist'.*spade, sam"),
  ],
)
def test_unknown_networks_are_refused_by_name(field, named):
  with pytest.raises(UserError, match=named):
    factory.build_generator(_config(**{f'model__{field}': 'cubist'}).model)


@pytest.mark.parametrize(
  'fields',
  [
    {'seed': 2**32 - 1},
    {'train__batch_size': 4},
    {'train__accumulate_steps': 8},
    {'data__crop': 32},
    {'model__encoder_input': 0, 'data__crop': 128, 'eval__tile': 128},
    # Without the pooling the smallest map may be 2x2 before the last blocks.
    {'model__encoder': 'official_v2', 'model__encoder_input': 64},
    {'loss__gan': 0.0, 'loss__deblur_l1': 0.0},
    {'loss__vgg': 30.0, 'loss__vgg_path': 'vgg19.pth'},
    {'data__source': 'folder', 'data__root': 'GOPRO_Large'},
    {'data__source': 'photos', 'data__root': 'photos', 'data__shake': 60.0},
    {'data__source': 'tfds', 'data__root': 'data', 'data__name': 'hide'},
    {'data__source': 'tfds', 'data__root': 'data', 'data__pictures': 'sub512'},
  ],
)
def test_the_least_that_is_enough_passes(fields):
  config = _config(**fields)
  configs.check(config, devices=4)
  assert {key.replace('__', '.'): value for key, value in fields.items()}.items() <= _flat(
    config
  ).items()


def test_a_workdir_keeps_its_config(tmp_path):
  workdir = tmp_path / 'runs' / 'first'
  configs.keep_in(workdir, _config(train__batch_size=4), True)
  kept = (workdir / 'config.json').read_bytes()
  fields = _flat(json.loads(kept))
  assert fields['train.batch_size'] == 4
  assert fields['model.encoder_stages'] == [1, 2, 4, 8, 8]
  assert fields.keys() == _flat(default.get_config()).keys()
  configs.keep_in(workdir, _config(train__batch_size=4), True)
  assert (workdir / 'config.json').read_bytes() == kept


FREE = {
  'train__steps': 7,
  'train__remat': True,
  'log__every_steps': 8,
  'log__keep_checkpoints': 9,
  'eval__tile': 128,
  'eval__batch_size': 2,
  'data__eval_root': 'elsewhere',
  'data__eval_variants': 5,
  'data__on_error': 'skip',
  'train__nan_policy': 'skip',
}


def test_a_continued_run_may_change_what_training_does_not_see(tmp_path):
  configs.keep_in(tmp_path, _config(), True)
  configs.keep_in(tmp_path, _config(**FREE), True)
  fields = _flat(json.loads((tmp_path / 'config.json').read_text()))
  assert {key.replace('__', '.'): value for key, value in FREE.items()}.items() <= fields.items()


def test_a_run_without_a_limit_is_continued(tmp_path):
  """JSON has no number for it."""
  for _ in range(2):
    configs.keep_in(tmp_path, _config(optimizer__clip_norm=float('inf')), True)
  with pytest.raises(UserError, match=r"optimizer\.clip_norm \(there 'inf', now 1\.0\)"):
    configs.keep_in(tmp_path, _config(optimizer__clip_norm=1.0), True)


def test_a_workdir_of_another_training_is_refused_with_every_field(tmp_path):
  configs.keep_in(tmp_path, _config(), True)
  kept = (tmp_path / 'config.json').read_bytes()
  changed = {'model__width': 32, 'model__encoder_stages': (1, 2, 4), 'seed': 3, 'loss__gan': 0.5}
  with pytest.raises(UserError) as refusal:
    configs.keep_in(tmp_path, _config(**changed, **FREE), True)
  message = str(refusal.value)
  assert str(tmp_path) in message
  assert 'model.width (there 64, now 32)' in message
  for field in changed:
    assert field.replace('__', '.') in message
  for field in FREE:
    assert field.replace('__', '.') not in message
  assert (tmp_path / 'config.json').read_bytes() == kept


# Fields that runs did without once: how they did, and something else.
ADDED = {
  'train.accumulate_steps': (1, 2),
  'train.dtype': ('float32', 'bfloat16'),
  'train.ema_decay': (0.0, 0.9),
  'model.encoder_gain': (1.0, 100.0),
  'model.without_map': (False, True),
  'model.unshuffle': (1, 2),
  'loss.gan_warmup_steps': (0, 100),
  'loss.blur_field': (0.0, 0.5),
  'train.start_from': ('', 'small'),
  'data.shrink': (1, 2),
  'data.rest': (0.0, 0.5),
  'data.scene': (0, 64),
  'data.photographs': ('', 'holiday'),
  'data.display_share': (0.7, 0.5),
  'data.sharp_share': (0.05, 0.0),
  'data.flat_share': (0.03, 0.0),
  'data.reference_share': (0.0, 0.5),
  'data.kernels': ('', 'kernels.npz'),
  'data.held_out_share': (0.1, 0.2),
  'data.held_out_list': ('', 'held_out.txt'),
}
COMPARED = [
  f for f in _flat(_config()) if not f.startswith(('train.steps', 'train.remat', 'eval.', 'log.'))
]


@pytest.mark.parametrize(('field', 'values'), ADDED.items())
def test_an_older_run_is_continued_as_it_was(tmp_path, field, values):
  group, leaf = field.split('.')
  configs.keep_in(tmp_path, _config(), True)
  path = tmp_path / 'config.json'
  saved = json.loads(path.read_text())
  del saved[group][leaf]
  path.write_text(json.dumps(saved))
  usual, other = (_config(**{f'{group}__{leaf}': value}) for value in values)
  with pytest.raises(
    UserError, match=re.escape(f'{field} (there {values[0]!r}, now {values[1]!r})')
  ):
    configs.keep_in(tmp_path, other, True)
  configs.keep_in(tmp_path, usual, True)
  assert _flat(json.loads(path.read_text()))[field] == values[0] == _flat(_config())[field]


@pytest.mark.parametrize('field', [field for field in COMPARED if field not in ADDED])
def test_every_other_field_is_compared(tmp_path, field):
  configs.keep_in(tmp_path, _config(), True)
  path = tmp_path / 'config.json'
  saved = json.loads(path.read_text())
  *groups, leaf = field.split('.')
  group = saved[groups[0]] if groups else saved
  del group[leaf]
  path.write_text(json.dumps(saved))
  free = 'data.eval_root', 'data.eval_variants', 'data.on_error'
  if field in (*free, 'train.nan_policy', 'train.nan_skips'):
    configs.keep_in(tmp_path, _config(), True)
    assert _flat(json.loads(path.read_text()))[field] == _flat(_config())[field]
  else:
    with pytest.raises(UserError, match=re.escape(f'{field} (there None')):
      configs.keep_in(tmp_path, _config(), True)


@pytest.mark.parametrize('content', [b'', b'{"seed": 0,', b'\xff\xfe', b'[]', b'null'])
def test_a_damaged_config_is_named_and_left_alone(tmp_path, content):
  path = tmp_path / 'config.json'
  path.write_bytes(content)
  with pytest.raises(UserError, match=re.escape(f'{path} is damaged')):
    configs.keep_in(tmp_path, _config(), True)
  with pytest.raises(UserError, match=re.escape(f'{path} is damaged')):
    configs.require_same_model(tmp_path, _config())
  assert path.read_bytes() == content


def test_a_workdir_without_checkpoint_takes_another_config(tmp_path):
  configs.keep_in(tmp_path, _config(), False)
  configs.keep_in(tmp_path, _config(model__width=32), False)
  assert json.loads((tmp_path / 'config.json').read_text())['model']['width'] == 32


@pytest.mark.parametrize(
  'content', ['{"model_type": "bert"}', '{"model": {"depth": 3}}', '[]', '{']
)
def test_a_config_that_is_no_runs_is_left_alone(tmp_path, content):
  path = tmp_path / 'config.json'
  path.write_text(content)
  with pytest.raises(UserError, match=re.escape(str(tmp_path))):
    configs.keep_in(tmp_path, _config(), False)
  assert path.read_text() == content


def test_a_workdir_that_cannot_be_written_is_named(tmp_path):
  (tmp_path / 'file').write_text('in the way')
  with pytest.raises(UserError, match=re.escape(str(tmp_path / 'file' / 'run'))):
    configs.keep_in(tmp_path / 'file' / 'run', _config(), True)


def test_evaluation_needs_the_same_model_alone(tmp_path):
  assert configs.require_same_model(tmp_path, _config()) is None
  configs.keep_in(tmp_path, _config(), True)
  saved = configs.require_same_model(tmp_path, _config(loss__gan=0.5, seed=3))
  assert saved == json.loads((tmp_path / 'config.json').read_text())
  with pytest.raises(UserError, match=r'model\.depth \(there 5, now 4\)') as refusal:
    configs.require_same_model(tmp_path, _config(model__depth=4, seed=3))
  assert 'seed' not in str(refusal.value)


def test_every_config_is_found():
  assert {'default', 'demo', 'smoke'} <= set(NAMES)


@pytest.mark.parametrize('name', NAMES)
def test_configs_are_locked_and_can_run(name):
  config = _load(name)
  with pytest.raises((AttributeError, KeyError)):
    config.model.colour = 'blue'
  with pytest.raises((AttributeError, KeyError)):
    config.colour = 'blue'
  for data in (config.data, *config.data.parts.values()):
    if data.get('source') not in ('synthetic', 'mixture'):
      data.root = 'GOPRO_Large'
  if config.loss.vgg:
    config.loss.vgg_path = 'vgg19.pth'
  configs.check(config, devices=1)
  factory.build_network(config.model)


@pytest.mark.parametrize('name', NAMES)
def test_configs_override_existing_fields_by_the_same_types(name):
  expected, fields = _flat(default.get_config()), _flat(_load(name))
  fields = {key: value for key, value in fields.items() if not key.startswith('data.parts.')}
  assert fields.keys() == expected.keys()
  assert {key: type(value) for key, value in fields.items()} == {
    key: type(value) for key, value in expected.items()
  }


@pytest.mark.parametrize('field', _flat(default.get_config()))
def test_every_field_is_read(field):
  """By name, as <group>.<field>, in a module other than the one that checks configs."""
  *groups, leaf = field.split('.')
  group = '|'.join([*groups, 'hyper'] if groups == ['optimizer'] else groups or ['config'])
  reading = re.compile(rf'\b({group})\.{leaf}\b')
  modules = (path for path in (ROOT / 'degrep_jax').rglob('*.py') if path.name != 'config.py')
  assert any(reading.search(path.read_text()) for path in modules)
