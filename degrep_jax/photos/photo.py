"""A photograph: what a net sees of its file, and what else the file says."""

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from degrep_jax.common.pixels import to_8_bits
from degrep_jax.photos import exif

FORMATS = {  # of the files that are read and written: their names' endings, the usual one first
  'JPEG': ('.jpg', '.jpeg', '.jpe', '.jfif'),
  'PNG': ('.png',),
  'WEBP': ('.webp',),
  'TIFF': ('.tif', '.tiff'),
  'BMP': ('.bmp', '.dib'),
  'AVIF': ('.avif',),
}
FORMAT_OF = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}

_SEGMENT = 65_000  # bytes of a JPEG segment, what stands before its content left out
_BARE_SEGMENT = 65_533  # bytes of one with nothing before its content
_SEGMENT_NAMES = {0xED: 'IPTC', 0xFE: 'comments'}  # of those in `Tags.jpeg`
_COLOURS_ALONE = ('WEBP', 'AVIF')  # formats whose files are never grey
_GREYS = b'GRAY'  # bytes 16 to 19 of profiles that no file of colours can use
_CHUNK_NAMES = {b'cICP': 'HDR colours (cICP)'}  # of those in `Tags.png`
_COLOUR_CHUNKS = (b'cHRM', b'gAMA', b'sRGB', b'cICP')
_GAP = 8  # px between two pictures side by side


@dataclass(frozen=True)
class Tags:
  """What a file says of its pixels, as bytes that every format stores alike.

  Attributes:
    icc: colour profile.
    exif: the TIFF structure of an EXIF block, without the b'Exif\\0\\0' before it.
    xmp: XMP packet.
    dpi: horizontally and vertically.
    png: other chunks of a PNG file, (type, data).
    jpeg: other segments of a JPEG file, (marker, data): comments, and captions by IPTC.
    gain_map: a JPEG file that lies behind a picture and says how much brighter than white it shines
      (Ultra HDR), turned as the pixels are.
  """

  icc: bytes | None = None
  exif: bytes | None = None
  xmp: bytes | None = None
  dpi: tuple[float, float] | None = None
  png: tuple[tuple[bytes, bytes], ...] = ()
  jpeg: tuple[tuple[int, bytes], ...] = ()
  gain_map: bytes | None = None


@dataclass(frozen=True)
class Compression:
  """How a file was compressed.

  Attributes:
    tables: of a JPEG file, its quantisation tables, 64 values each.
    subsampling: of the colours of a JPEG or AVIF file: 0 is 4:4:4, 1 is 4:2:2 and 2 is 4:2:0.
    progressive: of a JPEG file.
    lossless: of a WebP file.
  """

  tables: tuple[tuple[int, ...], ...] = ()
  subsampling: int = 0
  progressive: bool = False
  lossless: bool = False


@dataclass(frozen=True)
class Photo:
  """A photograph, upright.

  Attributes:
    pixels: (H, W, 3) uint8 or uint16, RGB in whatever space the profile says; three equal channels
      where it is grey.
    format: a key of `FORMATS`, which it is written in where nothing else is asked for.
    grey: whether it is written with one channel of brightness.
    alpha: (H, W) of the pixels' kind, or None. Not premultiplied.
    tags: the rest of the file.
    compression: of the file.
    notes: half sentences on what the file had and a written one has not.
    kind: of the file it was read from, as `kinds.of` tells it; '' where there was none.
  """

  pixels: np.ndarray
  format: str
  grey: bool = False
  alpha: np.ndarray | None = None
  tags: Tags = field(default_factory=Tags)
  compression: Compression = field(default_factory=Compression)
  notes: tuple[str, ...] = ()
  kind: str = ''

  @property
  def size(self) -> tuple[int, int]:
    """Width and height."""
    height, width = self.pixels.shape[:2]
    return width, height

  @property
  def channels(self) -> np.ndarray:
    """`(H, W)` or `(H, W, C)` as files store it: grey or RGB, alpha last."""
    if self.grey:
      colours = luma(self.pixels)
      return colours if self.alpha is None else np.stack([colours, self.alpha], axis=-1)
    return self.pixels if self.alpha is None else np.dstack([self.pixels, self.alpha])


