"""This package's networks and training steps with the weights of a released state dict."""

import functools
import pathlib
import time

import jax
import numpy as np
from peak_memory import forget_peak
from side_by_side import (
  BETAS,
  CLIP,
  RATES,
  TASKS,
  leaves,
  numbered,
  read_arrays,
  timed,
  timed_steps,
)

from degrep_jax.convert.state_dicts import from_pytorch
from degrep_jax.models.variables import FROZEN, split
from degrep_jax.runtime import compiling, devices
from degrep_jax.training import state, steps


def network(kind: str, weights: pathlib.Path):
  """(module, variables) of ours from `<weights>/<kind>.npz`."""
  return from_pytorch(kind, read_arrays(weights, kind))


def forward(task: str, folder: pathlib.Path, inputs: list[tuple]):
  """(outputs, seconds of every call, seconds of compiling) of our network."""
  module, variables = network(task, folder)
  arrays, tree = jax.tree.flatten(variables)
  del variables
  for i, array in enumerate(arrays):  # one by one: nothing is in memory twice
    arrays[i] = jax.device_put(array)
  variables = jax.tree.unflatten(tree, arrays)
  forget_peak()
  start = time.perf_counter()
  compiled = compiling.compiled(jax.jit(module.apply).lower(variables, *inputs[0]))
  compile_seconds = time.perf_counter() - start
  outputs, seconds = timed(lambda x: jax.block_until_ready(compiled(variables, *x)), inputs)
  return numbered(np.asarray(x) for x in leaves(outputs)), seconds, compile_seconds


def joint_step(folder: pathlib.Path, optimizer):
  """The joint stage in the released order.

  Returns:
    create: variables to state; variables: its arguments; step: (state, batch) to (state, metrics);
    terms: released name of a loss to (metric, weight).
  """
  (generator, *variables), (discriminator, *others) = (
    network(kind, folder) for kind in TASKS['joint_step']
  )
  keywords = {
    'nets': steps.JointNets(generator, discriminator, None),
    'optimizer': optimizer,
    'weights': steps.LossWeights(l_gan=1, l_reblur=0, l_deblur=10, l_feature=10, l_vgg=0),
    'official_order': True,
  }

  def create(*variables):
    networks = (state.network_state(tree, optimizer) for tree in variables)
    return state.TrainState(np.zeros((), np.int32), *networks)

  terms = {'GAN': ('l_gan', 1), 'GAN_Feat': ('l_feature', 10), 'l_pix': ('l_deblur', 10)}
  terms |= {'D_Fake': ('l_d_fake', 1), 'D_real': ('l_d_real', 1)}
  step = lambda now, batch: steps.joint_step(now, {}, batch, **keywords)  # noqa: E731
  return create, variables + others, step, terms


def deblur_step(folder: pathlib.Path, optimizer):
  """The deblurring stage; returns what `joint_step` does."""
  net, variables = network('msdi_net', folder)
  weights = steps.DeblurWeights(l_psnr=0.5, l_features=1)
  step = functools.partial(steps.deblur_step, net=net, optimizer=optimizer, weights=weights)

  def create(variables):
    frozen, trained = split(variables, FROZEN)
    return state.DeblurState(
      np.zeros((), np.int32), state.network_state(trained, optimizer), frozen
    )

  return create, [variables], step, {'l_pix': ('l_psnr', 0.5), 'l_blur': ('l_features', 1)}


STEPS = {'joint_step': joint_step, 'deblur_step': deblur_step}


def step(task: str, folder: pathlib.Path, batch: tuple[np.ndarray, np.ndarray]):
  """(losses of the first step, seconds of the others, seconds of compiling) of our step on a blurry
  and a sharp batch."""
  optimizer = state.make_optimizer(lambda count: RATES[task], *BETAS, CLIP)
  create, variables, step, terms = STEPS[task](folder, optimizer)
  now = jax.pmap(create)(*devices.replicate(variables))
  variables.clear()  # nothing is in memory twice
  pictures = devices.shard(dict(zip(('blurry', 'sharp'), batch, strict=True)))
  forget_peak()
  start = time.perf_counter()
  mapped = jax.pmap(step, axis_name=devices.AXIS, donate_argnums=0)
  compiled = compiling.compiled(mapped.lower(now, pictures), keep_barriers=True)
  compile_seconds = time.perf_counter() - start

  def run():
    nonlocal now
    now, metrics = compiled(now, pictures)
    metrics = devices.unreplicate(jax.block_until_ready(metrics))
    return {name: weight * metrics[ours] for name, (ours, weight) in terms.items()}

  return *timed_steps(run), compile_seconds
