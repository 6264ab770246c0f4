"""The real command, interrupted and damaged in every way, ends as if nothing had happened, or says
clearly that it cannot."""

import gzip
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import time

import pytest
from command import (
  differing,
  ended,
  gopro,
  lines,
  refused,
  run,
  started,
  succeeded,
  timeless,
  wait_for,
)

from degrep_jax import checkpoints

# test_end_to_end resumes a run at the pace of every day.
pytestmark = [pytest.mark.slow, pytest.mark.promise]

# No checkpoint, but the last, lies at a line of the log.
FLAGS = (
  '--config.train.steps=12',
  '--config.log.every_steps=4',
  '--config.log.checkpoint_every_steps=3',
  '--config.log.evaluate_every_steps=6',
)


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
  """Workdir of a run that nobody disturbed."""
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  succeeded(run(workdir, *FLAGS))
  return workdir


def assert_same_end(workdir, whole):
  assert not differing(checkpoints.load(whole), checkpoints.load(workdir))
  assert timeless(workdir) == timeless(whole)
  reports = [json.loads((of / 'report.json').read_text()) for of in (whole, workdir)]
  assert reports[0]['deblurred_psnr'] == reports[1]['deblurred_psnr']


def test_a_signal_while_training_and_a_second_run_in_the_workdir(whole, tmp_path):
  workdir = tmp_path / 'run'
  with started(workdir, *FLAGS) as process:
    wait_for(process, 'step  4/12')
    process.send_signal(signal.SIGSTOP)
    refused(run(workdir, *FLAGS), f'{workdir} is in use by process {process.pid}')
    process.terminate()
    process.send_signal(signal.SIGCONT)
    status, printed = ended(process)
  assert status == 143
  last = printed.strip().splitlines()[-1]
  saved = checkpoints.saved_steps(workdir)[-1]
  assert f'stopped by SIGTERM: step {saved} is saved' in last
  continued = succeeded(run(workdir, *FLAGS))
  assert f'from step {saved}' in continued.stderr
  assert_same_end(workdir, whole)


def test_a_kill_at_random_while_it_trains(whole, tmp_path):
  seed = int(os.environ.get('DEGREP_SEED') or random.SystemRandom().randrange(2**32))
  print(f'DEGREP_SEED={seed}')
  workdir = tmp_path / 'run'
  with started(workdir, *FLAGS) as process:
    wait_for(process, 'step  4/12')
    time.sleep(random.Random(seed).uniform(0, 4))
    process.kill()
  succeeded(run(workdir, *FLAGS))
  assert_same_end(workdir, whole)


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize('moment', ['compiling', 'evaluating'])
def test_a_signal_while_it_compiles_or_evaluates(whole, tmp_path, number, moment):
  workdir = tmp_path / 'run'
  flags = (*FLAGS, '--config.log.every_steps=6') if moment == 'evaluating' else FLAGS
  text = {'compiling': 'compiling', 'evaluating': 'step  6/12'}[moment]
  # Nothing is found compiled: it takes its time.
  compiled = tmp_path / 'nothing yet' if moment == 'compiling' else None
  with started(workdir, *flags, compiled=compiled) as process:
    wait_for(process, text)
    time.sleep(0.3)
    process.send_signal(number)
    status, _ = ended(process)
  assert status == 128 + number
  if moment == 'compiling':
    assert checkpoints.saved_steps(workdir) == []
  else:
    assert checkpoints.saved_steps(workdir)[-1] == 6
    assert checkpoints.saved_scores(workdir) == {}
  succeeded(run(workdir, *flags))
  assert not differing(checkpoints.load(whole), checkpoints.load(workdir))
  scored = [line['step'] for line in lines(workdir) if 'eval_deblurred_psnr' in line]
  assert scored == [6, 12]
  assert set(checkpoints.saved_scores(workdir)) == {6, 12}


