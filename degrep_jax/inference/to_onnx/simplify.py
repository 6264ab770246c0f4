"""Fewer operators for the same result: what JAX writes out that ONNX has a word for.

Programs that run ONNX join a convolution with its bias and activation where they see them as such;
the many operators behind a LeakyReLU they compute one by one.
"""

import collections
import dataclasses
from collections.abc import Callable, Iterable

import numpy as np

from degrep_jax.inference.to_onnx.graph import Graph, Node

# (graph, node, how often each tensor is read) to what replaces the node, None for nothing.
Rule = Callable[[Graph, Node, collections.Counter[str]], Node | None]


def simplify(graph: Graph, outputs: Iterable[str]) -> None:
  """Replaces nodes as long as a rule applies, and drops those that the outputs do not need."""
  outputs, changed = list(outputs), True
  while changed:
    changed = False
    graph.nodes = graph.needed(outputs)
    reads = collections.Counter(x for node in graph.nodes.values() for x in node.inputs)
    reads.update(outputs)
    for tensor in graph.nodes:
      for rule in _RULES:
        replacement = rule(graph, graph.nodes[tensor], reads)
        if replacement is not None:
          graph.nodes[tensor], changed = replacement, True


def _with_constant(graph: Graph, node: Node) -> tuple[str, np.ndarray | None]:
  """(tensor, constant) of an operator of both in either order; None where there is no constant."""
  a, b = node.inputs
  return (b, graph.constants[a]) if a in graph.constants else (a, graph.constants.get(b))


def _leaky_relu(graph: Graph, node: Node, reads: collections.Counter[str]) -> Node | None:
  """x where x >= 0, elsewhere x times a slope."""
  del reads
  if node.op != 'Where':
    return None
  condition, x, scaled = node.inputs
  test, product = graph.nodes.get(condition), graph.nodes.get(scaled)
  if test is None or product is None or (test.op, product.op) != ('GreaterOrEqual', 'Mul'):
    return None
  zero = graph.constants.get(test.inputs[1])
  y, slope = _with_constant(graph, product)
  if zero is None or slope is None or zero.any() or slope.size != 1 or not x == y == test.inputs[0]:
    return None
  return Node('LeakyRelu', (x,), {'alpha': slope.item()}, node.scope)


def _relu(graph: Graph, node: Node, reads: collections.Counter[str]) -> Node | None:
  """The larger of x and 0."""
  del reads
  if node.op != 'Max':
    return None
  x, zero = _with_constant(graph, node)
  return None if zero is None or zero.any() else Node('Relu', (x,), {}, node.scope)


def _bias(graph: Graph, node: Node, reads: collections.Counter[str]) -> Node | None:
  """A constant for every filter, added to a convolution that nothing else reads."""
  if node.op != 'Add':
    return None
  x, added = _with_constant(graph, node)
  conv = graph.nodes.get(x)
  if added is None or conv is None or not conv.op.startswith('Conv') or reads[x] > 1:
    return None
  kernel, *bias = (graph.constants[name] for name in conv.inputs[1:])
  filters = kernel.shape[0 if conv.op == 'Conv' else 1]
  if added.size not in (1, filters) or (added.size > 1 and added.shape[1] != filters):
    return None
  total = np.broadcast_to(added.reshape(-1), filters) + sum(bias)
  graph.scope = conv.scope
  return dataclasses.replace(conv, inputs=(*conv.inputs[:2], graph.constant(total, 'bias')))


def _depth_to_space(graph: Graph, node: Node, reads: collections.Counter[str]) -> Node | None:
  """Squares of pixels that lie in the channels, the square's row first, then its column."""
  del reads
  turned = graph.nodes.get(node.inputs[0])
  if node.op != 'Reshape' or turned is None or turned.op != 'Transpose':
    return None
  split = graph.nodes.get(turned.inputs[0])
  if turned.attributes['perm'] != [0, 3, 4, 1, 5, 2] or split is None or split.op != 'Reshape':
    return None
  side, columns = graph.constants[split.inputs[1]][1:3].tolist()
  if side != columns:
    return None
  return Node('DepthToSpace', split.inputs[:1], {'blocksize': side}, node.scope)


def _transposed_conv(graph: Graph, node: Node, reads: collections.Counter[str]) -> Node | None:
  """A 1x1 convolution whose channels become squares of pixels."""
  conv = graph.nodes.get(node.inputs[0])
  if node.op != 'DepthToSpace' or conv is None or conv.op != 'Conv' or reads[node.inputs[0]] > 1:
    return None
  kernel, *bias = (graph.constants[name] for name in conv.inputs[1:])
  if kernel.shape[2:] != (1, 1) or bias:
    return None
  side = node.attributes['blocksize']
  kernel = kernel.reshape(side, side, -1, kernel.shape[1]).transpose(3, 2, 0, 1)
  graph.scope = conv.scope
  return Node(
    'ConvTranspose',
    (conv.inputs[0], graph.constant(kernel, 'kernel')),
    {'kernel_shape': [side, side], 'strides': [side, side]},
    conv.scope,
  )


def _kept_axes(graph: Graph, node: Node, reads: collections.Counter[str]) -> Node | None:
  """Axes that a reduction drops and that come back as axes of one value."""
  del reads
  reduction = graph.nodes.get(node.inputs[0])
  if node.op != 'Unsqueeze' or reduction is None or not reduction.op.startswith('Reduce'):
    return None
  dropped, new = (graph.constants[of.inputs[1]].tolist() for of in (reduction, node))
  if reduction.attributes['keepdims'] or dropped != new:
    return None
  return dataclasses.replace(reduction, attributes={'keepdims': 1})


_RULES: tuple[Rule, ...] = (
  _leaky_relu,
  _relu,
  _bias,
  _depth_to_space,
  _transposed_conv,
  _kept_axes,
)
