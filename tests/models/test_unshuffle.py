"""U-Nets on squares of pixels: the shuffle by hand, parameters, maps that fit, what is kept."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util

from configs import default
from degrep_jax import Restorer, convert
from degrep_jax.common.errors import UserError
from degrep_jax.models import factory, layers, local_norm
from degrep_jax.models.hinet import HINet
from degrep_jax.models.unet import Generator
from degrep_jax.models.variables import count_parameters

PICTURE = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
# Fields of nets whose map is 16 times smaller than the picture, for U-Nets of up to 5 levels.
ENCODERS = {
  'table1': {'encoder': 'table1', 'encoder_stages': (1, 2, 4)},
  'official_v2': {'encoder': 'official_v2', 'encoder_stages': (1, 2, 4, 8)},
}


def _model(**fields):
  model = default.get_config().model
  model.update({'width': 4, 'encoder_width': 4, 'encoder_input': 0, 'modulation_hidden': 4})
  model.update(fields)
  return model


def _pictures(*shape, seed=0):
  return np.random.default_rng(seed).random(shape, np.float32)


def _drawn(module, *inputs):
  """Random variables, as NumPy, of a module called with arrays."""
  return jax.tree.map(np.asarray, module.lazy_init(jax.random.key(0, impl='rbg'), *inputs))


@pytest.mark.parametrize('side', factory.UNSHUFFLES)
def test_squares_hold_their_pixels_row_by_row(side):
  x = _pictures(2, 8, 12, 3)
  found = np.asarray(layers.space_to_depth(x, side))
  assert found.shape == (2, 8 // side, 12 // side, 3 * side**2)
  for i, j in np.ndindex(8 // side, 12 // side):
    square = x[:, side * i : side * (i + 1), side * j : side * (j + 1)]
    np.testing.assert_array_equal(found[:, i, j], square.reshape(2, -1))
  np.testing.assert_array_equal(layers.depth_to_space(found, side), x)


def _count(module, *inputs):
  return count_parameters(jax.eval_shape(module.init, jax.random.key(0), *inputs)['params'])


@pytest.mark.parametrize('side', [2, 4])
def test_only_convolutions_from_and_to_pictures_grow(side):
  more = 3 * (side**2 - 1)  # channels of a picture
  # conv_in and conv_out, 3x3 with biases.
  maps = [jax.ShapeDtypeStruct((1, 64 >> i, 64 >> i, 64 << i), jnp.float32) for i in range(4)]
  plain = _count(Generator(), PICTURE, maps)
  assert _count(Generator(unshuffle=side), PICTURE, maps) == plain + 2 * 9 * 64 * more + more
  # Two conv_in, the attention's picture and gate, conv_out; HINet by Chen et al. 2021.
  assert _count(HINet(unshuffle=side), PICTURE) == 88_669_702 + 5 * 9 * 64 * more + 2 * more


@pytest.mark.parametrize('modulation', factory.MODULATIONS)
@pytest.mark.parametrize('encoder', ENCODERS)
@pytest.mark.parametrize(('side', 'depth'), [(1, 5), (2, 4), (2, 3), (4, 3), (4, 2)])
def test_the_pyramid_ends_where_the_unet_begins(encoder, modulation, side, depth):
  fields = {**ENCODERS[encoder], 'modulation': modulation, 'unshuffle': side, 'depth': depth}
  model = _model(**fields)
  factory.check_size(model, 256, 'data.crop')
  net = factory.build_generator(model)
  variables = jax.eval_shape(net.init, jax.random.key(0), PICTURE, PICTURE)
  maps = jax.eval_shape(
    lambda v, x: net.apply(v, x, method=lambda net, x: net.pyramid(net.degradation_map(x))),
    variables,
    PICTURE,
  )
  expected = [(256 // side) >> i for i in range(depth if modulation == 'sam' else depth - 1)]
  assert [map_.shape[1] for map_ in maps] == expected
  # The finest doubling is the last that there is: 16 times the map at full resolution.
  blocks = len([name for name in variables['params']['pyramid'] if name.startswith('block_')])
  assert blocks == (0 if modulation == 'sam' else {1: 4, 2: 3, 4: 2}[side])


@pytest.mark.parametrize(
  ('fields', 'size', 'complaint'),
  [
    ({'unshuffle': 4, 'depth': 4}, 64, 'unshuffle=4 it must be in 2 .. 3'),
    (
      {'unshuffle': 4, 'depth': 3, 'network': 'hinet'},
      72,
      'unshuffle=4 needs a multiple of 16, 32',
    ),
    ({'unshuffle': 4, 'depth': 2, 'encoder_stages': (1,)}, 64, 'there must be more stages'),
    ({'unshuffle': 4, 'depth': 4, 'network': 'hinet'}, 40, 'needs a multiple of 32, 64 at least'),
  ],
)
def test_what_does_not_fit_is_named(fields, size, complaint):
  model = _model(**{**ENCODERS['table1'], **fields})
  with pytest.raises(UserError, match=complaint):
    factory.check_size(model, size, 'data.crop')


def _adding(variables, biases):
  """Variables whose convolutions to pictures add what `biases` has under their name, or nothing,
  whatever the features."""
  flat = traverse_util.flatten_dict(variables)
  for path, x in flat.items():
    if path[-2] in ('conv_out', 'picture') and path[1] != 'encoder':
      flat[path] = 0 * x + (biases.get(path[-2], 0) if path[-1] == 'bias' else 0)
  return traverse_util.unflatten_dict(flat)


def test_the_picture_is_kept_and_every_pixel_of_a_square_has_its_own_output():
  picture, maps = _pictures(1, 16, 24, 3), [np.zeros((1, 4, 6, 2), np.float32)]
  bias = np.arange(48, dtype=np.float32)
  net = Generator(width=4, depth=2, hidden=2, unshuffle=4)
  variables = _adding(_drawn(net, picture, maps), {'conv_out': bias})
  found = jax.jit(net.apply)(variables, picture, maps)
  expected = picture + np.tile(bias.reshape(4, 4, 3), (4, 6, 1))
  np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
  hinet = HINet(width=4, depth=2, unshuffle=4)
  variables = _adding(_drawn(hinet, picture), {'conv_out': bias, 'picture': -bias})
  first, last = jax.jit(hinet.apply)(variables, picture)
  np.testing.assert_allclose(first, 2 * picture - expected, rtol=0, atol=1e-5)
  np.testing.assert_allclose(last, expected, rtol=0, atol=1e-5)


def test_a_shift_by_the_multiple_shifts_the_result():
  net = HINet(width=4, depth=2, unshuffle=4)
  assert net.multiple == 8
  picture = _pictures(1, 160, 32, 3)
  flat = traverse_util.flatten_dict(_drawn(net, picture))
  # Without what instance norms take from the whole picture.
  flat |= {path: 0 * x for path, x in flat.items() if path[-2:] == ('norm', 'scale')}
  run = functools.partial(jax.jit(net.apply), traverse_util.unflatten_dict(flat))
  inside = np.s_[:, 64:96]  # farther from the border than the kernels of both stages see
  found = run(picture)[1][inside]
  for shift, same in ((8, True), (4, False), (1, False)):
    shifted = run(np.roll(picture, shift, axis=1))[1]
    shifted = np.roll(shifted, -shift, axis=1)[inside]
    assert (np.abs(shifted - found).max() < 1e-5) == same


@pytest.fixture(scope='module')
def nets():
  """{network: (module, variables)} with squares of 2 pixels and TLC's norms in reach of tests."""
  found = {}
  for network in factory.NETWORKS:
    fields = {'network': network, 'depth': 2, 'unshuffle': 2, 'encoder': 'official_v2'}
    module = factory.build_network(_model(**fields, encoder_stages=(1, 2)), None)
    picture = _pictures(1, 32, 32, 3)
    found[network] = module, _drawn(module, *[picture] * (2 if network == 'joint' else 1))
  return found


