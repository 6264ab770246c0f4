"""Comparisons whose sides take turns."""

import pathlib
import sys

import pytest
import side_by_side

EXPERIMENTS = pathlib.Path(__file__).parents[2] / 'experiments'
# Calls are timed that add a letter to a file.
SIDE = f"""
import pathlib, sys
from absl import flags
sys.path.insert(0, {str(EXPERIMENTS)!r})
import side_by_side
flags.FLAGS([sys.argv[0], '--turns'])
print('said by the way')
file = open(sys.argv[1], 'ab', buffering=0)
side_by_side.timed(file.write, [sys.argv[2].encode()])
sys.exit(int(sys.argv[3]))
"""


@pytest.fixture
def side(tmp_path):
  """Makes the command of a side that writes a letter into `tmp_path / 'calls'`."""
  return lambda letter, status: [
    sys.executable, '-c', SIDE, str(tmp_path / 'calls'), letter, str(status)
  ]  # fmt: skip


def test_sides_take_turns(side, tmp_path, capfd):
  assert side_by_side.take_turns([side('a', 0), side('b', 0)]) == [0, 0]
  warm_up = 'ab'
  assert (tmp_path / 'calls').read_text() == warm_up + side_by_side.REPEATS * 'ab'
  assert capfd.readouterr().err.count('said by the way') == 2


def test_a_side_that_fails_ends_the_other(side):
  broken = [sys.executable, '-c', 'raise SystemExit(3)']
  assert side_by_side.take_turns([side('a', 0), broken]) == [None, 3]
  assert side_by_side.take_turns([broken, side('a', 0)]) == [3]
