"""Signals, without a training."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from command import ROOT

from degrep_jax.runtime import signals


def raised(number):
  """The signal, sent to this process and heard by Python."""
  os.kill(os.getpid(), number)


def heard(stop):
  for _ in range(200):
    if stop.asked:
      return True
    time.sleep(0.01)
  return False


@pytest.mark.parametrize('number', signals.SIGNALS)
def test_a_signal_is_a_wish(number, capsys):
  before = signal.getsignal(number)
  with signals.StopSignals() as stop:
    assert not stop.asked
    stop.check()
    raised(number)
    assert heard(stop)
    with pytest.raises(signals.Interrupted) as caught:
      stop.check()
  assert caught.value.status == 128 + number
  assert signal.Signals(number).name in str(stop.interrupted('all is saved.'))
  assert 'another signal ends the run at once' in capsys.readouterr().err
  assert signal.getsignal(number) == before
  with signals.StopSignals() as another:
    assert not another.asked


def test_a_signal_that_is_ignored_stays_so():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with signals.StopSignals() as stop:
      assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
      raised(signal.SIGINT)
      time.sleep(0.05)
      assert not stop.asked
  finally:
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
  ('number', 'ignored'), [(signal.SIGTERM, False), (signal.SIGHUP, False), (signal.SIGHUP, True)]
)
def test_temporary_files_go_when_a_process_is_ended_politely(tmp_path, number, ignored):
  script = f"""
import os, signal, tempfile
from degrep_jax.runtime import signals
# The process that runs the tests may ignore it.
signal.signal(signal.SIGHUP, signal.SIG_IGN if {ignored} else signal.SIG_DFL)
with tempfile.TemporaryDirectory(dir={str(tmp_path)!r}) as folder:
  signals.end_as_after_ctrl_c()
  try:
    os.kill(os.getpid(), {int(number)})
    for _ in range(10**6):
      pass
    print('lives')
  finally:
    if not {ignored}:
      os.kill(os.getpid(), {int(number)})  # again, while it clears up
"""
  done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, cwd=ROOT)
  assert (done.stdout == 'lives\n') == ignored
  assert ('KeyboardInterrupt' in done.stderr) != ignored
  assert not list(tmp_path.iterdir())


def test_no_signals_outside_the_main_thread():
  before, found = signal.getsignal(signal.SIGTERM), []

  def work():
    with signals.StopSignals() as stop:
      found.extend([signal.getsignal(signal.SIGTERM), stop.run(lambda: 7)])

  thread = threading.Thread(target=work)
  thread.start()
  thread.join()
  assert found == [before, 7]


def test_work_is_left_behind_by_a_signal():
  goes_on = threading.Event()
  with signals.StopSignals() as stop:
    assert stop.run(lambda: 7) == 7
    with pytest.raises(KeyError, match='mine'):
      stop.run(lambda: {}['mine'])
    threading.Timer(0.1, raised, [signal.SIGTERM]).start()
    with pytest.raises(signals.Interrupted):
      stop.run(goes_on.wait)
  goes_on.set()


# As a compiler: a call that lasts, during which no handler of Python's runs.
STUBBORN = """
import concurrent.futures, ctypes, threading, time
from degrep_jax.runtime.signals import StopSignals

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
  assert process.wait(timeout=60) == 143
  process.stdout.close()
