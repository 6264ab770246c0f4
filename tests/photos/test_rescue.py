"""Files that are cut off: the rows that are whole come out as they were, and no grey with them."""

import io
import tracemalloc
import zlib

import numpy as np
import photo_files as files
import pytest
from PIL import Image

from degrep_jax.common.errors import UserError
from degrep_jax.photos import png, reading

SIZE = 96, 64, 3


def cut(data, part):
  return data[: int(part * len(data))]


def rescued(data):
  """The photograph, and the words that say how much of it there is."""
  photo = reading.read(data, 'it', salvage=True)
  (note,) = photo.notes
  words = note.removeprefix('salvaged, ')
  with pytest.raises(UserError) as error:
    reading.read(data, 'it', salvage=False)
  assert str(error.value).startswith('it is damaged (')
  assert str(error.value).endswith(f'): --salvage restores {words}.')
  with pytest.raises(UserError, match=r'^it is damaged and cannot be decoded \(.*\)\.$'):
    reading.read(data, 'it')  # no command that has the flag
  return photo, words


@pytest.mark.parametrize('channels', [1, 2, 3, 4])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('part', [0.1, 0.5, 0.9])
def test_png(channels, dtype, part):
  values = files.noise(*SIZE[:2], channels, dtype)
  photo, words = rescued(cut(files.png(values), part))
  rows = len(photo.pixels)
  assert words == f'{rows} of its 96 rows'
  # Noise does not shrink: the file's share is that of the rows, but for a window of zlib.
  assert part * 96 - 6 <= rows <= part * 96
  back = photo.channels.reshape(rows, SIZE[1], channels)
  np.testing.assert_array_equal(back, values[:rows])


def test_a_png_file_that_holds_more_than_it_claims_takes_no_more_memory():
  data = files.png(files.noise(10, 10, 3))
  header = data[: png.HEADER_END]
  bomb = png.chunk(b'IDAT', zlib.compress(bytes(2**26)))
  tracemalloc.start()
  try:
    photo, words = rescued(header + bomb)
    _, most = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert words == 'all of its pixels' and not photo.pixels.any()
  assert most < 2**22


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize('missing', [1, 4, 12, 13, 16])
def test_a_png_file_without_its_end(dtype, missing):
  """Of IEND's 12 bytes, of IDAT's checksum, and all of both: no pixel is missing, which is said."""
  values = files.noise(*SIZE, dtype)
  data = files.png(values)[:-missing]
  if missing > 4:
    photo, words = rescued(data)
    assert words == 'all of its pixels'
  else:  # of its checksum alone
    photo = reading.read(data, 'it')
    assert not photo.notes
  np.testing.assert_array_equal(photo.pixels, values)


def test_an_interlaced_png_file_without_its_end():
  """Of one pixel, whose passes are one."""
  values = files.noise(1, 1, 3)
  data = bytearray(files.png(values))
  data[28] = 1
  data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, 'big')
  photo, words = rescued(bytes(data[:-12]))
  assert words == 'all of its pixels'
  np.testing.assert_array_equal(photo.pixels, values)


def test_tags_of_a_png_file_come_along():
  values = files.noise(*SIZE)
  block = files.exif(6).tobytes().removeprefix(b'Exif\0\0')
  data = files.png(values, files.chunk(b'eXIf', block), files.chunk(b'tEXt', b'Comment\0of mine'))
  photo, _ = rescued(cut(data, 0.5))
  rows = photo.pixels.shape[1]
  np.testing.assert_array_equal(photo.pixels, np.rot90(values[:rows], -1))
  assert photo.tags.png == ((b'tEXt', b'Comment\0of mine'),)
  assert b'Maker' in photo.tags.exif


def test_a_png_file_in_which_a_checksum_fails():
  """What comes before the broken part is certain; what comes behind it is not."""
  values = files.noise(*SIZE)
  whole = files.png(values)
  start = whole.index(b'IDAT') + 4
  stream = whole[start : whole.index(b'IEND') - 8]
  parts = [files.chunk(b'IDAT', stream[at : at + 2048]) for at in range(0, len(stream), 2048)]
  broken = bytearray(parts[4])
  broken[1000] ^= 1
  parts[4] = bytes(broken)
  photo, _ = rescued(whole[: start - 8] + b''.join(parts) + files.chunk(b'IEND', b''))
  rows = len(photo.pixels)
  assert 4 * 2048 / (1 + 3 * 64) - 6 <= rows <= 4 * 2048 / (1 + 3 * 64)
  np.testing.assert_array_equal(photo.pixels, values[:rows])


