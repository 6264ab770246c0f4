"""How long a run has trained, compiled and waited for batches."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

import jax


class Clock:
  """Runs from the start, but for pauses; over all processes that the run has had.

  Args:
    written: training time by the last line that a process before this one wrote, seconds.
    progress: what `progress` gave where the run continues from.

  Attributes:
    train_seconds: up to the last look at the clock.
    compile_seconds: to be added to by who compiles.
  """

  def __init__(self, written: float = 0.0, progress: dict[str, Any] | None = None):
    self.train_seconds = self._written_seconds = written
    self.compile_seconds = self._waited = 0.0
    if progress:
      self.train_seconds, self._written_seconds = progress['train_seconds']
      self.compile_seconds, self._waited = progress['compile_seconds'], progress['waited']
    self._paused, self._resumed = False, time.monotonic()

  def progress(self) -> dict[str, Any]:
    """What a run continues from."""
    self._look()
    return {
      'train_seconds': [self.train_seconds, self._written_seconds],
      'compile_seconds': self.compile_seconds,
      'waited': self._waited,
    }

  def _look(self) -> None:
    if not self._paused:
      now = time.monotonic()
      self.train_seconds += now - self._resumed
      self._resumed = now

  @contextlib.contextmanager
  def paused(self, state: Any) -> Iterator[None]:
    """What happens inside does not count as training; waits for the steps under way first."""
    jax.block_until_ready(state)
    self._look()
    self._paused = True
    yield
    self._paused, self._resumed = False, time.monotonic()

  @contextlib.contextmanager
  def waiting(self) -> Iterator[None]:
    """What happens inside is the wait for a batch."""
    start = time.monotonic()
    yield
    self._waited += time.monotonic() - start

  def line(self, steps: int) -> dict[str, float]:
    """What a line of the log says of so many steps since the last one: their seconds each, the
    share of waiting, and the sums of the run."""
    self._look()
    seconds, waited = self.train_seconds - self._written_seconds, self._waited
    self._written_seconds, self._waited = self.train_seconds, 0.0
    return {
      'step_seconds': seconds / steps,
      'input_wait': waited / seconds,
      'train_seconds': self.train_seconds,
      'compile_seconds': self.compile_seconds,
    }
