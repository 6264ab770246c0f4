"""Training of the joint stage: build, restore, loop, evaluate."""

import functools
import json
import pathlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import optax
from clu.periodic_actions import PeriodicCallback

from degrep_jax import checkpoints, parallel
from degrep_jax import config as configs
from degrep_jax.data.pairs import Source
from degrep_jax.data.pipeline import train_batches
from degrep_jax.data.source import open_source
from degrep_jax.evaluate import Evaluator
from degrep_jax.figures import panel
from degrep_jax.logs import Recorder
from degrep_jax.models import factory
from degrep_jax.models.vgg import Vgg19Features, load_vgg19
from degrep_jax.progress import say, track
from degrep_jax.report import format_table, write_atomically
from degrep_jax.state import (
  TrainState,
  count_parameters,
  create_state,
  learning_rate_schedule,
  make_optimizer,
)
from degrep_jax.steps import JointNets, LossWeights, joint_step


def build(
  config: ml_collections.ConfigDict,
) -> tuple[JointNets, LossWeights, optax.GradientTransformation, optax.Schedule]:
  """Everything that a step of `config` needs besides its state."""
  loss, hyper = config.loss, config.optimizer
  weights = LossWeights(
    l_gan=loss.gan,
    l_reblur=loss.reblur_l1,
    l_deblur=loss.deblur_l1,
    l_feature=loss.feature_matching,
    l_vgg=loss.vgg,
  )
  nets = JointNets(
    generator=factory.build_generator(config.model, parallel.AXIS),
    discriminator=factory.build_discriminator(config.model) if weights.adversarial else None,
    vgg=Vgg19Features() if weights.l_vgg else None,
  )
  schedule = learning_rate_schedule(
    hyper.learning_rate, hyper.final_learning_rate, hyper.schedule_steps
  )
  optimizer = make_optimizer(schedule, hyper.beta1, hyper.beta2, hyper.clip_norm)
  return nets, weights, optimizer, schedule


def _compile(
  config: ml_collections.ConfigDict, step: Callable, state: Any, frozen: Any
) -> tuple[Any, float]:
  """The pmapped step compiled for this config's batches, and the seconds that took."""
  devices, data = jax.device_count(), config.data
  shape = (devices, config.train.batch_size // devices, data.crop, data.crop, 3)
  batch = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name in ('blurry', 'sharp')}
  start = time.monotonic()
  pmapped = jax.pmap(step, axis_name=parallel.AXIS, donate_argnums=0)
  return pmapped.lower(state, frozen, batch).compile(), time.monotonic() - start


def _initial_state(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  nets: JointNets,
  optimizer: optax.GradientTransformation,
) -> TrainState:
  """New, or that of the workdir's newest checkpoint."""
  state = create_state(nets.generator, nets.discriminator, optimizer, config.seed, config.data.crop)
  if checkpoints.saved_steps(workdir):
    state = checkpoints.restore(workdir, state)
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
    'reblurred_psnr': totals['reblurred_psnr'],
    'identity_reblur_psnr': totals['identity_psnr'],
  } | about
  write_atomically(workdir / 'report.json', (json.dumps(report, indent=2) + '\n').encode())


def _evaluate(
  step: int,
  state: TrainState,
  evaluator: Evaluator,
  recorder: Recorder,
  saved: checkpoints.Checkpoints,
  directory: pathlib.Path,
) -> dict[str, float]:
  """Scores a state, saves it with its scores, and returns their means."""
  recorder.require_finite(step)
  with recorder.paused(state):
    try:
      totals = evaluator.scores(state.generator.variables, directory, f'step_{step}')
    except BaseException:  # what was trained is kept, whatever befell its evaluation
      saved.save(step, parallel.unreplicate(state), None)
      raise
    saved.save(step, parallel.unreplicate(state), totals)
  say(format_table(totals))
  return totals


def _actions(
  config: ml_collections.ConfigDict,
  evaluate: Callable[[int, TrainState], dict[str, float]],
  evaluator: Evaluator,
  recorder: Recorder,
  saved: checkpoints.Checkpoints,
) -> list[PeriodicCallback]:
  """What happens every so many steps, in this order within a step."""

  def write(step: int, t: float, state: TrainState) -> None:
    del t, state
    recorder.write(step)

  def show(step: int, t: float, state: TrainState) -> None:
    del t
    with recorder.paused(state):
      recorder.write_pictures(step, evaluator.samples(state.generator.variables))

  def score(step: int, t: float, state: TrainState) -> None:
    del t
    recorder.write_scores(step, evaluate(step, state))

  def save(step: int, t: float, state: TrainState) -> None:
    del t
    recorder.require_finite(step)
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
  nets, weights, optimizer, schedule = build(config)
  frozen = {'vgg': load_vgg19(config.loss.vgg_path)} if weights.l_vgg else {}
  configs.keep_in(workdir, config, bool(checkpoints.saved_steps(workdir)))

  say(f'{jax.device_count()} {jax.devices()[0].platform} device(s); initialising and compiling')
  state = _initial_state(config, workdir, nets, optimizer)
  parameters = count_parameters(state.generator.params)
  first, last = int(state.step), config.train.steps
  state, frozen = parallel.replicate((state, frozen))
  step_fn: Any = functools.partial(
    joint_step,
    nets=nets,
    optimizer=optimizer,
    weights=weights,
    official_order=config.train.official_order,
    axis_name=parallel.AXIS,
  )
  compile_seconds = 0.0
  if first < last:
    step_fn, compile_seconds = _compile(config, step_fn, state, frozen)
  evaluator = Evaluator(
    nets.generator, sources[1], tile=config.eval.tile, batch=config.eval.batch_size
  )
  totals: dict[str, float] = {}
  with (
    Recorder(workdir, first, last, config.train.batch_size, schedule) as recorder,
    checkpoints.Checkpoints(workdir, config.log.keep_checkpoints) as saved,
  ):

    def evaluate(step: int, state: TrainState) -> dict[str, float]:
      directory = workdir / 'evaluations'
      totals.update(_evaluate(step, state, evaluator, recorder, saved, directory))
      return totals

    actions = _actions(config, evaluate, evaluator, recorder, saved)
    steps = zip(range(first + 1, last + 1), _batches(config, sources[0], first), strict=False)
    for step, batch in track(steps, 'training', last, first):
      state, metrics = step_fn(state, frozen, batch)
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
  panel(evaluator.samples(state.generator.variables), workdir / 'panel.png')
  say(f'wrote {workdir / "report.json"} and {workdir / "panel.png"}')
  return totals
