"""The one command that measures a GPU: its budget, what it goes on with, its tables."""

import json
import math
import subprocess
import sys

import accelerator
import accelerator_tables
import accelerator_tasks
import child
import pytest
import quick
from accelerator import CUT, FAILED, MEASURED, OUT_OF_MEMORY, Task
from command import ROOT

from degrep_jax.common.errors import UserError

TASKS = [Task('step', {'config': name, 'remat': False}) for name in 'abcd']
NAMES = [f'step {name} remat=False' for name in 'abcd']


class Machine:
  """Stands for the processes: every row takes a minute of its clock.

  Attributes:
    asked: (name of a task, seconds that it was given), the device's left out.
  """

  def __init__(self, kind='H100', platform='gpu', **outcomes):
    self.now, self.asked = 0.0, []
    self._kind, self._platform, self._outcomes = kind, platform, outcomes

  def clock(self):
    return self.now

  def measure(self, task, seconds, tiny):
    if task == accelerator.DEVICE:
      figures = {'device': self._kind, 'platform': self._platform, 'count': 1, 'versions': 'jax 0'}
      return {
        'task': 'device',
        'kind': 'device',
        'status': MEASURED,
        'note': '',
        'figures': figures,
      }
    self.asked.append((task.name, seconds))
    self.now += 60
    status = self._outcomes.get(task.fields['config'], MEASURED)
    if isinstance(status, BaseException):
      raise status
    row = {'task': task.name, 'kind': task.kind, 'status': status}
    return row | {'note': '' if status == MEASURED else 'because', 'figures': task.fields}


def _measured(machine, output, minutes=100.0, tiny=False):
  """(rows, names of the tasks that were asked for) of a call."""
  rows = accelerator.measure_all(
    TASKS, output, seconds=60 * minutes, tiny=tiny, measure=machine.measure, clock=machine.clock
  )
  return rows, [name for name, _ in machine.asked]


@pytest.fixture
def output(tmp_path):
  return tmp_path / 'figures.json'


# --- what is measured ----------------------------------------------------------------------------


def test_every_setting_has_a_row_and_no_two_are_one():
  tasks = accelerator.list_tasks(False, 'DIR')
  assert len({task.name for task in tasks}) == len(tasks)
  assert sum(task.kind == 'step' for task in tasks) == 3 * 3 * 2
  assert {task.kind for task in tasks} == set(accelerator_tables.COLUMNS)
  # Whether the figures are right comes before how soon they are there.
  assert [task.name for task in tasks[:3]] == [
    'forward float32 width=64',
    'training float32 width=64',
    'step gopro_joint TF32 remat=False',
  ]
  assert all(task.kind != 'released' for task in accelerator.list_tasks(False, None))


def test_the_small_list_has_every_kind_and_setting():
  tasks = accelerator.list_tasks(True, 'DIR')
  assert {task.kind for task in tasks} == set(accelerator_tables.COLUMNS)
  steps = [tuple(task.fields.values()) for task in tasks if task.kind == 'step']
  configs, precisions, remats = map(set, zip(*steps, strict=True))
  assert configs == set(accelerator.CONFIGS) and precisions == set(accelerator.PRECISIONS)
  assert remats == {False, True}


# --- the budget, and going on --------------------------------------------------------------------


def test_it_ends_when_its_minutes_are_over_and_goes_on_when_it_is_given_again(output):
  machine = Machine()
  rows, _ = _measured(machine, output, minutes=1.5)
  # What begins within the time gets what is left of it.
  assert machine.asked == [(NAMES[0], 90), (NAMES[1], 30)]
  assert list(rows) == ['device', *NAMES[:2]]
  rows, asked = _measured(Machine(), output)
  assert asked == NAMES[2:]
  assert list(rows) == ['device', *NAMES]
  assert _measured(Machine(), output)[1] == []


def test_rows_are_kept_whatever_ends_the_command(output):
  with pytest.raises(KeyboardInterrupt):
    _measured(Machine(c=KeyboardInterrupt()), output)
  assert [row['task'] for row in json.loads(output.read_text())['rows']] == ['device', *NAMES[:2]]


