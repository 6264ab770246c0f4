"""PGM and PPM of more than 8 bits, which Pillow would reduce.

Source: the netpbm formats, https://netpbm.sourceforge.net/doc/ppm.html.
"""

import re

import numpy as np

# Magic number, width, height and the highest value, between them white space and comments.
_BETWEEN = rb'(?:\s|#[^\n\r]*[\n\r])+'
_HEADER = re.compile(
  rb'P([56])' + _BETWEEN + rb'(\d+)' + _BETWEEN + rb'(\d+)' + _BETWEEN + rb'(\d+)\s'
)


def decode(data: bytes) -> np.ndarray | None:
  """`(H, W, 1 or 3)` uint16 over the whole range; None of a file that Pillow reads as well.

  Raises:
    ValueError: a file that is too short, or values above the highest.
  """
  match = _HEADER.match(data)
  if not match or not 255 < int(match[4]) < 65536:
    return None
  width, height, top = (int(number) for number in match.groups()[1:])
  channels = 3 if match[1] == b'6' else 1
  values = np.frombuffer(data, '>u2', width * height * channels, match.end())
  if values.max() > top:
    raise ValueError(f'values above {top}')
  return np.rint(values * (65535 / top)).astype(np.uint16).reshape(height, width, channels)
