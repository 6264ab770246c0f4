"""Photograph files of every kind, written and read by libraries that the package does not use for
it, or by hand."""

import functools
import io
import struct
import zlib

import cv2
import imagecodecs
import numpy as np
import pillow_heif
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


def heic(values, bits=8, **options):
  """A HEIC file; `bits` of what is stored, of values over the whole range of their kind."""
  channels = values.shape[-1]
  mode = {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}[channels] + (';16' if values.itemsize == 2 else '')
  file = io.BytesIO()
  options = {'quality': 95, 'chroma': 444, 'bit_depth': bits} | options
  height, width = values.shape[:2]
  pillow_heif.encode(mode, (width, height), np.ascontiguousarray(values).tobytes(), file, **options)
  return file.getvalue()


def boxed(kind, content):
  """A box of the ISO base media file family."""
  return struct.pack('>I4s', 8 + len(content), kind) + content


def jxl_with(data, *boxes):
  """A JPEG XL file that is a bare codestream in a container with more boxes, (type, content)."""
  more = b''.join(boxed(*box) for box in boxes)
  start = b'\0\0\0\x0cJXL \r\n\x87\n' + boxed(b'ftyp', b'jxl \0\0\0\0jxl ')
  return start + more + boxed(b'jxlc', data)


def segment(marker, content):
  """Of a JPEG file."""
  return struct.pack('>BBH', 0xFF, marker, 2 + len(content)) + content


def light(height, width):
  """(height, width, 4) of light up to four times white, half-precision floats."""
  rows, columns = np.mgrid[:height, :width] / max(height, width)
  return np.stack([columns, rows, 1 - columns, np.ones_like(rows)], -1).astype(np.float16) * 4


def ultra_hdr(height=96, width=128, orientation=1):
  """An Ultra HDR JPEG by the format's own library, which says so as ISO 21496-1 does."""
  data = bytes(imagecodecs.ultrahdr_encode(light(height, width)))
  return _placed(data, segment(0xE1, exif(orientation).tobytes()))


def android_ultra_hdr(height=96, width=128, orientation=1, video=b''):
  """The same as Android wrote it first: by XMP packets of both pictures, with a motion video's
  property among those of the first; the video comes last."""
  data = ultra_hdr(height, width, orientation)
  at = data.index(b'\xff\xd8', 2)
  picture, gain_map = data[:at], data[at:]
  for iso in (picture, gain_map):
    start = iso.index(b'urn:iso:std:iso:ts:21496:-1') - 4
    length = 2 + int.from_bytes(iso[start + 2 : start + 4], 'big')
    if iso is picture:
      picture = iso[:start] + iso[start + length :]
    else:
      gain_map = iso[:start] + iso[start + length :]
  gain_map = _placed(gain_map, _xmp(HDR_GAIN))
  promise = HDR_PROMISE.replace(b'LENGTH', b'%d' % len(gain_map))
  if video:
    promise = promise.replace(b'</rdf:Seq>', HDR_VIDEO % len(video) + b'</rdf:Seq>')
  start = picture.index(b'MPF\0') - 4
  length = 2 + int.from_bytes(picture[start + 2 : start + 4], 'big')
  picture = picture[:2] + _xmp(promise) + picture[2:start] + picture[start + length :]
  return picture + gain_map + video


def _xmp(packet):
  return segment(0xE1, b'http://ns.adobe.com/xap/1.0/\0' + packet)


def _placed(data, segments):
  """A JPEG file with segments first, its index of pictures mended."""
  data = data[:2] + segments + data[2:]
  at = data.find(b'MPF\0')
  if at > 0:  # by hand: two entries of 16 bytes, 50 bytes behind the byte order's mark
    entries = at + 4 + 50
    (size,) = struct.unpack_from('>I', data, entries + 4)
    data = bytearray(data)
    struct.pack_into('>I', data, entries + 4, size + len(segments))
    # The offset counts from the mark, which moves along where the segments come before it.
  return bytes(data)


_PACKET = (
  b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
  b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
  b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
)
# What the library says of the gain map of `light`, in the words of Android's specification.
HDR_GAIN = _PACKET + (
  b'hdrgm:Version="1.0" hdrgm:GainMapMin="0" hdrgm:GainMapMax="2" hdrgm:Gamma="1" '
  b'hdrgm:OffsetSDR="0.015625" hdrgm:OffsetHDR="0.015625" hdrgm:HDRCapacityMin="0" '
  b'hdrgm:HDRCapacityMax="2" hdrgm:BaseRenditionIsHDR="False"/></rdf:RDF></x:xmpmeta>'
)
HDR_PROMISE = (
  b'<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>'
  + _PACKET
  + b'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
  b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" '
  b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
  b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
  b'hdrgm:Version="1.0" GCamera:MotionPhoto="1" GCamera:BurstID="7" xmp:Rating="5">'
  b'<Container:Directory><rdf:Seq>'
  b'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="Primary" '
  b'Item:Mime="image/jpeg"/></rdf:li>'
  b'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="GainMap" '
  b'Item:Mime="image/jpeg" Item:Length="LENGTH"/></rdf:li>'
  b'</rdf:Seq></Container:Directory></rdf:Description></rdf:RDF></x:xmpmeta>'
  b'<?xpacket end="w"?>'
)
HDR_VIDEO = (
  b'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="MotionPhoto" '
  b'Item:Mime="video/mp4" Item:Length="%d"/></rdf:li>'
)
