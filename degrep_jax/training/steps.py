"""The optimisation steps of both stages: update order and what is held constant, stated once.

Joint stage, default order: E, the pyramid, Gr and Gd run once; the generators' loss and the
discriminator's loss are taken on that one reblurred picture (held constant for D) and one pass of
D, then both networks move. The `official` order is the released one: the generators move first and
run again in full (their spectral and batch statistics advance a second time), and D, whose spectral
norm advances a second time too, learns from what they make now.

Deblurring stage: the weights of E and the pyramid are constants, whose gradients are not computed
(that of the feature loss passes through E to the picture); the power iterations of their spectral
norms go on. The feature loss sees E as it was before.

Gradient accumulation, of every pass above: a device's share of the batch goes through the networks
in micro-batches, each with the weights and statistics from before the step. The power iterations so
advance once a step and a kernel has one sigma in it; gradients, metrics and the batch norms' moved
statistics are means over the micro-batches, before they are means over the devices. Without batch
norm the step is that of the whole batch; a batch norm normalises by the statistics of the
micro-batch (of all devices).

In bfloat16, networks compute with parameters rounded to it (`variables.cast`: all but E's);
parameters, their gradients' sums, statistics, losses and optimisers are float32.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from degrep_jax.models.layers import widened
from degrep_jax.models.variables import FROZEN, STATISTICS, cast, merged, split
from degrep_jax.training import losses
from degrep_jax.training.state import DeblurState, NetworkState, TrainState, moving_average

Metrics = dict[str, jax.Array]


GAN_TERMS = ('l_gan', 'l_feature')  # of the generators' loss: what a discriminator says


class LossWeights(NamedTuple):
  """Weights of the terms of the generators' loss; a term of weight 0 is not optimised.

  Attributes:
    gan_warmup_steps: how many steps come first in which `GAN_TERMS` count for nothing and D keeps
      its parameters (ours).
  """

  l_gan: float
  l_reblur: float
  l_deblur: float
  l_feature: float
  l_vgg: float
  l_field: float = 0.0
  gan_warmup_steps: int = 0

  @property
  def adversarial(self) -> bool:
    """Whether a discriminator is needed."""
    return bool(self.l_gan or self.l_feature)

  def gan_share(self, step: jax.Array) -> jax.Array | float:
    """Of the losses of and by D in the step after `step` others: 0 in the warm-up, then 1."""
    if not self.gan_warmup_steps:
      return 1.0
    return (step >= self.gan_warmup_steps).astype(jnp.float32)


class JointNets(NamedTuple):
  """The modules of the joint stage.

  Attributes:
    generator: `JointNet`.
    discriminator: `Discriminator`, or None where `LossWeights.adversarial` is False.
    vgg: `Vgg19Features`, or None where its weight is 0.
  """

  generator: nn.Module
  discriminator: Any
  vgg: Any


def _widened(tree: Any) -> Any:
  return jax.tree.map(widened, tree)


def _train_pass(
  module: nn.Module,
  params: Any,
  statistics: Any,
  *inputs: jax.Array,
  dtype: str,
  method: str | None = None,
):
  """(outputs, statistics after the pass), both float32 or wider, computed in `dtype`."""
  variables = {'params': cast(params, dtype), **statistics}
  outputs, moved = module.apply(variables, *inputs, train=True, mutable=STATISTICS, method=method)
  return _widened(outputs), dict(moved)


def _shown(batch: dict[str, jax.Array]) -> list[jax.Array]:
  """What a joint net takes of a batch, in its order."""
  return [batch[name] for name in ('blurry', 'sharp', 'reference') if name in batch]


def _discriminate(module, params, statistics, sharp, pictures, dtype):
  """D's outputs on each of `pictures`, and its statistics after what counts as one pass of D."""
  passes = [
    _train_pass(module, params, statistics, sharp, picture, dtype=dtype) for picture in pictures
  ]
  return [outputs for outputs, _ in passes], passes[0][1]


