"""Three steps of the tiny joint stage in float64 on all devices, and what its all-reduces carry: a
table, then a line of JSON."""

import json
import math
import re

import jax
import tiny_joint
from float64_steps import Steps

from degrep_jax.models.variables import count_parameters

CONFIG = tiny_joint.config()


def all_reduces(text):
  """Per all-reduce of a compiled program: (operands' names, their shapes)."""
  found = []
  for shapes, operands in re.findall(r'= (\S.*?) all-reduce(?:-start)?\((.*?)\), ', text):
    shapes = [
      tuple(map(int, re.findall(r'\d+', s))) for s in re.findall(r'f64\[([\d,]*)\]', shapes)
    ]
    found.append((re.findall(r'%[\w.-]+', operands), shapes))
  return found


def table(found, metrics):
  """Per all-reduce: values of gradients, of batch norm's moments and of metrics."""
  rows = []
  for _, shapes in found:
    # Kernels have four axes and biases one; only moments, (mean and square, channels), have two.
    kinds = {'gradients': 0, 'moments': 0, 'metrics': 0}
    for shape in shapes:
      kind = 'moments' if len(shape) == 2 else 'metrics' if shape == (metrics,) else 'gradients'
      kinds[kind] += math.prod(shape)
    rows.append(kinds)
  return rows


def main():
  steps = Steps(CONFIG)
  state, losses = steps.replicas(tiny_joint.initial_state(CONFIG), tiny_joint.batches(3))
  metrics = sum(name.startswith('l_') for name in losses[0])
  found = all_reduces(steps.program.as_text())
  print('all-reduce  arrays  gradients  moments  metrics  values in all')
  for i, (kinds, (_, shapes)) in enumerate(zip(table(found, metrics), found, strict=True)):
    gradients, moments, scalars = kinds.values()
    total = sum(kinds.values())
    print(f'{i:10}  {len(shapes):6}  {gradients:9}  {moments:7}  {scalars:7}  {total:13}')
  differing = [
    jax.tree_util.keystr(path)
    for path, copies in jax.tree_util.tree_leaves_with_path(state)
    if not (copies == copies[:1]).all()
  ]
  params = state.generator.params, state.discriminator.params
  report = {
    'devices': jax.device_count(),
    'losses': losses,
    'differing': differing,
    'leaves': len(jax.tree.leaves(state)),
    'parameters': count_parameters(params) // jax.device_count(),
    'parameter_sizes': [x.size // jax.device_count() for x in jax.tree.leaves(params)],
    'metrics': metrics,
    'operands': [names for names, _ in found],
    'sizes': [[math.prod(shape) for shape in shapes] for _, shapes in found],
    'table': table(found, metrics),
  }
  print(json.dumps(report))


if __name__ == '__main__':
  main()
