"""Parameter counts and shapes of every variant, and what the degradation map does."""

import functools
import itertools

import float64
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from float64 import CLOSE, apart

from configs import default
from degrep_jax.models import encoder, factory
from degrep_jax.models.unet import Generator
from degrep_jax.models.variables import count_parameters

PICTURE = jax.ShapeDtypeStruct((1, 256, 256, 3), jnp.float32)
OFFICIAL_V2 = {'encoder': 'official_v2', 'encoder_stages': (1, 2, 4, 8, 16)}

# Encoders: the supplementary material's Table 1 with its biases, and the released encoder1.py and
# encoder2.py.
TABLE1, V1, V2 = 31_249_344, 31_247_104, 157_470_464
# Released prior_upsampling: 4x4x256 to 256x256x64, and 8x8x2048 to 256x256x64.
PYRAMID_V1, PYRAMID_V2 = 80_187_264, 37_715_840
# Released generator.HINet without its conv_02, which nothing reads: 3 * 64 * 9 + 64 = 1,792 values.
SPADE = 44_498_947 - 1_792
# Its modulations, for maps and features of C = 64, 128, 256, 512 channels: shared 9 * 128 C + 128,
# gamma and beta 9 * 128 * 2 C + 2 C, conv 9 C^2 + C; sum of C 960, of C^2 348,160.
UNET = SPADE - (1_106_432 + 2_213_760 + 3_134_400)
# The paper's figure, a map of M channels. Pyramid: 3x3 convolutions M -> 512 -> 256 -> 128 -> 64.
# Modulations: as above without conv, and one more of 1024 features by the map itself:
# shared 9 * 128 (960 + M) + 5 * 128, gamma and beta 9 * 128 * 2 * 1984 + 2 * 1984.
SAM_PYRAMID = 1_180_160 + 1_179_904 + 295_040 + 73_792  # M = 256
SAM = UNET + 1_401_472 + 4_575_104
SAM_PYRAMID_V2 = 9_437_696 + 1_179_904 + 295_040 + 73_792  # M = 2048
SAM_V2 = UNET + 3_465_856 + 4_575_104

# config.model's fields, and the parameters of (encoder, pyramid, one generator).
TABLE = {
  'table1 spade': ({}, (TABLE1, PYRAMID_V1, SPADE)),
  'official_v1 spade': ({'encoder': 'official_v1'}, (V1, PYRAMID_V1, SPADE)),
  'official_v2 spade': (OFFICIAL_V2, (V2, PYRAMID_V2, SPADE)),
  'table1 sam': ({'modulation': 'sam'}, (TABLE1, SAM_PYRAMID, SAM)),
  'official_v1 sam': (
    {'encoder': 'official_v1', 'modulation': 'sam'},
    (V1, SAM_PYRAMID, SAM),
  ),
  'official_v2 sam': (OFFICIAL_V2 | {'modulation': 'sam'}, (V2, SAM_PYRAMID_V2, SAM_V2)),
  'local spade': ({'encoder': 'local'}, (TABLE1, PYRAMID_V1, SPADE)),
  'local sam': ({'encoder': 'local', 'modulation': 'sam'}, (TABLE1, SAM_PYRAMID, SAM)),
  # 16 logarithms of a place and 16 of what is around it, into the last convolution.
  'structure spade': ({'encoder': 'structure'}, (TABLE1 + 2 * 16 * 9 * 256, PYRAMID_V1, SPADE)),
  'structure sam': (
    {'encoder': 'structure', 'modulation': 'sam'},
    (TABLE1 + 2 * 16 * 9 * 256, SAM_PYRAMID, SAM),
  ),
  'table1 spade 1-D': ({'global_code': True}, (TABLE1, PYRAMID_V1, SPADE)),
}


def _model(**fields):
  model = default.get_config().model
  model.update(fields)
  return model


def _outputs(net, blurry, sharp):
  degradation_map = net.degradation_map(blurry)
  return degradation_map, net.pyramid(degradation_map), net.generate(blurry, sharp, degradation_map)


@functools.cache
def _shapes(variant):
  """(outputs, variables) of a variant at 256x256, as shapes."""
  net = factory.build_generator(_model(**TABLE[variant][0]))
  initialise = functools.partial(net.init_with_output, method=_outputs)
  return jax.eval_shape(initialise, jax.random.key(0), PICTURE, PICTURE)


def test_no_variant_is_missing():
  models = [_model(**fields) for fields, _ in TABLE.values()]
  assert {(model.encoder, model.modulation) for model in models} == set(
    itertools.product(encoder.VARIANTS, factory.MODULATIONS)
  )
  assert {model.global_code for model in models} == {False, True}


