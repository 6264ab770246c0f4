"""The suite as other processors would run it, and what processes of tests inherit."""

import child
import portable
import pytest

SUITE = """
import os

def test_the_first_form_is_red():
  assert 'SSE4_2' not in os.environ['XLA_FLAGS']

def test_the_caller_is_heard():
  assert os.environ['XLA_FLAGS'].startswith('--mine ')
"""


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
  arguments = ['-n', '0', '-p', 'no:cacheprovider', '-c', '/dev/null', str(suite)]
  assert portable.main(arguments) == 1
  printed = capfd.readouterr().out
  assert 'AVX512: left out, this machine lacks avx512f' in printed
  rows = [[cell.strip() for cell in line.split('│')[1:-1]] for line in printed.splitlines()]
  rows = [row[:3] for row in rows if len(row) == 4]
  assert rows == [['SSE4_2', '1', '1'], ['AVX2', '2', '0']]


def test_a_pytest_that_does_not_end_is_red(monkeypatch, capfd):
  form = portable.Form('of none', '', child.environment())
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
