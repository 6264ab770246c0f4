"""The released PyTorch code and this package side by side: same weights, pictures and device.

python experiments/compare_pytorch.py --official_repo=DIR [--checkpoint=FILE] [--pictures=DIR]
  [--device=cuda]

DIR is a clone of github.com/dasongli1/Learning_degradation; PyTorch comes with the extra `convert`.
For every network: how far our outputs are from the released ones, seconds per forward pass on one
256x256 picture, peak memory, and for msdi_net the PSNR of both; for a training step of either stage
how far the first step's losses are. Weights are random unless --checkpoint names a msdi_net file.

The clone's classes and training steps run as they are (released_side.py), ours in our_side.py. Each
side is a process of its own; the two take turns, call by call, and the seconds are medians.
"""

import json
import os
import pathlib
import statistics
import sys
import tempfile
from collections.abc import Sequence

import numpy as np
import side_by_side
from absl import app, flags
from peak_memory import peak_mib
from rich.console import Console
from rich.table import Table
from side_by_side import CHECKPOINT, NETWORKS, TASKS, WIDTH, read_arrays
from turns import take_turns

from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import to_float, to_uint8
from degrep_jax.metrics import psnr

SIDES = ('pytorch', 'ours')

_DEVICE = flags.DEFINE_enum('device', 'cpu', ['cpu', 'cuda'], 'Where both sides compute.')
_BATCH = flags.DEFINE_integer('batch', 1, 'Pairs of a training step.', 1)
_TASKS = flags.DEFINE_multi_enum('task', list(TASKS), list(TASKS), 'What to measure; repeatable.')
_MEASURE = flags.DEFINE_list('measure', None, 'Internal: side, task and folder of a process.')


# One process, one measurement.


def write_weights(task: str, folder: pathlib.Path) -> None:
  """`<folder>/<kind>.npz`, the released state dict of every network of a task."""
  import released_side

  repo = pathlib.Path(side_by_side.REPO.value)
  for kind in TASKS[task]:
    weights = released_side.make_weights(kind, repo, WIDTH.value, CHECKPOINT.value)
    np.savez(folder / f'{kind}.npz', **weights)


def pytorch(task: str, folder: pathlib.Path, inputs):
  """(outputs or losses, seconds of every call, None, peak MiB) of the released code."""
  import released_side
  import torch

  run = released_side.forward if task in NETWORKS else released_side.step
  repo, device = pathlib.Path(side_by_side.REPO.value), _DEVICE.value
  with released_side.importable(repo, WIDTH.value, device):
    measured = run(task, folder, inputs, device)
  of_gpu = device == 'cuda'
  return *measured, torch.cuda.max_memory_allocated() / 2**20 if of_gpu else peak_mib()


def ours(task: str, folder: pathlib.Path, inputs):
  """(outputs or losses, seconds of every call, seconds of compiling, peak MiB) of this package."""
  import jax
  import our_side

  measured = (our_side.forward if task in NETWORKS else our_side.step)(task, folder, inputs)
  if _DEVICE.value == 'cpu':
    return *measured, peak_mib()
  return *measured, jax.local_devices()[0].memory_stats()['peak_bytes_in_use'] / 2**20


def measure(side: str, task: str, folder: pathlib.Path) -> None:
  """One side of a task: writes `<folder>/<side>.npz` (outputs or losses) and `<side>.json`."""
  if side == 'weights':
    write_weights(task, folder)
    return
  saved = read_arrays(folder.parent, 'pictures')
  pictures = to_float(saved['blurry']), to_float(saved['sharp'])
  if task in NETWORKS:
    inputs = side_by_side.network_inputs(task, *pictures)
  else:  # as many pictures as a training step takes, from the first on and again
    inputs = tuple(np.resize(x, (_BATCH.value, *x.shape[1:])) for x in pictures)
  run = {'pytorch': pytorch, 'ours': ours}[side]
  arrays, seconds, compiling, peak = run(task, folder, inputs)
  np.savez(folder / f'{side}.npz', **arrays)
  row = {'seconds': seconds, 'compile_seconds': compiling, 'peak_mib': peak}
  (folder / f'{side}.json').write_text(json.dumps(row))


# The process that starts the others.


def in_turns(sides: Sequence[str], task: str, folder: pathlib.Path) -> None:
  """Runs `measure` of every side, each in a new process."""
  commands = [[*side_by_side.command(), f'--measure={side},{task},{folder}'] for side in sides]
  for side, status in zip(sides, take_turns(commands), strict=False):
    if status is not None and status < 0:
      raise UserError(f'{task} ({side}) was killed, probably for want of memory: lower --width.')
    if status:  # it has said why
      raise SystemExit(status)


