"""What comparisons with the released PyTorch code share: tasks, flags, pictures, time and memory.

A comparison has a process per side, which gets weights and pictures as files of a folder: a process
has only one of JAX and PyTorch in memory, so that its peak is that side's own.
"""

import importlib.util
import os
import pathlib
import sys
import time

# PyTorch's threads spin while they wait: beside other work that made it 20 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import numpy as np
from absl import flags
from turns import turn

from degrep_jax.common.errors import UserError
from degrep_jax.common.files import write_json
from degrep_jax.data.pairs import FolderPairs
from degrep_jax.data.synthetic.pairs import Blur, SyntheticPairs

# Kind of network in degrep_jax.convert: released file, class.
NETWORKS = {
  'encoder_v1': ('encoder1', 'ConvEncoder'),
  'encoder_v2': ('encoder2', 'ConvEncoder'),
  'upsampler_v1': ('msdi_arch', 'prior_upsampling'),
  'msdi_net': ('msdi_arch', 'msdi_net'),
  'msdi2e': ('msdi2e_arch', 'MSDI2E'),
  'discriminator': ('discriminator', 'MultiscaleDiscriminator'),
}
# What is measured: the networks that it needs.
TASKS = {kind: (kind,) for kind in NETWORKS} | {
  'joint_step': ('msdi2e', 'discriminator'),
  'deblur_step': ('msdi_net',),
}
SIDE = 256  # pixels of a picture; the released encoders resize any other
REPEATS = 5  # timed calls of a network
STEPS = 3  # timed training steps
RATES = {'joint_step': 2e-4, 'deblur_step': 3e-4}  # Adam's, of the released option files
BETAS, CLIP = (0.9, 0.99), 0.01

REPO = flags.DEFINE_string('official_repo', None, 'Clone of the released repository.')
CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Released msdi_net file (.pth).')
WIDTH = flags.DEFINE_integer('width', 64, 'Channels at full resolution; 64 as released.', 2)
JSON = flags.DEFINE_string('json', None, 'File for the figures.')
_PICTURES = flags.DEFINE_string('pictures', None, 'Folder with blur/ and sharp/; else synthetic.')
_COUNT = flags.DEFINE_integer('count', 3, 'Pictures taken from it at most, evenly spread.', 1)


# Inputs.


def require_inputs() -> None:
  """Raises UserError for what is missing, before anything is measured."""
  if importlib.util.find_spec('torch') is None:
    raise UserError('PyTorch is not installed: run pip install degrep_jax[convert].')
  if not REPO.value:
    raise UserError('--official_repo is missing: clone github.com/dasongli1/Learning_degradation.')
  file = pathlib.Path(REPO.value, 'basicsr/models/archs/msdi_arch.py')
  if not file.is_file():
    raise UserError(f'there is no {file}: --official_repo must be a clone of the released code.')
  if CHECKPOINT.value and not pathlib.Path(CHECKPOINT.value).is_file():
    raise UserError(f'there is no file {CHECKPOINT.value}: mend --checkpoint.')
  if WIDTH.value % 2:
    raise UserError(f'--width={WIDTH.value} must be even: half the channels are normalised.')


def centre_crops() -> dict[str, np.ndarray]:
  """'blurry' and 'sharp', `(N, SIDE, SIDE, 3)` uint8, from the middle of the pictures."""
  if _PICTURES.value:
    source = FolderPairs(_PICTURES.value, 'test')
  else:  # the held-out photographs as the default config blurs them
    source = SyntheticPairs('test', Blur(14.0, 1.0, 16.0, 17, 1.0), variants=1, seed=0)
  crops = {'blurry': [], 'sharp': []}
  items = np.linspace(0, len(source) - 1, min(_COUNT.value, len(source)))
  for pair in map(source.pair, np.rint(items).astype(int)):
    top, left = ((side - SIDE) // 2 for side in pair.sharp.shape[:2])
    if min(top, left) < 0:
      raise UserError(f'{pair.name} is smaller than {SIDE}x{SIDE} pixels: leave it out.')
    window = slice(top, top + SIDE), slice(left, left + SIDE)
    crops['blurry'].append(pair.blurry[window])
    crops['sharp'].append(pair.sharp[window])
  return {name: np.stack(pictures) for name, pictures in crops.items()}


def network_inputs(task: str, blurry: np.ndarray, sharp: np.ndarray) -> list[tuple]:
  """What a network is called with, a tuple for every picture `(N, SIDE, SIDE, 3)` of [0, 1]."""
  if task == 'upsampler_v1':  # an encoder's map has mean 0 and variance 1 in every channel
    rng = np.random.default_rng(0)
    shape = (len(blurry), 1, 4, 4, 4 * WIDTH.value)
    return [(latent,) for latent in rng.standard_normal(shape, dtype=np.float32)]
  pairs = [(blurry[i : i + 1], sharp[i : i + 1]) for i in range(len(blurry))]
  if task == 'msdi2e':
    return pairs
  return [(s, b) if task == 'discriminator' else (b,) for b, s in pairs]


# Files between the processes.


def read_arrays(folder: pathlib.Path, stem: str) -> dict[str, np.ndarray]:
  """The arrays of `<folder>/<stem>.npz` by name."""
  with np.load(folder / f'{stem}.npz') as arrays:
    return dict(arrays)


def command() -> list[str]:
  """This script again with its flags, as a process of its own is started; -B: no byte code is
  written into the clone."""
  return [sys.executable, '-B', '-W', 'ignore', *sys.argv]


def leaves(tree) -> list:
  """The arrays of nested lists and tuples, in order."""
  if not isinstance(tree, (list, tuple)):
    return [tree]
  return [leaf for part in tree for leaf in leaves(part)]


def numbered(arrays) -> dict[str, np.ndarray]:
  """Arrays under the names '0', '1', ..."""
  return {str(i): x for i, x in enumerate(arrays)}


# Time and memory.


def timed(call, inputs):
  """(what `call` gives for each input, seconds of every call); warms up first."""
  call(inputs[0])
  outputs, seconds = [], []
  for i in range(max(REPEATS, len(inputs))):
    turn()
    start = time.perf_counter()
    output = call(inputs[i % len(inputs)])
    seconds.append(time.perf_counter() - start)
    outputs += [output] if i < len(inputs) else []
  return outputs, seconds


def timed_steps(step):
  """(losses of the first step, seconds of each further one)."""
  first, seconds = step(), []
  for _ in range(STEPS):
    turn()
    start = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - start)
  return first, seconds


def write_figures(figures: dict) -> None:
  """Writes what was measured to --json, if it is named; raises UserError where that fails."""
  if JSON.value:
    write_json(JSON.value, figures)
