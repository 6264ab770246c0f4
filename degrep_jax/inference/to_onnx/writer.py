"""Programs of JAX written into a graph of ONNX, equation by equation.

Constants are NumPy arrays: what is made of them alone is computed while the graph is written. The
batch may be symbolic (`jax.export.symbolic_shape`); no other size may.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.extend as jex
import numpy as np

from degrep_jax.inference.to_onnx.graph import Graph
from degrep_jax.inference.to_onnx.tensors import (
  Shape,
  Tensor,
  channels_first,
  in_order,
  is_known,
  is_one,
  picked_out,
)

Array = np.ndarray | Tensor
# (writer, equation, its arguments) to its result, or to the list of its results.
Rule = Callable[..., Array | list[Tensor]]


class Writer:
  """Writes programs into a graph.

  Attributes:
    graph: written so far.
  """

  def __init__(self, graph: Graph, batch: Tensor, rules: Mapping[str, Rule]):
    """A writer into a graph.

    Args:
      graph: to be written.
      batch: an input, the first of whose axes is the symbolic size.
      rules: by the name of the primitive.
    """
    self.graph = graph
    self._batch, self._rules = batch, rules
    self._settled: dict[Any, Tensor] = {}
    self._unshaped: dict[str, Tensor] = {}  # what a tensor was before it was reshaped

  def write(
    self, jaxpr: Any, consts: Sequence[Any], inputs: Sequence[Array], scope: str = ''
  ) -> list[Array]:
    """The results of a program.

    Args:
      jaxpr: `jax.extend.core.Jaxpr`.
      consts: of the program.
      inputs: its arguments.
      scope: the part of the network that it belongs to.

    Raises:
      NotImplementedError: a primitive, or a use of one, that has no form here.
    """
    found: dict[Any, Array] = dict(zip(jaxpr.constvars, map(np.asarray, consts), strict=True))
    found |= zip(jaxpr.invars, inputs, strict=True)

    def value(atom: Any) -> Array:
      literal = isinstance(atom, jex.core.Literal)
      return np.asarray(atom.val, atom.aval.dtype) if literal else found[atom]

    for eqn in jaxpr.eqns:
      here = _joined(scope, str(eqn.source_info.name_stack))
      self.graph.scope = here
      found |= zip(eqn.outvars, self._results(eqn, list(map(value, eqn.invars)), here), strict=True)
    return list(map(value, jaxpr.outvars))

  def _results(self, eqn: Any, values: list[Array], scope: str) -> Sequence[Array]:
    inner = eqn.params.get('jaxpr', eqn.params.get('call_jaxpr'))
    if inner is not None:  # jit, custom_jvp_call and custom_vjp_call
      return self.write(inner.jaxpr, inner.consts, values, scope)
    if all(isinstance(x, np.ndarray) for x in values) and is_known(eqn.outvars[0].aval.shape):
      results = eqn.primitive.bind(*values, **eqn.params)
      return list(map(np.asarray, results if eqn.primitive.multiple_results else [results]))
    name = eqn.primitive.name
    if name not in self._rules:
      raise NotImplementedError(f'the primitive {name} of JAX has no form in ONNX here')
    results = self._rules[name](self, eqn, *values)
    return results if isinstance(results, list) else [results]

  def tensor(self, x: Array, order: Sequence[int] | None = None) -> Tensor:
    """What is picked of an array, its axes in an order; None: as it lies."""
    if isinstance(x, np.ndarray):
      order = channels_first(x.ndim) if order is None else tuple(order)
      return Tensor(self.graph.constant(x.transpose(order)), x.shape, order)
    order = x.order if order is None else tuple(order)
    picks = [(axis, pick.tobytes()) for axis, pick in sorted(x.picks.items())]
    key = x.name, x.order, order, *picks
    if key not in self._settled:
      settled = self.tensor(picked_out(self.graph, x)) if x.picks else x
      self._settled[key] = in_order(self.graph, settled, order)
    return self._settled[key]

  def pick(self, x: Array, picks: dict[int, np.ndarray]) -> Tensor:
    """A part of an array, see `Tensor.picked`."""
    x = self.tensor(x) if isinstance(x, np.ndarray) else x
    more = any((np.diff(pick) == 0).any() for pick in picks.values())
    if x.repeats and not (more and not picks.keys() & x.picks.keys()):
      x = self.tensor(x)  # pixels are repeated by an operator of their own
    return x.picked(picks)

  def elementwise(self, op: str, shape: Shape, *values: Array) -> Tensor:
    """An operator of one value at a time; axes of its inputs may be 1, constants scalars."""
    tensors = [x for x in values if isinstance(x, Tensor)]
    _, _, order = min(  # that of a whole array, and as convolutions want it where one has that
      (sum(map(is_one, x.shape)), x.order != channels_first(x.rank), x.order) for x in tensors
    )
    names = [
      self.graph.constant(x)
      if isinstance(x, np.ndarray) and not x.ndim
      else self.tensor(x, order).name
      for x in values
    ]
    return Tensor(self.graph.add(op, *names), shape, order)

  def reshaped(self, x: Tensor, shape: Shape, order: Sequence[int]) -> Tensor:
    """The values of a tensor as they lie, as an array of another shape."""
    x = self._unshaped.get(x.name, x)
    before, after = ([of[axis] for axis in at] for of, at in ((x.shape, x.order), (shape, order)))
    if before == after:
      return Tensor(x.name, shape, tuple(order))
    sizes = np.array([n if isinstance(n, int) else -1 for n in after])
    name = self.graph.add('Reshape', x.name, sizes)
    self._unshaped[name] = x
    return Tensor(name, shape, tuple(order))

  def sizes(self, shape: Sequence[Any]) -> str:
    """A shape as a tensor, the batch as it is when the graph runs."""
    if is_known(shape):
      return self.graph.constant(np.array(shape))
    at = next(i for i, n in enumerate(shape) if not isinstance(n, int))
    batch = self.graph.add('Shape', self._batch.name, start=0, end=1)
    parts = np.array(shape[:at], int), batch, np.array(shape[at + 1 :], int)
    return self.graph.add('Concat', *(x for x in parts if len(x)), axis=0)


def _joined(scope: str, inner: str) -> str:
  """The path of the modules in JAX's names: without the names of methods and of equations."""
  return '/'.join(part for part in (*scope.split('/'), *inner.split('/')) if part.isidentifier())


def require(condition: Any, eqn: Any) -> None:
  """Raises NotImplementedError that shows the equation unless the condition holds."""
  if not condition:
    raise NotImplementedError(f'this use of {eqn.primitive.name} has no form in ONNX here: {eqn}')