def test_what_is_not_finite_stays_so_in_figures_and_in_their_file(output):
  found = {'share': 0.5}
  for value in (0.2, float('nan'), 0.9):
    accelerator_tasks.at_least(found, 'share', value)
    accelerator_tasks.at_least(found, 'joint', 2 * value)
  assert all(math.isnan(value) for value in found.values())
  row = {'task': 'a', 'kind': 'forward', 'status': MEASURED, 'note': ''}
  accelerator.write_rows(output, {'a': row | {'figures': found | {'msdi_net': math.inf}}}, False)
  read = accelerator.read_rows(output, False)
  assert read['a']['figures']['msdi_net'] == math.inf and math.isnan(read['a']['figures']['share'])
  table = accelerator_tables.markdown(read.values(), ['a device'])
  assert 'inf' in table and 'nan' in table


def test_a_row_that_fails_costs_itself_alone(output):
  rows, asked = _measured(Machine(a=CUT, b=OUT_OF_MEMORY, c=FAILED), output)
  assert asked == NAMES
  assert [row['status'] for row in rows.values()] == [
    MEASURED, CUT, OUT_OF_MEMORY, FAILED, MEASURED,
  ]  # fmt: skip
  # That memory does not suffice is an answer; the others are tried again.
  assert _measured(Machine(), output)[1] == [NAMES[0], NAMES[2]]


def test_what_was_never_tried_comes_before_what_was_cut(output):
  _measured(Machine(a=CUT), output, minutes=1)
  assert _measured(Machine(), output)[1] == [*NAMES[1:], NAMES[0]]


def test_a_cpu_or_another_machine_is_refused(output):
  with pytest.raises(UserError, match=r'only a CPU.*--tiny'):
    _measured(Machine(platform='cpu'), output)
  assert not output.exists()
  _measured(Machine(), output, minutes=1)
  with pytest.raises(UserError, match='begun on H100, this is A100'):
    _measured(Machine('A100'), output)
  with pytest.raises(UserError, match='begun without --tiny'):
    _measured(Machine(), output, tiny=True)
  output.write_text('[]')
  with pytest.raises(UserError, match='not from this command'):
    _measured(Machine(), output)


# --- a row in a process of its own ---------------------------------------------------------------


@pytest.mark.parametrize(
  ('status', 'printed', 'errors', 'expected', 'note'),
  [
    (0, 'hello\n{"x": 1}\n{"x": 2}\n', 'a warning\n', MEASURED, ''),
    (None, '{"x": 1}\n{"x": 2}\n', '', CUT, 'the time did not suffice'),
    (3, '{"x": 2}\n', 'at length\nEXHAUSTED: 9 GiB\n', OUT_OF_MEMORY, 'EXHAUSTED: 9 GiB'),
    (2, '{"x": 2}\n', 'degrep_jax: mend it.\n\n', FAILED, 'mend it'),
    (1, '{"x": 2}\n', 'Traceback\nValueError: no\n', FAILED, 'ValueError: no'),
    (-9, '{"x": 2}\n', '', FAILED, 'ended by SIGKILL, perhaps for want of memory: it said nothing'),
  ],
)  # fmt: skip
def test_how_a_process_ended_is_told(status, printed, errors, expected, note):
  row = accelerator.row_of(TASKS[0], status, printed, errors)
  assert (row['status'], row['note']) == (expected, note)
  # What it had measured until then is kept.
  assert row['figures'] == {'config': 'a', 'remat': False, 'x': 2}


def test_a_process_that_says_nothing_has_failed():
  assert accelerator.row_of(TASKS[0], 0, '', '')['status'] == FAILED


def test_at_the_end_of_the_time_all_that_was_started_is_ended():
  script = 'sleep 600 & echo $!; echo said >&2; wait'
  status, printed, errors = accelerator.run_apart(['sh', '-c', script], 0.5)
  assert status is None and errors == 'said\n'
  # It may wait to be reaped, but runs no more.
  state = subprocess.run(
    ['ps', '-o', 'stat=', '-p', printed.strip()], capture_output=True, text=True, check=False
  )
  assert state.stdout.strip()[:1] in ('', 'Z')
  assert accelerator.run_apart(['sh', '-c', 'echo {}; exit 3'], 60) == (3, '{}\n', '')


