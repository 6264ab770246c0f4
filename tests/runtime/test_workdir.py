"""Locks and full disks, without a training."""

import errno
import os
import subprocess
import sys

import pytest
from command import ROOT

from degrep_jax.common.errors import UserError
from degrep_jax.runtime import workdir

HOLDER = """
import pathlib, sys
from degrep_jax.runtime.workdir import locked
with locked(pathlib.Path(sys.argv[1])):
  print('ready', flush=True)
  sys.stdin.read()
"""


def test_a_lock_keeps_others_out_until_its_holder_is_gone(tmp_path):
  process = subprocess.Popen(
    [sys.executable, '-c', HOLDER, tmp_path / 'run'],
    cwd=ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline() == 'ready\n'
  with (
    pytest.raises(UserError, match=f'is in use by process {process.pid} on'),
    workdir.locked(tmp_path / 'run'),
  ):
    pass
  process.kill()
  process.wait()
  process.stdin.close()
  process.stdout.close()
  with workdir.locked(tmp_path / 'run'):
    pass
  with workdir.locked(tmp_path / 'run'):  # one after the other in one process
    pass


def test_a_disk_without_locks_is_told(tmp_path, monkeypatch, capsys):
  def flock(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(workdir.fcntl, 'flock', flock)
  with workdir.locked(tmp_path):
    pass
  assert f'{tmp_path} cannot be locked (No locks available)' in capsys.readouterr().err


@pytest.mark.parametrize(
  'error',
  [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ValueError('RESOURCE_EXHAUSTED: Error writing "x": No space left on device'),
  ],
)
def test_a_full_disk_is_told_whoever_meets_it(tmp_path, error):
  sentence = r'^the disk of .* is full: what was saved is kept;'
  with pytest.raises(UserError, match=sentence), workdir.full_disk_told(tmp_path):
    try:
      raise error
    except Exception as cause:
      raise RuntimeError('saving failed') from cause


def test_other_errors_are_left_as_they_are(tmp_path):
  with pytest.raises(KeyError), workdir.full_disk_told(tmp_path):
    raise KeyError('x')
