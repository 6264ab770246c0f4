"""What this package does on a GPU or TPU, in one command.

python experiments/accelerator.py --minutes=8 [--official_repo=DIR] [--output=FILE]

Every row is a process of its own, the most valuable ones first: whether the released networks'
figures come out, what lower precision costs, steps per second and memory of the configs for GoPro,
the largest batch beside what --mode=plan says, the input pipeline, the released code side by side.
Memory that does not suffice, or an error, costs one row and a sentence. What is measured is in the
JSON file after each row, and beside it as Markdown at the end; given again, the command goes on
with what is missing: what failed, what the time did not suffice for.

A bare machine takes Python 3.11 or newer and NVIDIA's driver for CUDA 13 (580). In a clone:

  python3 -m venv .venv && .venv/bin/pip install '.[cuda]'
  .venv/bin/python experiments/accelerator.py --minutes=8

--official_repo, a clone of github.com/dasongli1/Learning_degradation, also takes a PyTorch that
sees the GPU. --tiny runs all of it on a CPU, in networks of width 4: it shows that everything runs.
Compiled programs are kept (see `degrep_jax.runtime.compilation_cache`), so that a second call has
more of its minutes for measuring. Of several devices the first NVIDIA GPU, or all TPUs, are used.
"""

import argparse
import contextlib
import itertools
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

sys.path.append(str(pathlib.Path(__file__).parents[1]))  # where the package is not installed

import accelerator_tables

from degrep_jax.common.console import duration, say
from degrep_jax.common.errors import UserError, fail
from degrep_jax.common.files import write_atomically, write_json

CONFIGS = ('gopro_joint', 'gopro_deblur', 'gopro_hinet')
# float32: all bits; TF32: JAX's default for float32 on newer NVIDIA GPUs; bfloat16: config.train's.
PRECISIONS = ('float32', 'TF32', 'bfloat16')
RELEASED = ('joint_step', 'deblur_step', 'msdi_net')  # tasks of compare_pytorch.py

# What became of a task. The first two are answers, the others are tried again.
MEASURED, OUT_OF_MEMORY, FAILED, CUT = 'measured', 'out of memory', 'failed', 'cut'
ANSWERS = (MEASURED, OUT_OF_MEMORY)
# Of a process that has said that its memory does not suffice.
STATUS_OUT_OF_MEMORY = 3


class Task(NamedTuple):
  """A row: a function of accelerator_tasks.py and its arguments.

  Attributes:
    kind: the function.
    fields: its keyword arguments.
  """

  kind: str
  fields: dict[str, Any]

  @property
  def name(self) -> str:
    """Of its row, for example 'step gopro_joint TF32 remat=True'."""
    fields = self.fields.items()
    texts = (f'{k}={v}' if isinstance(v, int) else str(v) for k, v in fields if k != 'repo')
    return ' '.join([self.kind, *texts])


DEVICE = Task('device', {})


def list_tasks(tiny: bool, official_repo: str | None) -> list[Task]:
  """All but `DEVICE`, in order of value; tiny: few of them, of every kind."""
  width = 8 if tiny else 64
  forward = [Task('forward', {'precision': p, 'width': width}) for p in PRECISIONS]
  training = [Task('training', {'precision': p, 'width': width}) for p in PRECISIONS]
  # What people train with comes first.
  settings = itertools.product((False, True), ('TF32', 'bfloat16', 'float32'), CONFIGS)
  steps = [Task('step', {'config': c, 'precision': p, 'remat': r}) for r, p, c in settings]
  batches = [
    Task('batch', {'config': config, 'precision': precision, 'remat': remat})
    for config, (precision, remat) in itertools.product(
      CONFIGS, (('TF32', False), ('bfloat16', True))
    )
  ]
  source = [Task('pipeline', {})]
  released = [Task('released', {'task': task, 'repo': official_repo}) for task in RELEASED]
  released = released if official_repo else []
  if tiny:  # every fourth step has each config, precision and rematerialisation in it
    return forward[::2] + training[:1] + steps[::4] + batches[4:5] + source + released[-1:]
  return [
    *(forward[0], training[0]),
    *steps[:6],
    *released[:2],
    *batches[:2],
    *source,
    *forward[1:],
    *steps[6:],
    *training[1:],
    *batches[2:],
    *released[2:],
  ]


