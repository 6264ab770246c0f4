"""The stages of training: from a config to what the loop needs, whatever the networks."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import flax.serialization
import jax
import jax.numpy as jnp
import ml_collections
import optax

from degrep_jax import checkpoints, shipped
from degrep_jax import run_config as configs
from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError
from degrep_jax.convert.vgg19 import load_vgg19
from degrep_jax.data.pipeline import PAIR
from degrep_jax.inference import saved_networks
from degrep_jax.models import factory, spectral_norm
from degrep_jax.models.variables import FROZEN, merged, split
from degrep_jax.models.vgg import Vgg19Features
from degrep_jax.runtime import compiling, devices
from degrep_jax.training.state import (
  DeblurState,
  TrainState,
  create_deblur_state,
  create_state,
  learning_rate_schedule,
  make_optimizer,
  with_ema,
)
from degrep_jax.training.steps import DeblurWeights, JointNets, LossWeights, deblur_step, joint_step


class Stage(NamedTuple):
  """What a stage needs besides data.

  Attributes:
    network: what is evaluated; its `apply` takes the state's `variables`.
    create: () -> the state before the first step, freshly drawn.
    prepare: what becomes of it before it is trained: the same, or with parts of other runs.
    step: (state, constants, batch) -> (state, metrics), to be pmapped.
    constants: arrays that a step reads and nothing saves.
    schedule: of the learning rate.
    inputs: what a batch has, fields of `data.pairs.Crop`.
  """

  network: nn.Module
  create: Callable[[], Any]
  prepare: Callable[[Any], Any]
  step: Callable[..., Any]
  constants: dict[str, Any]
  schedule: optax.Schedule
  inputs: tuple[str, ...] = PAIR

  def compile(self, *arguments: Any, on: list[jax.Device] | None = None) -> Any:
    """The pmapped step, which takes the state's memory, compiled for `arguments`: arrays with a
    leading axis of devices or, of one process, their shapes. on: these devices, by default all."""
    pmapped = jax.pmap(self.step, axis_name=devices.AXIS, donate_argnums=0, devices=on)
    return compiling.compiled(pmapped.lower(*arguments), keep_barriers=True)

  @property
  def compiler_options(self) -> dict[str, str]:
    """Of the pmapped step."""
    return compiling.options(keep_barriers=True)


def open_stage(config: ml_collections.ConfigDict, constants: dict[str, Any] | None = None) -> Stage:
  """The stage that trains `config.model.network`.

  Args:
    config: of the run.
    constants: in place of those that files hold, which are then not read.

  Raises:
    UserError: a config or file that cannot be used.
  """
  open_ = _joint if factory.NETWORKS[config.model.network].can_reblur else _deblur
  stage = open_(config, constants)
  if config.train.start_from:
    stage = stage._replace(prepare=functools.partial(_started, config))
  return stage


def build_optimizer(
  config: ml_collections.ConfigDict,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
  """The optimiser of `config.optimizer` and its learning rate."""
  hyper = config.optimizer
  schedule = learning_rate_schedule(
    hyper.learning_rate, hyper.final_learning_rate, hyper.schedule_steps, hyper.warmup_steps
  )
  return make_optimizer(schedule, hyper.beta1, hyper.beta2, hyper.clip_norm), schedule


def _economy(train: ml_collections.ConfigDict) -> dict[str, Any]:
  """What steps of all stages take alike."""
  return {
    'accumulate_steps': train.accumulate_steps,
    'dtype': train.dtype,
    'ema_decay': train.ema_decay,
    'axis_name': devices.AXIS,
  }


def build_joint(config: ml_collections.ConfigDict) -> tuple[JointNets, LossWeights]:
  """Networks and loss of the joint stage."""
  loss = config.loss
  weights = LossWeights(
    l_gan=loss.gan,
    l_reblur=loss.reblur_l1,
    l_deblur=loss.deblur_l1,
    l_feature=loss.feature_matching,
    l_vgg=loss.vgg,
    l_field=loss.blur_field if 'field' in configs.inputs(config) else 0.0,
    gan_warmup_steps=loss.gan_warmup_steps,
  )
  nets = JointNets(
    generator=factory.build_generator(config.model, devices.AXIS, config.train.remat),
    discriminator=factory.build_discriminator(config.model) if weights.adversarial else None,
    vgg=Vgg19Features() if weights.l_vgg else None,
  )
  return nets, weights


def _joint(config: ml_collections.ConfigDict, constants: dict[str, Any] | None) -> Stage:
  nets, weights = build_joint(config)
  optimizer, schedule = build_optimizer(config)
  if constants is None:
    constants = {'vgg': load_vgg19(config.loss.vgg_path)} if weights.l_vgg else {}

  def create() -> TrainState:
    pair = nets.generator, nets.discriminator
    state = create_state(*pair, optimizer, config.seed, config.data.crop)
    return with_ema(state) if config.train.ema_decay else state

  return Stage(
    network=factory.build_generator(config.model, devices.AXIS),
    create=create,
    prepare=lambda state: state,
    step=functools.partial(
      joint_step,
      nets=nets,
      optimizer=optimizer,
      weights=weights,
      official_order=config.train.official_order,
      **_economy(config.train),
    ),
    constants=constants,
    schedule=schedule,
    inputs=configs.inputs(config),
  )


def _deblur(config: ml_collections.ConfigDict, constants: dict[str, Any] | None) -> Stage:
  net = factory.build_network(config.model, devices.AXIS, config.train.remat)
  optimizer, schedule = build_optimizer(config)
  loss = config.loss
  weights = DeblurWeights(
    l_psnr=loss.psnr, l_features=loss.encoder_features, l_deblur=loss.deblur_l1
  )

  def create() -> DeblurState:
    state = create_deblur_state(net, optimizer, config.seed, config.data.crop)
    return with_ema(state) if config.train.ema_decay else state

  def prepare(state: DeblurState) -> DeblurState:
    if config.train.init_from:
      return _take_over(config, state)
    if state.frozen:
      say('config.train.init_from is empty: E and the pyramid stay as they are drawn, untrained')
    return state

  def step(state, constants, batch):
    del constants
    return deblur_step(
      state, batch, net=net, optimizer=optimizer, weights=weights, **_economy(config.train)
    )

  return Stage(
    network=factory.build_network(config.model, devices.AXIS),
    create=create,
    prepare=prepare,
    step=step,
    constants=constants or {},
    schedule=schedule,
  )


def require_start(config: ml_collections.ConfigDict) -> None:
  """Raises UserError where `config.train.start_from` names no network of the same kind, or
  `config.train.init_from` no parts."""
  if config.train.start_from:
    _start(config)
  _parts(config)


def _start(config: ml_collections.ConfigDict) -> saved_networks.SavedNetwork:
  name = config.train.start_from
  try:
    saved = saved_networks.load(shipped.located(name)[1])
    configs.require_same_network(name, saved.about['config'], config)
  except UserError as error:
    raise UserError(f'config.train.start_from: {error}') from None
  return saved


def _started(config: ml_collections.ConfigDict, state: Any) -> Any:
  """The state with the weights of the whole network that `config.train.start_from` names; a
  discriminator and the optimisers stay as they are."""
  saved = _start(config)
  variables, spectral = saved.variables, state.variables.get('spectral')
  if spectral and 'spectral' not in variables:  # a file with its norms folded into the kernels
    variables = spectral_norm.unfolded(variables, spectral)
  variables = jax.tree.map(jnp.asarray, variables)
  if isinstance(state, DeblurState):
    frozen, variables = split(variables, FROZEN)
    state = state.replace(frozen=frozen)
  params = variables.pop('params')
  state = state.replace(generator=state.generator.replace(params=params, statistics=variables))
  return state if state.ema is None else with_ema(state)


def _take_over(config: ml_collections.ConfigDict, state: DeblurState) -> DeblurState:
  """The state with E and pyramid of the workdirs that `config.train.init_from` names."""
  parts = _parts(config)
  expected = flax.serialization.to_state_dict(state.frozen)
  checkpoints.require_same_shapes(config.train.init_from, parts, expected)
  return state.replace(frozen=flax.serialization.from_state_dict(state.frozen, parts))


def _parts(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """What the workdirs of `config.train.init_from` hold of E and pyramid."""
  parts: dict[str, Any] = {}
  for name in filter(None, map(str.strip, config.train.init_from.split(','))):
    workdir = pathlib.Path(name)
    try:
      configs.require_same_encoder(workdir, config)
      found = checkpoints.load_parts(workdir, FROZEN)
    except UserError as error:
      raise UserError(f'config.train.init_from: {error}') from None
    if twice := parts.get('params', {}).keys() & found['params'].keys():
      raise UserError(
        f'config.train.init_from names two workdirs that hold the {twice.pop()}: keep one of them.'
      )
    parts = merged(parts, found)
  return parts