def jpeg(values, **options):
  """A JPEG file and what Pillow makes of it."""
  data = files.pillow(values, 'JPEG', **{'quality': 95} | options)
  with Image.open(io.BytesIO(data)) as picture:
    return data, np.asarray(picture.convert('RGB'))


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('subsampling', [0, 2])
@pytest.mark.parametrize('part', [0.4, 0.7, 0.97])
def test_jpeg(channels, subsampling, part):
  values = files.noise(200, 64, channels)
  data, expected = jpeg(values, **({'subsampling': subsampling} if channels == 3 else {}))
  photo, words = rescued(cut(data, part))
  rows = len(photo.pixels)
  assert words == f'{rows} of its 200 rows'
  # A row of blocks is whole or is not; colours of the last one are drawn from the next.
  assert part * 200 - 36 <= rows <= part * 200
  np.testing.assert_array_equal(photo.pixels, expected[:rows])


@pytest.mark.parametrize('channels', [1, 3])
def test_pnm_of_16_bits(channels):
  values = files.noise(20, 9, channels, np.uint16)
  magic = b'P6' if channels == 3 else b'P5'
  data = magic + b'\n9 20 65535\n' + values.astype('>u2').tobytes()
  photo, words = rescued(data[: -9 * channels])  # half a row
  assert words == '19 of its 20 rows'
  np.testing.assert_array_equal(photo.channels.reshape(19, 9, channels), values[:19])
  with pytest.raises(UserError, match='is damaged and cannot be decoded'):
    reading.read(magic + b'\n9 20 65535\n12', 'it', salvage=True)


def test_a_jpeg_file_without_its_end():
  data, expected = jpeg(files.noise(64, 64, 3))
  photo, words = rescued(data[:-2])
  assert words == 'all of its pixels'
  np.testing.assert_array_equal(photo.pixels, expected)


def test_a_progressive_jpeg_file_in_its_first_scan():
  """Brightness of one block after the other: where that ends is grey in other programs."""
  values = np.full((400, 400, 3), (200, 60, 40), np.uint8)
  values[::2] += files.noise(200, 400, 3) // 8
  data, expected = jpeg(values, progressive=True, subsampling=0)
  scan = data.index(b'\xff\xda')
  photo, words = rescued(data[: scan + (data.index(b'\xff\xda', scan + 2) - scan) // 2])
  rows = len(photo.pixels)
  assert words == f'{rows} of its 400 rows' and 100 < rows < 300
  # Coarse as it is, it is the picture's colours.
  assert np.abs(photo.pixels.mean((0, 1)) - expected[:rows].mean((0, 1))).max() < 8
  assert (photo.pixels[..., 0] > 150).all()  # none is grey


def test_a_progressive_jpeg_file_in_its_last_scan_is_whole():
  values = files.gradient(64, 64, 3)
  data, expected = jpeg(values, progressive=True, quality=100)
  photo, words = rescued(data[: data.rindex(b'\xff\xda') + 20])
  assert words == 'all of its pixels'
  assert np.abs(photo.pixels.astype(int) - expected).max() < 16


@pytest.mark.parametrize('format', ['BMP', 'TGA', 'PPM'])
def test_files_without_compression(format):
  values = files.noise(96, 64, 3)
  photo, words = rescued(cut(files.pillow(values, format), 0.6))
  rows = len(photo.pixels)
  assert words == f'{rows} of its 96 rows' and rows <= 0.6 * 96 + 1
  # BMP and TGA begin with the lowest row.
  whole = values[-rows:] if format in ('BMP', 'TGA') else values[:rows]
  np.testing.assert_array_equal(photo.pixels, whole)


@pytest.mark.parametrize(
  'kind', ['WEBP', 'TIFF', 'AVIF', 'interlaced PNG', 'PNG head', 'empty PNG']
)
def test_nothing_is_promised_that_cannot_be_kept(kind):
  values = files.noise(*SIZE)
  if 'PNG' in kind:
    data = bytearray(files.png(values))
    data[28] = kind.startswith('interlaced')
    data = bytes(data)[: {'PNG head': 30, 'empty PNG': 60}.get(kind, 5000)]
    if kind.startswith('interlaced'):
      header = data[12:29]
      data = data[:29] + zlib.crc32(header).to_bytes(4, 'big') + data[33:]
  else:
    data = cut(files.pillow(values, kind), 0.6)
  for salvage in (None, False, True):
    with pytest.raises(UserError, match='it is damaged and cannot be decoded'):
      reading.read(data, 'it', salvage=salvage)
