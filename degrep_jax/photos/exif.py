"""Orientation: pixels turned upright, and the tags that would turn them once more.

EXIF blocks are changed in place: the notes that cameras leave in them hold offsets from the start
of the block and would break if it were written anew.
"""

import re
import struct
from collections.abc import Iterator

import numpy as np

_ORIENTATION, _EXIF_IFD = 0x0112, 0x8769
_WIDTHS, _HEIGHTS = (0x0100, 0xA002), (0x0101, 0xA003)  # of TIFF, and of EXIF
_INTEGERS = {3: 'H', 4: 'I'}  # TIFF's SHORT and LONG
_DIRECTORIES = (_EXIF_IFD, 0x8825, 0xA005)  # entries that lead to one: settings, place, others
_SIZES = (0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4)  # bytes of a value by its kind
_XMP_ORIENTATION = re.compile(rb'(tiff:Orientation(?:>|=["\']))([1-8])')


def upright(stored: np.ndarray, orientation: int) -> np.ndarray:
  """The picture `(H, W, ...)` as it is to be seen.

  Args:
    stored: pixels in the order of the file.
    orientation: EXIF's, 1 to 8; others count as 1.
  """
  if orientation in (5, 6, 7, 8):
    stored = stored.swapaxes(0, 1)
  if orientation in (3, 4, 7, 8):
    stored = stored[::-1]
  if orientation in (2, 3, 6, 7):
    stored = stored[:, ::-1]
  return np.ascontiguousarray(stored)


def orientation(exif: bytes | None, xmp: bytes | None) -> int:
  """What an EXIF block says, else what an XMP packet says, else 1."""
  match = _XMP_ORIENTATION.search(xmp or b'')
  found = int(match[2]) if match else 1
  try:
    for tag, integer, at in _integers(exif or b''):
      if tag == _ORIENTATION:
        (found,) = struct.unpack_from(integer, exif or b'', at)
  except (KeyError, struct.error):
    pass  # a damaged block
  return found


def of_upright(exif: bytes, width: int, height: int) -> bytes | None:
  """An EXIF block for a picture turned upright and restored.

  Its orientation becomes 1 and its size the one given; the thumbnail, which shows the picture as it
  was, is unlinked.

  Args:
    exif: a TIFF structure.
    width, height: of the upright picture, px.

  Returns:
    The changed block, or None where it is damaged.
  """
  changed = bytearray(exif)
  new = {_ORIENTATION: 1, **dict.fromkeys(_WIDTHS, width), **dict.fromkeys(_HEIGHTS, height)}
  try:
    for tag, integer, at in _integers(exif):
      if tag in new:
        struct.pack_into(integer, changed, at, new[tag])
    order, first = _start(exif)
    (entries,) = struct.unpack_from(order + 'H', exif, first)
    struct.pack_into(order + 'I', changed, first + 2 + 12 * entries, 0)
  except (KeyError, struct.error):
    return None
  return bytes(changed)


def without_orientation(exif: bytes) -> bytes:
  """A block whose first directory has no orientation; everything else stays where it is."""
  changed = bytearray(exif)
  try:
    order, first = _start(exif)
    (entries,) = struct.unpack_from(order + 'H', exif, first)
    end = first + 2 + 12 * entries + 4  # of the directory, with the next one's offset
    for at in range(first + 2, end - 4, 12):
      if struct.unpack_from(order + 'H', exif, at) == (_ORIENTATION,):
        changed[at : end - 12] = exif[at + 12 : end]
        struct.pack_into(order + 'H', changed, first, entries - 1)
        break
  except (KeyError, struct.error):
    pass  # a damaged block
  return bytes(changed)


def shortened(exif: bytes) -> bytes:
  """A block of `of_upright` without what lies behind its last entry's value, as the thumbnail does;
  as it is where it is damaged."""
  try:
    order, first = _start(exif)
    directories, end = [first], 0
    for directory in directories:
      (entries,) = struct.unpack_from(order + 'H', exif, directory)
      end = max(end, directory + 2 + 12 * entries + 4)
      for at in range(directory + 2, directory + 2 + 12 * entries, 12):
        tag, kind, count, offset = struct.unpack_from(order + 'HHII', exif, at)
        size = _SIZES[kind] * count
        end = max(end, offset + size if size > 4 else 0)
        if tag in _DIRECTORIES and offset not in directories:
          directories.append(offset)
  except (KeyError, IndexError, struct.error):
    return exif
  return exif[:end]


def xmp_of_upright(xmp: bytes) -> bytes:
  """An XMP packet whose orientation, if it has one, is 1."""
  return _XMP_ORIENTATION.sub(rb'\g<1>1', xmp)


def _start(exif: bytes) -> tuple[str, int]:
  """Byte order of a block and where its first directory is."""
  order = {b'II*\0': '<', b'MM\0*': '>'}[exif[:4]]
  (first,) = struct.unpack_from(order + 'I', exif, 4)
  return order, first


def _integers(exif: bytes) -> Iterator[tuple[int, str, int]]:
  """Yields tag, kind for `struct` and place of the single integers of the first directory and of
  the one with the camera's settings.

  Raises:
    KeyError, struct.error: a damaged block.
  """
  order, first = _start(exif)
  directories = [first]
  for directory in directories:
    (entries,) = struct.unpack_from(order + 'H', exif, directory)
    for at in range(directory + 2, directory + 2 + 12 * entries, 12):
      tag, kind, count = struct.unpack_from(order + 'HHI', exif, at)
      if kind in _INTEGERS and count == 1:
        yield tag, order + _INTEGERS[kind], at + 8
        if tag == _EXIF_IFD and directory == first:
          directories += struct.unpack_from(order + 'I', exif, at + 8)
