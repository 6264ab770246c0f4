"""Layers, norms and resizing against loops in NumPy, in float64."""

import flax.linen as nn
import float64
import four_devices
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conv_loops import conv_and_gradients, normal
from float64 import CLOSE, apart
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import U

from degrep_jax.models import layers


@pytest.mark.parametrize(
  ('kernel', 'padding', 'mode', 'amount'),
  [(3, None, 'zeros', 1), (3, None, 'reflect', 1), (7, None, 'reflect', 3), (4, 1, 'zeros', 1)],
)
def test_conv_layer_pads_half_its_kernel_and_adds_the_bias(kernel, padding, mode, amount):
  x = normal(1, 6, 5, 2)
  layer = layers.Conv(3, kernel, padding=padding, padding_mode=mode)
  variables = layer.init(jax.random.key(0), x)
  params = {name: np.asarray(value) for name, value in variables['params'].items()}
  widths = ((0, 0), (amount,) * 2, (amount,) * 2, (0, 0))
  padded = np.pad(x, widths, mode={'zeros': 'constant'}.get(mode, mode))
  _, expected, *_ = conv_and_gradients(padded, params['kernel'], 1, 0)
  assert apart(float64.jit(layer.apply)(variables, x), expected + params['bias']) < CLOSE
  assert set(layer.clone(use_bias=False).init(jax.random.key(0), x)['params']) == {'kernel'}


def _instance_norm(x):
  x = x.astype(np.float64)
  variance = x.var((1, 2), keepdims=True)
  return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(variance + 1e-5)


def test_instance_norm_is_numpys():
  x = 5 + 3 * normal(2, 4, 5, 3)
  assert apart(float64.jit(layers.instance_norm)(x), _instance_norm(x)) < CLOSE
  np.testing.assert_array_equal(layers.instance_norm(np.full((1, 2, 2, 1), 7.0)), 0)


@pytest.mark.parametrize('channels', [6, 5])
def test_half_instance_norm_leaves_the_second_half(channels):
  x, half = 5 + 3 * normal(2, 4, 5, channels), channels // 2
  scale, bias = normal(half, seed=1), normal(half, seed=2)
  apply = float64.jit(layers.HalfInstanceNorm().apply)
  output = apply({'params': {'scale': scale, 'bias': bias}}, x)
  assert apart(output[..., :half], _instance_norm(x[..., :half]) * scale + bias) < CLOSE
  np.testing.assert_array_equal(output[..., half:], x[..., half:])


@pytest.mark.parametrize('channels', [6, 5])
def test_gradients_of_norms_are_those_of_their_definition(channels):
  x, half = 5 + 3 * normal(2, 4, 5, channels), channels // 2
  weight, scale, bias = normal(*x.shape, seed=1), normal(half, seed=2), normal(half, seed=3)

  def definition(x, scale, bias):
    deviation = x - x.mean((1, 2), keepdims=True)
    z = deviation / jnp.sqrt(jnp.square(deviation).mean((1, 2), keepdims=True) + 1e-5)
    return z * scale + bias

  def half_of_it(x, scale, bias):
    normed = definition(x[..., :half], scale, bias)
    return jnp.concatenate([normed, x[..., half:]], axis=-1)

  def module(x, scale, bias):
    return layers.HalfInstanceNorm().apply({'params': {'scale': scale, 'bias': bias}}, x)

  def gradients(norm, *arguments):
    every = tuple(range(len(arguments) - 1))
    return float64.jit(jax.grad(lambda *inputs: (inputs[-1] * norm(*inputs[:-1])).sum(), every))(
      *arguments
    )

  found, expected = (gradients(norm, x, scale, bias, weight) for norm in (module, half_of_it))
  for one, other in zip(found, expected, strict=True):
    assert apart(one, other) < CLOSE
  (found,) = gradients(layers.instance_norm, x, weight)
  (expected,) = gradients(lambda x: definition(x, 1.0, 0.0), x, weight)
  assert apart(found, expected) < CLOSE


def test_the_gradient_of_a_bias_is_summed_over_pictures_and_positions():
  layer, x, weight = layers.Conv(3, kernel=1), normal(2, 6, 5, 2), normal(2, 6, 5, 3, seed=1)
  variables = layer.init(jax.random.key(0), x)
  gradient = float64.jit(jax.grad(lambda variables, w: (w * layer.apply(variables, x)).sum()))
  found = gradient(variables, weight)['params']['bias']
  assert apart(found, np.float64(weight).sum((0, 1, 2))) < CLOSE


