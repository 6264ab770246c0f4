"""JPEG XL: what a file says before its pixels, and all of it.

Source: ISO/IEC 18181-1 (codestream, annex D) and 18181-2 (container).
"""

from typing import NamedTuple

import imagecodecs
import numpy as np
import pillow_jxl

from degrep_jax.common.errors import UserError
from degrep_jax.photos import boxes
from degrep_jax.photos.photo import Tags

_CODESTREAM = b'\xff\x0a'
_CONTAINER = b'\0\0\0\x0cJXL \r\n\x87\n'
_BLOCKS = (b'Exif', b'xml ')
_LARGEST_BLOCK = 2**24  # bytes of one that is compressed, so that a small file stays small
_RATIOS = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))  # of width to height


class Header(NamedTuple):
  """What comes before the pixels.

  Attributes:
    width, height: as stored, px.
    bits: of a channel.
    integers: whether the values are integers.
    animated: whether there are several frames.
    alpha: whether there are other channels than colours, which is alpha as a rule.
    lossy: of a file without other channels, whether the values were moved to another space of
      colours, as only lossy files' are.
    jpeg: whether the file is a JPEG file in other words.
  """

  width: int
  height: int
  bits: int
  integers: bool
  animated: bool
  alpha: bool
  lossy: bool
  jpeg: bool


def is_jpeg_xl(data: bytes) -> bool:
  """By its first bytes."""
  return data.startswith((_CODESTREAM, _CONTAINER))


def header(data: bytes) -> Header:
  """Of a file, or of a start of it that holds so much.

  Raises:
    ValueError: there is none.
  """
  stream, jpeg = data, False
  if data.startswith(_CONTAINER):
    parts = [*boxes.of(data)]
    jpeg = any(kind == b'jbrd' for kind, _ in parts)
    stream = b''.join(
      content[4:] if kind == b'jxlp' else content
      for kind, content in parts
      if kind in (b'jxlc', b'jxlp')
    )
  if not stream.startswith(_CODESTREAM):
    raise ValueError('no codestream')
  return _read_header(_Bits(stream[2:]), jpeg)


class _Bits:
  """Numbers from bytes, the lowest bit first."""

  def __init__(self, data: bytes):
    self._bits = int.from_bytes(data[:256], 'little')
    self._left = 8 * len(data[:256])

  def take(self, count: int) -> int:
    """An unsigned number of so many bits."""
    if count > self._left:
      raise ValueError('cut off')
    value = self._bits & ((1 << count) - 1)
    self._bits >>= count
    self._left -= count
    return value

  def choose(self, *choices: tuple[int, int]) -> int:
    """One of four (number, bits to be added to it): what the standard calls U32."""
    offset, count = choices[self.take(2)]
    return offset + self.take(count)


def _read_size(bits: _Bits) -> tuple[int, int]:
  """Width and height."""

  def side(small: int) -> int:
    return 8 * (1 + bits.take(5)) if small else bits.choose((1, 9), (1, 13), (1, 18), (1, 30))

  small = bits.take(1)
  height = side(small)
  ratio = bits.take(3)
  if not ratio:
    return side(small), height
  across, down = _RATIOS[ratio - 1]
  return height * across // down, height


def _read_header(bits: _Bits, jpeg: bool) -> Header:
  width, height = _read_size(bits)
  if bits.take(1):  # all by default
    return Header(width, height, 8, True, False, False, True, jpeg)
  animated = False
  if bits.take(1):  # more fields
    bits.take(3)  # orientation
    if bits.take(1):
      _read_size(bits)  # as it is to be shown
    if bits.take(1):
      _read_preview(bits)
    animated = bool(bits.take(1))
    if animated:
      bits.choose((100, 0), (1000, 0), (1, 10), (1, 30))  # ticks a second
      bits.choose((1, 0), (1001, 0), (1, 8), (1, 10))
      bits.choose((0, 0), (0, 3), (0, 16), (0, 32))  # loops
      bits.take(1)  # time codes
  depth, integers = _read_depth(bits)
  bits.take(1)  # room of 16 bits suffices
  others = bits.choose((0, 0), (1, 0), (2, 4), (1, 12))
  lossy = not others and bool(bits.take(1))
  return Header(width, height, depth, integers, animated, others > 0, lossy, jpeg)


def _read_preview(bits: _Bits) -> None:
  small = bits.take(1)
  choices = ((16, 0), (32, 0), (1, 5), (33, 9)) if small else ((1, 6), (65, 8), (321, 10), (1, 12))
  bits.choose(*choices)
  if not bits.take(3):  # the ratio
    bits.choose(*choices)


def _read_depth(bits: _Bits) -> tuple[int, bool]:
  """Bits of a channel, and whether they make integers."""
  if not bits.take(1):
    return bits.choose((8, 0), (10, 0), (12, 0), (1, 6)), True
  depth = bits.choose((32, 0), (16, 0), (24, 0), (1, 6))
  bits.take(4)  # of the exponent
  return depth, False


def jpeg_file(data: bytes) -> bytes:
  """The JPEG file that such a file is made of, to the bit."""
  return bytes(imagecodecs.jpegxl_decode_jpeg(data, numthreads=1))


def decode(data: bytes) -> np.ndarray:
  """`(H, W)` or `(H, W, C)`, upright: grey or RGB, alpha last; uint8, or uint16 of fewer bits.

  Raises:
    UserError: half a sentence on other channels.
  """
  values = imagecodecs.jpegxl_decode(data)
  if values.ndim == 3 and values.shape[2] > 4:
    raise UserError(f'has {values.shape[2]} channels: convert it to RGB')
  return values


def tags(data: bytes) -> tuple[Tags, tuple[str, ...]]:
  """What the file says of its pixels, and a note where some of it cannot be read."""
  found: dict[bytes, bytes] = {}
  notes: tuple[str, ...] = ()
  for kind, content in boxes.of(data) if data.startswith(_CONTAINER) else ():
    if kind != b'brob':
      found.setdefault(kind, content)
    elif content[:4] in _BLOCKS:
      try:
        block = imagecodecs.brotli_decode(content[4:], out=_LARGEST_BLOCK)
      except imagecodecs.BrotliError:
        notes = ('tags that cannot be read left out',)
      else:
        found.setdefault(content[:4], bytes(block))
  exif = found.get(b'Exif', b'')
  start = 4 + int.from_bytes(exif[:4], 'big')  # how far from here the TIFF structure starts
  _, _, _, icc, _ = pillow_jxl.Decoder(num_threads=-1)(data)
  told = Tags(
    icc=bytes(icc) or None,
    exif=exif[start:].removeprefix(b'Exif\0\0') or None,
    xmp=found.get(b'xml ') or None,
  )
  return told, notes