def luma(pixels: np.ndarray) -> np.ndarray:
  """Brightness by Rec. 601, `(H, W)` of the kind of the RGB pixels `(H, W, 3)`; exact for greys."""
  weights = np.array([0.299, 0.587, 0.114], np.float32)
  return np.rint(pixels @ weights).astype(pixels.dtype)


def fitted(photo: Photo, format: str) -> Photo:
  """The photograph as a file of `format` can hold it; what gets lost is added to the notes.

  Args:
    photo: any.
    format: a key of `FORMATS`.
  """
  pixels, alpha, notes = photo.pixels, photo.alpha, [*photo.notes]
  if pixels.dtype == np.uint16 and format not in ('PNG', 'TIFF'):
    notes.append(f'16 bits became 8, as {format} has no more')
    pixels, alpha = to_8_bits(pixels), None if alpha is None else to_8_bits(alpha)
  if alpha is not None and format == 'JPEG':
    notes.append('laid over white, as JPEG has no transparency')
    cover = (alpha / np.float32(255))[..., None]
    pixels = np.rint(pixels * cover + 255 * (1 - cover)).astype(np.uint8)
    alpha = None
  given = photo.tags
  if format in _COLOURS_ALONE and (given.icc or b'')[16:20] == _GREYS:
    notes.append(f'ICC of greys left out, as {format} has colours alone')
    given = dataclasses.replace(given, icc=None)
  tags = _fitted_tags(given, format)
  if lost := _lost(given, tags, format):
    notes.append(f'{", ".join(lost)} left out, as {format} has no place for so much')
  return dataclasses.replace(
    photo, pixels=pixels, alpha=alpha, tags=tags, format=format, notes=tuple(notes)
  )


def _fitted_tags(tags: Tags, format: str) -> Tags:
  if format == 'BMP':
    return Tags(dpi=tags.dpi)
  if format == 'JPEG':
    block = tags.exif or b''
    if len(block) > _SEGMENT:
      block = exif.shortened(block)
    # The histories in some edited pictures' packets are longer.
    return dataclasses.replace(
      tags,
      exif=block if 0 < len(block) <= _SEGMENT else None,
      xmp=tags.xmp if len(tags.xmp or b'') <= _SEGMENT else None,
      jpeg=tuple(segment for segment in tags.jpeg if len(segment[1]) <= _BARE_SEGMENT),
    )
  return dataclasses.replace(tags, gain_map=None)


def _lost(tags: Tags, kept: Tags, format: str) -> list[str]:
  """Names of what a file of `format` with the tags `kept` has not of `tags`."""
  lost = [
    name.upper()
    for name in ('icc', 'exif', 'xmp')
    if getattr(tags, name) and not getattr(kept, name)
  ]
  if tags.gain_map and not kept.gain_map:
    lost.append('HDR gain map')
  kept_segments = kept.jpeg if format == 'JPEG' else ()
  lost += [_SEGMENT_NAMES[of[0]] for of in tags.jpeg if of not in kept_segments]
  if format != 'PNG':
    chunks = [kind for kind, _ in tags.png]
    # What is taken for sRGB where nothing else is said needs no word.
    meant = (b'sRGB', b'gAMA', b'cHRM') if b'sRGB' in chunks else ()
    lost += [_CHUNK_NAMES.get(kind, f'PNG {kind.decode()}') for kind in chunks if kind not in meant]
  return [*dict.fromkeys(lost)]


def side_by_side(before: Photo, after: Photo) -> Photo:
  """Two photographs of one size and kind next to each other, a white gap between them.

  Of the tags it has those of `after` that hold for any picture: colours and resolution.
  """

  def joined(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    gap = np.full((len(left), _GAP, *left.shape[2:]), np.iinfo(left.dtype).max, left.dtype)
    return np.concatenate([left, gap, right], axis=1)

  return dataclasses.replace(
    after,
    pixels=joined(before.pixels, after.pixels),
    alpha=None
    if before.alpha is None or after.alpha is None
    else joined(before.alpha, after.alpha),
    tags=Tags(
      icc=after.tags.icc,
      dpi=after.tags.dpi,
      png=tuple(chunk for chunk in after.tags.png if chunk[0] in _COLOUR_CHUNKS),
    ),
  )
