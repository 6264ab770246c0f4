"""Training of any stage: restore, loop, evaluate."""

import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from clu.periodic_actions import PeriodicCallback

from degrep_jax import checkpoints, parallel
from degrep_jax import config as configs
from degrep_jax.data.pairs import Source
from degrep_jax.data.pipeline import train_batches
from degrep_jax.data.source import open_source
from degrep_jax.evaluate import Evaluator
from degrep_jax.figures import panel
from degrep_jax.files import write_atomically
from degrep_jax.logs import Recorder
from degrep_jax.progress import say, track
from degrep_jax.report import format_table
from degrep_jax.stages import Stage, open_stage
from degrep_jax.state import count_parameters


def _compile(
  config: ml_collections.ConfigDict, stage: Stage, state: Any, constants: Any
) -> tuple[Any, float]:
  """The pmapped step compiled for this config's batches, and the seconds that took."""
  devices, data = jax.device_count(), config.data
  shape = (devices, config.train.batch_size // devices, data.crop, data.crop, 3)
  batch = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name in ('blurry', 'sharp')}
  start = time.monotonic()
  pmapped = jax.pmap(stage.step, axis_name=parallel.AXIS, donate_argnums=0)
  compiled = pmapped.lower(state, constants, batch).compile(stage.compiler_options)
  return compiled, time.monotonic() - start


def _initial_state(workdir: pathlib.Path, stage: Stage) -> Any:
  """New, or that of the workdir's newest checkpoint."""
  if not checkpoints.saved_steps(workdir):
    return stage.prepare(stage.create())
  state = checkpoints.restore(workdir, jax.eval_shape(stage.create))
  say(f'continuing {workdir} from step {int(state.step)}')
  return state


def _batches(config: ml_collections.ConfigDict, source: Source, first: int) -> Iterator[Any]:
  batches = train_batches(
    source,
    crop=config.data.crop,
    batch_size=config.train.batch_size,
    seed=config.seed,
    start_step=first,
    augment=config.data.augment,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  return parallel.prefetch(batches)


def _report(workdir: pathlib.Path, totals: dict[str, float], about: dict[str, float]) -> None:
  """report.json: the run in a dozen numbers."""
  report = {
    'blurry_psnr': totals['blurry_psnr'],
    'deblurred_psnr': totals['deblurred_psnr'],
  }
  if 'reblurred_psnr' in totals:
    report['reblurred_psnr'] = totals['reblurred_psnr']
    report['identity_reblur_psnr'] = totals['identity_psnr']
  report |= about
  write_atomically(workdir / 'report.json', (json.dumps(report, indent=2) + '\n').encode())


def _evaluate(
  step: int,
  state: Any,
  evaluator: Evaluator,
  recorder: Recorder,
  saved: checkpoints.Checkpoints,
  directory: pathlib.Path,
) -> dict[str, float]:
  """Scores a state, saves it with its scores, and returns their means."""
  recorder.require_finite(step)
  with recorder.paused(state):
    try:
      totals = evaluator.scores(state.variables, directory, f'step_{step}')
    except BaseException:  # what was trained is kept, whatever befell its evaluation
      saved.save(step, parallel.unreplicate(state), None)
      raise
    saved.save(step, parallel.unreplicate(state), totals)
  say(format_table(totals))
  return totals


def _actions(
  config: ml_collections.ConfigDict,
  evaluate: Callable[[int, Any], dict[str, float]],
  evaluator: Evaluator,
  recorder: Recorder,
  saved: checkpoints.Checkpoints,
) -> list[PeriodicCallback]:
  """What happens every so many steps, in this order within a step."""

  def write(step: int, t: float, state: Any) -> None:
    del t, state
    recorder.write(step)

  def show(step: int, t: float, state: Any) -> None:
    del t
    with recorder.paused(state):
      recorder.write_pictures(step, evaluator.samples(state.variables))

  def score(step: int, t: float, state: Any) -> None:
    del t
    recorder.write_scores(step, evaluate(step, state))

  def save(step: int, t: float, state: Any) -> None:
    del t
    recorder.require_finite(step)
    if not saved.has(step):  # an evaluation may have saved it, with its scores
      saved.save(step, parallel.unreplicate(state), None)

  log, last = config.log, config.train.steps
  periods: tuple[tuple[int, list[int], Callable], ...] = (
    (log.every_steps, [last], write),
    (log.pictures_every_steps, [], show),
    (log.evaluate_every_steps, [last], score),
    (log.checkpoint_every_steps, [last], save),
  )
  return [
    PeriodicCallback(every_steps=every, on_steps=on_steps, callback_fn=callback)
    for every, on_steps, callback in periods
  ]


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> dict[str, float]:
  """Trains to `config.train.steps`, from the newest checkpoint in `workdir` if there is one.

  Writes there: config.json, metrics.jsonl and TensorBoard events, checkpoints/, the scores of each
  evaluation under evaluations/, and at the end report.json and panel.png.

  Returns:
    The totals of the last evaluation.

  Raises:
    UserError: a config, picture or workdir that cannot be used; nothing in the workdir is lost.
  """
  configs.check(config, jax.device_count())
  sources = [open_source(config.data, split) for split in ('train', 'test')]
  stage = open_stage(config)
  configs.keep_in(workdir, config, bool(checkpoints.saved_steps(workdir)))

  say(f'{jax.device_count()} {jax.devices()[0].platform} device(s); initialising and compiling')
  state = _initial_state(workdir, stage)
  parameters = count_parameters(state.generator.params)
  first, last = int(state.step), config.train.steps
  state, constants = parallel.replicate((state, stage.constants))
  step_fn: Any = stage.step
  compile_seconds = 0.0
  if first < last:
    step_fn, compile_seconds = _compile(config, stage, state, constants)
  evaluator = Evaluator(
    stage.network, sources[1], tile=config.eval.tile, batch=config.eval.batch_size
  )
  totals: dict[str, float] = {}
  with (
    Recorder(workdir, first, last, config.train.batch_size, stage.schedule) as recorder,
    checkpoints.Checkpoints(workdir, config.log.keep_checkpoints) as saved,
  ):

    def evaluate(step: int, state: Any) -> dict[str, float]:
      directory = workdir / 'evaluations'
      totals.update(_evaluate(step, state, evaluator, recorder, saved, directory))
      return totals

    actions = _actions(config, evaluate, evaluator, recorder, saved)
    steps = zip(range(first + 1, last + 1), _batches(config, sources[0], first), strict=False)
    for step, batch in track(steps, 'training', last, first):
      state, metrics = step_fn(state, constants, batch)
      recorder.add(metrics)
      for action in actions:
        action(step, state=state)
    if not totals:  # a run that had ended is only scored again
      evaluate(first, state)
    about = {
      'steps': max(first, last),
      'train_seconds': recorder.train_seconds,
      'compile_seconds': compile_seconds,
      'parameters': parameters,
    }
  _report(workdir, totals, about)
  panel(evaluator.samples(state.variables), workdir / 'panel.png')
  say(f'wrote {workdir / "report.json"} and {workdir / "panel.png"}')
  return totals
