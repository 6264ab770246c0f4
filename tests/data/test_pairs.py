import os
import shutil

import cv2
import numpy as np
import photo_files as files
import pytest
from PIL import Image

from configs import default
from degrep_jax.common.errors import UserError
from degrep_jax.data.pairs import FolderPairs, ListPairs, read_picture
from degrep_jax.data.source import open_pairs, open_source


def picture(seed, height=40, width=60):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def save(path, array):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(array).save(path)


def add_pair(folder, file, seed=0, **size):
  save(folder / 'blur' / file, picture(seed, **size))
  save(folder / 'sharp' / file, 255 - picture(seed, **size))


@pytest.fixture
def gopro(tmp_path):
  """A tree like GOPRO_Large with two sequences for training and one for testing."""
  for number, name in enumerate(('train/GOPR2/000002', 'train/GOPR1/000047', 'test/GOPR3/000001')):
    sequence, file = (tmp_path / name).parent, f'{name[-6:]}.png'
    add_pair(sequence, file, number)
    save(sequence / 'blur_gamma' / file, picture(99))
  return tmp_path


def places(crop, whole, most):
  """(k, row, column) of all windows of a picture whose means of k x k squares are a crop."""
  found, size = [], len(crop)
  for k in range(1, most + 1):
    for top in range(whole.shape[0] - k * size + 1):
      for left in range(whole.shape[1] - k * size + 1):
        window = whole[top : top + k * size, left : left + k * size].astype(float)
        means = window.reshape(size, k, size, k, 3).mean((1, 3))
        if np.abs(means - crop).max() <= 0.51:
          found.append((k, top, left))
  return found


def test_crops_of_pictures_scaled_down(tmp_path):
  add_pair(tmp_path / 'train' / 'a', '000001.png', height=20, width=26)
  source = FolderPairs(tmp_path, 'train', shrink=5)
  pair, factors = source.pair(0), []
  for seed in range(60):
    blurry, sharp = source.crop(0, 6, np.random.default_rng(seed))
    assert blurry.shape == sharp.shape == (6, 6, 3) and blurry.dtype == np.uint8
    (place,) = places(blurry, pair.blurry, 3)
    assert places(sharp, pair.sharp, 3) == [place]
    factors.append(place[0])
  # Four times as small they are no larger than 5 px: 1, 2 and 3 are drawn equally often.
  assert min(np.bincount(factors)[1:]) > 10 and len(np.bincount(factors)) == 4


def test_gopro_layout(gopro):
  train, test = FolderPairs(gopro, 'train', min_size=40), FolderPairs(gopro, 'test')
  assert train.names == ('GOPR1/000047', 'GOPR2/000002')
  assert test.names == ('GOPR3/000001',) and len(test) == 1
  pair = train.pair(0)
  assert pair.name == 'GOPR1/000047'
  np.testing.assert_array_equal(pair.blurry, picture(1))
  np.testing.assert_array_equal(pair.sharp, 255 - picture(1))


def test_a_picture_of_far_too_many_pixels_is_named(tmp_path, monkeypatch):
  add_pair(tmp_path, '7.png')
  monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)  # the picture has 2400
  with pytest.raises(UserError, match=r'blur/7\.png cannot be read as a picture'):
    FolderPairs(tmp_path, 'train')


@pytest.mark.parametrize('sequence', ['', 'a', 'a/b/c'])
def test_tree_without_splits_serves_every_split(tmp_path, sequence):
  add_pair(tmp_path / sequence, '7.jpg')
  name = f'{sequence}/7' if sequence else '7'
  assert FolderPairs(tmp_path, 'train').names == FolderPairs(tmp_path, 'test').names == (name,)


def test_partner_may_have_another_suffix(tmp_path):
  save(tmp_path / 'blur/1.JPG', picture(0))
  save(tmp_path / 'sharp/1.png', picture(1))
  np.testing.assert_array_equal(FolderPairs(tmp_path, 'test').pair(0).sharp, picture(1))


def test_hidden_and_foreign_files_are_passed_over(tmp_path):
  add_pair(tmp_path, '1.png')
  (tmp_path / 'blur/._1.png').write_bytes(b'resource fork')
  (tmp_path / 'blur/notes.txt').write_text('notes')
  assert FolderPairs(tmp_path, 'test').names == ('1',)


