"""Training steps of the joint stage, in the released order, against the released code's figures."""

import functools

import jax
import numpy as np
import pytest
import reference

from degrep_jax import parallel, state, steps

WIDTHS = (8, pytest.param(64, marks=pytest.mark.slow))
# Columns of the reference, each a weighted metric of ours.
COLUMNS = {
  'gan': ('l_gan', 1),
  'feature_matching': ('l_feature', 10),
  'pixel_l1_x10': ('l_deblur', 10),
  'gen_grad_norm': ('grad_norm_g', 1),
  'd_fake': ('l_d_fake', 1),
  'd_real': ('l_d_real', 1),
  'disc_grad_norm': ('grad_norm_d', 1),
}
WEIGHTS = steps.LossWeights(l_gan=1, l_reblur=0, l_deblur=10, l_feature=10, l_vgg=0)


def _train_state(optimizer, *variables):
  networks = [
    state.NetworkState(
      params=of['params'],
      statistics={name: tree for name, tree in of.items() if name != 'params'},
      opt_state=optimizer.init(of['params']),
    )
    for of in variables
  ]
  return state.TrainState(np.zeros((), np.int32), *networks)


@functools.cache
def _run(figures):
  """(rows of the reference's columns, {picture: output after the last step})."""
  about = figures.about['joint_train']
  generator, generator_variables = figures.network('msdi2e')
  discriminator, discriminator_variables = figures.network('discriminator')
  optimizer = state.make_optimizer(lambda count: about['lr'], *about['betas'], about['clip'])
  step = functools.partial(
    steps.joint_step,
    nets=steps.JointNets(generator, discriminator, None),
    optimizer=optimizer,
    weights=WEIGHTS,
    official_order=True,
  )
  count, size = about['batch'], about['size']
  pair = {'blurry': figures.image('tb', count, size, size)}
  pair['sharp'] = figures.image('ts', count, size, size)
  train_state = _train_state(optimizer, generator_variables, discriminator_variables)
  arguments = parallel.replicate(train_state), {}, parallel.shard(pair)
  lowered = jax.pmap(step, axis_name=parallel.AXIS).lower(*arguments)
  # Unoptimised machine code: compiling takes longer than running the steps.
  step = lowered.compile(compiler_options={'xla_backend_optimization_level': '0'})
  rows, (now, *rest) = [], arguments
  for _ in about['rows']:
    now, metrics = step(now, *rest)
    metrics = parallel.unreplicate(metrics)
    rows.append([weight * float(metrics[name]) for name, weight in COLUMNS.values()])
  variables = parallel.unreplicate(now).generator.variables
  outputs = jax.jit(generator.apply)(variables, pair['blurry'], pair['sharp'])
  return rows, dict(zip(('deblur', 'reblur'), outputs, strict=True))


@pytest.mark.parametrize('width', WIDTHS)
def test_losses_and_gradient_norms_are_the_released_ones(golden, agrees, width):
  figures = reference.load(golden, width)
  about = figures.about['joint_train']
  assert about['columns'] == list(COLUMNS)
  rows, _ = _run(figures)
  for i, (ours, theirs) in enumerate(zip(rows, about['rows'], strict=True)):
    for name, value, expected in zip(COLUMNS, ours, theirs, strict=True):
      # Adam amplifies rounding from the second step on.
      tolerance = 1e-2 if 'norm' in name else 5e-3 if i else 1e-3
      agrees(f'joint_train/{name}', width, abs(value - expected), tolerance * abs(expected) + 1e-12)


@pytest.mark.parametrize('picture', ['deblur', 'reblur'])
@pytest.mark.parametrize('width', WIDTHS)
def test_trained_networks_outputs_are_the_released_ones(golden, agrees, width, picture):
  figures = reference.load(golden, width)
  case = f'joint_train/after/{picture}'
  difference, deviation = figures.compare(case, _run(figures)[1][picture])
  agrees(case, width, difference, 2e-2 * deviation)
