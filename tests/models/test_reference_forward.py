"""Forward passes of the converted networks against the released code's figures."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from degrep_jax.models import local_norm

TOLERANCE = 2e-4  # of one forward pass in float32, times max(1, std of the reference)
WIDTHS = (8, pytest.param(64, marks=pytest.mark.slow))
# One pass: (kind of network, how its inputs are made) and the names of its outputs, in order ({}
# stands for the width).
PASSES = {
  ('encoder_v1', 'blurry'): ['encoder_v1/256'],
  ('encoder_v1', 'odd'): ['encoder_v1/128x208'],
  ('encoder_v2', 'blurry'): ['encoder_v2/256'],
  ('upsampler_v1', 'latent'): [f'upsampler_v1/{level}' for level in range(4)],
  ('msdi_net', 'blurry'): ['msdi_net/256/out1', 'msdi_net/256/out2'],
  ('msdi_net', 'odd'): ['msdi_net/128x208/out1', 'msdi_net/128x208/out2'],
  ('msdi2e', 'blurry, sharp'): ['msdi2e/256/deblur', 'msdi2e/256/reblur'],
  ('discriminator', 'sharp, blurry'): [f'disc/{i}/{layer}' for i in range(2) for layer in range(5)],
  ('hinet', 'blurry'): ['hinet_w{}/256/out1', 'hinet_w{}/256/out2'],
  ('hinet', 'odd'): ['hinet_w{}/128x208/out1', 'hinet_w{}/128x208/out2'],
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
  cases = [case.format(figures.width) for case in PASSES[kind, names]]
  count = figures.about['cases'][cases[0]]['shape'][0]
  module, variables = figures.network(kind)
  outputs = jax.jit(module.apply)(variables, *_inputs(figures, names, count))
  return dict(zip(cases, map(np.asarray, jax.tree.leaves(outputs)), strict=True))


@pytest.mark.parametrize(('of', 'case'), CASES, ids=[case.format('') for _, case in CASES])
@pytest.mark.parametrize('width', WIDTHS)
def test_output_is_the_released_networks(golden, agrees, width, of, case):
  name = 'hinet' if of[0] == 'hinet' else reference.OFFICIAL
  figures, case = reference.load(golden, width, name), case.format(width)
  difference, deviation = figures.compare(case, _outputs(figures, *of)[case])
  agrees(case, width, difference, TOLERANCE * max(1, deviation))


def test_hinet_with_tlc_is_the_released_one(golden, agrees):
  about = json.loads((golden / 'hinet_tlc_w8.json').read_text())
  arrays = reference.read_arrays(golden / 'hinet_tlc_w8.npz')
  inputs = reference.load(golden, 8, 'hinet')
  module, variables = inputs.network('hinet')
  assert about['salt'] == inputs.about['salt']
  picture = inputs.image('odd', 1, 128, 208)
  # The released code measures its features on a picture of the trained size and divides by 256,
  # whatever that size is: a window of 96 px becomes one of 24.
  window = about['window'][0] * about['trained_size'][0] // 256

  @jax.jit
  def restored(picture, extents):
    with local_norm.converted(128, extents, window):
      return module.apply(variables, picture)

  for name, output in zip(
    ('out1', 'out2'), restored(picture, jnp.array([[128, 208]])), strict=True
  ):
    difference = np.abs(np.asarray(output) - arrays[name]).max()
    agrees(f'hinet_tlc/{name}', 8, difference, TOLERANCE * max(1, arrays[name].std()))