@pytest.mark.parametrize('size', [1, 17, 40])
def test_crops_of_both_pictures_show_the_same_window(gopro, size):
  source = FolderPairs(gopro, 'train')
  for seed in range(20):
    blurry, sharp = source.crop(0, size, np.random.default_rng(seed))
    assert blurry.shape == sharp.shape == (size, size, 3)
    np.testing.assert_array_equal(sharp, 255 - blurry)


def test_crops_reach_every_corner(tmp_path):
  rows, columns = np.mgrid[:5, :7].astype(np.uint8)
  save(tmp_path / 'blur/1.png', np.stack([rows, columns, rows], -1))
  save(tmp_path / 'sharp/1.png', np.stack([rows, columns, rows], -1))
  source, rng = FolderPairs(tmp_path, 'train'), np.random.default_rng(0)
  corners = {tuple(source.crop(0, 3, rng)[0][0, 0, :2]) for _ in range(300)}
  assert corners == {(y, x) for y in range(3) for x in range(5)}


@pytest.mark.parametrize('mode', ['L', 'P', 'LA', 'RGBA', '1'])
def test_other_modes_become_rgb(tmp_path, mode):
  saved = Image.fromarray(picture(0)).convert(mode)
  saved.save(tmp_path / '1.png')
  np.testing.assert_array_equal(read_picture(tmp_path / '1.png'), np.asarray(saved.convert('RGB')))


def test_16_bits_are_scaled_not_clipped(tmp_path):
  levels = np.array([[0, 128, 129, 257 * 100, 257 * 100 + 129, 65535]], np.uint16)
  Image.fromarray(levels).save(tmp_path / '1.png')
  np.testing.assert_array_equal(read_picture(tmp_path / '1.png')[0, :, 1], [0, 0, 1, 100, 101, 255])


def test_float_picture_is_refused(tmp_path):
  add_pair(tmp_path, '1.png')
  (tmp_path / 'sharp/1.png').unlink()
  cv2.imwrite(str(tmp_path / 'sharp/1.tif'), np.zeros((40, 60, 3), np.float32))
  for read in (lambda: read_picture(tmp_path / 'sharp/1.tif'), lambda: FolderPairs(tmp_path, '')):
    with pytest.raises(UserError, match=r'1\.tif holds values that are neither 8- nor 16-bit'):
      read()
  cv2.imwrite(str(tmp_path / 'light.hdr'), np.zeros((4, 4, 3), np.float32))
  with pytest.raises(UserError, match=r'light\.hdr holds float32'):
    read_picture(tmp_path / 'light.hdr')


