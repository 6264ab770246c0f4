"""Training steps of both stages, the joint one in the released order, against the released code's
figures."""

import functools

import jax
import numpy as np
import pytest
import reference

from degrep_jax.models.variables import FROZEN, split
from degrep_jax.runtime import devices
from degrep_jax.training import state, steps

WIDTHS = (8, pytest.param(64, marks=pytest.mark.slow))
# Columns of the reference, each a weighted metric of ours.
COLUMNS = {
  'joint_train': {
    'gan': ('l_gan', 1),
    'feature_matching': ('l_feature', 10),
    'pixel_l1_x10': ('l_deblur', 10),
    'gen_grad_norm': ('grad_norm_g', 1),
    'd_fake': ('l_d_fake', 1),
    'd_real': ('l_d_real', 1),
    'disc_grad_norm': ('grad_norm_d', 1),
  },
  'deblur_train': {
    'psnr_loss_x0.5_both_outputs': ('l_psnr', 0.5),
    'encoder_feature_l1': ('l_features', 1),
    'grad_norm': ('grad_norm_g', 1),
  },
}


def _joint(figures, optimizer):
  """(step, state before the first one, (generators, names of their outputs))."""
  generator, variables = figures.network('msdi2e')
  discriminator, discriminator_variables = figures.network('discriminator')
  step = functools.partial(
    steps.joint_step,
    nets=steps.JointNets(generator, discriminator, None),
    weights=steps.LossWeights(l_gan=1, l_reblur=0, l_deblur=10, l_feature=10, l_vgg=0),
    official_order=True,
  )
  networks = [state.network_state(of, optimizer) for of in (variables, discriminator_variables)]
  train_state = state.TrainState(np.zeros((), np.int32), *networks)
  return lambda now, batch, **fixed: step(now, {}, batch, **fixed), train_state, generator


def _deblur(figures, optimizer):
  """Likewise of the deblurring stage, E and the pyramid those of the files of their own."""
  net, variables = figures.network('msdi_net')
  _, trained = split(variables, FROZEN)
  frozen = {}
  for name, kind in zip(FROZEN, ('encoder_v1', 'upsampler_v1'), strict=True):
    for collection, tree in figures.network(kind)[1].items():
      frozen.setdefault(collection, {})[name] = tree
  train_state = state.DeblurState(
    np.zeros((), np.int32), state.network_state(trained, optimizer), frozen
  )
  weights = steps.DeblurWeights(l_psnr=0.5, l_features=1.0)
  return functools.partial(steps.deblur_step, net=net, weights=weights), train_state, net


STAGES = {'joint_train': _joint, 'deblur_train': _deblur}


@functools.cache
def _run(figures, stage):
  """(rows of the reference's columns, outputs after the last step)."""
  about = figures.about[stage]
  optimizer = state.make_optimizer(lambda count: about['lr'], *about['betas'], about['clip'])
  step, train_state, net = STAGES[stage](figures, optimizer)
  step = functools.partial(step, optimizer=optimizer)
  count, size = about['batch'], about['size']
  pair = {'blurry': figures.image('tb', count, size, size)}
  pair['sharp'] = figures.image('ts', count, size, size)
  now, batch = devices.replicate(train_state), devices.shard(pair)
  lowered = jax.pmap(step, axis_name=devices.AXIS).lower(now, batch)
  # Unoptimised machine code: compiling takes longer than running the steps.
  step = lowered.compile(compiler_options={'xla_backend_optimization_level': '0'})
  rows = []
  for _ in about['rows']:
    now, metrics = step(now, batch)
    metrics = devices.unreplicate(metrics)
    rows.append([weight * float(metrics[name]) for name, weight in COLUMNS[stage].values()])
  pictures = (pair['blurry'], pair['sharp']) if stage == 'joint_train' else (pair['blurry'],)
  return rows, jax.jit(net.apply)(devices.unreplicate(now).variables, *pictures)


@pytest.mark.parametrize('stage', STAGES)
@pytest.mark.parametrize('width', WIDTHS)
def test_losses_and_gradient_norms_are_the_released_ones(golden, agrees, width, stage):
  figures = reference.load(golden, width)
  about = figures.about[stage]
  assert about['columns'] == list(COLUMNS[stage])
  rows, _ = _run(figures, stage)
  for i, (ours, theirs) in enumerate(zip(rows, about['rows'], strict=True)):
    for name, value, expected in zip(COLUMNS[stage], ours, theirs, strict=True):
      # Adam amplifies rounding from the second step on.
      tolerance = 1e-2 if 'norm' in name else 5e-3 if i else 1e-3
      agrees(f'{stage}/{name}', width, abs(value - expected), tolerance * abs(expected) + 1e-12)


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
