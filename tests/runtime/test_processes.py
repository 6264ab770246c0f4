"""Two processes of two devices each, on one machine, by the real command."""

import contextlib
import json
import socket
import subprocess
import sys
import time

import child
import pytest
from command import (
  ROOT,
  differing,
  ended,
  gopro,
  lines,
  losses,
  refused,
  run,
  started,
  succeeded,
  wait_for,
)
from rounding import of_losses

from degrep_jax import checkpoints
from degrep_jax.common.errors import UserError
from degrep_jax.runtime import processes

FLAGS = ('--config.log.every_steps=1', '--config.log.pictures_every_steps=10')
SMOKE = 'configs/smoke.py'


def _free_port():
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    return free.getsockname()[1]


@contextlib.contextmanager
def pair(workdir, *flags, configs=(SMOKE, SMOKE), compiled=None):
  """Both processes under way, the first first."""
  shared = f'--coordinator=127.0.0.1:{_free_port()}', '--num_processes=2', '--multihost'
  with contextlib.ExitStack() as stack:
    yield [
      stack.enter_context(
        started(
          *(workdir, *FLAGS, *flags, *shared, f'--process_id={i}'),
          config=config,
          devices=2,
          compiled=compiled,
        )
      )
      for i, config in enumerate(configs)
    ]


def patched(path, code):
  """The smoke config in a file that changes the program, too."""
  path.write_text(f'from configs.smoke import get_config\n{code}')
  return path


def both_end(workdir, *flags, **options):
  """What the first of them printed."""
  with pair(workdir, *flags, **options) as processes:
    results = [ended(process) for process in processes]
  for status, printed in results:
    assert status == 0, f'{status}: {printed[-4000:]}'
  return results[0][1]


def lost_the_other(printed):
  """Whether a process says so, not having trained to the end: whichever finds it first, the
  coordination service or the collective that waits for the other's share."""
  told = 'another task died' in printed or 'gloo' in printed
  return told and 'step 400/400' not in printed


def test_the_service_that_started_the_processes_keeps_what_they_tell_each_other():
  code = f"""if True:
    from degrep_jax.runtime import processes
    processes.initialize('127.0.0.1:{_free_port()}', 1, 0)
    client = processes._client()
    assert not client.key_value_dir_get('degrep_jax/stopped')
    client.key_value_set('degrep_jax/stopped/0', '143')
    assert client.blocking_key_value_get('degrep_jax/stopped/0', processes.LONGEST_WORK) == '143'
    assert client.key_value_dir_get('degrep_jax/stopped')
    client.wait_at_barrier('degrep_jax/wait_for_all/0', processes.LONGEST_WORK)
  """
  environment = child.environment(PYTHONPATH=str(ROOT))
  command = [sys.executable, '-c', code]
  succeeded(subprocess.run(command, env=environment, capture_output=True, text=True))


@pytest.mark.parametrize(
  ('tasks', 'seen'),
  [
    ({'SLURM_STEP_TASKS_PER_NODE': '1(x2)'}, 'all'),
    ({'SLURM_NTASKS_PER_NODE': '1'}, 'all'),
    ({'SLURM_STEP_TASKS_PER_NODE': '8(x2)', 'SLURM_NTASKS_PER_NODE': '1'}, '0'),
    ({'SLURM_STEP_TASKS_PER_NODE': '1(x2)', 'JAX_LOCAL_DEVICE_IDS': '2,3'}, '2,3'),
  ],
)
def test_a_process_that_slurm_gives_a_node_sees_all_of_its_gpus(tasks, seen):
  code = f"""if True:
    from jax._src import xla_bridge
    from degrep_jax.runtime import processes
    processes.initialize('127.0.0.1:{_free_port()}')
    print(xla_bridge.CUDA_VISIBLE_DEVICES.value, xla_bridge._ROCM_VISIBLE_DEVICES.value)
  """
  job = {'SLURM_JOB_ID': '7', 'SLURM_STEP_NODELIST': 'localhost', 'SLURM_NTASKS': '1'}
  job |= {'SLURM_PROCID': '0', 'SLURM_LOCALID': '0'}
  environment = child.environment(PYTHONPATH=str(ROOT), **job, **tasks)
  command = [sys.executable, '-c', code]
  told = succeeded(subprocess.run(command, env=environment, capture_output=True, text=True))
  assert told.stdout.split() == [seen, seen]


@pytest.mark.parametrize('address', ['10.0.0.1', '10.0.0.1:', ':1234', 'host:port'])
def test_a_coordinator_without_a_port(monkeypatch, address):
  sentence = f"--coordinator is '{address}': name address:port"
  with pytest.raises(UserError, match=sentence):
    processes.initialize(address, 2, 0)
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', address)
  with pytest.raises(UserError, match=sentence):
    processes.initialize()


@pytest.mark.slow
@pytest.mark.promise
def test_two_processes_of_two_devices_are_one_of_four(tmp_path):
  flags = '--config.train.steps=20', '--config.log.evaluate_every_steps=20'
  with pair(tmp_path / 'two', *flags) as processes:
    results = [ended(process) for process in processes]
  assert [status for status, _ in results] == [0, 0], results
  assert 'step 20/20' in results[0][1] and 'step' not in results[1][1]  # one of them tells
  one = tmp_path / 'one'
  succeeded(run(one, *FLAGS, *flags, devices=4))
  assert [line['step'] for line in lines(tmp_path / 'two') if 'l_g' in line] == [*range(1, 21)]
  for ours, theirs in zip(losses(tmp_path / 'two'), losses(one), strict=True):
    # The same programs, whose gradients alone are added in another order, off by 4 U of their norm
    # of some 30. After Adam that changes a loss of 1e5 parameters by sqrt(1e5) * 2e-4 (the rate) *
    # 30 * 4 U = 5e-7 a step, 1e-5 in all, of the GAN's loss, which may be all but 0, as well.
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-5)
  assert checkpoints.saved_scores(tmp_path / 'two').keys() == {20}
  # On other devices the run goes on with the same batch.
  longer = '--config.train.steps=21', '--config.log.evaluate_every_steps=21'
  for workdir, devices in ((tmp_path / 'two', 1), (one, 4)):
    continued = succeeded(run(workdir, *FLAGS, *longer, devices=devices))
    assert 'from step 20' in continued.stderr
  assert losses(tmp_path / 'two')[-1] == pytest.approx(losses(one)[-1], **of_losses(1))