def test_tiff_files_that_are_no_photograph_are_refused_at_once(tmp_path):
  """Though Pillow opens them."""
  add_pair(tmp_path, '1.png')
  (tmp_path / 'sharp/1.png').unlink()
  file = tmp_path / 'sharp/1.tif'
  page = Image.fromarray(picture(0))
  page.save(file, save_all=True, append_images=[page])
  with pytest.raises(UserError, match=r'1\.tif holds 2 pages: save the one wanted'):
    FolderPairs(tmp_path, '')
  Image.fromarray(np.zeros((40, 60), np.float32)).save(file)
  with pytest.raises(UserError, match=r'1\.tif holds values that are neither 8- nor 16-bit'):
    FolderPairs(tmp_path, '')


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
@pytest.mark.parametrize(
  ('channels', 'options'),
  [
    (4, {}),  # whose colours OpenCV multiplies by alpha
    (2, {}),
    (3, {'planarconfig': 'separate'}),
    (1, {'photometric': 'miniswhite'}),
    (3, {'tile': (16, 16)}),
    (3, {'compression': 'zstd'}),
  ],
)
def test_tiff_files_of_many_programs(tmp_path, channels, options, dtype):
  add_pair(tmp_path, '1.png')
  (tmp_path / 'blur/1.png').unlink()
  values = files.noise(40, 60, channels)
  scale = dtype(np.iinfo(dtype).max // 255)
  (tmp_path / 'blur/1.tif').write_bytes(files.tiff(values * scale, **options))
  expected = values[..., :3] if channels > 2 else np.repeat(values[..., :1], 3, axis=-1)
  expected = 255 - expected if 'photometric' in options else expected
  pair = FolderPairs(tmp_path, 'test', min_size=40).pair(0)
  np.testing.assert_array_equal(pair.blurry, expected)


@pytest.mark.filterwarnings('ignore::UserWarning:PIL')
@pytest.mark.parametrize('channels', [2, 3])
def test_tiff_files_that_are_turned_or_cut_off(tmp_path, channels):
  """Pillow does not hold two channels of 16 bits."""
  values = files.noise(60, 40, channels, np.uint16)
  for folder in ('blur', 'sharp'):
    file = files.tiff(values, extratags=[(274, 3, 1, 6, True)])
    (tmp_path / folder).mkdir()
    (tmp_path / folder / '1.tif').write_bytes(file)
  pair = FolderPairs(tmp_path, 'test', min_size=40).pair(0)
  assert pair.blurry.shape == (40, 60, 3)
  top = np.rint(np.rot90(values, -1)[..., 0] / 257)
  np.testing.assert_array_equal(pair.blurry[..., 0], top)
  (tmp_path / 'sharp/1.tif').write_bytes(file[:20])
  with pytest.raises(UserError, match=r'sharp/1\.tif cannot be read as a picture'):
    FolderPairs(tmp_path, 'test')


def test_a_16_bit_picture_may_have_an_8_bit_partner(tmp_path):
  add_pair(tmp_path, '1.png')
  cv2.imwrite(str(tmp_path / 'blur/1.png'), picture(0)[..., ::-1].astype(np.uint16) * 257)
  np.testing.assert_array_equal(FolderPairs(tmp_path, 'test').pair(0).blurry, picture(0))


def test_a_palette_may_have_a_partner_without_one(tmp_path):
  few = picture(0) // 64 * 64  # 64 colours
  save(tmp_path / 'sharp/1.png', few)
  (tmp_path / 'blur').mkdir()
  Image.fromarray(few).quantize(64).save(tmp_path / 'blur/1.png')
  pair = FolderPairs(tmp_path, 'test').pair(0)
  np.testing.assert_array_equal(pair.blurry, pair.sharp)


@pytest.mark.parametrize('suffix', ['jpg', 'tif'])
def test_colours_of_print_are_refused(tmp_path, suffix):
  add_pair(tmp_path, '1.png')
  (tmp_path / 'sharp/1.png').unlink()
  Image.fromarray(picture(0)).convert('CMYK').save(tmp_path / f'sharp/1.{suffix}')
  with pytest.raises(
    UserError, match=rf'sharp/1\.{suffix} has the colours CMYK of print: save both'
  ):
    FolderPairs(tmp_path, 'test')
  with pytest.raises(UserError, match=rf'1\.{suffix} has the colours CMYK of print'):
    read_picture(tmp_path / f'sharp/1.{suffix}')


# --- EXIF's orientation --------------------------------------------------------------------------

# What turns the stored picture into the one to be seen, by EXIF's numbers.
UPRIGHT = {
  1: lambda p: p,
  2: np.fliplr,
  3: lambda p: np.rot90(p, 2),
  4: np.flipud,
  5: lambda p: p.swapaxes(0, 1),
  6: lambda p: np.rot90(p, -1),
  7: lambda p: np.rot90(p.swapaxes(0, 1), 2),
  8: np.rot90,
}


def save_turned(path, array, orientation):
  """A file whose pixels are stored as they are given, to be turned by a viewer."""
  tags = Image.Exif()
  tags[0x0112] = orientation
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(array).save(path, exif=tags, lossless=True, compression=None)


@pytest.mark.parametrize('suffix', ['png', 'webp', 'tif'])
@pytest.mark.parametrize('orientation', UPRIGHT)
def test_pictures_that_are_turned_alike_come_out_upright(tmp_path, suffix, orientation):
  save_turned(tmp_path / f'blur/1.{suffix}', picture(0), orientation)
  save_turned(tmp_path / f'sharp/1.{suffix}', picture(1), orientation)
  pair = FolderPairs(tmp_path, 'test', min_size=40).pair(0)
  np.testing.assert_array_equal(pair.blurry, UPRIGHT[orientation](picture(0)))
  np.testing.assert_array_equal(pair.sharp, UPRIGHT[orientation](picture(1)))


def test_files_of_two_kinds_that_are_turned_alike_are_a_pair(tmp_path):
  save_turned(tmp_path / 'blur/1.jpg', picture(0), 6)
  save_turned(tmp_path / 'sharp/1.tif', picture(0), 6)
  assert FolderPairs(tmp_path, 'test').pair(0).blurry.shape == (60, 40, 3)


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'tif'])
@pytest.mark.parametrize(('one', 'other'), [(1, 3), (6, 8), (1, 6), (0, 2)])
def test_pictures_that_are_turned_differently_are_refused(tmp_path, suffix, one, other):
  for folder, orientation in (('input', one), ('target', other)):
    save_turned(tmp_path / f'{folder}/1.{suffix}', picture(0), orientation)
  config = default.get_config().data
  config.source, config.root, config.crop = 'folder', str(tmp_path), 16
  expected = rf'input/1\.{suffix} has the EXIF orientation {one or 1} but .* has {other}, so'
  for way in (lambda: open_source(config, 'train'), lambda: open_pairs(tmp_path)):
    with pytest.raises(UserError, match=expected):
      way()