@pytest.mark.parametrize('variant', TABLE)
def test_parameter_counts(variant):
  counts = TABLE[variant][1]
  params = _shapes(variant)[1]['params']
  names = ('encoder', 'pyramid', 'reblurrer', 'deblurrer')
  assert set(params) == set(names)
  assert tuple(count_parameters(params[name]) for name in names) == (*counts, counts[-1])


def test_whole_nets():
  totals = {name: e + pyramid + 2 * g for name, (_, (e, pyramid, g)) in TABLE.items()}
  assert totals['table1 spade'] == totals['table1 spade 1-D'] == 200_430_918
  assert totals['official_v2 spade'] == 284_180_614
  assert totals['table1 sam'] == 122_016_518
  for name, total in totals.items():
    assert count_parameters(_shapes(name)[1]['params']) == total


def test_discriminators_parameters():
  module = factory.build_discriminator(_model())
  shapes = jax.eval_shape(module.init, jax.random.key(0), PICTURE, PICTURE)
  assert count_parameters(shapes['params']) == 5_533_826  # released MultiscaleDiscriminator


@pytest.mark.parametrize('variant', TABLE)
def test_shapes_at_256_pixels(variant):
  degradation_map, maps, pictures = _shapes(variant)[0]
  wide = 'official_v2' in variant
  assert degradation_map.shape == ((1, 8, 8, 2048) if wide else (1, 4, 4, 256))
  expected = [(1, 256 >> i, 256 >> i, 64 << i) for i in range(4)]
  if 'sam' in variant:
    expected.append((1, 16, 16, degradation_map.shape[-1]))
  assert [map_.shape for map_ in maps] == expected
  assert [picture.shape for picture in pictures] == [PICTURE.shape] * 2


@pytest.mark.parametrize('variant', encoder.VARIANTS)
def test_encoder_resizes_pictures_of_another_size(variant):
  fields = OFFICIAL_V2 if variant == 'official_v2' else {'encoder': variant}
  side, channels = (8, 32 * 4) if variant == 'official_v2' else (4, 4 * 4)
  odd = jax.ShapeDtypeStruct((2, 128, 208, 3), jnp.float32)

  def shape(**others):
    net = factory.build_encoder(_model(encoder_width=4, **fields, **others))
    return jax.eval_shape(net.init_with_output, jax.random.key(0), odd)[0].shape

  assert shape() == (2, side, side, channels)
  # As it is, 128x208 gives a map of half the height and 13 / 16 of the width, rounded down once.
  assert shape(encoder_input=0)[1:3] == (side // 2, {4: 3, 8: 7}[side])


def _initial(net, *inputs):
  """Initial variables without a forward pass, which takes long to compile."""
  shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), inputs)
  return net.lazy_init(jax.random.key(0, impl='rbg'), *shapes)


def _tiny(**fields):
  tiny = {'encoder_stages': (1, 2), 'encoder_input': 0, 'depth': 3}
  widths = {'width': 4, 'encoder_width': 4, 'modulation_hidden': 4}
  net = factory.build_generator(_model(**tiny, **widths, **fields), axis_name=None)
  pair = [np.random.default_rng(i).random((2, 32, 32, 3), np.float32) for i in range(2)]
  return net, pair, _initial(net, *pair)


def test_encoder_resizes_bilinearly_without_antialiasing():
  net = factory.build_encoder(_model(encoder_width=2, encoder_stages=(1, 2), encoder_input=16))
  large = np.random.default_rng(0).random((1, 32, 64, 3), np.float32)
  large = np.float64(large)
  # With half-pixel centres a half is the mean of two pixels, a quarter that of the middle two.
  rows = (large[:, 0::2] + large[:, 1::2]) / 2
  small = (rows[:, :, 1::4] + rows[:, :, 2::4]) / 2
  assert small.shape == (1, 16, 16, 3)
  variables = _initial(net, np.float32(small))
  apply = float64.jit(net.apply)
  assert apart(apply(variables, large), apply(variables, small)) < CLOSE


@pytest.mark.parametrize('variant', encoder.VARIANTS)
def test_encoder_features_of_a_picture_in_its_own_size(variant):
  fields = OFFICIAL_V2 if variant == 'official_v2' else {'encoder': variant}
  net = factory.build_encoder(_model(encoder_width=4, **fields))
  odd = jax.ShapeDtypeStruct((2, 128, 208, 3), jnp.float32)
  variables = jax.eval_shape(net.init, jax.random.key(0), odd)
  shapes = jax.eval_shape(functools.partial(net.apply, features=True), variables, odd)
  assert [x.shape for x in shapes] == [
    (2, 64, 104, 4),
    (2, 64, 104, 4),  # of the 7x7 convolution
    (2, 32, 52, 8),
    (2, 16, 26, 16),
    (2, 8, 13, 32),
  ]


