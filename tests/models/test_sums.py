"""Sums over positions against NumPy's, in float64."""

import float64
import jax
import numpy as np
import pytest
from conv_loops import normal
from float64 import CLOSE, apart

from degrep_jax.models import sums


@pytest.mark.parametrize('shape', [(2, 6, 5, 3), (1, 1, 7, 2), (3, 4, 1, 1), (1, 1, 1, 4)])
def test_sums_are_numpys(shape):
  x = normal(*shape)
  expected = np.float64(x).sum((1, 2), keepdims=True)
  assert apart(float64.jit(sums.over_positions)(x), expected) < CLOSE


def test_cpus_alone_sum_by_products():
  traced = jax.jit(sums.over_positions).trace(normal(1, 9, 9, 3))
  on_cpu, on_gpu = (
    traced.lower(lowering_platforms=(platform,)).as_text() for platform in ('cpu', 'cuda')
  )
  assert 'stablehlo.dot_general' in on_cpu
  assert 'stablehlo.dot_general' not in on_gpu and 'stablehlo.reduce' in on_gpu
