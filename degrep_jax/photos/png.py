"""PNG's chunks: those of a file that say something of its pixels, read and written as they are.

Source: Portable Network Graphics (PNG) Specification, Third Edition, W3C 2025.
"""

import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from degrep_jax.photos.photo import Tags

SIGNATURE = b'\x89PNG\r\n\x1a\n'
HEADER_START = len(SIGNATURE) + 8
HEADER_END = len(SIGNATURE) + 12 + 13  # IHDR always comes first and has 13 bytes
_METRE = 0.0254  # an inch's
# Colours, and texts: what holds for other pixels too. iCCP, eXIf and pHYs are written from Tags.
_KEPT = (b'cHRM', b'gAMA', b'sRGB', b'cICP', b'mDCV', b'cLLI', b'tEXt', b'zTXt', b'iTXt')
_XMP = b'XML:com.adobe.xmp\0'
_RAW_EXIF = b'Raw profile type exif\0'  # as ImageMagick wrote it before PNG had eXIf


def bits(data: bytes) -> int:
  """Of a channel."""
  return data[24]


def height(data: bytes) -> int:
  """Of the picture."""
  return int.from_bytes(data[HEADER_START + 4 : HEADER_START + 8], 'big')


def kept_chunks(data: bytes) -> tuple[tuple[bytes, bytes], ...]:
  """(type, data) of the chunks that a restored picture keeps, besides those that `Tags` names."""
  return tuple(
    (kind, content)
    for kind, content in chunks(data)
    if kind in _KEPT and not content.startswith((_XMP, _RAW_EXIF))
  )


def has_credentials(data: bytes) -> bool:
  """Whether a file says, signed, who made it; that holds for its own pixels alone."""
  return any(kind == b'caBX' for kind, _ in chunks(data))


def has_end(data: bytes) -> bool:
  """Whether a file has its last chunk, IEND."""
  return any(kind == b'IEND' for kind, _ in chunks(data))


def raw_exif(texts: Mapping[Any, Any]) -> bytes | None:
  """The EXIF block among the texts of a file, or None."""
  # A name and a length, a line each, then hexadecimal digits.
  lines = str(texts.get(_RAW_EXIF[:-1].decode(), '')).split('\n', 3)
  try:
    return bytes.fromhex(lines[-1]).removeprefix(b'Exif\0\0') or None
  except ValueError:
    return None


def with_chunks(data: bytes, chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
  """A PNG file with more chunks, right after its header."""
  parts = [data[:HEADER_END]]
  parts += [chunk(kind, content) for kind, content in chunks]
  return b''.join([*parts, data[HEADER_END:]])


def chunk(kind: bytes, content: bytes) -> bytes:
  """A chunk with its length and checksum."""
  checksum = zlib.crc32(kind + content)
  return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', checksum)


def tag_chunks(tags: Tags) -> Iterator[tuple[bytes, bytes]]:
  """Yields (type, data) of all that PNG has chunks for."""
  if tags.icc:
    yield b'iCCP', b'ICC profile\0\0' + zlib.compress(tags.icc)
  if tags.dpi:
    yield b'pHYs', struct.pack('>IIB', *np.rint(np.divide(tags.dpi, _METRE)).astype(int), 1)
  if tags.exif:
    yield b'eXIf', tags.exif
  if tags.xmp:
    yield b'iTXt', _XMP + b'\0\0\0\0' + tags.xmp
  yield from tags.png


def checked_chunks(data: bytes) -> Iterator[tuple[bytes, bytes, bool]]:
  """Yields (type, data, whether its checksum agrees) of all chunks; of one that is cut off what
  there is, which counts as sound."""
  at = len(SIGNATURE)
  while at + 8 <= len(data):
    length, kind = struct.unpack_from('>I4s', data, at)
    content, checksum = data[at + 8 : at + 8 + length], data[at + 8 + length : at + 12 + length]
    is_sound = len(checksum) < 4 or zlib.crc32(kind + content) == int.from_bytes(checksum, 'big')
    yield kind, content, is_sound
    at += 12 + length


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
  """Yields (type, content) of the chunks of a PNG file; the last one of a damaged file may be cut
  short."""
  for kind, content, _ in checked_chunks(data):
    yield kind, content