def _generator_loss(params, state: TrainState, frozen, batch, nets: JointNets, weights, dtype):
  """(weighted sum, (terms, reblurred, generators' statistics, discriminator's statistics))."""
  blurry, sharp, dis = batch['blurry'], batch['sharp'], state.discriminator
  (deblurred, reblurred, maps), statistics = _train_pass(
    nets.generator,
    params,
    state.generator.statistics,
    *_shown(batch),
    dtype=dtype,
    method='with_map',
  )
  terms = {'l_deblur': losses.l1(deblurred, sharp), 'l_reblur': losses.l1(reblurred, blurry)}
  if weights.l_field:
    terms['l_field'] = losses.field_l1(maps, batch['field'])
  dis_statistics = None
  if weights.adversarial:
    pictures = [reblurred, blurry] if weights.l_feature else [reblurred]
    outputs, dis_statistics = _discriminate(
      nets.discriminator, dis.params, dis.statistics, sharp, pictures, dtype
    )
    terms['l_gan'] = losses.hinge_generator(outputs[0])
    if weights.l_feature:
      terms['l_feature'] = losses.feature_matching(*outputs)
  if weights.l_vgg:
    vgg = {'params': cast(frozen['vgg'], dtype)}
    fake, real = (_widened(nets.vgg.apply(vgg, picture)) for picture in (reblurred, blurry))
    terms['l_vgg'] = losses.perceptual(fake, real)
  share = weights.gan_share(state.step)
  total = sum(
    (share if name in GAN_TERMS else 1) * getattr(weights, name) * term
    for name, term in terms.items()
  )
  return total, (terms | {'l_g': total}, reblurred, statistics, dis_statistics)


def _discriminator_loss(params, statistics, module, batch, reblurred, share, dtype):
  """(hinge loss times `share`, (terms, statistics)); `reblurred` is a constant here."""
  (fake, real), statistics = _discriminate(
    module, params, statistics, batch['sharp'], [reblurred, batch['blurry']], dtype
  )
  terms = {
    'l_d_fake': losses.hinge_discriminator_fake(fake),
    'l_d_real': losses.hinge_discriminator_real(real),
  }
  return share * sum(terms.values()), (terms, statistics)


