"""Kinds of files that are read: what comes out of each, and what is written in its place."""

import io
import struct

import imagecodecs
import numpy as np
import photo_files as files
import pillow_heif
import pytest
import tifffile
from PIL import Image, ImageCms

from degrep_jax.common.errors import UserError
from degrep_jax.photos import jpeg_xl, kinds, reading, writing
from degrep_jax.photos.photo import FORMATS, fitted

# Of a mosaic of two by two: red, green, green, blue.
CFA = [(33421, 3, 2, (2, 2), True), (33422, 1, 4, b'\0\1\1\2', True)]
BLOCK = files.exif(6).tobytes().removeprefix(b'Exif\0\0')


def again(data, format=None):
  """The file that an identity makes of a file, and its notes."""
  photo = reading.read(data, 'it')
  photo = fitted(photo, format or photo.format)
  return writing.encode(photo), photo.notes


def opened(data):
  return Image.open(io.BytesIO(data))


def j2k(values, **options):
  """A JPEG 2000 file, lossless unless said otherwise."""
  options = {'level': 0, 'reversible': True, 'codecformat': 'jp2'} | options
  return bytes(imagecodecs.jpeg2k_encode(values.squeeze(), **options))


def jxl(values, **options):
  """A JPEG XL file, lossless unless said otherwise."""
  return bytes(imagecodecs.jpegxl_encode(values.squeeze(), **{'lossless': True} | options))


def pnm(values, top, comment=b''):
  magic = b'P6' if values.shape[-1] == 3 else b'P5'
  header = b'%b\n%b%d %d\n%d\n' % (magic, comment, values.shape[1], values.shape[0], top)
  return header + values.astype('>u2' if top > 255 else np.uint8).tobytes()


def plain(values, top):
  """In decimal digits, as scientific programs write it."""
  magic = b'P3' if values.shape[-1] == 3 else b'P2'
  rows = b'\n'.join(b' '.join(b'%d' % x for x in row.ravel()) for row in values)
  header = b'%b\n%d %d\n%d\n' % (magic, values.shape[1], values.shape[0], top)
  return header + b'# the values\n' + rows + b'\n'


def mcidas(values):
  """A satellite's, whose values Pillow hands on big-endian."""
  header = np.zeros(64, '>i4')
  header[[1, 8, 9, 10, 13, 33]] = 4, *values.shape, 2, 1, 256  # kind, size, bytes, bands, offset
  return header.tobytes() + values.astype('>u2').tobytes()


# --- values --------------------------------------------------------------------------------------


def lossless():
  """Yields name, file, and the channels (H, W, C) that must come out of it."""
  for channels in (1, 3, 4):
    for dtype in (np.uint8, np.uint16):
      values = files.noise(13, 9, channels, dtype)
      name = f'{files.MODES[channels]} {8 * values.itemsize}'
      yield f'JPEG 2000 {name}', j2k(values), values
      yield f'JPEG XL {name}', jxl(values), values
  values = files.noise(13, 9, 2, np.uint16)
  yield 'JPEG XL LA 16', jxl(values), values
  values = files.noise(13, 9, 3, np.uint16)
  for bits in (10, 12):
    few = values >> (16 - bits)
    wide = np.uint16(np.rint(few * (65535 / (2**bits - 1))))
    yield f'JPEG 2000 {bits} bits', j2k(few, bitspersample=bits), wide
    yield f'JPEG XL {bits} bits', jxl(few, bitspersample=bits), wide
    yield f'AVIF {bits} bits', avif(few, bits), wide
    yield f'PPM up to {2**bits - 1}', pnm(few, 2**bits - 1), wide
  yield 'PPM 16', pnm(values, 65535, b'# of a scanner\n'), values
  yield 'PGM 16', pnm(values[..., :1], 65535), values[..., :1]
  yield 'plain PPM 16', plain(values, 65535), values
  yield 'plain PGM 16', plain(values[..., :1], 65535), values[..., :1]
  yield 'McIdas 16', mcidas(values[..., 0]), values[..., :1]
  for format in ('PPM', 'TGA', 'PCX', 'QOI', 'SGI', 'DDS'):
    values = files.noise(13, 9, 3)
    yield f'{format} RGB', files.pillow(values, format), values
  for format in ('GIF', 'PPM', 'TGA', 'PCX', 'SGI'):
    values = files.noise(13, 9, 1)
    # (A GIF file has a palette, so that it becomes RGB.)
    expected = np.repeat(values, 3, axis=-1) if format == 'GIF' else values
    yield f'{format} L', files.pillow(values, format), expected


