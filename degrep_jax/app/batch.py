"""Many photographs through one net: read ahead, restored, written behind."""

import collections
import concurrent.futures
import dataclasses
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jax.errors import JaxRuntimeError

from degrep_jax.app.ending import conclude, places
from degrep_jax.app.jobs import Job, Plan
from degrep_jax.common import threads
from degrep_jax.common.console import duration, say, share_of
from degrep_jax.common.errors import UserError, is_out_of_memory
from degrep_jax.common.files import make_folder_of, write_atomically
from degrep_jax.photos import kinds, reading, writing
from degrep_jax.photos.photo import FORMAT_OF, Photo, fitted, side_by_side

Restore = Callable[[np.ndarray, Callable[[float], None]], np.ndarray]
_NOTHING = np.zeros((0, 0, 3), np.uint8)


class Words(NamedTuple):
  """What is done to photographs: 'deblurring', and 'restored' when it is."""

  doing: str
  done: str


@dataclass(frozen=True)
class Settings:
  """Of a batch.

  Attributes:
    format: of all outputs, a key of `FORMATS`; None goes by the target's name, then by the source.
    quality: see `writing.encode`.
    max_pixels: see `reading.read`.
    overwrite: whether files that turn up while the net works may be replaced.
    salvage: see `reading.read`.
  """

  format: str | None = None
  quality: int | None = None
  max_pixels: int = reading.MAX_PIXELS
  overwrite: bool = False
  salvage: bool = False


def run(plan: Plan, restore: Restore, settings: Settings, words: Words) -> int:
  """Restores what is planned; says a sentence of everything that fails and goes on with the rest.

  Args:
    plan: what there is to do.
    restore: (H, W, 3) uint8 or uint16 to the same, telling its second argument the share of the
      picture that is done. It runs in a thread of its own, so that Ctrl-C is heard while it
      computes.
    settings: of the files.
    words: for what is done.

  Returns:
    The exit status: 1 where anything failed, else 0.

  Raises:
    KeyboardInterrupt: after Ctrl-C, when the file being written is whole. `restore` may still run.
  """
  started, done = time.monotonic(), list[Photo]()
  failures = list(plan.unreadable)
  for sentence in failures:
    say(sentence)
  with share_of(words.doing, len(plan.jobs)) as move:
    results = _process(plan.jobs, restore, settings, move)
    try:
      for count, (job, result) in enumerate(zip(plan.jobs, results, strict=True), start=1):
        if isinstance(result, UserError):
          failures.append(str(result))
          say(str(result))
        else:
          done.append(result)
          if result.notes:
            say(f'{job.name}: {"; ".join(result.notes)}.')
        move(count)
    except KeyboardInterrupt:
      results.close()
      goes_on = '' if settings.overwrite else ', and the same command goes on from there'
      say(f'Interrupted: what is written is whole{goes_on}.')
      raise
  if any(job.target is None for job in plan.jobs):
    return 1 if failures else 0
  made = f'{len(done)} {words.done} in {duration(time.monotonic() - started)}'
  made += _converted(done) + (places(plan) if done else '')
  return conclude([made] if plan.jobs else [], failures, plan)


def _converted(photos: Iterable[Photo]) -> str:
  """In brackets, how many of the photographs came to be of another kind than their files were of
  because that one is only read, or a name asked for another."""
  pairs = collections.Counter((photo.kind, photo.format) for photo in photos)
  changed = [
    f'{count} {kinds.name(kind)} as {kinds.name(format)}'
    for (kind, format), count in sorted(pairs.items())
    if kind not in (format, 'MPO')
  ]
  return f' ({", ".join(changed)})' if changed else ''


def _process(
  jobs: list[Job], restore: Restore, settings: Settings, move: Callable[[float], None]
) -> Generator[Photo | UserError, None, None]:
  """Yields for every job what was written, or what went wrong; moves the bar as the net works."""
  places = {job: number for number, job in enumerate(jobs)}

  def read(job: Job) -> tuple[Job, Photo]:
    if job.source is None:
      data = sys.stdin.buffer.read()
      photo = reading.read(data, job.name, settings.max_pixels, salvage=settings.salvage)
    else:
      photo = reading.load(job.source, settings.max_pixels, salvage=settings.salvage)
    if job.target is not None:
      make_folder_of(job.target)  # what cannot be written need not be restored
    return job, photo

  def restored(work: tuple[Job, Photo]) -> tuple[Job, Photo, Photo]:
    job, photo = work
    try:
      pixels = restore(photo.pixels, lambda share: move(places[job] + share))
      return job, photo, dataclasses.replace(photo, pixels=pixels)
    except UserError as error:
      raise UserError(f'{job.name}: {error}') from error
    except (MemoryError, JaxRuntimeError) as error:
      if not is_out_of_memory(error):
        raise
      width, height = photo.size
      raise UserError(
        f'{job.name} of {width}x{height} needs more memory than there is: leave out --mode full or '
        'lower --memory; degrep deblur needs least by --scales off --ensemble 1 --strength 1.'
      ) from error

  def write(work: tuple[Job, Photo, Photo]) -> Photo:
    job, before, after = work
    name = job.target.suffix.lower() if job.target else ''
    format = settings.format or FORMAT_OF.get(name, before.format)
    after = fitted(after, format)
    # The result comes last: where it is, the picture is done.
    if job.compare is not None:
      notes = *after.notes, *_compare(job.compare, before, after, settings)
      after = dataclasses.replace(after, notes=notes)
    _write(job.name, job.target, after, settings)
    return dataclasses.replace(after, pixels=_NOTHING, alpha=None)  # what is said of it needs none

  executors = [concurrent.futures.ThreadPoolExecutor(1) for _ in range(3)]
  reader, net, writer = executors
  photos = _in_thread(reader, read, jobs, ahead=2)
  pairs = _in_thread(net, restored, photos, ahead=0)
  try:
    yield from _in_thread(writer, write, pairs, ahead=1)
  finally:
    reader.shutdown(wait=False, cancel_futures=True)
    net.shutdown(wait=False, cancel_futures=True)
    writer.shutdown(wait=True, cancel_futures=True)


def _in_thread(
  executor: concurrent.futures.Executor,
  function: Callable[[Any], Any],
  items: Iterable[Any],
  ahead: int,
) -> Iterator[Any]:
  """Yields function(item) in order, up to `ahead` items computed before they are asked for.

  A `UserError` is yielded in place of a result, and what is one already is passed on.
  """

  def call(item: Any) -> Any:
    try:
      return item if isinstance(item, UserError) else function(item)
    except UserError as error:
      return error

  return threads.in_order(executor, call, items, ahead)


def _compare(target: Path, before: Photo, after: Photo, settings: Settings) -> tuple[str, ...]:
  """Writes both side by side; a note where that fails, since it must not cost the result."""
  try:
    both = side_by_side(fitted(before, after.format), after)
    _write(str(target), target, both, settings)
  except UserError as error:
    return (f'comparison not written: {str(error).removesuffix(".")}',)
  except MemoryError:
    return (f'comparison not written: {target} takes more memory than there is',)
  return ()


def _write(name: str, target: Path | None, photo: Photo, settings: Settings) -> None:
  try:
    data = writing.encode(photo, settings.quality)
  except UserError as error:
    raise UserError(f'{name} {error}.') from error
  if target is not None:
    write_atomically(target, data, overwrite=settings.overwrite)
    return
  try:
    with open(sys.stdout.fileno(), 'wb', closefd=False) as stream:
      stream.write(data)
  except OSError as error:
    raise UserError(f'The standard output cannot be written: {error.strerror}.') from error
