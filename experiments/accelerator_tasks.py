"""The rows of accelerator.py, each measured in a process that runs this file.

python experiments/accelerator_tasks.py KIND '{"argument": value}' [--tiny]

Figures are printed as lines of JSON, each with all that is known by then: what a process has
measured is not lost where its time is over.
"""

import argparse
import contextlib
import functools
import gc
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

sys.path.append(str(pathlib.Path(__file__).parents[1]))
sys.path.append(str(pathlib.Path(__file__).parents[1] / 'tests' / 'support'))
# TensorFlow tells of itself when it is imported.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')

import benchmark_memory
import jax
import numpy as np
import reference
import reference_steps
from accelerator import STATUS_OUT_OF_MEMORY
from ml_collections import ConfigDict

from configs import smoke
from degrep_jax.common.errors import UserError, fail, first_line, is_out_of_memory
from degrep_jax.models.variables import cast
from degrep_jax.runtime import compilation_cache, compiling, devices
from degrep_jax.training import plan

ROOT = pathlib.Path(__file__).parents[1]
GOLDEN = ROOT / 'tests' / 'golden'
# Of the networks, the whole ones.
PASSES = (
  ('msdi2e', 'blurry, sharp'),
  ('msdi_net', 'blurry'),
  ('hinet', 'blurry'),
  ('discriminator', 'sharp, blurry'),
)
SHARE = 8  # devices that the configs for GoPro are written for
SECONDS = 5.0  # of a timed round, about
ROUNDS = 3
TRIES = 5  # batches that are tried for the largest

Figures = dict[str, Any]


def set_precision(precision: str) -> str:
  """Sets how float32 is multiplied from now on; the type that networks compute in."""
  if precision == 'float32':
    jax.config.update('jax_default_matmul_precision', 'highest')
  return 'bfloat16' if precision == 'bfloat16' else 'float32'


def memory_of(name: str) -> int | None:
  """A figure of the allocator, bytes, the largest of all devices; None: this backend has none."""
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  return max((of[name] for of in stats if name in of), default=None)


def settings(name: str, precision: str, remat: bool, tiny: bool) -> ConfigDict:
  """One of the configs for GoPro, with the share of the batch that each device has of `SHARE`."""
  config = importlib.import_module(f'configs.{name}').get_config()
  config.train.dtype, config.train.remat = set_precision(precision), remat
  share = config.train.batch_size // SHARE
  if tiny:
    small = smoke.get_config()
    config.model.update(small.model, network=config.model.network)
    config.data.crop, share = small.data.crop, 2
  config.train.batch_size = share * jax.local_device_count()
  return config


# The rows.


def device(tiny: bool) -> Iterator[Figures]:
  """What is measured on."""
  first = jax.devices()[0]
  packages = ('jax', 'jaxlib', 'flax')
  versions = [f'{name} {importlib.metadata.version(name)}' for name in packages]
  yield {
    'platform': first.platform,
    'device': first.device_kind,
    'count': jax.local_device_count(),
    'memory': memory_of('bytes_limit'),
    'cores': os.cpu_count(),
    'versions': ', '.join([f'Python {platform.python_version()}', *versions]),
    'runtime': first.client.platform_version,
  }


def at_least(found: Figures, name: str, value: float) -> None:
  """Has a figure be at least `value`; NaN stays NaN, which Python's max would hide."""
  found[name] = float(np.maximum(found.get(name, 0.0), value))


def forward(precision: str, width: int, tiny: bool) -> Iterator[Figures]:
  """How far the networks' outputs are from the released ones, in deviations of the output."""
  dtype, found = set_precision(precision), {'share': 0.0}
  for kind, names in PASSES[2:] if tiny else PASSES:
    figures = reference.load(GOLDEN, width, reference.files_of(kind))
    cases, inputs = figures.pass_of(kind, names)
    module, variables = figures.network(kind)
    variables = variables | {'params': cast(variables['params'], dtype)}
    outputs = jax.tree.leaves(compiling.jit(module.apply)(variables, *inputs))
    found[kind] = 0.0
    for case, output in zip(cases, outputs, strict=True):
      difference, deviation = figures.compare(case, output.astype('float32'))
      tolerance = reference.TOLERANCE * max(1, deviation)
      at_least(found, kind, difference / deviation)
      at_least(found, 'share', difference / tolerance)
    yield found