def avif(values, bits, **options):
  options = {'level': 100, 'matrix': 0} | options  # quantiser 0, RGB as it is: lossless
  return bytes(imagecodecs.avif_encode(values, bitspersample=bits, **options))


LOSSLESS = {name: (data, values) for name, data, values in lossless()}


@pytest.mark.parametrize('kind', LOSSLESS)
def test_lossless_files_become_png_and_keep_their_values(kind):
  data, values = LOSSLESS[kind]
  written, notes = again(data)
  assert opened(written).format == 'PNG' and notes == ()
  back = files.stored(written)
  assert back.dtype == values.dtype
  np.testing.assert_array_equal(back, values)


@pytest.mark.parametrize('channels', [1, 3])
def test_lossy_files_become_jpeg(channels):
  values = files.gradient(48, 64, channels)
  lossy = {
    'HEIF': files.heic(values),
    'JXL': jxl(values, lossless=False, level=95),
    'JPEG2000': j2k(values, level=60, reversible=False),
    'MPO': files.pillow(
      Image.fromarray(values.squeeze()),
      'MPO',
      save_all=True,
      quality=95,
      append_images=[Image.fromarray(values[::2, ::2].squeeze())],
    ),
  }
  for kind, data in lossy.items():
    photo = reading.read(data, 'it')
    assert (photo.kind, photo.format, photo.grey) == (kind, 'JPEG', channels == 1)
    back = files.stored(again(data)[0])
    assert back.shape == values.shape
    assert np.abs(back - values.astype(int)).max() < 16, kind


def test_lossy_files_with_alpha_or_more_bits_become_png():
  values = files.gradient(48, 64, 4)
  deep = values[..., :3] * np.uint16(257)
  for data, expected, most in (
    (files.heic(values), values, 12),
    (jxl(values, lossless=False, level=95), values, 12),
    (files.heic(deep, bits=10), deep, 12 * 257),
    (jxl(deep, lossless=False, level=95), deep, 12 * 257),
    (j2k(deep, level=60, reversible=False), deep, 12 * 257),
  ):
    written, notes = again(data)
    assert opened(written).format == 'PNG' and notes == ()
    back = files.stored(written)
    assert back.dtype == expected.dtype and back.shape == expected.shape
    assert np.abs(back.astype(int) - expected).max() < most


def test_ten_bits_fill_sixteen():
  """White stays white, which a shift by six bits would not give."""
  data = files.heic(np.full((64, 64, 3), 65535, np.uint16), bits=10)
  assert reading.read(data, 'it').pixels.max() == 65535


@pytest.mark.parametrize('subsampling', ['4:4:4', '4:2:2', '4:2:0'])
@pytest.mark.parametrize('channels', [3, 4])
def test_avif_stays_avif(subsampling, channels):
  values = files.gradient(48, 64, channels)
  data = files.pillow(values, 'AVIF', quality=95, subsampling=subsampling)
  written, notes = again(data)
  picture = opened(written)
  assert (picture.format, notes) == ('AVIF', ())
  assert np.abs(np.asarray(picture).astype(int) - values).max() < 12
  # av1C: the two bits behind bits and greyness.
  at = written.index(b'av1C') + 6
  assert {0: '4:4:4', 8: '4:2:2', 12: '4:2:0'}[written[at] & 12] == subsampling


