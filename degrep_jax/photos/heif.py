"""HEIC and AVIF: what a file says before its pixels, colours by code points, and HEIC's pixels.

Sources: ISO/IEC 23008-12 (HEIF), 14496-15 (hvcC), the AV1 Codec ISO Media File Format Binding
(av1C), and ITU-T H.273 (code points of colours).
"""

import dataclasses
import functools
import io
from typing import NamedTuple

import imagecodecs
import numpy as np
import pillow_heif

from degrep_jax.common.pixels import divided_by_alpha
from degrep_jax.photos import boxes
from degrep_jax.photos.photo import Tags

_AVIF = (b'avif', b'avis')
_HEIF = (b'heic', b'heix', b'heim', b'heis', b'hevc', b'hevx', b'hevm', b'hevs', b'mif1', b'msf1')
_ALPHA = (b'urn:mpeg:hevc:2015:auxid:1', b'urn:mpeg:mpegB:cicp:systems:auxiliary:alpha')
_AUXILIARY = {'hdrgainmap': 'HDR gain map', 'matte': 'mattes', 'skyfilter': 'mattes'}

# Of ITU-T H.273; what other programs take for sRGB is taken for it here too.
_SRGB_PRIMARIES, _SRGB_TRANSFERS = (1, 2, 5, 6, 7), (1, 2, 6, 13, 14, 15)
_PRIMARIES = {  # red, green and blue, x and y each, of BT.2020 and Display P3; their white is D65
  9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046),
  12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060),
}
_D65 = (0.3127, 0.3290)
_CURVE_POINTS = 1024
_HDR = (16, 18)  # PQ, HLG


class Header(NamedTuple):
  """What comes before the pixels.

  Attributes:
    bits: of a channel.
    alpha: whether there is any.
    subsampling: of the colours: 0 is 4:4:4, 1 is 4:2:2 and 2 is 4:2:0.
    colours: code points of primaries and transfer, or None.
  """

  bits: int
  alpha: bool
  subsampling: int
  colours: tuple[int, int] | None


def kind(data: bytes) -> str | None:
  """'AVIF', 'HEIF' or None, by what a file calls itself."""
  if data[4:8] != b'ftyp':
    return None
  names = data[8 : int.from_bytes(data[:4], 'big')]
  brands = [names[at : at + 4] for at in range(0, len(names), 4) if at != 4]
  if any(brand in _AVIF for brand in brands):
    return 'AVIF'
  return 'HEIF' if any(brand in _HEIF for brand in brands) else None


def header(data: bytes) -> Header:
  """Of a file, or of a start of it that holds so much; 8 bits and 4:2:0 where nothing is said."""
  bits, subsampling, colours, alpha = 8, 2, None, False
  for name, content in reversed([*boxes.leaves(data)]):  # the first, of the picture itself, decides
    if name == b'hvcC' and len(content) > 17:
      bits = 8 + content[17] % 8
      subsampling = {2: 1, 3: 0}.get(content[16] % 4, 2)
    elif name == b'av1C' and len(content) > 2:
      bits = 8 if not content[2] & 0x40 else 12 if content[2] & 0x20 else 10
      subsampling = 2 if content[2] & 0x04 else 1 if content[2] & 0x08 else 0
    elif name == b'colr' and content[:4] == b'nclx':
      colours = int.from_bytes(content[4:6], 'big'), int.from_bytes(content[6:8], 'big')
    elif name == b'auxC':
      alpha = alpha or content[4:].startswith(_ALPHA)
  return Header(bits, alpha, subsampling, colours)


def with_colours(tags: Tags, colours: tuple[int, int] | None) -> tuple[Tags, tuple[str, ...]]:
  """Tags that say what code points say, by a profile or by PNG's chunk for them; and notes on what
  neither can say.

  Args:
    tags: where they have a profile, that holds.
    colours: code points of primaries and transfer.
  """
  if tags.icc or colours is None:
    return tags, ()
  primaries, transfer = colours
  if transfer in _HDR:
    chunk = b'cICP', bytes([primaries, transfer, 0, 1])  # RGB over the whole range
    return dataclasses.replace(tags, png=(*tags.png, chunk)), ()
  if transfer in _SRGB_TRANSFERS and primaries in _SRGB_PRIMARIES:
    return tags, ()
  if transfer in _SRGB_TRANSFERS and primaries in _PRIMARIES:
    return dataclasses.replace(tags, icc=_profile(_PRIMARIES[primaries])), ()
  return tags, (f'its colours ({primaries}/{transfer} of ITU-T H.273) are taken for sRGB',)


@functools.cache
def _profile(primaries: tuple[float, ...]) -> bytes:
  """An ICC profile of sRGB's curve and other primaries."""
  level = np.linspace(0, 1, _CURVE_POINTS)
  curve = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
  reds, greens, blues = (primaries[at : at + 2] for at in (0, 2, 4))
  return bytes(
    imagecodecs.cms_profile(
      'rgb',
      whitepoint=(*_D65, 1),
      primaries=(*reds, 1, *greens, 1, *blues, 1),
      transferfunction=curve.astype(np.float32),
    )
  )


def open_heic(data: bytes) -> pillow_heif.HeifFile:
  """The pictures of a HEIC file, not decoded yet.

  Raises:
    Exception: what libheif says of a file that is damaged.
  """
  return pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False, hdr_to_16bit=False)


def decode(picture: pillow_heif.HeifImage) -> tuple[np.ndarray, int]:
  """`(H, W)` or `(H, W, C)`, upright, grey or RGB, alpha last and not premultiplied: uint8, or
  uint16 of fewer bits; and the bits of a channel."""
  values = np.asarray(picture)
  bits = int(picture.info['bit_depth']) if values.dtype == np.uint16 else 8
  return divided_by_alpha(values, 2**bits - 1) if picture.premultiplied_alpha else values, bits


def tags(picture: pillow_heif.HeifImage) -> Tags:
  """What the file says of its main picture."""
  info = picture.info
  return Tags(
    icc=info.get('icc_profile') or None,
    exif=(info.get('exif') or b'').removeprefix(b'Exif\0\0') or None,
    xmp=info.get('xmp') or None,
  )


def colours(picture: pillow_heif.HeifImage) -> tuple[int, int] | None:
  """Code points of a picture's primaries and transfer, or None."""
  points = picture.info.get('nclx_profile')
  return points and (int(points['color_primaries']), int(points['transfer_characteristics']))


def notes(picture: pillow_heif.HeifImage, pictures: int) -> tuple[str, ...]:
  """On what the file has beside its main picture, none of which is written."""
  others = ['depth map'] if picture.info.get('depth_images') else []
  for kind_of in picture.info.get('aux', ()):
    others += [name for part, name in _AUXILIARY.items() if part in str(kind_of)][:1]
  if pictures > 1:
    others.append(f'{pictures - 1} more picture{"s" * (pictures > 2)}')
  return (f'{", ".join(dict.fromkeys(others))} left out',) if others else ()
