"""A graph of ONNX operators while it is put together, and the file that it becomes."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

# The oldest with all that is written here. It is read by ONNX Runtime 1.14 and later.
OPSET = 18
_SMALL = 64  # values of a constant that is looked for among those there are


@dataclasses.dataclass(frozen=True)
class Node:
  """An operator with one output.

  Attributes:
    op: what ONNX calls it.
    inputs: names of tensors; '' where an optional one is left out.
    attributes: of the operator.
    scope: the part of the network that it belongs to, such as 'encoder/down_0/conv'.
  """

  op: str
  inputs: tuple[str, ...]
  attributes: Mapping[str, Any]
  scope: str


class Graph:
  """Operators and constants by the name of the tensor that they make.

  Attributes:
    nodes: {tensor: Node}.
    constants: {tensor: array}.
    scope: of what is added next.
  """

  def __init__(self) -> None:
    self.nodes: dict[str, Node] = {}
    self.constants: dict[str, np.ndarray] = {}
    self.scope = ''
    self._labels: dict[str, str] = {}  # of the constants: how the file is to call them
    self._small: dict[Any, str] = {}
    self._numbers = itertools.count(1)

  def add(self, op: str, *inputs: str | np.ndarray, **attributes: Any) -> str:
    """Adds an operator; arrays among its inputs become constants. Returns its tensor."""
    names = tuple(x if isinstance(x, str) else self.constant(x) for x in inputs)
    tensor = f'{op} {next(self._numbers)}'
    self.nodes[tensor] = Node(op, names, attributes, self.scope)
    return tensor

  def constant(self, array: np.ndarray, label: str = 'constant') -> str:
    """The tensor of an array; `label` is the last part of its name in the file."""
    array = np.asarray(array)
    key = (array.dtype, array.shape, array.tobytes()) if array.size <= _SMALL else None
    if key is not None and label == 'constant' and key in self._small:
      return self._small[key]
    tensor = f'{label} {next(self._numbers)}'
    self.constants[tensor] = array
    self._labels[tensor] = _joined(self.scope, label)
    if key is not None:
      self._small[key] = tensor
    return tensor

  def needed(self, tensors: Iterable[str]) -> dict[str, Node]:
    """The nodes behind tensors, each after those that it reads."""
    found: dict[str, Node] = {}
    waiting = list(tensors)
    while waiting:
      tensor = waiting[-1]
      inputs = self.nodes[tensor].inputs if tensor in self.nodes else ()
      before = [x for x in inputs if x in self.nodes and x not in found]
      waiting += before
      if not before:
        waiting.pop()
        if tensor in self.nodes:
          found[tensor] = self.nodes[tensor]
    return found

  def model(
    self,
    inputs: Mapping[str, Sequence[int | str]],
    outputs: Mapping[str, Sequence[int | str]],
    tensors: Mapping[str, str],
  ) -> onnx.ModelProto:
    """The graph as ONNX has it.

    Args:
      inputs, outputs: {name: shape}, all float32; a size that is a text is left open.
      tensors: {output: its tensor}, no two of the same and none of an input.
    """
    nodes = self.needed(tensors.values())
    read = dict.fromkeys(x for node in nodes.values() for x in node.inputs)
    constants = [x for x in read if x in self.constants]
    labels = {x: self._labels[x] for x in constants}
    labels |= {tensor: _joined(node.scope, node.op) for tensor, node in nodes.items()}
    names = _numbered(labels)
    wires = names | {tensor: output for output, tensor in tensors.items()}
    described = [
      [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in of]
      for of in (inputs.items(), outputs.items())
    ]
    graph = helper.make_graph(
      [
        helper.make_node(
          node.op,
          [wires.get(x, x) for x in node.inputs],
          [wires[tensor]],
          name=names[tensor],
          **node.attributes,
        )
        for tensor, node in nodes.items()
      ],
      'network',
      described[0],
      described[1],
      [
        numpy_helper.from_array(np.asarray(self.constants[x], order='C'), names[x])
        for x in constants
      ],
    )
    opsets = [helper.make_opsetid('', OPSET)]
    return helper.make_model(
      graph, opset_imports=opsets, ir_version=helper.find_min_ir_version_for(opsets)
    )


def _joined(scope: str, label: str) -> str:
  return f'{scope}/{label}' if scope else label


def _numbered(labels: Mapping[str, str]) -> dict[str, str]:
  """Labels with a number behind all but the first of the same."""
  used: collections.Counter[str] = collections.Counter()
  names = {}
  for tensor, label in labels.items():
    used[label] += 1
    names[tensor] = label if used[label] == 1 else f'{label}_{used[label]}'
  return names
