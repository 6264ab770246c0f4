"""Sources in shares: which examples there are, who makes them, and what a config may say."""

import itertools
import tracemalloc

import numpy as np
import photo_folder
import pytest
import released

from configs import default
from degrep_jax import run_config
from degrep_jax.common.errors import UserError
from degrep_jax.data import mixture
from degrep_jax.data.pairs import Crop, Pair, Source
from degrep_jax.data.pipeline import batch_items, train_batches
from degrep_jax.data.source import open_source
from degrep_jax.data.synthetic.photographs import held_back


class Numbered(Source):
  """Pictures whose level tells the part and the item."""

  def __init__(self, level, count):
    self._level, self.names = level, tuple(f'n{item}' for item in range(count))

  def __len__(self):
    return len(self.names)

  def pair(self, item):
    picture = np.full((8, 8, 3), self._level + item, np.uint8)
    return Pair(self.names[item], picture, picture)

  def crop(self, item, size, rng):
    picture = np.full((size, size, 3), self._level + item, np.uint8)
    return picture, picture


PARTS = {'few': Numbered(0, 3), 'many': Numbered(100, 50)}


def _config(tmp_path, **parts):
  """A mixture of two GoPro pictures, six photographs and the embedded ones, its parts changed."""
  config = default.get_config()
  data = config.data
  data.source, data.crop = 'mixture', 32
  gopro, photos = tmp_path / 'gopro', tmp_path / 'photos'
  if not gopro.exists():
    released.gopro(gopro, numbers=(1, 2))
    photo_folder.write(photos, ['a', 'b', 'c', 'd', 'e', 'f'])
  data.parts = {
    'gopro': {'source': 'folder', 'root': str(gopro), 'weight': 0.5},
    'photos': {'source': 'photos', 'root': str(photos), 'weight': 0.3, 'held_out_share': 0.3},
    'embedded': {'source': 'synthetic', 'weight': 0.2, 'evaluate': False, 'sub_frames': 3},
  }
  with data.parts.unlocked():
    for name, fields in parts.items():
      data.parts[name].update(fields)
  return config


def test_the_shares_are_those_of_the_weights():
  source = mixture.mixed(PARTS, {'few': 3, 'many': 1})
  parts = [name.split('/')[0] for name in source.names]
  assert parts.count('few') == 750 and parts.count('many') == 250


def test_items_of_a_part_are_equally_often_there():
  names = mixture.mixed(PARTS, {'few': 0.5, 'many': 0.5}).names
  counts = [names.count(name) for name in sorted(set(names))]
  assert len(counts) == 53
  assert {names.count(f'few/n{item}') for item in range(3)} <= {166, 167}
  assert {names.count(f'many/n{item}') for item in range(50)} == {10}


def test_an_epoch_holds_every_item_of_a_small_share():
  names = mixture.mixed(PARTS, {'few': 0.99, 'many': 0.01}).names
  assert len(names) == 5_000 and len(set(names)) == 53


@pytest.mark.parametrize('weights', [(1, 2), (0.1, 0.7), (3, 1e-3), (1 / 3, 2 / 3)])
def test_rounding_loses_nothing(weights):
  names = mixture.mixed(PARTS, dict(zip(PARTS, weights, strict=True))).names
  share = sum(name.startswith('few') for name in names) / len(names)
  assert len(set(names)) == 53
  assert share == pytest.approx(weights[0] / sum(weights), abs=1e-3)


def test_pictures_come_from_the_named_part():
  source = mixture.mixed(PARTS, {'few': 1, 'many': 1})
  for item in (0, 1, 2, 600, 777):
    part, name = source.names[item].split('/')
    level = {'few': 0, 'many': 100}[part] + int(name[1:])
    assert source.pair(item).name == source.names[item]
    assert (source.pair(item).sharp == level).all()
    assert (source.crop(item, 4, np.random.default_rng(0))[0] == level).all()


