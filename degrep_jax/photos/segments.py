"""Segments of a JPEG file: what it says before its first scan.

Source: ITU-T T.81, annex B.
"""

import struct
from collections.abc import Iterator

APP0, APP1, APP2, APP15 = 0xE0, 0xE1, 0xE2, 0xEF
_SCAN, _END, _PADDING = 0xDA, 0xD9, 0xFF


def of(data: bytes) -> Iterator[tuple[int, int, bytes]]:
  """Yields (marker, where it starts, the segment with its marker) up to the first scan."""
  at = 2
  while at + 4 <= len(data) and data[at] == _PADDING:
    marker, length = struct.unpack_from('>xBH', data, at)
    if marker == _PADDING:
      at += 1
      continue
    if marker in (_SCAN, _END):
      return
    yield marker, at, data[at : at + 2 + length]
    at += 2 + length


def first_scan(data: bytes) -> int:
  """Where the first scan's marker is, or where it would be in a file that is cut off."""
  at = 2
  for _, start, segment in of(data):
    at = start + len(segment)
  return at


def made(marker: int, content: bytes) -> bytes:
  """A segment with its marker and length."""
  return struct.pack('>BBH', 0xFF, marker, 2 + len(content)) + content


def inserted(data: bytes, segments: bytes) -> bytes:
  """A file, as Pillow writes it, with more segments behind those of applications."""
  at = end_of_tags(data)
  return data[:at] + segments + data[at:]


def end_of_tags(data: bytes) -> int:
  """Where the segments of applications, which come first in files that Pillow wrote, end."""
  at = 2
  for marker, start, segment in of(data):
    if marker not in range(APP0, APP15 + 1):
      break
    at = start + len(segment)
  return at
