"""What a training does between its steps: log, show, evaluate, save, trace."""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import jax
import ml_collections

from degrep_jax import checkpoints
from degrep_jax.common.console import say
from degrep_jax.common.tensorflow import periodic_actions
from degrep_jax.evaluation.held_out import Evaluator
from degrep_jax.evaluation.tables import format_table
from degrep_jax.runtime import devices, processes, signals
from degrep_jax.training.recorder import Recorder


class Run:
  """A training in progress: what it has at hand besides its state.

  Attributes:
    totals: of the last evaluation; empty before the first.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    workdir: pathlib.Path,
    evaluator: Evaluator,
    recorder: Recorder,
    saved: checkpoints.Checkpoints,
    stop: signals.StopSignals,
  ):
    self._config, self._workdir, self._evaluator = config, workdir, evaluator
    self._recorder, self._saved, self._stop = recorder, saved, stop
    self.totals: dict[str, float] = {}
    self._trace: Callable | None = None

  def begin(self, first: int, state: Any) -> None:
    """Before the steps after `first`: the evaluation that was interrupted there, if any, and what
    is to be traced."""
    if first and processes.from_first(lambda: self._lacks_scores(first)):
      self.evaluate(first, state)
    traced = self._config.log.profile_first_step
    if traced > first:
      if processes.is_first():
        self._trace = _profiler(self._config.log, self._workdir, first)
    elif traced:
      say(f'log.profile_first_step is {traced}, and step {first} is done: nothing is traced.')

  def _lacks_scores(self, step: int) -> bool:
    """Whether the evaluation that is due at a saved step was interrupted."""
    due = step % self._config.log.evaluate_every_steps == 0 or step == self._config.train.steps
    return due and self._saved.has(step) and not self._saved.has_scores(step)

  def stopped(self, step: int) -> signals.Interrupted:
    """What is raised after a signal, when a step is saved."""
    sentence = f'step {step} is saved, the same command goes on from there.'
    return self._stop.interrupted(sentence)

  def evaluate(self, step: int, state: Any) -> None:
    """Saves a state, and scores it; the checkpoint gets its scores when they are there, so that
    what was trained is kept, whatever befalls its evaluation."""
    self._recorder.require_finite()

    def scores() -> dict[str, float]:
      variables = devices.unreplicate(state.variables)
      directory, check = self._workdir / 'evaluations', self._stop.check
      checkpoint = self._workdir.absolute() / checkpoints.FOLDER / str(step)
      about = {'step': step, 'checkpoint': str(checkpoint), 'config': self._config.to_dict()}
      return self._evaluator.scores(variables, directory, f'step_{step}', check, about)

    with self._recorder.clock.paused(state):
      self.save(step, state)
      self.totals = self._breakable(step, state, lambda: self._stop.run(scores))
      self._recorder.files.write_scores(step, self.totals)
      self._saved.add_scores(step, self.totals, by=processes.from_first)
    say(format_table(self.totals))

  def show(self, step: int, state: Any) -> None:
    """Writes what a state makes of some held-out pictures."""
    self._recorder.require_finite()

    def pictures() -> None:
      variables = devices.unreplicate(state.variables)
      shown = self._stop.run(lambda: self._evaluator.samples(variables))
      self._recorder.files.write_pictures(step, shown)

    with self._recorder.clock.paused(state):
      self._breakable(step, state, pictures)

  def _breakable(self, step: int, state: Any, work: Callable[[], Any]) -> Any:
    """work() of process 0 for all, which a signal may break off; the state is saved then, and where
    it fails."""
    try:
      return processes.from_first(work)
    except signals.Interrupted:
      self.save(step, state)
      raise self.stopped(step) from None
    except Exception:
      self.keep(step, state)
      raise

  def save(self, step: int, state: Any) -> None:
    """Saves a state, unless it is already, as one that is evaluated."""
    if not self._saved.has(step):
      progress = self._recorder.progress()
      self._saved.save(step, devices.unreplicate(state), progress)

  def keep(self, step: int, state: Any) -> None:
    """Saves what was trained before an error that has nothing to do with it. Not of several
    processes: the others know nothing of it, and all must save together."""
    if step and jax.process_count() == 1 and not self._saved.has(step):
      say(f'saving step {step}')
      self.save(step, state)

  @contextlib.contextmanager
  def keeping(self, step: int, state: Any) -> Iterator[None]:
    """Where what happens inside fails, saves the state of the step before it first."""
    try:
      yield
    except Exception:
      self.keep(step, state)
      raise

  def after(self, step: int, state: Any) -> None:
    """What is due when a step is done."""
    log, ends = self._config.log, step == self._config.train.steps
    if self._trace is not None:
      # First, so that a trace is over before its last step is saved or evaluated.
      self._trace(step, state)
    if ends or step % log.every_steps == 0:
      self._recorder.write(step)
      self._saved.check()
    if step % log.pictures_every_steps == 0:
      self.show(step, state)
    if ends or step % log.evaluate_every_steps == 0:
      self.evaluate(step, state)
    if ends or step % log.checkpoint_every_steps == 0:
      self.save(step, state)


def _profiler(log: ml_collections.ConfigDict, workdir: pathlib.Path, first: int) -> Callable:
  """Traces the steps that the config names into `<workdir>/plugins/profile`."""
  before = log.profile_first_step - 1
  profile = periodic_actions.Profile(
    logdir=workdir,
    num_profile_steps=log.profile_steps,
    profile_duration_ms=None,
    first_profile=before,
    every_secs=None,
  )
  profile(first)

  def act(step: int, state: Any) -> None:
    if step in (before, before + log.profile_steps):
      jax.block_until_ready(state)  # neither more steps than these nor fewer
    profile(step)

  return act