def scores(outputs: dict[str, np.ndarray], sharp: np.ndarray) -> list[float]:
  """PSNR, dB, of msdi_net's second output for every picture; outputs as `measure` writes them."""
  restored = list(outputs.values())[1::2]
  return [psnr(to_uint8(r[0]), s) for r, s in zip(restored, sharp, strict=True)]


def compare(task: str, folder: pathlib.Path, pictures: dict[str, np.ndarray]) -> dict:
  """A task's figures, everything as JSON has it."""
  for sides in (['weights'], SIDES):
    say(f'{task}: {", ".join(sides)}')
    in_turns(sides, task, folder)
  theirs, ours = (read_arrays(folder, side) for side in SIDES)
  if {k: v.shape for k, v in theirs.items()} != {k: v.shape for k, v in ours.items()}:
    raise RuntimeError(f'{task}: the two sides have different outputs')
  reference, values = (np.concatenate([x[k].ravel() for k in theirs]) for x in (theirs, ours))
  difference = np.abs(values - reference)
  row = {'task': task, 'largest': float(difference.max()), 'mean': float(difference.mean())}
  row |= {side: json.loads((folder / f'{side}.json').read_text()) for side in SIDES}
  if task in NETWORKS:
    row['deviation'] = float(reference.std())
  if task == 'msdi_net':
    blurry, sharp = pictures['blurry'], pictures['sharp']
    row['psnr'] = {'blurry': [psnr(b, s) for b, s in zip(blurry, sharp, strict=True)]}
    row['psnr'] |= {'pytorch': scores(theirs, sharp), 'ours': scores(ours, sharp)}
  return row


def _cost(side: dict) -> tuple[str, str]:
  return f'{statistics.median(side["seconds"]):.3f}', f'{side["peak_mib"]:,.0f}'


def show(rows: list[dict]) -> None:
  """Prints the table and the PSNRs; a training step's differences are those of its losses."""
  batch = f'batch 1, of a training step {_BATCH.value}'
  table = Table(title=f'width {WIDTH.value}, 256x256, {batch}, {_DEVICE.value}')
  table.add_column('', no_wrap=True)
  headings = ['largest difference', 'mean', 'released: std', 's', 'MiB', 'ours: s', 'MiB']
  for heading in [*headings, 'compiling, s']:
    table.add_column(heading, justify='right')
  for row in rows:
    theirs, ours = row['pytorch'], row['ours']
    table.add_row(
      row['task'],
      *(f'{row[name]:.1e}' for name in ('largest', 'mean')),
      f'{row["deviation"]:.3f}' if 'deviation' in row else '-',
      *(text for side in (theirs, ours) for text in _cost(side)),
      f'{ours["compile_seconds"]:.1f}',
    )
  console = Console(width=120)
  console.print(table)
  for row in rows:
    if 'psnr' in row:
      means = {name: np.mean(values) for name, values in row['psnr'].items()}
      console.print(
        'msdi_net, PSNR against sharp, mean of {} pictures: released {pytorch:.4f} dB, '
        'ours {ours:.4f} dB, blurry {blurry:.4f} dB'.format(len(row['psnr']['ours']), **means)
      )


def main(argv: list[str]) -> int:
  """Prints the table and writes the JSON file; status 2 with one sentence where that fails."""
  try:
    if len(argv) > 1:
      raise UserError(f'{argv[1]!r} is not understood: flags start with --.')
    os.environ.setdefault('JAX_PLATFORMS', _DEVICE.value)
    if _MEASURE.value:
      side, task, folder = _MEASURE.value
      measure(side, task, pathlib.Path(folder))
      return 0
    side_by_side.require_inputs()
    rows, pictures = [], side_by_side.centre_crops()
    with tempfile.TemporaryDirectory() as root:
      np.savez(pathlib.Path(root, 'pictures.npz'), **pictures)
      for task in _TASKS.value:
        with tempfile.TemporaryDirectory(dir=root) as folder:
          rows.append(compare(task, pathlib.Path(folder), pictures))
    show(rows)
    about = {'width': WIDTH.value, 'checkpoint': CHECKPOINT.value, 'cpus': os.cpu_count()}
    about |= {'device': _DEVICE.value, 'batch': _BATCH.value}
    side_by_side.write_figures(about | {'pictures': len(pictures['sharp']), 'rows': rows})
  except UserError as error:
    print(f'compare_pytorch: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  app.run(main)
