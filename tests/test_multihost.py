"""Two processes of two devices each, on one machine, by the real command."""

import contextlib
import socket
import time

import pytest
from command import ended, lines, losses, run, started, succeeded, wait_for

from degrep_jax import checkpoints

FLAGS = ('--config.log.every_steps=1', '--config.log.pictures_every_steps=10')


@contextlib.contextmanager
def pair(workdir, *flags, cache):
  """Both processes under way, the first first."""
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  shared = f'--coordinator=127.0.0.1:{port}', '--num_processes=2', '--multihost'
  with contextlib.ExitStack() as stack:
    yield [
      stack.enter_context(
        started(workdir, *FLAGS, *flags, *shared, f'--process_id={i}', devices=2, cache=cache)
      )
      for i in range(2)
    ]


@pytest.mark.slow
def test_two_processes_of_two_devices_are_one_of_four(tmp_path, cache):
  flags = '--config.train.steps=20', '--config.log.evaluate_every_steps=20'
  with pair(tmp_path / 'two', *flags, cache=cache) as processes:
    results = [ended(process) for process in processes]
  assert [status for status, _ in results] == [0, 0], results
  assert 'step 20/20' in results[0][1] and 'step' not in results[1][1]  # one of them tells
  one = tmp_path / 'one'
  succeeded(run(one, *FLAGS, *flags, devices=4, cache=cache))
  assert [line['step'] for line in lines(tmp_path / 'two') if 'l_g' in line] == [*range(1, 21)]
  for ours, theirs in zip(losses(tmp_path / 'two'), losses(one), strict=True):
    # (The GAN's loss, a mean of either sign, is all but 0 at times.)
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)
  assert checkpoints.saved_scores(tmp_path / 'two').keys() == {20}
  # On other devices the run goes on with the same batch.
  longer = '--config.train.steps=21', '--config.log.evaluate_every_steps=21'
  for workdir, devices in ((tmp_path / 'two', 1), (one, 4)):
    continued = succeeded(run(workdir, *FLAGS, *longer, devices=devices, cache=cache))
    assert 'from step 20' in continued.stderr
  assert losses(tmp_path / 'two')[-1] == pytest.approx(losses(one)[-1], rel=1e-3, abs=1e-5)


LONG = '--config.train.steps=400', '--config.log.evaluate_every_steps=400'


@pytest.mark.slow
def test_a_signal_to_one_stops_both_at_the_same_step(tmp_path, cache):
  with pair(tmp_path / 'run', *LONG, cache=cache) as (first, second):
    wait_for(first, 'step   5/400')
    second.terminate()
    results = [ended(process) for process in (first, second)]
  saved = checkpoints.saved_steps(tmp_path / 'run')[-1]
  for status, printed in results:
    assert status == 143
    assert f'step {saved} is saved' in printed
  assert [line['step'] for line in lines(tmp_path / 'run')] == [*range(1, saved + 1)]


@pytest.mark.slow
@pytest.mark.parametrize('dying', [0, 1])
def test_a_process_that_dies_ends_the_other(tmp_path, cache, dying):
  with pair(tmp_path / 'run', *LONG, cache=cache) as processes:
    wait_for(processes[0], 'step   5/400')
    processes[dying].kill()
    start = time.monotonic()
    status, printed = ended(processes[1 - dying])
  assert status != 0 and time.monotonic() - start < 60
  assert 'another task died' in printed
  assert checkpoints.saved_steps(tmp_path / 'run')
