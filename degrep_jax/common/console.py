"""What people see: progress as a bar on a terminal and plain lines in a log, results as tables."""

import contextlib
from collections.abc import Callable, Container, Iterable, Iterator
from typing import TypeVar

import rich.box
import rich.console
import rich.progress
import rich.table

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


def results() -> rich.console.Console:
  """Stdout, for what a command was asked for."""
  return rich.console.Console(highlight=False, emoji=False, markup=False)


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


@contextlib.contextmanager
def share_of(description: str, total: int) -> Iterator[Callable[[float], None]]:
  """A bar on a terminal, from 0 to `total`, and what moves it to a place, never backwards.

  Any thread may move it.
  """
  with _bar() as bar:
    task = bar.add_task(description, total=total)
    furthest = 0.0

    def move(to: float) -> None:
      nonlocal furthest
      furthest = max(furthest, to)
      bar.update(task, completed=furthest)

    yield move


def listed(names: Iterable[object], most: int = 3) -> str:
  """For example "a, b, c and 7 more"."""
  texts = [str(name) for name in names]
  more = f' and {len(texts) - most:,} more' if len(texts) > most else ''
  return ', '.join(texts[:most]) + more


def duration(seconds: float) -> str:
  """For example 0:42, 12:05 or 3:07:00."""
  minutes, seconds = divmod(round(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f'{hours}:{minutes:02}:{seconds:02}' if hours else f'{minutes}:{seconds:02}'


def empty_table(*headings: str, texts: Container[int] = (0,)) -> rich.table.Table:
  """A table without rows.

  Args:
    headings: of the columns.
    texts: columns of text, to the left and folded where they are too long; the others hold numbers,
      to the right and on one line.
  """
  made = rich.table.Table(box=rich.box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
  for i, heading in enumerate(headings):
    if i in texts:
      made.add_column(heading, overflow='fold')
    else:
      made.add_column(heading, justify='right', no_wrap=True)
  return made