def test_a_tiny_share_beside_a_large_part_takes_no_memory():
  tracemalloc.start()
  try:
    source = mixture.mixed(PARTS, {'few': 1.0, 'many': 1e-6})
    assert len(source) == pytest.approx(5e7, rel=1e-3)
    assert source.names[0] == 'few/n0' and source.names[-1] == 'many/n49'
    assert source.names[1:4] == ('few/n1', 'few/n2', 'few/n0')
    assert mixture.shares(PARTS, source).startswith('few 100.0%')
    with pytest.raises(IndexError):
      source.names[len(source)]
    _, most = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert most < 2**20


def test_joined_parts_are_there_once():
  source = mixture.joined(PARTS)
  assert len(source) == 53 and source.names[:4] == ('few/n0', 'few/n1', 'few/n2', 'many/n0')


def test_a_config_of_parts_is_opened(tmp_path, capsys):
  config = _config(tmp_path)
  run_config.check(config, devices=1)
  train, test = (open_source(config.data, split) for split in ('train', 'test'))
  photos = sum(held_back(name, 0.3) for name in 'abcdef')
  assert 0 < photos < 6
  lines = capsys.readouterr().err.splitlines(keepends=True)
  assert [line for line in lines if not line.startswith('Warning: GoPro: ')] == [
    'Training on embedded 20.0% (8 pictures), gopro 50.0% (2 pictures), '
    f'photos 30.0% ({6 - photos} pictures).\n'
  ]
  sequence = 'GOPR0384_11_00'
  assert test.names[:2] == (f'gopro/{sequence}/000001', f'gopro/{sequence}/000002')
  assert all(name.startswith('photos/') for name in test.names[2:]) and len(test) > 2
  photos = {name.split('/')[1] for name in (*train.names, *test.names) if name.startswith('photos')}
  assert photos == set('abcdef')
  assert train.crop(0, 32, np.random.default_rng(0))[0].shape == (32, 32, 3)


def test_a_part_of_weight_zero_needs_no_folder(tmp_path):
  config = _config(tmp_path, photos={'weight': 0.0, 'root': ''})
  run_config.check(config, devices=1)
  assert mixture.parts_of(config.data).keys() == {'gopro', 'embedded'}
  assert all(name.startswith('gopro/') for name in open_source(config.data, 'test').names)


def test_a_weight_of_zero_leaves_a_part_out_of_the_training(tmp_path, capsys):
  config = _config(tmp_path, photos={'weight': 0.0}, embedded={'weight': 0})
  open_source(config.data, 'train')
  assert 'Training on gopro 100.0% (2 pictures).' in capsys.readouterr().err


def test_what_a_batch_of_the_joint_stage_has(tmp_path):
  def inputs(field=0.0, **photos):
    config = _config(tmp_path, photos=photos)
    config.loss.blur_field = field
    run_config.check(config, devices=1)
    return run_config.inputs(config)

  pair = 'blurry', 'sharp'
  assert inputs() == inputs(field=0.5, reference_share=1.0, weight=0.0, root='') == pair
  assert inputs(reference_share=0.1) == (*pair, 'reference')
  assert inputs(field=0.5) == (*pair, 'field')
  assert inputs(field=0.5, reference_share=1.0) == Crop._fields
  with pytest.raises(UserError, match=r'config\.loss\.blur_field is 0\.5: photographs alone'):
    inputs(field=0.5, source='folder')


def test_of_a_mixture_photographs_alone_know_their_blur(tmp_path):
  config = _config(tmp_path, photos={'reference_share': 1.0, 'sharp_share': 0.0, 'flat_share': 0.0})
  source = open_source(config.data, 'train')
  firsts = {source.where(item)[0]: item for item in reversed(range(len(source)))}
  for part, item in firsts.items():
    blurry, _, reference, field = source.known_crop(item, 32, np.random.default_rng(1))
    assert np.array_equal(blurry, reference) == (part != 'photos')
    assert (field[..., 3] == (part == 'photos')).all()


def _batches(config, **options):
  source = open_source(config.data, 'train')
  options = {'crop': 32, 'batch_size': 4, 'seed': 3} | options
  batches = train_batches(source, **options)
  try:
    return [batch['blurry'] for batch in itertools.islice(batches, 3)]
  finally:
    batches.close()


