"""Processes that take turns."""

import pathlib
import sys

import pytest
from turns import take_turns

EXPERIMENTS = pathlib.Path(__file__).parents[2] / 'experiments'
PROCESS = f"""
import sys
sys.path.insert(0, {str(EXPERIMENTS)!r})
from turns import turn
print('said by the way')
for _ in range(3):
  with open(sys.argv[1], 'a') as file:
    file.write(sys.argv[2])
  turn()
sys.exit(int(sys.argv[3]))
"""


@pytest.fixture
def process(tmp_path):
  """Makes the command of a process that writes a letter into `tmp_path / 'calls'`."""
  return lambda letter, status: [
    sys.executable, '-c', PROCESS, str(tmp_path / 'calls'), letter, str(status)
  ]  # fmt: skip


def test_processes_take_turns(process, tmp_path, capfd):
  assert take_turns([process('a', 0), process('b', 0)]) == [0, 0]
  assert (tmp_path / 'calls').read_text() == 'ababab'
  assert capfd.readouterr().err.count('said by the way') == 2


def test_one_that_fails_ends_the_other(process):
  broken = [sys.executable, '-c', 'raise SystemExit(3)']
  assert take_turns([process('a', 0), broken]) == [None, 3]
  assert take_turns([broken, process('a', 0)]) == [3]
