"""SIGTERM and SIGINT as a wish to stop, heard while Python itself waits for a compiler, too."""

import concurrent.futures
import os
import signal
import socket
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from degrep_jax.common.console import say

SIGNALS = (signal.SIGTERM, signal.SIGINT)
Result = TypeVar('Result')


def end_as_after_ctrl_c() -> None:
  """Has what ends a process politely, SIGTERM and a closed terminal, raise KeyboardInterrupt: no
  temporary file stays, nor half of one. A process that nohup started outlives its terminal."""

  def end(number: int, frame: Any) -> None:
    for ignored in (signal.SIGTERM, number):  # a second one would break off what clears up
      signal.signal(ignored, signal.SIG_IGN)
    raise KeyboardInterrupt

  def hang_up(number: int, frame: Any) -> None:
    signal.signal(number, signal.SIG_IGN)
    signal.raise_signal(signal.SIGTERM)  # which a server may handle in its own way

  signal.signal(signal.SIGTERM, end)
  if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
    signal.signal(signal.SIGHUP, hang_up)


class Interrupted(Exception):
  """A signal ended a run that can be continued. `status` is what a shell expects: 128 + signal."""

  def __init__(self, number: int, sentence: str):
    super().__init__(sentence)
    self.status = 128 + number


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
