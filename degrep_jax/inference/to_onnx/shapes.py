"""What moves, picks and joins values without computing with them."""

import dataclasses

import numpy as np

from degrep_jax.inference.to_onnx.tensors import (
  NOTHING,
  Shape,
  Tensor,
  channels_first,
  is_known,
  is_one,
)
from degrep_jax.inference.to_onnx.writer import Rule, require


def _transpose(writer, eqn, x):
  """The same tensor, its axes under other numbers."""
  x, permutation = writer.tensor(x), eqn.params['permutation']
  order = tuple(permutation.index(axis) for axis in x.order)
  return Tensor(x.name, eqn.outvars[0].aval.shape, order)


def _broadcast(writer, eqn, x, *sizes):
  del sizes
  shape, kept = eqn.outvars[0].aval.shape, eqn.params['broadcast_dimensions']
  x, new = writer.tensor(x), [axis for axis in range(len(shape)) if axis not in kept]
  order, old = channels_first(len(shape)), [kept[axis] for axis in x.order]
  if [axis for axis in order if axis in kept] != old:
    order = (*old, *new)
  name = x.name
  if new:
    name = writer.graph.add('Unsqueeze', name, np.array(sorted(map(order.index, new))))
  before = {to: x.shape[axis] for axis, to in enumerate(kept)}
  if any(is_one(before.get(axis, 1)) and not is_one(n) for axis, n in enumerate(shape)):
    name = writer.graph.add('Expand', name, writer.sizes([shape[axis] for axis in order]))
  return Tensor(name, shape, order)


def _slice(writer, eqn, x):
  starts, ends, strides = (
    eqn.params[name] for name in ('start_indices', 'limit_indices', 'strides')
  )
  shape = eqn.invars[0].aval.shape
  return writer.pick(
    x,
    {
      axis: np.arange(starts[axis], ends[axis], strides[axis] if strides else 1)
      for axis, size in enumerate(eqn.outvars[0].aval.shape)
      if size != shape[axis]
    },
  )


def _reverse(writer, eqn, x):
  sizes = eqn.invars[0].aval.shape
  return writer.pick(x, {axis: np.arange(sizes[axis])[::-1] for axis in eqn.params['dimensions']})


def _split(writer, eqn, x):
  ends = np.cumsum(eqn.params['sizes'])
  parts = np.split(np.arange(ends[-1]), ends[:-1])
  return [writer.pick(x, {eqn.params['axis']: part}) for part in parts]


def _pad(writer, eqn, x, value):
  require(isinstance(value, np.ndarray) and not value.any(), eqn)
  picks = {}
  for axis, (before, after, between) in enumerate(eqn.params['padding_config']):
    require(min(before, after) >= 0 and between == 0, eqn)
    if before or after:
      inner = np.arange(eqn.invars[0].aval.shape[axis])
      picks[axis] = np.pad(inner, (before, after), constant_values=NOTHING)
  return writer.pick(x, picks)


def _gather(writer, eqn, x, starts):
  """A slice from a start that is known, or a grid of values along some axes."""
  numbers, sizes = eqn.params['dimension_numbers'], eqn.params['slice_sizes']
  axes, collapsed = numbers.start_index_map, numbers.collapsed_slice_dims
  require(isinstance(starts, np.ndarray), eqn)
  if starts.ndim == 1 and not collapsed:
    return writer.pick(
      x, {axis: first + np.arange(sizes[axis]) for axis, first in zip(axes, starts, strict=True)}
    )
  grid = np.moveaxis(starts, -1, 0)
  lines = [np.moveaxis(of, i, -1).reshape(-1, of.shape[i])[0] for i, of in enumerate(grid)]
  others = tuple(axis for axis in range(len(sizes)) if axis not in axes)
  require(collapsed == axes and numbers.offset_dims == others, eqn)
  require(np.array_equal(grid, np.meshgrid(*lines, indexing='ij')), eqn)
  return writer.pick(x, dict(zip(axes, lines, strict=True)))


def _concatenate(writer, eqn, *parts):
  axis = eqn.params['dimension']
  parts = [writer.tensor(x) if isinstance(x, Tensor) and x.repeats else x for x in parts]
  first = parts[0]
  if all(isinstance(x, Tensor) and _beside(x, first, axis) for x in parts):
    pick = np.concatenate([x.indices(axis) for x in parts])
    return dataclasses.replace(first, picks={**first.picks, axis: pick})
  order = next(x.order for x in parts if isinstance(x, Tensor))
  names = [writer.tensor(x, order).name for x in parts]
  name = writer.graph.add('Concat', *names, axis=order.index(axis))
  return Tensor(name, eqn.outvars[0].aval.shape, order)


def _beside(a: Tensor, b: Tensor, axis: int) -> bool:
  """Whether two parts of one tensor differ along one axis alone."""
  others = (a.picks.keys() | b.picks.keys()) - {axis}
  return (a.name, a.order) == (b.name, b.order) and all(
    np.array_equal(a.indices(other), b.indices(other)) for other in others
  )


def _reshape(writer, eqn, x):
  """Splits axes where they lie; axes that are merged must lie one behind the other."""
  shape, before = eqn.outvars[0].aval.shape, eqn.invars[0].aval.shape
  require(eqn.params['dimensions'] is None, eqn)
  x, groups = writer.tensor(x), _groups(before, shape)
  # Where the axes of a group lie; those of 1 may lie anywhere.
  lying = [axis for axis in x.order if not is_one(before[axis])]
  places = [[lying.index(axis) for axis in old if axis in lying] for old, _ in groups]
  if any(at != list(range(at[0], at[0] + len(at))) for at in places if at):
    groups = [groups[i] for i in channels_first(len(groups))]
    x = writer.tensor(x, [axis for old, _ in groups for axis in old])
  else:
    groups = [groups[i] for i in sorted(range(len(groups)), key=places.__getitem__)]
  return writer.reshaped(x, shape, [axis for _, new in groups for axis in new])


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
  """(axes before, axes after) of the same number of values, as few at a time as there can be."""
  groups: list[tuple[list[int], list[int]]] = []
  i = j = 0
  while i < len(old) and j < len(new):
    group, sizes = ([i], [j]), [old[i], new[j]]
    while sizes[0] != sizes[1]:
      side = int(not (is_known(sizes) and sizes[0] < sizes[1]))
      group[side].append(group[side][-1] + 1)
      sizes[side] *= (old, new)[side][group[side][-1]]
    groups.append(group)
    i, j = group[0][-1] + 1, group[1][-1] + 1
  rest = [*range(i, len(old))], [*range(j, len(new))]  # of 1
  before, after = groups.pop() if groups else ([], [])
  return [*groups, (before + rest[0], after + rest[1])]


RULES: dict[str, Rule] = {
  'broadcast_in_dim': _broadcast,
  'concatenate': _concatenate,
  'gather': _gather,
  'pad': _pad,
  'reshape': _reshape,
  'rev': _reverse,
  'slice': _slice,
  'split': _split,
  'transpose': _transpose,
}
