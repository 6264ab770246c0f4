"""Photograph files of every kind, written and read by libraries that the package does not use for
it, or by hand."""

import functools
import io
import struct
import zlib

import cv2
import numpy as np
import tifffile
from PIL import Image, ImageCms

MODES = {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}
PNG_COLOUR = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's colour type by channels
XMP = (
  b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
  b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description '
  b'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def noise(height, width, channels, dtype=np.uint8, seed=0):
  """(height, width, channels) of values from the whole range."""
  top = np.iinfo(dtype).max
  rng = np.random.default_rng(seed)
  return rng.integers(0, top, (height, width, channels), dtype, endpoint=True)


def gradient(height, width, channels):
  """Smooth uint8 values, which survive lossy compression: channels rise in different directions."""
  rows, columns = np.mgrid[:height, :width] / max(height, width)
  planes = [rows, columns, 1 - rows, (rows + columns) / 2]
  return np.uint8(np.stack(planes[:channels], axis=-1) * 200 + 20)


@functools.cache  # it holds the second in which it was made
def profile(space='sRGB'):
  """An ICC profile."""
  return ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes()


def exif(orientation=1):
  """As a camera writes it: who, when, how long, a note of the maker's, where."""
  block = Image.Exif()
  block[0x010F], block[0x0132] = 'Maker', '2020:02:03 04:05:06'
  block[0x0112] = orientation
  block.get_ifd(0x8769).update({0x829A: 0.01, 0x927C: b'a note of the maker', 0xA002: 7})
  block.get_ifd(0x8825).update({1: 'N', 2: (47.0, 22.0, 11.0)})
  return block


def pillow(values, format, **options):
  """Channels, or an image, as a file."""
  if isinstance(values, np.ndarray):
    values = Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)
  file = io.BytesIO()
  values.save(file, format, **options)
  return file.getvalue()


def chunk(kind, content):
  """Of a PNG file."""
  checksum = zlib.crc32(kind + content)
  return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', checksum)


def png(values, *chunks, size=None):
  """A PNG file of 8 or 16 bits by hand; `size` (width, height) may be another than the values'."""
  height, width, channels = values.shape
  header = struct.pack(
    '>IIBBBBB', *(size or (width, height)), 8 * values.itemsize, PNG_COLOUR[channels], 0, 0, 0
  )
  rows = b''.join(b'\0' + row.astype(row.dtype.newbyteorder('>')).tobytes() for row in values)
  parts = [
    chunk(b'IHDR', header),
    *chunks,
    chunk(b'IDAT', zlib.compress(rows)),
    chunk(b'IEND', b''),
  ]
  return b'\x89PNG\r\n\x1a\n' + b''.join(parts)


def tiff(values, **options):
  """A TIFF file by tifffile."""
  channels = values.shape[-1]
  if 'photometric' not in options:
    options['photometric'] = 'rgb' if channels > 2 else 'minisblack'
  if channels in (2, 4):
    options = {'extrasamples': ['unassalpha']} | options
  if channels > 1:
    options = {'planarconfig': 'contig'} | options
  if options.get('planarconfig') == 'separate':
    values = np.moveaxis(values, -1, 0)
  file = io.BytesIO()
  tifffile.imwrite(file, values[..., 0] if channels == 1 else values, **options)
  return file.getvalue()


def stored(data):
  """(H, W, C) as a file holds them: grey or RGB, alpha last, not turned."""
  if data[:4] in (b'II*\0', b'MM\0*'):
    with tifffile.TiffFile(io.BytesIO(data)) as file:
      values = file.asarray()
  elif data.startswith(b'\x89PNG'):
    values = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    order = {0: None, 4: [0, 3], 2: [2, 1, 0], 6: [2, 1, 0, 3]}[data[25]]
    values = values[..., None] if order is None else values[..., order]
  else:
    with Image.open(io.BytesIO(data)) as picture:
      values = np.asarray(picture)
  return values.reshape(*values.shape[:2], -1)
