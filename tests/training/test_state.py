"""The optimiser and its schedule by formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from degrep_jax.training import state

RATE, CLIP, BETA1, BETA2 = 2e-4, 0.01, 0.9, 0.99


def _close(actual, expected):
  for a, b in zip(*map(jax.tree.leaves, (actual, expected)), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_a_larger_loss_moves_no_further():
  optimizer = state.make_optimizer(lambda count: RATE, BETA1, BETA2, CLIP)
  params = {'a': jnp.zeros(5), 'b': jnp.zeros((2, 3))}
  draw = np.random.default_rng(0).normal
  gradient = jax.tree.map(lambda x: jnp.asarray(draw(size=x.shape), jnp.float32), params)
  results = [
    optimizer.update(jax.tree.map(lambda g, s=s: s * g, gradient), optimizer.init(params), params)
    for s in (1, 1000)
  ]
  _close(*(updates for updates, _ in results))
  _close(*(moved[1][0].mu for _, moved in results))
  _close(*(moved[1][0].nu for _, moved in results))
  small = jax.tree.map(lambda g: g * 1e-4, gradient)  # below the bound: passes as it is
  _, (_, (adam, *_)) = optimizer.update(small, optimizer.init(params), params)
  _close(adam.mu, jax.tree.map(lambda g: (1 - BETA1) * g, small))


@pytest.mark.parametrize(
  ('count', 'part'),
  [(0, 1), (125_000, 0.5), (62_500, 0.5 + 0.5**1.5), (250_000, 0), (300_000, 0)],
)
def test_the_cosine_schedule(count, part):
  schedule = state.learning_rate_schedule(2e-4, 1e-7, 250_000)
  assert schedule(count) == pytest.approx(1e-7 + part * (2e-4 - 1e-7), rel=1e-4)


@pytest.mark.parametrize(('count', 'part'), [(0, 0.1), (4, 0.5), (9, 1), (10, 1)])
def test_the_rate_rises_first(count, part):
  schedule = state.learning_rate_schedule(2e-4, 1e-7, 10**9, warmup_steps=10)
  assert schedule(count) == pytest.approx(part * 2e-4, rel=1e-5)
