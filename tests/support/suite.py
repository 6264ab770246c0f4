"""Runs of the suite one after another, each in a pytest of its own, and a table of what came of
them."""

import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from typing import NamedTuple
from xml.etree import ElementTree

import child
from rich.console import Console
from rich.table import Table

ROOT = pathlib.Path(__file__).parents[2]


class Form(NamedTuple):
  """A way to run the suite, or a part of it.

  Attributes:
    name: in the table.
    lacks: what this machine has not, so that the form is left out; '' nothing.
    environment: of pytest.
    prefix: of its command.
    workers: how many run tests; 0 pytest itself.
    arguments: of pytest.
  """

  name: str
  lacks: str
  environment: dict[str, str] = child.environment()
  prefix: tuple[str, ...] = ()
  workers: int = 2
  arguments: tuple[str, ...] = ()


class Result(NamedTuple):
  """What came of a form; errors count as failures, `failed` None: pytest did not end."""

  passed: int
  failed: int | None
  seconds: float


def run(form: Form, arguments: list[str]) -> Result:
  """What comes of pytest with `arguments` in a form."""
  with tempfile.TemporaryDirectory() as folder:
    report = pathlib.Path(folder) / 'report.xml'
    command = [*form.prefix, sys.executable, '-m', 'pytest', '-q', f'--junitxml={report}']
    command += ['-o', 'junit_family=xunit1']  # the parity table's properties are not of the newer
    if form.workers:
      command += ['-n', str(form.workers), '--dist', 'loadfile', '--no-loadscope-reorder']
    start = time.monotonic()
    subprocess.run([*command, *form.arguments, *arguments], cwd=ROOT, env=form.environment)
    seconds = time.monotonic() - start
    if not report.exists():
      return Result(0, None, seconds)
    suite = next(ElementTree.parse(report).getroot().iter('testsuite'))
  tests, *others = (int(suite.get(of, 0)) for of in ('tests', 'failures', 'errors', 'skipped'))
  return Result(tests - sum(others), sum(others[:2]), seconds)


def run_all(forms: Iterable[Form], arguments: list[str]) -> int:
  """Runs the forms that there are here, a red one or not, and prints the table; the exit status."""
  console, results = Console(highlight=False), {}
  for form in forms:
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