def coded(array, suffix):
  """A picture as a file of a kind that is read as photographs are, nearly without loss."""
  options = {'avif': {'quality': 100, 'subsampling': '4:4:4'}, 'jxl': {'lossless': True}}
  if suffix == 'heic':
    return files.heic(array, quality=100)
  return files.pillow(array, {'jp2': 'JPEG2000'}.get(suffix, suffix), **options.get(suffix, {}))


@pytest.mark.parametrize('suffix', ['heic', 'avif', 'jp2', 'jxl'])
def test_pairs_of_kinds_that_phones_and_programs_write(tmp_path, suffix):
  add_pair(tmp_path, '1.png')
  smooth = files.gradient(40, 60, 3)
  (tmp_path / f'blur/1.{suffix}').write_bytes(coded(smooth, suffix))
  (tmp_path / 'blur/1.png').unlink()
  source = FolderPairs(tmp_path, 'test', min_size=40)
  assert np.abs(source.pair(0).blurry.astype(int) - smooth).max() <= 3
  (tmp_path / f'blur/1.{suffix}').write_bytes(coded(smooth[:20], suffix))
  with pytest.raises(UserError, match='is 60x20 but its sharp partner is 60x40'):
    FolderPairs(tmp_path, 'test')
  (tmp_path / f'blur/1.{suffix}').write_bytes(coded(smooth, suffix)[:60])
  with pytest.raises(UserError, match=rf'blur/1\.{suffix} (is damaged|cannot be read)'):
    FolderPairs(tmp_path, 'test')


def test_an_avif_that_is_turned(tmp_path):
  add_pair(tmp_path, '1.png')
  for folder in ('blur', 'sharp'):
    file = files.pillow(files.gradient(60, 40, 3), 'avif', exif=files.exif(6))
    (tmp_path / folder / '1.avif').write_bytes(file)
    (tmp_path / folder / '1.png').unlink()
  assert FolderPairs(tmp_path, 'test', min_size=40).pair(0).blurry.shape == (40, 60, 3)


@pytest.mark.parametrize('tags', [b'', b'Exif\0\0', b'Exif\0\0MM\0*\0\0\0\xff', b'Exif\0\0nothing'])
def test_damaged_tags_turn_nothing(tmp_path, tags):
  add_pair(tmp_path, '1.png')
  Image.fromarray(picture(0)).save(tmp_path / 'blur/1.png', exif=tags)
  np.testing.assert_array_equal(FolderPairs(tmp_path, 'test').pair(0).blurry, picture(0))


# --- what is there -------------------------------------------------------------------------------


@pytest.mark.parametrize('folders', [('input', 'target'), ('blur', 'gt'), ('Blur', 'Sharp')])
def test_folders_of_other_names(gopro, folders):
  expected = [FolderPairs(gopro, split).names for split in ('train', 'test')]
  for sequence in gopro.glob('*/*'):
    for old, new in zip(('blur', 'sharp'), folders, strict=True):
      (sequence / old).rename(sequence / new)
  sources = [FolderPairs(gopro, split) for split in ('train', 'test')]
  assert [source.names for source in sources] == expected
  np.testing.assert_array_equal(sources[0].pair(0).blurry, picture(1))
  np.testing.assert_array_equal(sources[0].pair(0).sharp, 255 - picture(1))


