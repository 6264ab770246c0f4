"""Progress for the person who waits: a bar on a terminal, plain lines in a log."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import TypeVar

import rich.console
import rich.progress

Item = TypeVar('Item')

console = rich.console.Console(stderr=True, highlight=False, emoji=False)


def _bar() -> rich.progress.Progress:
  return rich.progress.Progress(
    rich.progress.TextColumn('{task.description}'),
    rich.progress.BarColumn(),
    rich.progress.MofNCompleteColumn(),
    rich.progress.TimeRemainingColumn(),
    console=console,
    transient=True,
    disable=not console.is_terminal,
  )


def say(text: str) -> None:
  """One line, above the bar where there is one."""
  console.print(text, markup=False, soft_wrap=True)


def track(items: Iterable[Item], description: str, total: int, start: int = 0) -> Iterator[Item]:
  """Yields `items`, moving a bar from `start` to `total` on a terminal."""
  with contextlib.ExitStack() as stack:
    bar = stack.enter_context(_bar())
    task = bar.add_task(description, total=total, completed=start)
    for item in items:
      yield item
      bar.advance(task)


def duration(seconds: float) -> str:
  """For example 0:42, 12:05 or 3:07:00."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'