def _accumulated(learn: Callable, params: Any, batch: dict[str, jax.Array], count: int):
  """What `learn` gives for a batch, from `count` micro-batches of it, one after the other.

  Args:
    learn: (params, batch) -> (gradients, metrics, statistics), the first two means over the batch.
    params: what the gradients are of.
    batch: arrays `(B, ...)`, B a multiple of `count`.
    count: 1 hands the whole batch on.

  Returns:
    (gradients, metrics, statistics) as `learn`.
  """
  if count == 1:
    return learn(params, batch)

  def add(total, part):
    total, part = jax.lax.optimization_barrier((total, part))  # one after the other
    gradients, *others = learn(params, part)
    return jax.tree.map(jnp.add, total, gradients), others

  parts = jax.tree.map(lambda x: x.reshape(count, len(x) // count, *x.shape[1:]), batch)
  # XLA's CPU backend computes gradients of convolutions fast outside of loops alone.
  unroll = count if jax.default_backend() == 'cpu' else 1
  zeros = jax.tree.map(jnp.zeros_like, params)
  total, (metrics, statistics) = jax.lax.scan(add, zeros, parts, unroll=unroll)
  return (
    jax.tree.map(lambda x: x / count, total),
    jax.tree.map(lambda x: x.mean(0), metrics),
    jax.tree_util.tree_map_with_path(_of_the_step, statistics),
  )


def _of_the_step(path: tuple, values: jax.Array) -> jax.Array:
  """One statistic after a step from those of its micro-batches `(count, ...)`, each of which moved
  it from where it was before."""
  if any(getattr(level, 'key', None) == 'batch_stats' for level in path):
    return values.mean(0)
  return values[-1]  # power iterations do not look at pictures: all are equal


def _mean_over_devices(gradients: Any, metrics: Metrics, axis_name: str) -> tuple[Any, Metrics]:
  """One collective for gradients and metrics; the scalars travel as one vector."""
  names = sorted(metrics)
  values = jnp.stack([metrics[name] for name in names])
  gradients, values = jax.lax.pmean((gradients, values), axis_name)
  return gradients, dict(zip(names, values, strict=True))


def _move(network: NetworkState, gradients, statistics, optimizer) -> NetworkState:
  updates, opt_state = optimizer.update(gradients, network.opt_state, network.params)
  params = optax.apply_updates(network.params, updates)
  return NetworkState(params=params, statistics=statistics, opt_state=opt_state)


def joint_step(
  state: TrainState,
  frozen: dict[str, Any],
  batch: dict[str, jax.Array],
  *,
  nets: JointNets,
  optimizer: optax.GradientTransformation,
  weights: LossWeights,
  official_order: bool,
  accumulate_steps: int = 1,
  dtype: str = 'float32',
  ema_decay: float = 0.0,
  axis_name: str = 'batch',
) -> tuple[TrainState, Metrics]:
  """One step of all networks of the joint stage, to be run inside `jax.pmap(..., axis_name)`.

  Sources: supplementary section 1 (default), released `image_restoration2_model.py`
  (`official_order`).

  Args:
    state: equal on all devices; may be donated.
    frozen: {'vgg': parameters of `nets.vgg`} where `weights.l_vgg` is not 0, else empty.
    batch: 'blurry' and 'sharp', `(B, H, W, 3)` in [0, 1]: this device's share; perhaps 'reference',
      other pictures under the same blur, by whose maps is reblurred, and where `weights.l_field` is
      not 0 'field', see `losses.field_l1`.
    nets: the modules.
    optimizer: of both networks; each has its own state.
    weights: of the generators' loss.
    official_order: the released order of updates, see the head of this file.
    accumulate_steps: micro-batches, of which B must be a multiple.
    dtype: that the networks compute in, float32 or bfloat16.
    ema_decay: of the state's moving average, where it has one, see `state.moving_average`.
    axis_name: the device axis.

  Returns:
    The next state, and scalars that are means over all devices: the unweighted loss terms `l_*`,
    the generators' weighted sum `l_g`, and both gradient norms before clipping.
  """
  gen, dis = state.generator, state.discriminator
  accumulated = functools.partial(_accumulated, batch=batch, count=accumulate_steps)
  generator_gradients = jax.grad(_generator_loss, has_aux=True)
  discriminator_gradients = jax.grad(_discriminator_loss, has_aux=True)
  share = weights.gan_share(state.step)

  def learn_generators(params, batch):
    gradients, (terms, _, *statistics) = generator_gradients(
      params, state, frozen, batch, nets, weights, dtype
    )
    return gradients, terms, statistics

  def learn_discriminator(params, batch, gen, statistics):
    """From the generators' picture of another pass."""
    (_, reblurred), moved = _train_pass(
      nets.generator, gen.params, gen.statistics, *_shown(batch), dtype=dtype
    )
    gradients, (terms, statistics) = discriminator_gradients(
      params, statistics, nets.discriminator, batch, jax.lax.stop_gradient(reblurred), share, dtype
    )
    return gradients, terms, (moved, statistics)

  def learn_both(params, batch):
    """All from one pass of the generators and one of D."""
    gradients, (terms, reblurred, moved, _) = generator_gradients(
      params[0], state, frozen, batch, nets, weights, dtype
    )
    fake = jax.lax.stop_gradient(reblurred)
    dis_gradients, (dis_terms, statistics) = discriminator_gradients(
      params[1], dis.statistics, nets.discriminator, batch, fake, share, dtype
    )
    return (gradients, dis_gradients), terms | dis_terms, (moved, statistics)

  if not weights.adversarial:
    gradients, terms, (statistics, _) = accumulated(learn_generators, gen.params)
    gradients, metrics = _mean_over_devices(gradients, terms, axis_name)
    gen = _move(gen, gradients, statistics, optimizer)
  elif official_order:
    gradients, terms, (statistics, dis_statistics) = accumulated(learn_generators, gen.params)
    gradients = jax.lax.pmean(gradients, axis_name)
    gen = _move(gen, gradients, statistics, optimizer)
    learn = functools.partial(learn_discriminator, gen=gen, statistics=dis_statistics)
    dis_gradients, dis_terms, (statistics, dis_statistics) = accumulated(learn, dis.params)
    gen = gen.replace(statistics=statistics)
    dis_gradients, metrics = _mean_over_devices(dis_gradients, terms | dis_terms, axis_name)
    dis = _move(dis, dis_gradients, dis_statistics, optimizer)
  else:
    gradients, terms, (statistics, dis_statistics) = accumulated(
      learn_both, (gen.params, dis.params)
    )
    (gradients, dis_gradients), metrics = _mean_over_devices(gradients, terms, axis_name)
    gen = _move(gen, gradients, statistics, optimizer)
    dis = _move(dis, dis_gradients, dis_statistics, optimizer)
  metrics['grad_norm_g'] = optax.tree.norm(gradients)
  if weights.adversarial:
    metrics['grad_norm_d'] = optax.tree.norm(dis_gradients)
  ema = moving_average(state.ema, gen.params, state.step, ema_decay)
  return TrainState(step=state.step + 1, generator=gen, discriminator=dis, ema=ema), metrics


class DeblurWeights(NamedTuple):
  """Weights of the terms of the deblurring loss; a term of weight 0 is not optimised."""

  l_psnr: float
  l_features: float
  l_deblur: float = 0.0


def deblur_step(
  state: DeblurState,
  batch: dict[str, jax.Array],
  *,
  net: nn.Module,
  optimizer: optax.GradientTransformation,
  weights: DeblurWeights,
  accumulate_steps: int = 1,
  dtype: str = 'float32',
  ema_decay: float = 0.0,
  axis_name: str = 'batch',
) -> tuple[DeblurState, Metrics]:
  """One step of the deblurring stage, to be run inside `jax.pmap(..., axis_name)`.

  Sources: paper section 3.3, released `image_restoration_model.py`.

  Args:
    state: equal on all devices; may be donated.
    batch: 'blurry' and 'sharp', `(B, H, W, 3)` in [0, 1]: this device's share.
    net: `MSDINet`, or `HINet`, which has no encoder: its `weights.l_features` must be 0.
    optimizer: of the deblurring U-Nets.
    weights: of the loss.
    accumulate_steps: micro-batches, of which B must be a multiple.
    dtype: that the networks compute in, float32 or bfloat16.
    ema_decay: of the state's moving average, where it has one, see `state.moving_average`.
    axis_name: the device axis.

  Returns:
    The next state, and scalars that are means over all devices: `l_psnr` and `l_deblur` (summed
    over both outputs) and `l_features` unweighted, their weighted sum `l_g`, and the gradient norm
    before clipping. All but `l_psnr` are there only where they have a weight.
  """
  generator = state.generator

  def features(picture):
    return net.apply(state.frozen, picture, method='encoder_features')

  def loss(params, batch):
    whole = merged(state.frozen, {'params': params, **generator.statistics})
    statistics = {name: tree for name, tree in whole.items() if name != 'params'}
    outputs, moved = _train_pass(net, whole['params'], statistics, batch['blurry'], dtype=dtype)
    terms = {'l_psnr': sum(losses.psnr_loss(picture, batch['sharp']) for picture in outputs)}
    if weights.l_deblur:
      terms['l_deblur'] = sum(losses.l1(picture, batch['sharp']) for picture in outputs)
    if weights.l_features:
      terms['l_features'] = losses.features_l1(features(outputs[-1]), features(batch['sharp']))
    total = sum(getattr(weights, name) * term for name, term in terms.items())
    return total, (terms | {'l_g': total}, moved)

  def learn(params, batch):
    gradients, (terms, moved) = jax.grad(loss, has_aux=True)(params, batch)
    return gradients, terms, moved

  gradients, terms, moved = _accumulated(learn, generator.params, batch, accumulate_steps)
  frozen_statistics, statistics = split(moved, FROZEN)
  gradients, metrics = _mean_over_devices(gradients, terms, axis_name)
  generator = _move(generator, gradients, statistics, optimizer)
  metrics['grad_norm_g'] = optax.tree.norm(gradients)
  return DeblurState(
    step=state.step + 1,
    generator=generator,
    frozen=state.frozen | frozen_statistics,
    ema=moving_average(state.ema, generator.params, state.step, ema_decay),
  ), metrics