def test_a_jpeg_in_a_jpeg_xl_file_is_written_as_it_was():
  jpeg = files.pillow(
    files.gradient(32, 48, 3), 'JPEG', quality=98, subsampling=1,
    exif=files.exif(6).tobytes(), icc_profile=files.profile(), xmp=files.XMP,
  )  # fmt: skip
  written, notes = again(bytes(imagecodecs.jpegxl_encode_jpeg(jpeg)))
  assert written == again(jpeg)[0] and notes == ()


@pytest.mark.parametrize(
  ('kind', 'count', 'kept'), [(b'junk', 10**5, 0), (b'xml ', 9_000, 9_000), (b'xml ', 10**5, 0)]
)
def test_compressed_boxes_of_a_jpeg_xl_file_take_bounded_memory(monkeypatch, kind, count, kept):
  values = files.gradient(32, 48, 3)
  monkeypatch.setattr(jpeg_xl, '_LARGEST_BLOCK', 10_000)
  box = kind + bytes(imagecodecs.brotli_encode(b' ' * count))
  photo = reading.read(files.jxl_with(jxl(values), (b'brob', box)), 'it')
  np.testing.assert_array_equal(photo.pixels, values)
  assert len(photo.tags.xmp or b'') == kept
  lost = kind == b'xml ' and not kept
  assert photo.notes == (('tags that cannot be read left out',) if lost else ())


def test_what_a_file_is_counts_and_not_its_name(tmp_path):
  path = tmp_path / 'photo.jpg'
  path.write_bytes(files.heic(files.gradient(32, 48, 3)))
  photo = reading.load(path)
  assert (photo.kind, photo.size) == ('HEIF', (48, 32))


# --- what the file says --------------------------------------------------------------------------


def tagged(kind):
  """A file with profile, EXIF (orientation 6) and XMP, and its channels as they are stored."""
  values = files.gradient(32, 48, 3)
  said = {'icc_profile': files.profile(), 'exif': files.exif(6).tobytes(), 'xmp': files.XMP}
  if kind == 'AVIF':
    return files.pillow(values, 'AVIF', quality=100, subsampling='4:4:4', **said), values
  if kind == 'HEIF':  # by Pillow, so that the file has its transform (irot)
    pillow_heif.register_heif_opener()
    said |= {'matrix_coefficients': 0, 'chroma': 444}
    return files.pillow(values, 'HEIF', quality=-1, **said), values
  if kind == 'JXL':
    exif = b'\0\0\0\0' + BLOCK
    brotli = b'xml ' + bytes(imagecodecs.brotli_encode(files.XMP))
    return files.jxl_with(jxl(values), (b'Exif', exif), (b'brob', brotli)), values
  exif = files.boxed(b'uuid', b'JpgTiffExif->JP2' + BLOCK)
  packet = files.boxed(b'uuid', bytes.fromhex('be7acfcb97a942e89c71999491e3afac') + files.XMP)
  data = j2k(values)
  return data.replace(files.boxed(b'colr', b'\1\0\0\0\0\0\x10'), b'') and with_profile(
    data, exif + packet
  ), values


def with_profile(jp2, boxes):
  """A JP2 file whose colours a profile tells, with more boxes before its codestream."""
  old = files.boxed(b'colr', b'\1\0\0\0\0\0\x10')
  new = files.boxed(b'colr', b'\2\0\0' + files.profile())
  at = jp2.index(b'jp2h') - 4
  (length,) = struct.unpack_from('>I', jp2, at)
  header = jp2[at + 4 : at + length].replace(old, new)
  return jp2[:at] + struct.pack('>I', 4 + len(header)) + header + boxes + jp2[at + length :]