def test_sub_pictures_by_config(tmp_path):
  """The released code's data after its gopro.py."""
  frame = 'GOPR0372_07_00-000047'
  for split in ('train', 'test'):
    for folder, array in (('input', picture(0)), ('target', picture(1))):
      save(tmp_path / split / folder / f'{frame}.png', array)
  for folder, array in (('blur_crops', picture(0)), ('sharp_crops', picture(1))):
    for number, window in enumerate((array[:, :40], array[:, 20:]), 1):
      save(tmp_path / 'train' / folder / f'{frame}_s{number:03}.png', window)
  config = default.get_config().data
  config.root, config.crop = str(tmp_path), 40
  assert open_source(config, 'train').names == open_source(config, 'test').names == (frame,)
  config.pictures = 'sub512'
  source = open_source(config, 'train')
  assert source.names == (f'{frame}_s001', f'{frame}_s002')
  np.testing.assert_array_equal(source.pair(1).sharp, picture(1)[:, 20:])
  assert open_source(config, 'test').names == (frame,)  # whole pictures are scored
  shutil.rmtree(tmp_path / 'train/blur_crops')
  shutil.rmtree(tmp_path / 'train/sharp_crops')
  with pytest.raises(
    UserError, match=r'No pairs in .* blur_crops/ and sharp_crops/ or input_crops/'
  ):
    open_source(config, 'train')


def test_missing_root(tmp_path):
  with pytest.raises(UserError, match='nowhere does not exist'):
    FolderPairs(tmp_path / 'nowhere', 'train')


def test_missing_split(gopro):
  shutil.rmtree(gopro / 'test')
  with pytest.raises(UserError, match=r'no folder test/'):
    FolderPairs(gopro, 'test')


@pytest.mark.parametrize('folders', [[], ['pictures'], ['blur', 'sharp']])
def test_no_pairs(tmp_path, folders):
  for folder in folders:
    (tmp_path / folder).mkdir()
  with pytest.raises(UserError, match=r'No pairs in .*blur/ and sharp/'):
    FolderPairs(tmp_path, 'train')


def test_blur_folder_without_sharp_folder(gopro):
  shutil.rmtree(gopro / 'train/GOPR1/sharp')
  with pytest.raises(UserError, match=r'GOPR1 has pictures in blur/ but none in sharp/ or target/'):
    FolderPairs(gopro, 'train')


def test_blurry_file_without_partner(gopro):
  (gopro / 'train/GOPR1/sharp/000047.png').rename(gopro / 'train/GOPR1/sharp/000048.png')
  with pytest.raises(UserError, match=r'blur/000047\.png has no sharp partner'):
    FolderPairs(gopro, 'train')


def test_two_blurry_files_of_one_name(tmp_path):
  add_pair(tmp_path, '1.png')
  save(tmp_path / 'blur/1.bmp', picture(0))
  with pytest.raises(UserError, match='two blurry files for 1'):
    FolderPairs(tmp_path, 'train')


def test_partners_of_different_sizes(gopro):
  save(gopro / 'train/GOPR1/sharp/000047.png', picture(0, width=61))
  with pytest.raises(UserError, match=r'blur/000047\.png is 60x40 but .* is 61x40'):
    FolderPairs(gopro, 'train')


def test_picture_smaller_than_the_training_crop(gopro):
  with pytest.raises(UserError, match=r'000047\.png is 60x40, smaller .* 41: lower data\.crop'):
    FolderPairs(gopro, 'train', min_size=41)


def test_crop_larger_than_the_picture(gopro):
  with pytest.raises(UserError, match=r'000047\.png is 60x40, smaller .* lower data\.crop'):
    FolderPairs(gopro, 'train').crop(0, 41, np.random.default_rng(0))


@pytest.mark.parametrize('content', [b'', b'not a picture'])
def test_file_that_is_no_picture(gopro, content):
  (gopro / 'train/GOPR1/sharp/000047.png').write_bytes(content)
  with pytest.raises(UserError, match=r'sharp/000047\.png cannot be read as a picture'):
    FolderPairs(gopro, 'train')
  with pytest.raises(UserError, match=r'sharp/000047\.png cannot be decoded'):
    read_picture(gopro / 'train/GOPR1/sharp/000047.png')