def test_a_resumed_run_and_several_processes_see_the_same_examples(tmp_path):
  config = _config(tmp_path)
  whole = _batches(config)
  np.testing.assert_array_equal(_batches(config, start_step=2)[0], whole[2])
  shares = [_batches(config, process_index=index, process_count=2) for index in range(2)]
  for step, batch in enumerate(whole):
    np.testing.assert_array_equal(np.concatenate([share[step] for share in shares]), batch)


def test_a_damaged_photograph_is_named_as_the_parts(tmp_path):
  config = _config(tmp_path, gopro={'weight': 0.01})
  source = open_source(config.data, 'train')
  items = batch_items(1, source, crop=32, batch_size=8, seed=0)
  assert all(name == source.names[item] for _, item, name in items)
  assert {name.split('/')[0] for *_, name in items} >= {'photos', 'embedded'}


@pytest.mark.parametrize(
  ('parts', 'named'),
  [
    ({'gopro': {'root': ''}}, r"config\.data\.parts\.gopro\.root is ''.*holds train/ and test/"),
    ({'photos': {'root': ''}}, r"config\.data\.parts\.photos\.root is ''.*holds the photographs"),
    ({'gopro': {'source': 'web'}}, r"config\.data\.parts\.gopro\.source is 'web': choose one of"),
    ({'gopro': {'source': 'mixture'}}, r'parts\.gopro\.source is mixture: name the source'),
    ({'gopro': {'weight': -1.0}}, r'config\.data\.parts\.gopro\.weight is -1\.0'),
    ({'gopro': {'weight': float('nan')}}, r'parts\.gopro\.weight is nan'),
    ({'gopro': {'colour': 1}}, r'parts\.gopro\.colour is no field of a source: remove it'),
    ({'gopro': {'crop': 64}}, r'parts\.gopro\.crop is of config\.data, for all parts'),
    ({'photos': {'flat_share': 1.5}}, r'config\.data\.parts\.photos\.flat_share is 1\.5'),
    ({'photos': {'sharp_share': 0.7, 'flat_share': 0.4}}, r'sharp_share is 0\.7.*above 1'),
    ({'embedded': {'root': 'x'}}, r"parts\.embedded\.root is 'x'"),
    ({name: {'weight': 0.0} for name in ('gopro', 'photos', 'embedded')}, 'weights of 0 alone'),
    ({name: {'evaluate': False} for name in ('gopro', 'photos')}, 'no part with evaluate=True'),
  ],
)
def test_what_a_mixture_must_not_be(tmp_path, parts, named):
  with pytest.raises(UserError, match=named):
    run_config.check(_config(tmp_path, **parts), devices=1)


def test_a_mixture_needs_parts():
  config = default.get_config()
  config.data.source = 'mixture'
  with pytest.raises(UserError, match=r'config\.data\.parts is empty'):
    run_config.check(config, devices=1)


def test_a_part_must_hold_fields(tmp_path):
  config = _config(tmp_path)
  with config.data.parts.unlocked():
    config.data.parts.more = 0.5
  with pytest.raises(UserError, match=r'config\.data\.parts\.more is 0\.5: it must hold'):
    run_config.check(config, devices=1)


def test_a_continued_run_keeps_its_parts(tmp_path):
  run_config.keep_in(tmp_path / 'run', _config(tmp_path), True)
  free = {'evaluate': False, 'eval_variants': 2}
  run_config.keep_in(tmp_path / 'run', _config(tmp_path, photos=free), True)
  with pytest.raises(UserError, match=r'data\.parts\.gopro\.weight \(there 0\.5, now 0\.6\)'):
    run_config.keep_in(tmp_path / 'run', _config(tmp_path, gopro={'weight': 0.6}), True)


