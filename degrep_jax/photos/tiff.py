"""TIFF of more than 8 bits a channel, which Pillow does not hold, and the tags of any TIFF."""

import dataclasses
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

import numpy as np
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import divided_by_alpha
from degrep_jax.photos.photo import Tags

_EXIF_IFD, _GPS_IFD, _INTEROPERABILITY_IFD = 34665, 34853, 40965
_XMP, _ICC = 700, 34675
_X_RESOLUTION, _Y_RESOLUTION, _UNIT, _ORIENTATION = 282, 283, 296, 274
_CENTIMETRE, _INCH = 3, 2
# Who, when and with what: names of document and page, description, maker, model, software, date,
# artist, computer, copyright, rating, captions (IPTC, Photoshop's block, Windows' five).
_KEPT = (
  *(269, 270, 271, 272, 285, 305, 306, 315, 316, 33432, 18246, 33723, 34377),
  *range(40091, 40096),
)
_BITS = (1, 2, 4, *range(8, 17))
_UNSIGNED = tifffile.SAMPLEFORMAT.UINT
_COLOURS: dict[int, int] = {
  tifffile.PHOTOMETRIC.MINISWHITE: 1,
  tifffile.PHOTOMETRIC.MINISBLACK: 1,
  tifffile.PHOTOMETRIC.RGB: 3,
}
_STRIP_BYTES = 2**20
_OFFSETS, _LENGTHS = 273, 279  # of the strips
_LONG8 = 16  # BigTIFF's integers of 64 bits
# Of strips, so that a file of 32-bit offsets holds them and its tags.
_CLASSIC_BYTES = 2**32 - 2**24
_CLASSIC, _BIG = b'II*\0\x08\0\0\0', b'II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0'
_RAW = "is a camera's raw file: develop it first"
_CANON_RAW, _DNG_VERSION, _SUB_IFDS = b'CR', 50706, 330
_MOSAICS = (tifffile.PHOTOMETRIC.CFA, tifffile.PHOTOMETRIC.LINEAR_RAW)


def measure(opened: BinaryIO) -> tuple[int, int, int, int, int]:
  """Width, height, bits a channel, orientation (1 to 8) and number of channels (0 where they are
  neither grey nor RGB), from the headers of a file.

  Raises:
    UserError: half a sentence on what a single photograph has not: several pages, values that are
      no integers of 1, 2, 4 or 8 to 16 bits, or a sensor's.
    Exception: what tifffile says of a file that it does not understand.
  """
  if opened.read(10)[8:] == _CANON_RAW:
    raise UserError(_RAW)
  opened.seek(0)
  with tifffile.TiffFile(opened) as file:
    page, *others = _pages(file)
    if _DNG_VERSION in page.tags or _is_of_sensor(page):
      raise UserError(_RAW)
    if others := [other for other in others if not other.is_reduced]:
      raise UserError(f'holds {1 + len(others)} pages: save the one wanted as a file')
    # None: several unequal ones.
    if page.bitspersample not in _BITS or page.sampleformat != _UNSIGNED:
      raise UserError('holds values that are neither 8- nor 16-bit integers: convert it')
    orientation = page.tags.get(_ORIENTATION)
    turned = int(orientation.value) if orientation and orientation.count == 1 else 1
    turned = turned if turned in range(1, 9) else 1
    channels = page.samplesperpixel if page.photometric in _COLOURS else 0
    return page.imagewidth, page.imagelength, page.bitspersample, turned, channels


def _pages(file: tifffile.TiffFile) -> Iterator[tifffile.TiffPage]:
  """Yields the pages of a file, of which some go round in a circle."""
  seen = set()
  for page in file.pages:
    if page.offset in seen:
      return
    seen.add(page.offset)
    yield page.aspage()


def _is_of_sensor(page: tifffile.TiffPage) -> bool:
  """Whether a first page is of a raw file: its mosaic, or a preview beside it."""
  return page.photometric in _MOSAICS or (page.is_reduced and _SUB_IFDS in page.tags)


def decode(data: bytes) -> np.ndarray:
  """`(H, W, C)` uint8, or uint16 of as many bits as the file has: grey or RGB, alpha last and not
  premultiplied.

  Raises:
    UserError: half a sentence on colours that are none of these.
  """
  with tifffile.TiffFile(io.BytesIO(data)) as file:
    page = file.pages.first
    colours = _COLOURS.get(page.photometric, 0)
    if not colours or page.samplesperpixel not in (colours, colours + 1):
      bits = page.bitspersample
      raise UserError(f'has {page.samplesperpixel} channels of {bits} bits: convert it to RGB')
    values = page.asarray()
    if values.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
      values = np.moveaxis(values, 0, -1)
    values = values.reshape(*values.shape[:2], page.samplesperpixel)
    top = 2**page.bitspersample - 1
    if top < 255:
      values, top = values.astype(np.uint8) * (255 // top), 255
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
      values = np.concatenate([top - values[..., :1], values[..., 1:]], axis=-1)
    if page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,):
      values = divided_by_alpha(values, top)
    return values


def tags(data: bytes) -> tuple[Tags, tuple[str, ...]]:
  """What the file says of its pixels, and a note where some of it cannot be read."""
  source = _Directory(data)
  kept = Image.Exif()
  for tag in _KEPT:
    if (value := source.get(tag)) is not None:
      kept[tag] = value
  for tag in (_EXIF_IFD, _GPS_IFD):
    if (offset := source.get(tag)) is not None:
      below = _Directory(data, offset, tag)
      values = {name: below.get(name) for name in below.names if name != _INTEROPERABILITY_IFD}
      kept[tag] = {name: value for name, value in values.items() if value is not None}
      source.damaged |= below.damaged
  try:
    exif = kept.tobytes().removeprefix(b'Exif\0\0') if len(kept) else None
  except Exception:  # values of kinds that their entries cannot have
    exif, source.damaged = None, True
  found = Tags(
    icc=source.get(_ICC, bytes),
    exif=exif,
    xmp=source.get(_XMP, bytes),
    dpi=_resolution(source),
  )
  return found, ('tags that cannot be read left out',) if source.damaged else ()


