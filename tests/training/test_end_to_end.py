"""The real command, as a user runs it: on the smoke config, and on those of the deblurring stage
shrunk."""

import csv
import json
import re
import subprocess
import sys

import child
import numpy as np
import pytest
import torch
from command import ROOT, differing, gopro, leaves, lines, losses, picture, refused, run, succeeded
from PIL import Image
from rounding import gamma, of_losses

from degrep_jax import checkpoints
from degrep_jax.data.pairs import FolderPairs
from degrep_jax.data.pipeline import batch_items
from degrep_jax.data.released.checks import SAMPLE


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """A run that was never interrupted: (workdir, what it printed)."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  result = succeeded(run(workdir, '--config.log.every_steps=1'))
  return workdir, result.stderr


def test_a_run_leaves_a_report_scores_and_a_figure(whole):
  workdir, printed = whole
  report = json.loads((workdir / 'report.json').read_text())
  assert set(report) == {
    'blurry_psnr',
    'deblurred_psnr',
    'reblurred_psnr',
    'identity_reblur_psnr',
    'steps',
    'train_seconds',
    'compile_seconds',
    'parameters',
  }
  assert report['steps'] == 6
  assert report['blurry_psnr'] == pytest.approx(report['identity_reblur_psnr'])
  assert min(report['train_seconds'], report['compile_seconds']) > 0
  with (workdir / 'evaluations' / 'step_6.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [row['name'] for row in rows] == ['chelsea/0', 'coffee/0', 'camera/0']
  mean = np.mean([float(row['deblurred_psnr']) for row in rows])
  assert report['deblurred_psnr'] == pytest.approx(mean)
  with Image.open(workdir / 'panel.png') as panel:
    assert min(panel.size) > 300
  assert re.search(r'blurry input +\d+\.\d\d', printed)
  assert list(workdir.glob('events.out.tfevents.*'))


def test_every_step_is_logged_once(whole):
  workdir, _ = whole
  trained = [line['step'] for line in lines(workdir) if 'l_g' in line]
  evaluated = [line['step'] for line in lines(workdir) if 'eval_deblurred_psnr' in line]
  assert trained == [1, 2, 3, 4, 5, 6]
  assert evaluated == [4, 6]


def test_saved_states_load_without_the_config(whole):
  workdir, _ = whole
  assert checkpoints.saved_steps(workdir) == [2, 4, 6]
  state = checkpoints.load(workdir, step=4)
  values = leaves(state)
  assert set(state) == {'step', 'generator', 'discriminator'}
  assert all(isinstance(value, np.ndarray) for value in values.values() if value is not None)
  assert state['step'] == 4
  assert state['generator']['params']['encoder']['down_0']['conv']['kernel'].shape == (3, 3, 3, 4)
  counts = [value for name, value in values.items() if name.endswith('/count')]
  assert len(counts) == 4  # Adam's and the schedule's, of both optimisers
  assert all(count == 4 for count in counts)


def test_a_continued_run_ends_in_the_same_bits(whole, tmp_path):
  workdir, _ = whole
  flags = '--config.log.every_steps=1'
  succeeded(run(tmp_path / 'run', flags, '--config.train.steps=3'))
  continued = succeeded(run(tmp_path / 'run', flags))
  assert 'from step 3' in continued.stderr
  assert not differing(*(checkpoints.load(d) for d in (workdir, tmp_path / 'run')))
  trained = [line['step'] for line in lines(tmp_path / 'run') if 'l_g' in line]
  assert trained == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
@pytest.mark.promise
def test_two_devices_learn_what_one_learns(whole, tmp_path):
  workdir, _ = whole
  succeeded(
    run(tmp_path / 'run', '--config.log.every_steps=1', '--config.train.steps=5', devices=2)
  )
  one, two = losses(workdir), losses(tmp_path / 'run')
  for step in (0, 4):
    assert len(one[step]) >= 6
    assert two[step] == pytest.approx(one[step], **of_losses(step))


def test_evaluation_mode_repeats_the_scores(whole):
  workdir, _ = whole
  result = succeeded(run(workdir, '--mode=eval'))
  assert 'step 6' in result.stderr
  again = json.loads((workdir / 'evaluation.json').read_text())
  assert again == json.loads((workdir / 'evaluations' / 'step_6.json').read_text())
  succeeded(run(workdir, '--mode=eval', '--step=4'))
  again = json.loads((workdir / 'evaluation.json').read_text())
  assert again == json.loads((workdir / 'evaluations' / 'step_4.json').read_text())


def test_a_run_that_has_ended_is_only_scored_again(whole):
  workdir, _ = whole
  logged, report = lines(workdir), json.loads((workdir / 'report.json').read_text())
  again = succeeded(run(workdir, '--config.log.every_steps=1'))
  assert 'from step 6' in again.stderr
  assert lines(workdir) == logged
  repeated = json.loads((workdir / 'report.json').read_text())
  assert repeated['deblurred_psnr'] == report['deblurred_psnr']
  assert repeated['steps'] == 6
  assert checkpoints.saved_steps(workdir) == [2, 4, 6]


@pytest.mark.slow
def test_every_loss_of_the_released_code_trains(tmp_path):
  state, channels = {}, 3
  for i, width in enumerate((64, 64, 128, 128, *[256] * 4, *[512] * 8)):
    place = i + sum(i >= pool for pool in (2, 4, 8, 12)) + i  # ReLUs and pools stand between
    state[f'features.{place}.weight'] = torch.randn(width, channels, 3, 3) / (3 * channels**0.5)
    state[f'features.{place}.bias'] = torch.zeros(width)
    channels = width
  torch.save(state, tmp_path / 'vgg19.pth')
  flags = (
    '--config.loss.reblur_l1=0',
    '--config.loss.feature_matching=10',
    '--config.loss.vgg=30',
    f'--config.loss.vgg_path={tmp_path / "vgg19.pth"}',
    '--config.train.official_order=True',
    '--config.train.steps=2',
    '--config.log.every_steps=1',
  )
  succeeded(run(tmp_path / 'run', *flags))
  names = {'l_deblur', 'l_reblur', 'l_gan', 'l_feature', 'l_vgg', 'l_g', 'l_d_fake', 'l_d_real'}
  first = losses(tmp_path / 'run')[0]
  assert set(first) == names
  total = 10 * first['l_deblur'] + first['l_gan'] + 10 * first['l_feature'] + 30 * first['l_vgg']
  # Eight roundings, of terms up to four times as large as their sum.
  assert first['l_g'] == pytest.approx(total, rel=4 * gamma(8))


# --- the deblurring stage ------------------------------------------------------------------------

# Of the smoke config, whose E and pyramid are taken over.
SMALL = (
  '--config.model.width=4',
  '--config.model.encoder_width=4',
  '--config.model.depth=2',
  '--config.model.encoder_stages=(1,2)',
  '--config.model.encoder_input=0',
  '--config.model.modulation_hidden=8',
  '--config.data.crop=32',
  '--config.eval.tile=32',
  '--config.train.batch_size=4',
  '--config.log.every_steps=1',
)


@pytest.fixture(scope='module')
def pairs(tmp_path_factory):
  """A tree in GoPro's layout."""
  return gopro(tmp_path_factory.mktemp('pairs'))


