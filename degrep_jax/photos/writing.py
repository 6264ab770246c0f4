"""Photographs to files."""

import io
import struct
from typing import Any

import cv2
import imagecodecs
import numpy as np
from PIL import Image, JpegImagePlugin

from degrep_jax.common.errors import UserError
from degrep_jax.photos import exif, gain_map, png, tiff
from degrep_jax.photos.photo import Compression, Photo

QUALITY = 95  # of JPEG and WebP where nothing else is asked for
AVIF_QUALITY = 90  # as near to the original as JPEG's 95
_SUBSAMPLINGS = ('4:4:4', '4:2:2', '4:2:0')
# Of libjpeg, 35 less than the format's own, of WebP, and of AVIF's advanced profile.
_LONGEST_SIDE = {'JPEG': 65_500, 'WEBP': 16_383, 'AVIF': 16_384}
_BMP_RESOLUTION = 38  # where a BMP file holds pixels a metre, horizontally and vertically


def encode(photo: Photo, quality: int | None = None) -> bytes:
  """The file.

  PNG, TIFF and BMP keep every value. JPEG is written with the file's own subsampling and, value by
  value, the finer of its own quantisation and that of quality 95; WebP as it was, without loss or
  with quality 95; AVIF with the file's own subsampling and quality 90.

  Args:
    photo: `fitted` to its format.
    quality: 1 to 100, of JPEG, of AVIF, and of WebP, which it makes lossy; None as said above.

  Raises:
    UserError: half a sentence on why the format cannot hold the picture, or why no file of it came
      about.
  """
  longest = _LONGEST_SIDE.get(photo.format)
  if longest and max(photo.size) > longest:
    raise UserError(
      f'is {photo.size[0]}x{photo.size[1]}, and {photo.format} holds at most {longest:,} pixels a '
      'side: choose another --format'
    )
  try:
    return _ENCODERS[photo.format](photo, quality)
  except MemoryError as error:
    raise UserError('takes more memory to write than there is') from error
  except Exception as error:  # encoders raise whatever a picture makes them stumble over
    raise UserError(f'cannot be written as {photo.format} ({error})') from error


def _encode_jpeg(photo: Photo, quality: int | None) -> bytes:
  compression, tags = photo.compression, photo.tags
  options: dict[str, Any] = {
    'optimize': True,
    'progressive': compression.progressive,
    'subsampling': compression.subsampling,
    'icc_profile': tags.icc,
    'extra': b''.join(
      struct.pack('>BBH', 0xFF, marker, 2 + len(content)) + content for marker, content in tags.jpeg
    ),
  }
  if quality is None and compression.tables:
    options['qtables'] = _finer(compression)
  else:
    options['quality'] = QUALITY if quality is None else quality
  if tags.exif:
    options['exif'] = b'Exif\0\0' + tags.exif
  if packet := gain_map.promise(tags):
    options['xmp'] = packet
  if tags.dpi:
    options['dpi'] = tags.dpi
  try:
    data = _save(photo.channels, 'JPEG', **options)
  except OSError:  # Pillow's buffer for these is too small where there is much noise
    data = _save(photo.channels, 'JPEG', **options | {'optimize': False, 'progressive': False})
  return gain_map.attached(data, tags.gain_map) if tags.gain_map else data


def _finer(compression: Compression) -> list[list[int]]:
  """For every table the finer, value by value, of the file's and quality 95's."""
  black = io.BytesIO(_save(np.zeros((8, 8, 3), np.uint8), 'JPEG', quality=QUALITY))
  tables = JpegImagePlugin.JpegImageFile(black).quantization
  brightness, colours = tables[0], tables[1]
  return [
    np.minimum(table, colours if number else brightness).tolist()
    for number, table in enumerate(compression.tables[:2])
  ]


def _encode_webp(photo: Photo, quality: int | None) -> bytes:
  tags = photo.tags
  pixels = photo.pixels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha])
  lossless = photo.compression.lossless and quality is None
  return _save(
    pixels,
    'WEBP',
    lossless=lossless,
    exact=True,  # colours of transparent pixels too
    quality=100 if lossless else QUALITY if quality is None else quality,
    icc_profile=tags.icc,
    exif=tags.exif or b'',
    xmp=tags.xmp or b'',
  )


def _encode_avif(photo: Photo, quality: int | None) -> bytes:
  tags = photo.tags
  return _save(
    photo.channels if photo.alpha is None else np.dstack([photo.pixels, photo.alpha]),
    'AVIF',
    quality=AVIF_QUALITY if quality is None else quality,
    subsampling=_SUBSAMPLINGS[photo.compression.subsampling],
    icc_profile=tags.icc,
    # Pillow writes a block that has an orientation anew.
    exif=exif.without_orientation(tags.exif) if tags.exif else b'',
    xmp=tags.xmp or b'',
  )


def _encode_png(photo: Photo, quality: int | None) -> bytes:
  pixels = imagecodecs.png_encode(np.ascontiguousarray(photo.channels))
  return png.with_chunks(bytes(pixels), png.tag_chunks(photo.tags))


def _encode_tiff(photo: Photo, quality: int | None) -> bytes:
  return tiff.encode(photo.channels, photo.tags)


def _encode_bmp(photo: Photo, quality: int | None) -> bytes:
  if photo.alpha is None:
    data = bytearray(_save(photo.channels, 'BMP'))
  else:  # Pillow writes no header that says so
    bgra = np.dstack([photo.pixels[..., ::-1], photo.alpha])
    data = bytearray(cv2.imencode('.bmp', bgra)[1].tobytes())
  if photo.tags.dpi:
    metre = np.rint(np.divide(photo.tags.dpi, 0.0254)).astype(int)
    struct.pack_into('<ii', data, _BMP_RESOLUTION, *metre)
  return bytes(data)


def _save(channels: np.ndarray, format: str, **options: Any) -> bytes:
  file = io.BytesIO()
  Image.fromarray(channels).save(file, format, **options)
  return file.getvalue()


_ENCODERS = {
  'JPEG': _encode_jpeg,
  'PNG': _encode_png,
  'WEBP': _encode_webp,
  'TIFF': _encode_tiff,
  'BMP': _encode_bmp,
  'AVIF': _encode_avif,
}
