"""The joint step against plain computations: what each network learns from, in which order, and
what a step costs."""

import functools
import itertools
import re

import adam
import flax.linen as nn
import float64
import four_devices
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_joint
from adam import BETA1, CLIP, MOVED
from float64 import CLOSE, apart
from float64_steps import Steps

from degrep_jax.models import factory
from degrep_jax.models.discriminator import Discriminator
from degrep_jax.runtime import devices
from degrep_jax.training import steps

DEFAULT = tiny_joint.config()
OFFICIAL = tiny_joint.config(train__official_order=True)
REFERENCED = tiny_joint.config(
  data__source='photos', data__reference_share=1.0, loss__blur_field=0.5
)
WITHOUT = tiny_joint.config(loss__gan=0.0, loss__vgg=3.0, loss__vgg_path='unread')
RATE = 2e-4


class Pooled(nn.Module):
  """Stands for VGG19: five feature maps without a convolution."""

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
    return tuple(x * scale for scale in range(1, 6))


@pytest.fixture(scope='module')
def compiled():
  return Steps(DEFAULT)


@pytest.fixture(scope='module')
def initial():
  """The state before the first step."""
  return float64.wide(tiny_joint.initial_state(DEFAULT))


@pytest.fixture(scope='module')
def batch():
  return next(tiny_joint.batches(1))


@pytest.fixture(scope='module')
def after(compiled, initial, batch):
  """(state, metrics) after one step of the default order."""
  now, (metrics,) = compiled(initial, [batch])
  return now, metrics


@pytest.fixture(scope='module')
def after_official(initial, batch):
  """Likewise of the released order."""
  now, (metrics,) = Steps(OFFICIAL)(initial, [batch])
  return now, metrics


@pytest.fixture(scope='module')
def without():
  """The compiled step without a discriminator, with a perceptual loss."""
  return Steps(WITHOUT, vgg=Pooled())


# --- the same arithmetic, written out ------------------------------------------------------------

GENERATOR = factory.build_generator(DEFAULT.model, axis_name=None)
DISCRIMINATOR = Discriminator(2)


def _pass(module, params, statistics, *pictures):
  variables = {'params': params, **statistics}
  outputs, moved = module.apply(variables, *pictures, train=True, mutable=[*statistics])
  return outputs, moved


@float64.jit
def _generator_gradient(gen, dis, blurry, sharp, weight):
  """(gradient of `weight` GAN + 10 L1 + 10 L1, (terms, reblurred, statistics)) of the
  generators."""

  def loss(params):
    (deblurred, reblurred), moved = _pass(GENERATOR, params, gen[1], blurry, sharp)
    fake, _ = _pass(DISCRIMINATOR, *dis, sharp, reblurred)
    gan = -(fake[0][-1].mean() + fake[1][-1].mean()) / 2
    deblur, reblur = jnp.abs(deblurred - sharp).mean(), jnp.abs(reblurred - blurry).mean()
    return weight * gan + 10 * deblur + 10 * reblur, ((gan, deblur, reblur), reblurred, moved)

  return jax.grad(loss, has_aux=True)(gen[0])


@float64.jit
def _discriminator_gradient(params, statistics, sharp, blurry, reblurred):
  """(gradient of the hinge loss, (terms, statistics)) with `reblurred` a stored picture."""

  def loss(params):
    fake, moved = _pass(DISCRIMINATOR, params, statistics, sharp, reblurred)
    real, _ = _pass(DISCRIMINATOR, params, statistics, sharp, blurry)
    of_fake = sum(jnp.maximum(0, 1 + scale[-1]).mean() for scale in fake) / 2
    of_real = sum(jnp.maximum(0, 1 - scale[-1]).mean() for scale in real) / 2
    return of_fake + of_real, ((of_fake, of_real), moved)

  return jax.grad(loss, has_aux=True)(params)


def _gradient(initial, batch, weight):
  """`_generator_gradient` of a state."""
  gen, dis = ((of.params, of.statistics) for of in (initial.generator, initial.discriminator))
  return _generator_gradient(gen, dis, batch['blurry'], batch['sharp'], np.float64(weight))


@pytest.fixture(scope='module')
def by_hand(initial, batch):
  """The generators' gradient and first pass."""
  return _gradient(initial, batch, weight=1.0)


