"""TIFF files of many programs: BigTIFF, odd compression, and tags that break readers."""

import io
import struct

import numpy as np
import photo_files as files
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from degrep_jax.common.errors import UserError
from degrep_jax.photos import reading, tiff, writing
from degrep_jax.photos.photo import fitted

# What Pillow warns of the tests call by its name.
pytestmark = pytest.mark.filterwarnings('ignore::UserWarning:PIL')


def again(data):
  """The file that an identity makes of a file, and its notes."""
  photo = fitted(reading.read(data, 'it'), 'TIFF')
  return writing.encode(photo), photo.notes


def opened(data):
  return Image.open(io.BytesIO(data))


@pytest.mark.parametrize('byteorder', ['<', '>'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('channels', [1, 3, 4])
def test_bigtiff_is_read(byteorder, dtype, channels):
  values = files.noise(13, 9, channels, dtype)
  data = files.tiff(values, bigtiff=True, byteorder=byteorder)
  assert data[2:4] in (b'+\0', b'\0+')
  written, notes = again(data)
  assert written[:4] == b'II*\0'
  # Pillow reads none of big-endian ones.
  assert notes == (() if byteorder == '<' else ('tags that cannot be read left out',))
  np.testing.assert_array_equal(files.stored(written), values)


@pytest.mark.parametrize(
  ('extra', 'kept', 'note'),
  [
    (['unspecified'], 3, '1 more channel left out'),
    (['unspecified'] * 2, 3, '2 more channels left out'),
    (['unassalpha', 'unspecified'], 4, '1 more channel left out'),
  ],
)
def test_channels_that_say_not_what_they_are_are_left_out_and_said(extra, kept, note):
  values = files.noise(13, 9, 3 + len(extra))
  written, notes = again(files.tiff(values, photometric='rgb', extrasamples=extra))
  np.testing.assert_array_equal(files.stored(written), values[..., :kept])
  assert notes == (note,)


@pytest.mark.parametrize('bits', [10, 12, 14])
@pytest.mark.parametrize('channels', [1, 3])
def test_few_bits_fill_sixteen(bits, channels):
  few = files.noise(13, 8, channels, np.uint16) >> (16 - bits)
  written, notes = again(files.tiff(few, bitspersample=bits))
  back = files.stored(written)
  assert notes == () and back.dtype == np.uint16
  np.testing.assert_array_equal(back, np.rint(few * (65535 / (2**bits - 1))))


@pytest.mark.parametrize('photometric', ['minisblack', 'miniswhite'])
def test_one_bit_becomes_black_and_white(photometric):
  values = files.noise(13, 9, 1) > 128
  white = 255 * (values if photometric == 'minisblack' else ~values)
  np.testing.assert_array_equal(tiff.decode(files.tiff(values, photometric=photometric)), white)


def test_tags_of_bigtiff_are_kept():
  data = files.pillow(
    files.noise(12, 20, 3), 'TIFF', big_tiff=True, exif=files.exif(6).tobytes(),
    icc_profile=files.profile(), dpi=(300, 150),
  )  # fmt: skip
  assert data[:4] == b'II+\0'
  picture = opened(again(data)[0])
  assert picture.size == (12, 20)
  assert picture.info['icc_profile'] == files.profile()
  assert picture.info['dpi'] == (300, 150)
  block = picture.getexif()
  assert block[0x010F] == 'Maker'
  assert block.get_ifd(0x8769)[0x927C] == b'a note of the maker'
  assert block.get_ifd(0x8825) == {1: 'N', 2: (47.0, 22.0, 11.0)}


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('rows', [13, 700])
def test_what_overflows_a_classic_file_is_written_as_bigtiff(monkeypatch, dtype, rows):
  """As four gigabytes are too many for a test, the limit comes down."""
  monkeypatch.setattr(tiff, '_CLASSIC_BYTES', 100)
  values = files.noise(rows, 900, 3, dtype)
  data = files.pillow(files.noise(4, 4, 3), 'TIFF', exif=files.exif(1).tobytes())
  tags = reading.read(data, 'it').tags
  written = tiff.encode(values, tags)
  assert written[:4] == b'II+\0'
  with tifffile.TiffFile(io.BytesIO(written)) as file:
    assert file.is_bigtiff
    assert {file.pages.first.tags[tag].dtype.name for tag in (273, 279)} == {'LONG8'}
    np.testing.assert_array_equal(file.asarray(), values)
  if dtype == np.uint8:
    picture = opened(written)
    np.testing.assert_array_equal(np.asarray(picture), values)
    assert picture.getexif()[0x010F] == 'Maker'
    assert picture.getexif().get_ifd(0x8769)[0x829A] == 0.01


def test_offsets_beyond_four_gigabytes():
  """By the directory alone: the strips, were they so large, are where it says."""
  lengths = [2**31] * 3

  class Large(bytes):
    """Bytes that claim to be more."""

    def __len__(self):
      return 2**31

  values = files.noise(3, 4, 3)
  strips = [Large(tiff._strip(values[n : n + 1])) for n in range(3)]
  fields = {256: 4, 257: 3, 258: (8, 8, 8), 259: 8, 262: 2, 277: 3, 278: 1, 284: 1}
  fields |= {273: tiff._starts(strips), 279: tuple(lengths)}
  written = tiff._file(fields, strips, tiff.Tags())
  with tifffile.TiffFile(io.BytesIO(written)) as file:
    first, *others = file.pages.first.dataoffsets
    assert others == [first + 2**31, first + 2**32]


@pytest.mark.parametrize(
  'compression', ['tiff_lzw', 'tiff_adobe_deflate', 'packbits', 'zstd', 'lzma', 'webp', 'lerc']
)
def test_compression_of_every_kind(compression):
  values = files.noise(40, 50, 3)
  if compression in ('lerc', 'webp'):  # which Pillow does not write
    options = {'compressionargs': {'level': 100}} if compression == 'webp' else {}
    data = files.tiff(values, compression=compression, **options)
  else:
    data = files.pillow(values, 'TIFF', compression=compression)
  written, notes = again(data)
  assert notes == ()
  np.testing.assert_array_equal(files.stored(written), values)


def directory(*entries, order='<'):
  """A TIFF file by hand: a grey picture of 2x2 and more entries (tag, kind, count, value)."""
  whole = [
    (256, 3, 1, 2), (257, 3, 1, 2), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
    (273, 4, 1, 0), (277, 3, 1, 1), (278, 3, 1, 2), (279, 4, 1, 4), *entries,
  ]  # fmt: skip
  whole.sort()
  start = 8 + 2 + 12 * len(whole) + 4
  data = {'<': b'II*\0', '>': b'MM\0*'}[order] + struct.pack(order + 'IH', 8, len(whole))
  for tag, kind, count, value in whole:
    value = start if tag == 273 else value
    packed = struct.pack(
      order + ('HH' if kind == 3 else 'I'), *([value, 0] if kind == 3 else [value])
    )
    data += struct.pack(order + 'HHI', tag, kind, count) + packed
  return data + bytes(4) + bytes([1, 2, 3, 4])


@pytest.mark.parametrize(
  'entry',
  [
    (34665, 4, 1, 2**31),  # EXIF beyond the end
    (34665, 2, 4, 0x41414141),  # EXIF as a text
    (34665, 4, 1, 8),  # EXIF in a circle
    (34853, 4, 1, 3),  # GPS in the middle of the head
    (34675, 7, 2**30, 8),  # a profile larger than the file
    (700, 1, 2**30, 8),
    (282, 5, 1, 2**31),  # a resolution that is nowhere
    (282, 2, 4, 0x41414141),
    (274, 2, 4, 0x41414141),  # an orientation as a text
    (274, 3, 0, 6),
    (305, 99, 1, 0),  # a kind of value that there is not
    (306, 2, 2**31, 8),
    (33432, 3, 1, 7),  # a copyright as a number
    (33723, 4, 2, 8),
  ],
)
@pytest.mark.parametrize('order', ['<', '>'])
def test_odd_tags_do_not_keep_a_picture_from_being_read(entry, order):
  written, notes = again(directory(entry, order=order))
  np.testing.assert_array_equal(files.stored(written)[..., 0], [[1, 2], [3, 4]])
  assert notes in ((), ('tags that cannot be read left out',))


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_what_pillow_decodes_is_read(data):
  """Whatever a byte of the tags becomes."""
  content = bytearray(data.draw(st.sampled_from(TAGGED)))
  for _ in range(data.draw(st.integers(1, 3))):
    content[data.draw(st.integers(8, len(content) - 1))] = data.draw(st.integers(0, 255))
  try:
    with opened(bytes(content)) as picture:
      picture.load()
      several = picture.n_frames > 1 or picture.mode in ('F', 'I', 'I;16', 'I;16B', 'LAB')
  except Exception:
    return
  try:
    reading.read(bytes(content), 'it', max_pixels=10_000)
  except UserError as error:
    assert several or 'damaged' not in str(error), error


SAID = {'exif': files.exif(6).tobytes(), 'icc_profile': b'profile', 'dpi': (300, 300)}
TAGGED = [
  files.pillow(files.noise(4, 5, 3), 'TIFF', big_tiff=is_big, **SAID) for is_big in (False, True)
]


@pytest.mark.parametrize('byteorder', ['<', '>'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_bigtiff_is_turned_upright(byteorder, dtype):
  values = files.noise(5, 7, 3, dtype)
  turned = [(274, 3, 1, 6, True)]
  data = files.tiff(values, bigtiff=True, byteorder=byteorder, extratags=turned)
  np.testing.assert_array_equal(files.stored(again(data)[0]), np.rot90(values, -1))


@pytest.mark.parametrize('order', ['<', '>'])
def test_directories_that_go_round_in_a_circle(order):
  data = bytearray(directory(order=order))
  struct.pack_into(order + 'I', data, len(data) - 8, 8)  # the next directory is the first
  written, notes = again(bytes(data))
  np.testing.assert_array_equal(files.stored(written)[..., 0], [[1, 2], [3, 4]])
  assert notes == ()
