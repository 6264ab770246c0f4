"""Pairs of a blurry and a sharp picture, and the folders they are read from."""

import io
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image

from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import to_8_bits
from degrep_jax.data.blur_field import unknown
from degrep_jax.data.folders import find_pairs, require_utf8
from degrep_jax.data.lists import read_list
from degrep_jax.data.released.layouts import FULL, SUB_PICTURES
from degrep_jax.data.released.splits import SPLITS
from degrep_jax.data.released.trees import open_tree
from degrep_jax.photos import exif, kinds, reading, tiff

PRINTED = ('CMYK', 'LAB')
ORIENTATION = 0x0112  # TIFF's and EXIF's tag
BY_PLUGIN = ('HEIF', 'JPEG2000', 'JXL')  # Pillow does not tell how they are turned
# Read as photographs are. OpenCV, quicker for other kinds, multiplies the colours of a TIFF file by
# its alpha, and mixes up channels that lie apart.
AS_PHOTOGRAPHS = (*BY_PLUGIN, 'AVIF', 'TIFF')
HEAD = 32  # bytes that tell a file's kind


@dataclass(frozen=True)
class Pair:
  """One scene twice: `blurry` and `sharp`, (H, W, 3) uint8 RGB of the same size."""

  name: str
  blurry: np.ndarray
  sharp: np.ndarray


class Crop(NamedTuple):
  """A window of a pair, and what is known of its blur.

  Attributes:
    blurry: (S, S, 3) uint8.
    sharp: the same scene.
    reference: another picture under the same blur, or the blurry one, where there is no other.
    field: of the blur, see blur_field.py, (S // STEP, S // STEP, 4) float32.
  """

  blurry: np.ndarray
  sharp: np.ndarray
  reference: np.ndarray
  field: np.ndarray


