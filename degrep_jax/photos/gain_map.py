"""Gain maps: the small JPEG file behind a picture that says how much brighter than white it shines.

It is light, not detail, and stays valid when the picture is restored: it is carried along, turned
upright like the picture.

Sources: Ultra HDR Image Format 1.1 (Android), ISO 21496-1, CIPA DC-007 (Multi-Picture Format).
"""

import io
import struct

import numpy as np
from PIL import Image, JpegImagePlugin
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from degrep_jax.photos import exif, segments, xmp
from degrep_jax.photos.photo import Tags

_MULTI_PICTURE = b'MPF\0'
_ENTRIES = 0xB002
_ISO = b'urn:iso:std:iso:ts:21496:-1\0'
_MARKS = (xmp.GAIN_MAP.encode(), _ISO, b'urn:com:apple:photo:2020:aux:hdrgainmap')
_PRIMARY = 0x030000  # a picture's kind among several
_INDEX_BYTES = 4 + 8 + 2 + 3 * 12 + 4 + 2 * 16  # of two pictures, and the name before it


def find(data: bytes, packet: bytes | None) -> bytes | None:
  """The gain map's JPEG file in a JPEG file, as it lies there, or None.

  Args:
    data: the whole file.
    packet: its XMP packet, which tells where nothing else does.
  """
  for start, size in [*_pictures(data), *_promised(data, packet)]:
    found = data[start : start + size]
    is_whole = len(found) == size and found.startswith(b'\xff\xd8')
    if is_whole and any(mark in found for mark in _MARKS):
      return found
  return None


def is_promised(data: bytes, packet: bytes | None) -> bool:
  """Whether a JPEG file says that it has a gain map."""
  said = any(segment.startswith(_ISO, 4) for _, _, segment in segments.of(data))
  return said or b'hdrgm:Version' in (packet or b'')


def upright(file: bytes, orientation: int) -> bytes:
  """A gain map turned as its picture is, with what it says of itself.

  Args:
    file: of `find`.
    orientation: EXIF's, of the picture.
  """
  if orientation not in range(2, 9):
    return file
  stored = JpegImagePlugin.JpegImageFile(io.BytesIO(file))
  turned = Image.fromarray(exif.upright(np.asarray(stored), orientation))
  tables, sampling = [*stored.quantization.values()], JpegImagePlugin.get_sampling(stored)
  written = io.BytesIO()
  turned.save(written, 'JPEG', qtables=tables, subsampling=max(0, sampling))
  tags = range(segments.APP1, segments.APP15 + 1)
  said = (segment for marker, _, segment in segments.of(file) if marker in tags)
  return segments.inserted(written.getvalue(), b''.join(said))


def promise(tags: Tags) -> bytes | None:
  """The XMP packet of a picture that is written with the gain map of `tags`."""
  if tags.gain_map is None or xmp.GAIN_MAP.encode() not in tags.gain_map:
    return tags.xmp
  return xmp.with_gain_map(tags.xmp, len(tags.gain_map))


def attached(picture: bytes, gain_map: bytes) -> bytes:
  """A JPEG file and a gain map behind it, with the segments that say so."""
  said = segments.made(segments.APP2, _ISO + bytes(4)) if _ISO in gain_map else b''
  at = (
    segments.end_of_tags(picture) + len(said) + 4 + len(_MULTI_PICTURE)
  )  # where offsets count from
  size = len(picture) + len(said) + 4 + _INDEX_BYTES
  entries = struct.pack('>IIIHH', _PRIMARY, size, 0, 0, 0)
  entries += struct.pack('>IIIHH', 0, len(gain_map), size - at, 0, 0)
  index = _MULTI_PICTURE + b'MM\0*' + struct.pack('>IH', 8, 3)
  index += struct.pack('>HHI4s', 0xB000, 7, 4, b'0100')
  index += struct.pack('>HHII', 0xB001, 4, 1, 2)
  index += struct.pack('>HHII', _ENTRIES, 7, len(entries), _INDEX_BYTES - 4 - len(entries))
  index += bytes(4) + entries
  return segments.inserted(picture, said + segments.made(segments.APP2, index)) + gain_map


def _pictures(data: bytes) -> list[tuple[int, int]]:
  """(start, bytes) of the pictures behind the first, by the file's index of them."""
  for marker, at, segment in segments.of(data):
    if marker == segments.APP2 and segment.startswith(_MULTI_PICTURE, 4):
      start, block = at + 8, segment[8:]
      try:
        directory = ImageFileDirectory_v2(block[:8])
        file = io.BytesIO(block)
        file.seek(directory.next)
        directory.load(file)
        order = '>' if block.startswith(b'MM') else '<'
        entries = struct.iter_unpack(order + 'IIIHH', directory[_ENTRIES])
        return [(start + offset, size) for _, size, offset, *_ in entries if offset]
      except (KeyError, SyntaxError, TypeError, struct.error):
        return []  # a damaged index
  return []


def _promised(data: bytes, packet: bytes | None) -> list[tuple[int, int]]:
  """(start, bytes) of what the XMP packet calls a gain map."""
  if packet and xmp.GAIN_MAP.encode() in packet and (place := xmp.place_of_gain_map(packet)):
    from_end, length = place
    return [(len(data) - from_end, length)]
  return []
