"""Degradation maps of photographs as pictures: what E reads, in colours over the photographs."""

import functools
import os
import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax.errors import JaxRuntimeError

from degrep_jax.app.ending import conclude, places
from degrep_jax.app.jobs import Job, Plan
from degrep_jax.common.console import duration, say, share_of
from degrep_jax.common.errors import UserError, is_out_of_memory
from degrep_jax.common.files import write_atomically
from degrep_jax.common.pixels import to_8_bits
from degrep_jax.inference.map_colours import MapPictures, over_photograph
from degrep_jax.inference.restorer import Restorer
from degrep_jax.photos import reading, writing
from degrep_jax.photos.photo import Photo


def draw(
  plan: Plan,
  restorer: Restorer,
  *,
  raw: bool = False,
  overlay: float = 0.4,
  max_pixels: int = reading.MAX_PIXELS,
  overwrite: bool = False,
  salvage: bool = False,
) -> int:
  """Draws the maps of the photographs that are planned; says a sentence of everything that fails
  and goes on with the rest.

  Args:
    plan: what there is to do, its targets PNG files.
    restorer: of a network that has an E.
    raw: writes `<name>.npy` too, what `Restorer.degradation_map` gives.
    overlay: see `map_colours.over_photograph`.
    max_pixels, salvage: see `reading.read`.
    overwrite: whether files that are there may be replaced.

  Returns:
    The exit status: 1 where anything failed, else 0.

  Raises:
    UserError: a network that has no E.
  """
  started, pictures = time.monotonic(), MapPictures(restorer)
  numbers = {job: number for number, job in enumerate(plan.jobs)}
  complaints = list(plan.unreadable)
  for sentence in complaints:
    say(sentence)
  with tempfile.TemporaryDirectory(prefix='degrep-') as folder:

    def read(job: Job, progress: Callable[[float], None]) -> pathlib.Path:
      photo = reading.load(job.name, max_pixels, salvage=salvage)
      place = pathlib.Path(folder, f'{numbers[job]}.npy')
      _keep(job, pictures.read(photo.pixels, progress), place)
      if raw:  # written when the picture is, so that an interrupted command can be given again
        _keep(job, restorer.degradation_map(photo.pixels), place.with_suffix('.raw.npy'))
      return place

    def paint(job: Job, progress: Callable[[float], None]) -> None:
      del progress  # a moment's work
      photo = reading.load(job.name, max_pixels, salvage=salvage)
      seen = over_photograph(colours[job], to_8_bits(photo.pixels), restorer.cell, overlay)
      try:
        picture = writing.encode(Photo(seen, 'PNG'))
      except UserError as error:
        raise UserError(f'{job.name} {error}.') from error
      assert job.target is not None  # maps do not go to the standard output
      if raw:
        _write_raw(job.target.with_suffix('.npy'), maps[job].with_suffix('.raw.npy'), overwrite)
      write_atomically(job.target, picture, overwrite=overwrite)

    maps = _attempt(read, plan.jobs, 'reading maps', complaints)
    stored = _Stored(list(maps.values()))
    colours = dict(zip(maps, pictures.colours(stored), strict=True)) if maps else {}
    drawn = _attempt(paint, list(maps), 'drawing', complaints)
  made = f'{len(drawn)} map{"s" * (len(drawn) != 1)} in {duration(time.monotonic() - started)}'
  return conclude([made + (places(plan) if drawn else '')], complaints, plan)


def _write_raw(target: pathlib.Path, kept: pathlib.Path, overwrite: bool) -> None:
  """Writes what `kept` holds. What is there already, for example of a killed command, is left alone
  and must not cost the picture."""
  if not overwrite and os.path.exists(target):
    say(f'{target} is there already and was left alone (--overwrite writes it again).')
  else:
    write_atomically(target, kept.read_bytes(), overwrite=overwrite)


def _attempt(
  function: Callable[[Job, Callable[[float], None]], Any],
  jobs: list[Job],
  description: str,
  complaints: list[str],
) -> dict[Job, Any]:
  """What comes of the jobs that succeed; says, and appends to `complaints`, why others do not."""
  done = {}
  with share_of(description, len(jobs)) as move:
    for count, job in enumerate(jobs):
      try:
        done[job] = function(job, functools.partial(_move, move, count))
      except (UserError, MemoryError, JaxRuntimeError) as error:
        sentence = str(error)
        if not isinstance(error, UserError):
          if not is_out_of_memory(error):
            raise
          sentence = f'{job.name} needs more memory than there is.'
        complaints.append(sentence)
        say(sentence)
      move(count + 1)
  return done


def _move(move: Callable[[float], None], count: int, share: float) -> None:
  """Moves the bar to a share of a picture, behind `count` whole ones."""
  move(count + share)


class _Stored(Sequence[np.ndarray]):
  """Arrays in files, as those of all photographs might not fit the memory; each is open only while
  it is used, as so many files may not be open at a time."""

  def __init__(self, paths: Sequence[pathlib.Path]):
    self._paths = paths

  def __len__(self) -> int:
    return len(self._paths)

  def __getitem__(self, number: Any) -> Any:
    return np.load(self._paths[number], mmap_mode='r')


def _keep(job: Job, degradation_map: np.ndarray, path: pathlib.Path) -> None:
  try:
    np.save(path, degradation_map)
  except OSError as error:
    path.unlink(missing_ok=True)
    raise UserError(
      f'{job.name}: a map cannot be kept in {path.parent} ({error.strerror or error}): set TMPDIR '
      'to a folder with more room.'
    ) from error