class Source(Protocol):
  """Pairs by number. Methods are safe to call from several threads."""

  names: Sequence[str]

  def __len__(self) -> int: ...

  def pair(self, item: int) -> Pair:
    """The whole pictures of item number `item`."""
    ...

  def crop(self, item: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random window of the item, not augmented: blurry and sharp, (size, size, 3) uint8."""
    ...

  def known_crop(self, item: int, size: int, rng: np.random.Generator) -> Crop:
    """Like `crop`, and what the source knows of the blur."""
    blurry, sharp = self.crop(item, size, rng)
    return Crop(blurry, sharp, blurry, unknown(size))


class FilePairs(Source):
  """Pairs of picture files, turned upright; grey and palette pictures become RGB, alpha is dropped,
  16 bits are scaled to 8.

  Args:
    files: (name, blurry file, sharp file) each, names unique.
    min_size: smallest height and width that will do, the training crop; 0 asks for none.
    cache_bytes: decoded pictures are kept up to this many bytes.
    defer_errors: raise the errors below where an item is asked for.
    shrink: a crop is cut from the pictures scaled down by a whole number, drawn from 1 to this one
      as far as they are large enough.

  Raises:
    UserError: a file of another size or EXIF orientation than its partner, smaller than min_size,
      in the colours of print (CMYK), not a picture, or of a name that is no UTF-8. Only headers are
      read for this; data that ends early is found, with the same error, when it is decoded.
  """

  def __init__(
    self,
    files: Sequence[tuple[str, Path, Path]],
    min_size: int = 0,
    cache_bytes: int = 2**30,
    defer_errors: bool = False,
    shrink: int = 1,
  ):
    self._shrink = shrink
    self._errors: dict[int, str] = {}
    for item, (name, blurry, sharp) in enumerate(files):
      try:
        require_utf8(name, blurry)
        header = read_header(blurry, str(blurry))
        require_partners(header, read_header(sharp, str(sharp)), str(blurry))
        check_size(*header.size, min_size, str(blurry))
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
    name = str(self._files[item][1])
    window = random_window(pair.sharp.shape, size, rng, name, self._shrink)
    return shrunk(pair.blurry[window], size), shrunk(pair.sharp[window], size)


class FolderPairs(FilePairs):
  """Pairs in two folders that stand side by side, at any depth: `blur/` or `input/`, and `sharp/`,
  `target/` or `gt/`.

  Reads GOPRO_Large as it is unpacked, {train,test}/<sequence>/{blur,blur_gamma,sharp}/NNNNNN.png,
  and the copies of it, HIDE and RealBlur that others hand on, {train,test}/{input,target}/*.png.
  `blur_gamma` is never used, as in all published numbers. Where neither train/ nor test/ stands in
  `root`, all of it is used whatever the split. How partners are found: `folders.find_pairs`.

  Args:
    root: folder of the data.
    split: 'train' or 'test'.
    pictures: 'full'; or 'sub512', which takes `blur_crops/` and `sharp_crops/` (or `input_crops/`
      and `target_crops/`), where these stand beside folders of whole pictures, too.
    options: see `FilePairs`.

  Attributes:
    alone: sharp files without a blurry partner, which are passed over.

  Raises:
    UserError: nothing to read in root, halves of pairs, more than one way to read a folder, or as
      `FilePairs`.
  """

  def __init__(self, root: str | os.PathLike, split: str, pictures: str = FULL, **options: Any):
    base = _split_folder(Path(root), split)
    with open_tree(base, scratch=base) as tree:
      found = find_pairs(tree.paths, tree.locate, crops=pictures == SUB_PICTURES)
    if not found.pairs:
      wanted = ('blur_crops/ and sharp_crops/', 'input_crops/ and target_crops/')
      if pictures == FULL:
        wanted = ('blur/ and sharp/', 'input/ and target/')
      raise UserError(
        f'No pairs in {root}: it needs folders {" or ".join(wanted)} side by side with pictures in '
        'them.'
      )
    self.alone = tuple(base / path for path in found.alone)
    files = [(name, base / blurry, base / sharp) for name, blurry, sharp in found.pairs]
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
    UserError: no such list, an empty one, a line that is no pair of files, files that are not there
      (how many and the first), or as `FilePairs`.
  """

  def __init__(self, root: str | os.PathLike, list_name: str, split: str, **options: Any):
    path = Path(root) / f'{list_name}_{split}_list.txt'
    try:
      data = path.read_bytes()
    except OSError as error:
      raise UserError(f'The list of pairs {path} cannot be read: {error.strerror}.') from None
    items = read_list(data, str(path))
    files = [(item.name, Path(root) / item.blurry, Path(root) / item.sharp) for item in items]
    if not options.get('defer_errors'):
      _require_listed(files, path)
    super().__init__(files, **options)


def _require_listed(files: Sequence[tuple[str, Path, Path]], path: Path) -> None:
  """Raises UserError where a list names files that are not there."""
  missing = [file for _, *pair in files for file in pair if not file.exists()]
  if missing:
    raise UserError(
      f'{len(missing):,} of the {2 * len(files):,} files that {path} names are not there, the '
      f'first is {missing[0]}: finish the download, or take their lines out.'
    )


def has_splits(root: Path) -> bool:
  """Whether a folder is divided into train/ and test/."""
  return any((root / name).is_dir() for name in SPLITS)


def random_window(
  shape: tuple[int, ...], size: int, rng: np.random.Generator, name: str, shrink: int = 1
) -> tuple[slice, slice]:
  """Rows and columns of a random (size, size) window, or of one that is a whole number of times as
  large, drawn from 1 to `shrink`; UserError if the picture is smaller than `size`."""
  height, width = shape[:2]
  check_size(width, height, size, name)
  if shrink > 1:
    size *= int(rng.integers(1, min(shrink, min(height, width) // size) + 1))
  top, left = rng.integers(0, (height - size + 1, width - size + 1))
  return slice(top, top + size), slice(left, left + size)


def shrunk(picture: np.ndarray, size: int) -> np.ndarray:
  """A square picture, uint8, scaled down by a whole number to a side: means of squares."""
  if len(picture) == size:
    return picture
  return cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)


def check_size(
  width: int, height: int, min_size: int, name: str, what: str = 'training crop', by: str = 'crop'
) -> None:
  """Raises UserError where a picture is too small for `what`, which `data.<by>` sets."""
  if min(width, height) < min_size:
    raise UserError(
      f'{name} is {width}x{height}, smaller than the {what} of {min_size}: lower data.{by} or '
      'remove the picture.'
    )


def _split_folder(root: Path, split: str) -> Path:
  if not root.is_dir():
    raise UserError(f'The data folder {root} does not exist.')
  if not has_splits(root):
    return root
  if not (root / split).is_dir():
    raise UserError(f'{root} has no folder {split}/ for that split.')
  return root / split


class Header(NamedTuple):
  """What the head of a picture file says.

  Attributes:
    size: width and height of the upright picture, px.
    orientation: how the stored picture is turned, EXIF's 1 (upright) to 8.
  """

  size: tuple[int, int]
  orientation: int


def read_header(file: Path | io.BytesIO, name: str) -> Header:
  """Raises UserError where the file is no picture, or one in the colours of print."""
  kind = kinds.of(_head(file))
  if kind in BY_PLUGIN:
    return Header(reading.size(_content(file), name), 1)
  try:
    with Image.open(file) as picture:
      size, mode = picture.size, picture.mode
      if picture.format == 'TIFF':  # whose size Pillow gives as that of the upright picture
        orientation = picture.getexif().get(ORIENTATION, 1)
      else:
        stored = picture.info.get('exif', b'').removeprefix(b'Exif\0\0')
        orientation = exif.orientation(stored, None)
        size = size[::-1] if orientation > 4 else size
  except Exception as error:  # Pillow raises whatever a damaged head makes it stumble over
    if kind == 'TIFF' and not isinstance(error, Image.DecompressionBombError):
      return _tiff_header(file, name, None)
    raise UserError(f'{name} cannot be read as a picture; replace or remove it.') from error
  if mode in PRINTED:
    raise UserError(f'{name} has the colours {mode} of print: save both pictures of it as RGB.')
  found = Header(size, orientation if orientation in range(1, 9) else 1)
  return _tiff_header(file, name, found) if kind == 'TIFF' else found


def _tiff_header(file: Path | io.BytesIO, name: str, seen: Header | None) -> Header:
  """Of a TIFF file; `seen` is what Pillow says, which holds where tifffile knows no better."""
  try:
    with file.open('rb') if isinstance(file, Path) else io.BytesIO(file.getvalue()) as opened:
      width, height, _, orientation, _ = tiff.measure(opened)
  except UserError as error:
    raise UserError(f'{name} {error}.') from error
  except Exception as error:  # tifffile raises whatever a damaged file makes it stumble over
    if seen:
      return seen
    raise UserError(f'{name} cannot be read as a picture; replace or remove it.') from error
  return Header((width, height) if orientation < 5 else (height, width), orientation)


def _content(file: Path | io.BytesIO) -> bytes:
  return file.read_bytes() if isinstance(file, Path) else file.getvalue()


def _head(file: Path | io.BytesIO) -> bytes:
  """A file's first bytes; none of one that cannot be opened."""
  if isinstance(file, io.BytesIO):
    return file.getvalue()[:HEAD]
  try:
    with file.open('rb') as opened:
      return opened.read(HEAD)
  except OSError:  # reading its header will tell
    return b''


def require_partners(blurry: Header, sharp: Header, name: str) -> None:
  """Raises UserError where two pictures cannot be a pair; `name` is that of the blurry one."""
  if blurry.orientation != sharp.orientation:
    raise UserError(
      f'{name} has the EXIF orientation {blurry.orientation} but its sharp partner has '
      f'{sharp.orientation}, so that one of them may be turned: save both upright.'
    )
  if blurry.size != sharp.size:
    width, height = sharp.size
    raise UserError(
      f'{name} is {blurry.size[0]}x{blurry.size[1]} but its sharp partner is {width}x{height}; '
      'both must have one size.'
    )


def read_picture(path: str | os.PathLike) -> np.ndarray:
  """Decodes a file to (H, W, 3) uint8 RGB, upright; raises UserError naming it where that fails."""
  try:
    data = Path(path).read_bytes()
  except OSError as error:
    raise UserError(f'{path} cannot be opened: {error.strerror}.') from error
  return decode(data, str(path))


def decode(data: bytes, name: str) -> np.ndarray:
  """`read_picture` of a file's bytes; messages call it `name`."""
  kind = kinds.of(data)
  if kind == 'TIFF':  # which as a photograph may have the colours of print
    read_header(io.BytesIO(data), name)
  if kind in AS_PHOTOGRAPHS:
    return to_8_bits(reading.read(data, name).pixels)
  flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH  # and upright
  try:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
  except cv2.error:  # of sides that no picture has
    picture = None
  if picture is None:
    raise UserError(
      f'{name} cannot be decoded: replace it if it is damaged, or save it as RGB of 8 or 16 bits.'
    )
  if picture.dtype == np.uint16:
    picture = to_8_bits(picture)
  if picture.dtype != np.uint8:
    raise UserError(f'{name} holds {picture.dtype} values; convert it to 8 or 16 bits.')
  if not data.startswith(b'\x89PNG'):  # which knows no colours of print
    read_header(io.BytesIO(data), name)
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
