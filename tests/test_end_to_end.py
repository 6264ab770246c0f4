"""The real command on the smoke config, as a user runs it."""

import csv
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from degrep_jax import checkpoints

ROOT = pathlib.Path(__file__).parents[1]


def run(workdir, *flags, config='configs/smoke.py', devices=1, cache=None):
  """Runs the command; the compiled programs are shared between the runs of one test session."""
  environment = os.environ | {
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    'JAX_PLATFORMS': 'cpu',
  }
  if cache is not None:
    environment |= {
      'JAX_COMPILATION_CACHE_DIR': str(cache),
      'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
    }
  command = [sys.executable, '-m', 'degrep_jax.main', f'--config={config}', f'--workdir={workdir}']
  return subprocess.run(
    [*command, *flags], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
  )


def succeeded(result):
  assert result.returncode == 0, result.stderr[-4000:]
  return result


def leaves(tree, prefix=''):
  if isinstance(tree, dict):
    return {k: v for key in tree for k, v in leaves(tree[key], f'{prefix}/{key}').items()}
  return {prefix: tree}


def lines(workdir):
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def losses(workdir):
  return [
    {key: value for key, value in line.items() if key.startswith('l_')}
    for line in lines(workdir)
    if 'l_g' in line
  ]


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  return tmp_path_factory.mktemp('compiled')


@pytest.fixture(scope='module')
def whole(tmp_path_factory, cache):
  """A run that was never interrupted: (workdir, what it printed)."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  result = succeeded(run(workdir, '--config.log.every_steps=1', cache=cache))
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


def test_a_continued_run_ends_in_the_same_bits(whole, tmp_path, cache):
  workdir, _ = whole
  flags = '--config.log.every_steps=1'
  succeeded(run(tmp_path / 'run', flags, '--config.train.steps=3', cache=cache))
  continued = succeeded(run(tmp_path / 'run', flags, cache=cache))
  assert 'from step 3' in continued.stderr
  expected, state = (leaves(checkpoints.load(d)) for d in (workdir, tmp_path / 'run'))
  assert expected.keys() == state.keys()
  differing = [name for name in expected if not np.array_equal(expected[name], state[name])]
  assert not differing
  trained = [line['step'] for line in lines(tmp_path / 'run') if 'l_g' in line]
  assert trained == [1, 2, 3, 4, 5, 6]


def test_two_devices_learn_what_one_learns(whole, tmp_path):
  workdir, _ = whole
  succeeded(
    run(tmp_path / 'run', '--config.log.every_steps=1', '--config.train.steps=5', devices=2)
  )
  one, two = losses(workdir), losses(tmp_path / 'run')
  for step, tolerance in ((0, 1e-4), (4, 2e-3)):
    assert len(one[step]) >= 6
    assert two[step] == pytest.approx(one[step], rel=tolerance, abs=1e-5)


def test_evaluation_mode_repeats_the_scores(whole, cache):
  workdir, _ = whole
  result = succeeded(run(workdir, '--mode=eval', cache=cache))
  assert 'step 6' in result.stderr
  again = json.loads((workdir / 'evaluation.json').read_text())
  assert again == json.loads((workdir / 'evaluations' / 'step_6.json').read_text())
  succeeded(run(workdir, '--mode=eval', '--step=4', cache=cache))
  again = json.loads((workdir / 'evaluation.json').read_text())
  assert again == json.loads((workdir / 'evaluations' / 'step_4.json').read_text())


def test_a_run_that_has_ended_is_only_scored_again(whole, cache):
  workdir, _ = whole
  logged, report = lines(workdir), json.loads((workdir / 'report.json').read_text())
  again = succeeded(run(workdir, '--config.log.every_steps=1', cache=cache))
  assert 'from step 6' in again.stderr
  assert lines(workdir) == logged
  repeated = json.loads((workdir / 'report.json').read_text())
  assert repeated['deblurred_psnr'] == report['deblurred_psnr']
  assert repeated['steps'] == 6
  assert checkpoints.saved_steps(workdir) == [2, 4, 6]


def test_every_loss_of_the_released_code_trains(tmp_path, cache):
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
  succeeded(run(tmp_path / 'run', *flags, cache=cache))
  names = {'l_deblur', 'l_reblur', 'l_gan', 'l_feature', 'l_vgg', 'l_g', 'l_d_fake', 'l_d_real'}
  first = losses(tmp_path / 'run')[0]
  assert set(first) == names
  total = 10 * first['l_deblur'] + first['l_gan'] + 10 * first['l_feature'] + 30 * first['l_vgg']
  assert first['l_g'] == pytest.approx(total, rel=1e-5)


# --- what a user gets wrong ----------------------------------------------------------------------


def picture(path, size=(64, 48)):
  path.parent.mkdir(parents=True, exist_ok=True)
  noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8)
  Image.fromarray(noise).save(path)
  return path


@pytest.fixture
def tree(tmp_path):
  """A small tree of pairs in GoPro's layout."""
  for split in ('train', 'test'):
    for kind in ('blur', 'sharp'):
      for name in ('1', '2'):
        picture(tmp_path / 'data' / split / 'GOPR0001' / kind / f'00000{name}.png')
  return tmp_path / 'data'


def refused(result, *words):
  """Exit status 2 and one sentence that names what is wrong."""
  assert result.returncode == 2, result.stderr[-4000:]
  assert 'Traceback' not in result.stderr
  last = result.stderr.strip().splitlines()[-1]
  assert last.startswith('degrep_jax: ')
  for word in words:
    assert str(word) in last


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


def test_a_truncated_picture_is_named_while_training(tree, tmp_path, cache):
  broken = tree / 'train' / 'GOPR0001' / 'sharp' / '000001.png'
  broken.write_bytes(broken.read_bytes()[:2000])
  refused(run(tmp_path / 'run', *folder(tree), cache=cache), broken)


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
  refused(run(tmp_path / 'run', '--config.train.stepz=3'), 'stepz')


def test_a_value_of_another_type(tmp_path):
  refused(run(tmp_path / 'run', '--config.train.steps=many'), 'steps')


def test_a_missing_config(tmp_path):
  refused(run(tmp_path / 'run', config='configs/nothing.py'), 'configs/nothing.py')


def test_a_batch_that_the_devices_cannot_share(tmp_path):
  result = run(tmp_path / 'run', '--config.train.batch_size=3', devices=2)
  refused(result, 'config.train.batch_size', '2 devices')


def test_a_workdir_of_another_config(whole):
  workdir, _ = whole
  before = leaves(checkpoints.load(workdir))
  result = run(workdir, '--config.optimizer.learning_rate=0.5', '--config.model.width=8')
  refused(result, workdir, 'optimizer.learning_rate', 'model.width')
  after = leaves(checkpoints.load(workdir))
  assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_workdir_that_cannot_be_written(tmp_path):
  (tmp_path / 'file').write_text('in the way')
  refused(run(tmp_path / 'file' / 'run'), tmp_path / 'file')


def test_evaluating_another_model(whole):
  workdir, _ = whole
  refused(run(workdir, '--mode=eval', '--config.model.width=8'), workdir, 'model.width')


def test_evaluating_a_step_that_was_not_saved(whole):
  workdir, _ = whole
  refused(run(workdir, '--mode=eval', '--step=5'), 'step 5', '2, 4, 6')


def test_evaluating_an_empty_workdir(tmp_path):
  refused(run(tmp_path / 'run', '--mode=eval'), tmp_path / 'run', 'no checkpoint')
