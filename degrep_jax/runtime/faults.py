"""What befalls a long run from outside: signals, a second run in its workdir, a full disk; and how
a command ends, well or by these."""

import concurrent.futures
import contextlib
import fcntl
import os
import pathlib
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from typing import Any, NoReturn, TypeVar

from absl import logging

from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError, fail, first_line, is_full, is_out_of_memory

LOCK = '.lock'  # file of a workdir, held by the process that trains there
SIGNALS = (signal.SIGTERM, signal.SIGINT)

Result = TypeVar('Result')


class Interrupted(Exception):
  """A signal ended a run that can be continued. `status` is what a shell expects: 128 + signal."""

  def __init__(self, number: int, sentence: str):
    super().__init__(sentence)
    self.status = 128 + number


def _report(unraisable: Any) -> None:
  """As Python reports what cannot be raised, but for what follows a save that failed: threads that
  are still writing find the event loop closed, hundreds of times, before the error is told."""
  error = unraisable.exc_value
  if not (isinstance(error, RuntimeError) and str(error) == 'Event loop is closed'):
    sys.__unraisablehook__(unraisable)


def status_of(work: Callable[[], None]) -> int:
  """Does what a command is for; its exit status: 0, 2 with one sentence on stderr, 128 + the signal
  that stopped it, or 1 with the trace of an error that nobody expected."""
  # Libraries log errors with their traces, and raise them after that: we tell.
  logging.set_verbosity(logging.FATAL)
  logging.set_stderrthreshold(logging.FATAL)
  sys.unraisablehook = _report
  try:
    work()
  except UserError as error:
    return fail(str(error))
  except Interrupted as interrupted:
    fail(str(interrupted))
    return interrupted.status
  except KeyboardInterrupt:  # where there is nothing to save
    return 128 + signal.SIGINT
  except Exception as error:
    if is_out_of_memory(error):
      return fail(
        f'the memory does not suffice ({first_line(error)}): training takes less with '
        '--config.train.remat=True and, in a new --workdir, with a larger '
        '--config.train.accumulate_steps or a smaller --config.data.crop (--mode=plan tells what '
        'fits), evaluating with a smaller --config.eval.batch_size.'
      )
    # Left to Python, one of several processes would wait for the others, and they for it.
    traceback.print_exc()
    return 1
  return 0


def leave(status: int) -> NoReturn:
  """Ends a process in which everything is written and closed.

  TensorFlow's threads, still making examples where a run ends early, wait for ever for an
  interpreter that shuts down: seen in one of some hundred runs.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)


class StopSignals:
  """SIGTERM and SIGINT as a wish to stop, heard while Python itself waits for a compiler, too.

  A second signal ends the process at once, with the status 128 + signal. Use as a context manager;
  outside the main thread, where Python gives no signals, nothing is ever heard.
  """

  def __init__(self) -> None:
    self._number: int | None = None
    self._handlers: dict[int, Any] = {}
    self._listener: threading.Thread | None = None

  def __enter__(self) -> 'StopSignals':
    if threading.current_thread() is threading.main_thread():
      # Handlers of Python wait until the compiler returns; a byte on this socket does not.
      self._ear, self._bell = socket.socketpair()
      self._bell.setblocking(False)
      self._wakeup = signal.set_wakeup_fd(self._bell.fileno(), warn_on_full_buffer=False)
      for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as nohup and scripts' jobs leave them
          self._handlers[number] = signal.signal(number, lambda *_: None)
      self._listener = threading.Thread(target=self._listen, daemon=True)
      self._listener.start()
    return self

  def __exit__(self, *_) -> None:
    if self._listener is not None:
      for number, handler in self._handlers.items():
        signal.signal(number, handler)
      signal.set_wakeup_fd(self._wakeup)
      self._bell.close()
      self._listener.join()
      self._ear.close()

  def _listen(self) -> None:
    while heard := self._ear.recv(1):
      number = heard[0]
      if number not in self._handlers:
        continue
      if self._number is not None:
        os._exit(128 + number)
      self._number = number
      name = signal.Signals(number).name
      say(f'{name}: saving at the end of this step; another signal ends the run at once')

  @property
  def asked(self) -> bool:
    """Whether a signal came."""
    return self._number is not None

  def interrupted(self, what_is_kept: str) -> Interrupted:
    """The exception for the signal that came."""
    number = self._number or signal.SIGTERM  # another process of the run may have got it
    return Interrupted(number, f'stopped by {signal.Signals(number).name}: {what_is_kept}')

  def check(self, elsewhere: bool = False) -> None:
    """Raises Interrupted where a signal came, here or `elsewhere`."""
    if self.asked or elsewhere:
      raise self.interrupted('nothing was left to save.')

  def run(
    self, work: Callable[[], Result], elsewhere: Callable[[], bool] = lambda: False
  ) -> Result:
    """work(), which a signal does not wait for: it is left behind in a thread of its own.

    Args:
      work: gives the result.
      elsewhere: asked ten times a second, whether another process of the run got a signal.

    Raises:
      Interrupted: a signal came first.
    """
    if not self._handlers:
      return work()
    future: concurrent.futures.Future[Result] = concurrent.futures.Future()

    def fill() -> None:
      try:
        future.set_result(work())
      except BaseException as error:
        future.set_exception(error)

    threading.Thread(target=fill, daemon=True).start()
    while not future.done():
      self.check(elsewhere())
      concurrent.futures.wait([future], timeout=0.1)
    return future.result()


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
  """Nobody else trains in a workdir meanwhile, but for a warning where its disk knows no locks. The
  lock ends with the process, however that ends.

  Raises:
    UserError: another process trains there, or the workdir cannot be written.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    file = (workdir / LOCK).open('a+')
  except OSError as error:
    raise UserError(f'{workdir} cannot be written: {error.strerror}.') from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      holder = file.read().strip() or 'another process'
      raise UserError(
        f'{workdir} is in use by {holder}: wait for that run, end it, or choose another --workdir.'
      ) from None
    except OSError as error:  # some disks of networks and clouds know no locks
      say(f'Warning: {workdir} cannot be locked ({error.strerror}): start no second run there.')
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    yield


@contextlib.contextmanager
def full_disk_told(workdir: pathlib.Path) -> Iterator[None]:
  """Makes one sentence of whatever a full disk below a workdir raises."""
  try:
    yield
  except Exception as error:
    if not is_full(error):
      raise
    raise UserError(
      f'the disk of {workdir} is full: what was saved is kept; make room and give the same command '
      'again to go on from there.'
    ) from error