@pytest.mark.parametrize('kind', ['AVIF', 'HEIF', 'JXL', 'JPEG2000'])
@pytest.mark.parametrize('target', ['JPEG', 'PNG', 'AVIF'])
def test_tags_are_kept_and_the_picture_is_turned_once(kind, target):
  data, values = tagged(kind)
  # EXIF's orientation does not hold for JPEG XL, whose codestream has its own.
  upright = values if kind == 'JXL' else np.rot90(values, -1)
  written, notes = again(data, target)
  assert notes == ()
  picture = opened(written)
  assert (picture.format, picture.size) == (target, upright.shape[1::-1])
  assert np.abs(np.asarray(picture).astype(int) - upright).max() < 12
  block = picture.getexif()
  assert block.get(0x0112, 1) == 1
  assert block[0x010F] == 'Maker'
  assert block.get_ifd(0x8769)[0x927C] == b'a note of the maker'
  assert picture.info['xmp'] == files.XMP.replace(b'"6"', b'"1"')
  if kind != 'JXL':  # whose decoder tells the profile in words of its own
    assert picture.info['icc_profile'] == files.profile()


def test_the_orientation_of_a_heic_file_is_its_transform():
  """Programs copy EXIF blocks of other pictures; the standard lets the transforms alone decide."""
  values = files.gradient(32, 48, 3)
  said, copied = (b'\x01\x12\0\x03\0\0\0\x01\0' + bytes([n]) for n in (1, 6))
  data = files.heic(values, exif=files.exif(1).tobytes()).replace(said, copied)
  assert copied in data
  stored = pillow_heif.open_heif(io.BytesIO(data))
  assert b'irot' not in data and stored.size == (48, 32)
  picture = opened(again(data)[0])
  assert picture.size == (48, 32)
  assert picture.getexif()[0x0112] == 1


def test_notes_of_cameras_keep_their_places_in_avif_files():
  """What an EXIF block says of itself by offsets holds still: no byte of it moves."""
  block = bytearray(BLOCK)
  data = files.pillow(files.gradient(32, 48, 3), 'JPEG', exif=b'Exif\0\0' + bytes(block))
  written, _ = again(data, 'AVIF')
  kept = opened(written).info['exif'].removeprefix(b'Exif\0\0')
  at = BLOCK.index(b'a note of the maker')
  assert kept[at : at + 19] == b'a note of the maker' and len(kept) == len(BLOCK)


def red(profile):
  """What sRGB makes of pure red in another space, by LittleCMS in Pillow."""
  picture = Image.new('RGB', (1, 1), (200, 80, 80))
  source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
  return ImageCms.profileToProfile(picture, source, ImageCms.createProfile('sRGB')).getpixel((0, 0))


def test_colours_by_code_points_become_a_profile():
  """Display P3: 200, 80, 80 are 216.5, 68.9, 75.0 in sRGB, by the matrices of CSS Color 4."""
  data = avif(files.gradient(32, 48, 3), 8, primaries=12, transfer=13)
  assert 'icc_profile' not in opened(data).info
  written, notes = again(data)
  assert notes == ()
  assert (
    np.abs(np.subtract(red(opened(written).info['icc_profile']), (216.5, 68.9, 75.0))).max() < 2
  )
  for primaries, transfer in ((1, 13), (1, 1), (2, 2)):
    plain = avif(files.gradient(32, 48, 3), 8, primaries=primaries, transfer=transfer)
    assert 'icc_profile' not in opened(again(plain)[0]).info
    assert again(plain)[1] == ()
  odd = avif(files.gradient(32, 48, 3), 8, primaries=8, transfer=9)
  assert again(odd)[1] == ('its colours (8/9 of ITU-T H.273) are taken for sRGB',)


@pytest.mark.parametrize('transfer', [16, 18])
def test_hdr_colours_are_told_where_there_is_a_place(transfer):
  values = files.noise(32, 48, 3, np.uint16) >> 6
  data = avif(values, 10, primaries=9, transfer=transfer)
  written, notes = again(data)
  assert notes == ()
  assert files.chunk(b'cICP', bytes([9, transfer, 0, 1])) in written
  assert files.stored(written).dtype == np.uint16
  assert any(note.startswith('HDR colours (cICP) left out') for note in again(data, 'JPEG')[1])


