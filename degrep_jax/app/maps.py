"""Degradation maps as pictures: what E reads, in colours over the photographs.

E sees tiles, and what it says near a tile's border is more of the border than of the picture. Two
means against that, for pictures alone (`Restorer.degradation_map` gives maps as they are): tiles
overlap by half and fade into each other, and what all tiles share place by place is taken away. The
latter repeats itself from tile to tile, so that it can be told when all pictures have been seen.
"""

import io
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jax.errors import JaxRuntimeError

from degrep_jax.app.batch import say_counts
from degrep_jax.app.jobs import Job, Plan
from degrep_jax.common.console import duration, say, track
from degrep_jax.common.errors import UserError, is_out_of_memory
from degrep_jax.common.files import write_atomically
from degrep_jax.common.pixels import to_8_bits
from degrep_jax.evaluation.panel import map_colours, over_photograph
from degrep_jax.inference.restorer import Restorer
from degrep_jax.photos import reading, writing
from degrep_jax.photos.photo import Photo


class MapPictures:
  """Maps of any number of photographs in colours that mean the same in all of them.

  First every photograph is given to `read`; what that returns is then, for all of them together,
  given to `colours`, and each colouring with its photograph to `over_photograph`.

  Args:
    restorer: of a network that has an E, in any mode.

  Raises:
    UserError: the network has none.
  """

  def __init__(self, restorer: Restorer):
    if restorer.network == 'hinet':
      raise UserError('a HINet has no degradation map: take the checkpoint of another network.')
    self._restorer = restorer
    self._total, self._count = np.zeros(()), 0  # of the tiles' maps, place by place

  def read(self, picture: np.ndarray) -> np.ndarray:
    """The map of a picture `(H, W, 3)`, float32 `(h, w, C)`, still with what all tiles share.

    Raises:
      UserError: as `Restorer.degradation_map`.
    """
    tile, cell = self._restorer.tile, self._restorer.cell
    side = tile // cell
    step = max(1, side // 2)  # places from one tile to the next
    counts = [-(-length // cell) for length in picture.shape[:2]]
    # As many tiles lie over every place of the picture: they start before it and end behind it.
    rows, columns = (range(0, side - step + count, step) for count in counts)
    window = _window(side, step)[:, None] * _window(side, step)
    blended: np.ndarray | None = None
    for number, part in enumerate(self._tiles(picture, rows, columns, side - step)):
      if blended is None:
        blended = np.zeros((rows[-1] + side, columns[-1] + side, part.shape[-1]), np.float32)
      row, column = rows[number // len(columns)], columns[number % len(columns)]
      blended[row : row + side, column : column + side] += window[..., None] * part
      self._total, self._count = self._total + part, self._count + 1
    assert blended is not None
    return blended[side - step :, side - step :][: counts[0], : counts[1]]

  def _tiles(
    self, picture: np.ndarray, rows: range, columns: range, before: int
  ) -> Iterator[np.ndarray]:
    """Maps of the tiles that start at these places, `before` of which lie before the picture."""
    tile, cell = self._restorer.tile, self._restorer.cell
    widths = [
      (before * cell, max(0, starts[-1] * cell + tile - before * cell - length))
      for starts, length in zip((rows, columns), picture.shape, strict=False)
    ]
    padded = np.pad(picture, (*widths, (0, 0)), mode='symmetric')
    return self._restorer.degradation_map(
      padded[row * cell :, column * cell :][:tile, :tile] for row in rows for column in columns
    )

  def colours(self, maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    """All the maps that `read` gave, float32 `(h, w, C)`, as colours `(h, w, 3)` in [0, 1].

    The maps may lie on the disk: one after another is read, a few times.
    """
    return map_colours(_Without(self._shared(), maps))

  def _shared(self) -> np.ndarray:
    """What all tiles share, blended as they are: from the upper left of a picture it repeats itself
    in both directions."""
    common = self._total / self._count
    side = len(common)
    step = max(1, side // 2)
    window = _window(side, step)
    places = (np.arange(side) - side) % step
    shared = np.zeros((step, step, common.shape[-1]), np.float32)
    np.add.at(shared, np.ix_(places, places), window[:, None, None] * window[:, None] * common)
    return shared


class _Without(Sequence[np.ndarray]):
  """Maps less a pattern that repeats itself in both directions."""

  def __init__(self, pattern: np.ndarray, maps: Sequence[np.ndarray]):
    self._pattern, self._maps = pattern, maps

  def __len__(self) -> int:
    return len(self._maps)

  def __getitem__(self, item):
    rows, columns = (
      np.arange(n) % m
      for n, m in zip(self._maps[item].shape, self._pattern.shape[:2], strict=False)
    )
    return self._maps[item] - self._pattern[rows][:, columns]


def _window(side: int, step: int) -> np.ndarray:
  """A raised cosine, (side,), whose copies every `step` places sum to one."""
  window = np.square(np.sin(np.pi * (np.arange(side) + 0.5) / side))
  total = np.zeros(step)
  np.add.at(total, np.arange(side) % step, window)
  return (window / total[np.arange(side) % step]).astype(np.float32)


def draw(
  plan: Plan,
  restorer: Restorer,
  *,
  raw: bool = False,
  overlay: float = 0.4,
  max_pixels: int = reading.MAX_PIXELS,
  overwrite: bool = False,
) -> int:
  """Draws the maps of the photographs that are planned; says a sentence of everything that fails
  and goes on with the rest.

  Args:
    plan: what there is to do, its targets PNG files.
    restorer: of a network that has an E.
    raw: writes `<name>.npy` too, what `Restorer.degradation_map` gives.
    overlay: see `figures.over_photograph`.
    max_pixels: see `reading.read`.
    overwrite: whether files that are there may be replaced.

  Returns:
    The exit status: 1 where anything failed, else 0.

  Raises:
    UserError: a network that has no E.
  """
  started, pictures = time.monotonic(), MapPictures(restorer)
  complaints = list(plan.unreadable)
  for sentence in complaints:
    say(sentence)
  with tempfile.TemporaryDirectory(prefix='degrep-') as folder:

    def read(job: Job) -> np.ndarray:
      photo = reading.load(job.name, max_pixels)
      degradation_map = pictures.read(photo.pixels)
      if raw:
        file = io.BytesIO()
        np.save(file, restorer.degradation_map(photo.pixels))
        _write(job, '.npy', file.getvalue(), overwrite)
      return _on_disk(job, degradation_map, pathlib.Path(folder, f'{plan.jobs.index(job)}.npy'))

    def paint(job: Job) -> None:
      photo = reading.load(job.name, max_pixels)
      seen = over_photograph(colours[job], to_8_bits(photo.pixels), restorer.cell, overlay)
      _write(job, '.png', writing.encode(Photo(seen, 'PNG')), overwrite)

    maps = _attempt(read, plan.jobs, 'reading maps', complaints)
    colours = dict(zip(maps, pictures.colours(list(maps.values())), strict=True)) if maps else {}
    drawn = _attempt(paint, list(maps), 'drawing', complaints)
  counts = [f'{len(drawn)} map{"s" * (len(drawn) != 1)} in {duration(time.monotonic() - started)}']
  say_counts(counts, len(complaints), plan)
  return 1 if complaints else 0


def _attempt(
  function: Callable[[Job], Any], jobs: list[Job], description: str, complaints: list[str]
) -> dict[Job, Any]:
  """What comes of the jobs that succeed; says, and appends to `complaints`, why others do not."""
  done = {}
  for job in track(jobs, description, len(jobs)):
    try:
      done[job] = function(job)
    except (UserError, MemoryError, JaxRuntimeError) as error:
      sentence = str(error)
      if not isinstance(error, UserError):
        if not is_out_of_memory(error):
          raise
        sentence = f'{job.name} needs more memory than there is.'
      complaints.append(sentence)
      say(sentence)
  return done


def _on_disk(job: Job, degradation_map: np.ndarray, path: pathlib.Path) -> np.ndarray:
  """The map by way of a file, as those of all photographs might not fit the memory."""
  try:
    np.save(path, degradation_map)
  except OSError as error:
    path.unlink(missing_ok=True)
    raise UserError(
      f'{job.name}: a map cannot be kept in {path.parent} ({error.strerror or error}): set TMPDIR '
      'to a folder with more room.'
    ) from error
  return np.load(path, mmap_mode='r')


def _write(job: Job, suffix: str, data: bytes, overwrite: bool) -> None:
  assert job.target is not None  # maps do not go to the standard output
  write_atomically(job.target.with_suffix(suffix), data, overwrite=overwrite)
