"""Adam's first step on a clipped gradient, by hand, in float64.

`MOVED`, of each parameter after it as a part of the learning rate: the step is rate * g / (|g| +
1e-8), whose slope is 1e8 * rate at most. g is clipped to the norm 0.01, so that it is off by 0.01 *
CLOSE = 1e-11, and the step by 1e-3 * rate.
"""

from typing import Any

import jax
import numpy as np
from float64 import CLOSE, apart

CLIP, BETA1, BETA2 = 0.01, 0.9, 0.99  # of the configs of both stages
MOVED = 1e-3


def norm(gradient: Any) -> float:
  """Global norm of a tree."""
  return float(np.sqrt(sum(np.square(g).sum() for g in jax.tree.leaves(gradient))))


def assert_first_step(before: Any, now: Any, gradient: Any, rate: float) -> None:
  """Moments (1 - beta) g and (1 - beta) g^2 of the clipped gradient g, parameters moved by -rate *
  g / (|g| + 1e-8); `before` and `now` are `NetworkState`s in float64."""
  before_clipping = norm(gradient)
  assert before_clipping > 10 * CLIP
  clipped = jax.tree.map(lambda g: g * CLIP / before_clipping, gradient)
  moments = now.opt_state[1][0]
  assert apart(moments.mu, jax.tree.map(lambda g: (1 - BETA1) * g, clipped)) < CLOSE
  assert apart(moments.nu, jax.tree.map(lambda g: (1 - BETA2) * g**2, clipped)) < 2 * CLOSE
  for g, old, new in zip(*map(jax.tree.leaves, (clipped, before.params, now.params)), strict=True):
    np.testing.assert_allclose(new, old - rate * g / (np.abs(g) + 1e-8), rtol=0, atol=MOVED * rate)
