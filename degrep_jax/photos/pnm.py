"""PGM and PPM of more than 8 bits, which Pillow would reduce.

Source: the netpbm formats, https://netpbm.sourceforge.net/doc/ppm.html.
"""

import re

import numpy as np

# Magic number, width, height and the highest value, between them white space and comments.
_BETWEEN = rb'(?:\s|#[^\n\r]*[\n\r])+'
_HEADER = re.compile(
  rb'P([2356])' + _BETWEEN + rb'(\d+)' + _BETWEEN + rb'(\d+)' + _BETWEEN + rb'(\d+)\s'
)
_COMMENT = re.compile(rb'#[^\n\r]*')
_COLOURS, _PLAIN = (b'3', b'6'), (b'2', b'3')  # kinds in colour, and kinds in decimal digits


def decode(data: bytes) -> np.ndarray | None:
  """`(H, W, 1 or 3)` uint16 over the whole range; None of a file that Pillow reads as well.

  Raises:
    ValueError: a file that is too short, or values above the highest.
  """
  match = _deep(data)
  if match is None:
    return None
  width, height, top = (int(number) for number in match.groups()[1:])
  channels = 3 if match[1] in _COLOURS else 1
  count = width * height * channels
  if match[1] in _PLAIN:
    digits = _COMMENT.sub(b' ', data[match.end() :]).split(maxsplit=count)[:count]
    values = np.array(digits, dtype=object).astype(np.int64)
    if len(values) < count:
      raise ValueError(f'{len(values)} of {count} values')
  else:
    values = np.frombuffer(data, '>u2', count, match.end())
  if values.size and not 0 <= values.min() <= values.max() <= top:
    raise ValueError(f'values above {top}')
  return np.rint(values * (65535 / top)).astype(np.uint16).reshape(height, width, channels)


def mended(data: bytes) -> tuple[bytes, int] | None:
  """A file of the whole rows of another in binary form, and how many rows that claims; None where
  there are none, or where Pillow reads it."""
  match = _deep(data)
  if match is None or match[1] in _PLAIN:
    return None
  width, height = int(match[2]), int(match[3])
  stride = 2 * width * (3 if match[1] in _COLOURS else 1)
  rows = min((len(data) - match.end()) // stride, height) if stride else 0
  header = data[: match.start(3)] + b'%d' % rows + data[match.end(3) : match.end()]
  return (header + data[match.end() :], height) if rows else None


def _deep(data: bytes) -> re.Match[bytes] | None:
  """The header of a file of more than 8 bits."""
  match = _HEADER.match(data)
  return match if match and 255 < int(match[4]) < 65536 else None
