"""The real command in a process of its own, and what it leaves in a workdir."""

import contextlib
import json
import pathlib
import subprocess
import sys

import child
import numpy as np
import quick
from PIL import Image

from degrep_jax.training.recorder import CLOCKS

ROOT = pathlib.Path(__file__).parents[2]


def _command(workdir, flags, config, devices, compiled=None):
  """(command line, environment)."""
  environment = child.environment(
    f'--xla_force_host_platform_device_count={devices}', quick.XLA_FLAGS
  )
  if compiled is not None:
    environment['JAX_COMPILATION_CACHE_DIR'] = str(compiled)
  command = [sys.executable, '-m', 'degrep_jax.main', f'--config={config}', f'--workdir={workdir}']
  return [*command, *flags], environment


def run(workdir, *flags, config='configs/smoke.py', devices=1):
  """Runs the command."""
  command, environment = _command(workdir, flags, config, devices)
  return subprocess.run(
    command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600
  )


def experiment(script, *flags, timeout=600):
  """Runs a script of experiments/."""
  return subprocess.run(
    [sys.executable, f'experiments/{script}', *flags],
    cwd=ROOT,
    env=child.environment(quick.XLA_FLAGS),
    capture_output=True,
    text=True,
    timeout=timeout,
  )


@contextlib.contextmanager
def started(workdir, *flags, config='configs/smoke.py', devices=1, compiled=None):
  """The command under way, to be disturbed; it is over when the context is left.

  compiled: a folder of programs in place of that which all tests share.
  """
  command, environment = _command(workdir, flags, config, devices, compiled)
  process = subprocess.Popen(
    command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
  )
  with process:
    try:
      yield process
    finally:
      process.kill()


def wait_for(process, text):
  """What a command has printed up to the first line with a text in it; it must come."""
  printed = ''
  for line in process.stderr:
    printed += line
    if text in line:
      return printed
  raise AssertionError(f'never printed {text!r}: {printed[-4000:]}')


def ended(process):
  """(exit status, what it printed until then) of a command that is left to end."""
  _, printed = process.communicate(timeout=600)
  return process.returncode, printed


def succeeded(result):
  assert result.returncode == 0, f'{result.returncode}: {result.stderr[-4000:]}'
  return result


def refused(result, *words):
  """Exit status 2 and one sentence that names what is wrong."""
  assert result.returncode == 2, result.stderr[-4000:]
  assert 'Traceback' not in result.stderr
  last = result.stderr.strip().splitlines()[-1]
  assert last.startswith('degrep_jax: ')
  for word in words:
    assert str(word) in last


def leaves(tree, prefix=''):
  """{path: array} of nested dictionaries."""
  if isinstance(tree, dict):
    return {k: v for key in tree for k, v in leaves(tree[key], f'{prefix}/{key}').items()}
  return {prefix: tree}


def differing(a, b):
  """Paths of the arrays that are not equal to the bit in two nested dictionaries."""
  a, b = leaves(a), leaves(b)
  assert a.keys() == b.keys()
  return [path for path in a if not np.array_equal(a[path], b[path])]


def lines(workdir):
  """What a run logged."""
  return [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]


def timeless(workdir):
  """What a run logged, without what differs between two runs of the same training."""
  return [{k: v for k, v in line.items() if k not in CLOCKS} for line in lines(workdir)]


def losses(workdir):
  """The logged losses, {name: value} per line."""
  return [
    {key: value for key, value in line.items() if key.startswith('l_')}
    for line in lines(workdir)
    if 'l_g' in line
  ]


def picture(path, size=(64, 48), seed=0):
  """Writes a picture file of noise, `size` (width, height)."""
  path.parent.mkdir(parents=True, exist_ok=True)
  noise = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
  Image.fromarray(noise).save(path)
  return path


def gopro(root, size=(64, 48)):
  """A small tree of pairs in GoPro's layout, two per split."""
  for seed, kind in enumerate(('blur', 'sharp')):
    for split in ('train', 'test'):
      for name in ('1', '2'):
        picture(root / split / 'GOPR0001' / kind / f'00000{name}.png', size, seed)
  return root
