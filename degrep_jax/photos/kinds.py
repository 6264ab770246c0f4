"""Kinds of files: which are read, by their names and by their first bytes, and as what each is
written."""

import os

from degrep_jax.photos import heif, jpeg_2000, jpeg_xl, segments
from degrep_jax.photos.photo import FORMAT_OF, FORMATS

# Pillow's formats that are read and not written, with the endings of their names: those that
# programs of today write. `DRAWN` names what Pillow also opens and is no picture of pixels.
READ_ONLY = {
  'HEIF': ('.heic', '.heif', '.hif'),
  'JPEG2000': ('.jp2', '.j2k', '.j2c', '.jpc', '.jpf', '.jpx'),
  'JXL': ('.jxl',),
  'MPO': ('.mpo',),
  'PPM': ('.ppm', '.pgm', '.pbm', '.pnm'),
  'GIF': ('.gif',),
  'TGA': ('.tga',),
  'PCX': ('.pcx',),
  'QOI': ('.qoi',),
  'SGI': ('.sgi',),
  'PSD': ('.psd',),
  'SUN': ('.ras',),
  'DDS': ('.dds',),
  'ICNS': ('.icns',),
  'ICO': ('.ico',),
}
_NAMES = {'JPEG2000': 'JPEG 2000', 'JXL': 'JPEG XL', 'HEIF': 'HEIC', 'PPM': 'PNM', 'WEBP': 'WebP'}
SUFFIXES = tuple(suffix for of in (FORMATS, READ_ONLY) for group in of.values() for suffix in group)

# Cameras' raw files, which are not read.
RAW_SUFFIXES = ('.arw', '.cr2', '.cr3', '.dng', '.nef', '.orf', '.pef', '.raf', '.rw2', '.srw')

_HEAD = 2**18  # bytes, at most what comes before the pixels
_JPEG = b'\xff\xd8\xff'
_STARTS = (_JPEG, b'\x89PNG', b'GIF8', b'BM', b'8BPS', b'qoif')  # that Pillow knows
_LOSSLESS = (0xC3, 0xC7, 0xCB, 0xCF, 0xF7)  # markers of frames: lossless JPEG, and JPEG-LS
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
_RAW_STARTS = (b'FUJIFILMCCD-RAW', b'IIRO', b'IIRS', b'MMOR', b'IIU\0', b'FOVb')
_VIDEO_BRANDS = (b'isom', b'iso2', b'mp41', b'mp42', b'qt  ', b'M4V ', b'avc1', b'3gp4', b'3gp5')


def of(data: bytes) -> str | None:
  """The kind of a file, by its first bytes: a key of `FORMATS` or `READ_ONLY`, of those that this
  package tells apart itself; None for what Pillow is to tell."""
  if jpeg_xl.is_jpeg_xl(data):
    return 'JXL'
  if jpeg_2000.is_jpeg_2000(data):
    return 'JPEG2000'
  if data[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
    return 'TIFF'
  return heif.kind(data)


def name(kind: str) -> str:
  """Of a kind, as people call it."""
  return _NAMES.get(kind, kind)


def written_as(data: bytes, kind: str | None) -> str:
  """The format that a file is written in where nothing else is asked for, a key of `FORMATS`.

  Its own where that is written, but for AVIF of more than 8 bits; else JPEG for what was compressed
  with loss, has no alpha and no more than 8 bits, and PNG for the rest.

  Args:
    data: the file, or a start of it.
    kind: of it, as `of` or Pillow tells.
  """
  lossy = kind == 'MPO'
  try:
    if kind == 'AVIF':
      return 'AVIF' if heif.header(data).bits == 8 else 'PNG'
    if kind == 'HEIF':
      about = heif.header(data)
      lossy = about.bits == 8 and not about.alpha
    elif kind == 'JXL':
      header = jpeg_xl.header(data)
      lossy = header.jpeg or (header.lossy and header.bits == 8)
    elif kind == 'JPEG2000':
      stream = jpeg_2000.header(data)
      lossy = stream.lossy and stream.bits <= 8 and stream.channels in (1, 3)
  except ValueError:  # damaged; reading it will tell
    pass
  if kind in FORMATS:
    return str(kind)
  return 'JPEG' if lossy else 'PNG'


def target_suffix(path: str | os.PathLike[str]) -> str:
  """The ending of the name of what a file is written as: its own, or that of `written_as`."""
  suffix = os.path.splitext(path)[1]
  named = FORMAT_OF.get(suffix.lower())
  if named not in (None, 'AVIF'):
    return suffix
  try:
    with open(path, 'rb') as file:
      head = file.read(_HEAD)
  except OSError:  # reading it will tell
    head = b''
  kind = of(head) or _BY_SUFFIX.get(suffix.lower(), named)
  format = written_as(head, kind)
  return suffix if format == named else FORMATS[format][0]


_BY_SUFFIX = {suffix: kind for kind, group in READ_ONLY.items() for suffix in group}


def _rare_jpeg(data: bytes) -> str:
  """What is special of a JPEG file that no usual decoder reads; '' where it is nothing."""
  for marker, _, segment in segments.of(data):
    if marker in _LOSSLESS:
      return 'without loss'
    if marker in _FRAMES and len(segment) > 4 and segment[4] != 8:
      return f'of {segment[4]} bits a channel'
  return ''


def complaint(data: bytes) -> str:
  """Half a sentence on a file that is no picture that can be read."""
  if data.startswith(_JPEG) and (rare := _rare_jpeg(data)):
    return f'is a JPEG file {rare}: convert it to a usual one'
  if of(data) or data.startswith(_STARTS) or (data[:4] == b'RIFF' and data[8:12] == b'WEBP'):
    return 'is damaged and cannot be decoded (its head cannot be read)'
  start = data[:1024].lstrip(b'\xef\xbb\xbf \t\r\n').lower()
  if data.startswith(_RAW_STARTS) or data[4:12] == b'ftypcrx ':
    return "is a camera's raw file: develop it first"
  if data[4:8] == b'ftyp' and data[8:12] in _VIDEO_BRANDS:
    return 'is a video'
  if start.startswith(b'%pdf'):
    return 'is a PDF document'
  if start.startswith((b'<!doctype html', b'<html')):
    return 'is a web page, not a picture'
  if b'<svg' in start or start.startswith(b'%!ps'):
    return 'is a drawing, not a picture of pixels: export it as PNG'
  return 'is not a picture of a kind that can be read'