def _batch_norm(x, running, **keywords):
  @float64.jit
  def apply(variables, x):
    return layers.BatchNorm().apply(variables, x, mutable=['batch_stats'], **keywords)

  output, moved = apply({'batch_stats': running}, x)
  return output, moved['batch_stats']


def test_batch_norms_running_variance_is_unbiased():
  # Of 1 and 3: mean 2, biased variance 1, unbiased 2; each moves a tenth of the way.
  output, moved = _batch_norm(
    np.array([1.0, 3.0]).reshape(2, 1, 1, 1),
    {'mean': np.array([0.0]), 'var': np.array([1.0])},
    train=True,
  )
  np.testing.assert_allclose(np.ravel(output), [-1, 1], rtol=0.5e-5 + CLOSE)  # 1 / sqrt(1 + 1e-5)
  np.testing.assert_allclose(moved['mean'], [0.2], rtol=CLOSE)
  np.testing.assert_allclose(moved['var'], [0.9 * 1 + 0.1 * 2], rtol=CLOSE)


def test_batch_norm_is_numpys_in_training_and_evaluation():
  x = 5 + 3 * normal(3, 4, 5, 2)
  running = {'mean': np.float32([4.0, -1.0]), 'var': np.float32([2.0, 0.5])}
  wide, running = float64.wide((x, running))
  output, moved = _batch_norm(x, running, train=True)
  mean, variance = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
  assert apart(output, (wide - mean) / np.sqrt(variance + 1e-5)) < CLOSE
  assert apart(moved['mean'], 0.9 * running['mean'] + 0.1 * mean) < CLOSE
  unbiased = wide.var((0, 1, 2), ddof=1)
  assert apart(moved['var'], 0.9 * running['var'] + 0.1 * unbiased) < CLOSE
  output, moved = _batch_norm(x, running)
  assert apart(output, (wide - running['mean']) / np.sqrt(running['var'] + 1e-5)) < CLOSE
  for name, value in running.items():
    np.testing.assert_array_equal(moved[name], value)


def test_batch_norm_on_four_devices_is_that_of_the_whole_batch():
  differences = four_devices.run("""
import json, jax, numpy as np
from degrep_jax.models.layers import BatchNorm
jax.config.update('jax_enable_x64', True)

def run(axis_name, x, weight):
  norm = BatchNorm(axis_name)
  def loss(x):
    output, moved = norm.apply({'batch_stats': running}, x, train=True, mutable=['batch_stats'])
    return (weight * output).sum(), (output, moved)
  gradient, (output, moved) = jax.grad(loss, has_aux=True)(x)
  return {'gradient': gradient, 'output': output}, moved['batch_stats']

draw = np.random.default_rng(0).normal
x, weight = (draw(size=(8, 3, 2, 5)) * 3 + 1 for _ in range(2))
running = {'mean': np.full(5, 0.5), 'var': np.full(5, 2.0)}
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
  assert max(differences.values()) < CLOSE


@settings(max_examples=25, deadline=None)
@given(*(st.integers(1, 9) for _ in range(4)))
def test_resize_nearest_reads_the_floor_of_the_position(height, width, rows, columns):
  x = normal(2, height, width, 3)
  expected = np.zeros((2, rows, columns, 3), np.float32)
  for i, j in np.ndindex(rows, columns):
    expected[:, i, j] = x[:, i * height // rows, j * width // columns]
  np.testing.assert_array_equal(layers.resize_nearest(x, (rows, columns)), expected)


def test_upsampling_repeats_every_value():
  x = normal(2, 3, 4, 2)
  np.testing.assert_array_equal(layers.upsample2(x), x.repeat(2, 1).repeat(2, 2))


def test_leaky_relus_slope():
  found = layers.leaky_relu(jnp.array([-10.0, 0, 3]))
  np.testing.assert_allclose(found, [-2, 0, 3], rtol=2 * U)  # of 0.2 and of the product


def test_the_inner_leaky_relu_is_the_same_with_the_same_slopes():
  x = np.array([-10.0, -0.5, 0, 3])
  value, gradient = float64.jit(jax.vmap(jax.value_and_grad(layers.inner_leaky_relu)))(x)
  np.testing.assert_allclose(value, [-2, -0.1, 0, 3], rtol=CLOSE)
  np.testing.assert_allclose(gradient, [0.2, 0.2, 1, 1], rtol=CLOSE)


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
