"""JPEG 2000: what a file says before its pixels, and all of it.

Sources: ISO/IEC 15444-1, annexes A (codestream) and I (JP2).
"""

import struct
from typing import NamedTuple

import imagecodecs
import numpy as np

from degrep_jax.photos import boxes
from degrep_jax.photos.photo import Tags

_FILE = b'\0\0\0\x0cjP  \r\n\x87\n'
_CODESTREAM = b'\xff\x4f\xff\x51'
_CODING, _START_OF_TILE = 0xFF52, 0xFF90
_XMP = bytes.fromhex('be7acfcb97a942e89c71999491e3afac')
_EXIF = b'JpgTiffExif->JP2'


class Header(NamedTuple):
  """What comes before the pixels.

  Attributes:
    bits: of a channel, the most.
    channels: their number.
    lossy: whether values were rounded when it was compressed.
  """

  bits: int
  channels: int
  lossy: bool


def is_jpeg_2000(data: bytes) -> bool:
  """By its first bytes."""
  return data.startswith((_FILE, _CODESTREAM))


def header(data: bytes) -> Header:
  """Of a file, or of a start of it that holds so much.

  Raises:
    ValueError: there is none.
  """
  stream = data
  if data.startswith(_FILE):
    stream = next((content for name, content in boxes.of(data) if name == b'jp2c'), b'')
  if not stream.startswith(_CODESTREAM) or len(stream) < 42:
    raise ValueError('no codestream')
  (channels,) = struct.unpack_from('>H', stream, 40)
  depths = stream[42 : 42 + 3 * channels : 3]
  if len(depths) < channels or not channels:
    raise ValueError('cut off')
  return Header(1 + max(depth & 0x7F for depth in depths), channels, _is_lossy(stream))


def _is_lossy(stream: bytes) -> bool:
  """Whether the main header asks for the transform that rounds."""
  at = 2
  while at + 14 <= len(stream):
    marker, length = struct.unpack_from('>HH', stream, at)
    if marker == _CODING:
      return stream[at + 13] == 0
    if marker == _START_OF_TILE or length < 2:
      break
    at += 2 + length
  return False


def decode(data: bytes) -> np.ndarray:
  """`(H, W)` or `(H, W, C)` of a file of more than 8 bits: uint16 of fewer bits."""
  return imagecodecs.jpeg2k_decode(data)


def tags(data: bytes) -> Tags:
  """What the file says of its pixels, but for the resolution."""
  icc = exif = xmp = None
  for name, content in boxes.leaves(data) if data.startswith(_FILE) else ():
    if name == b'colr' and content[:1] in (b'\2', b'\3'):  # a restricted profile, or any
      icc = content[3:]
    elif name == b'uuid' and content.startswith(_XMP):
      xmp = content[16:]
    elif name == b'uuid' and content.startswith(_EXIF):
      exif = content[16:].removeprefix(b'Exif\0\0')
  return Tags(icc=icc or None, exif=exif or None, xmp=xmp or None)