@pytest.fixture(scope='module')
def listed(pairs, tmp_path_factory):
  """The same pictures, named by lists as those of both RealBlur sets."""
  root = tmp_path_factory.mktemp('listed')
  for split in ('train', 'test'):
    (root / split).symlink_to(pairs / split)
    kinds = [sorted((root / split).rglob(f'{kind}/*.png')) for kind in ('sharp', 'blur')]
    rows = [[str(path.relative_to(root)) for path in row] for row in zip(*kinds, strict=True)]
    text = ''.join(f'{sharp} {blurry}\n' for sharp, blurry in rows)
    for name in ('RealBlur_J', 'RealBlur_R'):
      (root / f'{name}_{split}_list.txt').write_text(text)
  return root


@pytest.fixture(scope='module')
def deblur(pairs, listed, whole):
  """(workdir, flags) -> result: a shrunk config on those pairs, by default two steps of
  gopro_deblur, with E and the pyramid of the joint run."""

  def trained(workdir, *flags, config='gopro_deblur', steps=2, joint=whole[0], **options):
    root = listed if config.startswith('realblur') else pairs
    data = f'--config.data.root={root}', f'--config.train.init_from={joint}'
    length = f'--config.train.steps={steps}'
    path = f'configs/{config}.py'
    return run(workdir, *SMALL, *data, length, *flags, config=path, **options)

  return trained