def test_generators_learn_from_the_weighted_losses(initial, after, by_hand):
  now, metrics = after
  gradient, ((gan, deblur, reblur), _, statistics) = by_hand
  adam.assert_first_step(initial.generator, now.generator, gradient, RATE)
  assert apart(now.generator.statistics, statistics) < CLOSE
  expected = {
    'l_gan': gan,
    'l_deblur': deblur,
    'l_reblur': reblur,
    'l_g': gan + 10 * deblur + 10 * reblur,
    'grad_norm_g': adam.norm(gradient),
  }
  for name, value in expected.items():
    # (The GAN's loss, a mean of either sign, may be all but 0.)
    assert metrics[name] == pytest.approx(float(value), rel=CLOSE, abs=CLOSE), name


def test_discriminator_learns_from_the_first_passs_picture(initial, batch, after, by_hand):
  now, metrics = after
  _, (_, reblurred, _) = by_hand
  before = initial.discriminator
  gradient, ((of_fake, of_real), statistics) = _discriminator_gradient(
    before.params, before.statistics, batch['sharp'], batch['blurry'], reblurred
  )
  adam.assert_first_step(before, now.discriminator, gradient, RATE)
  assert apart(now.discriminator.statistics, statistics) < CLOSE
  assert metrics['l_d_fake'] == pytest.approx(float(of_fake), rel=CLOSE)
  assert metrics['l_d_real'] == pytest.approx(float(of_real), rel=CLOSE)
  assert metrics['grad_norm_d'] == pytest.approx(adam.norm(gradient), rel=CLOSE)


@float64.jit
def _second_pass(params, statistics, blurry, sharp):
  (_, reblurred), moved = _pass(GENERATOR, params, statistics, blurry, sharp)
  return reblurred, moved


@pytest.fixture(scope='module')
def warming():
  """The compiled step whose first three are without GAN."""
  return Steps(tiny_joint.config(loss__gan_warmup_steps=3))


