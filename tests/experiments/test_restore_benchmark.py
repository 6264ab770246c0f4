"""The table of what restoring a large photograph takes, at a small size."""

import command
import pytest


@pytest.mark.slow
def test_the_command_prints_a_row_per_run():
  flags = ['--size=300x260', '--runs=tiles,full', '--once', '--width=2']
  done = command.experiment('restore_benchmark.py', *flags)
  assert done.returncode == 0, done.stderr[-2000:]
  heading, *rows = done.stdout.splitlines()
  assert 'peak, MiB' in heading
  assert [row.split()[0] for row in rows] == ['tiles', 'full']
  for row in rows:
    *_, first, second, peak, programs = row.split()
    assert float(first) == float(second) > 0
    assert float(peak.replace(',', '')) > 100
    assert int(programs) >= 1
