"""The ordinary suite as other processors would run it: `make test-portable`.

One form after another, each in a pytest of its own, then a table; the exit status is 1 where a form
was red. Libraries choose among a processor's instructions when they compile (XLA) or start (NumPy,
oneDNN, PyTorch, OpenCV). Told to take fewer, they add in another order, as on a processor that has
no others.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple
from xml.etree import ElementTree

import child
import numpy as np
from rich.console import Console
from rich.table import Table

ROOT = pathlib.Path(__file__).parents[2]
CPUINFO = pathlib.Path('/proc/cpuinfo')


class Form(NamedTuple):
  """A way to run the suite.

  Attributes:
    name: in the table.
    lacks: what this machine has not, so that the form is left out; '' nothing.
    environment: of pytest.
    prefix: of its command.
    workers: how many run tests.
  """

  name: str
  lacks: str
  environment: dict[str, str]
  prefix: tuple[str, ...] = ()
  workers: int = 2


class Result(NamedTuple):
  """What came of a form; errors count as failures, `failed` None: pytest did not end."""

  passed: int
  failed: int | None
  seconds: float


def _processor() -> set[str]:
  """The instruction sets of an x86 processor by their names in /proc/cpuinfo."""
  text = CPUINFO.read_text() if CPUINFO.exists() else ''
  found = re.search(r'^flags\s*:(.*)', text, re.MULTILINE)
  return set(found[1].split()) if found else set()


def forms() -> list[Form]:
  """All forms, those that this machine lacks something for among them."""
  has, chosen = _processor(), np.show_config(mode='dicts')['SIMD Extensions'].get('found', [])

  def at_most(name: str, **others: str) -> Form:
    lacks = '' if (flag := {'AVX512': 'avx512f'}.get(name, name.lower())) in has else flag
    return Form(name, lacks, child.environment(f'--xla_cpu_max_isa={name}', **others))

  core = str(min(os.sched_getaffinity(0)))
  return [
    at_most(
      'SSE4_2',
      ONEDNN_MAX_CPU_ISA='SSE41',
      ATEN_CPU_CAPABILITY='default',
      OPENCV_CPU_DISABLE='AVX512-SKX,AVX2,FP16,AVX',
    ),
    at_most(
      'AVX2',
      ONEDNN_MAX_CPU_ISA='AVX2',
      ATEN_CPU_CAPABILITY='avx2',
      OPENCV_CPU_DISABLE='AVX512-SKX',
    ),
    at_most('AVX512'),
    Form(
      'NumPy at its least',
      '' if chosen else 'a choice of instructions in NumPy',
      child.environment(NPY_DISABLE_CPU_FEATURES=' '.join(chosen)),
    ),
    Form(
      'one core',
      '' if shutil.which('taskset') else 'taskset',
      child.environment(),
      ('taskset', '--cpu-list', core),
      workers=1,
    ),
  ]


def run(form: Form, arguments: list[str]) -> Result:
  """What comes of pytest with `arguments` in a form."""
  with tempfile.TemporaryDirectory() as folder:
    report = pathlib.Path(folder) / 'report.xml'
    command = [*form.prefix, sys.executable, '-m', 'pytest', '-q', f'--junitxml={report}']
    command += ['-n', str(form.workers), '--dist', 'loadfile', *arguments]
    start = time.monotonic()
    subprocess.run(command, cwd=ROOT, env=form.environment)
    seconds = time.monotonic() - start
    if not report.exists():
      return Result(0, None, seconds)
    suite = next(ElementTree.parse(report).getroot().iter('testsuite'))
  tests, *others = (int(suite.get(of, 0)) for of in ('tests', 'failures', 'errors', 'skipped'))
  return Result(tests - sum(others), sum(others[:2]), seconds)


def main(arguments: list[str]) -> int:
  """Runs the forms that there are here, and prints the table; the exit status."""
  console, results = Console(highlight=False), {}
  for form in forms():
    if form.lacks:
      console.print(f'{form.name}: left out, this machine lacks {form.lacks}')
      continue
    console.print(f'{form.name}:')
    results[form.name] = run(form, arguments)
  table = Table('form', 'passed', 'failed', 'seconds')
  for name, (passed, failed, seconds) in results.items():
    told = 'did not end' if failed is None else str(failed)
    table.add_row(name, str(passed), told, f'{seconds:.0f}')
  console.print(table)
  return 0 if all(passed and failed == 0 for passed, failed, _ in results.values()) else 1


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
