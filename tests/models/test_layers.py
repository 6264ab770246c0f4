"""Convolutions, norms and resizing against loops in NumPy, in float64."""

import flax.linen as nn
import four_devices
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from degrep_jax.models import layers

FORMS = ('_plain_conv', '_space_to_depth_conv', '_im2col_conv', '_padded_conv')


def _normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _taps(x, kernel, stride, padding, height, width):
  """Per place (a, b) of the kernel: what lies under it at every output position, as a view."""
  padded = np.pad(x.astype(np.float64), ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
  for a, b in np.ndindex(kernel.shape[:2]):
    rows, columns = (slice(i, i + stride * n, stride) for i, n in ((a, height), (b, width)))
    yield (a, b), (slice(None), rows, columns), padded


def _conv_and_gradients(x, kernel, stride, padding, seed=2):
  """A cotangent, the convolution and its two gradients, all float64."""
  k = len(kernel)
  height, width = ((s + 2 * padding - k) // stride + 1 for s in x.shape[1:3])
  shape = (len(x), height, width, kernel.shape[-1])
  cotangent = _normal(*shape, seed=seed)
  output, dkernel = np.zeros(shape), np.zeros(kernel.shape)
  dpadded = np.zeros((len(x), *(s + 2 * padding for s in x.shape[1:3]), x.shape[-1]))
  for place, window, padded in _taps(x, kernel, stride, padding, height, width):
    output += padded[window] @ kernel[place]
    dkernel[place] = np.einsum('nhwi,nhwo->io', padded[window], cotangent)
    dpadded[window] += cotangent @ kernel[place].T
  inner = (slice(None), *(slice(padding, padding + s) for s in x.shape[1:3]))
  return cotangent, output, dpadded[inner], dkernel


def _check(x, kernel, stride, padding):
  cotangent, output, dx, dkernel = _conv_and_gradients(x, kernel, stride, padding)

  @jax.jit
  def ours(x, kernel, cotangent):
    y, back = jax.vjp(lambda x, kernel: layers.conv2d(x, kernel, stride, padding), x, kernel)
    return y, *back(cotangent)

  actual = ours(x, kernel, cotangent)
  for got, expected in zip(actual, (output, dx, dkernel), strict=True):
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=2e-5 * max(1, np.abs(expected).max()))


# (B, H, W, in), kernel, filters, stride, padding: forms whose input and filter gradient are taken.
REACHED = [
  ((2, 6, 5, 3), 3, 4, 1, 1, '_plain_conv', '_plain_conv'),
  ((2, 6, 5, 3), 3, 4, 2, 1, '_plain_conv', '_plain_conv'),
  ((2, 6, 5, 30), 1, 4, 1, 0, '_plain_conv', '_plain_conv'),
  ((1, 2, 2, 8), 1, 3, 1, 0, '_plain_conv', '_plain_conv'),
  ((2, 6, 8, 3), 4, 5, 2, 1, '_space_to_depth_conv', '_plain_conv'),
  ((1, 7, 6, 2), 4, 3, 2, 2, '_space_to_depth_conv', '_plain_conv'),
  ((1, 5, 5, 2), 4, 3, 2, 0, '_space_to_depth_conv', '_plain_conv'),
  ((1, 1, 3, 9), 4, 2, 2, 3, '_space_to_depth_conv', '_plain_conv'),
  ((2, 3, 2, 12), 3, 4, 1, 1, '_plain_conv', '_im2col_conv'),
  ((1, 4, 4, 16), 4, 2, 1, 2, '_plain_conv', '_im2col_conv'),
  ((1, 3, 3, 10), 3, 2, 1, 0, '_plain_conv', '_im2col_conv'),
  ((2, 6, 5, 3), 4, 4, 1, 2, '_plain_conv', '_padded_conv'),
  ((2, 4, 5, 2), 3, 3, 1, 3, '_plain_conv', '_padded_conv'),
  ((1, 4, 5, 2), 1, 3, 1, 2, '_plain_conv', '_padded_conv'),
]


def test_every_form_occurs_in_the_table():
  assert {name for *_, a, b in REACHED for name in (a, b)} == set(FORMS)


@pytest.mark.parametrize(
  ('shape', 'k', 'filters', 'stride', 'padding', 'of_input', 'of_kernel'), REACHED
)
def test_every_form_is_reached_and_exact(
  monkeypatch, shape, k, filters, stride, padding, of_input, of_kernel
):
  x, kernel = _normal(*shape), _normal(k, k, shape[-1], filters, seed=1)
  forms = layers._cpu_forms(x, kernel, stride, padding)
  assert [form.__name__ for form in forms] == [of_input, of_kernel]
  called = set()

  def recorded(name, form):
    def record(*arguments):
      called.add(name)
      return form(*arguments)

    return record

  for name in FORMS:
    monkeypatch.setattr(layers, name, recorded(name, getattr(layers, name)))
  _check(x, kernel, stride, padding)
  # The plain form always runs: it is the forward pass, and the gradient of other platforms.
  assert called == {'_plain_conv', of_input, of_kernel}


@st.composite
def _convolutions(draw):
  k, stride, padding = (draw(st.sampled_from(c)) for c in ((1, 3, 4, 7), (1, 2), range(4)))
  least = max(1, k - 2 * padding)
  n, height, width = draw(st.integers(1, 2)), *(draw(st.integers(least, 8)) for _ in range(2))
  few = st.integers(1, 4)
  positions = n * height * width
  channels = draw(few | st.integers(positions, positions + 2) if positions < 30 else few)
  return (n, height, width, channels), k, draw(st.integers(1, 4)), stride, padding


@settings(max_examples=15, deadline=None)
@given(_convolutions())
@example(((1, 1, 1, 1), 7, 1, 1, 3))
@example(((2, 8, 3, 4), 4, 3, 2, 1))
def test_convolution_and_gradients_are_the_loops(case):
  shape, k, filters, stride, padding = case
  _check(_normal(*shape), _normal(k, k, shape[-1], filters, seed=1), stride, padding)


def test_upconv_is_the_transposed_convolution():
  x, kernel = _normal(2, 3, 4, 5), _normal(2, 2, 5, 6, seed=1)
  expected = np.zeros((2, 6, 8, 6))
  for n, i, j, a, b in np.ndindex(2, 3, 4, 2, 2):
    expected[n, 2 * i + a, 2 * j + b] = x[n, i, j].astype(np.float64) @ kernel[a, b]
  np.testing.assert_allclose(layers.upconv2x2(x, kernel), expected, atol=1e-5)


@pytest.mark.parametrize('mode', ['zeros', 'reflect'])
@pytest.mark.parametrize('amount', [0, 1, 3])
def test_padding_is_numpys(mode, amount):
  x = _normal(2, 4, 5, 3)
  widths = ((0, 0), (amount, amount), (amount, amount), (0, 0))
  expected = np.pad(x, widths, mode={'zeros': 'constant', 'reflect': 'reflect'}[mode])
  np.testing.assert_array_equal(layers.pad(x, amount, mode), expected)


@pytest.mark.parametrize(
  ('kernel', 'padding', 'mode', 'amount'),
  [(3, None, 'zeros', 1), (3, None, 'reflect', 1), (7, None, 'reflect', 3), (4, 1, 'zeros', 1)],
)
def test_conv_layer_pads_half_its_kernel_and_adds_the_bias(kernel, padding, mode, amount):
  x = _normal(1, 6, 5, 2)
  layer = layers.Conv(3, kernel, padding=padding, padding_mode=mode)
  output, variables = layer.init_with_output(jax.random.key(0), x)
  params = {name: np.asarray(value) for name, value in variables['params'].items()}
  widths = ((0, 0), (amount,) * 2, (amount,) * 2, (0, 0))
  padded = np.pad(x, widths, mode={'zeros': 'constant'}.get(mode, mode))
  _, expected, *_ = _conv_and_gradients(padded, params['kernel'], 1, 0)
  np.testing.assert_allclose(output, expected + params['bias'], atol=1e-5)
  assert set(layer.clone(use_bias=False).init(jax.random.key(0), x)['params']) == {'kernel'}


def _instance_norm(x):
  x = x.astype(np.float64)
  variance = x.var((1, 2), keepdims=True)
  return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(variance + 1e-5)


def test_instance_norm_is_numpys():
  x = 5 + 3 * _normal(2, 4, 5, 3)
  np.testing.assert_allclose(layers.instance_norm(x), _instance_norm(x), atol=1e-5)
  np.testing.assert_array_equal(layers.instance_norm(np.full((1, 2, 2, 1), 7.0)), 0)


@pytest.mark.parametrize('channels', [6, 5])
def test_half_instance_norm_leaves_the_second_half(channels):
  x, half = 5 + 3 * _normal(2, 4, 5, channels), channels // 2
  scale, bias = _normal(half, seed=1), _normal(half, seed=2)
  output = layers.HalfInstanceNorm().apply({'params': {'scale': scale, 'bias': bias}}, x)
  np.testing.assert_allclose(
    output[..., :half], _instance_norm(x[..., :half]) * scale + bias, atol=2e-5
  )
  np.testing.assert_array_equal(output[..., half:], x[..., half:])


def _batch_norm(x, running, **keywords):
  variables = {'batch_stats': {name: jnp.asarray(value) for name, value in running.items()}}
  output, moved = layers.BatchNorm().apply(variables, x, mutable=['batch_stats'], **keywords)
  return output, moved['batch_stats']


def test_batch_norms_running_variance_is_unbiased():
  # Of 1 and 3: mean 2, biased variance 1, unbiased 2; each moves a tenth of the way.
  output, moved = _batch_norm(
    np.array([1.0, 3.0], np.float32).reshape(2, 1, 1, 1), {'mean': [0.0], 'var': [1.0]}, train=True
  )
  np.testing.assert_allclose(np.ravel(output), [-1, 1], atol=1e-4)
  np.testing.assert_allclose(moved['mean'], [0.2], rtol=1e-6)
  np.testing.assert_allclose(moved['var'], [0.9 * 1 + 0.1 * 2], rtol=1e-6)


def test_batch_norm_is_numpys_in_training_and_evaluation():
  x = 5 + 3 * _normal(3, 4, 5, 2)
  running = {'mean': np.float32([4.0, -1.0]), 'var': np.float32([2.0, 0.5])}
  wide = x.astype(np.float64)
  output, moved = _batch_norm(x, running, train=True)
  mean, variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
  np.testing.assert_allclose(output, (wide - mean) / np.sqrt(variance + 1e-5), atol=1e-5)
  np.testing.assert_allclose(moved['mean'], 0.9 * running['mean'] + 0.1 * mean, rtol=1e-5)
  unbiased = wide.var((0, 1, 2), ddof=1)
  np.testing.assert_allclose(moved['var'], 0.9 * running['var'] + 0.1 * unbiased, rtol=1e-5)
  output, moved = _batch_norm(x, running)
  expected = (wide - running['mean']) / np.sqrt(running['var'] + 1e-5)
  np.testing.assert_allclose(output, expected, atol=1e-5)
  for name, value in running.items():
    np.testing.assert_array_equal(moved[name], value)


def test_batch_norm_on_four_devices_is_that_of_the_whole_batch():
  differences = four_devices.run("""
import json, jax, numpy as np
from degrep_jax.models.layers import BatchNorm

def run(axis_name, x, weight):
  norm = BatchNorm(axis_name)
  def loss(x):
    output, moved = norm.apply({'batch_stats': running}, x, train=True, mutable=['batch_stats'])
    return (weight * output).sum(), (output, moved)
  gradient, (output, moved) = jax.grad(loss, has_aux=True)(x)
  return {'gradient': gradient, 'output': output}, moved['batch_stats']

draw = np.random.default_rng(0).normal
x, weight = (draw(size=(8, 3, 2, 5)).astype(np.float32) * 3 + 1 for _ in range(2))
running = {'mean': np.full(5, 0.5, np.float32), 'var': np.full(5, 2.0, np.float32)}
whole, moved = run(None, x, weight)
parts = [a.reshape(4, 2, 3, 2, 5) for a in (x, weight)]
shares, moved_on_each = jax.pmap(lambda *a: run('batch', *a), axis_name='batch')(*parts)
differences = {'devices': jax.device_count()}
for name in whole:
  differences[name] = float(abs(np.reshape(shares[name], x.shape) - whole[name]).max())
for name in moved:
  differences[name] = float(abs(moved_on_each[name] - moved[name]).max())
print(json.dumps(differences))
""")
  assert differences.pop('devices') == 4
  assert set(differences) == {'gradient', 'output', 'mean', 'var'}
  assert max(differences.values()) < 1e-5


@settings(max_examples=25, deadline=None)
@given(*(st.integers(1, 9) for _ in range(4)))
def test_resize_nearest_reads_the_floor_of_the_position(height, width, rows, columns):
  x = _normal(2, height, width, 3)
  expected = np.zeros((2, rows, columns, 3), np.float32)
  for i, j in np.ndindex(rows, columns):
    expected[:, i, j] = x[:, i * height // rows, j * width // columns]
  np.testing.assert_array_equal(layers.resize_nearest(x, (rows, columns)), expected)


def test_upsampling_repeats_every_value():
  x = _normal(2, 3, 4, 2)
  np.testing.assert_array_equal(layers.upsample2(x), x.repeat(2, 1).repeat(2, 2))


def test_leaky_relus_slope():
  np.testing.assert_allclose(layers.leaky_relu(jnp.array([-10.0, 0, 3])), [-2, 0, 3], rtol=1e-6)


@pytest.mark.parametrize(
  ('layer', 'fan'),
  [
    (layers.Conv(64, kernel=3), 3 * 3 * 50),
    (layers.Conv(64, kernel=3, spectral=True), 3 * 3 * 50),
    (layers.Conv(64, kernel=7), 7 * 7 * 50),
    (layers.UpConv(64), 2 * 2 * 64),  # PyTorch counts a transposed kernel's outputs
  ],
)
def test_initial_weights_are_uniform_within_the_fan(layer: nn.Module, fan):
  params = layer.init(jax.random.key(0), jnp.zeros((1, 8, 8, 50)))['params']
  for values in map(np.asarray, params.values()):
    bound = fan**-0.5
    assert 0.9 * bound < np.abs(values).max() <= bound
    assert abs(values.mean()) < 4 * bound / np.sqrt(3 * values.size)
    if values.size > 1000:
      np.testing.assert_allclose(values.std(), bound / np.sqrt(3), rtol=0.05)