def test_the_newest_checkpoint_is_damaged(whole, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(whole, workdir)
  for file in (workdir / 'checkpoints' / '12' / 'default' / 'd').iterdir():
    file.write_bytes(bytes(file.stat().st_size))
  scored = succeeded(run(workdir, *FLAGS, '--mode=eval')).stderr
  assert f'{workdir / "checkpoints" / "12"} is damaged' in scored and 'step 9' in scored
  continued = succeeded(run(workdir, *FLAGS)).stderr
  assert f'{workdir / "checkpoints" / "12"} is damaged' in continued and 'from step 9' in continued
  assert_same_end(workdir, whole)


def test_a_full_disk(whole, tmp_path):
  disk = tmp_path / 'disk'
  disk.mkdir()
  if subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', disk], check=False).returncode:
    pytest.skip('a disk of its own takes the right to mount one')

  def resize(free):
    used = shutil.disk_usage(disk).used
    subprocess.run(['mount', '-o', f'remount,size={used + free}', disk], check=True)

  try:
    workdir = disk / 'run'
    succeeded(run(workdir, *FLAGS, '--config.train.steps=3'))
    one = 512 * sum(of.stat().st_blocks for of in (workdir / 'checkpoints' / '3').rglob('*'))
    resize(9 * one // 10)  # all of its arrays are begun
    refused(run(workdir, *FLAGS), f'the disk of {workdir} is full')
    assert checkpoints.saved_steps(workdir) == [3]
    resize(20 * one)
    continued = succeeded(run(workdir, *FLAGS)).stderr
    assert 'from step 3' in continued
    assert not differing(checkpoints.load(whole), checkpoints.load(workdir))
  finally:
    subprocess.run(['umount', disk], check=True)


def test_losses_that_are_not_finite(tmp_path):
  """A rate at which the nets are gone after some steps."""
  workdir, wild = tmp_path / 'run', '--config.optimizer.learning_rate=1e30'
  refused(run(workdir, *FLAGS, wild), 'not finite at step', 'nan_policy=skip')
  found = json.loads((workdir / 'not_finite.json').read_text())
  assert all(step < found['step'] for step in checkpoints.saved_steps(workdir))
  first = 4 * (found['step'] - 1)
  assert [of['example'] for of in found['batch']] == list(range(first, first + 4))
  assert all(of['name'] for of in found['batch'])
  # The command that it names comes there again.
  command = shlex.split(found['again'])
  assert command[:3] == ['python', '-m', 'degrep_jax.main']
  assert command[3:5] == ['--config=configs/smoke.py', f'--workdir={workdir}']
  again = run(workdir, *command[5:])
  refused(again, f'not finite at step {found["step"]}')
  # Such steps may be left out; but not all of them.
  skip = '--config.train.nan_policy=skip', '--config.train.nan_skips=2'
  result = run(workdir, *FLAGS, wild, *skip)
  after = f'not finite at step {found["step"] + 2} after 2 steps in a row were skipped'
  refused(result, after, '--config.train.nan_skips=')


def test_a_damaged_picture_is_passed_over(tmp_path):
  tree = gopro(tmp_path / 'data')
  broken = tree / 'train' / 'GOPR0001' / 'sharp' / '000001.png'
  broken.write_bytes(broken.read_bytes()[:2000])
  data = '--config.data.source=folder', f'--config.data.root={tree}', '--config.data.on_error=skip'
  flags = *FLAGS, *data, '--config.log.every_steps=1'
  whole, parted = tmp_path / 'whole', tmp_path / 'parted'
  printed = succeeded(run(whole, *flags)).stderr
  assert printed.count(f'{broken} cannot be decoded') == 1
  # Half of the pairs are damaged, and every epoch shows each once.
  assert sum(line['replaced'] for line in lines(whole) if 'l_g' in line) == 24
  succeeded(run(parted, *flags, '--config.train.steps=5'))
  succeeded(run(parted, *flags))
  assert not differing(checkpoints.load(whole), checkpoints.load(parted))
  counts = [
    {line['step']: line['replaced'] for line in lines(of) if 'l_g' in line}
    for of in (whole, parted)
  ]
  assert counts[0] == counts[1]


def test_a_trace_of_some_steps(tmp_path):
  window = '--config.log.profile_first_step=3', '--config.log.profile_steps=2'
  succeeded(run(tmp_path / 'run', *FLAGS, *window))
  traces = list((tmp_path / 'run' / 'plugins' / 'profile').glob('*/*.trace.json.gz'))
  assert len(traces) == 1
  with gzip.open(traces[0]) as file:
    events = json.load(file)['traceEvents']
  assert any('ThunkExecutor::Execute' in event.get('name', '') for event in events)
