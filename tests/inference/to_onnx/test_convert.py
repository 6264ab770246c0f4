"""JAX functions as ONNX models: what ONNX Runtime makes of them, and with how few operators."""

import collections

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
import saved
import tiny_deblur
import tiny_joint
from jax import lax
from quick import COMPILER

from degrep_jax.inference import to_onnx
from degrep_jax.models import factory, layers, spectral_norm

SIDE, CHANNELS = 6, 4
RNG = np.random.default_rng(0)
KERNEL = np.float32(RNG.normal(size=(3, 3, CHANNELS, 5)) / 6)
MATRIX = np.float32(RNG.normal(size=(2, 2, CHANNELS, 3)))
BIAS = np.float32(RNG.normal(size=5))
PICTURES = np.float32(RNG.normal(size=(3, SIDE, SIDE, CHANNELS)))


def converted(function, shape, layout='NHWC', variables=()):
  """The checked model of a function of any number of arrays of one shape, their batch open."""
  (batch,) = jax.export.symbolic_shape('batch')
  picture = jax.ShapeDtypeStruct((batch, *shape[1:]), np.float32)
  model = to_onnx.convert(function, variables, {'x': picture}, layout)
  onnx.checker.check_model(model, full_check=True)
  return model


def computed(model, x):
  """{output: array} of ONNX Runtime."""
  session = onnxruntime.InferenceSession(
    model.SerializeToString(), providers=['CPUExecutionProvider']
  )
  return dict(
    zip([of.name for of in session.get_outputs()], session.run(None, {'x': x}), strict=True)
  )


def operators(model):
  """How often each operator stands in a model, but for the two transpositions of its ends."""
  return collections.Counter(node.op_type for node in model.graph.node)


