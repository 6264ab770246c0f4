"""What restoring a large photograph takes: seconds and peak memory of each mode.

python experiments/restore_benchmark.py
python experiments/restore_benchmark.py --size=6000x4000 --runs=full --once

Prints a row per run, each in a process of its own: seconds of the first picture (reading weights
aside, compiling included), of the second, and the peak resident memory of the process. The
networks have random weights, which cost what trained ones do; the photograph is a mosaic of those
embedded in scikit-image. `--workdir=DIR` takes the network of a run instead and adds how far the
results of the others of `--runs` (bfloat16 if it is named) lie from those of the first.
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import time

import jax
import numpy as np
from absl import app, flags
from peak_memory import peak_mib
from skimage import data

sys.path.append(str(pathlib.Path(__file__).parents[1]))

from configs import default
from degrep_jax import Restorer
from degrep_jax.metrics import psnr
from degrep_jax.models import factory
from degrep_jax.runtime import compilation_cache

RUNS = {
  'tiles': {'mode': 'tiles'},
  'feathered': {'mode': 'feathered'},
  'full': {'mode': 'full'},
  'full without TLC': {'mode': 'full', 'window': 0},
  'tiles in bfloat16': {'mode': 'tiles', 'dtype': 'bfloat16'},
  'feathered by ONNX': {'mode': 'feathered', 'engine': 'onnx'},
}
WIDTHS = (11, 10, 11, 11, 10)  # of the table's columns

_NETWORK = flags.DEFINE_enum(
  'network', 'hinet', factory.NETWORKS, 'Random weights of this network.'
)
_WIDTH = flags.DEFINE_integer('width', 8, 'Of that network.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Run or file whose network is taken instead.')
_ENSEMBLE = flags.DEFINE_integer('ensemble', 1, 'Views of a picture, whose mean is taken.')
_STRENGTH = flags.DEFINE_float('strength', 1, 'Of the change.')
_SCALES = flags.DEFINE_integer('scales', 0, 'Pixels of the largest size that is seen; 0 for one.')
_SIZE = flags.DEFINE_string('size', '1999x1333', 'Width and height of the photograph.')
_MEMORY = flags.DEFINE_float('memory', 4, 'GiB that the mode full may take.')
_RUNS = flags.DEFINE_list('runs', list(RUNS)[:4], f'Which of {", ".join(RUNS)}.')
_ONCE = flags.DEFINE_bool('once', False, 'Leave out the second picture.')
_CACHE = flags.DEFINE_bool('cache', False, 'Keep compiled programs, as the commands do.')
_CHILD = flags.DEFINE_string('child', None, 'Run this one here and save the result in that file.')
flags.register_validator('runs', lambda names: set(names) <= set(RUNS))


def photograph(width, height):
  """uint8 (height, width, 3): embedded photographs side by side, in their own resolution."""
  parts = [picture()[:300, :400] for picture in (data.astronaut, data.coffee, data.rocket)]
  rows = [np.hstack(parts[i:] + parts[:i]) for i in range(3)]
  sheet = np.vstack(rows)
  repeats = -(-height // sheet.shape[0]), -(-width // sheet.shape[1]), 1
  return np.tile(sheet, repeats)[:height, :width]


def random_restorer(**options):
  """Of `--network` and `--width`, depth 5, the released encoder, 256-px tiles."""
  model = default.get_config().model
  model.network, model.width, model.encoder_width = _NETWORK.value, _WIDTH.value, _WIDTH.value
  model.encoder = 'official_v1'
  module = factory.build_network(model, None)
  picture = jax.ShapeDtypeStruct((1, 256, 256, 3), np.float32)
  pictures = [picture] * factory.NETWORKS[_NETWORK.value].inputs
  variables = module.lazy_init(jax.random.key(0, impl='rbg'), *pictures)
  return Restorer(module, jax.tree.map(np.asarray, dict(variables)), **options)


def child(name, file):
  """Measures one run and writes what it found."""
  if _CACHE.value:
    compilation_cache.enable()
  options = RUNS[name] | {'memory': int(_MEMORY.value * 2**30), 'ensemble': _ENSEMBLE.value}
  options |= {'strength': _STRENGTH.value, 'scales': _SCALES.value}
  start = time.monotonic()
  if _WORKDIR.value:
    restorer = Restorer.from_checkpoint(_WORKDIR.value, **options)
  else:
    restorer = random_restorer(**options)
  picture = photograph(*map(int, _SIZE.value.split('x')))
  seconds = [time.monotonic() - start]
  for _ in range(1 if _ONCE.value else 2):
    start = time.monotonic()
    result = restorer.deblur(picture)
    seconds.append(time.monotonic() - start)
  peak = peak_mib()
  np.save(file, result)
  print(json.dumps([*seconds[:2], seconds[-1], peak, restorer.programs]))


def main(_):
  """Prints the table."""
  if _CHILD.value:
    child(_RUNS.value[0], _CHILD.value)
    return
  reference, folder = None, tempfile.TemporaryDirectory()
  print(
    f'{"":<18}{"loading, s":>11}{"first, s":>10}{"second, s":>10}{"peak, MiB":>11}{"programs":>9}'
  )
  for name in _RUNS.value:
    file = pathlib.Path(folder.name, 'result.npy')
    command = [sys.executable, *sys.argv, f'--runs={name}', f'--child={file}']
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    *seconds, peak, programs = json.loads(done.stdout.splitlines()[-1])
    cells = (*(f'{x:.1f}' for x in seconds), f'{peak:,.0f}', programs)
    row = f'{name:<18}' + ''.join(f'{x:>{width}}' for x, width in zip(cells, WIDTHS, strict=True))
    if _WORKDIR.value:
      result = np.load(file)
      reference = result if reference is None else reference
      row += f'  {psnr(result, reference):.2f} dB to {_RUNS.value[0]}'
    print(row, flush=True)


if __name__ == '__main__':
  app.run(main)