# A row in a process of its own.


def run_apart(command: list[str], seconds: float) -> tuple[int | None, str, str]:
  """(exit status, stdout, stderr) of a command; None: the time was over, and it was ended with
  all that it had started."""
  with tempfile.TemporaryFile('w+') as out, tempfile.TemporaryFile('w+') as errors:
    process = subprocess.Popen(command, stdout=out, stderr=errors, start_new_session=True)
    status = None
    try:
      status = process.wait(seconds)
    except subprocess.TimeoutExpired:
      pass
    finally:  # of an interrupted command too
      if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
          os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    out.seek(0)
    errors.seek(0)
    return status, out.read(), errors.read()


def row_of(task: Task, status: int | None, printed: str, errors: str) -> dict[str, Any]:
  """The row of a task whose process has ended; its figures are the last line of JSON, however it
  ended."""
  figures = [line for line in printed.splitlines() if line.startswith('{')]
  row = {'task': task.name, 'kind': task.kind, 'status': MEASURED, 'note': ''}
  row |= {'figures': task.fields | (json.loads(figures[-1]) if figures else {})}
  said = [line.strip() for line in errors.splitlines() if line.strip()] or ['it said nothing']
  last = said[-1].removeprefix('degrep_jax: ').rstrip('.')
  if status is None:
    row |= {'status': CUT, 'note': 'the time did not suffice'}
  elif status == STATUS_OUT_OF_MEMORY:
    row |= {'status': OUT_OF_MEMORY, 'note': last}
  elif status < 0:
    signal_of = signal.Signals(-status).name
    row |= {'status': FAILED, 'note': f'ended by {signal_of}, perhaps for want of memory: {last}'}
  elif status or not figures:
    row |= {'status': FAILED, 'note': last, 'errors': errors[-4000:]}
  return row


def measure(task: Task, seconds: float, tiny: bool) -> dict[str, Any]:
  """The row of a task, which has so many seconds."""
  script = pathlib.Path(__file__).with_name('accelerator_tasks.py')
  command = [sys.executable, str(script), task.kind, json.dumps(task.fields)]
  start = time.monotonic()
  row = row_of(task, *run_apart([*command, '--tiny'] if tiny else command, seconds))
  return row | {'took': time.monotonic() - start}


# The rows of a file.


def read_rows(output: pathlib.Path, tiny: bool) -> dict[str, dict[str, Any]]:
  """{name of a task: its row} of the file of an earlier call, if there was one.

  Raises:
    UserError: it is no such file, or one of the other size.
  """
  if not output.exists():
    return {}
  try:
    found = json.loads(output.read_text())
    rows, was_tiny = {row['task']: row for row in found['rows']}, found['tiny']
    for row in rows.values():
      for key, value in row['figures'].items():
        if value in ('inf', '-inf', 'nan'):  # as `write_json` writes them
          row['figures'][key] = float(value)
  except (ValueError, KeyError, TypeError, AttributeError):
    raise UserError(f'{output} is not from this command: name another --output.') from None
  if was_tiny != tiny:
    other = 'with' if was_tiny else 'without'
    raise UserError(f'{output} was begun {other} --tiny: name another --output.')
  return rows


def write_rows(output: pathlib.Path, rows: dict[str, dict[str, Any]], tiny: bool) -> None:
  """Writes what `read_rows` reads."""
  write_json(output, {'tiny': tiny, 'rows': list(rows.values())})


def pending(tasks: Iterable[Task], rows: dict[str, dict[str, Any]]) -> list[Task]:
  """What is to be measured: what was never tried first, so that no row keeps others waiting for
  ever, then what was cut or failed."""
  open_ = [task for task in tasks if rows.get(task.name, {}).get('status') not in ANSWERS]
  return sorted(open_, key=lambda task: task.name in rows)