def blocks(x):
  """Space to depth: squares of 2x2 pixels into the channels."""
  n, h, w, c = x.shape
  x = x.reshape(n, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, h // 2, w // 2, 4 * c)


def pixels(x):
  """Depth to space, the inverse of `blocks`."""
  n, h, w, c = x.shape
  x = x.reshape(n, h, w, 2, 2, c // 4).transpose(0, 1, 3, 2, 4, 5)
  return x.reshape(n, 2 * h, 2 * w, c // 4)


def normed(x):
  return nn.Module.apply(layers.HalfInstanceNorm(), NORM, x)


NORM = {'params': {name: np.float32(RNG.normal(size=2)) for name in ('scale', 'bias')}}
CASES = {
  'leaky relu': (layers.leaky_relu, {'LeakyRelu': 1}),
  'relu': (nn.relu, {'Relu': 1}),
  'sigmoid': (nn.sigmoid, {'Sigmoid': 1}),
  'values': (
    lambda x: jnp.exp(-jnp.abs(x)) / (2 + jnp.tanh(x)) + jnp.sqrt(x * x + 1) - lax.rsqrt(x * x + 1),
    None,
  ),
  'comparisons': (
    lambda x: jnp.where(x > 1, 2.0, jnp.where(x < -1, x, jnp.minimum(x, jnp.log(x * x + 2)))),
    None,
  ),
  'convolution': (
    lambda x: layers.leaky_relu(layers.conv2d(x, KERNEL, 1, 1) + BIAS[None, None, None]),
    {'Conv': 1, 'LeakyRelu': 1},
  ),
  'two biases': (
    lambda x: 1 + (layers.conv2d(x, KERNEL, 1, 1) + BIAS[None, None, None]),
    {'Conv': 1},
  ),
  'convolution that is read twice': (
    lambda x: (lambda y: (y + BIAS[None, None, None]) * y)(layers.conv2d(x, KERNEL, 1, 1)),
    {'Conv': 1, 'Add': 1, 'Mul': 1},
  ),
  'slopes': (lambda x: jnp.where(x >= 0, x, BIAS[None, None, None, :CHANNELS] * x), None),
  'steps': (lambda x: jnp.where(x >= 0.5, x, 0.2 * x), None),
  'stride': (lambda x: layers.conv2d(x, KERNEL, 2, 1) + 1, {'Conv': 1}),
  'reflection': (lambda x: layers.pad(x, 3, 'reflect'), {'Pad': 1}),
  'zeros': (lambda x: layers.pad(x, 2, 'zeros'), {'Pad': 1}),
  'edges': (lambda x: layers.pad(x, 2, 'edge'), {'Pad': 2}),
  'doubled': (layers.upsample2, {'Resize': 1}),
  'doubled and reflected': (
    lambda x: layers.pad(layers.upsample2(x), 1, 'reflect'),
    {'Resize': 1, 'Pad': 1},
  ),
  'twice doubled': (lambda x: layers.upsample2(layers.upsample2(x)), {'Resize': 2}),
  'nearest': (lambda x: layers.resize_nearest(x, (4, 9)), {'Gather': 2}),
  'every second': (lambda x: x[:, ::2, 1::2], {'Slice': 1}),
  'reversed': (lambda x: x[:, ::-1], {'Gather': 1}),
  'parts put together again': (
    lambda x: jnp.concatenate([x[..., :1], x[..., 1:]], axis=-1),
    {'Identity': 1},
  ),
  'other parts': (lambda x: jnp.concatenate([x[..., 2:], x, x], axis=-1), {'Gather': 1}),
  'joined': (
    lambda x: jnp.concatenate([layers.conv2d(x, KERNEL, 1, 1), x], axis=-1),
    {'Conv': 1, 'Concat': 1},
  ),
  'gates': (
    lambda x: (lambda a, b: a * b)(*jnp.split(layers.conv2d(x, KERNEL[..., :4], 1, 1), 2, axis=-1)),
    {'Conv': 1, 'Slice': 2, 'Mul': 1},
  ),
  'transposed convolution': (
    lambda x: layers.upconv2x2(x, MATRIX) + BIAS[None, None, None, :3],
    {'ConvTranspose': 1},
  ),
  'space to depth': (
    lambda x: layers.conv2d(blocks(x), KERNEL.repeat(4, 2), 1, 1),
    None,
  ),
  'depth to space': (
    lambda x: pixels(layers.conv2d(x, KERNEL[..., :4], 1, 1)),
    {'Conv': 1, 'DepthToSpace': 1},
  ),
  'half instance norm': (
    normed,
    {'Slice': 2, 'InstanceNormalization': 1, 'Concat': 1},
  ),
  'instance norm': (layers.instance_norm, None),
  'average pool': (lambda x: nn.avg_pool(x, (2, 2), (2, 2)), None),
  'largest and smallest': (
    lambda x: x.max((1, 2), keepdims=True) - x.min((1, 2), keepdims=True),
    {'ReduceMax': 1, 'ReduceMin': 1, 'Sub': 1},
  ),
  'mean spread': (
    lambda x: jnp.broadcast_to(x.mean((1, 2), keepdims=True), x.shape),
    {'ReduceSum': 1, 'Div': 1, 'Shape': 1, 'Concat': 1, 'Expand': 1},
  ),
  'nothing': (jnp.zeros_like, None),
  'bilinear': (
    lambda x: jax.image.resize(x, (x.shape[0], 9, 4, CHANNELS), 'bilinear', antialias=False),
    None,
  ),
  'products of pictures': (
    lambda x: jnp.einsum('nhwc,nhvc->nhwv', x, x),
    {'Einsum': 1, 'Transpose': 1},
  ),
  'as it is': (lambda x: x, {'Identity': 1}),
}


@pytest.mark.parametrize('name', CASES)
def test_functions(name):
  function, expected = CASES[name]
  model = converted(lambda variables, x: {'y': function(x)}, PICTURES.shape, 'NCHW')
  found = computed(model, PICTURES.transpose(0, 3, 1, 2))['y'].transpose(0, 2, 3, 1)
  # Both sides round sums of at most 144 products, whose magnitudes add up to 40 at most: their
  # difference is below 2 * 144 * 2**-24 * 40. What lies in the wrong place is wrong by 0.1.
  np.testing.assert_allclose(found, function(PICTURES), atol=1e-3)
  if expected is not None:
    assert operators(model) == expected


def test_what_has_no_form_is_named():
  with pytest.raises(NotImplementedError, match='the primitive sort of JAX'):
    converted(lambda variables, x: {'y': jnp.sort(x)}, PICTURES.shape)
  with pytest.raises(NotImplementedError, match='this use of pad'):
    converted(lambda variables, x: {'y': jnp.pad(x, 1, constant_values=1)}, PICTURES.shape)


def seen(module):
  """(variables, blurry pictures) to all that a network makes of them."""

  def see(variables, x):
    given = ()
    if hasattr(module, 'encoder'):
      given = (module.apply(variables, x, method='degradation_map'),)
    return module.apply(variables, x, *given, method='deblur')

  return see


JOINT, DEBLUR = tiny_joint.config, tiny_deblur.config
NETWORKS = {
  'joint': JOINT(model__encoder='table1'),
  'official_v1': JOINT(model__encoder='official_v1'),
  'official_v2': JOINT(),
  'sam, resized': JOINT(model__modulation='sam', model__encoder_input=64),
  'one code': JOINT(model__global_code=True),
  'no map': JOINT(model__without_map=True),
  'msdi_net': DEBLUR(model__encoder='table1'),
  'squares': DEBLUR(model__unshuffle=2),
  'as small': DEBLUR(
    model__unshuffle=4, model__encoder='local', model__encoder_input=0, model__modulation='sam'
  ),
  'as small_joint': JOINT(
    model__unshuffle=4,
    model__encoder='structure',
    model__encoder_stages=(1, 2, 4),
    model__encoder_input=0,
    model__modulation='sam',
  ),
  'hinet': DEBLUR(model__network='hinet'),
}


@pytest.mark.parametrize('name', NETWORKS)
def test_networks(name):
  config, shape = NETWORKS[name].model, (3, 32, 32, 3)
  module = factory.build_network(config, axis_name=None)
  inputs = [(1, *shape[1:])] * (2 if config.network == 'joint' else 1)
  variables = spectral_norm.folded(saved.variables(module, 0, *inputs))
  see, x = seen(module), np.random.default_rng(1).random(shape, np.float32)
  expected = jax.jit(see, compiler_options=COMPILER)(variables, x)
  for layout, order in {'NHWC': (0, 1, 2, 3), 'NCHW': (0, 3, 1, 2)}.items():
    model = converted(see, shape, layout, variables)
    found = computed(model, x.transpose(order))
    for output, wanted in expected.items():
      wanted = np.asarray(wanted).transpose(order)
      np.testing.assert_allclose(found[output], wanted, atol=1e-5, rtol=1e-5)
    assert np.abs(found['deblurred'] - x.transpose(order)).max() > 0.05
    # One at each end alone, except where E sees a resized picture or squares become channels.
    ends = {'NHWC': 1 + len(found), 'NCHW': 0}[layout]
    others = ('sam, resized', 'squares', 'as small', 'as small_joint')
    assert name in others or operators(model)['Transpose'] == ends
