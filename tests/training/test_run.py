"""What a run does between its steps, where a signal comes or an evaluation fails."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from configs import smoke
from degrep_jax import checkpoints
from degrep_jax.runtime import devices, signals
from degrep_jax.training.recorder import Recorder
from degrep_jax.training.run import Run
from degrep_jax.training.state import NetworkState, TrainState

STATE = TrainState(np.int32(4), NetworkState({'x': np.float32([1, 2])}, {}, {}), None)


class Evaluator:
  """Whatever is asked of it gets a signal, and lasts until the end of the test."""

  def __init__(self):
    self.over = threading.Event()

  def scores(self, *_):
    os.kill(os.getpid(), signal.SIGTERM)
    self.over.wait(30)

  samples = scores


class Failing:
  """Fails when the state that it is to score is on disk."""

  def __init__(self, workdir):
    self.workdir = workdir

  def scores(self, *_):
    for _ in range(500):
      if checkpoints.saved_steps(self.workdir):
        raise MemoryError
      time.sleep(0.01)


def act(workdir, evaluator, name):
  """The action of step 4."""
  with (
    Recorder(workdir, 0, 8, 4, lambda done: 1.0) as recorder,
    checkpoints.Checkpoints(workdir, keep=2) as saved,
    signals.StopSignals() as stop,
  ):
    run = Run(smoke.get_config(), workdir, evaluator, recorder, saved, stop)
    recorder.add(4, devices.replicate({'l_g': np.float32(1)}))
    getattr(run, name)(4, devices.replicate(STATE))


@pytest.mark.parametrize('name', ['evaluate', 'show'])
def test_a_signal_breaks_off_what_lasts(tmp_path, name):
  evaluator = Evaluator()
  with pytest.raises(signals.Interrupted, match='SIGTERM: step 4 is saved'):
    act(tmp_path, evaluator, name)
  evaluator.over.set()
  assert checkpoints.load(tmp_path)['step'] == 4
  assert checkpoints.saved_scores(tmp_path) == {}
  assert checkpoints.load_progress(tmp_path, 4)['metrics'] == [{'l_g': 1}]


def test_what_was_trained_is_saved_where_pictures_cannot_be_shown(tmp_path, capsys):
  evaluator = Failing(tmp_path)
  evaluator.samples = lambda _: 1 / 0
  with pytest.raises(ZeroDivisionError):
    act(tmp_path, evaluator, 'show')
  np.testing.assert_array_equal(checkpoints.load(tmp_path)['generator']['params']['x'], [1, 2])
  assert 'saving step 4' in capsys.readouterr().err


def test_what_was_trained_is_saved_before_it_is_evaluated(tmp_path):
  with pytest.raises(MemoryError):
    act(tmp_path, Failing(tmp_path), 'evaluate')
  np.testing.assert_array_equal(checkpoints.load(tmp_path)['generator']['params']['x'], [1, 2])
  assert not (tmp_path / 'metrics.jsonl').read_text()


# Not 5: that trace would begin at once, and nobody here ends it.
@pytest.mark.parametrize(('wanted', 'told'), [(4, True), (6, False), (0, False)])
def test_a_trace_of_steps_that_are_done_is_told(tmp_path, capsys, wanted, told):
  config = smoke.get_config()
  config.log.profile_first_step = wanted
  with (
    Recorder(tmp_path, 4, 8, 4, lambda done: 1.0) as recorder,
    checkpoints.Checkpoints(tmp_path, keep=2) as saved,
    signals.StopSignals() as stop,
  ):
    Run(config, tmp_path, Evaluator(), recorder, saved, stop).begin(4, devices.replicate(STATE))
  sentence = 'log.profile_first_step is 4, and step 4 is done: nothing is traced.'
  said = capsys.readouterr().err
  assert (sentence in said) == ('nothing is traced' in said) == told
