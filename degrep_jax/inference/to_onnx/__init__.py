"""JAX programs as ONNX models, written primitive by primitive.

There are converters (jax2onnx, which fits other versions of what this package needs; and the way
through TensorFlow), but none keeps the channels first from one convolution to the next: around
each they leave two transpositions, which cost a tenth of the time.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import onnx

from degrep_jax.inference.pictures import require
from degrep_jax.inference.to_onnx import shapes, sums, values
from degrep_jax.inference.to_onnx.graph import OPSET, Graph
from degrep_jax.inference.to_onnx.simplify import simplify
from degrep_jax.inference.to_onnx.tensors import Tensor, channels_first
from degrep_jax.inference.to_onnx.writer import Writer
from degrep_jax.models.layers import NORM_EPS, HalfInstanceNorm

__all__ = ['OPSET', 'convert']

_BYTES = 2**31 - 2**20  # protobuf's limit of 2 GiB, less what is no weight


def convert(
  function: Callable[..., Mapping[str, jax.Array]],
  variables: Any,
  inputs: Mapping[str, jax.ShapeDtypeStruct],
  layout: str = 'NHWC',
) -> onnx.ModelProto:
  """A function as a model.

  Args:
    function: called as function(variables, *inputs); returns {output: array}.
    variables: a tree of arrays, which become constants.
    inputs: {name: what it is}, float32; the first size of the first may be symbolic, and that of
      the others with it.
    layout: 'NHWC' or 'NCHW', of the model's inputs and outputs of four axes; those of the function
      are `(B, H, W, C)`.

  Returns:
    The model, weights inside.

  Raises:
    UserError: weights of more than 2 GiB.
    NotImplementedError: the function does what has no form here.
  """
  size = sum(x.nbytes for x in jax.tree.leaves(variables))
  require(
    size <= _BYTES,
    f'{size / 2**30:.1f} GiB of weights: ONNX holds 2 at most; take the engine jax, or export '
    'safetensors',
  )
  with nn.intercept_methods(_with_onnx_norms):
    jaxpr, results = jax.make_jaxpr(function, return_shape=True)(variables, *inputs.values())
  orders = {name: _order(len(x.shape), layout) for name, x in (inputs | results).items()}
  given = [Tensor(name, x.shape, orders[name]) for name, x in inputs.items()]
  graph = Graph()
  writer = Writer(graph, given[0], values.RULES | shapes.RULES | sums.RULES)
  weights = [np.asarray(x) for x in jax.tree.leaves(variables)]
  made = writer.write(jaxpr.jaxpr, jaxpr.consts, [*weights, *given])
  tensors: dict[str, str] = {}
  for name, x in zip(sorted(results), made, strict=True):  # JAX sorts what is in a dictionary
    tensor = writer.tensor(x, orders[name]).name
    if tensor not in graph.nodes or tensor in tensors.values():
      tensor = graph.add('Identity', tensor)
    tensors[name] = tensor
  simplify(graph, tensors.values())
  given_shapes, made_shapes = (
    {name: _shape([x.shape[axis] for axis in orders[name]]) for name, x in of.items()}
    for of in (inputs, results)
  )
  return graph.model(given_shapes, made_shapes, tensors)


def _order(rank: int, layout: str) -> tuple[int, ...]:
  return channels_first(rank) if layout == 'NCHW' and rank == 4 else tuple(range(rank))


def _shape(sizes: Sequence[Any]) -> list[int | str]:
  return [n if isinstance(n, int) else str(n) for n in sizes]


def _with_onnx_norms(following, args, kwargs, context):
  """Half instance norms as the operator that ONNX has for one half, and the other as it is."""
  module = context.module
  if context.method_name != '__call__' or not isinstance(module, HalfInstanceNorm):
    return following(*args, **kwargs)
  (x,) = args
  scale, bias = (module.get_variable('params', name) for name in ('scale', 'bias'))
  half = x.shape[-1] // 2
  first, rest = jnp.split(x, [half], axis=-1)
  return jnp.concatenate(
    [sums.instance_norm_p.bind(first, scale, bias, eps=NORM_EPS), rest], axis=-1
  )
