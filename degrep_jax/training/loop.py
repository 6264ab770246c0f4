"""Training of any stage: restore, loop, evaluate."""

import contextlib
import functools
import pathlib
import time
from typing import Any

import jax
import ml_collections
import numpy as np

from degrep_jax import checkpoints
from degrep_jax import run_config as configs
from degrep_jax.common.console import say, track
from degrep_jax.common.errors import UserError
from degrep_jax.common.files import write_json
from degrep_jax.data.pairs import Source
from degrep_jax.data.pipeline import Batches, batch_items, input_shape, train_batches
from degrep_jax.data.source import open_source
from degrep_jax.evaluation.held_out import Evaluator, dataset_of
from degrep_jax.evaluation.panel import panel
from degrep_jax.models.variables import count_parameters
from degrep_jax.runtime import devices, processes, signals
from degrep_jax.runtime.workdir import full_disk_told, locked
from degrep_jax.training import finite
from degrep_jax.training.recorder import Recorder
from degrep_jax.training.run import Run
from degrep_jax.training.stages import Stage, open_stage, require_start


def _compile(
  config: ml_collections.ConfigDict, stage: Stage, state: Any, constants: Any
) -> tuple[Any, float]:
  """The pmapped step compiled for this config's batches, and the seconds that took."""
  # Of several processes pmap takes arrays alone, not their shapes.
  count = config.train.batch_size // jax.process_count()
  batch = devices.shard(
    {
      name: np.zeros((count, *input_shape(name, config.data.crop)), np.float32)
      for name in stage.inputs
    }
  )
  start = time.monotonic()
  return stage.compile(state, constants, batch), time.monotonic() - start


def _initial_state(workdir: pathlib.Path, stage: Stage) -> tuple[Any, dict[str, Any]]:
  """A new state, or that of the workdir's newest sound checkpoint, and the progress saved with
  it."""
  step = processes.from_first(lambda: checkpoints.set_damaged_aside(workdir))
  if step is None:
    return stage.prepare(stage.create()), {}
  state = checkpoints.restore(workdir, jax.eval_shape(stage.create), step, verified=True)
  say(f'continuing {workdir} from step {step}')
  return state, checkpoints.load_progress(workdir, step)


def _choice(config: ml_collections.ConfigDict, stage: Stage) -> dict[str, Any]:
  """What decides which pictures a batch shows."""
  return {
    'crop': config.data.crop,
    'batch_size': config.train.batch_size,
    'seed': config.seed,
    'on_error': config.data.on_error,
    'inputs': stage.inputs,
  }


def _batches(
  config: ml_collections.ConfigDict, stage: Stage, source: Source, first: int
) -> Batches:
  return train_batches(
    source,
    **_choice(config, stage),
    start_step=first,
    augment=config.data.augment,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )


def _report(
  workdir: pathlib.Path, totals: dict[str, float], recorder: Recorder, steps: int, parameters: int
) -> None:
  """report.json: the run in a dozen numbers."""
  numbers: dict[str, Any] = {
    'blurry_psnr': totals['blurry_psnr'],
    'deblurred_psnr': totals['deblurred_psnr'],
  }
  if 'reblurred_psnr' in totals:
    numbers['reblurred_psnr'] = totals['reblurred_psnr']
    numbers['identity_reblur_psnr'] = totals['identity_psnr']
  numbers |= {
    'steps': steps,
    'train_seconds': recorder.clock.train_seconds,
    'compile_seconds': recorder.clock.compile_seconds,
    'parameters': parameters,
  }
  write_json(workdir / 'report.json', numbers)


def _report_not_finite(
  workdir: pathlib.Path,
  config: ml_collections.ConfigDict,
  stage: Stage,
  source: Source,
  error: finite.NotFinite,
) -> str:
  items = batch_items(error.step, source, **_choice(config, stage))
  return str(finite.report(workdir, error, items))