def training(precision: str, width: int, tiny: bool) -> Iterator[Figures]:
  """How far losses and gradient norms of a step are from the released ones, relative."""
  dtype, found = set_precision(precision), {'share': 0.0}
  figures = reference.load(GOLDEN, width)
  for stage in ['deblur_train'] if tiny else reference_steps.COLUMNS:
    step, state, _, batch = reference_steps.build(figures, stage)
    on = jax.local_devices()[:1]
    pmapped = jax.pmap(functools.partial(step, dtype=dtype), axis_name=devices.AXIS, devices=on)
    state, batch = jax.tree.map(lambda x: x[None], (state, batch))
    _, metrics = pmapped.lower(state, batch).compile(compiling.options())(state, batch)
    ours = reference_steps.columns(stage, devices.unreplicate(metrics))
    about = figures.about[stage]
    for column, value, expected in zip(about['columns'], ours, about['rows'][0], strict=True):
      difference = abs(value / expected - 1)
      name = f'{stage.split("_")[0]}_{"norms" if "norm" in column else "losses"}'
      at_least(found, name, difference)
      at_least(found, 'share', difference / reference_steps.tolerance(column, 0))
    yield found


def step(config: str, precision: str, remat: bool, tiny: bool) -> Iterator[Figures]:
  """Steps per second of a config, and its memory beside XLA's analysis."""
  fields = settings(config, precision, remat, tiny)
  stage, state, batch = benchmark_memory.prepared(fields)
  start = time.perf_counter()
  compiled = stage.compile(state, {}, batch)
  found = {
    'pairs': fields.train.batch_size,
    'crop': fields.data.crop,
    'compile_seconds': time.perf_counter() - start,
  }
  yield found

  def seconds(count: int) -> float:
    nonlocal state
    start = time.perf_counter()
    for _ in range(count):
      state, metrics = compiled(state, {}, batch)
    jax.block_until_ready(metrics)
    return time.perf_counter() - start

  seconds(1)
  one = seconds(1)
  found['peak'] = memory_of('peak_bytes_in_use')
  count = max(1, min(100, round((0.1 if tiny else SECONDS) / one)))
  rate = count / statistics.median(seconds(count) for _ in range(ROUNDS))
  found |= {'steps_per_second': rate, 'pairs_per_second': rate * fields.train.batch_size}
  yield found
  yield found | {'planned': plan.analysed(compiled).memory}


