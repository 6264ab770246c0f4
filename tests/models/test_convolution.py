"""Convolutions, their gradients and padding against loops in NumPy, in float64."""

import float64
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conv_loops import conv_and_gradients, normal
from float64 import CLOSE, apart
from hypothesis import example, given, settings
from hypothesis import strategies as st

from degrep_jax.models import convolution

GRADIENTS = (
  '_plain_input_gradient',
  '_space_to_depth_input_gradient',
  '_im2col_input_gradient',
  '_plain_filter_gradient',
  '_pointwise_filter_gradient',
  '_space_to_depth_filter_gradient',
  '_padded_filter_gradient',
  '_im2col_filter_gradient',
  '_blocked_filter_gradient',
  '_columns_filter_gradient',
)


def _check(x, kernel, stride, padding):
  cotangent, output, dx, dkernel = conv_and_gradients(x, kernel, stride, padding)

  @float64.jit
  def ours(x, kernel, cotangent):
    y, back = jax.vjp(lambda x, kernel: convolution.conv2d(x, kernel, stride, padding), x, kernel)
    return y, *back(cotangent)

  for got, expected in zip(ours(x, kernel, cotangent), (output, dx, dkernel), strict=True):
    assert got.shape == expected.shape and got.dtype == np.float64
    # A thousand terms at most, each rounded to 2^-53.
    np.testing.assert_allclose(got, expected, atol=1e-12 * max(1, np.abs(expected).max()))


# (B, H, W, in), kernel, filters, stride, padding: how the gradients of input and filter are taken.
REACHED = [
  ((2, 6, 5, 3), 3, 4, 1, 1, 'plain', 'blocked'),
  ((1, 520, 2, 1), 3, 2, 1, 1, 'plain', 'blocked'),  # three blocks of 174 rows, 2 over
  ((1, 17, 70, 2), 3, 3, 1, 0, 'plain', 'blocked'),  # of 8 rows, 1 over
  ((2, 6, 5, 4), 3, 4, 1, 1, 'plain', 'columns'),
  ((1, 1100, 2, 1), 3, 1, 1, 1, 'plain', 'columns'),  # two blocks of 550 rows
  ((1, 17, 300, 2), 3, 1, 1, 0, 'plain', 'columns'),  # three of 6, 1 over
  ((2, 5, 6, 3), 2, 2, 1, 0, 'plain', 'columns'),
  ((2, 5, 6, 3), 3, 2, 1, 2, 'plain', 'columns'),
  ((2, 5, 6, 3), 3, 2, 1, 3, 'plain', 'columns'),  # the padding's own border gives nothing
  ((2, 6, 5, 5), 4, 1, 1, 2, 'plain', 'columns'),
  ((2, 6, 5, 3), 3, 4, 2, 1, 'plain', 'blocked'),
  ((1, 18, 140, 2), 3, 1, 2, 1, 'plain', 'blocked'),
  ((2, 6, 5, 3), 4, 4, 1, 2, 'plain', 'blocked'),
  ((1, 3, 2, 3), 3, 9, 1, 1, 'im2col', 'blocked'),
  ((1, 6, 6, 3), 3, 5, 2, 1, 'im2col', 'blocked'),
  ((8, 6, 5, 3), 3, 4, 1, 1, 'plain', 'plain'),
  ((1, 12, 12, 2), 7, 3, 1, 0, 'plain', 'plain'),
  ((2, 6, 5, 30), 1, 4, 1, 0, 'plain', 'pointwise'),
  ((1, 2, 2, 8), 1, 3, 1, 0, 'plain', 'pointwise'),
  ((1, 4, 5, 2), 1, 3, 2, 0, 'plain', 'plain'),
  ((2, 6, 8, 3), 4, 5, 2, 1, 'space_to_depth', 'space_to_depth'),
  ((1, 7, 6, 2), 4, 3, 2, 2, 'space_to_depth', 'space_to_depth'),
  ((1, 5, 5, 2), 4, 1, 2, 0, 'im2col', 'space_to_depth'),
  ((2, 3, 2, 12), 3, 4, 1, 1, 'plain', 'im2col'),
  ((1, 4, 4, 16), 4, 2, 1, 2, 'plain', 'im2col'),
  ((2, 4, 4, 32), 3, 2, 2, 1, 'plain', 'im2col'),
  ((1, 3, 3, 10), 3, 5, 1, 0, 'im2col', 'im2col'),
  ((9, 6, 5, 3), 4, 4, 1, 2, 'plain', 'padded'),
  ((8, 4, 5, 2), 3, 3, 1, 3, 'plain', 'padded'),
  ((1, 4, 5, 2), 1, 3, 1, 2, 'plain', 'padded'),
]