# --- the tables ----------------------------------------------------------------------------------


def test_tables_say_what_was_measured_and_what_was_not(capsys):
  step = {'config': 'gopro_joint', 'precision': 'TF32', 'remat': False, 'pairs': 4, 'crop': 256}
  found = {'steps_per_second': 2.345, 'pairs_per_second': 9.38, 'peak': 3 * 2**30}
  rows = {
    'device': Machine().measure(accelerator.DEVICE, 1, False),
    'one': {'task': 'one', 'kind': 'step', 'note': '', 'figures': step | found},
    'two': {'task': 'two', 'kind': 'step', 'note': 'it is large', 'figures': step},
  }
  for row in rows.values():
    row['status'] = OUT_OF_MEMORY if row['note'] else MEASURED
  text = accelerator_tables.markdown(rows.values(), accelerator.sentences(rows, TASKS))
  assert text == (
    '1 x H100; jax 0.\n\n'
    'Training steps:\n\n'
    '| config | precision | remat | pairs | px | steps/s | pairs/s | peak, GiB | planned | '
    'compiling, s |\n'
    '| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n'
    '| gopro_joint | TF32 | False | 4 | 256 | 2.35 | 9.38 | 3.00 | - | - |\n'
    '| gopro_joint | TF32 | False | 4 | 256 | - | - | - | - | - |\n\n'
    'two: out of memory (it is large).\n\n'
    '4 of 4 rows are missing: the same command goes on with them.\n'
  )
  accelerator_tables.show(rows.values(), accelerator.sentences(rows, TASKS))
  printed = capsys.readouterr().out
  for part in (
    '1 x H100',
    'training steps',
    'gopro_joint',
    '9.38',
    'compiling, s',
    'two: out of memory',
    '4 of 4 rows',
  ):
    assert part in printed


# --- the largest batch ---------------------------------------------------------------------------


@pytest.mark.parametrize('largest', [1, 5, 30, 31, 33, 47])
def test_the_largest_batch_is_looked_for_from_the_planned_one_on(largest):
  from accelerator_tasks import narrowed

  tried = []

  def fits(count):
    tried.append(count)
    return count <= largest

  *_, (fitting, failing) = narrowed(fits, 30, 100)
  assert (fitting, failing) == (largest, largest + 1)
  assert tried[0] == 30 and len(set(tried)) == len(tried)
  assert len(list(narrowed(fits, 30, 3))) <= 3


def test_no_batch_fits_where_not_even_one_pair_does():
  from accelerator_tasks import narrowed

  *_, found = narrowed(lambda count: False, 0, 10)
  assert found == (None, 1)


# --- all of it -----------------------------------------------------------------------------------


@pytest.mark.slow
def test_everything_runs_small_on_a_cpu(tmp_path):
  output = tmp_path / 'figures.json'
  command = [sys.executable, ROOT / 'experiments' / 'accelerator.py', '--tiny', '--minutes=30']
  done = subprocess.run(
    [*command, f'--output={output}'],
    env=child.environment(quick.XLA_FLAGS),
    capture_output=True,
    text=True,
    timeout=2000,
  )
  assert done.returncode == 0, done.stderr[-4000:] + done.stdout
  rows = json.loads(output.read_text())['rows']
  assert {row['status'] for row in rows} == {MEASURED}
  assert len(rows) == 1 + len(accelerator.list_tasks(True, None))
  text = output.with_suffix('.md').read_text()
  assert 'Training steps' in text and text.strip() and 'missing' not in text
  by_kind = {row['kind']: row['figures'] for row in rows}
  assert by_kind['training']['share'] < 1
  forward = [row['figures'] for row in rows if row['kind'] == 'forward']
  assert forward[0]['share'] < 1 < forward[1]['share']  # of float32 and bfloat16
  assert by_kind['step']['steps_per_second'] > 0 and by_kind['step']['planned'] > 0
  assert by_kind['batch']['fits'] > by_kind['batch']['planned']  # a CPU has no limit
  assert by_kind['pipeline']['sub'] > 0
