"""Arrays of a JAX program as tensors of a graph: how they lie there, and parts of them.

ONNX convolutions take (batch, channels, height, width), the networks of this package (batch,
height, width, channels). A tensor therefore knows in which order it has the axes of its array, so
that a transposition in the program needs none in the graph.

JAX writes a reflection, or the repetition of pixels, as slices that are reversed and put together
or as a gather. A tensor collects these as the indices that are picked along an axis, and only what
becomes of them in the end is put into the graph, as the one operator that ONNX has for it.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from degrep_jax.inference.to_onnx.graph import Graph

NOTHING = -1  # the index of a zero
Shape = tuple[Any, ...]  # ints; the batch may be symbolic


def channels_first(rank: int) -> tuple[int, ...]:
  """The axes of (B, ..., C) in the order (B, C, ...)."""
  return (0, rank - 1, *range(1, rank - 1)) if rank > 2 else tuple(range(rank))


def is_known(shape: Sequence[Any]) -> bool:
  """Whether no size of a shape is symbolic."""
  return all(isinstance(n, int) for n in shape)


def is_one(size: Any) -> bool:
  """Whether a size is 1, which a symbolic one is not known to be."""
  return isinstance(size, int) and size == 1


@dataclasses.dataclass(frozen=True)
class Tensor:
  """An array that is computed.

  Attributes:
    name: of the tensor in the graph.
    shape: of the array before anything is picked.
    order: the array's axes in the order in which the tensor has them.
    picks: {axis: indices} of which the array consists, `NOTHING` for a zero.
  """

  name: str
  shape: Shape
  order: tuple[int, ...]
  picks: Mapping[int, np.ndarray] = dataclasses.field(default_factory=dict)

  @property
  def rank(self) -> int:
    """Number of axes."""
    return len(self.shape)

  def indices(self, axis: int) -> np.ndarray:
    """Those picked along an axis."""
    return self.picks[axis] if axis in self.picks else np.arange(self.shape[axis])

  def picked(self, picks: Mapping[int, np.ndarray]) -> 'Tensor':
    """A part of the array, in its own indices."""
    found = dict(self.picks)
    for axis, pick in picks.items():
      found[axis] = np.where(pick == NOTHING, NOTHING, self.indices(axis)[pick])
    return dataclasses.replace(self, picks=found)

  @property
  def repeats(self) -> bool:
    """Whether an index follows itself along an axis."""
    return any((np.diff(pick) == 0).any() for pick in self.picks.values())


def in_order(graph: Graph, tensor: Tensor, order: Sequence[int]) -> Tensor:
  """The tensor with its axes in another order."""
  if tuple(order) == tensor.order:
    return tensor
  permutation = [tensor.order.index(axis) for axis in order]
  name = graph.add('Transpose', tensor.name, perm=permutation)
  return dataclasses.replace(tensor, name=name, order=tuple(order))


def picked_out(graph: Graph, tensor: Tensor) -> Tensor:
  """The tensor of what is picked, with as few operators as its indices allow."""
  steps: dict[str, dict[int, Any]] = {}
  shape = list(tensor.shape)
  for axis, pick in tensor.picks.items():
    shape[axis] = len(pick)
    for kind, value in _steps(pick, tensor.shape[axis]):
      steps.setdefault(kind, {})[tensor.order.index(axis)] = value
  name = tensor.name
  for kind, write in _WRITERS.items():  # axes are independent of each other
    if kind in steps:
      name = write(graph, name, steps[kind], tensor.rank)
  return Tensor(name, tuple(shape), tensor.order)


def _steps(pick: np.ndarray, size: int) -> Iterable[tuple[str, Any]]:
  """(kind of operator, what it is to do), one after another, for indices of 0 .. size - 1."""
  kept = np.flatnonzero(pick != NOTHING)
  before, after = int(kept[0]), len(pick) - 1 - int(kept[-1])
  inner, whole = pick[kept[0] : kept[-1] + 1], np.arange(size)
  times, rest = divmod(len(inner), size)
  first = int(inner.argmin())
  last = len(inner) - size - first
  stride = int(inner[1] - inner[0]) if len(inner) > 1 else 1
  if stride > 0 and np.array_equal(inner, inner[0] + stride * np.arange(len(inner))):
    if len(inner) != size:
      yield 'slice', (int(inner[0]), int(inner[-1]) + 1, stride)
  elif not rest and np.array_equal(inner, whole.repeat(times)):
    yield 'repeat', times
  elif 0 <= last < size > first and np.array_equal(inner, np.pad(whole, (first, last), 'reflect')):
    yield 'reflect', (first, last)
  elif len(inner) > size and np.array_equal(inner, np.pad(whole, _borders(inner), 'edge')):
    yield 'edge', _borders(inner)
  else:
    yield 'gather', inner
  if before or after:
    yield 'zeros', (before, after)


def _borders(pick: np.ndarray) -> tuple[int, int]:
  """How often the first index and the last one are repeated."""
  return int((pick == pick[0]).sum()) - 1, int((pick == pick[-1]).sum()) - 1


def _slice(graph, name, axes, rank):
  del rank
  starts, ends, steps = (np.array(of) for of in zip(*axes.values(), strict=True))
  return graph.add('Slice', name, starts, ends, np.array(list(axes)), steps)


def _repeat(graph, name, axes, rank):
  scales = np.array([axes.get(axis, 1) for axis in range(rank)], np.float32)
  return graph.add(
    'Resize',
    name,
    '',
    scales,
    mode='nearest',
    coordinate_transformation_mode='asymmetric',
    nearest_mode='floor',
  )


def _gather(graph, name, axes, rank):
  del rank
  for axis, pick in axes.items():
    if (pick == NOTHING).any():
      raise NotImplementedError('zeros between the values of an array have no form in ONNX here')
    name = graph.add('Gather', name, pick, axis=axis)
  return name


def _pad(mode):
  def write(graph, name, axes, rank):
    widths = [axes.get(axis, (0, 0))[end] for end in (0, 1) for axis in range(rank)]
    return graph.add('Pad', name, np.array(widths), mode=mode)

  return write


_WRITERS = {
  'slice': _slice,
  'gather': _gather,
  'repeat': _repeat,
  'reflect': _pad('reflect'),
  'edge': _pad('edge'),
  'zeros': _pad('constant'),
}
