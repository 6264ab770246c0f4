"""What is left of pictures whose files are cut off: the rows that are certainly whole."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from degrep_jax.photos import png, segments

_JPEG, _SCAN, _END_OF_IMAGE = b'\xff\xd8\xff', b'\xff\xda', b'\xff\xd9'
_NOISE_BYTES = 2**21  # enough for some rows of blocks
_SLICE = 4096  # bytes that are decompressed at a time


def mended_png(data: bytes) -> bytes | None:
  """A PNG file of the whole rows of another, with its other chunks; None where there are none. An
  interlaced file, whose rows come in passes, gets its end back, and nothing else.

  Args:
    data: a file that is cut off, or whose pixels fail a checksum: what comes before that is taken.
  """
  header = data[png.HEADER_START : png.HEADER_END - 4]
  if len(header) < 13:
    return None
  if header[12]:
    sound = [png.chunk(*of) for *of, is_sound in png.checked_chunks(data) if is_sound]
    return png.SIGNATURE + b''.join([*sound, png.chunk(b'IEND', b'')])
  width, height, bits, colour = struct.unpack('>IIBB', header[:10])
  channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
  stride = 1 + (width * bits * channels + 7) // 8  # bytes of a row and what predicts it
  raw = _decompressed(data, height * stride)
  filters = np.frombuffer(raw[: len(raw) // stride * stride], np.uint8)[::stride]
  rows = min(height, int(np.argmax(filters > 4)) if (filters > 4).any() else len(filters))
  if not rows:
    return None
  others = [
    (kind, content)
    for kind, content, is_sound in png.checked_chunks(data)
    if kind not in (b'IHDR', b'IDAT', b'IEND') and is_sound
  ]
  return png.SIGNATURE + b''.join(
    png.chunk(kind, content)
    for kind, content in (
      (b'IHDR', header[:4] + struct.pack('>I', rows) + header[8:]),
      *others,
      (b'IDAT', zlib.compress(raw[: rows * stride], 1)),
      (b'IEND', b''),
    )
  )


def _decompressed(data: bytes, most: int) -> bytes:
  """Rows of a PNG file as far as they go, `most` bytes of them."""
  parts = []
  for kind, content, is_sound in png.checked_chunks(data):
    if kind == b'IDAT' and not is_sound:
      break
    if kind == b'IDAT':
      parts.append(content)
  stream, raw, inflate = b''.join(parts), list[bytes](), zlib.decompressobj()
  try:
    for at in range(0, len(stream), _SLICE):
      raw.append(inflate.decompress(stream[at : at + _SLICE], most))
      most -= len(raw[-1])
      if not most:  # which zlib takes for no limit
        break
  except zlib.error:
    pass  # what came before it is kept
  return b''.join(raw)


def whole_rows(data: bytes, formats: tuple[str, ...]) -> Image.Image | None:
  """The rows of a file that are certainly what they were, or None where there are none.

  Args:
    data: a file that is cut off.
    formats: Pillow's, one of which it is.
  """
  if data.startswith(_JPEG):
    return _rows_of_jpeg(data)
  # Decoded over black and over white: what is equal has been written.
  black, white = (_over(data, formats, fill) for fill in (0, 255))
  runs = np.flatnonzero(np.diff(np.pad(_equal_rows(black, white).astype(int), 1)))
  first, end = max(runs.reshape(-1, 2), key=lambda run: run[1] - run[0], default=(0, 0))
  return black.crop((0, int(first), black.width, int(end))) if end else None


def _over(data: bytes, formats: tuple[str, ...], fill: int) -> Image.Image:
  """A file decoded as far as it goes, over one colour."""
  picture = Image.open(io.BytesIO(data), formats=formats)
  picture.im = Image.new(picture.mode, picture.size, (fill,) * len(picture.getbands())).im
  try:
    picture.load()
  except Exception:  # decoders raise whatever a damaged file makes them stumble over
    picture.tile = []  # it counts as loaded
  return picture


def _equal_rows(one: Image.Image, other: Image.Image) -> np.ndarray:
  """(H,) of whether the rows of two pictures are the same."""
  equal = np.asarray(one) == np.asarray(other)
  return equal.reshape(len(equal), -1).all(axis=1)


def _rows_of_jpeg(data: bytes) -> Image.Image | None:
  """As `whole_rows`. A progressive file of which the first scan is whole counts as whole."""
  # Ended at once, and after noise: where these differ, something is missing.
  rng = np.random.default_rng(0)
  noise = rng.integers(0, 0xFF, _NOISE_BYTES, np.uint8).tobytes()
  ended, continued = (
    Image.open(io.BytesIO(data + more + _END_OF_IMAGE), formats=('JPEG',)) for more in (b'', noise)
  )
  *scans, last = _components_by_scan(data)
  channels = len(ended.getbands())
  rows = ended.height
  if len(set().union(*scans)) < channels:
    if len(set(last).union(*scans)) < channels:
      return None  # a whole channel is missing
    differing = np.flatnonzero(~_equal_rows(ended, continued))
    rows = int(differing[0]) if len(differing) else rows
  return ended.crop((0, 0, ended.width, rows)) if rows else None


def _components_by_scan(data: bytes) -> list[bytes]:
  """Of every scan of a JPEG file the numbers of the components whose mean values it holds."""
  found, at = [], segments.first_scan(data)
  while 0 < at < len(data) - 5:
    count = data[at + 4]
    numbers, start_of_band = data[at + 5 : at + 5 + 2 * count : 2], data[at + 5 + 2 * count]
    found.append(b'' if start_of_band else numbers)
    at = data.find(_SCAN, at + 2)
  return found
