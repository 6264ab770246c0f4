"""The deblurring stage as small as `tiny_joint`; `main` prints a step in float64 on all devices as
JSON."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import tiny_joint
from float64_steps import Steps
from quick import COMPILER

from configs import gopro_deblur
from degrep_jax.runtime import devices
from degrep_jax.training import stages


def config(**fields):
  """The config of the deblurring stage, tiny, with `group__field=value` changed."""
  config = gopro_deblur.get_config()
  config.model = tiny_joint.config().model
  config.model.network, config.model.depth = 'msdi_net', 2
  config.data.crop, config.train.batch_size = 32, tiny_joint.BATCH
  config.update_from_flattened_dict({key.replace('__', '.'): v for key, v in fields.items()})
  return config


def initial_state(config):
  """The state before the first step as NumPy arrays, not replicated."""
  return jax.tree.map(np.asarray, stages.open_stage(config).create())


def compile_step(config):
  """The stage's step, pmapped over all devices, its state donated."""
  stage = stages.open_stage(config)
  shape = (jax.device_count(), config.train.batch_size // jax.device_count(), 32, 32, 3)
  batch = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name in ('blurry', 'sharp')}
  pmapped = jax.pmap(stage.step, axis_name=devices.AXIS, donate_argnums=0)
  lowered = pmapped.lower(devices.replicate(stage.create()), stage.constants, batch)
  return lowered.compile(compiler_options=COMPILER | stage.compiler_options)


def run(step, train_state, count):
  """(last state, metrics of every step), from a state that is not replicated."""
  now, rows = devices.replicate(train_state), []
  for batch in tiny_joint.batches(count):
    now, metrics = step(now, {}, devices.shard(batch))
    rows.append({name: float(x) for name, x in devices.unreplicate(metrics).items()})
  return now, rows


def by_path(tree):
  """{path: array} of a pytree."""
  return {jax.tree_util.keystr(path): x for path, x in jax.tree_util.tree_leaves_with_path(tree)}


def main():
  after, rows = Steps(config()).replicas(initial_state(config()), tiny_joint.batches(1))
  copies = by_path(after)
  report = {
    'devices': jax.device_count(),
    'metrics': rows[0],
    'differing': [path for path, x in copies.items() if not (x == x[:1]).all()],
    'state': {path: x[0].tolist() for path, x in copies.items()},
  }
  print(json.dumps(report))
