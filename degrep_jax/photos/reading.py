"""Files to photographs."""

import dataclasses
import io
import logging
import os
import pathlib
import re
import warnings

import imagecodecs
import numpy as np
from PIL import Image, ImageCms, JpegImagePlugin, PngImagePlugin, UnidentifiedImageError

from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import to_16_bits
from degrep_jax.photos import (
  exif,
  gain_map,
  heif,
  jpeg_2000,
  jpeg_xl,
  kinds,
  png,
  pnm,
  rescue,
  segments,
  tiff,
  xmp,
)
from degrep_jax.photos.photo import Compression, Photo, Tags

MAX_PIXELS = 250_000_000
# Pillow's formats; what tells its files least surely comes last.
_PILLOW = (
  *('JPEG', 'PNG', 'WEBP', 'BMP', 'DIB', 'GIF', 'PPM', 'PCX', 'QOI', 'SGI', 'PSD', 'SUN', 'DDS'),
  *('ICNS', 'ICO', 'CUR', 'BLP', 'DCX', 'FITS', 'FTEX', 'GBR', 'IMT', 'MCIDAS', 'MSP'),
  *('PCD', 'PIXAR', 'XBM', 'XPM', 'XVTHUMB', 'TGA'),
)
_SAMSUNG_VIDEO = b'MotionPhoto_Data'
_ENTRIES = 0xB002  # of a file's index of several pictures
_MODES = ('1', 'L', 'LA', 'La', 'P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'YCbCr')
_NO_INTEGERS = 'holds values that are neither 8- nor 16-bit integers: convert it'
# What decoders say of files that are whole and beyond them.
_UNSUPPORTED = re.compile(r'\bun(supported|implemented)\b|\bnot (supported|implemented)\b', re.I)
_KEPT_SEGMENTS = {'APP13': 0xED, 'COM': 0xFE}  # captions by IPTC, comments

# Pillow calls a PNG file damaged whose profile or whose text takes more than 1 MiB, as the profiles
# of some printers and the histories of some edited pictures do. This still stops bombs.
PngImagePlugin.MAX_TEXT_CHUNK = 2**26  # bytes of one
PngImagePlugin.MAX_TEXT_MEMORY = 2**28  # of all texts


def quiet(max_pixels: int = MAX_PIXELS) -> None:
  """For a process of one's own: what decoders say of odd files is left out, what fails is raised.

  Args:
    max_pixels: Pillow's own limit, which also holds for pictures inside others, as in icons; twice
      as many are refused.
  """
  warnings.filterwarnings('ignore', module='PIL')
  logging.getLogger('tifffile').disabled = True
  logging.getLogger('PIL').setLevel(logging.CRITICAL)
  Image.MAX_IMAGE_PIXELS = max_pixels


def load(
  path: str | os.PathLike, max_pixels: int = MAX_PIXELS, *, salvage: bool | None = None
) -> Photo:
  """Reads a file; see `read`. Raises UserError also where it cannot be opened."""
  try:
    data = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise UserError(f'{path} cannot be opened: {error.strerror}.') from error
  return read(data, str(path), max_pixels, salvage=salvage)


def read(
  data: bytes, name: str, max_pixels: int = MAX_PIXELS, *, salvage: bool | None = None
) -> Photo:
  """Decodes a file of any kind of `kinds`, whatever its name says.

  Palettes become RGB, one bit becomes eight, 9 to 15 bits become sixteen, CMYK becomes sRGB by the
  file's profile, a colour that stands for transparency becomes an alpha channel, and the picture is
  turned upright.

  Args:
    data: the file.
    name: of the file, for messages.
    max_pixels: a file that claims to hold more is not decoded.
    salvage: whether of a file that is cut off the whole rows are taken. Where that would help,
      False names the flag of the command line; None, of what has no such flag, does not.

  Raises:
    UserError: one sentence on why the file cannot be used.
  """
  if not data:
    raise UserError(f'{name} is empty.')
  try:
    return _READERS.get(kinds.of(data) or '', _read)(data, max_pixels)
  except UserError as error:
    raise UserError(f'{name} {error}.') from error
  except UnidentifiedImageError as error:
    raise UserError(f'{name} {kinds.complaint(data)}.') from error
  except Image.DecompressionBombError as error:
    raise UserError(
      f'{name} claims more pixels than the {max_pixels:,} allowed: if that is true, raise '
      '--max-pixels (in Python, PIL.Image.MAX_IMAGE_PIXELS too).'
    ) from error
  except MemoryError as error:
    raise UserError(f'{name} needs more memory than there is.') from error
  except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
    reason = _reason(error)
    found = _salvaged(data, max_pixels)
    if found is None and _UNSUPPORTED.search(reason):
      raise UserError(f'{name} is of a rare form ({reason}): convert it to a usual one.') from error
    if found is None or salvage is None:
      raise UserError(f'{name} is damaged and cannot be decoded ({reason}).') from error
    photo, share = found
    if not salvage:
      raise UserError(f'{name} is damaged ({reason}): --salvage restores {share}.') from error
    return dataclasses.replace(photo, notes=(*photo.notes, f'salvaged, {share}'))


def size(data: bytes, name: str) -> tuple[int, int]:
  """Width and height, px, of the upright picture of a file; HEIC's without decoding it.

  Raises:
    UserError: as `read`.
  """
  if kinds.of(data) == 'HEIF':
    try:
      file = heif.open_heic(data)
      width, height = file[file.primary_index].size
      return width, height
    except Exception:  # `read` finds the words for it
      pass
  return read(data, name).size


def _reason(error: Exception) -> str:
  """What a decoder says of a file, on one line."""
  said = re.sub(r' \(\d+ bytes not processed\)$', '', ' '.join(str(error).split()))
  return said.rstrip('.') or type(error).__name__


def _salvaged(data: bytes, max_pixels: int) -> tuple[Photo, str] | None:
  """What is whole of a damaged file, and how much that is; None where it is nothing."""
  try:
    if data.startswith(png.SIGNATURE):
      if (mended := rescue.mended_png(data)) is None:
        return None
      photo, height = _read(mended, max_pixels), png.height(data)
      rows = png.height(mended)
    elif whole_pnm := pnm.mended(data):
      mended, height = whole_pnm
      photo = _read(mended, max_pixels)
      rows = photo.size[1]
    else:
      with _opened(data, max_pixels, _PILLOW) as picture:
        height = picture.height
      if (whole := rescue.whole_rows(data, _PILLOW)) is None:
        return None
      photo, rows = _read(data, max_pixels, whole), whole.height
  except Exception:  # there is nothing to be had
    return None
  return photo, 'all of its pixels' if rows == height else f'{rows:,} of its {height:,} rows'


def _check_size(width: int, height: int, max_pixels: int) -> None:
  if width * height > max_pixels:
    raise UserError(
      f'claims {width}x{height} pixels, more than the {max_pixels:,} allowed: if that is true, '
      'raise --max-pixels'
    )


def _opened(data: bytes, max_pixels: int, formats: tuple[str, ...]) -> Image.Image:
  """A file that Pillow reads, not decoded yet."""
  picture = Image.open(io.BytesIO(data), formats=formats)
  _check_size(*picture.size, max_pixels)
  return picture


def _read(data: bytes, max_pixels: int, part: Image.Image | None = None) -> Photo:
  """JPEG, PNG, WebP, BMP, and what Pillow alone knows; `part` are its pixels where they are not
  those of the whole file."""
  with _opened(data, max_pixels, _PILLOW) as picture:
    kind = {'DIB': 'BMP'}.get(str(picture.format), str(picture.format))
    if kind == 'PNG' and not png.has_end(data):
      raise ValueError('its end is missing')
    notes = _several(picture, kind) + _behind(picture, data)
    if kind == 'PNG' and png.bits(data) == 16:
      picture.load()  # to eight bits, in vain, but for what stands behind the pixels
      channels, profile = imagecodecs.png_decode(data), picture.info.get('icc_profile')
    elif kind == 'PPM' and (deep := pnm.decode(data)) is not None:
      channels, profile = deep, None
    else:
      channels, profile, more = _decode_8(picture if part is None else part)
      notes += more
    tags = Tags(
      icc=profile,
      exif=picture.info.get('exif', b'').removeprefix(b'Exif\0\0') or png.raw_exif(picture.info),
      xmp=picture.info.get('xmp'),
      dpi=picture.info.get('dpi'),
      png=png.kept_chunks(data) if kind == 'PNG' else (),
      jpeg=_segments(picture),
    )
    if kind in ('JPEG', 'MPO'):
      tags = dataclasses.replace(tags, gain_map=gain_map.find(data, tags.xmp))
      if tags.gain_map is None and gain_map.is_promised(data, tags.xmp):
        notes += ('HDR gain map, which is damaged, left out',)
    orientation = exif.orientation(tags.exif, tags.xmp)
    photo = _upright(channels, orientation, data, kind, tags, notes)
    return dataclasses.replace(photo, compression=_compression(picture, data))


def _several(picture: Image.Image, kind: str) -> tuple[str, ...]:
  """A note on other pictures in the file.

  Raises:
    UserError: half a sentence on an animation.
  """
  frames = getattr(picture, 'n_frames', 1)
  if kind in ('JPEG', 'MPO'):
    # Previews and gain maps have kinds of their own, or none.
    entries = (getattr(picture, 'mpinfo', None) or {}).get(_ENTRIES, ())
    others = sum('Multi-Frame' in entry['Attribute']['MPType'] for entry in entries[1:])
    return (f'{others} more view{"s" * (others > 1)} left out',) if others else ()
  if kind == 'PSD':
    return ('layers left out',) if frames > 1 else ()
  if len(picture.info.get('sizes', ())) > 1:
    return ('its smaller sizes left out',)
  if frames > 1:
    raise UserError(f'is animated, {frames} frames: save the one wanted as a file')
  return ()


def _behind(picture: Image.Image, data: bytes) -> tuple[str, ...]:
  """Notes on what a JPEG or PNG file has beside its pixels and no other file can have."""
  names = []
  if _SAMSUNG_VIDEO in data:
    names.append('motion video')
  if any(name == 'APP11' and b'c2pa' in content for name, content in _applist(picture)) or (
    picture.format == 'PNG' and png.has_credentials(data)
  ):
    names.append('content credentials')
  return (f'{", ".join(names)} left out',) if names else ()


def _read_tiff(data: bytes, max_pixels: int) -> Photo:
  try:
    width, height, bits, orientation, count = tiff.measure(io.BytesIO(data))
  except UserError:
    raise
  except Exception:  # what tifffile does not understand Pillow may
    with _opened(data, max_pixels, ('TIFF',)) as picture:
      width, height, bits, orientation, count = *picture.size, 8, 1, 0
  _check_size(width, height, max_pixels)
  tags, notes = tiff.tags(data)
  if bits > 8:
    values = _widened(tiff.decode(data), bits)
    return _upright(values, orientation, data, 'TIFF', tags, notes)
  try:
    with _opened(data, max_pixels, ('TIFF',)) as picture:
      channels, profile, more = _decode_8(picture)
  except (OSError, SyntaxError, ValueError) as error:
    try:
      values = tiff.decode(data)  # of kinds of compression that Pillow has not
    except UserError:
      raise error from None
    return _upright(values, orientation, data, 'TIFF', tags, notes)
  if (others := count - (1 if channels.ndim == 2 else channels.shape[2])) > 0:  # Pillow drops them
    notes = *notes, f'{others} more channel{"s" * (others > 1)} left out'
  # Pillow has turned it.
  tags = dataclasses.replace(tags, icc=profile)
  return _upright(channels, 1, data, 'TIFF', tags, (*notes, *more))


def _read_avif(data: bytes, max_pixels: int) -> Photo:
  about = heif.header(data)
  with _opened(data, max_pixels, ('AVIF',)) as picture:
    _several(picture, 'AVIF')
    channels, profile, _ = _decode_8(picture)
    if about.bits > 8:
      channels = _widened(imagecodecs.avif_decode(data), about.bits)
    tags = Tags(
      icc=profile,
      # With the orientation that the file's transforms say, as the pixels come without these.
      exif=picture.info.get('exif', b'').removeprefix(b'Exif\0\0'),
      xmp=picture.info.get('xmp'),
    )
  tags, notes = heif.with_colours(tags, about.colours)
  orientation = exif.orientation(tags.exif, None)
  photo = _upright(channels, orientation, data, 'AVIF', tags, notes)
  return dataclasses.replace(photo, compression=Compression(subsampling=about.subsampling))


def _read_heic(data: bytes, max_pixels: int) -> Photo:
  file = heif.open_heic(data)
  picture = file[file.primary_index]
  _check_size(*picture.size, max_pixels)
  values, bits = heif.decode(picture)
  tags, notes = heif.with_colours(heif.tags(picture), heif.colours(picture))
  notes = *notes, *heif.notes(picture, len(file))
  # The file's transforms have turned it; what its EXIF block says is not for it.
  return _upright(_widened(values, bits), 1, data, 'HEIF', tags, notes)


def _read_jpeg_xl(data: bytes, max_pixels: int) -> Photo:
  about = jpeg_xl.header(data)
  _check_size(about.width, about.height, max_pixels)
  if about.jpeg:
    photo = _read(jpeg_xl.jpeg_file(data), max_pixels)
    return dataclasses.replace(photo, kind='JXL')
  if about.animated:
    raise UserError('is animated: save the frame wanted as a file')
  if not about.integers or about.bits > 16:
    raise UserError(_NO_INTEGERS)
  values = _widened(jpeg_xl.decode(data), about.bits)
  return _upright(values, 1, data, 'JXL', *jpeg_xl.tags(data))  # the decoder turns it


def _read_jpeg_2000(data: bytes, max_pixels: int) -> Photo:
  with _opened(data, max_pixels, ('JPEG2000',)) as picture:
    tags = dataclasses.replace(jpeg_2000.tags(data), dpi=picture.info.get('dpi'))
    about = jpeg_2000.header(data)
    notes: tuple[str, ...] = ()
    if about.bits > 8:
      channels = _widened(jpeg_2000.decode(data), about.bits)
    else:
      channels, profile, notes = _decode_8(picture)
      tags = dataclasses.replace(tags, icc=profile or tags.icc)
  orientation = exif.orientation(tags.exif, tags.xmp)
  return _upright(channels, orientation, data, 'JPEG2000', tags, notes)


def _widened(values: np.ndarray, bits: int) -> np.ndarray:
  """uint16 over the whole range of values of 9 to 15 bits; others as they are.

  Raises:
    UserError: half a sentence on values that are no unsigned integers.
  """
  if values.dtype not in (np.uint8, np.uint16):
    raise UserError(_NO_INTEGERS)
  return values if values.dtype == np.uint8 else to_16_bits(values, bits)


def _upright(
  stored: np.ndarray,
  orientation: int,
  data: bytes,
  kind: str,
  tags: Tags,
  notes: tuple[str, ...] = (),
) -> Photo:
  """The photograph of `(H, W)` or `(H, W, C)` as a file has them: grey or RGB, alpha last."""
  values = exif.upright(stored.reshape(*stored.shape[:2], -1), orientation)
  height, width, channels = values.shape
  packet, promised = xmp.without_promises(tags.xmp) if tags.xmp else (None, ())
  if promised:
    notes = (*notes, f'{", ".join(promised)} left out')
  block = exif.of_upright(tags.exif, width, height) if tags.exif else None
  if tags.exif and not block:
    notes = (*notes, 'EXIF, which is damaged, left out')
  tags = dataclasses.replace(
    tags,
    exif=block,
    xmp=exif.xmp_of_upright(packet) if packet else None,
    # Some writers put zeros there.
    dpi=tags.dpi if tags.dpi and all(0 < value < 2**16 for value in tags.dpi) else None,
    gain_map=gain_map.upright(tags.gain_map, orientation) if tags.gain_map else None,
  )
  return Photo(
    pixels=values[..., :3] if channels > 2 else np.repeat(values[..., :1], 3, axis=-1),
    format=kinds.written_as(data, kind),
    grey=channels < 3,
    alpha=values[..., -1] if channels in (2, 4) else None,
    tags=tags,
    notes=notes,
    kind=kind,
  )


def _decode_8(picture: Image.Image) -> tuple[np.ndarray, bytes | None, tuple[str, ...]]:
  """Of up to 8 bits a channel: `(H, W)` or `(H, W, C)` uint8, grey or RGB, alpha last, or uint16
  of what Pillow holds so, greys alone; the profile that goes with it; notes.

  Raises:
    UserError: half a sentence on colours that are none of these.
  """
  profile = picture.info.get('icc_profile')
  if picture.mode in ('CMYK', 'LAB'):
    converted, profile = _srgb(picture, profile)
    return np.asarray(converted), profile, (f'{picture.mode} became sRGB',)
  if picture.mode.startswith('I;16'):
    return np.asarray(picture).astype(np.uint16), profile, ()  # in the machine's order of bytes
  if picture.mode in ('I', 'F'):
    raise UserError(_NO_INTEGERS)
  if picture.mode not in _MODES:
    raise UserError(f"has colours of the kind '{picture.mode}': convert it to 8-bit RGB")
  colours = 'L' if picture.mode in ('1', 'L', 'LA', 'La') else 'RGB'
  alpha = 'A' if picture.has_transparency_data else ''
  if picture.mode == '1':
    picture = picture.convert('L')
  return np.asarray(picture.convert(colours + alpha)), profile, ()


def _srgb(picture: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes]:
  """A picture in CMYK or CIE L*a*b* in sRGB, and the profile that says so."""
  target = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB'))
  try:
    if picture.mode == 'LAB':  # which tells the colours by itself
      source = ImageCms.ImageCmsProfile(ImageCms.createProfile('LAB'))
    else:
      source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b''))
    converted = ImageCms.profileToProfile(picture, source, target, outputMode='RGB')
  except (OSError, ImageCms.PyCMSError):  # no profile, or a broken one
    converted = picture.convert('RGB')
  assert converted is not None  # that is for inPlace
  return converted, target.tobytes()


