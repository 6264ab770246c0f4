"""Steps in micro-batches against the step of the whole batch, and what one program costs."""

import float64
import jax
import numpy as np
import pytest
import tiny_deblur
import tiny_joint
from adam import MOVED
from float64 import CLOSE, apart
from float64_steps import Steps

from degrep_jax.models.variables import count_parameters
from degrep_jax.runtime import devices
from degrep_jax.training import stages

# Without batch norm: the figure's modulation, and the deblurring stage.
CASES = {
  'joint': tiny_joint.config(model__modulation='sam'),
  'official order': tiny_joint.config(model__modulation='sam', train__official_order=True),
  'without D': tiny_joint.config(model__modulation='sam', loss__gan=0.0),
  'deblurring': tiny_deblur.config(),
}
SPADE = tiny_joint.config()
CLIP = 0.01
SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in CASES if case != 'deblurring']


def _with(config, **fields):
  config = config.copy_and_resolve_references()
  config.train.update(fields)
  return config


def _initial(config):
  tiny = tiny_joint if config.model.network == 'joint' else tiny_deblur
  return float64.wide(tiny.initial_state(config))


def _networks(state):
  return [state.generator, *filter(None, [getattr(state, 'discriminator', None)])]


@pytest.mark.parametrize('case', ['deblurring', *SLOW])
def test_micro_batches_are_the_whole_batch(case):
  config = CASES[case]
  initial = _initial(config)
  (expected, (metrics,)), (now, (ours,)) = (
    Steps(_with(config, accumulate_steps=count))(initial, tiny_joint.batches(1)) for count in (1, 2)
  )
  assert ours.keys() == metrics.keys()
  for name, value in metrics.items():
    # (The GAN's loss, a mean of either sign, is all but 0 at times.)
    assert ours[name] == pytest.approx(value, rel=CLOSE, abs=CLOSE), name
  assert now.step == expected.step == 1
  networks = [*zip(*map(_networks, (initial, now, expected)), strict=True)]
  assert len(networks) == (2 if case in ('joint', 'official order') else 1)
  rate = config.optimizer.learning_rate
  for before, network, plain in networks:
    moments, expected_moments = network.opt_state[1][0], plain.opt_state[1][0]
    assert apart(moments.mu, expected_moments.mu) < CLOSE
    assert apart(moments.nu, expected_moments.nu) < 2 * CLOSE  # of squares
    for a, b in zip(*map(jax.tree.leaves, (network.params, plain.params)), strict=True):
      np.testing.assert_allclose(a, b, rtol=0, atol=MOVED * rate)
    assert apart(plain.params, before.params) > 1e-6
    assert apart(network.statistics, plain.statistics) < CLOSE
  if case == 'deblurring':
    assert apart(now.frozen, expected.frozen) < CLOSE


def _half(batch, i):
  return {name: x[2 * i : 2 * i + 2] for name, x in batch.items()}


def _gradient(network, norm):
  """Of a first step, from Adam's moments and the norm before clipping."""
  return jax.tree.map(lambda mu: mu * (norm / CLIP), network.opt_state[1][0].mu)


@pytest.mark.slow
def test_batch_norm_sees_micro_batches():
  """Losses, gradients and moved statistics are the means of those of steps with half the batch."""
  initial, batch = _initial(SPADE), next(tiny_joint.batches(1))
  now, (metrics,) = Steps(_with(SPADE, accumulate_steps=2))(initial, [batch])
  half = Steps(_with(SPADE, batch_size=2))
  (one, (of_one,)), (other, (of_other,)) = (half(initial, [_half(batch, i)]) for i in range(2))
  for name in metrics:
    if name.startswith('l_'):
      expected = (of_one[name] + of_other[name]) / 2
      assert metrics[name] == pytest.approx(expected, rel=CLOSE, abs=CLOSE), name
  for of, name in (('generator', 'grad_norm_g'), ('discriminator', 'grad_norm_d')):
    gradients = [
      _gradient(getattr(after, of), values[name])
      for after, values in ((now, metrics), (one, of_one), (other, of_other))
    ]
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *gradients[1:])
    assert apart(gradients[0], expected) < CLOSE
    assert apart(gradients[1], gradients[2]) > 1e-2
  moved = [tiny_deblur.by_path(of.generator.statistics) for of in (now, one, other)]
  assert sum('batch_stats' in path for path in moved[0]) == 8
  for path, ours in moved[0].items():
    assert apart(ours, (moved[1][path] + moved[2][path]) / 2) < CLOSE, path
    if 'spectral' in path:
      assert apart(moved[1][path], moved[2][path]) < CLOSE, path


def _equations(jaxpr):
  """(operation, whether it is inside a loop) of a program, at any depth."""
  for equation in jaxpr.eqns:
    yield equation, False
    for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
      if _is_jaxpr(inner):
        for of, inside in _equations(getattr(inner, 'jaxpr', inner)):
          yield of, inside or equation.primitive.name == 'scan'


def _is_jaxpr(x):
  return hasattr(x, 'eqns') or hasattr(x, 'jaxpr')


def test_devices_exchange_gradients_after_the_last_micro_batch():
  stage = stages.open_stage(_with(CASES['joint'], accumulate_steps=4))
  state = jax.eval_shape(stage.create)
  pictures = jax.ShapeDtypeStruct((4, 32, 32, 3), np.float32)
  batch = {'blurry': pictures, 'sharp': pictures}
  program = jax.make_jaxpr(stage.step, axis_env=[(devices.AXIS, 2)])(state, {}, batch)
  found = list(_equations(program.jaxpr))
  # Inside it filter gradients are summed over blocks of rows, by loops of their own.
  (loop,) = (of for of, inside in found if of.primitive.name == 'scan' and not inside)
  assert loop.params['length'] == 4
  exchanges = [(of, inside) for of, inside in found if of.primitive.name.startswith('psum')]
  assert not any(inside for _, inside in exchanges)
  exchanged = sum(x.aval.size for of, _ in exchanges for x in of.invars)
  trained = state.generator.params, state.discriminator.params
  losses = ('l_deblur', 'l_reblur', 'l_gan', 'l_g', 'l_d_fake', 'l_d_real')
  assert exchanged == count_parameters(trained) + len(losses)
