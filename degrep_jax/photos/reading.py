"""Files to photographs."""

import dataclasses
import io
import logging
import os
import pathlib
import warnings

import imagecodecs
import numpy as np
from PIL import Image, ImageCms, JpegImagePlugin, UnidentifiedImageError

from degrep_jax.common.errors import UserError
from degrep_jax.photos import exif, png, tiff
from degrep_jax.photos.photo import FORMATS, Compression, Photo, Tags

MAX_PIXELS = 250_000_000
_MODES = ('1', 'L', 'LA', 'La', 'P', 'PA', 'RGB', 'RGBA', 'RGBa', 'RGBX', 'YCbCr')
_KEPT_SEGMENTS = {'APP13': 0xED, 'COM': 0xFE}  # captions by IPTC, comments


def quiet() -> None:
  """For a process of one's own: what decoders say of odd files is left out, what fails is raised.

  Pillow's limit of pixels makes way for that of `read`.
  """
  warnings.filterwarnings('ignore', module='PIL')
  logging.getLogger('tifffile').disabled = True
  Image.MAX_IMAGE_PIXELS = None


def load(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Photo:
  """Reads a file; see `read`. Raises UserError also where it cannot be opened."""
  try:
    data = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise UserError(f'{path} cannot be opened: {error.strerror}.') from error
  return read(data, str(path), max_pixels)


def read(data: bytes, name: str, max_pixels: int = MAX_PIXELS) -> Photo:
  """Decodes a JPEG, PNG, WebP, TIFF or BMP file, whatever its name says.

  Palettes become RGB, one bit becomes eight, CMYK becomes sRGB by the file's profile, a colour that
  stands for transparency becomes an alpha channel, and the picture is turned upright.

  Args:
    data: the file.
    name: of the file, for messages.
    max_pixels: a file that claims to hold more is not decoded.

  Raises:
    UserError: one sentence on why the file cannot be used.
  """
  if not data:
    raise UserError(f'{name} is empty.')
  try:
    return (_read_tiff if tiff.is_tiff(data) else _read)(data, max_pixels)
  except UserError as error:
    raise UserError(f'{name} {error}.') from error
  except UnidentifiedImageError as error:
    raise UserError(f'{name} is not a JPEG, PNG, WebP, TIFF or BMP picture.') from error
  except MemoryError as error:
    raise UserError(f'{name} needs more memory than there is.') from error
  except Exception as error:  # decoders raise whatever a damaged file makes them stumble over
    reason = str(error).rstrip('.') or type(error).__name__
    raise UserError(f'{name} is damaged and cannot be decoded ({reason}).') from error


def _check_size(width: int, height: int, max_pixels: int) -> None:
  if width * height > max_pixels:
    raise UserError(
      f'claims {width}x{height} pixels, more than the {max_pixels:,} allowed: if that is true, '
      'raise --max-pixels'
    )


def _read(data: bytes, max_pixels: int) -> Photo:
  try:
    picture = Image.open(io.BytesIO(data), formats=[*FORMATS])
  except Image.DecompressionBombError as error:
    raise UserError(
      'claims more pixels than Pillow opens: if that is true, raise PIL.Image.MAX_IMAGE_PIXELS'
    ) from error
  with picture:
    _check_size(*picture.size, max_pixels)
    # MPO: a JPEG file with previews or depth behind it, as telephones write them.
    kind = 'JPEG' if picture.format == 'MPO' else str(picture.format)
    frames = getattr(picture, 'n_frames', 1)
    if kind != 'JPEG' and frames > 1:
      raise UserError(f'is animated, {frames} frames: save the one wanted as a file')
    if kind == 'PNG' and png.bits(data) == 16:
      picture.load()  # to eight bits, in vain, but for what stands behind the pixels
      channels, profile = imagecodecs.png_decode(data), picture.info.get('icc_profile')
      notes: tuple[str, ...] = ()
    else:
      channels, profile, notes = _decode_8(picture)
    tags = Tags(
      icc=profile,
      exif=picture.info.get('exif', b'').removeprefix(b'Exif\0\0') or png.raw_exif(picture.info),
      xmp=picture.info.get('xmp'),
      dpi=picture.info.get('dpi'),
      png=png.kept_chunks(data) if kind == 'PNG' else (),
      jpeg=_segments(picture),
    )
    photo = _upright(channels, exif.orientation(tags.exif, tags.xmp), kind, tags)
    return dataclasses.replace(photo, compression=_compression(picture, data), notes=notes)


def _read_tiff(data: bytes, max_pixels: int) -> Photo:
  width, height, bits = tiff.measure(data)
  _check_size(width, height, max_pixels)
  tags, orientation = tiff.tags(data)
  if bits == 16:
    return _upright(tiff.decode_16(data), orientation, 'TIFF', tags)
  with Image.open(io.BytesIO(data), formats=['TIFF']) as picture:
    channels, profile, notes = _decode_8(picture)
  # Pillow has turned it.
  photo = _upright(channels, 1, 'TIFF', dataclasses.replace(tags, icc=profile))
  return dataclasses.replace(photo, notes=notes)


def _upright(stored: np.ndarray, orientation: int, kind: str, tags: Tags) -> Photo:
  """The photograph of `(H, W)` or `(H, W, C)` as a file has them: grey or RGB, alpha last."""
  values = exif.upright(stored.reshape(*stored.shape[:2], -1), orientation)
  height, width, channels = values.shape
  tags = dataclasses.replace(
    tags,
    exif=exif.of_upright(tags.exif, width, height) if tags.exif else None,
    xmp=exif.xmp_of_upright(tags.xmp) if tags.xmp else None,
    # Some writers put zeros there.
    dpi=tags.dpi if tags.dpi and all(0 < value < 2**16 for value in tags.dpi) else None,
  )
  return Photo(
    pixels=values[..., :3] if channels > 2 else np.repeat(values[..., :1], 3, axis=-1),
    format=kind,
    grey=channels < 3,
    alpha=values[..., -1] if channels in (2, 4) else None,
    tags=tags,
  )


def _decode_8(picture: Image.Image) -> tuple[np.ndarray, bytes | None, tuple[str, ...]]:
  """Of up to 8 bits a channel: `(H, W)` or `(H, W, C)` uint8, grey or RGB, alpha last; the profile
  that goes with it; notes.

  Raises:
    UserError: half a sentence on colours that are none of these.
  """
  profile = picture.info.get('icc_profile')
  if picture.mode == 'CMYK':
    converted, profile = _srgb(picture, profile)
    return np.asarray(converted), profile, ('CMYK became sRGB',)
  if picture.mode not in _MODES:
    raise UserError(f"has colours of the kind '{picture.mode}': convert it to 8-bit RGB")
  colours = 'L' if picture.mode in ('1', 'L', 'LA', 'La') else 'RGB'
  alpha = 'A' if picture.has_transparency_data else ''
  if picture.mode == '1':
    picture = picture.convert('L')
  return np.asarray(picture.convert(colours + alpha)), profile, ()


def _srgb(picture: Image.Image, profile: bytes | None) -> tuple[Image.Image, bytes]:
  """A CMYK picture in sRGB and the profile that says so."""
  target = ImageCms.ImageCmsProfile(ImageCms.createProfile('sRGB'))
  try:
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile or b''))
    converted = ImageCms.profileToProfile(picture, source, target, outputMode='RGB')
  except (OSError, ImageCms.PyCMSError):  # no profile, or a broken one
    converted = picture.convert('RGB')
  assert converted is not None  # that is for inPlace
  return converted, target.tobytes()


def _segments(picture: Image.Image) -> tuple[tuple[int, bytes], ...]:
  """(marker, data) of the segments of a JPEG file that a restored picture keeps."""
  return tuple(
    (_KEPT_SEGMENTS[name], content)
    for name, content in getattr(picture, 'applist', ())
    if name in _KEPT_SEGMENTS
  )


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
