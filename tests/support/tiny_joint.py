"""A joint stage small enough to compile in seconds: width 2, three levels, 32-pixel crops."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from quick import COMPILER

from configs import default
from degrep_jax.runtime import devices
from degrep_jax.training import stages

BATCH = 4  # over all devices

FROZEN: dict = {'vgg': {}}


def config(**fields):
  """The default config, tiny, with `group__field=value` changed."""
  config = default.get_config()
  model = config.model
  model.width = model.encoder_width = model.discriminator_width = model.modulation_hidden = 2
  model.depth, model.encoder_stages, model.encoder_input = 3, (1, 2), 0
  model.encoder = 'official_v2'  # compiles fastest
  config.data.crop, config.train.batch_size = 32, BATCH
  config.update_from_flattened_dict({key.replace('__', '.'): v for key, v in fields.items()})
  return config


def initial_state(config):
  """The state before the first step, not replicated."""
  return stages.open_stage(config, FROZEN).create()


def batches(count):
  """Global batches of pairs, each a sharp picture and a noisier one."""
  draw = np.random.default_rng(0)
  for _ in range(count):
    sharp = draw.random((BATCH, 32, 32, 3), np.float32)
    yield {'sharp': sharp, 'blurry': 0.5 * sharp + 0.5 * draw.random(sharp.shape, np.float32)}


def compile_step(config, vgg=None):
  """`joint_step` of a config, pmapped over all devices, its state donated; `vgg` without
  parameters."""
  nets, _ = stages.build_joint(config)
  stage = stages.open_stage(config, FROZEN)
  step = functools.partial(stage.step, nets=nets._replace(vgg=vgg))
  shape = (jax.device_count(), config.train.batch_size // jax.device_count(), 32, 32, 3)
  batch = {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name in ('blurry', 'sharp')}
  pmapped = jax.pmap(step, axis_name=devices.AXIS, donate_argnums=0)
  lowered = pmapped.lower(devices.replicate(initial_state(config)), FROZEN, batch)
  return lowered.compile(compiler_options=COMPILER | stage.compiler_options)


def run(step, train_state, count):
  """(last state, metrics of every step), from a state that is not replicated."""
  now, rows = devices.replicate(train_state), []
  for batch in batches(count):
    now, metrics = step(now, FROZEN, devices.shard(batch))
    rows.append({name: float(x) for name, x in devices.unreplicate(metrics).items()})
  return now, rows