LONG = '--config.train.steps=400', '--config.log.evaluate_every_steps=400'


@pytest.mark.slow
@pytest.mark.promise
def test_a_signal_to_one_stops_both_at_the_same_step(tmp_path):
  with pair(tmp_path / 'run', *LONG) as (first, second):
    wait_for(first, 'step   5/400')
    second.terminate()
    results = [ended(process) for process in (first, second)]
  saved = checkpoints.saved_steps(tmp_path / 'run')[-1]
  for status, printed in results:
    assert status == 143
    assert f'step {saved} is saved' in printed
  assert [line['step'] for line in lines(tmp_path / 'run')] == [*range(1, saved + 1)]


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.parametrize('stopped', [0, 1])
def test_a_signal_to_one_that_compiles_stops_both(tmp_path, stopped):
  with pair(tmp_path / 'run', *LONG, compiled=tmp_path / 'nothing yet') as processes:
    wait_for(processes[0], 'initialising and compiling')
    time.sleep(4)
    processes[stopped].terminate()
    results = [ended(process) for process in processes]
  for status, printed in results:
    assert status == 143, printed
    assert 'stopped by SIGTERM: nothing was left to save.' in printed
  assert not checkpoints.saved_steps(tmp_path / 'run')


def test_flags_of_several_processes_without_multihost(tmp_path):
  """All would train alone."""
  refused(run(tmp_path / 'run', '--process_id=1'), '--process_id', 'go with --multihost')


@pytest.mark.slow
@pytest.mark.promise
def test_both_go_on_as_one_that_nobody_stopped(tmp_path):
  """Half of the training pictures are damaged, which each process finds in its own share."""
  tree = gopro(tmp_path / 'data')
  (tree / 'train' / 'GOPR0001' / 'sharp' / '000001.png').write_bytes(b'')
  data = '--config.data.source=folder', f'--config.data.root={tree}', '--config.data.on_error=skip'
  whole, parted, one = (tmp_path / name for name in ('whole', 'parted', 'one'))
  both_end(whole, *data)
  both_end(parted, *data, '--config.train.steps=3')
  assert 'from step 3' in both_end(parted, *data)
  assert not (parted / 'damaged').exists()
  assert not differing(checkpoints.load(whole), checkpoints.load(parted))
  succeeded(run(one, *FLAGS, *data, devices=4))
  counts = [[of['replaced'] for of in lines(w) if 'l_g' in of] for w in (whole, parted, one)]
  assert counts[0] == counts[1] == counts[2] and sum(counts[0]) == 12


SLOW = """
import sys, time
train, name = sys.modules['degrep_jax.training.loop'], '{}'
work = getattr(train, name)
def later(*arguments):
  time.sleep(45)
  return work(*arguments)
setattr(train, name, later)
"""


@pytest.mark.slow
@pytest.mark.promise
def test_who_takes_long_is_waited_for(tmp_path):
  """The second to compile, the first to report: longer than who does not answer would be."""
  flags = '--config.train.steps=1', '--config.log.evaluate_every_steps=1'
  configs = [patched(tmp_path / f'{of}.py', SLOW.format(of)) for of in ('panel', '_compile')]
  both_end(tmp_path / 'run', *flags, configs=configs)
  assert (tmp_path / 'run' / 'panel.png').exists()


@pytest.mark.slow
@pytest.mark.promise
def test_an_error_that_nobody_expected_ends_the_other(tmp_path):
  failing = """
from degrep_jax.training import recorder
def add(self, step, metrics):
  raise KeyError(f'unexpected at step {step}')
recorder.Recorder.add = add
"""
  configs = SMOKE, patched(tmp_path / 'failing.py', failing)
  with pair(tmp_path / 'run', *LONG, configs=configs) as processes:
    status, printed = ended(processes[1])
    other, told = ended(processes[0])
  assert status == 1 and "KeyError: 'unexpected at step 1'" in printed
  assert other != 0 and lost_the_other(told)


@pytest.mark.slow
@pytest.mark.promise
def test_losses_that_are_not_finite_are_reported_by_the_first(tmp_path):
  wild = '--config.optimizer.learning_rate=1e30'
  with pair(tmp_path / 'run', *LONG, wild) as processes:
    results = [ended(process) for process in processes]
  for status, printed in results:
    assert status == 2 and 'not finite at step' in printed
  again = json.loads((tmp_path / 'run' / 'not_finite.json').read_text())['again']
  assert '--process_id=0' in again


@pytest.mark.slow
@pytest.mark.promise
@pytest.mark.parametrize('dying', [0, 1])
def test_a_process_that_dies_ends_the_other(tmp_path, dying):
  with pair(tmp_path / 'run', *LONG) as processes:
    wait_for(processes[0], 'step   5/400')
    processes[dying].kill()
    status, printed = ended(processes[1 - dying])
  assert status != 0 and lost_the_other(printed)
  assert checkpoints.saved_steps(tmp_path / 'run')