def test_every_gradient_occurs_in_the_table():
  pairs = [(f'_{a}_input_gradient', f'_{b}_filter_gradient') for *_, a, b in REACHED]
  assert {name for pair in pairs for name in pair} == set(GRADIENTS)


@pytest.mark.parametrize(
  ('shape', 'k', 'filters', 'stride', 'padding', 'of_input', 'of_kernel'), REACHED
)
def test_every_gradient_is_reached_and_exact(
  shape, k, filters, stride, padding, of_input, of_kernel
):
  x, kernel = normal(*shape), normal(k, k, shape[-1], filters, seed=1)
  names = f'_{of_input}_input_gradient', f'_{of_kernel}_filter_gradient'
  choose = convolution._cpu_input_gradient, convolution._cpu_filter_gradient
  for name, of in zip(names, choose, strict=True):
    assert of(x, kernel, stride, padding) is getattr(convolution, name)
  _check(x, kernel, stride, padding)


@pytest.mark.parametrize('filters', [2, 16])
def test_gradients_in_bfloat16_are_summed_in_float32(filters):
  """Sums of 256 positions in bfloat16 itself would be off by more."""
  x, kernel = (
    np.float32(value.astype(jnp.bfloat16))
    for value in (normal(1, 16, 16, 8), normal(3, 3, 8, filters, seed=1))
  )
  cotangent, _, *expected = conv_and_gradients(x, kernel, 1, 1)

  @jax.jit
  def gradients(x, kernel, cotangent):
    return jax.vjp(lambda x, kernel: convolution.conv2d(x, kernel, 1, 1), x, kernel)[1](cotangent)

  actual = gradients(*(value.astype(jnp.bfloat16) for value in (x, kernel, cotangent)))
  for got, wanted in zip(actual, expected, strict=True):
    assert got.dtype == jnp.bfloat16
    # The cotangent and the result are rounded, by 2^-9 of their size each.
    np.testing.assert_allclose(np.float32(got), wanted, atol=2**-8 * np.abs(wanted).max())


@pytest.mark.parametrize(('filters', 'product'), [(4, ['stablehlo.dot_general']), (3, [])])
def test_accelerators_get_the_plain_gradients(filters, product):
  """What is lowered for CUDA holds convolutions alone: no loop, no matrix product, and nothing that
  says when x is read."""

  def gradients(x, kernel):
    def total(x, kernel):
      return convolution.conv2d(x, kernel, 1, 1).sum()

    return jax.grad(total, (0, 1))(x, kernel)

  traced = jax.jit(gradients).trace(normal(1, 9, 9, 3), normal(3, 3, 3, filters))
  on_cpu, on_gpu = (
    traced.lower(lowering_platforms=(platform,)).as_text() for platform in ('cpu', 'cuda')
  )
  ours = ['stablehlo.while', 'stablehlo.optimization_barrier', *product]
  assert all(operation in on_cpu for operation in ours)
  assert 'stablehlo.convolution' in on_gpu
  assert not any(operation in on_gpu for operation in [*ours, 'stablehlo.dot_general'])


@st.composite
def _convolutions(draw):
  k, stride, padding = (draw(st.sampled_from(c)) for c in ((1, 3, 4, 7), (1, 2), range(4)))
  least = max(1, k - 2 * padding)
  n, height, width = (
    draw(st.sampled_from((1, 2, 8))),
    *(draw(st.integers(least, 10)) for _ in range(2)),
  )
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
  _check(normal(*shape), normal(k, k, shape[-1], filters, seed=1), stride, padding)


def test_upconv_is_the_transposed_convolution():
  x, kernel = normal(2, 3, 4, 5), normal(2, 2, 5, 6, seed=1)
  expected = np.zeros((2, 6, 8, 6))
  for n, i, j, a, b in np.ndindex(2, 3, 4, 2, 2):
    expected[n, 2 * i + a, 2 * j + b] = x[n, i, j].astype(np.float64) @ kernel[a, b]
  assert apart(float64.jit(convolution.upconv2x2)(x, kernel), expected) < CLOSE


@pytest.mark.parametrize('mode', ['zeros', 'reflect'])
@pytest.mark.parametrize('amount', [0, 1, 3])
def test_padding_is_numpys(mode, amount):
  x = normal(2, 4, 5, 3)
  widths = ((0, 0), (amount, amount), (amount, amount), (0, 0))
  expected = np.pad(x, widths, mode={'zeros': 'constant', 'reflect': 'reflect'}[mode])
  np.testing.assert_array_equal(convolution.pad(x, amount, mode), expected)
