"""A `Restorer` by ONNX Runtime, beside the same by JAX."""

import sys

import numpy as np
import plain_nets
import pytest
import saved
import tiny_joint

from degrep_jax.common.errors import UserError
from degrep_jax.inference import engines
from degrep_jax.inference.restorer import Restorer
from degrep_jax.models import factory

TILE = 32
RNG = np.random.default_rng(0)
PICTURES = [RNG.integers(0, 256, shape, np.uint8) for shape in ((45, 70, 3), (20, 32, 3))]


def both(**options):
  """The restorers of one joint net, by the name of their engine."""
  module = factory.build_network(tiny_joint.config().model, axis_name=None)
  variables = saved.variables(module, 0, *[(1, TILE, TILE, 3)] * 2)
  return {
    engine: Restorer(module, variables, tile=TILE, batch=2, engine=engine, **options)
    for engine in engines.ENGINES
  }


def same_to_8_bits(a, b):
  """At most a level apart, and that only where a value lies on the edge between two."""
  difference = np.abs(a.astype(int) - b.astype(int))
  return a.dtype == b.dtype == np.uint8 and difference.max() <= 1 and difference.mean() < 1e-3


@pytest.mark.parametrize('mode', ['tiles', 'feathered'])
def test_both_engines_restore_alike(mode):
  restorers = both(mode=mode)
  results = [restorers[engine].deblur(PICTURES) for engine in ('onnx', 'jax')]
  for picture, found, wanted in zip(PICTURES, *results, strict=True):
    assert found.shape == picture.shape and same_to_8_bits(found, wanted)
    assert not same_to_8_bits(found, picture)
  exact = {engine: of.apply(PICTURES[0])['deblurred'] for engine, of in restorers.items()}
  np.testing.assert_allclose(exact['onnx'], exact['jax'], atol=1e-5)
  assert restorers['onnx'].programs == 1


def test_maps_and_blur_by_onnx():
  restorers = both(mode='tiles')
  maps = {engine: of.degradation_map(PICTURES[0]) for engine, of in restorers.items()}
  np.testing.assert_allclose(maps['onnx'], maps['jax'], atol=1e-5, rtol=1e-5)
  blurred = {
    engine: of.reblur(PICTURES[0], like=PICTURES[0][::-1], strength=0.5)
    for engine, of in restorers.items()
  }
  assert same_to_8_bits(blurred['onnx'], blurred['jax'])
  assert not same_to_8_bits(blurred['onnx'], PICTURES[0])


def test_other_variables_are_other_programs():
  restorer = both(mode='tiles')['onnx']
  other = saved.variables(restorer.module, 1, *[(1, TILE, TILE, 3)] * 2)
  picture = PICTURES[0]
  before = restorer.deblur(picture)
  after = restorer.with_variables(other).deblur(picture)
  assert not same_to_8_bits(before, after)
  fresh = Restorer(restorer.module, other, mode='tiles', tile=TILE, batch=2, engine='onnx')
  np.testing.assert_array_equal(after, fresh.deblur(picture))
  np.testing.assert_array_equal(restorer.deblur(picture), before)


def test_pictures_that_pass_unchanged():
  restorer = plain_nets.restorer(engine='onnx', mode='feathered')
  np.testing.assert_array_equal(restorer.deblur(PICTURES[0]), PICTURES[0])


def test_what_the_engine_onnx_does_not_take(monkeypatch):
  for options, words in {
    ('mode', 'full'): 'the mode full takes the engine jax',
    ('dtype', 'bfloat16'): 'bfloat16 takes the engine jax',
    ('engine', 'tensorrt'): "engine 'tensorrt': choose one of jax, onnx",
  }.items():
    with pytest.raises(UserError, match=words):
      plain_nets.restorer(**{'engine': 'onnx'} | dict([options]))
  large = {'params': np.broadcast_to(np.float32(0), 2**29)}
  with pytest.raises(UserError, match='GiB of weights: ONNX holds 2 at most; take the engine jax'):
    engines.OnnxRuntime().program(lambda variables, x: x, large, [PICTURES[0][None]])
  monkeypatch.setitem(sys.modules, 'onnxruntime', None)
  with pytest.raises(UserError, match=r"run pip install '\.\[onnx\]' in the clone"):
    plain_nets.restorer(engine='onnx')
