"""Convolutions, their gradients and padding against loops in NumPy, in float64."""

import jax
import numpy as np
import pytest
from conv_loops import conv_and_gradients, normal
from hypothesis import example, given, settings
from hypothesis import strategies as st

from degrep_jax.models import convolution

FORMS = ('_plain_conv', '_space_to_depth_conv', '_im2col_conv', '_padded_conv')


def _check(x, kernel, stride, padding):
  cotangent, output, dx, dkernel = conv_and_gradients(x, kernel, stride, padding)

  @jax.jit
  def ours(x, kernel, cotangent):
    y, back = jax.vjp(lambda x, kernel: convolution.conv2d(x, kernel, stride, padding), x, kernel)
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
  x, kernel = normal(*shape), normal(k, k, shape[-1], filters, seed=1)
  forms = convolution._cpu_forms(x, kernel, stride, padding)
  assert [form.__name__ for form in forms] == [of_input, of_kernel]
  called = set()

  def recorded(name, form):
    def record(*arguments):
      called.add(name)
      return form(*arguments)

    return record

  for name in FORMS:
    monkeypatch.setattr(convolution, name, recorded(name, getattr(convolution, name)))
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
  _check(normal(*shape), normal(k, k, shape[-1], filters, seed=1), stride, padding)


def test_upconv_is_the_transposed_convolution():
  x, kernel = normal(2, 3, 4, 5), normal(2, 2, 5, 6, seed=1)
  expected = np.zeros((2, 6, 8, 6))
  for n, i, j, a, b in np.ndindex(2, 3, 4, 2, 2):
    expected[n, 2 * i + a, 2 * j + b] = x[n, i, j].astype(np.float64) @ kernel[a, b]
  np.testing.assert_allclose(convolution.upconv2x2(x, kernel), expected, atol=1e-5)


@pytest.mark.parametrize('mode', ['zeros', 'reflect'])
@pytest.mark.parametrize('amount', [0, 1, 3])
def test_padding_is_numpys(mode, amount):
  x = normal(2, 4, 5, 3)
  widths = ((0, 0), (amount, amount), (amount, amount), (0, 0))
  expected = np.pad(x, widths, mode={'zeros': 'constant', 'reflect': 'reflect'}[mode])
  np.testing.assert_array_equal(convolution.pad(x, amount, mode), expected)