@pytest.mark.parametrize(
  ('gopro', 'photos', 'trains', 'holds_out'),
  [
    ({'root': 'all/GOPRO_Large'}, {'root': 'all'}, 'photos', 'gopro'),
    ({'root': 'all/GOPRO_Large', 'evaluate': False}, {'root': 'all'}, 'gopro', 'photos'),
    # The halves of one dataset, what nobody scores, what nobody trains on.
    ({'root': 'all/GOPRO_Large'}, {'root': 'all/GOPRO_Large'}, None, None),
    ({'root': 'all/GOPRO_Large', 'evaluate': False}, {'root': 'photos'}, None, None),
    ({'root': 'all/GOPRO_Large', 'weight': 0.0}, {'root': 'photos'}, None, None),
  ],
)
def test_no_part_trains_on_what_another_holds_out(tmp_path, gopro, photos, trains, holds_out):
  """Photographs of a folder that also holds divided pairs, and the other way round."""
  photo_folder.write(tmp_path / 'all', ['a', 'b', 'c', 'd'])
  released.gopro(tmp_path / 'all/GOPRO_Large', numbers=(1, 2))
  for part in (gopro, photos):
    part |= {'root': str(tmp_path / part['root'])}
  data = _config(tmp_path, gopro=gopro, photos=photos).data
  open_source(data, 'test')  # a machine that scores alone may have nothing else
  if not trains:
    open_source(data, 'train')
    return
  with pytest.raises(UserError) as refusal:
    open_source(data, 'train')
  sentence = str(refusal.value)
  assert sentence.startswith(f'config.data.parts.{trains} trains on pictures in ')
  assert f'config.data.parts.{holds_out} holds out pictures in ' in sentence


@pytest.mark.parametrize(
  ('fields', 'apart'),
  [
    ({'source': 'photos', 'root': 'photos/', 'held_out_share': 0.3}, True),
    ({'source': 'photos', 'root': 'photos', 'held_out_share': 0.5}, False),
    ({'photographs': 'photos', 'held_out_share': 0.3}, True),
    ({'photographs': 'photos/inner', 'held_out_share': 0.3}, False),
  ],
)
def test_parts_that_divide_the_same_photographs_alike_are_apart(tmp_path, fields, apart):
  photo_folder.write(tmp_path / 'photos' / 'inner', ['u', 'v', 'w', 'x', 'y', 'z'])
  place = {name: f'{tmp_path}/{fields[name]}' for name in ('root', 'photographs') if name in fields}
  data = _config(tmp_path, embedded=fields | place | {'evaluate': True}).data
  photo_folder.write(tmp_path / 'photos', ['a', 'b', 'c', 'd', 'e', 'f'])
  if apart:
    open_source(data, 'train')
    return
  with pytest.raises(UserError, match=r'parts\.photos trains .*embedded holds out'):
    open_source(data, 'train')


def test_what_a_part_leaves_to_data_is_compared_as_it_is_there(tmp_path):
  """So that a shipped config may name a part's field that an older run's did not."""
  config = _config(tmp_path)
  run_config.keep_in(tmp_path, config, has_checkpoint=True)
  named = _config(tmp_path, gopro={'eval_root': '', 'shrink': 1})
  run_config.keep_in(tmp_path, named, has_checkpoint=True)
  run_config.keep_in(tmp_path, config, has_checkpoint=True)
  other = _config(tmp_path, gopro={'shrink': 2})
  with pytest.raises(UserError, match=r'data\.parts\.gopro\.shrink \(there 1, now 2\)'):
    run_config.keep_in(tmp_path, other, has_checkpoint=True)


def test_what_a_part_does_not_read_is_refused_where_the_part_has_it(tmp_path):
  config = _config(tmp_path)
  config.data.shrink = 2  # meant for the pairs
  run_config.check(config, devices=1)
  for part, field, value in (('photos', 'shrink', 2), ('embedded', 'shrink', 3)):
    with pytest.raises(UserError, match=rf'config\.data\.parts\.{part}\.{field} is {value}: '):
      run_config.check(_config(tmp_path, **{part: {field: value}}), devices=1)
  deblurring = _config(tmp_path, photos={'reference_share': 0.5})
  deblurring.model.network = 'msdi_net'
  deblurring.loss.update(gan=0.0, reblur_l1=0.0)
  with pytest.raises(UserError, match=r'parts\.photos\.reference_share is 0\.5: it is for Gr'):
    run_config.check(deblurring, devices=1)
