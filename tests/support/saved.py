"""Checkpoints of tiny networks with weights drawn by NumPy: nothing is trained or compiled."""

import json
import pathlib

import jax
import ml_collections
import numpy as np
from flax import traverse_util

from degrep_jax import checkpoints
from degrep_jax import run_config as configs
from degrep_jax.models import factory
from degrep_jax.models.variables import FROZEN, split


def variables(module, seed, *shapes):
  """Variables of a module that is called with pictures of these shapes, well scaled."""
  pictures = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
  tree = jax.eval_shape(module.init, jax.random.key(0), *pictures)
  rng = np.random.default_rng(seed)
  flat = {}
  for path, x in traverse_util.flatten_dict(dict(tree)).items():
    draw = rng.normal(size=x.shape)
    if path[-1] == 'kernel':
      draw /= np.sqrt(np.prod(x.shape[:-1]))
      if path[-2] == 'conv_out':
        draw *= 0.1  # restored pictures look much like the input
    elif path[-1] == 'u':
      draw /= np.linalg.norm(draw)
    elif path[-1] == 'var':
      draw = np.ones(x.shape)
    elif path[-1] != 'v':
      draw *= 0.1
    flat[path] = np.float32(draw)
  for path in [path for path in flat if path[-1] == 'v']:
    kernel = flat['params', *path[1:-1], 'kernel']
    v = kernel.reshape(-1, kernel.shape[-1]) @ flat[*path[:-1], 'u']
    flat[path] = v / np.linalg.norm(v)
  return traverse_util.unflatten_dict(flat)


def state(config: ml_collections.ConfigDict, step: int):
  """A state as `checkpoints.load` gives it, its optimiser's moments zero."""
  size = (1, config.data.crop, config.data.crop, 3)
  joint = config.model.network == 'joint'
  module = factory.build_network(config.model)
  whole = variables(module, step, *([size] * (2 if joint else 1)))
  frozen, trained = ({}, whole) if joint else split(whole, FROZEN)
  saved = {'step': np.int32(step), 'generator': _network(trained)}
  if joint:
    discriminator = factory.build_discriminator(config.model)
    return saved | {'discriminator': _network(variables(discriminator, step, size, size))}
  return saved | {'frozen': frozen}


def _network(tree):
  params = tree['params']
  statistics = {name: of for name, of in tree.items() if name != 'params'}
  moments = jax.tree.map(np.zeros_like, params)
  return {'params': params, 'statistics': statistics, 'opt_state': {'mu': moments, 'nu': moments}}


def workdir(path: pathlib.Path, config: ml_collections.ConfigDict, scores):
  """Writes a run: `scores` maps its steps to the deblurred PSNR or None. Returns the last state."""
  path.mkdir(parents=True, exist_ok=True)
  configs.keep_in(path, config, has_checkpoint=False)
  with checkpoints.Checkpoints(path, keep=len(scores)) as saved:
    for step, psnr in scores.items():
      last = state(config, step)
      saved.save(step, last)
      if psnr is not None:
        saved.add_scores(step, {'deblurred_psnr': psnr})
        (path / 'evaluations').mkdir(exist_ok=True)
        totals = {'count': 3, 'deblurred_psnr': psnr}
        (path / 'evaluations' / f'step_{step}.json').write_text(json.dumps(totals))
  return last
