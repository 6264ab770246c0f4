"""Photograph files of every kind: read, written again, and read by another library."""

import dataclasses
import io
import struct
import zlib

import cv2
import numpy as np
import photo_files as files
import pytest
import tifffile
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin

from degrep_jax.common.errors import UserError
from degrep_jax.photos import reading, writing
from degrep_jax.photos.photo import FORMATS, fitted, side_by_side


def again(data, format=None, **options):
  """The file that an identity makes of a file, and its notes."""
  photo = reading.read(data, 'it')
  photo = fitted(photo, format or photo.format)
  return writing.encode(photo, **options), photo.notes


def opened(data):
  return Image.open(io.BytesIO(data))


# --- every kind of file --------------------------------------------------------------------------


def palette(transparency=None):
  """A palette picture, its file's options, and its colours (H, W, 3 or 4)."""
  numbers = files.noise(5, 7, 1)[..., 0] % 4
  colours = files.noise(1, 4, 3, seed=1)[0]
  picture = Image.fromarray(numbers).convert('P')
  picture.putpalette(colours.tobytes())
  if transparency is None:
    return picture, {}, colours[numbers]
  alphas = np.uint8([*transparency, 255, 255, 255])[numbers]
  return picture, {'transparency': bytes(transparency)}, np.dstack([colours[numbers], alphas])


def bilevel():
  """A picture of one bit, and it in eight."""
  values = files.noise(9, 11, 1) // 128 * 255
  return Image.fromarray(values[..., 0]).convert('1', dither=Image.Dither.NONE), values


def keyed(values, dtype):
  """A PNG file in which the colour of the first pixel is transparent, and its channels."""
  key = values[0, 0].astype('>u2').tobytes()
  clear = (values == values[0, 0]).all(-1)
  alpha = np.where(clear, 0, np.iinfo(dtype).max).astype(dtype)
  return files.png(values, files.chunk(b'tRNS', key)), np.dstack([values, alpha])


def kinds():
  """Yields name, file, and channels (H, W, C) that the written one must have."""
  for channels, mode in files.MODES.items():
    for dtype in (np.uint8, np.uint16):
      values = files.noise(13, 9, channels, dtype)
      bits = 8 * values.itemsize
      yield f'PNG {mode} {bits}', files.png(values), values
      yield f'TIFF {mode} {bits}', files.tiff(values), values
      yield f'TIFF {mode} {bits} big-endian', files.tiff(values, byteorder='>'), values
      yield (
        f'TIFF {mode} {bits} LZW',
        files.tiff(values, compression='lzw', predictor=True),
        values,
      )
    for dtype in (np.uint16, np.uint8) if channels == 3 else (np.uint16,):
      values = files.noise(40, 50, channels, dtype)
      bits = 8 * values.itemsize
      yield f'TIFF {mode} {bits} tiled', files.tiff(values, tile=(16, 32)), values
      if channels > 1:
        yield f'TIFF {mode} {bits} planar', files.tiff(values, planarconfig='separate'), values
  for channels in (3, 4):
    values = files.noise(13, 9, channels)
    mode = files.MODES[channels]
    yield f'WebP {mode}', files.pillow(values, 'WEBP', lossless=True, exact=True), values
  for channels in (1, 3):
    values = files.noise(13, 9, channels)
    yield f'BMP {files.MODES[channels]}', files.pillow(values, 'BMP'), values
  values = files.noise(13, 9, 4)
  yield 'BMP RGBA', cv2.imencode('.bmp', values[..., [2, 1, 0, 3]])[1].tobytes(), values

  picture, options, values = palette()
  for format in ('PNG', 'TIFF', 'BMP'):
    yield f'{format} palette', files.pillow(picture, format, **options), values
  picture, options, values = palette(transparency=[17])
  yield 'PNG palette with transparency', files.pillow(picture, 'PNG', **options), values
  picture, values = bilevel()
  for format, options in (('PNG', {}), ('TIFF', {'compression': 'group4'}), ('BMP', {})):
    yield f'{format} one bit', files.pillow(picture, format, **options), values
  for channels in (1, 3):
    for dtype in (np.uint8, np.uint16):
      yield (
        f'PNG {files.MODES[channels]} {8 * np.dtype(dtype).itemsize} transparent colour',
        *keyed(files.noise(6, 5, channels, dtype), dtype),
      )
  values = files.noise(13, 9, 1, np.uint16)
  yield 'TIFF white is zero', files.tiff(65535 - values, photometric='miniswhite'), values


