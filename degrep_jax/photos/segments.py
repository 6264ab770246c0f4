"""Segments of a JPEG file: what it says before its first scan.

Sources: ITU-T T.81, annex B; Adobe Photoshop File Formats Specification, image resources.
"""

import struct
from collections.abc import Iterator

APP0, APP1, APP2, APP15 = 0xE0, 0xE1, 0xE2, 0xEF
_SCAN, _END, _PADDING = 0xDA, 0xD9, 0xFF
_PHOTOSHOP, _RESOURCE = b'Photoshop 3.0\0', b'8BIM'
_THUMBNAILS = (1033, 1036)  # of Photoshop 4 and later


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


def without_thumbnails(content: bytes) -> bytes:
  """Photoshop's block (APP13) without the thumbnails, which show a picture as it was: b'' where
  nothing else was in it; as it is where it has none or cannot be read."""
  if not content.startswith(_PHOTOSHOP):
    return content
  numbers, resources = [], []
  at, end = len(_PHOTOSHOP), len(content.rstrip(b'\0'))
  try:
    while at < end:
      kind, number, name = struct.unpack_from('>4sHB', content, at)
      data = at + 6 + (name + 2) // 2 * 2 + 4  # a name and its length fill pairs of bytes
      (length,) = struct.unpack_from('>I', content, data - 4)
      if kind != _RESOURCE or data + length > len(content):
        return content  # for example of a block in several segments
      numbers.append(number)
      resources.append(content[at : data + length + length % 2])
      at += len(resources[-1])
  except struct.error:
    return content
  if not set(numbers).intersection(_THUMBNAILS):
    return content
  kept = [of for number, of in zip(numbers, resources, strict=True) if number not in _THUMBNAILS]
  return _PHOTOSHOP + b''.join(kept) if kept else b''