@pytest.fixture(scope='module')
def deblurred(tmp_path_factory, deblur):
  """Workdir of two uninterrupted steps of gopro_deblur."""
  workdir = tmp_path_factory.mktemp('deblurred') / 'run'
  succeeded(deblur(workdir))
  return workdir


def test_the_deblurring_stage_takes_over_the_joint_runs_map(whole, deblurred):
  joint, state = checkpoints.load(whole[0])['generator'], checkpoints.load(deblurred)
  assert state['step'] == 2
  frozen = state['frozen']
  for part in ('encoder', 'pyramid'):
    assert not differing(frozen['params'][part], joint['params'][part])
    assert differing(frozen['spectral'][part], joint['statistics']['spectral'][part])
  assert set(state['generator']['params']) == {'deblurrer'}


def test_a_deblurring_run_leaves_a_report_and_scores(deblurred):
  report = json.loads((deblurred / 'report.json').read_text())
  assert report['steps'] == 2
  assert not [name for name in report if 'reblur' in name]
  trained = leaves(checkpoints.load(deblurred)['generator']['params'])
  assert report['parameters'] == sum(x.size for x in trained.values())
  with (deblurred / 'evaluations' / 'step_2.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [row['name'] for row in rows] == ['GOPR0001/000001', 'GOPR0001/000002']
  mean = np.mean([float(row['deblurred_psnr']) for row in rows])
  assert report['deblurred_psnr'] == pytest.approx(mean)
  first = losses(deblurred)[0]
  assert set(first) == {'l_psnr', 'l_features', 'l_g'}
  assert first['l_g'] == pytest.approx(
    0.5 * first['l_psnr'] + first['l_features'], rel=4 * gamma(8)
  )
  with Image.open(deblurred / 'panel.png') as panel:
    assert min(panel.size) > 300


def test_evaluation_mode_repeats_the_deblurring_runs_scores(deblur, deblurred):
  # The parts are in the checkpoint: the workdirs that they came from are not asked again.
  result = succeeded(deblur(deblurred, '--mode=eval', joint='gone'))
  assert 'step 2' in result.stderr
  again = json.loads((deblurred / 'evaluation.json').read_text())
  assert again == json.loads((deblurred / 'evaluations' / 'step_2.json').read_text())


def test_a_continued_run_from_a_list_ends_in_the_same_bits(deblur, deblurred, tmp_path):
  # RealBlur's lists name the pictures of the GoPro tree, in its order.
  succeeded(deblur(tmp_path / 'run', config='realblur_j', steps=1))
  continued = succeeded(deblur(tmp_path / 'run', config='realblur_j'))
  assert 'from step 1' in continued.stderr
  assert not differing(*(checkpoints.load(d) for d in (deblurred, tmp_path / 'run')))


@pytest.mark.slow
@pytest.mark.promise
def test_two_devices_deblur_as_one(deblur, deblurred, tmp_path):
  succeeded(deblur(tmp_path / 'run', config='realblur_r', devices=2))
  one, two = losses(deblurred), losses(tmp_path / 'run')
  for step in range(2):
    assert len(one[step]) == 3
    assert two[step] == pytest.approx(one[step], **of_losses(step))


def test_hinet_trains_without_a_map(pairs, tmp_path):
  flags = *SMALL, f'--config.data.root={pairs}', '--config.train.steps=2'
  succeeded(run(tmp_path / 'run', *flags, config='configs/gopro_hinet.py'))
  state = checkpoints.load(tmp_path / 'run')
  assert state['step'] == 2 and state['frozen'] == {}
  assert [set(row) for row in losses(tmp_path / 'run')] == [{'l_psnr', 'l_g'}] * 2


def test_parts_of_another_encoder(deblur, whole, tmp_path):
  result = deblur(tmp_path / 'run', '--config.model.encoder=official_v1')
  refused(result, whole[0], 'model.encoder', 'table1', 'official_v1')
  assert checkpoints.saved_steps(tmp_path / 'run') == []


def test_parts_of_a_workdir_without_checkpoint(deblur, tmp_path):
  result = deblur(tmp_path / 'run', joint=tmp_path / 'nowhere')
  refused(result, tmp_path / 'nowhere', 'holds no checkpoint')


# --- what a user gets wrong ----------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path):
  """A small tree of pairs in GoPro's layout."""
  return gopro(tmp_path / 'data')


def folder(tree):
  return '--config.data.source=folder', f'--config.data.root={tree}'


def test_a_missing_root(tmp_path):
  refused(run(tmp_path / 'run', *folder(tmp_path / 'nowhere')), tmp_path / 'nowhere')
  assert not (tmp_path / 'run').exists()


def test_no_root_at_all(tmp_path):
  refused(run(tmp_path / 'run', '--config.data.source=folder'), 'config.data.root')


def test_an_empty_root(tmp_path):
  (tmp_path / 'data').mkdir()
  refused(run(tmp_path / 'run', *folder(tmp_path / 'data')), tmp_path / 'data')


def test_a_blurry_file_without_partner(tree, tmp_path):
  lonely = picture(tree / 'train' / 'GOPR0001' / 'blur' / '000009.png')
  refused(run(tmp_path / 'run', *folder(tree)), lonely)


def test_sizes_that_differ(tree, tmp_path):
  other = picture(tree / 'train' / 'GOPR0001' / 'blur' / '000002.png', (50, 40))
  refused(run(tmp_path / 'run', *folder(tree)), other, '50x40', '64x48')


def test_a_picture_smaller_than_the_crop(tree, tmp_path):
  refused(run(tmp_path / 'run', *folder(tree), '--config.data.crop=64'), '.png', 'data.crop')


def test_an_unreadable_picture(tree, tmp_path):
  broken = tree / 'train' / 'GOPR0001' / 'sharp' / '000001.png'
  broken.write_bytes(b'not a picture')
  refused(run(tmp_path / 'run', *folder(tree)), broken)


def test_a_truncated_picture_is_named_while_training(tree, tmp_path):
  broken = tree / 'train' / 'GOPR0001' / 'sharp' / '000001.png'
  broken.write_bytes(broken.read_bytes()[:2000])
  refused(run(tmp_path / 'run', *folder(tree)), broken)


def test_what_was_trained_before_a_damaged_picture_is_kept(tmp_path):
  for number in range(33):
    for kind in ('blur', 'sharp'):
      picture(tmp_path / 'data' / 'train' / 'A' / kind / f'{number}.png', seed=number)
  for kind in ('blur', 'sharp'):
    picture(tmp_path / 'data' / 'test' / 'A' / kind / '0.png')
  flags = (*SMALL, f'--config.data.root={tmp_path / "data"}', '--config.train.batch_size=2')
  flags += ('--config.train.steps=4', '--config.log.every_steps=1')
  options = {'config': 'configs/gopro_hinet.py'}
  succeeded(run(tmp_path / 'whole', *flags, **options))

  source = FolderPairs(tmp_path / 'data', 'train')
  looked_at = np.linspace(0, 32, SAMPLE).astype(int)  # before anything is trained
  batch = batch_items(3, source, crop=32, batch_size=2, seed=0)
  name = next(name for _, item, name in batch if item not in looked_at)
  broken = tmp_path / 'data' / 'train' / f'{name.replace("/", "/blur/")}.png'
  sound = broken.read_bytes()
  broken.write_bytes(sound[:2000])
  result = run(tmp_path / 'run', *flags, **options)
  refused(result, broken)
  assert 'saving step 2' in result.stderr
  assert checkpoints.saved_steps(tmp_path / 'run') == [2]
  broken.write_bytes(sound)
  continued = succeeded(run(tmp_path / 'run', *flags, **options))
  assert 'from step 2' in continued.stderr
  assert not differing(*(checkpoints.load(tmp_path / name) for name in ('whole', 'run')))
  assert losses(tmp_path / 'run') == losses(tmp_path / 'whole')


def test_pairs_without_splits_are_not_scored_on_themselves(tree, tmp_path):
  flat = tree / 'train' / 'GOPR0001'
  refused(run(tmp_path / 'run', *folder(flat)), flat, 'config.data.eval_root')


def test_a_value_without_dashes(tmp_path):
  refused(run(tmp_path / 'run', 'config.train.steps=3'), 'config.train.steps=3')


def test_a_config_that_does_not_run(tmp_path):
  broken = tmp_path / 'configs' / 'broken.py'
  broken.parent.mkdir()
  broken.write_text('def get_config():\n  return nothing\n')
  refused(run(tmp_path / 'run', config=broken), 'nothing')


def test_an_unknown_field(tmp_path):
  for flag, told in (
    ('--config.train.stepz=3', 'there is no field stepz (is steps meant?)'),
    ('--config.trian.steps=3', 'there is no field trian (is train meant?)'),
  ):
    refused(run(tmp_path / 'run', flag), told)
  refused(run(tmp_path / 'run', '--config.train.precision=3'), 'there is no precision')


def test_a_value_of_another_type(tmp_path):
  for value, told in (
    ('train.steps=many', 'it must be a whole number'),
    ('loss.gan=much', 'it must be a number'),
    ('train.remat=perhaps', 'choose true or false'),
  ):
    refused(run(tmp_path / 'run', f'--config.{value}'), f'--config.{value}: {told}.')


def test_a_missing_config(tmp_path):
  refused(run(tmp_path / 'run', config='configs/nothing.py'), 'configs/nothing.py')


def test_an_empty_workdir():
  refused(run(''), '--workdir must name a folder')


def test_a_config_found_by_its_name_has_the_defaults_that_it_came_with(tmp_path):
  """Whatever the working folder has under that name."""
  (tmp_path / 'configs').mkdir()
  for name in ('__init__', 'default'):
    (tmp_path / 'configs' / f'{name}.py').write_text('raise RuntimeError("of another project")\n')
  command = [sys.executable, '-m', 'degrep_jax.main', '--config=gopro_joint', '--workdir=run']
  environment = child.environment(PYTHONPATH=str(ROOT))
  result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
  refused(result, 'config.data.root', 'train/ and test/')


def test_no_config_at_all():
  command = [sys.executable, '-m', 'degrep_jax.main', '--workdir=runs/none']
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  refused(result, 'degrep_jax: name a config, as --config=demo or --config=configs/')


def test_help_is_no_failure():
  command = [sys.executable, '-m', 'degrep_jax.main', '--help']
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert (result.returncode, result.stderr) == (0, '')
  assert '--config' in result.stdout and '--workdir' in result.stdout


@pytest.mark.parametrize('told', ['the data are not mounted', ''])
def test_a_config_that_ends_the_program_is_a_failure(tmp_path, told):
  config = tmp_path / 'configs' / 'mine.py'
  config.parent.mkdir()
  config.write_text(f'import sys\n\n\ndef get_config():\n  sys.exit({told!r})\n')
  command = [sys.executable, '-m', 'degrep_jax.main', f'--config={config}', '--workdir=x']
  result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
  assert result.returncode == 2
  sentence = f'the config ended the program: {told or "it says no more"}'
  assert result.stderr == f'degrep_jax: {sentence}\n'


def test_a_batch_that_the_devices_cannot_share(tmp_path):
  result = run(tmp_path / 'run', '--config.train.batch_size=3', devices=2)
  refused(result, 'config.train.batch_size', '2 devices')


def test_a_workdir_of_another_config(whole):
  workdir, _ = whole
  before = checkpoints.load(workdir)
  result = run(workdir, '--config.optimizer.learning_rate=0.5', '--config.model.width=8')
  refused(result, workdir, 'optimizer.learning_rate', 'model.width')
  assert not differing(before, checkpoints.load(workdir))


def test_a_workdir_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('in the way')
  refused(run(tmp_path / 'file' / 'run'), tmp_path / 'file')


def test_evaluating_another_model(whole):
  workdir, _ = whole
  refused(run(workdir, '--mode=eval', '--config.model.width=8'), workdir, 'model.width')


def test_evaluating_a_step_that_was_not_saved(whole):
  workdir, _ = whole
  refused(run(workdir, '--mode=eval', '--step=5'), 'step 5', '2, 4, 6')
  refused(run(workdir, '--step=4'), '--step goes with --mode=eval')
  refused(run(workdir, '--devices=1'), '--devices and --memory go with --mode=plan')
  refused(run(workdir, '--memory=1GiB'), '--devices and --memory go with --mode=plan')


def test_evaluating_an_empty_workdir(tmp_path):
  refused(run(tmp_path / 'run', '--mode=eval'), tmp_path / 'run', 'no checkpoint')
