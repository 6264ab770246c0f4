"""Signals, locks and full disks, without a training."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from command import ROOT

from degrep_jax.common.errors import UserError
from degrep_jax.runtime import faults


def raised(number):
  """The signal, sent to this process and heard by Python."""
  os.kill(os.getpid(), number)


def heard(stop):
  for _ in range(200):
    if stop.asked:
      return True
    time.sleep(0.01)
  return False


@pytest.mark.parametrize('number', faults.SIGNALS)
def test_a_signal_is_a_wish(number, capsys):
  before = signal.getsignal(number)
  with faults.StopSignals() as stop:
    assert not stop.asked
    stop.check()
    raised(number)
    assert heard(stop)
    with pytest.raises(faults.Interrupted) as caught:
      stop.check()
  assert caught.value.status == 128 + number
  assert signal.Signals(number).name in str(stop.interrupted('all is saved.'))
  assert 'another signal ends the run at once' in capsys.readouterr().err
  assert signal.getsignal(number) == before
  with faults.StopSignals() as another:
    assert not another.asked


def test_a_signal_that_is_ignored_stays_so():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with faults.StopSignals() as stop:
      assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
      raised(signal.SIGINT)
      time.sleep(0.05)
      assert not stop.asked
  finally:
    signal.signal(signal.SIGINT, before)


def test_no_signals_outside_the_main_thread():
  before, found = signal.getsignal(signal.SIGTERM), []

  def work():
    with faults.StopSignals() as stop:
      found.extend([signal.getsignal(signal.SIGTERM), stop.run(lambda: 7)])

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert found == [before, 7]


def test_work_is_left_behind_by_a_signal():
  goes_on = threading.Event()
  with faults.StopSignals() as stop:
    assert stop.run(lambda: 7) == 7
    with pytest.raises(KeyError, match='mine'):
      stop.run(lambda: {}['mine'])
    threading.Timer(0.1, raised, [signal.SIGTERM]).start()
    with pytest.raises(faults.Interrupted):
      stop.run(goes_on.wait)
  goes_on.set()


# As a compiler: a call that lasts, during which no handler of Python's runs.
STUBBORN = """
import concurrent.futures, ctypes, threading, time
from degrep_jax.runtime.faults import StopSignals

def watch(stop):
  while not stop.asked:
    time.sleep(0.01)
  print('asked', flush=True)

with StopSignals() as stop:
  threading.Thread(target=watch, args=[stop], daemon=True).start()
  print('ready', flush=True)
  libc = ctypes.CDLL(None)
  while True:
    libc.poll(None, 0, 30_000)
"""


def test_a_second_signal_ends_the_process_at_once():
  process = subprocess.Popen(
    [sys.executable, '-c', STUBBORN], cwd=ROOT, stdout=subprocess.PIPE, text=True
  )
  assert process.stdout.readline() == 'ready\n'
  process.terminate()
  assert process.stdout.readline() == 'asked\n'
  process.terminate()
  assert process.wait(timeout=10) == 143
  process.stdout.close()


HOLDER = """
import pathlib, sys
from degrep_jax.runtime.faults import locked
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
    faults.locked(tmp_path / 'run'),
  ):
    pass
  process.kill()
  process.wait()
  process.stdin.close()
  process.stdout.close()
  with faults.locked(tmp_path / 'run'):
    pass
  with faults.locked(tmp_path / 'run'):  # one after the other in one process
    pass


def test_a_disk_without_locks_is_told(tmp_path, monkeypatch, capsys):
  def flock(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

  monkeypatch.setattr(faults.fcntl, 'flock', flock)
  with faults.locked(tmp_path):
    pass
  assert f'{tmp_path} cannot be locked (No locks available)' in capsys.readouterr().err


def test_an_error_that_nobody_expected_has_a_status_of_its_own(capsys):
  def work():
    return {}['mine']

  assert faults.status_of(work) == 1
  assert capsys.readouterr().err.endswith("KeyError: 'mine'\n")


@pytest.mark.parametrize(
  'error', [MemoryError(), RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.')]
)
def test_too_little_memory_is_a_sentence(capsys, error):
  def work():
    raise error

  assert faults.status_of(work) == 2
  said = capsys.readouterr().err
  assert said.startswith('degrep_jax: the memory does not suffice (') and said.count('\n') == 1
  assert '(MemoryError)' in said or '(RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes)' in said
  assert 'train.accumulate_steps' in said


def test_a_disk_that_is_exhausted_is_not_told_as_memory(capsys):
  def work():
    raise ValueError('RESOURCE_EXHAUSTED: Error writing "x": No space left on device')

  assert faults.status_of(work) == 1
  assert 'memory' not in capsys.readouterr().err


class _Late:
  def __init__(self, text):
    self.text = text

  def __del__(self):
    raise RuntimeError(self.text)  # Python cannot raise it where this object is let go of


def test_what_threads_meet_after_a_failed_save_is_not_told(monkeypatch, capsys):
  monkeypatch.setattr(sys, 'unraisablehook', sys.unraisablehook)  # put back afterwards
  assert faults.status_of(lambda: None) == 0
  _Late('Event loop is closed')
  assert not capsys.readouterr().err
  _Late('another')
  assert capsys.readouterr().err.endswith('RuntimeError: another\n')


@pytest.mark.parametrize(
  'error',
  [
    OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
    ValueError('RESOURCE_EXHAUSTED: Error writing "x": No space left on device'),
  ],
)
def test_a_full_disk_is_told_whoever_meets_it(tmp_path, error):
  sentence = r'^the disk of .* is full: what was saved is kept;'
  with pytest.raises(UserError, match=sentence), faults.full_disk_told(tmp_path):
    try:
      raise error
    except Exception as cause:
      raise RuntimeError('saving failed') from cause


def test_other_errors_are_left_as_they_are(tmp_path):
  with pytest.raises(KeyError), faults.full_disk_told(tmp_path):
    raise KeyError('x')
