"""Training steps of both stages, the joint one in the released order, against the released code's
figures."""

import functools

import jax
import pytest
import reference
import reference_steps
from quick import COMPILER
from reference_steps import COLUMNS

from degrep_jax.runtime import devices

WIDTHS = (8, pytest.param(64, marks=pytest.mark.slow))


@functools.cache
def _run(figures, stage):
  """(rows of the reference's columns, outputs after the last step)."""
  step, train_state, net, pair = reference_steps.build(figures, stage)
  now, batch = devices.replicate(train_state), devices.shard(pair)
  lowered = jax.pmap(step, axis_name=devices.AXIS).lower(now, batch)
  step = lowered.compile(compiler_options=COMPILER)
  rows = []
  for _ in figures.about[stage]['rows']:
    now, metrics = step(now, batch)
    rows.append(reference_steps.columns(stage, devices.unreplicate(metrics)))
  pictures = (pair['blurry'], pair['sharp']) if stage == 'joint_train' else (pair['blurry'],)
  apply = jax.jit(net.apply, compiler_options=COMPILER)
  return rows, apply(devices.unreplicate(now).variables, *pictures)


@pytest.mark.parametrize('stage', COLUMNS)
@pytest.mark.parametrize('width', WIDTHS)
def test_losses_and_gradient_norms_are_the_released_ones(golden, agrees, width, stage):
  figures = reference.load(golden, width)
  about = figures.about[stage]
  assert about['columns'] == list(COLUMNS[stage])
  rows, _ = _run(figures, stage)
  for i, (ours, theirs) in enumerate(zip(rows, about['rows'], strict=True)):
    for name, value, expected in zip(COLUMNS[stage], ours, theirs, strict=True):
      tolerance = reference_steps.tolerance(name, i) * abs(expected) + 1e-12
      agrees(f'{stage}/{name}', width, abs(value - expected), tolerance)


# Pictures of the reference by their place among the outputs. Where the power iterations of E and
# the pyramid do not go on, out2 is missed by 4.6e-2 of its deviation.
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
  figures = reference.load(golden, width)
  outputs = _run(figures, case.split('/')[0])[1]
  difference, deviation = figures.compare(case, outputs[place])
  agrees(case, width, difference, 2e-2 * deviation)
