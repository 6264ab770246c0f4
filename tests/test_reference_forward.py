"""Forward passes of the converted networks against the released code's figures."""

import functools

import jax
import numpy as np
import pytest
import reference

TOLERANCE = 2e-4  # of one forward pass in float32, times max(1, std of the reference)
WIDTHS = (8, pytest.param(64, marks=pytest.mark.slow))
# One pass: (kind of network, how its inputs are made) and the names of its outputs, in order.
PASSES = {
  ('encoder_v1', 'blurry'): ['encoder_v1/256'],
  ('encoder_v1', 'odd'): ['encoder_v1/128x208'],
  ('encoder_v2', 'blurry'): ['encoder_v2/256'],
  ('upsampler_v1', 'latent'): [f'upsampler_v1/{level}' for level in range(4)],
  ('msdi2e', 'blurry, sharp'): ['msdi2e/256/deblur', 'msdi2e/256/reblur'],
  ('discriminator', 'sharp, blurry'): [f'disc/{i}/{layer}' for i in range(2) for layer in range(5)],
}
CASES = [(of, case) for of, cases in PASSES.items() for case in cases]


def _inputs(figures, names, count):
  makers = {
    'blurry': lambda: figures.image('blur', 2, 256, 256)[:count],
    'sharp': lambda: figures.image('sharp', 2, 256, 256)[:count],
    'odd': lambda: figures.image('odd', 1, 128, 208),
    'latent': figures.latent,
  }
  return [makers[name]() for name in names.split(', ')]


@functools.cache
def _outputs(figures, kind, names):
  """{case: output} of one pass."""
  cases = PASSES[kind, names]
  count = figures.about['cases'][cases[0]]['shape'][0]
  module, variables = figures.network(kind)
  outputs = jax.jit(module.apply)(variables, *_inputs(figures, names, count))
  return dict(zip(cases, map(np.asarray, jax.tree.leaves(outputs)), strict=True))


@pytest.mark.parametrize(('of', 'case'), CASES, ids=[case for _, case in CASES])
@pytest.mark.parametrize('width', WIDTHS)
def test_output_is_the_released_networks(golden, width, of, case):
  figures = reference.load(golden, width)
  difference, deviation = figures.compare(case, _outputs(figures, *of)[case])
  assert difference <= TOLERANCE * max(1, deviation)
