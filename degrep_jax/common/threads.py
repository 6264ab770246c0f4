"""Work in threads beside what asks for it, its results in order."""

import collections
import concurrent.futures
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Work = TypeVar('Work')
Result = TypeVar('Result')


def in_order(
  pool: concurrent.futures.Executor,
  function: Callable[[Work], Result],
  items: Iterable[Work],
  ahead: int,
) -> Iterator[Result]:
  """Yields function(item) in order, up to `ahead` items computed before they are asked for.

  Raises:
    Exception: what `function` raises, at its item's turn.
  """
  waiting: collections.deque[concurrent.futures.Future[Result]] = collections.deque()
  for item in items:
    waiting.append(pool.submit(function, item))
    if len(waiting) > ahead:
      yield waiting.popleft().result()
  while waiting:
    yield waiting.popleft().result()


def map_ahead(
  function: Callable[[Work], Result], items: Iterable[Work], workers: int, ahead: int
) -> Iterator[Result]:
  """`in_order` by threads of its own; what has not begun when it ends, or fails, never does."""
  with concurrent.futures.ThreadPoolExecutor(workers) as pool:
    try:
      yield from in_order(pool, function, items, ahead)
    finally:
      pool.shutdown(cancel_futures=True)
