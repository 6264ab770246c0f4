"""HINet and MSDI-Net: parameter counts, what the outputs depend on, what training moves."""

import functools

import float64
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from float64 import CLOSE, apart

from degrep_jax.models.encoder import Encoder
from degrep_jax.models.hinet import HINet
from degrep_jax.models.msdi_net import MSDINet, MSDIUNet
from degrep_jax.models.pyramid import MapPyramid
from degrep_jax.models.variables import STATISTICS, count_parameters

PICTURE = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
NETS = {
  'hinet': HINet(width=4, depth=2),
  # One map of 16x16 pixels from a degradation map of 2x2x16.
  'msdi_net': MSDINet(
    Encoder(4, 'official_v1', stages=(1, 2), input_size=None),
    MapPyramid(4, blocks=3, levels=1),
    MSDIUNet(width=4, depth=2, hidden=4),
  ),
}


def _full_width(net):
  """Shapes of (outputs, variables) at 256x256."""
  return jax.eval_shape(net.init_with_output, jax.random.key(0), PICTURE)


def test_hinet_at_full_width():
  outputs, variables = _full_width(HINet())
  assert [output.shape for output in outputs] == [PICTURE.shape] * 2
  assert set(variables) == {'params'}
  assert count_parameters(variables['params']) == 88_669_702  # Chen et al. 2021


def test_msdi_net_at_full_width():
  outputs, variables = _full_width(MSDINet(Encoder(64, 'official_v1'), MapPyramid(), MSDIUNet()))
  assert [output.shape for output in outputs] == [PICTURE.shape] * 2
  counts = {name: count_parameters(part) for name, part in variables['params'].items()}
  # The released net trains 135,429,766 values, of which nothing reads its conv_4: two U-Nets of
  # C^2 for C = w .. 16w down and w .. 8w up, 6 blocks of every skip, C^2 for C = w .. 8w.
  unused = 2 * 64**2 * (1 + 4 + 16 + 64 + 256 + 85) + 6 * 64**2 * 85
  assert counts == {
    'encoder': 31_247_104,
    'pyramid': 80_187_264,
    'deblurrer': 135_429_766 - unused,
  }
  assert counts['deblurrer'] == 129_851_014


@functools.cache
def _tiny(kind):
  """(pictures, variables) of one of `NETS`."""
  pictures = np.random.default_rng(0).random((2, 16, 16, 3), np.float32)
  shape = jax.ShapeDtypeStruct(pictures.shape, pictures.dtype)
  return pictures, NETS[kind].lazy_init(jax.random.key(0, impl='rbg'), shape)


@functools.cache
def _jitted(kind, **options):
  return jax.jit(functools.partial(NETS[kind].apply, **options))


def _float64(kind, **options):
  return float64.jit(functools.partial(NETS[kind].apply, **options))


def _zeroed(variables, module):
  """The variables with all parameters of the modules whose path ends like that set to zero."""
  flat = traverse_util.flatten_dict(variables['params'], sep='/')
  for path, x in flat.items():
    if path.rpartition('/')[0].endswith(module):
      flat[path] = jnp.zeros_like(x)
  return variables | {'params': traverse_util.unflatten_dict(flat, sep='/')}


@pytest.mark.parametrize('kind', NETS)
@pytest.mark.parametrize(('place', 'last'), [(0, 'attention/picture'), (1, 'conv_out')])
def test_each_output_is_a_residual_to_the_picture(kind, place, last):
  pictures, variables = _tiny(kind)
  outputs = _jitted(kind)(_zeroed(variables, last), pictures)
  np.testing.assert_array_equal(outputs[place], pictures)
  assert np.abs(outputs[1 - place] - pictures).max() > 1e-3


def test_both_outputs_depend_on_the_map():
  pictures, variables = _tiny('msdi_net')
  generate = _jitted('msdi_net', method='generate')
  zeros = jnp.zeros((2, 2, 2, 16))
  without = generate(variables, pictures, zeros)
  changed = generate(variables, pictures, zeros.at[0, 0, 1, 2].set(10.0))
  for before, after in zip(without, changed, strict=True):
    difference = np.abs(np.asarray(after - before))
    assert difference[0].max() > 1e-4
    # Instance norm spreads a change over its own picture alone.
    assert difference[1].max() == 0


def test_msdi_net_deblurs_by_the_maps_of_its_own_encoder():
  pictures, variables = _tiny('msdi_net')
  degradation_map = _float64('msdi_net', method='degradation_map')(variables, pictures)
  assert degradation_map.shape == (2, 2, 2, 16)
  expected = _float64('msdi_net', method='generate')(variables, pictures, degradation_map)
  assert apart(_float64('msdi_net')(variables, pictures), expected) < CLOSE


@pytest.mark.parametrize('train', [False, True])
def test_training_moves_the_spectral_vectors_of_every_part_and_nothing_else(train):
  pictures, variables = _tiny('msdi_net')
  _, moved = _jitted('msdi_net', train=train, mutable=STATISTICS)(variables, pictures)
  assert set(moved) == {'spectral'}
  before, after = (traverse_util.flatten_dict(x['spectral']) for x in (variables, moved))
  assert {path[0] for path in before} == {'encoder', 'pyramid', 'deblurrer'}
  for path, value in after.items():
    if path[-1] == 'u':
      assert np.array_equal(value, before[path]) != train, path