def test_of_a_reference_gr_learns_by_its_map_and_gd_by_the_blurry_pictures(initial, batch):
  reference = batch['blurry'][:, ::-1]
  field = np.random.default_rng(1).normal(size=(len(reference), 8, 8, 4)).astype(np.float32)
  field[..., 3] = np.array([1, 0, 1, 1])[:, None, None]  # of the second nothing is known
  _, (metrics,) = Steps(REFERENCED)(initial, [batch | {'reference': reference, 'field': field}])
  gen, sharp = initial.generator, batch['sharp']
  run = float64.jit(lambda blurry: _pass(GENERATOR, gen.params, gen.statistics, blurry, sharp)[0])
  (deblurred, own), (_, reblurred) = run(batch['blurry']), run(reference)
  assert metrics['l_deblur'] == pytest.approx(np.abs(deblurred - sharp).mean(), rel=1e-9)
  l_reblur, l_own = (np.abs(picture - batch['blurry']).mean() for picture in (reblurred, own))
  assert metrics['l_reblur'] == pytest.approx(l_reblur, rel=1e-9)
  assert abs(l_own / l_reblur - 1) > 1e-6
  encode = functools.partial(
    factory.build_encoder(REFERENCED.model).apply, train=True, mutable=['spectral']
  )
  variables = {name: tree['encoder'] for name, tree in gen.variables.items() if 'encoder' in tree}
  apart = []
  for pictures in (batch['blurry'], reference):
    maps = np.asarray(float64.jit(encode)(variables, pictures)[0])
    side = maps.shape[1]
    points = field.reshape(len(field), side, 8 // side, side, 8 // side, 4).mean((2, 4))
    apart.append(np.abs(maps[..., :3] - points[..., :3])[field[:, 0, 0, 3] == 1].sum())
  known = metrics['l_field'] * 2 * len(field) * side * side * 3
  assert known == pytest.approx(sum(apart), rel=1e-9)
  parts = (1, 'l_gan'), (10, 'l_deblur'), (10, 'l_reblur'), (0.5, 'l_field')
  total = sum(weight * metrics[name] for weight, name in parts)
  assert metrics['l_g'] == pytest.approx(total, rel=1e-9)


def test_a_warm_up_learns_from_l1_alone_and_leaves_the_discriminator(warming, initial, batch):
  last = initial.replace(step=np.asarray(2, np.int32))
  now, (metrics,) = warming(last, [batch])
  gradient, ((gan, deblur, reblur), *_) = _gradient(initial, batch, weight=0.0)
  adam.assert_first_step(initial.generator, now.generator, gradient, RATE)
  assert metrics['l_g'] == pytest.approx(10 * float(deblur) + 10 * float(reblur), rel=CLOSE)
  assert metrics['l_gan'] == pytest.approx(float(gan), rel=CLOSE, abs=CLOSE)
  assert metrics['grad_norm_d'] == 0
  jax.tree.map(
    np.testing.assert_array_equal, now.discriminator.params, initial.discriminator.params
  )


def test_the_step_after_the_warm_up_is_the_usual_one(warming, initial, batch, after):
  first = initial.replace(step=np.asarray(3, np.int32))
  now, (metrics,) = warming(first, [batch])
  assert metrics == pytest.approx(after[1], rel=CLOSE, abs=CLOSE)
  for network in ('generator', 'discriminator'):
    assert apart(*(getattr(of, network).opt_state[1][0].mu for of in (now, after[0]))) < CLOSE


def test_official_order_runs_the_moved_generators_again(
  initial, batch, after, after_official, by_hand
):
  now, metrics = after_official
  _, (_, _, statistics) = by_hand
  params = now.generator.params, after[0].generator.params
  for a, b in zip(*map(jax.tree.leaves, params), strict=True):
    np.testing.assert_allclose(a, b, rtol=0, atol=MOVED * RATE)
  reblurred, twice = _second_pass(now.generator.params, statistics, batch['blurry'], batch['sharp'])
  assert apart(now.generator.statistics, twice) < CLOSE
  before = initial.discriminator
  once = after[0].discriminator.statistics
  gradient, ((of_fake, _), statistics) = _discriminator_gradient(
    before.params, once, batch['sharp'], batch['blurry'], reblurred
  )
  adam.assert_first_step(before, now.discriminator, gradient, RATE)
  assert apart(now.discriminator.statistics, statistics) < CLOSE
  assert metrics['l_d_fake'] == pytest.approx(float(of_fake), rel=CLOSE)
  assert abs(metrics['l_d_fake'] - after[1]['l_d_fake']) > 1e-5


def _iterated(kernel, u, times):
  matrix = kernel.reshape(-1, kernel.shape[-1])
  for _ in range(times):
    v = matrix @ u
    u = matrix.T @ (v / np.linalg.norm(v))
    u /= np.linalg.norm(u)
  return u


def test_a_step_is_one_power_iteration_of_d_and_an_official_one_two(initial, after, after_official):
  before = initial.discriminator
  for (now, _), times in ((after, 1), (after_official, 2)):
    for name in ('conv_1', 'conv_2', 'conv_3'):
      kernel = before.params['scale_0'][name]['kernel']
      u = before.statistics['spectral']['scale_0'][name]['u']
      moved = now.discriminator.statistics['spectral']['scale_0'][name]['u']
      assert apart(moved, _iterated(kernel, u, times)) < CLOSE
      assert np.abs(moved - _iterated(kernel, u, 3 - times)).max() > 1e-3


def test_clipping_bounds_what_adam_sees(after):
  now, metrics = after
  for network, name in ((now.generator, 'grad_norm_g'), (now.discriminator, 'grad_norm_d')):
    assert metrics[name] > 10 * CLIP
    assert adam.norm(network.opt_state[1][0].mu) == pytest.approx((1 - BETA1) * CLIP, rel=CLOSE)


def test_both_optimisers_and_the_step_count_every_step(compiled, initial):
  now, _ = compiled(initial, tiny_joint.batches(2))
  assert now.step == 2
  for network in (now.generator, now.discriminator):
    counts = [x for x in jax.tree.leaves(network.opt_state) if x.dtype == np.int32]
    assert len(counts) == 2  # Adam's and the schedule's
    assert all(count == 2 for count in counts)


def test_the_old_state_is_given_up(compiled, initial, batch):
  with jax.enable_x64(True):
    old = devices.replicate(initial)
    shares = devices.shard(float64.wide(batch))
    jax.block_until_ready(compiled.program(old, tiny_joint.FROZEN, shares))
  for network in (old.generator, old.discriminator):
    # Of the statistics, the stored right vectors are not: a training pass makes them anew.
    leaves = jax.tree.leaves((network.params, network.opt_state))
    assert all(leaf.is_deleted() for leaf in leaves)


def test_a_run_without_adversary_has_no_discriminator(without, initial, batch):
  start = tiny_joint.initial_state(WITHOUT)
  assert start.discriminator is None
  now, (metrics,) = without(start, [batch])
  assert now.discriminator is None
  assert set(metrics) == {'l_deblur', 'l_reblur', 'l_vgg', 'l_g', 'grad_norm_g'}
  generator = initial.generator
  reblurred, _ = _second_pass(
    generator.params, generator.statistics, batch['blurry'], batch['sharp']
  )
  difference = np.abs(reblurred - batch['blurry']).mean()
  weights = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1)
  vgg = difference * sum(weight * (i + 1) for i, weight in enumerate(weights))
  assert metrics['l_reblur'] == pytest.approx(difference, rel=CLOSE)
  assert metrics['l_vgg'] == pytest.approx(vgg, rel=CLOSE)
  total = 10 * metrics['l_deblur'] + 10 * metrics['l_reblur'] + 3 * metrics['l_vgg']
  assert metrics['l_g'] == pytest.approx(total, rel=CLOSE)


