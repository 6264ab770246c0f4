"""Peak memory of a real training step of the joint stage, and how gradient accumulation,
rematerialisation and bfloat16 change it.

python experiments/benchmark_memory.py

Every row is a process of its own that does nothing else: it makes the state, compiles the step,
runs one, gives back what is free, forgets its peak (Linux: /proc/self/clear_refs), runs another and
reads its peak resident memory, Python, the program and the state included. Beside it stand what the
step added to what was resident before it, XLA's own analysis of the temporaries of the same
program, and the step's seconds.
"""

import ctypes
import gc
import json
import pathlib
import subprocess
import sys
import time

from absl import app, flags
from peak_memory import forget_peak, peak_mib

sys.path.append(str(pathlib.Path(__file__).parents[1]))  # configs lie beside the package

_WIDTH = flags.DEFINE_integer('width', 16, 'Channels of all networks at full resolution.')
_CROP = flags.DEFINE_integer('crop', 128, 'Side of the crops, pixels.')
_BATCH = flags.DEFINE_integer('batch', 8, 'Pairs of a step.')
_ONE = flags.DEFINE_string('one', None, 'One row: its fields of config.train as JSON.')

ROWS = (
  {},
  {'remat': True},
  {'accumulate_steps': 4},
  {'accumulate_steps': 4, 'remat': True},
  {'dtype': 'bfloat16'},
  {'dtype': 'bfloat16', 'remat': True},
)


def prepared(config):
  """(stage, state, batch of noise) of a config, both on the devices."""
  import numpy as np

  from degrep_jax.runtime import devices
  from degrep_jax.training import stages

  stage = stages.open_stage(config)
  draw = np.random.default_rng(0)
  shape = (config.train.batch_size, config.data.crop, config.data.crop, 3)
  batch = {name: draw.random(shape, np.float32) for name in ('blurry', 'sharp')}
  return stage, devices.replicate(stage.create()), devices.shard(batch)


def _measured(fields: dict) -> dict:
  import jax

  from configs import default

  config = default.get_config()
  model = config.model
  model.width = model.encoder_width = model.discriminator_width = _WIDTH.value
  model.encoder_input = 0
  config.data.crop, config.train.batch_size = _CROP.value, _BATCH.value
  config.train.update(fields)
  stage, state, batch = prepared(config)
  compiled = stage.compile(state, {}, batch)
  state, _ = jax.block_until_ready(compiled(state, {}, batch))
  gc.collect()
  ctypes.CDLL('libc.so.6').malloc_trim(0)  # what compiling has left behind
  forget_peak()
  before, start = 2**20 * peak_mib(), time.monotonic()
  jax.block_until_ready(compiled(state, {}, batch))
  seconds = time.monotonic() - start
  found = compiled.memory_analysis()
  return {
    'peak': 2**20 * peak_mib(),
    'before': before,
    'temporaries': found.temp_size_in_bytes,
    'arguments': found.argument_size_in_bytes,
    'seconds': seconds,
  }


def main(argv: list[str]) -> None:
  if _ONE.value is not None:
    print(json.dumps(_measured(json.loads(_ONE.value))))
    return
  sizes = f'width {_WIDTH.value}, {_BATCH.value} pairs of {_CROP.value} px'
  print(f'a step of the joint stage, {sizes}; MiB')
  print(f'{"":44}{"peak":>7}{"by the step":>13}{"XLA says":>10}{"seconds":>9}')
  for fields in ROWS:
    command = [
      sys.executable,
      *argv,
      *(f'--{name}={flags.FLAGS[name].value}' for name in ('width', 'crop', 'batch')),
      f'--one={json.dumps(fields)}',
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    row = json.loads(done.stdout.splitlines()[-1])
    peak, before, temporaries = (row[name] / 2**20 for name in ('peak', 'before', 'temporaries'))
    name = ', '.join(f'{field}={value}' for field, value in fields.items()) or 'as it is'
    step = peak - before
    print(f'{name:44}{peak:7.0f}{step:13.0f}{temporaries:10.0f}{row["seconds"]:9.1f}', flush=True)


if __name__ == '__main__':
  app.run(main)
