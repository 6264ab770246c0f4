"""Boxes: what files of the ISO base media family are made of (HEIC, AVIF, JPEG XL, JPEG 2000).

Source: ISO/IEC 14496-12, section 4.2.
"""

import struct
from collections.abc import Iterator

_FULL = (b'meta',)  # boxes whose version and flags, four bytes, come before their content
_CONTAINERS = (b'meta', b'iprp', b'ipco', b'jp2h', b'res ')


def of(data: bytes) -> Iterator[tuple[bytes, bytes]]:
  """Yields (type, content) of the boxes of a file, or of another's content.

  What is cut off is yielded as far as it goes.
  """
  at = 0
  while at + 8 <= len(data):
    length, kind = struct.unpack_from('>I4s', data, at)
    header = 8
    if length == 1 and at + 16 <= len(data):
      (length,) = struct.unpack_from('>Q', data, at + 8)
      header = 16
    elif length == 0:  # to the end
      length = len(data) - at
    if length < header:
      return
    yield kind, data[at + header : at + length]
    at += length


def leaves(data: bytes) -> Iterator[tuple[bytes, bytes]]:
  """Yields (type, content) of the boxes of a file and of those within the ones that describe the
  picture."""
  for kind, content in of(data):
    if kind in _CONTAINERS:
      yield from leaves(content[4:] if kind in _FULL else content)
    else:
      yield kind, content
