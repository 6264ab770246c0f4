"""Training steps of both stages on the weights and pictures of the released code's figures."""

import functools

import numpy as np

from degrep_jax.models.variables import FROZEN, split
from degrep_jax.training import state, steps

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


def build(figures, stage):
  """One of `STAGES`, the joint one in the released order.

  Returns:
    step: (state, batch) -> (state, metrics), to be pmapped; takes `dtype` as well.
    state: before the first step.
    network: what makes pictures of the state's `variables`.
    batch: {'blurry', 'sharp'}: the reference's pictures.
  """
  about = figures.about[stage]
  optimizer = state.make_optimizer(lambda count: about['lr'], *about['betas'], about['clip'])
  step, train_state, net = STAGES[stage](figures, optimizer)
  count, size = about['batch'], about['size']
  pictures = {'blurry': 'tb', 'sharp': 'ts'}
  batch = {name: figures.image(key, count, size, size) for name, key in pictures.items()}
  return functools.partial(step, optimizer=optimizer), train_state, net, batch


def columns(stage, metrics):
  """The reference's columns of the metrics of a step, not replicated."""
  return [weight * float(metrics[name]) for name, weight in COLUMNS[stage].values()]


def tolerance(column, step):
  """Of a column in float32, relative, after `step` other steps."""
  # Adam amplifies rounding from the second step on.
  return 1e-2 if 'norm' in column else 5e-3 if step else 1e-3
