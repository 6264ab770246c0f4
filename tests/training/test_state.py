"""The optimiser and its schedule by formula."""

import functools

import float64
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from float64 import CLOSE, apart
from rounding import U

from degrep_jax.training import state

RATE, CLIP, BETA1, BETA2 = 2e-4, 0.01, 0.9, 0.99


def test_a_larger_loss_moves_no_further():
  optimizer = state.make_optimizer(lambda count: RATE, BETA1, BETA2, CLIP)
  draw = np.random.default_rng(0).normal
  gradient = {'a': draw(size=5), 'b': draw(size=(2, 3))}

  @float64.jit
  def update(gradient):
    params = jax.tree.map(jnp.zeros_like, gradient)
    updates, (_, (adam, *_)) = optimizer.update(gradient, optimizer.init(params), params)
    return updates, adam.mu, adam.nu

  large = jax.tree.map(lambda g: 1000 * g, gradient)
  assert apart(update(large), update(gradient)) < CLOSE
  small = jax.tree.map(lambda g: g * 1e-4, gradient)  # below the bound: passes as it is
  assert apart(update(small)[1], jax.tree.map(lambda g: (1 - BETA1) * g, small)) < CLOSE


def test_the_optimiser_is_optax_adam_on_clipped_gradients():
  """Its state too, which checkpoints hold: of the same types in the same places."""
  ours = state.make_optimizer(lambda count: RATE / (1 + count), BETA1, BETA2, CLIP)
  optaxs = optax.chain(
    optax.clip_by_global_norm(CLIP), optax.adam(lambda count: RATE / (1 + count), BETA1, BETA2)
  )
  draw = np.random.default_rng(0).normal
  gradients = [{'a': size * draw(size=5), 'b': size * draw(size=(2, 3))} for size in (1, 1e-4, 3)]

  def moved(optimizer, *gradients):
    params = jax.tree.map(jnp.ones_like, gradients[0])
    opt_state = optimizer.init(params)
    for gradient in gradients:
      updates, opt_state = optimizer.update(gradient, opt_state, params)
      params = optax.apply_updates(params, updates)
    return params, opt_state

  (params, found), (expected, wanted) = (
    float64.jit(functools.partial(moved, optimizer))(*gradients) for optimizer in (ours, optaxs)
  )
  # The step's size alone is compared: the parameters are 1 and a few 1e-4.
  less = functools.partial(jax.tree.map, lambda x: x - 1)
  assert apart(less(params), less(expected)) < CLOSE
  assert jax.tree.structure(found) == jax.tree.structure(wanted)
  for name in ('mu', 'nu'):
    assert apart(getattr(found[1][0], name), getattr(wanted[1][0], name)) < CLOSE


@pytest.mark.parametrize(
  ('count', 'part'),
  [(0, 1), (125_000, 0.5), (62_500, 0.5 + 0.5**1.5), (250_000, 0), (300_000, 0)],
)
def test_the_cosine_schedule(count, part):
  schedule = state.learning_rate_schedule(2e-4, 1e-7, 250_000)
  found = float64.jit(schedule)(np.int32(count))
  assert found == pytest.approx(1e-7 + part * (2e-4 - 1e-7), rel=CLOSE)


@pytest.mark.parametrize(('count', 'part'), [(0, 0.1), (4, 0.5), (9, 1), (10, 1)])
def test_the_rate_rises_first(count, part):
  schedule = state.learning_rate_schedule(2e-4, 1e-7, 10**9, warmup_steps=10)
  # Two quotients and two products, in float32 as the counts make it.
  assert float(schedule(count)) == pytest.approx(part * 2e-4, rel=4 * U)