def test_what_a_heic_file_has_beside_its_picture_is_said():
  one = Image.fromarray(files.gradient(64, 64, 3))
  pillow_heif.register_heif_opener()
  data = files.pillow(one, 'HEIF', save_all=True, append_images=[one, one])
  assert again(data)[1] == ('2 more pictures left out',)


def test_views_of_stereo_cameras_are_said():
  one = Image.fromarray(files.gradient(64, 64, 3))
  data = files.pillow(one, 'MPO', save_all=True, append_images=[one])
  assert again(data)[1] == ()  # previews are of no kind
  entry = data.index(b'MPF\0') + 4 + 50  # behind a directory of three
  stereo = bytearray(data)
  struct.pack_into('<I', stereo, entry, 0x020002)
  struct.pack_into('<I', stereo, entry + 16, 0x020002)
  assert again(bytes(stereo))[1] == ('1 more view left out',)


# --- names ---------------------------------------------------------------------------------------


def test_a_name_for_every_kind():
  assert len(kinds.SUFFIXES) == len(set(kinds.SUFFIXES))
  assert not set(FORMATS) & set(kinds.READ_ONLY)
  registered = Image.registered_extensions()
  import pillow_jxl  # noqa: F401  (registers its own)

  pillow_heif.register_heif_opener()
  for kind, suffixes in kinds.READ_ONLY.items():
    for suffix in suffixes:
      assert registered.get(suffix, Image.EXTENSION.get(suffix)) in (kind, None), suffix


@pytest.mark.parametrize(
  ('name', 'data', 'suffix'),
  [
    ('a.HEIC', lambda: files.heic(files.gradient(64, 64, 3)), '.jpg'),
    ('a.heic', lambda: files.heic(files.gradient(64, 64, 4)), '.png'),
    ('a.hif', lambda: files.heic(files.noise(64, 64, 3, np.uint16), bits=10), '.png'),
    ('a.avif', lambda: files.pillow(files.gradient(8, 8, 3), 'AVIF'), '.avif'),
    ('a.avif', lambda: avif(files.noise(8, 8, 3, np.uint16) >> 6, 10), '.png'),
    ('a.jxl', lambda: jxl(files.gradient(8, 8, 3)), '.png'),
    ('a.jxl', lambda: jxl(files.gradient(8, 8, 3), lossless=False, level=90), '.jpg'),
    ('a.jp2', lambda: j2k(files.gradient(64, 64, 3)), '.png'),
    ('a.jp2', lambda: j2k(files.gradient(64, 64, 3), level=60, reversible=False), '.jpg'),
    ('a.mpo', lambda: files.pillow(files.gradient(8, 8, 3), 'MPO'), '.jpg'),
    ('a.ppm', lambda: files.pillow(files.gradient(8, 8, 3), 'PPM'), '.png'),
    ('a.JPG', lambda: files.heic(files.gradient(64, 64, 3)), '.JPG'),  # the name decides
    ('a.heic', lambda: b'', '.jpg'),
  ],
)
def test_names_are_given_before_a_file_is_read(tmp_path, name, data, suffix):
  path = tmp_path / name
  path.write_bytes(data())
  assert kinds.target_suffix(path) == suffix
  if data() and suffix.lower() != '.jpg' and name != 'a.JPG':
    assert suffix in FORMATS[reading.load(path).format]


# --- what cannot be read -------------------------------------------------------------------------


