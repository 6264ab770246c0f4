"""The small nets: what they weigh, and that one stage fits the other."""

import functools
import itertools

import jax
import jax.numpy as jnp
import pytest
from flax import traverse_util

from configs import small_deblur, small_hinet, small_joint
from degrep_jax import run_config
from degrep_jax.models import factory
from degrep_jax.models.variables import count_parameters

MB = 10**6
HALF = 2  # bytes of a stored value
CONFIGS = {
  config.model.network: config
  for config in (module.get_config() for module in (small_joint, small_deblur, small_hinet))
}


@functools.cache
def _params(network):
  """Shapes of a network's parameters."""
  config = CONFIGS[network]
  side = config.data.crop
  picture = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  inputs = [picture] * factory.NETWORKS[network].inputs
  net = factory.build_network(config.model, None)
  return jax.eval_shape(net.init, jax.random.key(0), *inputs)['params']


def test_the_files_are_small_enough_to_ship():
  sizes = {name: HALF * count_parameters(_params(name)) for name in ('joint', 'msdi_net')}
  assert max(sizes.values()) < 12 * MB
  assert sum(sizes.values()) < 25 * MB


def _conv(kernel, inside, outside, bias=True):
  return kernel**2 * inside * outside + bias * outside


def _block(inside, outside, norm):
  convs = _conv(3, inside, outside) + _conv(3, outside, outside) + _conv(1, inside, outside)
  return convs + norm * outside


def test_hinets_parameters():
  w, pixel = 48, 3 * 4**2
  levels = [w, 2 * w, 4 * w]
  unet = sum(_block(i, o, True) for i, o in zip([w, *levels], levels, strict=False))
  for fine, coarse in itertools.pairwise(levels):
    unet += _conv(4, fine, fine, bias=False) + _conv(2, coarse, fine)  # down, up
    unet += _conv(3, fine, fine) + _block(2 * fine, fine, False)  # skip, decoder
  fusion = 2 * sum(_conv(3, c, c) for c in levels[:2])
  attention = _conv(3, w, w) + _conv(3, w, pixel) + _conv(3, pixel, w)
  around = 2 * _conv(3, pixel, w) + _conv(1, 2 * w, w) + _conv(3, w, pixel)

  assert count_parameters(_params('hinet')) == 2 * unet + fusion + attention + around


def test_msdi_net_takes_the_map_of_the_joint_net():
  joint, deblur = _params('joint'), _params('msdi_net')
  for part in ('encoder', 'pyramid'):
    ours, theirs = (traverse_util.flatten_dict(of[part]) for of in (joint, deblur))
    assert ours and {path: x.shape for path, x in ours.items()} == {
      path: x.shape for path, x in theirs.items()
    }


@pytest.mark.parametrize('network', ['joint', 'hinet'])
def test_the_control_and_the_joint_net_see_the_same_data(network):
  config, deblur = CONFIGS[network], CONFIGS['msdi_net']
  # References are the joint stage's alone.
  seen = deblur.data.to_dict() | {'reference_share': float(network == 'joint')}
  assert config.seed == deblur.seed and config.data.to_dict() == seen
  assert config.train.batch_size == deblur.train.batch_size
  if network == 'hinet':
    ours, theirs = (run_config.flat(of.to_dict()) for of in (config, deblur))
    assert {field for field in ours if ours[field] != theirs[field]} == {'model.network'}
