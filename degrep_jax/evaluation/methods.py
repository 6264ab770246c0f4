"""What fills the rows of a table of scores: networks of ours, folders of restored pictures, and the
input as it is."""

import collections
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from degrep_jax.common.errors import UserError
from degrep_jax.data.pairs import FilePairs, Source, read_picture
from degrep_jax.evaluation.restored_folder import find_pictures, match_pictures

# The labels of pictures that nobody restored: what a deblurred picture, and what a reblurred one,
# is to be better than.
BLURRY, IDENTITY = 'blurry', 'identity'
BASES = {'sharp': BLURRY, 'blurry': IDENTITY}  # by what they are compared with


class Method:
  """What fills one row of the table or several.

  Attributes:
    label: in tables.
    compared: {label of a row: the picture of a pair that its pictures are compared with, 'sharp' or
      'blurry'}.
    untouched: the rows of pictures that nobody restored.
    saves: whether its pictures are new, and worth being saved.
  """

  saves = False
  untouched: tuple[str, ...] = ()

  def __init__(self, label: str):
    self.label, self.compared = label, {label: 'sharp'}

  def about(self) -> dict[str, Any]:
    """What the file of the scores says of it."""
    raise NotImplementedError

  def restore(self, source: Source) -> Iterator[dict[str, np.ndarray]]:
    """Yields {label: picture}, uint8 (H, W, 3), of every pair.

    Raises:
      UserError: a picture that cannot be read.
    """
    raise NotImplementedError


class BlurryInput(Method):
  """The method that leaves pictures as they are."""

  untouched = (BLURRY,)

  def __init__(self) -> None:
    super().__init__(BLURRY)

  def about(self) -> dict[str, Any]:
    """Its kind alone."""
    return {'kind': 'input'}

  def restore(self, source: Source) -> Iterator[dict[str, np.ndarray]]:
    """Yields the blurry picture of every pair."""
    for item in range(len(source)):
      yield {self.label: source.pair(item).blurry}


class Checkpoint(Method):
  """A network of ours.

  Args:
    label: in tables.
    restorer: a `Restorer`.
  """

  saves = True

  def __init__(self, label: str, restorer: Any):
    super().__init__(label)
    self._restorer = restorer

  @property
  def settings(self) -> dict[str, Any]:
    """What decides on the result besides the weights: mode, tile, dtype, the size of an ensemble,
    strength, scales; of whole pictures also window (0: norms over all of it) and memory, bytes."""
    fields = ['mode', 'tile', 'dtype', 'ensemble', 'strength', 'scales']
    if self._restorer.mode == 'full':
      fields += ['window', 'memory']
    return {field: getattr(self._restorer, field) for field in fields}

  def about(self) -> dict[str, Any]:
    """Path, step and config of the checkpoint, the number of parameters, and what multiplied."""
    known = self._restorer.about
    fields = ('checkpoint', 'step', 'parameters', 'config')
    precision = jax.config.jax_default_matmul_precision or 'default'  # type: ignore[attr-defined]
    by = {'platform': jax.default_backend(), 'matmul_precision': precision}
    return {'kind': 'checkpoint', **{field: known[field] for field in fields}, **by}

  def restore(self, source: Source) -> Iterator[dict[str, np.ndarray]]:
    """Yields the deblurred picture of every pair."""
    pictures = (source.pair(item).blurry for item in range(len(source)))
    for restored in self._restorer.deblur(pictures):
      yield {self.label: restored}


class RestoredFolder(Method):
  """Pictures that some program has restored.

  Args:
    label: in tables.
    root: folder of the pictures.
    source: whose pairs they must be.

  Raises:
    UserError: as `match_pictures`.
  """

  def __init__(self, label: str, root: pathlib.Path, source: Source):
    super().__init__(label)
    self._root, self._files = root, match_pictures(root, source.names)

  def about(self) -> dict[str, Any]:
    """The folder."""
    return {'kind': 'restored', 'folder': str(self._root.absolute())}

  def restore(self, source: Source) -> Iterator[dict[str, np.ndarray]]:
    """Yields the restored picture of every pair."""
    for path in self._files:
      yield {self.label: read_picture(path)}


def sharp_pictures(root: pathlib.Path) -> Source:
  """The pictures of a folder as the sharp ones of pairs whose blurry partners nobody asks for.

  Raises:
    UserError: no folder, nothing in it, two files of one name, or a file that is no picture.
  """
  found = find_pictures(root)
  files = {path.relative_to(root).with_suffix('').as_posix(): path for path in found}
  if len(files) < len(found):
    raise UserError(f'{root} has pictures whose names differ in the suffix alone: keep one each.')
  return FilePairs([(name, path, path) for name, path in files.items()], cache_bytes=0)


def labels_of(paths: Sequence[pathlib.Path]) -> list[str]:
  """Short names for tables: the folders' own, or the whole paths where these are not unique.

  Raises:
    UserError: a folder twice.
  """
  whole = [path.absolute().as_posix() for path in paths]
  for path, count in collections.Counter(whole).items():
    if count > 1:
      raise UserError(f'{path} is named twice: a method stands beside others, not itself.')
  short = [pathlib.Path(path).name for path in whole]
  counts = collections.Counter([BLURRY, 'name', *short])
  return [name if counts[name] == 1 else path for name, path in zip(short, whole, strict=True)]