@pytest.mark.parametrize('network', factory.NETWORKS)
def test_a_whole_picture_is_what_the_net_makes_of_it(nets, network):
  module, variables = nets[network]
  picture = _pictures(64, 64, 3)
  net = Restorer(module, variables, mode='full', tile=64, window=0)
  assert net.about['multiple'] == 4
  found = net.apply(picture, outputs=('deblurred',))['deblurred']
  inputs = [picture[None]] * (2 if network == 'joint' else 1)
  outputs = jax.jit(module.apply)(variables, *inputs)
  expected = outputs[0 if network == 'joint' else 1][0]
  assert np.std(expected - picture) > 0.01
  np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
  ('mode', 'network'), [('tiles', 'joint'), ('feathered', 'msdi_net'), ('full', 'hinet')]
)
def test_pictures_of_any_size_come_back(nets, mode, network):
  module, variables = nets[network]
  net = Restorer(module, variables, mode=mode, tile=16, batch=4)
  silent = net.with_variables(_adding(variables, {}))  # but for its input
  for size in ((37, 55), (5, 70)):
    blurry, sharp = (_pictures(*size, 3, seed=seed) for seed in (1, 2))
    given = (blurry, sharp) if network == 'joint' else (blurry,)
    for restorer in (net, silent):
      for name, found in restorer.apply(*given).items():
        picture = sharp if name == 'reblurred' else blurry
        assert found.shape == picture.shape
        assert (np.abs(found - picture).max() < 1e-6) == (restorer is silent), name


def test_windows_of_norms_are_counted_in_squares():
  norm = layers.HalfInstanceNorm()
  x = _pictures(1, 12, 12, 4)  # of a picture of 48 px with squares of 4
  variables = norm.init(jax.random.key(0), x)
  with local_norm.converted(48, jnp.array([[40, 48]]), 20):
    found = jax.jit(norm.apply)(variables, x)[0, :10]
  for i, j in ((0, 0), (4, 7), (9, 11)):
    top, left = min(max(i - 2, 0), 5), min(max(j - 2, 0), 7)
    window = x[0, top : top + 5, left : left + 5, :2]
    expected = (x[0, i, j, :2] - window.mean((0, 1))) / np.sqrt(window.var((0, 1)) + 1e-5)
    np.testing.assert_allclose(found[i, j, :2], expected, rtol=0, atol=1e-4)


def test_the_released_code_has_no_such_nets(nets):
  for kind, network in (('hinet', 'hinet'), ('msdi_net', 'msdi_net'), ('msdi2e', 'joint')):
    with pytest.raises(UserError, match=r'model\.unshuffle above 1, which the released'):
      convert.to_pytorch(kind, nets[network][1])