def narrowed(
  fits: Callable[[int], bool], start: int, tries: int
) -> Iterator[tuple[int | None, int | None]]:
  """Looks for the largest count that fits, from a guess on: eighths up or down, then halving.

  Yields:
    (largest that was seen to fit, smallest that was seen not to), None: none yet.
  """
  fitting: int | None = None
  failing: int | None = None
  count = max(1, start)
  for _ in range(tries):
    if fits(count):
      fitting = count
    else:
      failing = count
    yield fitting, failing
    if failing is None:
      count += max(1, count // 8)
    elif fitting is None:
      count -= max(1, count // 8)
    else:
      count = (fitting + failing) // 2
    if count in (0, fitting, failing):
      return


def batch(config: str, precision: str, remat: bool, tiny: bool) -> Iterator[Figures]:
  """The largest batch of a device that takes a step, beside the one that --mode=plan predicts."""
  fields = settings(config, precision, remat, tiny)
  with contextlib.redirect_stdout(sys.stderr):
    line = plan.line(fields)
  limit = memory_of('bytes_limit') or line.at(4).memory
  found = {'limit': limit, 'planned': line.largest(limit)}
  yield found

  def take_step(share: int) -> None:
    fields.train.batch_size = share * jax.local_device_count()
    stage, state, pictures = benchmark_memory.prepared(fields)
    jax.block_until_ready(stage.compile(state, {}, pictures)(state, {}, pictures))

  def fits(share: int) -> bool:
    try:
      take_step(share)
    except Exception as error:
      if not is_out_of_memory(error):
        raise
      return False
    finally:
      gc.collect()
    return True

  for fitting, failing in narrowed(fits, found['planned'], 2 if tiny else TRIES):
    yield found | {'fits': fitting, 'fails': failing}


def pipeline(tiny: bool) -> Iterator[Figures]:
  """Pairs per second that the pipeline hands over, nothing decoded being kept."""
  import benchmark_input as bench

  files = bench.PHOTOGRAPHS['train'][: 2 if tiny else None]
  batches = 1 if tiny else 12
  with tempfile.TemporaryDirectory() as folder:
    root = pathlib.Path(folder) / 'GOPRO_Large'
    bench.make_pairs(root, files)
    sources = bench.open_sources(root, pathlib.Path(folder))
    names = {'full': 'folder, full frames', 'sub': bench.SUB}
    found = {'cores': os.cpu_count(), 'plain': bench.measure(bench.plain_batches(root), batches)[0]}
    for key, name in names.items():
      source, times = sources[name]
      pairs = bench.train_batches(source, crop=bench.CROP, batch_size=bench.BATCH, seed=0)
      found[key] = bench.measure(pairs, (1 if tiny else times) * batches)[0]
      yield found


def released(task: str, repo: str, tiny: bool) -> Iterator[Figures]:
  """compare_pytorch.py on this device: seconds and memory of the released code and ours.

  Raises:
    UserError: PyTorch sees no GPU, or what that script says.
  """
  import torch

  if not tiny and not torch.cuda.is_available():
    raise UserError('PyTorch sees no GPU: install one that is built for CUDA.')
  pairs = 1 if tiny or task == 'msdi_net' else 4
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, 'rows.json')
    flags = [f'--official_repo={repo}', f'--task={task}', f'--json={file}', f'--batch={pairs}']
    flags += ['--width=8', '--count=1'] if tiny else ['--device=cuda']
    script = str(pathlib.Path(__file__).with_name('compare_pytorch.py'))
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get('PYTHONPATH')]))
    done = subprocess.run(
      [sys.executable, script, *flags],
      env=os.environ | {'PYTHONPATH': search},
      stdout=sys.stderr,
      stderr=subprocess.PIPE,
      text=True,
      check=False,
    )
    if done.returncode:
      sys.stderr.write(done.stderr)
      raise UserError((done.stderr.strip().splitlines() or ['compare_pytorch.py failed.'])[-1])
    (row,) = json.loads(file.read_text())['rows']
  theirs, ours = (statistics.median(row[side]['seconds']) for side in ('pytorch', 'ours'))
  yield {
    'pairs': pairs,
    'released_seconds': theirs,
    'our_seconds': ours,
    'ratio': ours / theirs,
    'released_mib': row['pytorch']['peak_mib'],
    'our_mib': row['ours']['peak_mib'],
  }


ROWS = {f.__name__: f for f in (device, forward, training, step, batch, pipeline, released)}


def main() -> int:
  """Prints the figures; an error that is told ends in the one sentence that the row is to have."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('kind', choices=ROWS)
  parser.add_argument('fields', type=json.loads)
  parser.add_argument('--tiny', action='store_true')
  args = parser.parse_args()
  compilation_cache.enable()
  try:
    for figures in ROWS[args.kind](**args.fields, tiny=args.tiny):
      print(json.dumps(figures), flush=True)
  except UserError as error:
    return fail(str(error))
  except Exception as error:
    if not is_out_of_memory(error):
      raise
    print(first_line(error), file=sys.stderr)
    return STATUS_OUT_OF_MEMORY
  return 0


if __name__ == '__main__':
  sys.exit(main())
