"""The training state, one pytree, and the optimiser with its schedule."""

from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from degrep_jax.models.variables import FROZEN, merged, split


class NetworkState(flax.struct.PyTreeNode):
  """One optimised network.

  Attributes:
    params: its parameters.
    statistics: its other collections: spectral-norm iterates, batch-norm running statistics.
    opt_state: moments and schedule position of its optimiser.
  """

  params: Any
  statistics: Any
  opt_state: Any

  @property
  def variables(self) -> dict:
    """What `module.apply` takes."""
    return {'params': self.params, **self.statistics}

  def averaged(self, ema: Any) -> dict:
    """`variables` with the averaged parameters, where there are any."""
    return self.variables if ema is None else self.variables | {'params': ema}


class TrainState(flax.struct.PyTreeNode):
  """Everything that a joint run continues from.

  Attributes:
    step: () int32, optimiser steps done.
    generator: E, the pyramid, Gr and Gd, optimised together.
    discriminator: NetworkState of D; None where no loss needs it.
    ema: moving average of the generator's parameters; None: there is none.
  """

  step: jax.Array
  generator: NetworkState
  discriminator: Any
  ema: Any = None

  @property
  def variables(self) -> dict:
    """What the joint net's `apply` takes where it is evaluated: the averaged parameters, if there
    are any, with the trained net's statistics."""
    return self.generator.averaged(self.ema)


class DeblurState(flax.struct.PyTreeNode):
  """Everything that a run of the deblurring stage continues from.

  Attributes:
    step: () int32, optimiser steps done.
    generator: the deblurring U-Nets.
    frozen: variables of E and the map pyramid, of which only the spectral norms' iterates move;
      empty for HINet.
    ema: moving average of the generator's parameters; None: there is none.
  """

  step: jax.Array
  generator: NetworkState
  frozen: Any
  ema: Any = None

  @property
  def variables(self) -> dict:
    """What the deblurring net's `apply` takes where it is evaluated, as `TrainState.variables`."""
    return merged(self.frozen, self.generator.averaged(self.ema))


def learning_rate_schedule(
  learning_rate: float, final_learning_rate: float, schedule_steps: int, warmup_steps: int = 0
) -> optax.Schedule:
  """Cosine from `learning_rate` to `final_learning_rate` over `schedule_steps` steps, constant
  afterwards; the first `warmup_steps` take an evenly rising share of it, the last of them all."""
  cosine = optax.cosine_decay_schedule(
    learning_rate, schedule_steps, alpha=final_learning_rate / learning_rate
  )
  if not warmup_steps:
    return cosine
  return lambda count: cosine(count) * jnp.minimum((count + 1) / warmup_steps, 1)


def make_optimizer(
  schedule: optax.Schedule, beta1: float, beta2: float, clip_norm: float
) -> optax.GradientTransformation:
  """Adam on gradients clipped to a global norm; generators and discriminator each have a state of
  their own."""
  adam = optax.chain(_scale_by_adam(beta1, beta2), optax.scale_by_learning_rate(schedule))
  return optax.chain(_clip_by_global_norm(clip_norm), adam)


def _scale_by_adam(beta1: float, beta2: float) -> optax.GradientTransformation:
  """Optax's, but for a barrier: the direction is computed from the new moments.

  XLA would compute it from the old ones once more, and to that end copy them and the parameters at
  the start of a step: 0.9 GiB of 6.6 for MSDI-Net at full width.
  """
  adam = optax.scale_by_adam(beta1, beta2)

  def update(gradients: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
    _, state = adam.update(gradients, state, params)
    mu, nu = (jax.tree.map(jax.lax.optimization_barrier, tree) for tree in (state.mu, state.nu))
    mean = optax.tree.bias_correction(mu, beta1, state.count)
    square = optax.tree.bias_correction(nu, beta2, state.count)
    direction = jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + 1e-8), mean, square)
    return direction, state._replace(mu=mu, nu=nu)

  return optax.GradientTransformation(adam.init, update)


