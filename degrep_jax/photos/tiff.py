"""TIFF with 16 bits a channel, which Pillow does not hold, and the tags of any TIFF file."""

import dataclasses
import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from degrep_jax.common.errors import UserError
from degrep_jax.photos.photo import Tags

_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+')
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
_UNSIGNED = tifffile.SAMPLEFORMAT.UINT
_COLOURS: dict[int, int] = {
  tifffile.PHOTOMETRIC.MINISWHITE: 1,
  tifffile.PHOTOMETRIC.MINISBLACK: 1,
  tifffile.PHOTOMETRIC.RGB: 3,
}
_STRIP_BYTES = 2**20


def is_tiff(data: bytes) -> bool:
  """By its first bytes."""
  return data[:4] in _MAGIC


def measure(data: bytes) -> tuple[int, int, int]:
  """Width, height and bits a channel.

  Raises:
    UserError: half a sentence on what a single photograph has not: several pages, or values that
      are no integers of up to 8 bits or of 16.
  """
  with tifffile.TiffFile(io.BytesIO(data)) as file:
    page, *others = (each.aspage() for each in file.pages)
    if others := [other for other in others if not other.is_reduced]:
      raise UserError(f'holds {1 + len(others)} pages: save the one wanted as a file')
    # None: several unequal ones.
    if page.bitspersample not in (1, 2, 4, 8, 16) or page.sampleformat != _UNSIGNED:
      raise UserError('holds values that are neither 8- nor 16-bit integers: convert it')
    return page.imagewidth, page.imagelength, page.bitspersample


def decode_16(data: bytes) -> np.ndarray:
  """`(H, W, C)` uint16 of a file of 16 bits: grey or RGB, alpha last and not premultiplied.

  Raises:
    UserError: half a sentence on colours that are none of these.
  """
  with tifffile.TiffFile(io.BytesIO(data)) as file:
    page = file.pages.first
    colours = _COLOURS.get(page.photometric, 0)
    if not colours or page.samplesperpixel not in (colours, colours + 1):
      raise UserError(f'has {page.samplesperpixel} channels of 16 bits: convert it to RGB')
    values = page.asarray()
    if values.ndim == 3 and page.planarconfig == tifffile.PLANARCONFIG.SEPARATE:
      values = np.moveaxis(values, 0, -1)
    values = values.reshape(*values.shape[:2], page.samplesperpixel)
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
      values = np.concatenate([65535 - values[..., :1], values[..., 1:]], axis=-1)
    if page.extrasamples[:1] == (tifffile.EXTRASAMPLE.ASSOCALPHA,):
      values = _divided_by_alpha(values)
    return values


def tags(data: bytes) -> tuple[Tags, int]:
  """What the file says of its pixels, and their orientation."""
  source = Image.Exif()
  source.load_from_fp(io.BytesIO(data))
  kept = Image.Exif()
  for tag in _KEPT:
    if tag in source:
      kept[tag] = source[tag]
  for directory in (_EXIF_IFD, _GPS_IFD):
    if directory in source:
      kept[directory] = source.get_ifd(directory)
  unit, dpi = source.get(_UNIT, _INCH), None
  if _X_RESOLUTION in source and _Y_RESOLUTION in source and unit in (_INCH, _CENTIMETRE):
    scale = 2.54 if unit == _CENTIMETRE else 1
    dpi = (float(source[_X_RESOLUTION]) * scale, float(source[_Y_RESOLUTION]) * scale)
  found = Tags(
    icc=bytes(source[_ICC]) if _ICC in source else None,
    exif=kept.tobytes().removeprefix(b'Exif\0\0') if len(kept) else None,
    xmp=bytes(source[_XMP]) if _XMP in source else None,
    dpi=dpi,
  )
  return found, source.get(_ORIENTATION, 1)


def encode(channels: np.ndarray, tags: Tags) -> bytes:
  """A file, compressed without loss (Deflate, differences of neighbours).

  Args:
    channels: `(H, W)` or `(H, W, C)` uint8 or uint16: grey or RGB, alpha last.
    tags: those that TIFF has are written.
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
    273: _starts(strips),  # counted from the end of the directory, where `save` expects them
    277: samples,
    278: rows,
    279: tuple(len(strip) for strip in strips),
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
  directory = ImageFileDirectory_v2()
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


def _divided_by_alpha(values: np.ndarray) -> np.ndarray:
  colours, alpha = np.split(values.astype(np.float64), [-1], axis=-1)
  divided = np.minimum(colours * 65535 / np.maximum(alpha, 1), 65535)
  return np.rint(np.concatenate([divided, alpha], axis=-1)).astype(np.uint16)


def _starts(strips: Sequence[bytes]) -> tuple[int, ...]:
  lengths = [len(strip) for strip in strips]
  return tuple(sum(lengths[:n]) for n in range(len(lengths)))


def _strip(rows: np.ndarray) -> bytes:
  """The rows as their first pixels and the differences to the left ones, compressed."""
  differences = np.concatenate([rows[:, :1], np.diff(rows, axis=1)], axis=1)
  # The directory's byte order is little-endian.
  return zlib.compress(differences.astype(differences.dtype.newbyteorder('<')).tobytes())
