"""Pairs of a blurry and a sharp picture, and the folders they are read from."""

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from PIL import Image

from degrep_jax.common.errors import UserError
from degrep_jax.data.lists import read_list

SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp')
SPLITS = ('train', 'test')


@dataclass(frozen=True)
class Pair:
  """One scene twice: `blurry` and `sharp`, (H, W, 3) uint8 RGB of the same size."""

  name: str
  blurry: np.ndarray
  sharp: np.ndarray


class Source(Protocol):
  """Pairs by number. Methods are safe to call from several threads."""

  names: tuple[str, ...]

  def __len__(self) -> int: ...

  def pair(self, item: int) -> Pair:
    """The whole pictures of item number `item`."""
    ...

  def crop(self, item: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random window of the item, not augmented: blurry and sharp, (size, size, 3) uint8."""
    ...


class FilePairs(Source):
  """Pairs of picture files; grey and palette pictures become RGB, alpha is dropped, 16 bits are
  scaled to 8.

  Args:
    files: (name, blurry file, sharp file) each, names unique.
    min_size: smallest height and width that will do, the training crop; 0 asks for none.
    cache_bytes: decoded pictures are kept up to this many bytes.
    defer_errors: raise the errors below where an item is asked for.

  Raises:
    UserError: a file of another size than its partner, smaller than min_size or not a picture. Only
      file headers are read for this; data that ends early is found, with the same error, when the
      picture is decoded.
  """

  def __init__(
    self,
    files: Sequence[tuple[str, Path, Path]],
    min_size: int = 0,
    cache_bytes: int = 2**30,
    defer_errors: bool = False,
  ):
    self._errors: dict[int, str] = {}
    for item, (_, blurry, sharp) in enumerate(files):
      try:
        _check_sizes(blurry, sharp, min_size)
      except UserError as error:
        if not defer_errors:
          raise
        self._errors[item] = str(error)
    self.names = tuple(name for name, _, _ in files)
    self._files = [(blurry, sharp) for _, blurry, sharp in files]
    self._cache = PictureCache(cache_bytes)

  def __len__(self) -> int:
    return len(self.names)

  def pair(self, item: int) -> Pair:
    """The whole pictures, read-only. Raises UserError where a file cannot be decoded."""
    if item in self._errors:
      raise UserError(self._errors[item])
    blurry, sharp = (
      self._cache.picture(path, partial(read_picture, path)) for path in self._files[item]
    )
    return Pair(self.names[item], blurry, sharp)

  def crop(self, item: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same random window of both pictures, (size, size, 3) uint8, not augmented."""
    pair = self.pair(item)
    window = random_window(pair.sharp.shape, size, rng, str(self._files[item][1]))
    return pair.blurry[window], pair.sharp[window]


class FolderPairs(FilePairs):
  """Pairs in folders `blur/` and `sharp/` that stand side by side, at any depth.

  Reads GOPRO_Large as it is unpacked: {train,test}/<sequence>/{blur,blur_gamma,sharp}/NNNNNN.png.
  `blur_gamma` is never used, as in all published numbers. Where neither train/ nor test/ stands in
  `root`, all of it is used whatever the split. Partners have equal file names, or equal stems.

  Args:
    root: folder of the data.
    split: 'train' or 'test'.
    options: see `FilePairs`.

  Raises:
    UserError: nothing to read in root, a file without partner, or as `FilePairs`.
  """

  def __init__(self, root: str | os.PathLike, split: str, **options: Any):
    files = sorted(_find_pairs(_split_folder(Path(root), split)))
    if not files:
      raise UserError(
        f'No pairs in {root}: it needs folders blur/ and sharp/ side by side with pictures in them.'
      )
    for (name, *_), (following, *_) in pairwise(files):
      if name == following:
        raise UserError(f'{root} has two blurry files for {name}; keep one of them.')
    super().__init__(files, **options)


class ListPairs(FilePairs):
  """Pairs that a text file lists, as RealBlur's do: `<root>/<list_name>_{train,test}_list.txt`, one
  pair a line, the sharp picture's path and the blurry one's, relative to `root`.

  Args:
    root: folder of the data.
    list_name: start of the lists' names, for instance RealBlur_J.
    split: 'train' or 'test'.
    options: see `FilePairs`.

  Raises:
    UserError: no such list, an empty one, a line that is no pair of files, or as `FilePairs`.
  """

  def __init__(self, root: str | os.PathLike, list_name: str, split: str, **options: Any):
    path = Path(root) / f'{list_name}_{split}_list.txt'
    try:
      data = path.read_bytes()
    except OSError as error:
      raise UserError(f'The list of pairs {path} cannot be read: {error.strerror}.') from None
    items = read_list(data, str(path))
    files = [(item.name, Path(root) / item.blurry, Path(root) / item.sharp) for item in items]
    super().__init__(files, **options)


def has_splits(root: Path) -> bool:
  """Whether a folder is divided into train/ and test/."""
  return any((root / name).is_dir() for name in SPLITS)


def random_window(
  shape: tuple[int, ...], size: int, rng: np.random.Generator, name: str
) -> tuple[slice, slice]:
  """Rows and columns of a random (size, size) window; UserError if the picture is smaller."""
  height, width = shape[:2]
  check_size(width, height, size, name)
  top, left = rng.integers(0, (height - size + 1, width - size + 1))
  return slice(top, top + size), slice(left, left + size)


def check_size(width: int, height: int, min_size: int, name: str) -> None:
  """Raises UserError where a picture is too small for the training crop."""
  if min(width, height) < min_size:
    raise UserError(
      f'{name} is {width}x{height}, smaller than the training crop of {min_size}: '
      'lower data.crop or remove the picture.'
    )


def _split_folder(root: Path, split: str) -> Path:
  if not root.is_dir():
    raise UserError(f'The data folder {root} does not exist.')
  if not has_splits(root):
    return root
  if not (root / split).is_dir():
    raise UserError(f'{root} has no folder {split}/ for that split.')
  return root / split


def _find_pairs(base: Path) -> Iterator[tuple[str, Path, Path]]:
  """Yields (name, blurry file, sharp file)."""
  for folder, children, _ in os.walk(base, followlinks=True):
    if 'blur' not in children:
      continue
    sequence = Path(folder)
    if 'sharp' not in children:
      raise UserError(f'{sequence} has blur/ but no sharp/ beside it.')
    children[:] = [child for child in children if child not in ('blur', 'blur_gamma', 'sharp')]
    sharp = _pictures(sequence / 'sharp')
    by_stem = {path.stem: path for path in sharp.values()}
    for blurry in _pictures(sequence / 'blur').values():
      partner = sharp.get(blurry.name) or by_stem.get(blurry.stem)
      if partner is None:
        raise UserError(f'{blurry} has no sharp partner in {sequence / "sharp"}.')
      yield (sequence.relative_to(base) / blurry.stem).as_posix(), blurry, partner


def _pictures(folder: Path) -> dict[str, Path]:
  return {
    path.name: path
    for path in sorted(folder.iterdir())
    if path.suffix.lower() in SUFFIXES and not path.name.startswith('.')
  }


def _check_sizes(blurry: Path, sharp: Path, min_size: int) -> None:
  size, sharp_size = (_header_size(path) for path in (blurry, sharp))
  if size != sharp_size:
    raise UserError(
      f'{blurry} is {size[0]}x{size[1]} but its sharp partner is {sharp_size[0]}x{sharp_size[1]}; '
      'both must have one size.'
    )
  check_size(*size, min_size, str(blurry))


def _header_size(path: Path) -> tuple[int, int]:
  try:
    with Image.open(path) as picture:
      return picture.size
  except (OSError, Image.DecompressionBombError) as error:
    raise UserError(f'{path} cannot be read as a picture; replace or remove it.') from error


def read_picture(path: str | os.PathLike) -> np.ndarray:
  """Decodes a file to (H, W, 3) uint8 RGB; raises UserError naming it where that fails.

  EXIF orientation is ignored: both pictures of a pair are taken as they are stored.
  """
  try:
    data = Path(path).read_bytes()
  except OSError as error:
    raise UserError(f'{path} cannot be opened: {error.strerror}.') from error
  return decode(data, str(path))


def decode(data: bytes, name: str) -> np.ndarray:
  """`read_picture` of a file's bytes; messages call it `name`."""
  flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
  picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
  if picture is None:
    raise UserError(
      f'{name} cannot be decoded: replace it if it is damaged, or save it as RGB of 8 or 16 bits.'
    )
  if picture.dtype == np.uint16:
    picture = np.rint(picture / 257).astype(np.uint8)
  if picture.dtype != np.uint8:
    raise UserError(f'{name} holds {picture.dtype} values; convert it to 8 or 16 bits.')
  return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)


class PictureCache:
  """The most recently used decoded pictures, read-only, within a number of bytes."""

  def __init__(self, limit: int):
    self._limit = limit
    self._used = 0
    self._pictures: OrderedDict[Hashable, np.ndarray] = OrderedDict()
    self._lock = threading.Lock()

  def picture(self, key: Hashable, read: Callable[[], np.ndarray]) -> np.ndarray:
    """The picture kept under a key, or what `read` gives."""
    with self._lock:
      if key in self._pictures:
        self._pictures.move_to_end(key)
        return self._pictures[key]
    picture = read()
    picture.flags.writeable = False
    with self._lock:
      if key not in self._pictures:
        self._pictures[key] = picture
        self._used += picture.nbytes
      while self._used > self._limit:
        _, oldest = self._pictures.popitem(last=False)
        self._used -= oldest.nbytes
    return picture