def _resolution(source: '_Directory') -> tuple[float, float] | None:
  """Pixels an inch, horizontally and vertically."""
  x, y = source.get(_X_RESOLUTION, float), source.get(_Y_RESOLUTION, float)
  unit = source.get(_UNIT, int) or _INCH
  if x is None or y is None or unit not in (_INCH, _CENTIMETRE):
    return None
  scale = 2.54 if unit == _CENTIMETRE else 1
  return x * scale, y * scale


class _Directory:
  """Entries of a file, classic or BigTIFF; those that cannot be read count as missing.

  Attributes:
    names: numbers of the entries.
    damaged: whether any could not be read.
  """

  def __init__(self, data: bytes, offset: Any = None, group: int | None = None):
    self.damaged = False
    self._entries = ImageFileDirectory_v2()
    try:
      head = data[: len(_BIG if b'+' in data[2:4] else _CLASSIC)]
      self._entries = ImageFileDirectory_v2(head, group=group)
      file = io.BytesIO(data)
      file.seek(self._entries.next if offset is None else int(offset))
      self._entries.load(file)
    except Exception:  # Pillow raises whatever a damaged directory makes it stumble over
      self.damaged = True
    self.names = tuple(self._entries)

  def get(self, tag: int, kind: Callable[[Any], Any] | None = None) -> Any:
    """The value of an entry as `kind` makes it, or None."""
    try:
      if tag not in self._entries:
        return None
      value = self._entries[tag]
      if isinstance(value, tuple) and len(value) == 1:
        (value,) = value
      return value if kind is None else kind(value)
    except Exception:
      self.damaged = True
      return None


def encode(channels: np.ndarray, tags: Tags) -> bytes:
  """A file, compressed without loss (Deflate, differences of neighbours).

  Args:
    channels: `(H, W)` or `(H, W, C)` uint8 or uint16: grey or RGB, alpha last.
    tags: those that TIFF has are written.

  Returns:
    The file; a BigTIFF where a classic one would overflow.
  """
  channels = channels.reshape(*channels.shape[:2], -1)
  height, width, samples = channels.shape
  rows = max(1, _STRIP_BYTES // (width * samples * channels.itemsize))
  strips = [_strip(channels[top : top + rows]) for top in range(0, height, rows)]
  fields: dict[int, Any] = {
    256: width,
    257: height,
    258: (8 * channels.itemsize,) * samples,
    259: 8,  # compression: Deflate
    262: 2 if samples > 2 else 1,  # RGB, or black is zero
    _OFFSETS: _starts(strips),  # counted from the end of the directory, where `save` expects them
    277: samples,
    278: rows,
    _LENGTHS: tuple(len(strip) for strip in strips),
    284: 1,  # channels side by side
    317: 2,  # predictor: differences
  }
  if samples in (2, 4):
    fields[338] = 2  # alpha, not premultiplied
  try:
    return _file(fields, strips, tags)
  except Exception:  # some cameras' entries are of kinds that no directory can hold
    return _file(fields, strips, dataclasses.replace(tags, exif=None))


def _file(fields: dict[int, Any], strips: Sequence[bytes], tags: Tags) -> bytes:
  is_big = sum(map(len, strips)) > _CLASSIC_BYTES
  directory = ImageFileDirectory_v2(_BIG if is_big else _CLASSIC)
  if is_big:
    directory.tagtype |= {_OFFSETS: _LONG8, _LENGTHS: _LONG8}
  if tags.exif:
    _add_exif(directory, tags.exif)
  if tags.icc:
    directory.tagtype[_ICC] = 7  # UNDEFINED
    directory[_ICC] = tags.icc
  if tags.xmp:
    directory.tagtype[_XMP] = 1  # BYTE
    directory[_XMP] = tags.xmp
  if tags.dpi:
    directory[_X_RESOLUTION], directory[_Y_RESOLUTION] = tags.dpi
    directory[_UNIT] = _INCH
  for tag, value in fields.items():
    directory[tag] = value
  file = io.BytesIO()
  directory.save(file)
  file.writelines(strips)
  return file.getvalue()


def _add_exif(directory: ImageFileDirectory_v2, block: bytes) -> None:
  exif = Image.Exif()
  exif.load(block)
  for tag in _KEPT:
    if tag in exif:
      directory[tag] = exif[tag]
  for tag in (_EXIF_IFD, _GPS_IFD):
    if entries := dict(exif.get_ifd(tag)):
      entries.pop(_INTEROPERABILITY_IFD, None)  # an offset in the block
      directory[tag] = entries


def _starts(strips: Sequence[bytes]) -> tuple[int, ...]:
  lengths = [len(strip) for strip in strips]
  return tuple(sum(lengths[:n]) for n in range(len(lengths)))


def _strip(rows: np.ndarray) -> bytes:
  """The rows as their first pixels and the differences to the left ones, compressed."""
  differences = np.concatenate([rows[:, :1], np.diff(rows, axis=1)], axis=1)
  # The directory's byte order is little-endian.
  return zlib.compress(differences.astype(differences.dtype.newbyteorder('<')).tobytes())