def _clip_by_global_norm(largest: float) -> optax.GradientTransformation:
  """Optax's, which divides each gradient in a pass of its own; a factor is multiplied in where Adam
  reads the gradient."""

  def clipped(gradients: Any, params: Any) -> Any:
    del params
    factor = jnp.minimum(1, largest / optax.tree.norm(gradients))
    return jax.tree.map(lambda gradient: factor * gradient, gradients)

  return optax.stateless(clipped)


def create_network(
  module: nn.Module,
  key: jax.Array,
  optimizer: optax.GradientTransformation,
  *pictures: jax.ShapeDtypeStruct,
) -> NetworkState:
  """Initial variables of a module called with `pictures`, and its optimiser state."""
  # The forward pass is not run: compiling it, or all initialisers as one program, takes a minute.
  return network_state(dict(module.lazy_init(key, *pictures)), optimizer)


def network_state(variables: dict, optimizer: optax.GradientTransformation) -> NetworkState:
  """The state of variables {collection: tree}, the optimiser at its beginning."""
  statistics = {name: tree for name, tree in variables.items() if name != 'params'}
  params = variables['params']
  return NetworkState(params=params, statistics=statistics, opt_state=optimizer.init(params))


def create_state(
  generator: nn.Module,
  discriminator: nn.Module | None,
  optimizer: optax.GradientTransformation,
  seed: int,
  crop: int,
) -> TrainState:
  """The state before the first step: a pure function of its arguments.

  Args:
    generator: called with (blurry, sharp).
    discriminator: called with (sharp, picture), or None.
    optimizer: of both.
    seed: of the initial weights.
    crop: height and width of the training crops, pixels.
  """
  # The default generator's initialisers take three times as long to compile on a CPU.
  keys = jax.random.split(jax.random.key(seed, impl='rbg'))
  picture = jax.ShapeDtypeStruct((1, crop, crop, 3), jnp.float32)
  pair = (picture, picture)
  return TrainState(
    step=jnp.zeros((), jnp.int32),
    generator=create_network(generator, keys[0], optimizer, *pair),
    discriminator=discriminator and create_network(discriminator, keys[1], optimizer, *pair),
  )


def with_ema(state: Any) -> Any:
  """A state before its first step, with a moving average that starts at its parameters."""
  return state.replace(ema=jax.tree.map(jnp.copy, state.generator.params))


def moving_average(ema: Any, params: Any, done: jax.Array, decay: float) -> Any:
  """The average after one more step: decay * ema + (1 - decay) * params.

  Args:
    ema: before the step; None stays None.
    params: after it.
    done: () int32, steps before it. The decay is min(decay, (1 + done) / (10 + done)), so that the
      weights of the beginning are soon forgotten.
    decay: in (0, 1).
  """
  if ema is None:
    return None
  rest = 1 - jnp.minimum(decay, (1 + done) / (10 + done))
  return jax.tree.map(lambda average, x: average + rest * (x - average), ema, params)


def create_deblur_state(
  module: nn.Module, optimizer: optax.GradientTransformation, seed: int, crop: int
) -> DeblurState:
  """The state of the deblurring stage before the first step, E and pyramid untrained.

  Args:
    module: `MSDINet`, whose parts `FROZEN` get no optimiser state, or `HINet`, which has none.
    optimizer: of the rest.
    seed: of the initial weights.
    crop: height and width of the training crops, pixels.
  """
  key = jax.random.key(seed, impl='rbg')
  picture = jax.ShapeDtypeStruct((1, crop, crop, 3), jnp.float32)
  frozen, variables = split(dict(module.lazy_init(key, picture)), FROZEN)
  return DeblurState(
    step=jnp.zeros((), jnp.int32),
    generator=network_state(variables, optimizer),
    frozen=frozen,
  )
