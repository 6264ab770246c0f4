"""Spectral normalisation against singular value decomposition and power iteration in NumPy."""

import functools

import flax.errors
import float64
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from float64 import CLOSE, apart
from rounding import gamma

from degrep_jax.models import spectral_norm
from degrep_jax.models.layers import Conv

SHAPE = (3, 3, 4, 5)  # kernel (3, 3, in, out)


def _kernel(shape=SHAPE, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _unit(size, seed=1):
  x = np.random.default_rng(seed).normal(size=size)
  return (x / np.linalg.norm(x)).astype(np.float32)


def _matrix(kernel):
  """(out, kh * kw * in) in float64, written index by index."""
  kh, kw, fan, out = kernel.shape
  rows = [
    [kernel[i, j, c, o] for i in range(kh) for j in range(kw) for c in range(fan)]
    for o in range(out)
  ]
  return np.array(rows, np.float64)


def _iterate(matrix, u):
  """One power iteration in float64: the next (u, v)."""
  v = matrix.T @ u
  v /= np.linalg.norm(v)
  u = matrix @ v
  return u / np.linalg.norm(u), v


@pytest.mark.parametrize('shape', [SHAPE, (4, 4, 3, 2), (1, 1, 7, 3), (3, 3, 2, 1)])
def test_one_iteration_is_that_of_the_paper(shape):
  kernel, u = _kernel(shape), _unit(shape[-1])
  expected_u, expected_v = _iterate(_matrix(kernel), u)
  next_u, next_v = float64.jit(spectral_norm.power_iteration)(kernel, u)
  assert apart((next_u, next_v), (expected_u, expected_v)) < CLOSE
  sigma = float64.jit(spectral_norm.sigma)(kernel, next_u, next_v)
  assert sigma == pytest.approx(expected_u @ _matrix(kernel) @ expected_v, rel=CLOSE)


def test_iterations_converge_to_the_largest_singular_value():
  kernel, u = _kernel(), _unit(SHAPE[-1])
  left, values, right = np.linalg.svd(_matrix(kernel), full_matrices=False)
  iterate, sigma = map(float64.jit, (spectral_norm.power_iteration, spectral_norm.sigma))
  assert sigma(kernel, *iterate(kernel, u)) < 0.99 * values[0]
  # An iteration leaves (0.92)^2 of what is not of the largest: 200 of them 1e-15.
  assert (values[1] / values[0]) ** 400 < 1e-3 * CLOSE
  for _ in range(200):
    u, v = iterate(kernel, u)
  assert sigma(kernel, u, v) == pytest.approx(values[0], rel=CLOSE)
  assert abs(u @ left[:, 0]) == pytest.approx(1, rel=CLOSE)
  assert abs(v @ right[0]) == pytest.approx(1, rel=CLOSE)


def test_products_have_all_bits_of_float32_on_any_device():
  kernel, u = jnp.zeros(SHAPE), jnp.array(_unit(SHAPE[-1]))

  def both(kernel):
    u_next, v = spectral_norm.power_iteration(kernel, u)
    return spectral_norm.sigma(kernel, u_next, v)

  program = jax.jit(jax.value_and_grad(both)).lower(kernel).as_text()
  products = [line for line in program.splitlines() if 'dot_general' in line]
  assert len(products) >= 4
  assert all('precision = [HIGHEST, HIGHEST]' in line for line in products)


def test_a_kernel_of_zeros_stays_finite():
  u, v = spectral_norm.power_iteration(jnp.zeros(SHAPE), _unit(SHAPE[-1]))
  assert not np.any(u)
  assert not np.any(v)


@pytest.fixture
def layer():
  """(1x1 convolution of four to three channels, its variables with u and v far from converged)."""
  conv = Conv(3, kernel=1, spectral=True, use_bias=False)
  kernel = _kernel((1, 1, 4, 3))
  spectral = {'u': jnp.array(_unit(3)), 'v': jnp.array(_unit(4, 2))}
  return conv, {'params': {'kernel': jnp.array(kernel)}, 'spectral': spectral}


def _eval_output(x, kernel, u, v):
  """The 1x1 convolution by W / (u^T W v) in float64."""
  matrix = _matrix(kernel)
  return x.astype(np.float64) @ (matrix / (np.float64(u) @ matrix @ np.float64(v))).T


PICTURE = np.random.default_rng(3).normal(size=(1, 2, 2, 4)).astype(np.float32)


def test_iterates_live_in_their_own_collection():
  variables = Conv(5, spectral=True).init(jax.random.key(0), jnp.zeros((1, 6, 6, 4)))
  assert set(variables) == {'params', 'spectral'}
  assert set(variables['params']) == {'kernel', 'bias'}
  u, v = variables['spectral']['u'], variables['spectral']['v']
  assert (u.shape, v.shape) == ((5,), (36,))
  # Drawn in float32: v is off by what the longer of two sums and a norm are.
  np.testing.assert_allclose([np.linalg.norm(u), np.linalg.norm(v)], 1, rtol=gamma(36 + 2))
  expected = _matrix(np.asarray(variables['params']['kernel'])).T @ u
  difference = np.linalg.norm(v - expected / np.linalg.norm(expected))
  assert difference < 2 * gamma(5 + 36)


def test_evaluation_uses_the_stored_vectors_and_moves_neither(layer):
  conv, variables = layer
  kernel, spectral = np.asarray(variables['params']['kernel']), variables['spectral']
  apply = float64.jit(functools.partial(conv.apply, mutable=['spectral']))
  output, moved = apply(variables, PICTURE)
  np.testing.assert_array_equal(moved['spectral']['u'], spectral['u'])
  np.testing.assert_array_equal(moved['spectral']['v'], spectral['v'])
  assert apart(output, _eval_output(PICTURE, kernel, **spectral)) < CLOSE
  other = spectral | {'v': jnp.array(_unit(4, 5))}
  changed, _ = apply(variables | {'spectral': other}, PICTURE)
  assert apart(changed, _eval_output(PICTURE, kernel, **other)) < CLOSE
  assert np.abs(changed - output).max() > 0.1 * np.abs(output).max()


def test_a_training_pass_is_one_iteration_then_the_normalised_convolution(layer):
  conv, variables = layer
  kernel = np.asarray(variables['params']['kernel'])
  u = np.float64(variables['spectral']['u'])
  apply = float64.jit(functools.partial(conv.apply, train=True, mutable=['spectral']))
  for _ in range(3):
    output, moved = apply(variables, PICTURE)
    variables = variables | moved
    u, v = _iterate(_matrix(kernel), u)
    assert apart(moved['spectral'], {'u': u, 'v': v}) < CLOSE
    assert apart(output, _eval_output(PICTURE, kernel, u, v)) < CLOSE


@pytest.mark.parametrize('train', [False, True])
def test_gradient_holds_the_vectors_constant(layer, train):
  """d<g, W/s>/dW = g/s - <g, W>/s^2 u v^T, and finite differences of the same with u, v fixed."""
  conv, variables = layer
  kernel, spectral = np.asarray(variables['params']['kernel']), variables['spectral']
  u, v = (np.float64(spectral[name]) for name in 'uv')
  if train:
    u, v = _iterate(_matrix(kernel), u)
  weight = np.random.default_rng(7).normal(size=(1, 2, 2, 3))

  def loss(kernel):
    changed = {'params': {'kernel': kernel}, 'spectral': spectral}
    output, _ = conv.apply(changed, PICTURE, train=train, mutable=['spectral'])
    return (output * weight).sum()

  matrix = _matrix(kernel)
  sigma = u @ matrix @ v
  g = np.einsum('nhwo,nhwi->oi', weight, np.float64(PICTURE))
  expected = g / sigma - (g * matrix).sum() / sigma**2 * np.outer(u, v)
  assert apart(float64.jit(jax.grad(loss))(kernel)[0, 0].T, expected) < CLOSE

  def moved_loss(index, step):
    moved = kernel.astype(np.float64)
    moved[(0, 0, *index)] += step
    return (_eval_output(PICTURE, moved, u, v) * weight).sum()

  for i, o in np.ndindex(4, 3):
    # Values of some ten, off by 2^-53 of it each, and divided by 2e-6: 1e-9.
    slope = (moved_loss((i, o), 1e-6) - moved_loss((i, o), -1e-6)) / 2e-6
    np.testing.assert_allclose(slope, expected[o, i], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize('traced', [False, True])
def test_folded_variables_give_the_same_output_without_vectors(layer, traced):
  conv, variables = layer
  kernel, spectral = np.asarray(variables['params']['kernel']), variables['spectral']
  # Beside a layer without spectral norm and a collection of another kind, two levels down.
  whole = {
    'params': {'part': {'a': variables['params'], 'b': {'kernel': kernel}}},
    'spectral': {'part': {'a': spectral}},
    'batch_stats': {'part': {'mean': np.ones(2)}},
  }
  with jax.enable_x64(True):
    folded = (jax.jit if traced else lambda fold: fold)(spectral_norm.folded)(float64.wide(whole))
  assert set(folded) == {'params', 'batch_stats'}
  part = folded['params']['part']
  assert isinstance(part['a']['kernel'], jax.Array if traced else np.ndarray)
  np.testing.assert_array_equal(part['b']['kernel'], kernel)
  output = float64.jit(conv.apply)({'params': part['a']}, PICTURE)
  assert apart(output, _eval_output(PICTURE, kernel, **spectral)) < CLOSE


def test_folded_variables_cannot_be_trained(layer):
  conv, variables = layer
  with pytest.raises(flax.errors.FlaxError):
    conv.apply({'params': variables['params']}, PICTURE, train=True, mutable=['spectral'])


def test_folded_kernels_get_their_vectors_again():
  kernel, u = _kernel(), _unit(SHAPE[-1])
  variables = {
    'params': {'a': {'conv': {'kernel': kernel, 'bias': u}}, 'b': {'kernel': kernel}},
    'spectral': {'a': {'conv': {'u': u, 'v': np.asarray(spectral_norm.right_vector(kernel, u))}}},
  }
  folded = spectral_norm.folded(variables)
  again = spectral_norm.unfolded(folded, variables['spectral'])
  assert again['params'] is folded['params']
  assert jax.tree.structure(again) == jax.tree.structure(variables)
  vectors, matrix = again['spectral']['a']['conv'], _matrix(folded['params']['a']['conv']['kernel'])
  assert vectors['u'] @ matrix @ vectors['v'] == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-5)
  for name in ('u', 'v'):
    assert np.linalg.norm(vectors[name]) == pytest.approx(1, rel=1e-5)