def damaged(kind):
  """A file whose head names sides that no picture has."""
  data = bytearray(files.pillow(picture(0), kind))
  if kind == 'PPM':
    return bytes(data.replace(b'60', b'6\xff'))
  if kind == 'BMP':
    data[22:26] = (2**30).to_bytes(4, 'little')
  else:  # the first entry of the directory, the width
    at = int.from_bytes(data[4:8], 'little') + 2
    data[at + 8 : at + 12] = bytes(4)
  return bytes(data)


@pytest.mark.parametrize('kind', ['PPM', 'BMP', 'TIFF'])
def test_damage_that_decoders_stumble_over_is_a_sentence(gopro, kind):
  file = gopro / 'train/GOPR1/sharp/000047.png'
  file.write_bytes(damaged(kind))
  for read in (lambda: FolderPairs(gopro, 'train'), lambda: read_picture(file)):
    with pytest.raises(UserError, match=r'000047\.png ') as refusal:
      read()
    assert '\n' not in str(refusal.value)


@pytest.mark.parametrize(
  ('suffix', 'words'), [('png', ''), ('jpg', ''), ('bmp', ''), ('tif', 'is damaged and ')]
)
def test_truncated_data_is_found_when_decoding(tmp_path, suffix, words):
  add_pair(tmp_path, f'1.{suffix}')
  file = tmp_path / f'blur/1.{suffix}'
  file.write_bytes(file.read_bytes()[:-200])
  source = FolderPairs(tmp_path, 'train')
  with pytest.raises(UserError, match=rf'blur/1\.{suffix} {words}cannot be decoded'):
    source.pair(0)


def test_decoded_pictures_are_kept_within_the_limit(tmp_path):
  for number in range(3):
    add_pair(tmp_path, f'{number}.png', number)
  one_pair = 2 * picture(0).nbytes
  kept, small, none = (
    FolderPairs(tmp_path, 'train', cache_bytes=size * one_pair) for size in (3, 2, 0)
  )
  expected = [(kept.pair(i).blurry, kept.pair(i).sharp) for i in range(3)]
  order = (0, 1, 0, 2)
  for source in (small, none):
    for item in order:
      pair = source.pair(item)
      np.testing.assert_array_equal((pair.blurry, pair.sharp), expected[item])
  shutil.rmtree(tmp_path / 'blur')
  assert kept.pair(1).blurry is expected[1][0]
  small.pair(0)
  with pytest.raises(UserError, match='cannot be opened'):
    small.pair(1)  # the least recently used of the three is gone
  with pytest.raises(UserError, match='cannot be opened'):
    none.pair(0)


def test_kept_pictures_cannot_be_written_to(gopro):
  with pytest.raises(ValueError, match='read-only'):
    FolderPairs(gopro, 'train').pair(0).blurry[0] = 0


# --- lists of pairs ------------------------------------------------------------------------------


@pytest.fixture
def realblur(tmp_path):
  """A tree like RealBlur's: two scenes for training, one for testing, each with one pair."""
  for number, (split, scene) in enumerate((('train', 1), ('train', 4), ('test', 2))):
    folder = f'RealBlur-J_ECC/scene{scene:03d}'
    save(tmp_path / folder / 'gt/gt_7.png', 255 - picture(number))
    save(tmp_path / folder / 'blur/blur_7.png', picture(number))
    with (tmp_path / f'RealBlur_J_{split}_list.txt').open('a') as file:
      file.write(f'{folder}/gt/gt_7.png {folder}/blur/blur_7.png \n')
  return tmp_path


def test_listed_pairs(realblur):
  names = [f'RealBlur-J_ECC/scene{scene:03d}/blur/blur_7' for scene in (1, 4, 2)]
  train = ListPairs(realblur, 'RealBlur_J', 'train', min_size=40)
  test = ListPairs(realblur, 'RealBlur_J', 'test')
  assert (train.names, test.names) == (tuple(names[:2]), tuple(names[2:]))
  for source, item, seed in ((train, 0, 0), (train, 1, 1), (test, 0, 2)):
    pair = source.pair(item)
    assert pair.name == source.names[item]
    np.testing.assert_array_equal(pair.blurry, picture(seed))
    np.testing.assert_array_equal(pair.sharp, 255 - picture(seed))
  blurry, sharp = train.crop(1, 17, np.random.default_rng(0))
  np.testing.assert_array_equal(sharp, 255 - blurry)