def test_which_weights_need_a_discriminator():
  none = dict.fromkeys(steps.LossWeights._fields, 0.0)
  for name in none:
    weights = steps.LossWeights(**none | {name: 1.0})
    assert weights.adversarial == (name in ('l_gan', 'l_feature'))


def _convolutions(steps):
  return len(re.findall(r' convolution\(', steps.program.as_text()))


def test_the_discriminator_costs_no_more_than_it_must(compiled, without):
  """Two scales of five convolutions: one pass of the reblurred picture, though two losses use it,
  and one of the blurry one (2 * 10); the generators' gradient through the first (10); D's gradient
  of both: filters of all but the fourth layer of a scale (2 * 8; that one's are matrix products on
  CPUs), and inputs of all but the first layers (2 * 8)."""
  needed = 2 * 10 + 10 + 2 * 8 + 2 * 8
  assert _convolutions(compiled) - _convolutions(without) == needed


# --- several devices -----------------------------------------------------------------------------


@pytest.fixture(scope='module')
def four():
  return four_devices.run('import collectives; collectives.main()')


def test_replicas_stay_equal_to_the_bit(four):
  assert four['devices'] == 4
  assert four['leaves'] > 100
  assert four['differing'] == []


def test_four_devices_learn_what_one_learns(four, compiled, initial):
  """From the second step on with what Adam makes of rounding: a loss hardly depends on the
  parameters that it amplifies, so that all N = 9e4 of them change it by sqrt(N) * RATE = 0.06 of
  what their gradients, of norm 40 at most, are off."""
  _, rows = compiled(initial, tiny_joint.batches(3))
  for step, (ours, expected) in enumerate(zip(four['losses'], rows, strict=True)):
    assert set(ours) == set(expected)
    tolerance = CLOSE + step * 0.06 * 40 * CLOSE
    for name, value in ours.items():
      assert value == pytest.approx(expected[name], rel=tolerance, abs=tolerance), (step, name)


def test_devices_exchange_gradients_metrics_and_moments_once(four):
  """Every parameter's gradient, the metrics as one vector, and per modulation of C channels 2 C
  moments on the way forward and 2 C on the way back; XLA decides how they travel together."""
  channels = [2, 4] * 2  # of the modulated skips of two generators
  moments = [2 * c for c in channels] * 2
  assert four['metrics'] == 6
  expected = [*four['parameter_sizes'], four['metrics'], *moments]
  assert sorted(itertools.chain(*four['sizes'])) == sorted(expected)
  operands = list(itertools.chain(*four['operands']))
  assert len(set(operands)) == len(operands) == len(expected)
  carried = {kind: sum(row[kind] for row in four['table']) for kind in four['table'][0]}
  assert carried == {
    'gradients': four['parameters'],
    'moments': sum(moments),
    'metrics': four['metrics'],
  }
  assert len(four['table']) <= 1 + len(moments)
