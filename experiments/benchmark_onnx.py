"""The released MSDI-Net in PyTorch, ours in JAX and ours in ONNX Runtime: seconds of one tile.

python experiments/benchmark_onnx.py --official_repo=DIR [--width=64] [--rounds=7]

DIR is a clone of github.com/dasongli1/Learning_degradation; PyTorch and ONNX come with the extras
`convert` and `onnx`. The same weights and the same 256x256 picture everywhere, batch 1, all cores.
Every side is a process of its own; they take turns, so that what else the machine does falls on all
of them. Besides the median seconds the table has the time from reading the weights to the first
result, peak memory, and how far the outputs are from the released ones.
"""

import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import side_by_side
from absl import app, flags
from peak_memory import peak_mib
from rich.console import Console
from rich.table import Table
from side_by_side import CHECKPOINT, REPO, WIDTH

from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import to_float

SIDES = {'pytorch': 'released, PyTorch', 'jax': 'ours, JAX', 'onnx': 'ours, ONNX Runtime'}
PAUSE = 0.1  # s between two turns: threads that spin while they wait have gone to sleep

_ROUNDS = flags.DEFINE_integer('rounds', 7, 'Timed passes of every side.', 1)
_FOLDER = flags.DEFINE_string('folder', None, 'Keeps weights and picture here for the next time.')
_SERVE = flags.DEFINE_list('serve', None, 'Internal: side and folder of a process.')


def serve(side: str, folder: pathlib.Path) -> None:
  """A process of one side: says when the first pass is done, then makes one for every line that
  comes in and answers with its seconds; writes `<side>.npy` and `<side>.json`."""
  start = time.perf_counter()
  picture = np.load(folder / 'picture.npy')
  context = contextlib.nullcontext()
  if side == 'pytorch':
    import released_side

    context = released_side.importable(pathlib.Path(REPO.value), WIDTH.value)
  with context:
    run = pytorch(folder) if side == 'pytorch' else ours(folder, side)
    output = run(picture)
    row = {'first': time.perf_counter() - start}
    print('ready', flush=True)
    for _ in sys.stdin:
      start = time.perf_counter()
      run(picture)
      print(time.perf_counter() - start, flush=True)
  row['peak_mib'] = peak_mib()
  np.save(folder / f'{side}.npy', output)
  (folder / f'{side}.json').write_text(json.dumps(row))


def pytorch(folder: pathlib.Path):
  """A pass of the released network; inside `released_side.importable`."""
  import released_side
  import torch

  network = released_side.network('msdi_net', folder).eval()

  def run(picture):
    with torch.no_grad():
      result = network(torch.from_numpy(picture.transpose(2, 0, 1)[None].copy()))[1]
    return result[0].permute(1, 2, 0).numpy()

  return run


def ours(folder: pathlib.Path, engine: str):
  """A pass of our network as photographs are restored."""
  import our_side

  from degrep_jax import Restorer

  module, variables = our_side.network('msdi_net', folder)
  restorer = Restorer(module, variables, mode='tiles', batch=1, engine=engine)
  return lambda picture: restorer.apply(picture, outputs=('deblurred',))['deblurred']


def write_inputs(folder: pathlib.Path) -> None:
  """The weights, the picture, and the ONNX file for its size; a process of its own, since nothing
  that it reads shall count for the others."""
  import our_side
  import released_side

  from degrep_jax import Restorer
  from degrep_jax.inference import export

  repo = pathlib.Path(REPO.value)
  weights = released_side.make_weights('msdi_net', repo, WIDTH.value, CHECKPOINT.value)
  np.savez(folder / 'msdi_net.npz', **weights)
  np.save(folder / 'picture.npy', to_float(side_by_side.centre_crops()['blurry'][0]))
  export.to_onnx(Restorer(*our_side.network('msdi_net', folder)), folder / 'msdi_net.onnx')


def started(side: str, folder: pathlib.Path) -> subprocess.Popen:
  """A process of this file."""
  pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE, 'text': True}
  return subprocess.Popen([*side_by_side.command(), f'--serve={side},{folder}'], **pipes)


def answer(process: subprocess.Popen) -> str:
  """The next line of a process."""
  line = process.stdout.readline()
  if not line:  # it has said why
    raise SystemExit(process.wait() or 1)
  return line


def measured(folder: pathlib.Path) -> dict[str, dict]:
  """{side: figures}, the sides taking turns."""
  processes = {}
  for side in SIDES:  # one after another: compiling takes all cores
    processes[side] = started(side, folder)
    answer(processes[side])
  seconds: dict[str, list[float]] = {side: [] for side in SIDES}
  for _ in range(_ROUNDS.value):
    for side, process in processes.items():
      time.sleep(PAUSE)
      process.stdin.write('\n')
      process.stdin.flush()
      seconds[side].append(float(answer(process)))
  rows = {}
  for side, process in processes.items():
    process.stdin.close()
    if process.wait():
      raise SystemExit(process.returncode)
    rows[side] = json.loads((folder / f'{side}.json').read_text()) | {'seconds': seconds[side]}
    difference = np.load(folder / f'{side}.npy') - np.load(folder / 'pytorch.npy')
    rows[side]['largest'] = float(np.abs(difference).max())
  return rows


def show(rows: dict[str, dict]) -> None:
  """Prints the table."""
  table = Table(title=f'MSDI-Net of width {WIDTH.value}, 256x256, batch 1')
  table.add_column('')
  for heading in ('s', 'of PyTorch', 'first result, s', 'peak MiB', 'largest difference'):
    table.add_column(heading, justify='right')
  medians = {side: statistics.median(row['seconds']) for side, row in rows.items()}
  for side, row in rows.items():
    table.add_row(
      SIDES[side],
      f'{medians[side]:.3f}',
      f'{medians[side] / medians["pytorch"]:.2f}',
      f'{row["first"]:.1f}',
      f'{row["peak_mib"]:,.0f}',
      f'{row["largest"]:.1e}',
    )
  Console(width=120).print(table)


def main(argv: list[str]) -> int:
  """Prints the table and writes the JSON file; status 2 with one sentence where that fails."""
  try:
    if len(argv) > 1:
      raise UserError(f'{argv[1]!r} is not understood: flags start with --.')
    if _SERVE.value:
      side, folder = _SERVE.value
      write_inputs(pathlib.Path(folder)) if side == 'inputs' else serve(side, pathlib.Path(folder))
      return 0
    side_by_side.require_inputs()
    with tempfile.TemporaryDirectory() as root:
      folder = pathlib.Path(_FOLDER.value or root)
      folder.mkdir(parents=True, exist_ok=True)
      if not (folder / 'msdi_net.onnx').exists() and (status := started('inputs', folder).wait()):
        raise SystemExit(status)
      sizes = {path.name: path.stat().st_size for path in folder.glob('msdi_net.*')}
      rows = measured(folder)
    show(rows)
    for name, size in sizes.items():
      say(f'{name}: {size / 2**20:,.0f} MiB')
    about = {'width': WIDTH.value, 'cpus': os.cpu_count(), 'bytes': sizes, 'sides': rows}
    side_by_side.write_figures(about)
  except UserError as error:
    print(f'benchmark_onnx: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  app.run(main)
