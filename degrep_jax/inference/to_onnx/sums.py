"""What sums over values: convolutions, products, reductions and norms."""

import string
from collections.abc import Sequence

import jax.extend as jex
import numpy as np

from degrep_jax.inference.to_onnx.tensors import Tensor, channels_first
from degrep_jax.inference.to_onnx.writer import Rule, require

# instance_norm(x, scale, bias, eps=...): `(B, H, W, C)`, scale and bias `(C,)`. JAX has no such
# primitive, ONNX has an operator; it can be traced and written, not computed.
instance_norm_p = jex.core.Primitive('instance_norm')
instance_norm_p.def_abstract_eval(lambda x, scale, bias, *, eps: x)


def _conv(writer, eqn, x, kernel):
  at, padding = eqn.params['dimension_numbers'], eqn.params['padding']
  require(isinstance(kernel, np.ndarray) and eqn.params['batch_group_count'] == 1, eqn)
  require(set(eqn.params['lhs_dilation']) == {1} and np.min(padding) >= 0, eqn)
  kernel = kernel.transpose(at.rhs_spec)
  name = writer.graph.add(
    'Conv',
    writer.tensor(x, at.lhs_spec).name,
    writer.graph.constant(kernel, 'kernel'),
    kernel_shape=list(kernel.shape[2:]),
    strides=list(eqn.params['window_strides']),
    pads=_pads(padding),
    dilations=list(eqn.params['rhs_dilation']),
    group=eqn.params['feature_group_count'],
  )
  return Tensor(name, eqn.outvars[0].aval.shape, tuple(at.out_spec))


def _product(writer, eqn, a, b):
  (contracted, batched) = eqn.params['dimension_numbers']
  for x, matrix, first in ((a, b, True), (b, a, False)):
    fits = isinstance(x, Tensor) and x.rank == 4 and isinstance(matrix, np.ndarray)
    if fits and len(contracted[0]) == 1 and not batched[0]:
      return _pointwise_conv(writer, eqn, x, matrix, first)
  letters = iter(string.ascii_letters)
  of_a, of_b = ([next(letters) for _ in range(var.aval.ndim)] for var in eqn.invars)
  for pairs in (contracted, batched):
    for i, j in zip(*pairs, strict=True):
      of_b[j] = of_a[i]
  shared = [of_a[i] for i in batched[0]]
  summed = [of_a[i] for i in contracted[0]]
  result = shared + [x for x in of_a + of_b if x not in shared + summed]
  a, b = writer.tensor(a), writer.tensor(b)
  terms = [''.join(of[i] for i in x.order) for of, x in ((of_a, a), (of_b, b))]
  equation = f'{terms[0]},{terms[1]}->{"".join(result)}'
  name = writer.graph.add('Einsum', a.name, b.name, equation=equation)
  shape = eqn.outvars[0].aval.shape
  return Tensor(name, shape, tuple(range(len(shape))))


def _pointwise_conv(writer, eqn, x, matrix, x_first):
  """A product over one axis of `(B, ..., C)` with a constant, as a convolution of 1x1."""
  contracted, _ = eqn.params['dimension_numbers']
  axes = [of[0] for of in (contracted if x_first else contracted[::-1])]
  batch, *others = (axis for axis in range(4) if axis != axes[0])
  filters = np.moveaxis(matrix, axes[1], -1)
  kernel = filters.reshape(-1, filters.shape[-1], 1, 1)
  x = writer.tensor(x, (batch, axes[0], *others))
  name = writer.graph.add(
    'Conv', x.name, writer.graph.constant(kernel, 'kernel'), kernel_shape=[1, 1]
  )
  sizes = [x.shape[axis] for axis in x.order]
  sizes[1] = len(kernel)
  # Which axes of the result are those of x, the rest being the constant's.
  count, shape = filters.ndim - 1, eqn.outvars[0].aval.shape
  start = 0 if x_first else count
  batch, *others = range(start, start + 3)
  order = (batch, *(axis for axis in range(3 + count) if not start <= axis < start + 3), *others)
  return writer.reshaped(Tensor(name, tuple(sizes), (0, 1, 2, 3)), shape, order)


def _reduction(op: str) -> Rule:
  def rule(writer, eqn, x):
    x, axes = writer.tensor(x), eqn.params['axes']
    name = writer.graph.add(op, x.name, np.array(sorted(map(x.order.index, axes))), keepdims=0)
    left = [axis for axis in range(x.rank) if axis not in axes]
    order = tuple(left.index(axis) for axis in x.order if axis in left)
    return Tensor(name, eqn.outvars[0].aval.shape, order)

  return rule


def _window_sum(writer, eqn, x):
  x = writer.tensor(x, channels_first(len(eqn.invars[0].aval.shape)))
  sizes, strides, padding, *dilations = (
    [eqn.params[name][axis] for axis in x.order]
    for name in (
      'window_dimensions',
      'window_strides',
      'padding',
      'window_dilation',
      'base_dilation',
    )
  )
  require(sizes[:2] == strides[:2] == [1, 1] and not np.any(padding[:2]), eqn)
  require(np.all(np.array(dilations) == 1), eqn)
  mean = writer.graph.add(
    'AveragePool',
    x.name,
    kernel_shape=sizes[2:],
    strides=strides[2:],
    pads=_pads(padding[2:]),
    count_include_pad=1,
  )
  total = writer.graph.add('Mul', mean, np.float32(np.prod(sizes)))
  return Tensor(total, eqn.outvars[0].aval.shape, x.order)


def _pads(padding: Sequence[tuple[int, int]]) -> list[int]:
  """All starts, then all ends, as ONNX has them."""
  return [int(pair[end]) for end in (0, 1) for pair in padding]


def _instance_norm(writer, eqn, x, scale, bias):
  require(isinstance(scale, np.ndarray) and isinstance(bias, np.ndarray), eqn)
  x = writer.tensor(x, channels_first(len(eqn.invars[0].aval.shape)))
  weights = (writer.graph.constant(of, name) for of, name in ((scale, 'scale'), (bias, 'bias')))
  name = writer.graph.add('InstanceNormalization', x.name, *weights, epsilon=eqn.params['eps'])
  return Tensor(name, x.shape, x.order)


RULES: dict[str, Rule] = {
  'conv_general_dilated': _conv,
  'dot_general': _product,
  'instance_norm': _instance_norm,
  'reduce_max': _reduction('ReduceMax'),
  'reduce_min': _reduction('ReduceMin'),
  'reduce_sum': _reduction('ReduceSum'),
  'reduce_window_sum': _window_sum,
}