def train(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> dict[str, float]:
  """Trains to `config.train.steps`, from the newest sound checkpoint in `workdir` if there is one;
  the run ends as if it had never been interrupted.

  Writes there: config.json, metrics.jsonl and TensorBoard events, checkpoints/, the scores of each
  evaluation under evaluations/, and at the end report.json and panel.png.

  Returns:
    The totals of the last evaluation.

  Raises:
    UserError: a config, picture or workdir that cannot be used; nothing in the workdir is lost.
    signals.Interrupted: SIGTERM or SIGINT; what was trained is saved.
  """
  configs.check(config, jax.device_count(), jax.local_device_count())
  if gpu := devices.unused_gpu():  # before the warnings that data may bring
    say(
      f"JAX does not use this machine's {gpu}: pip install '.[cuda]' in the clone, with NVIDIA's "
      'driver 580 or newer; JAX_PLATFORMS=cpu trains without it.'
    )
  sources = [open_source(config.data, split) for split in ('train', 'test')]
  stage = open_stage(config)
  # Of several processes the first stands for all.
  lock = locked(workdir) if processes.is_first() else contextlib.nullcontext()
  with full_disk_told(workdir), lock, signals.StopSignals() as stop:
    if processes.is_first():
      begun = bool(checkpoints.saved_steps(workdir))
      if not begun:
        require_start(config)
      configs.keep_in(workdir, config, begun)
    try:
      return _train(config, workdir, sources, stage, stop)
    except finite.NotFinite as error:
      report = functools.partial(_report_not_finite, workdir, config, stage, sources[0], error)
      path = processes.from_first(report)
      skip = 'nan_skips=N, a larger one' if config.train.nan_policy == 'skip' else 'nan_policy=skip'
      raise UserError(
        f'{error}; such a state is not saved: {path} names the batch and the command that comes '
        'there again; start a new --workdir with a lower config.optimizer.learning_rate, or, where '
        f'this is rare, go on with --config.train.{skip}.'
      ) from None


def _train(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  sources: list[Source],
  stage: Stage,
  stop: signals.StopSignals,
) -> dict[str, float]:
  say(f'{jax.device_count()} {jax.devices()[0].platform} device(s); initialising and compiling')
  state, progress = processes.until_stopped(stop, lambda: _initial_state(workdir, stage))
  parameters = count_parameters(state.generator.params)
  first, last = int(state.step), config.train.steps
  state, constants = devices.replicate((state, stage.constants))
  skip = config.train.nan_policy == 'skip'
  if skip:
    stage = stage._replace(step=finite.skipping(stage.step))
  step_fn: Any = stage.step
  compile_seconds = 0.0
  if first < last:
    compiled = processes.until_stopped(stop, lambda: _compile(config, stage, state, constants))
    step_fn, compile_seconds = compiled
  processes.until_stopped(stop, processes.wait_for_all)  # some compile longer than others
  evaluator = Evaluator(
    stage.network,
    sources[1],
    dataset=dataset_of(config.data),
    tile=config.eval.tile,
    batch=config.eval.batch_size,
  )
  recorder = Recorder(
    workdir,
    first,
    last,
    batch_size=config.train.batch_size,
    schedule=stage.schedule,
    progress=progress,
    nan_skips=config.train.nan_skips if skip else 0,
  )
  with recorder, checkpoints.Checkpoints(workdir, config.log.keep_checkpoints) as saved:
    recorder.clock.compile_seconds += compile_seconds
    run = Run(config, workdir, evaluator, recorder, saved, stop)
    run.begin(first, state)
    agreed, replaced, pace = processes.Agreement(), processes.Sum(), devices.Pace()
    batches = _batches(config, stage, sources[0], first)
    prefetched = devices.prefetch(batches)
    for step in track(range(first + 1, last + 1), 'training', last, first):
      with run.keeping(step - 1, state), recorder.clock.waiting():
        batch = next(prefetched)
      state, metrics = step_fn(state, constants, batch)
      pace(metrics)
      if config.data.on_error == 'skip':
        metrics |= {'replaced': replaced(batches.replaced(step))}
      recorder.add(step, metrics)
      run.after(step, state)
      if agreed(stop.asked):
        run.save(step, state)
        raise run.stopped(step)
    if not run.totals:  # a run that had ended is only scored again
      run.evaluate(first, state)

  def sum_up() -> None:
    _report(workdir, run.totals, recorder, max(first, last), parameters)
    samples = evaluator.samples(devices.unreplicate(state.variables))
    panel(samples, workdir / 'panel.png')
    say(f'wrote {workdir / "report.json"} and {workdir / "panel.png"}')

  processes.from_first(sum_up)  # a process that leaves earlier would end the others
  return run.totals