KINDS = {name: (data, values) for name, data, values in kinds()}


@pytest.mark.parametrize('kind', KINDS)
def test_every_kind_keeps_its_values(kind):
  data, values = KINDS[kind]
  written, notes = again(data)
  assert opened_format(written) == opened_format(data)
  back = files.stored(written)
  assert back.dtype == values.dtype
  np.testing.assert_array_equal(back, values)
  assert notes == ()


def opened_format(data):
  """By the first bytes; Pillow does not open every TIFF file."""
  starts = {b'\x89PNG': 'PNG', b'II*\0': 'TIFF', b'MM\0*': 'TIFF', b'RIFF': 'WEBP'}
  return starts.get(data[:4], 'BMP')


@given(
  channels=st.integers(1, 4),
  dtype=st.sampled_from([np.uint8, np.uint16]),
  height=st.integers(1, 40),
  width=st.integers(1, 40),
  format=st.sampled_from(['PNG', 'TIFF']),
  seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
@example(channels=2, dtype=np.uint16, height=1, width=1, format='TIFF', seed=0)
def test_lossless_files_of_any_size(channels, dtype, height, width, format, seed):
  values = files.noise(height, width, channels, dtype, seed)
  data = files.png(values) if format == 'PNG' else files.tiff(values)
  photo = reading.read(data, 'it')
  assert photo.pixels.shape == (height, width, 3)
  assert photo.size == (width, height)
  for target in ('PNG', 'TIFF'):
    np.testing.assert_array_equal(files.stored(writing.encode(fitted(photo, target))), values)


def test_large_tiff_files_have_many_strips():
  values = files.noise(700, 900, 3, np.uint16)
  written, _ = again(files.tiff(values))
  np.testing.assert_array_equal(files.stored(written), values)


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('format', ['JPEG', 'WEBP'])
def test_lossy_files_stay_close(channels, format):
  values = files.gradient(60, 80, channels)
  written, notes = again(files.pillow(values, format, quality=90))
  back = files.stored(written)
  # WebP stores no grey.
  assert back.shape == (60, 80, channels if format == 'JPEG' else 3)
  assert np.abs(back - values.astype(int)).max() < 12
  assert notes == ()


def test_a_lossy_webp_file_stays_lossy_and_a_lossless_one_lossless():
  values = files.noise(64, 64, 3)
  lossy, _ = again(files.pillow(values, 'WEBP', quality=90))
  assert b'VP8 ' in lossy[:40]
  kept, _ = again(files.pillow(values, 'WEBP', lossless=True))
  assert b'VP8L' in kept[:40]
  asked, _ = again(files.pillow(values, 'WEBP', lossless=True), quality=50)
  assert b'VP8 ' in asked[:40]
  assert len(asked) < len(lossy) < len(kept)


def test_tiff_says_what_its_alpha_is():
  written, _ = again(files.tiff(files.noise(3, 4, 4, np.uint16)))
  with tifffile.TiffFile(io.BytesIO(written)) as file:
    assert file.pages.first.extrasamples == (tifffile.EXTRASAMPLE.UNASSALPHA,)
    assert file.pages.first.photometric == tifffile.PHOTOMETRIC.RGB


def test_premultiplied_alpha_is_divided_out():
  values = np.uint16([[[300, 200, 100, 32768], [0, 0, 0, 0], [9, 8, 7, 65535]]])
  photo = reading.read(files.tiff(values, extrasamples=['assocalpha']), 'it')
  assert photo.pixels.tolist() == [[[600, 400, 200], [0, 0, 0], [9, 8, 7]]]
  assert photo.alpha.tolist() == [[32768, 0, 65535]]


@pytest.mark.parametrize('format', ['JPEG', 'TIFF'])
@pytest.mark.parametrize('icc', [None, b'no profile', files.profile()])
def test_cmyk_becomes_srgb_and_says_so(format, icc):
  # (One of the profiles is of RGB, so that it cannot be used either.)
  values = np.repeat(files.gradient(16, 16, 1), 4, axis=-1)
  values[..., 3] = 0
  picture = (
    Image.fromarray(values, 'CMYK')
    if False
    else Image.frombytes('CMYK', (16, 16), values.tobytes())
  )
  options = {'quality': 100, 'subsampling': 0} if format == 'JPEG' else {}
  written, notes = again(files.pillow(picture, format, icc_profile=icc, **options))
  back = opened(written)
  assert (back.format, back.mode) == (format, 'RGB')
  assert np.abs(np.asarray(back) - (255 - values[..., :3].astype(int))).max() < 12
  assert 'sRGB' in ImageCms.getProfileDescription(io.BytesIO(back.info['icc_profile']))
  assert notes == ('CMYK became sRGB',)


# --- what the file says --------------------------------------------------------------------------


def tagged(format, orientation=1, values=None):
  """A file with profile, EXIF, XMP and resolution, as far as Pillow writes them."""
  values = files.gradient(12, 20, 3) if values is None else values
  options = {
    'icc_profile': files.profile(),
    'exif': files.exif(orientation).tobytes(),
    'dpi': (300, 300),
    'xmp': files.XMP,
  }
  if format == 'WEBP':
    options |= {'lossless': True, 'exact': True}
  if format == 'JPEG':
    options |= {'quality': 100, 'subsampling': 0}
  return files.pillow(values, format, **options)


TAGGED = ('JPEG', 'PNG', 'WEBP', 'TIFF')


@pytest.mark.parametrize('source', TAGGED)
@pytest.mark.parametrize('target', TAGGED)
def test_tags_are_kept(source, target):
  picture = opened(again(tagged(source), target)[0])
  assert picture.format == target
  assert picture.info['icc_profile'] == files.profile()
  block = picture.getexif()
  assert block[0x010F] == 'Maker'
  assert block[0x0132] == '2020:02:03 04:05:06'
  assert block.get_ifd(0x8769)[0x829A] == 0.01
  assert block.get_ifd(0x8769)[0x927C] == b'a note of the maker'
  assert block.get_ifd(0x8825) == {1: 'N', 2: (47.0, 22.0, 11.0)}
  if source not in ('WEBP',) and target != 'WEBP':
    assert picture.info['dpi'] == pytest.approx((300, 300), abs=0.01)
  if source in ('JPEG', 'WEBP'):
    assert picture.info['xmp'] == files.XMP.replace(b'"6"', b'"1"')


def test_profiles_and_texts_of_more_than_a_mebibyte_are_kept():
  large = files.noise(1, 1_200_000, 1).tobytes()
  data = files.pillow(files.gradient(8, 8, 3), 'JPEG', icc_profile=large)
  written, _ = again(data, 'PNG')
  assert reading.read(written, 'it').tags.icc == large
  text = files.chunk(b'zTXt', b'Comment\0\0' + zlib.compress(b'of mine' * 200_000))
  values = files.noise(4, 6, 3)
  written, notes = again(files.png(values, text))
  assert text in written and notes == ()


@pytest.mark.parametrize('format', ['WEBP', 'AVIF'])
def test_a_profile_of_greys_is_left_out_of_files_that_have_colours_alone(format):
  greys = bytes(16) + b'GRAY' + bytes(108)
  data = files.pillow(files.gradient(8, 8, 1), 'JPEG', icc_profile=greys)
  written, notes = again(data)
  assert opened(written).info['icc_profile'] == greys and notes == ()
  written, notes = again(data, format)
  assert 'icc_profile' not in opened(written).info
  assert notes == (f'ICC of greys left out, as {format} has colours alone',)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('format', TAGGED)
def test_pictures_look_the_same_and_lie_upright(format, orientation):
  data = tagged(format, orientation)
  shown = ImageOps.exif_transpose(opened(data))
  written, _ = again(data)
  picture = opened(written)
  assert picture.getexif().get(0x0112, 1) == 1
  assert picture.size == shown.size
  difference = np.asarray(picture).astype(int) - np.asarray(shown)
  assert np.abs(difference).max() <= (4 if format == 'JPEG' else 0)
  # The width that the block tells is that of the upright picture.
  assert picture.getexif().get_ifd(0x8769)[0xA002] == picture.width


def test_the_size_that_a_first_directory_tells_is_turned_too():
  block = files.exif(6)
  block[0x0100], block[0x0101] = 20, 12
  written, _ = again(files.pillow(files.gradient(12, 20, 3), 'JPEG', exif=block.tobytes()))
  after = opened(written).getexif()
  assert (after[0x0100], after[0x0101]) == opened(written).size == (12, 20)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_alpha_is_turned_with_the_colours(dtype):
  values = files.noise(4, 6, 4, dtype)
  data = files.png(values, files.chunk(b'eXIf', files.exif(6).tobytes().removeprefix(b'Exif\0\0')))
  written, _ = again(data)
  np.testing.assert_array_equal(files.stored(written), np.rot90(values, -1))


def block_with_thumbnail(order='<'):
  """An EXIF block by hand: orientation 8, a maker's note, a thumbnail; and where these are."""
  note = b'offsets from the start'
  head = {'<': b'II*\0', '>': b'MM\0*'}[order] + struct.pack(order + 'I', 8)
  # 8: directory of two entries, 38: next directory's offset; 42: EXIF directory, 60: note.
  main = struct.pack(order + 'HHHIHH', 2, 0x0112, 3, 1, 8, 0)
  main += struct.pack(order + 'HHII', 0x8769, 4, 1, 38) + struct.pack(order + 'I', 56 + len(note))
  sub = struct.pack(order + 'HHHII', 1, 0x927C, 7, len(note), 56) + struct.pack(order + 'I', 0)
  thumbnail = struct.pack(order + 'HHHII', 1, 0x0201, 4, 1, 0) + struct.pack(order + 'I', 0)
  return head + main + sub + note + thumbnail


def test_a_block_that_jpeg_cannot_hold_loses_what_its_thumbnail_was():
  block = block_with_thumbnail() + bytes(70_000)
  photo = reading.read(files.png(files.noise(4, 6, 3), files.chunk(b'eXIf', block)), 'it')
  photo = fitted(photo, 'JPEG')
  written = opened(writing.encode(photo))
  assert photo.notes == () and len(written.info['exif']) < 100
  assert written.getexif()[0x0112] == 1
  assert written.getexif().get_ifd(0x8769)[0x927C] == b'offsets from the start'
  note = struct.pack('<HHHIII', 1, 0x927C, 7, 70_000, 26, 0) + bytes(70_000)
  photo = reading.read(files.png(files.noise(4, 6, 3), files.chunk(b'eXIf', LITTLE + note)), 'it')
  assert fitted(photo, 'JPEG').notes == ('EXIF left out, as JPEG has no place for so much',)


LITTLE = b'II*\0\x08\0\0\0'


@pytest.mark.parametrize('order', ['<', '>'])
def test_a_block_changes_in_place_and_loses_its_thumbnail(order):
  block = block_with_thumbnail(order)
  data = files.pillow(files.gradient(4, 6, 3), 'JPEG', exif=b'Exif\0\0' + block)
  before = opened(data).getexif()
  assert before.get_ifd(0x8769)[0x927C] == b'offsets from the start'
  written, _ = again(data)
  after = opened(written).info['exif'].removeprefix(b'Exif\0\0')
  changed = [n for n, (a, b) in enumerate(zip(block, after, strict=True)) if a != b]
  orientation = 18 if order == '<' else 19
  pointer = range(34, 38)
  assert set(changed) <= {orientation, *pointer}
  assert after[orientation] == 1
  assert not any(after[n] for n in pointer)


@pytest.mark.parametrize(
  'block', [b'', b'II', b'no block', b'II*\0\xff\xff\xff\xff', b'MM\0*\0\0\0\x08\xff']
)
def test_a_damaged_block_is_left_out(block):
  data = files.png(files.noise(4, 6, 3), files.chunk(b'eXIf', block))
  written, notes = again(data)
  assert notes == (('EXIF, which is damaged, left out',) if block else ())
  assert 'exif' not in opened(written).info
  np.testing.assert_array_equal(files.stored(written), files.stored(data))


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_block_behind_the_pixels_of_a_png_file(dtype):
  values = files.noise(4, 6, 3, dtype)
  block = files.exif(6).tobytes().removeprefix(b'Exif\0\0')
  data = files.png(values)
  at = len(data) - 12  # before IEND
  written, _ = again(data[:at] + files.chunk(b'eXIf', block) + data[at:])
  np.testing.assert_array_equal(files.stored(written), np.rot90(values, -1))
  assert opened(written).getexif()[0x010F] == 'Maker'


def test_a_block_among_the_texts_of_a_png_file():
  block = files.exif(6).tobytes()
  text = f'\nexif\n{len(block):8}\n{block.hex()}\n'.encode()
  values = files.noise(4, 6, 3)
  data = files.png(values, files.chunk(b'tEXt', b'Raw profile type exif\0' + text))
  written, _ = again(data)
  np.testing.assert_array_equal(files.stored(written), np.rot90(values, -1))
  picture = opened(written)
  assert picture.getexif()[0x0112] == 1 and picture.getexif()[0x010F] == 'Maker'
  assert b'Raw profile' not in written


def test_orientation_by_xmp_alone():
  values = files.noise(4, 6, 3)
  data = files.pillow(values, 'WEBP', lossless=True, xmp=files.XMP)
  written, _ = again(data)
  np.testing.assert_array_equal(files.stored(written), np.rot90(values, -1))
  assert opened(written).info['xmp'] == files.XMP.replace(b'"6"', b'"1"')


def test_texts_and_colours_of_a_png_file_are_kept():
  chunks = [
    files.chunk(b'gAMA', struct.pack('>I', 100000)),
    files.chunk(b'cHRM', struct.pack('>8I', *range(1, 9))),
    files.chunk(b'tEXt', b'Comment\0of mine'),
  ]
  written, _ = again(
    files.png(files.noise(4, 6, 3, np.uint16), *chunks, files.chunk(b'bKGD', bytes(6)))
  )
  for chunk in chunks:
    assert chunk in written
  assert b'bKGD' not in written  # a colour among the old ones
  assert opened(written).text['Comment'] == 'of mine'


def test_captions_and_comments_of_a_jpeg_file_are_kept():
  caption = b'Photoshop 3.0\x008BIM\x04\x04\0\0\0\0\0\x0a\x1c\x02\x78\0\5hello'
  data = files.pillow(
    files.gradient(8, 8, 3),
    'JPEG',
    comment=b'of mine',
    extra=b'\xff\xed' + struct.pack('>H', 2 + len(caption)) + caption,
  )
  picture = opened(again(data)[0])
  assert picture.info['comment'] == b'of mine'
  assert ('APP13', caption) in picture.applist
  assert picture.info['photoshop'] == opened(data).info['photoshop']


def resource(number, data, name=b''):
  """Of Photoshop's block, by hand."""
  name = bytes([len(name)]) + name
  name += bytes(len(name) % 2)
  return (
    b'8BIM'
    + struct.pack('>H', number)
    + name
    + struct.pack('>I', len(data))
    + data
    + bytes(len(data) % 2)
  )


@pytest.mark.parametrize(
  ('before', 'after'),
  [
    ([(1028, b'words'), (1036, b'small picture'), (1061, b'digest')], [0, 2]),
    ([(1033, b'smaller'), (1028, b'words', b'named'), (1036, b'small!')], [1]),
    ([(1036, b'small picture')], []),
  ],
)
def test_photoshops_thumbnails_are_left_out(before, after):
  start = b'Photoshop 3.0\0'
  resources = [resource(*each) for each in before]
  extra = files.segment(0xED, start + b''.join(resources))
  data = files.pillow(files.gradient(8, 8, 3), 'JPEG', extra=extra)
  expected = [start + b''.join(resources[number] for number in after)] if after else []
  written, notes = again(data)
  assert [of for name, of in opened(written).applist if name == 'APP13'] == expected
  assert notes == () and (after or again(data, 'PNG')[1] == ())


@pytest.mark.parametrize(
  'rest', [resource(1036, b'small picture')[:-3], resource(1036, b'small') + b'of another kind']
)
def test_a_block_of_photoshop_that_cannot_be_read_stays_as_it_is(rest):
  block = b'Photoshop 3.0\0' + rest
  data = files.pillow(files.gradient(8, 8, 3), 'JPEG', extra=files.segment(0xED, block))
  assert ('APP13', block) in opened(again(data)[0]).applist


def test_the_longest_segment_that_jpeg_holds_is_kept():
  caption = b'Photoshop 3.0\x008BIM\x04\x04\0\0\0\0' + bytes(65_533 - 26)
  extra = b'\xff\xed' + struct.pack('>H', 2 + len(caption)) + caption
  data = files.pillow(files.gradient(8, 8, 3), 'JPEG', extra=extra)
  written, notes = again(data)
  assert ('APP13', caption) in opened(written).applist and notes == ()


def test_an_xmp_packet_that_jpeg_cannot_hold_is_left_out():
  long = files.XMP + b' ' * 70_000
  data = files.pillow(files.gradient(8, 8, 3), 'WEBP', xmp=long)
  assert opened(again(data, 'TIFF')[0]).info['xmp'] == long.replace(b'"6"', b'"1"')
  written, notes = again(data, 'JPEG')
  assert 'xmp' not in opened(written).info
  assert notes == ('XMP left out, as JPEG has no place for so much',)


def test_bmp_has_no_tags_and_says_so():
  assert again(tagged('JPEG'), 'BMP')[1] == (
    'ICC, EXIF, XMP left out, as BMP has no place for so much',
  )


def test_what_only_its_own_format_holds_is_said_to_be_lost():
  caption = b'Photoshop 3.0\0' + b'8BIM\4\4\0\0\0\0\0\0'
  segment = struct.pack('>BBH', 0xFF, 0xED, 2 + len(caption)) + caption
  jpeg = files.pillow(files.gradient(8, 8, 3), 'JPEG', comment=b'of mine', extra=segment)
  assert again(jpeg)[1] == ()
  (note,) = again(jpeg, 'PNG')[1]
  names, _, why = note.partition(' left out, ')
  assert {*names.split(', ')} == {'IPTC', 'comments'} and why.startswith('as PNG has no place')
  gamma = files.chunk(b'gAMA', struct.pack('>I', 45455))
  text = files.chunk(b'tEXt', b'Title\0mine')
  values = files.gradient(8, 8, 3)
  assert again(files.png(values, gamma, text))[1] == ()
  (note,) = again(files.png(values, gamma, text), 'WEBP')[1]
  assert note.startswith('PNG gAMA, PNG tEXt left out, ')
  srgb = files.chunk(b'sRGB', b'\0')
  assert again(files.png(values, srgb, gamma), 'WEBP')[1] == ()


@pytest.mark.parametrize('format', ['BMP', 'JPEG', 'PNG', 'TIFF'])
def test_the_resolution_of_grey_and_transparent_pictures(format):
  for channels in (1, 4) if format not in ('JPEG',) else (1,):
    photo = reading.read(files.pillow(files.noise(4, 5, 1), 'PNG', dpi=(150, 75)), 'it')
    if channels == 4:
      photo = dataclasses.replace(photo, grey=False, alpha=files.noise(4, 5, 1)[..., 0])
    written = writing.encode(fitted(photo, format))
    assert opened(written).info['dpi'] == pytest.approx((150, 75), abs=0.02)


# --- compression ---------------------------------------------------------------------------------


def tables(data):
  return opened(data).quantization


@pytest.mark.parametrize('quality', [30, 90, 99])
@pytest.mark.parametrize('channels', [1, 3])
def test_jpeg_is_at_least_as_fine_as_before_and_as_quality_95(quality, channels):
  values = files.gradient(32, 32, channels)
  before = tables(files.pillow(values, 'JPEG', quality=quality))
  fine = tables(files.pillow(values, 'JPEG', quality=95))
  after = tables(again(files.pillow(values, 'JPEG', quality=quality))[0])
  assert after == {n: np.minimum(before[n], fine[n]).tolist() for n in before}


def test_jpeg_of_the_quality_asked_for():
  values = files.gradient(32, 32, 3)
  written, _ = again(files.pillow(values, 'JPEG', quality=99), quality=60)
  assert tables(written) == tables(files.pillow(values, 'JPEG', quality=60))
  written, _ = again(files.png(values), 'JPEG')
  assert tables(written) == tables(files.pillow(values, 'JPEG', quality=95))


@pytest.mark.parametrize('subsampling', [0, 1, 2])
@pytest.mark.parametrize('progressive', [False, True])
def test_jpeg_keeps_its_subsampling_and_scans(subsampling, progressive):
  values = files.gradient(32, 32, 3)
  data = files.pillow(values, 'JPEG', subsampling=subsampling, progressive=progressive)
  with opened(again(data)[0]) as picture:
    assert JpegImagePlugin.get_sampling(picture) == subsampling
    assert bool(picture.info.get('progressive')) == progressive


# --- from one format to another ------------------------------------------------------------------


def test_what_a_format_cannot_hold_is_said():
  values = files.noise(8, 8, 4, np.uint16)
  values[..., 3] = 0
  photo = fitted(reading.read(files.png(values), 'it'), 'JPEG')
  assert photo.notes == (
    '16 bits became 8, as JPEG has no more',
    'laid over white, as JPEG has no transparency',
  )
  assert photo.alpha is None and (photo.pixels == 255).all()


def test_transparent_pictures_are_laid_over_white():
  values = np.uint8([[[100, 50, 0, 255], [100, 50, 0, 51], [100, 50, 0, 0]]])
  photo = fitted(reading.read(files.png(values), 'it'), 'JPEG')
  # 51 / 255 = 0.2: 0.2 * 100 + 0.8 * 255 = 224
  assert photo.pixels.tolist() == [[[100, 50, 0], [224, 214, 204], [255, 255, 255]]]


@pytest.mark.parametrize('format', ['JPEG', 'WEBP', 'BMP'])
def test_sixteen_bits_are_rounded_to_eight(format):
  values = np.uint16([[[0], [128], [129], [257], [385], [386], [65535]]])
  photo = fitted(reading.read(files.png(values), 'it'), format)
  assert photo.pixels[0, :, 0].tolist() == [0, 0, 1, 1, 1, 2, 255]
  assert photo.pixels.dtype == np.uint8


@pytest.mark.parametrize('source', FORMATS)
@pytest.mark.parametrize('target', FORMATS)
def test_from_any_format_to_any(source, target):
  values = files.gradient(24, 32, 3)
  written, notes = again(files.pillow(values, source), target, quality=100)
  picture = opened(written)
  assert (picture.format, picture.size, picture.mode) == (target, (32, 24), 'RGB')
  assert np.abs(np.asarray(picture).astype(int) - values).max() < 16
  assert notes == ()


def test_sides_that_a_format_cannot_hold():
  photo = reading.read(files.png(files.noise(1, 16_384, 1)), 'it')
  with pytest.raises(UserError, match='is 16384x1, and WEBP holds at most 16,383 pixels a side'):
    writing.encode(fitted(photo, 'WEBP'))
  values = files.noise(1, 65_501, 1)
  assert opened(again(files.png(values[:, 1:]), 'JPEG')[0]).size == (65_500, 1)
  with pytest.raises(UserError, match='is 65501x1, and JPEG holds at most 65,500 pixels a side'):
    writing.encode(fitted(reading.read(files.png(values), 'it'), 'JPEG'))


def test_grey_pictures_are_written_by_their_brightness():
  photo = reading.read(files.png(np.full((1, 1, 1), 9, np.uint8)), 'it')
  assert photo.grey
  coloured = dataclasses.replace(photo, pixels=np.uint8([[[200, 100, 50]]]))
  # 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2
  assert files.stored(writing.encode(coloured)).tolist() == [[[124]]]


@pytest.mark.parametrize('channels', [1, 4])
def test_two_pictures_side_by_side(channels):
  before, after = (
    reading.read(files.png(files.noise(5, 7, channels, np.uint16, seed)), 'it') for seed in (0, 1)
  )
  back = files.stored(writing.encode(side_by_side(before, after)))
  assert back.shape == (5, 7 + 8 + 7, channels)
  np.testing.assert_array_equal(back[:, :7], files.noise(5, 7, channels, np.uint16, 0))
  np.testing.assert_array_equal(back[:, -7:], files.noise(5, 7, channels, np.uint16, 1))
  assert (back[:, 7:-7] == 65535).all()


# --- what cannot be read -------------------------------------------------------------------------


def refused(data, *words, **limits):
  """The one sentence."""
  with pytest.raises(UserError) as error:
    reading.read(data, 'folder/it.png', **limits)
  sentence = str(error.value)
  assert sentence.startswith('folder/it.png ') and sentence.endswith('.')
  assert '\n' not in sentence
  for word in words:
    assert word in sentence


def test_an_empty_file():
  refused(b'', 'is empty')


@pytest.mark.parametrize('data', [b'hello, I am a text', b'\0' * 1000, b'II no TIFF'])
def test_other_files(data):
  refused(data, 'is not a picture of a kind that can be read')


@pytest.mark.parametrize('part', [0.3, 0.6, 0.95])
@pytest.mark.parametrize('kind', [*(f'{f} 8' for f in FORMATS), 'PNG 16', 'TIFF 16'])
def test_truncated_files(kind, part):
  format, bits = kind.split()
  values = files.noise(64, 64, 3, np.uint16 if bits == '16' else np.uint8)
  if format in ('PNG', 'TIFF'):
    data = (files.png if format == 'PNG' else files.tiff)(values)
  else:
    data = files.pillow(values, format)
  refused(data[: int(part * len(data))], 'damaged')


def test_a_form_that_decoders_do_not_know_is_no_damage():
  data = bytearray(files.pillow(files.noise(4, 6, 3), 'BMP'))
  struct.pack_into('<H', data, 28, 2)  # bits of a pixel, as Windows CE knew them
  refused(bytes(data), 'rare form', 'pixel depth (2)', 'convert it')


@pytest.mark.parametrize('format', ['PNG', 'BMP', 'TIFF'])
def test_decompression_bombs(format):
  small = files.noise(2, 2, 1)
  if format == 'PNG':
    data = files.png(small, size=(50_000, 50_000))
  elif format == 'BMP':
    data = bytearray(files.pillow(small, 'BMP'))
    struct.pack_into('<ii', data, 18, 50_000, 50_000)
  else:
    data = bytearray(files.tiff(np.zeros((50, 51, 1), np.uint8)))
    at = data.index(struct.pack('<HHI', 256, 4, 1))
    struct.pack_into('<HHII', data, at, 256, 4, 1, 50_000_000)
  refused(bytes(data), 'claims', 'pixels')


def test_a_limit_of_ones_own():
  data = files.png(files.noise(10, 20, 1))
  refused(data, 'claims 20x10 pixels, more than the 199 allowed', max_pixels=199)
  assert reading.read(data, 'it', max_pixels=200).size == (20, 10)


def test_several_pictures_in_one_file():
  first, second = (Image.fromarray(files.noise(8, 8, 3, seed=seed)) for seed in (0, 1))
  more = {'save_all': True, 'append_images': [second]}
  refused(files.pillow(first, 'WEBP', **more), 'is animated, 2 frames')
  refused(files.pillow(first, 'PNG', **more), 'is animated, 2 frames')
  refused(files.pillow(first, 'TIFF', **more), 'holds 2 pages')


def test_previews_beside_a_photograph_do_not_count():
  values = files.noise(8, 8, 3)
  first, preview = Image.fromarray(values), Image.fromarray(values[::2, ::2])
  telephone = files.pillow(first, 'MPO', save_all=True, append_images=[preview], quality=95)
  picture = opened(again(telephone)[0])
  assert (picture.format, picture.size) == ('JPEG', (8, 8))
  file = io.BytesIO()
  with tifffile.TiffWriter(file) as writer:
    writer.write(values, photometric='rgb')
    writer.write(values[::2, ::2], photometric='rgb', subfiletype=1)
  np.testing.assert_array_equal(files.stored(again(file.getvalue())[0]), values)


def test_lab_becomes_srgb_and_says_so():
  # L* in 255 parts, a* and b* as signed integers: red, white and a middle grey of sRGB by the
  # formulas of CIE for D50, to which ICC adapts colours.
  colours = [(138, 81, 70), (255, 0, 0), (136, 0, 0)]
  data = files.pillow(Image.frombytes('LAB', (3, 1), bytes(sum(colours, ()))), 'TIFF')
  written, notes = again(data)
  assert notes == ('LAB became sRGB',) and opened(written).info['icc_profile']
  expected = [[(255, 0, 0), (255, 255, 255), (127, 127, 127)]]
  assert np.abs(files.stored(written).astype(int) - expected).max() <= 8


@pytest.mark.parametrize(
  ('values', 'options', 'words'),
  [
    (np.zeros((4, 5, 3), np.float32), {}, 'neither 8- nor 16-bit'),
    (np.zeros((4, 5, 1), np.uint32), {}, 'neither 8- nor 16-bit'),
    (np.zeros((4, 5, 1), np.int16), {}, 'neither 8- nor 16-bit'),
    (
      np.zeros((4, 5, 4), np.uint16),
      {'photometric': 'separated', 'extrasamples': []},
      'channels of 16',
    ),
    (np.zeros((4, 5, 5), np.uint16), {'extrasamples': [0, 0]}, '5 channels of 16 bits'),
    (np.zeros((4, 5, 3), np.uint16), {'photometric': 'cielab'}, '3 channels of 16'),
  ],
)
def test_values_of_other_kinds(values, options, words):
  refused(files.tiff(values, **options), words)


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_no_damage_is_a_surprise(data):
  """Whatever happens to a file, it is read or refused by a sentence."""
  content = bytearray(data.draw(st.sampled_from(DAMAGED)))
  for _ in range(data.draw(st.integers(1, 4))):
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
  try:
    photo = reading.read(bytes(content), 'it', max_pixels=10_000)
    assert photo.pixels.ndim == 3
  except UserError as error:
    assert str(error).startswith('it ')


DAMAGED = [
  *(tagged(format, values=files.noise(8, 8, 3)) for format in TAGGED),
  files.pillow(files.noise(8, 8, 3), 'BMP'),
  files.tiff(files.noise(8, 8, 3, np.uint16), compression='lzw'),
  files.png(files.noise(8, 8, 2, np.uint16)),
]


def test_a_file_that_cannot_be_opened(tmp_path):
  with pytest.raises(UserError, match=r'no\.png cannot be opened: No such file or directory\.'):
    reading.load(tmp_path / 'no.png')
  with pytest.raises(UserError, match='cannot be opened: Is a directory'):
    reading.load(tmp_path)