def test_encoder_features_are_what_its_first_convolutions_give():
  net = factory.build_encoder(_model(encoder_width=2, encoder_stages=(1, 2), encoder_input=0))
  picture = np.random.default_rng(0).random((1, 16, 16, 3), np.float32)
  variables = _initial(net, picture)
  capture = functools.partial(net.apply, capture_intermediates=True, mutable=['intermediates'])
  _, seen = float64.jit(capture)(variables, picture)
  features = float64.jit(functools.partial(net.apply, features=True))(variables, picture)
  for name, feature in zip(('down_0', 'conv_7x7', 'down_1'), features, strict=True):
    assert apart(feature, seen['intermediates'][name]['__call__'][0]) < CLOSE
    assert feature.min() < 0  # not activated yet


def test_the_global_code_is_the_maps_mean_spread_over_its_grid():
  net, (blurry, _), variables = _tiny()
  local, spread = (
    float64.jit(functools.partial(other.apply, method='degradation_map'))(variables, blurry)
    for other in (net, net.clone(global_code=True))
  )
  assert local.shape == spread.shape == (2, 4, 4, 16)
  assert local.std((1, 2)).min() > 0
  expected = np.broadcast_to(local.mean((1, 2), keepdims=True), local.shape)
  assert apart(spread, expected) < CLOSE
  assert np.ptp(spread, axis=(1, 2)).max() == 0


def test_without_a_map_all_pictures_have_the_same():
  net, (blurry, sharp), variables = _tiny()
  net = net.clone(without_map=True)
  generate = jax.jit(net.apply)
  assert not np.asarray(net.apply(variables, blurry, method='degradation_map')).any()
  deblurred, reblurred = generate(variables, blurry, sharp)
  other_deblurred, other_reblurred = generate(variables, 0.5 * blurry, sharp)
  np.testing.assert_array_equal(reblurred, other_reblurred)
  assert (np.asarray(deblurred) != np.asarray(other_deblurred)).any()


def test_of_a_reference_gr_takes_the_map_and_gd_does_not():
  net, (blurry, sharp), variables = _tiny()
  generate = float64.jit(net.apply)
  reference = 1 - blurry
  deblurred, _ = generate(variables, blurry, sharp)
  _, reblurred = generate(variables, reference, sharp)
  found = generate(variables, blurry, sharp, reference)
  assert apart(found[0], deblurred) < CLOSE and apart(found[1], reblurred) < CLOSE
  assert apart(generate(variables, blurry, sharp)[1], reblurred) > 1e3 * CLOSE


@pytest.mark.parametrize('modulation', factory.MODULATIONS)
def test_generators_respond_to_the_map(modulation):
  net, (blurry, sharp), variables = _tiny(modulation=modulation)
  generate = jax.jit(functools.partial(net.apply, method='generate'))
  zeros = jnp.zeros((2, 4, 4, 16))
  without = generate(variables, blurry, sharp, zeros)
  place = (0, 1, 2, 3)
  changed = generate(variables, blurry, sharp, zeros.at[place].set(10.0))
  for before, after in zip(without, changed, strict=True):
    difference = np.abs(np.asarray(after - before))
    assert difference[0].max() > 1e-4
    # Instance norm spreads a change over its own picture alone.
    assert difference[1].max() == 0


@pytest.mark.parametrize(('modulation', 'levels'), [('spade', 2), ('sam', 3)])
def test_every_level_of_the_maps_is_used(modulation, levels):
  net = Generator(width=4, depth=3, modulation=modulation, hidden=4)
  draw = np.random.default_rng(0).random
  picture = draw((1, 16, 16, 3), np.float32)
  maps = [draw((1, 16 >> i, 16 >> i, 4), np.float32) for i in range(levels)]
  variables = _initial(net, picture, maps)
  apply = jax.jit(net.apply)
  output = apply(variables, picture, maps)
  for level in range(levels):
    others = [map_ + (i == level) for i, map_ in enumerate(maps)]
    assert np.abs(apply(variables, picture, others) - output).max() > 1e-4


def test_generators_learn_a_residual_to_their_picture():
  net = Generator(width=4, depth=2, hidden=4)
  picture = np.random.default_rng(0).random((1, 8, 8, 3), np.float32)
  variables = _initial(net, picture, [picture])
  variables['params']['conv_out'] = jax.tree.map(jnp.zeros_like, variables['params']['conv_out'])
  np.testing.assert_array_equal(net.apply(variables, picture, [picture]), picture)