def test_listed_pairs_by_config(realblur):
  data = default.get_config().data
  data.source, data.list_name, data.root, data.crop = 'list', 'RealBlur_J', str(realblur), 41
  assert len(open_source(data, 'test')) == 1  # the crop is no bound there
  with pytest.raises(UserError, match=r'is 60x40, smaller than the training crop of 41'):
    open_source(data, 'train')
  data.crop = 40
  assert len(open_source(data, 'train')) == 2
  data.eval_root = str(realblur / 'elsewhere')
  with pytest.raises(UserError, match=r'elsewhere/RealBlur_J_test_list\.txt cannot be read'):
    open_source(data, 'test')


GT, BLUR = (f'RealBlur-J_ECC/scene001/{file}.png' for file in ('gt/gt_7', 'blur/blur_7'))


@pytest.mark.parametrize(
  ('text', 'message'),
  [
    (b'', r'RealBlur_J_train_list\.txt lists no pairs'),
    (b'\n  \n', r'RealBlur_J_train_list\.txt lists no pairs'),
    (f'{GT} {BLUR}\n\n{GT}\n', r"_list\.txt, line 3: expected 'sharp blurry', found '.*gt_7\.png'"),
    (f'{GT} {BLUR} {BLUR}', r"_list\.txt, line 1: expected 'sharp blurry'"),
    (f'{GT} no/where.png', r'1 of the 2 files that .* are not there, the first is .*no/where\.png'),
    (
      f'no/where.png {BLUR}',
      r'1 of the 2 files that .* are not there, the first is .*no/where\.png',
    ),
    (b'\xff\xfe\x00', r'_list\.txt is no text'),
  ],
)
def test_lists_that_cannot_be_used(realblur, text, message):
  text = text.encode() if isinstance(text, str) else text
  (realblur / 'RealBlur_J_train_list.txt').write_bytes(text)
  with pytest.raises(UserError, match=message) as refusal:
    ListPairs(realblur, 'RealBlur_J', 'train')
  assert '\n' not in str(refusal.value)


@pytest.mark.parametrize('place', ['', 'nowhere'])
def test_a_missing_list(realblur, place):
  with pytest.raises(UserError, match=r'RealBlur_R_train_list\.txt cannot be read: No such file'):
    ListPairs(realblur / place, 'RealBlur_R', 'train')


def test_listed_partners_of_different_sizes(realblur):
  save(realblur / GT, picture(0, width=61))
  with pytest.raises(UserError, match=r'blur_7\.png is 60x40 but .* is 61x40'):
    ListPairs(realblur, 'RealBlur_J', 'train')


@pytest.mark.parametrize('data', [b'', bytes(2000)], ids=['empty', 'zeroed'])
def test_a_picture_without_a_header_may_be_passed_over(gopro, data):
  """By who asks for its item; a whole training need not end for it."""
  broken = gopro / 'train/GOPR1/sharp/000047.png'
  broken.write_bytes(data)
  config = default.get_config().data
  config.source, config.root, config.crop = 'folder', str(gopro), 16
  with pytest.raises(UserError, match=r'000047\.png cannot be read as a picture'):
    open_source(config, 'train')
  config.on_error = 'skip'
  source = open_source(config, 'train')
  assert source.names == ('GOPR1/000047', 'GOPR2/000002')
  with pytest.raises(UserError, match=r'000047\.png cannot be read as a picture'):
    source.crop(0, 16, np.random.default_rng(0))
  np.testing.assert_array_equal(source.pair(1).blurry, picture(0))


def test_a_name_that_is_no_utf_8_is_told(gopro):
  """As old archives have them; no table of scores could hold it."""
  for kind in ('blur', 'sharp'):
    folder = os.fsencode(gopro / 'test' / 'GOPR3' / kind)
    os.rename(os.path.join(folder, b'000001.png'), os.path.join(folder, b'caf\xe9.png'))
  with pytest.raises(UserError, match=r"caf\\udce9\.png' has a name that is no UTF-8: rename it"):
    FolderPairs(gopro, 'test')