def require_same_device(row: dict[str, Any], before: dict[str, Any] | None, tiny: bool) -> None:
  """Raises UserError where the device's row says that nothing can be measured here, or not into
  this file."""
  if row['status'] != MEASURED:
    raise UserError(f'JAX does not come up: {row["note"]}.')
  figures = row['figures']
  if figures['platform'] == 'cpu' and not tiny:
    raise UserError(
      "JAX sees no accelerator, only a CPU: pip install '.[cuda]', or run with --tiny."
    )
  if before and before['status'] == MEASURED and before['figures']['device'] != figures['device']:
    raise UserError(
      f'the file was begun on {before["figures"]["device"]}, this is {figures["device"]}: name '
      'another --output.'
    )


def measure_all(
  tasks: list[Task],
  output: pathlib.Path,
  *,
  seconds: float,
  tiny: bool,
  measure: Callable[[Task, float, bool], dict[str, Any]] = measure,
  clock: Callable[[], float] = time.monotonic,
) -> dict[str, dict[str, Any]]:
  """Measures what the file lacks, for so many seconds; it is written after each row.

  Returns:
    {name of a task: its row}, those of earlier calls included.
  """
  end = clock() + seconds
  rows = read_rows(output, tiny)
  device = measure(DEVICE, seconds, tiny)
  require_same_device(device, rows.get(DEVICE.name), tiny)
  rows[DEVICE.name] = device
  write_rows(output, rows, tiny)
  for task in pending(tasks, rows):
    left = end - clock()
    if left <= 0:
      break
    say(f'{task.name} ({duration(left)} left)')
    row = measure(task, left, tiny)
    if row['note']:
      say(f'  {row["status"]}: {row["note"]}')
    rows[task.name] = row
    write_rows(output, rows, tiny)
  return rows


def sentences(rows: dict[str, dict[str, Any]], tasks: list[Task]) -> list[str]:
  """What is not in the tables: the machine first, what went wrong, what is left."""
  device, left = rows[DEVICE.name]['figures'], len(pending(tasks, rows))
  said = [f'{device["count"]} x {device["device"]}; {device["versions"]}.']
  said += [
    f'{row["task"]}: {row["status"]} ({row["note"]}).' for row in rows.values() if row['note']
  ]
  if left:
    said.append(f'{left} of {len(tasks)} rows are missing: the same command goes on with them.')
  return said


def main(arguments: list[str] | None = None) -> int:
  """Status 1: a row failed; 2, with a sentence: nothing could be measured."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--minutes', type=float, default=8, help='after which it ends')
  parser.add_argument('--official_repo', help='clone of the released code')
  parser.add_argument('--output', type=pathlib.Path, help='default runs/accelerator[_tiny].json')
  parser.add_argument('--tiny', action='store_true', help='small networks, few rows, any device')
  args = parser.parse_args(arguments)
  output = args.output or pathlib.Path('runs', f'accelerator{"_tiny" if args.tiny else ""}.json')
  # One GPU, whose figures these are.
  os.environ['CUDA_VISIBLE_DEVICES'] = os.environ.get('CUDA_VISIBLE_DEVICES', '0').split(',')[0]
  tasks = list_tasks(args.tiny, args.official_repo)
  # The row under way must not outlive this process: it holds the GPU's memory.
  signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
  try:
    rows = measure_all(tasks, output, seconds=60 * args.minutes, tiny=args.tiny)
    said = sentences(rows, tasks)
    text = accelerator_tables.markdown(rows.values(), said)
    write_atomically(output.with_suffix('.md'), text.encode())
  except UserError as error:
    return fail(str(error))
  except KeyboardInterrupt:
    return 128 + signal.SIGINT
  accelerator_tables.show(rows.values(), said)
  return int(any(row['status'] == FAILED for row in rows.values()))


if __name__ == '__main__':
  sys.exit(main())