@pytest.mark.parametrize(
  ('data', 'words'),
  [
    (b'%PDF-1.4 and more', 'is a PDF document'),
    (b'<!DOCTYPE html><html>', 'is a web page, not a picture'),
    (b'<?xml version="1.0"?>\n<svg width="3">', 'is a drawing, not a picture of pixels'),
    (b'\0\0\0\x18ftypmp42\0\0\0\0isommp42', 'is a video'),
    (b'\0\0\0\x18ftypcrx \0\0\0\1crx isom', "is a camera's raw file: develop it first"),
    (b'FUJIFILMCCD-RAW 0201', "is a camera's raw file: develop it first"),
    (b'#!/bin/sh\necho hello', 'is not a picture of a kind that can be read'),
    (b'\xff\xd8\xff\xe0', 'is damaged'),
    (b'GIF89a', 'is damaged'),
    (
      lambda: bytes(
        imagecodecs.jpeg8_encode(files.noise(8, 8, 3, np.uint16) >> 4, bitspersample=12)
      ),
      'is a JPEG file of 12 bits a channel: convert it',
    ),
    (
      lambda: bytes(imagecodecs.ljpeg_encode(files.noise(8, 8, 1, np.uint16)[..., 0])),
      'is a JPEG file without',
    ),
    (lambda: bytes(imagecodecs.jpegls_encode(files.noise(8, 8, 3))), 'is a JPEG file without loss'),
  ],
)
def test_other_files_are_called_what_they_are(data, words):
  with pytest.raises(UserError) as error:
    reading.read(data() if callable(data) else data, 'it')
  assert str(error.value).startswith(f'it {words}')


@pytest.mark.parametrize('kind', ['DNG', 'NEF', 'CR2'])
def test_raw_files_are_not_taken_for_their_previews(kind):
  preview = files.noise(8, 8, 3)
  options = {'extratags': [(50706, 1, 4, b'\1\4\0\0', True)]} if kind == 'DNG' else {}
  data = files.tiff(preview, **options)
  if kind == 'NEF':
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
      writer.write(preview, photometric='rgb', subfiletype=1, subifds=1)
      writer.write(files.noise(16, 16, 1, np.uint16)[..., 0], photometric='cfa', extratags=CFA)
    data = file.getvalue()
  if kind == 'CR2':
    data = data[:8] + b'CR' + data[10:]
  with pytest.raises(UserError, match="it is a camera's raw file: develop it first"):
    reading.read(data, 'it')


@pytest.mark.parametrize('kind', ['GIF', 'AVIF', 'JXL'])
def test_animations_are_refused(kind):
  pictures = np.stack([files.noise(16, 16, 3, seed=seed) for seed in range(3)])
  if kind == 'JXL':
    data = jxl(pictures)
  elif kind == 'AVIF':
    data = bytes(imagecodecs.avif_encode(pictures))
  else:
    first, *more = map(Image.fromarray, pictures)
    data = files.pillow(first, 'GIF', save_all=True, append_images=more)
  with pytest.raises(UserError, match='it is animated'):
    reading.read(data, 'it')


@pytest.mark.parametrize('kind', ['AVIF', 'HEIF', 'JXL', 'JPEG2000'])
def test_a_limit_of_pixels_holds_before_they_are_decoded(kind):
  data, _ = tagged(kind)
  with pytest.raises(UserError, match=r'it claims \d+x\d+ pixels, more than the 100 allowed'):
    reading.read(data, 'it', max_pixels=100)


@pytest.mark.parametrize('kind', ['AVIF', 'HEIF', 'JXL', 'JPEG2000'])
@pytest.mark.parametrize('part', [0.02, 0.3, 0.7])
def test_damaged_files_are_called_so(kind, part):
  data, _ = tagged(kind)
  with pytest.raises(UserError, match=r'^it is damaged and cannot be decoded \(.*\)\.$'):
    reading.read(data[: max(16, int(part * len(data)))], 'it')


def test_floats_are_refused():
  values = files.gradient(16, 16, 3).astype(np.float32) / 255
  with pytest.raises(UserError, match='neither 8- nor 16-bit integers'):
    reading.read(jxl(values), 'it')


def test_a_picture_inside_an_icon_has_the_same_limit(monkeypatch):
  icon = files.pillow(Image.fromarray(files.noise(64, 64, 3)), 'ICO', sizes=[(64, 64)])
  assert reading.read(icon, 'it').size == (64, 64)
  at = icon.index(b'\x89PNG')
  bomb = icon[:at] + files.png(files.noise(2, 2, 1), size=(50_000, 50_000))
  with pytest.raises(UserError, match=r'it claims more pixels than the 250,000,000 allowed: if'):
    reading.read(bomb, 'it')
