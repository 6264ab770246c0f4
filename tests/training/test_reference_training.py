"""Training steps of both stages, the joint one in the released order, against the released code's
figures."""

import functools

import jax
import numpy as np
import pytest
import reference
import reference_steps
from quick import COMPILER
from reference_steps import COLUMNS
from rounding import U

from degrep_jax.runtime import devices

WIDTHS = (8, pytest.param(64, marks=pytest.mark.slow))


@functools.cache
def _run(figures, stage):
  """(rows of the reference's columns, outputs after the last step, how far each of these changes
  where the pictures of all steps change by their rounding)."""
  step, train_state, net, pair = reference_steps.build(figures, stage)
  replicas = devices.replicate(train_state), devices.shard(pair)
  lowered = jax.pmap(step, axis_name=devices.AXIS).lower(*replicas)
  step = lowered.compile(compiler_options=COMPILER)
  apply = jax.jit(net.apply, compiler_options=COMPILER)
  seen = (pair['blurry'], pair['sharp']) if stage == 'joint_train' else (pair['blurry'],)

  def trained(pair):
    now, batch, rows = devices.replicate(train_state), devices.shard(pair), []
    for _ in figures.about[stage]['rows']:
      now, metrics = step(now, batch)
      rows.append(reference_steps.columns(stage, devices.unreplicate(metrics)))
    return rows, [np.asarray(x) for x in apply(devices.unreplicate(now).variables, *seen)]

  rows, outputs = trained(pair)
  changed = [trained(jax.tree.map(functools.partial(_rounded, draw), pair))[1] for draw in range(3)]
  changes = [max(np.abs(x - y).max() for y in of) for x, *of in zip(outputs, *changed, strict=True)]
  return rows, outputs, changes


def _rounded(draw, pictures):
  """Pictures of which every value is up or down by half a unit in its last place."""
  signs = np.random.default_rng(draw).choice([-1, 1], pictures.shape)
  return (pictures * (1 + U * signs)).astype(np.float32)


@pytest.mark.parametrize('stage', COLUMNS)
@pytest.mark.parametrize('width', WIDTHS)
def test_losses_and_gradient_norms_are_the_released_ones(golden, agrees, width, stage):
  figures = reference.load(golden, width)
  about = figures.about[stage]
  assert about['columns'] == list(COLUMNS[stage])
  rows, _, _ = _run(figures, stage)
  for i, (ours, theirs) in enumerate(zip(rows, about['rows'], strict=True)):
    for name, value, expected in zip(COLUMNS[stage], ours, theirs, strict=True):
      tolerance = reference_steps.tolerance(name, i) * abs(expected) + 1e-12
      agrees(f'{stage}/{name}', width, abs(value - expected), tolerance)


# Pictures of the reference by their place among the outputs.
@pytest.mark.parametrize(
  ('case', 'place'),
  [
    ('joint_train/after/deblur', 0),
    ('joint_train/after/reblur', 1),
    ('deblur_train/after/out2', 1),
  ],
)
@pytest.mark.parametrize('width', WIDTHS)
def test_trained_networks_outputs_are_the_released_ones(golden, agrees, width, case, place):
  """Adam moves a parameter by its rate whatever the size of its gradient, even one that is nothing
  but rounding. What that comes to after some steps is measured: by pictures that differ in their
  rounding alone. The reference and we round in every operation, not in the pictures alone: four
  times as much is allowed."""
  figures = reference.load(golden, width)
  _, outputs, changes = _run(figures, case.split('/')[0])
  difference, _ = figures.compare(case, outputs[place])
  agrees(case, width, difference, 4 * changes[place])
