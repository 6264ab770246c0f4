"""The suite in several runs: as other processors would run it, and all of it, part by part; what
processes of tests inherit."""

import child
import everything
import portable
import pytest
import suite

SUITE = """
import os

def test_the_first_form_is_red():
  assert 'SSE4_2' not in os.environ['XLA_FLAGS']

def test_the_caller_is_heard():
  assert os.environ['XLA_FLAGS'].startswith('--mine ')

def test_a_property_costs_no_warning(record_property):
  record_property('parity', ('figure', 8, 0.0, 1.0))
"""


def table(printed):
  """[name, passed, failed] of every row."""
  rows = [[cell.strip() for cell in line.split('│')[1:-1]] for line in printed.splitlines()]
  return [row[:3] for row in rows if len(row) == 4]


@pytest.fixture(autouse=True)
def _flags(monkeypatch):
  monkeypatch.setenv('XLA_FLAGS', '--mine')


def test_processes_of_tests_add_to_the_callers_flags():
  found = child.environment('--ours', TMPDIR='there')
  assert found['XLA_FLAGS'] == '--mine --ours' and found['TMPDIR'] == 'there'


def test_a_red_form_does_not_end_the_others(tmp_path, monkeypatch, capfd):
  suite = tmp_path / 'test_suite.py'
  suite.write_text(SUITE)
  cpuinfo = tmp_path / 'cpuinfo'
  cpuinfo.write_text('processor: 0\nflags\t\t: fpu sse4_2 avx2\nbugs: none\n')
  monkeypatch.setattr(portable, 'CPUINFO', cpuinfo)
  monkeypatch.setattr(portable, 'forms', lambda all=portable.forms: all()[:3])
  arguments = ['-n', '0', '-p', 'no:cacheprovider', '-c', '/dev/null', '-W', 'error', str(suite)]
  assert portable.main(arguments) == 1
  printed = capfd.readouterr().out
  assert 'AVX512: left out, this machine lacks avx512f' in printed
  assert table(printed) == [['SSE4_2', '2', '1'], ['AVX2', '3', '0']]


def test_a_pytest_that_does_not_end_is_red(monkeypatch, capfd):
  form = suite.Form('of none', '')
  monkeypatch.setattr(portable, 'forms', lambda: [form])
  assert portable.main(['--no-such-flag']) == 1
  assert 'did not end' in capfd.readouterr().out


def test_every_form_is_of_another_kind():
  found = portable.forms()
  assert [form.name for form in found] == [
    'SSE4_2', 'AVX2', 'AVX512', 'NumPy at its least', 'one core'
  ]  # fmt: skip
  flags = [form.environment['XLA_FLAGS'] for form in found]
  assert flags[:3] == [f'--mine --xla_cpu_max_isa={of}' for of in ('SSE4_2', 'AVX2', 'AVX512')]
  assert found[-1].prefix[0] == 'taskset' and found[-1].workers == 1


def test_every_test_is_in_one_part_of_everything(monkeypatch, capfd):
  """A red part does not end the others."""
  asked = {}

  def run(form, arguments):
    asked[form.name] = form.arguments, arguments
    return suite.Result(3, int('training' in form.name), 7.0)

  monkeypatch.setattr(suite, 'run', run)
  assert everything.main(['-x']) == 1
  assert table(capfd.readouterr().out) == [
    [name, '3', '1' if 'training' in name else '0'] for name in asked
  ]
  assert [arguments for _, arguments in asked.values()] == [['-x']] * len(asked)
  ordinary, *slow, rest = (of for of, _ in asked.values())
  assert ordinary == ()  # as setup.cfg says: all but the slow ones
  folders = [of[-1] for of in slow]
  assert slow == [('-m', 'slow', folder) for folder in folders]
  assert all((suite.ROOT / folder).is_dir() for folder in folders)
  assert rest == ('-m', 'slow', 'tests', *(f'--ignore={folder}' for folder in folders))
  whole = list(asked)
  asked.clear()
  assert everything.main(['--slow']) == 1
  assert list(asked) == whole[1:]