def _applist(picture: Image.Image) -> list[tuple[str, bytes]]:
  """Names and contents of the segments of a JPEG file."""
  return getattr(picture, 'applist', [])


def _segments(picture: Image.Image) -> tuple[tuple[int, bytes], ...]:
  """(marker, data) of the segments of a JPEG file that a restored picture keeps."""
  kept = []
  for name, content in _applist(picture):
    if name == 'APP13' and not (content := segments.without_thumbnails(content)):
      continue
    if name in _KEPT_SEGMENTS:
      kept.append((_KEPT_SEGMENTS[name], content))
  return tuple(kept)


def _compression(picture: Image.Image, data: bytes) -> Compression:
  if isinstance(picture, JpegImagePlugin.JpegImageFile):
    return Compression(
      tables=tuple(tuple(table) for _, table in sorted(picture.quantization.items())),
      subsampling=max(0, JpegImagePlugin.get_sampling(picture)),
      progressive=bool(picture.info.get('progressive')),
    )
  return Compression(lossless=picture.format == 'WEBP' and _is_lossless_webp(data))


def _is_lossless_webp(data: bytes) -> bool:
  """Whether the first chunk of pixels of a RIFF file is WebP's lossless kind."""
  at = 12
  while at + 8 <= len(data):
    kind, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], 'little')
    if kind in (b'VP8L', b'VP8 '):
      return kind == b'VP8L'
    at += 8 + length + length % 2
  return False


_READERS = {
  'TIFF': _read_tiff,
  'AVIF': _read_avif,
  'HEIF': _read_heic,
  'JXL': _read_jpeg_xl,
  'JPEG2000': _read_jpeg_2000,
}
