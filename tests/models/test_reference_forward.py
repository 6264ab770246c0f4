"""Forward passes of the converted networks against the released code's figures."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference

from degrep_jax.models import local_norm

WIDTHS = (8, pytest.param(64, marks=pytest.mark.slow))
CASES = [(of, case) for of, cases in reference.PASSES.items() for case in cases]


@functools.cache
def _outputs(figures, kind, names):
  """{case: output} of one pass."""
  cases, inputs = figures.pass_of(kind, names)
  module, variables = figures.network(kind)
  outputs = jax.jit(module.apply)(variables, *inputs)
  return dict(zip(cases, map(np.asarray, jax.tree.leaves(outputs)), strict=True))


@pytest.mark.parametrize(('of', 'case'), CASES, ids=[case.format('') for _, case in CASES])
@pytest.mark.parametrize('width', WIDTHS)
def test_output_is_the_released_networks(golden, agrees, width, of, case):
  figures = reference.load(golden, width, reference.files_of(of[0]))
  case = case.format(width)
  difference, deviation = figures.compare(case, _outputs(figures, *of)[case])
  agrees(case, width, difference, reference.TOLERANCE * max(1, deviation))


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
    agrees(f'hinet_tlc/{name}', 8, difference, reference.TOLERANCE * max(1, arrays[name].std()))
