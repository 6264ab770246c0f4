import os
import struct
import subprocess
import sys
import zlib

import imagecodecs
import numpy as np
import photo_folder
import pytest
import released
import scipy.ndimage
from PIL import Image

from degrep_jax.common.errors import UserError
from degrep_jax.data.synthetic import photographs, shots
from degrep_jax.data.synthetic.camera import DISPLAY, Finish
from degrep_jax.data.synthetic.motion import Layer, Motion
from degrep_jax.data.synthetic.photographs import PhotographPairs, flat_crop, held_back
from degrep_jax.data.synthetic.shots import PhotoBlur

BLUR = PhotoBlur(
  shake=12, rotation=2, object_motion=12, sub_frames=9, noise=2, rest=0.1, display=0.7
)
NAMES = tuple(f'photo_{number:02}' for number in range(20))
# Those whose hash (printf photo_06 | sha256sum) begins with less than a fifth of 256, below 33.
HELD = ('photo_06', 'photo_07', 'photo_08', 'photo_10', 'photo_18')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return photo_folder.write(tmp_path_factory.mktemp('photos'), NAMES)


def crop(source, item=0, seed=0, size=32):
  return source.crop(item, size, np.random.default_rng([7, seed]))


def test_splits_share_no_photograph(folder):
  train, test = (PhotographPairs(folder, split, BLUR, held_out=0.2) for split in ('train', 'test'))
  assert test.names == HELD
  assert sorted(train.names + test.names) == sorted(NAMES)


def test_a_scene_is_held_back_whatever_else_there_is(tmp_path):
  photo_folder.write(tmp_path, [HELD[0], 'another', 'third'])
  assert HELD[0] in PhotographPairs(tmp_path, 'test', BLUR, held_out=0.2).names


def test_larger_shares_hold_back_more_of_the_same():
  few, many = ({name for name in NAMES if held_back(name, share)} for share in (0.2, 0.6))
  assert few == set(HELD) and few < many
  assert not any(held_back(name, 0) for name in NAMES) and all(held_back(n, 1) for n in NAMES)


def test_a_folder_is_one_scene(tmp_path):
  names = [f'{scene}/{number}' for scene in NAMES[:12] for number in range(3)]
  photo_folder.write(tmp_path, names)
  held = PhotographPairs(tmp_path, 'test', BLUR, held_out=0.3).names
  scenes = {name.split('/')[0] for name in held}
  assert 0 < len(scenes) < 12 and len(held) == 3 * len(scenes)


def test_a_list_names_the_scenes_held_out(folder, tmp_path):
  listed = tmp_path / 'held_out.txt'
  listed.write_text('photo_03.png\n\nphoto_11\n')
  splits = [
    PhotographPairs(folder, split, BLUR, held_out_list=listed) for split in ('train', 'test')
  ]
  assert splits[1].names == ('photo_03', 'photo_11') and len(splits[0]) == 18
  listed.write_text('photo_33\n')
  with pytest.raises(UserError, match=r'held_out\.txt names photo_33, which is no'):
    PhotographPairs(folder, 'test', BLUR, held_out_list=listed)


def test_sharp_halves_of_pairs_are_photographs(tmp_path):
  root = released.gopro(tmp_path)
  source = PhotographPairs(root, 'train', BLUR)
  assert source.names == tuple(f'GOPR0372_07_00/sharp/{n:06}' for n in (1, 2, 4))
  assert PhotographPairs(root, 'test', BLUR).names[0].startswith('GOPR0384')


def test_of_the_released_codes_folders_the_whole_sharp_pictures_are_photographs(tmp_path):
  for kind in ('input', 'target', 'blur_crops', 'sharp_crops'):
    photo_folder.write(tmp_path / 'all/train' / kind, ('s-1',))
  for kind in ('blur_crops', 'sharp_crops'):
    photo_folder.write(tmp_path / 'cut' / kind, ('s-1_s001',))
  assert PhotographPairs(tmp_path / 'all', 'train', BLUR).names == ('target/s-1',)
  assert PhotographPairs(tmp_path / 'cut', 'train', BLUR).names == ('sharp_crops/s-1_s001',)


def test_of_hide_the_sharp_pictures_are_named(tmp_path):
  root = released.hide(tmp_path)
  with pytest.raises(UserError, match=f'has its sharp pictures in {root / "GT"}: name that folder'):
    PhotographPairs(root, 'train', BLUR)
  assert len(PhotographPairs(root / 'GT', 'train', BLUR)) == 3


def test_hidden_folders_hold_no_photographs_and_links_end(tmp_path):
  photo_folder.write(tmp_path / 'trip', ('a',))
  photo_folder.write(tmp_path / 'trip/.cache', ('a',))
  (tmp_path / 'trip/up').symlink_to(tmp_path)
  assert PhotographPairs(tmp_path, 'train', BLUR).names == ('trip/a',)


def test_photographs_are_upright_rgb_of_eight_bits(tmp_path):
  photo = photo_folder.photograph(0, 40, 60)
  exif = Image.Exif()
  exif[0x0112] = 6  # turn by 90 degrees clockwise
  Image.fromarray(photo).save(tmp_path / 'turned.png', exif=exif)
  Image.fromarray(photo[..., 0]).save(tmp_path / 'grey.png')
  source = PhotographPairs(tmp_path, 'train', BLUR)
  grey, turned = (source.photograph(item) for item in (0, 1))
  np.testing.assert_array_equal(turned, np.rot90(photo, -1))
  np.testing.assert_array_equal(grey, np.repeat(photo[..., :1], 3, 2))


def test_photographs_are_read_whatever_their_kind(tmp_path):
  photo = photo_folder.photograph(0, 40, 60)
  (tmp_path / 'a.jxl').write_bytes(imagecodecs.jpegxl_encode(photo, lossless=True))
  deep = photo.astype(np.uint16) * 257
  (tmp_path / 'b.png').write_bytes(imagecodecs.png_encode(deep))
  Image.fromarray(photo).save(tmp_path / 'c.gif')
  source = PhotographPairs(tmp_path, 'train', BLUR, min_size=40)
  assert source.names == ('a', 'b', 'c')
  for item in (0, 1):
    np.testing.assert_array_equal(source.photograph(item), photo)
  assert source.photograph(2).shape == photo.shape
  with pytest.raises(UserError, match=r'a\.jxl is 60x40, smaller than the training crop of 41'):
    PhotographPairs(tmp_path, 'train', BLUR, min_size=41)


def test_large_photographs_are_reduced(tmp_path, monkeypatch):
  monkeypatch.setattr(photographs, 'LARGEST', 40)
  photo_folder.write(tmp_path, ['large'])
  source = PhotographPairs(tmp_path, 'train', BLUR)
  assert source.photograph(0).shape == (30, 40, 3)
  with pytest.raises(UserError, match=r'large\.png is 40x30, smaller than the training crop of 32'):
    PhotographPairs(tmp_path, 'train', BLUR, min_size=32)


def test_crops_show_the_photograph_in_its_size_or_smaller(tmp_path):
  ramp = np.broadcast_to(np.arange(20, 180, 2, dtype=np.uint8)[:, None], (60, 80, 3))
  Image.fromarray(ramp.copy()).save(tmp_path / 'ramp.png')
  source = PhotographPairs(tmp_path, 'train', BLUR)
  slopes = [np.diff(crop(source, 0, seed)[1].astype(float)[16, :, 0]).mean() for seed in range(60)]
  # 2 levels a pixel, and as many more as the picture is smaller: half its size is 30 px high,
  # less than the crop.
  assert 1.95 < min(slopes) < 2.1 and 3.4 < max(slopes) < 2 * 60 / 32 + 0.1


def test_crops_are_blurred_and_fixed_by_their_random_numbers(folder):
  source, again = (PhotographPairs(folder, 'train', BLUR) for _ in range(2))
  blurry, sharp = crop(source)
  assert blurry.shape == sharp.shape == (32, 32, 3) and blurry.dtype == sharp.dtype == np.uint8
  for one, other in zip((blurry, sharp), crop(again), strict=True):
    np.testing.assert_array_equal(one, other)
  assert (crop(source, seed=1)[1] != sharp).any()
  assert (
    sum((np.subtract(*map(np.float64, crop(source, s))) ** 2).mean() > 20 for s in range(20)) > 5
  )


def known(source, item=0, seed=0, size=32):
  return source.known_crop(item, size, np.random.default_rng([7, seed]))


def test_a_reference_does_not_change_the_crop(folder):
  for share in (0.0, 1.0):
    source = PhotographPairs(folder, 'train', BLUR, reference=share, sharp=0.2, flat=0.2)
    for seed in range(12):
      pairs = zip(crop(source, seed=seed), known(source, seed=seed)[:2], strict=True)
      assert all(np.array_equal(one, other) for one, other in pairs)


def test_without_a_share_the_reference_is_the_blurry_picture(folder):
  none, half = (PhotographPairs(folder, 'train', BLUR, reference=share) for share in (0.0, 0.5))
  own = [
    [np.array_equal(*known(source, seed % 15, seed)[:3:2]) for seed in range(40)]
    for source in (none, half)
  ]
  assert all(own[0]) and 8 < sum(own[1]) < 32


@pytest.fixture
def negatives(tmp_path):
  """A photograph and its negative, as large as the crop, so that all of both is seen."""
  photo = photo_folder.photograph(0, 48, 48) // 2 + 64
  Image.fromarray(photo).save(tmp_path / 'photo.png')
  Image.fromarray(255 - photo).save(tmp_path / 'negative.png')
  return tmp_path


def test_a_reference_is_another_photograph_under_the_same_exposure(negatives):
  # Averaged as they are displayed, by a camera without noise, negatives stay negatives.
  blur = PhotoBlur(12, 2, 12, 9, noise=0, rest=0.1, display=1)
  source = PhotographPairs(negatives, 'train', blur, reference=1.0)
  moved = []
  for seed in range(24):
    blurry, sharp, reference = (x.astype(float) for x in known(source, 0, seed, size=48)[:3])
    assert np.abs(255 - reference - blurry).mean() < 3  # of JPEG; they are 57 apart
    moved.append(np.abs(sharp - blurry).mean())
  assert sum(np.array(moved) > 4) > 12


def test_a_reference_is_exposed_as_the_place_of_the_crop(tmp_path, monkeypatch):
  photos = {name: photo_folder.photograph(number, 120, 160) for number, name in enumerate('ab')}
  for name, photo in photos.items():
    Image.fromarray(photo).save(tmp_path / f'{name}.png')
  # The camera turns about a corner: far from it everything moves farther, and elsewhere.
  roll = np.linspace(-0.06, 0.06, 7)
  zero = np.zeros(7)
  views = shots.camera_views(np.zeros((7, 2)), roll, zero, np.zeros(2), np.zeros(2))
  shot = shots.Shot(Motion((Layer(views),)), None, DISPLAY, 1.0, Finish())
  windows = {'a': (60, 90), 'b': (20, 30)}  # first row and column of the crop and of the reference
  monkeypatch.setattr(shots, 'draw_shot', lambda *_: shot)
  monkeypatch.setattr(photographs, 'SMALLEST_SCALE', 1.0)
  monkeypatch.setattr(
    photographs,
    'random_window',
    lambda shape, size, rng, name: tuple(slice(at, at + size) for at in windows[name[0]]),
  )
  source = PhotographPairs(tmp_path, 'train', BLUR, reference=1.0)
  item = [name[0] for name in source.names].index('a')
  blurry, sharp, reference, _ = known(source, item, size=24)
  np.testing.assert_array_equal(sharp, photos['a'][60:84, 90:114])

  def exposed(photo, down, right):
    """The crop's exposure, of what lies so far from it."""
    y, x = np.mgrid[60:84, 90:114].astype(float)
    frames = []
    for angle in roll:
      cos, sin = np.cos(angle), np.sin(angle)
      place = sin * x + cos * y + down, cos * x - sin * y + right
      colours = [
        scipy.ndimage.map_coordinates(photo[..., c].astype(float), place, order=1) for c in range(3)
      ]
      frames.append(np.stack(colours, -1))
    return np.mean(frames, 0)

  # OpenCV interpolates at 32nds of a pixel.
  for found, photo, down, right in ((blurry, 'a', 0, 0), (reference, 'b', -40, -60)):
    assert np.abs(found - exposed(photos[photo], down, right)).max() < 6
    assert np.abs(found - exposed(photos[photo], down, right)).mean() < 1


def test_a_damaged_reference_costs_a_sound_photograph_nothing(negatives):
  blur = PhotoBlur(12, 2, 12, 9, noise=0, rest=0.1, display=1)
  source = PhotographPairs(negatives, 'train', blur, reference=1.0, defer_errors=True)
  damaged = negatives / 'negative.png'
  damaged.write_bytes(damaged.read_bytes()[:2000])
  item = source.names.index('photo')
  blurry, _, reference, _ = known(source, item, size=48)
  np.testing.assert_array_equal(reference, blurry)
  with pytest.raises(UserError, match=r'negative\.png'):
    known(source, 1 - item, size=48)


def test_sharp_and_flat_crops_are_their_own_reference(folder):
  source = PhotographPairs(folder, 'train', BLUR, reference=1.0, sharp=0.5, flat=0.5)
  still = []
  for seed in range(12):
    blurry, sharp, reference, field = known(source, seed=seed)
    assert np.array_equal(blurry, sharp) and np.array_equal(reference, blurry)
    assert not field[..., :3].any()  # of a flat crop nothing is known
    still.append(field[..., 3].all())
  assert 0 < sum(still) < 12


def test_the_field_of_a_crop_is_its_blurs(tmp_path):
  # Of noise, what a blur leaves of the differences of neighbours tells how it moved.
  photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
  Image.fromarray(photo).save(tmp_path / 'noise.png')
  blur = PhotoBlur(30, 0, 5, 31, noise=0, rest=0, display=1)
  source = PhotographPairs(tmp_path, 'train', blur)
  strengths, left, along = [], [], []
  for seed in range(60):
    blurry, _, _, field = known(source, 0, seed, size=64)
    strength, x, _, there = field.mean((0, 1))
    assert there == 1 and field.shape == (16, 16, 4)
    across, down = (np.square(np.diff(blurry.astype(float), axis=axis)).mean() for axis in (1, 0))
    strengths.append(strength)
    left.append(across + down)
    along.append((x / strength, (down - across) / (down + across)))
  assert np.corrcoef(np.log(strengths), np.log(left))[0, 1] < -0.4
  # A blur along the rows leaves less of the differences across them.
  assert np.corrcoef(np.transpose(along))[0, 1] > 0.6


def test_other_processes_make_the_same_crops(folder):
  program = (
    'import sys, hashlib, numpy as np\n'
    'from test_photographs import BLUR, crop, PhotographPairs\n'
    "source = PhotographPairs(sys.argv[1], 'train', BLUR, sharp=0.2, flat=0.2)\n"
    'made = [crop(source, k % 3, k) for k in range(12)]\n'
    'print(hashlib.sha256(np.array(made).tobytes()).hexdigest())\n'
  )
  run = [sys.executable, '-c', program, str(folder)]
  paths = [str(path) for path in (released.ROOT, released.ROOT / 'tests/support')]
  here = str(released.ROOT / 'tests/data/synthetic')
  environment = {'PYTHONPATH': ':'.join([*paths, here])}
  results = [subprocess.run(run, capture_output=True, text=True, env=environment) for _ in range(2)]
  assert results[0].returncode == 0, results[0].stderr
  assert results[0].stdout == results[1].stdout


def test_shares_of_crops_are_left_sharp_or_flat(folder):
  source = PhotographPairs(folder, 'train', BLUR, sharp=0.3, flat=0.2)
  made = [crop(source, seed=seed) for seed in range(200)]
  same = [sharp for blurry, sharp in made if (blurry == sharp).all()]
  flat = [sharp for sharp in same if sharp.std((0, 1)).max() < 12]
  assert 75 < len(same) < 125 and 25 < len(flat) < 55


def test_flat_crops_change_slowly():
  for seed in range(20):
    surface = flat_crop(64, np.random.default_rng(seed)).astype(int)
    assert surface.shape == (64, 64, 3)
    assert np.abs(np.diff(surface, axis=0)).max() <= 1 >= np.abs(np.diff(surface, axis=1)).max()


def test_examples_are_whole_photographs_with_their_blur(folder):
  source = PhotographPairs(folder, 'test', BLUR, held_out=0.2, variants=2)
  assert source.names[:2] == (f'{HELD[0]}/0', f'{HELD[0]}/1') and len(source) == 2 * len(HELD)
  example, pair = source.example(1), source.pair(1)
  np.testing.assert_array_equal(pair.sharp, source.photograph(1))
  np.testing.assert_array_equal(pair.blurry, example.blurry)
  assert example.extent.shape == example.direction.shape == (60, 80)
  assert (source.example(0).extent != example.extent).any()


def test_the_blur_of_a_held_out_photograph_depends_on_its_name_alone(folder, tmp_path):
  (tmp_path / 'one').mkdir()
  photo = (folder / f'{HELD[1]}.png').read_bytes()
  (tmp_path / 'one' / f'{HELD[1]}.png').write_bytes(photo)
  alone = PhotographPairs(tmp_path / 'one', 'test', BLUR, held_out=1)
  among = PhotographPairs(folder, 'test', BLUR, held_out=0.2)
  np.testing.assert_array_equal(alone.pair(0).blurry, among.pair(1).blurry)


def test_every_held_out_photograph_is_blurred(folder):
  resting = PhotoBlur(12, 2, 4, 9, noise=0, rest=1, display=0.7)
  source = PhotographPairs(folder, 'test', resting, held_out=0.2, variants=8, scene=24)
  for item in range(len(source)):
    assert (source.example(item).extent >= 0.5).mean() > 0.05


def test_scenes_are_squares_of_the_photographs(folder):
  source = PhotographPairs(folder, 'test', BLUR, held_out=0.2, scene=24)
  example, photo = source.example(0), source.photograph(0)
  assert example.sharp.shape == (24, 24, 3) and example.extent.shape == (24, 24)
  windows = np.lib.stride_tricks.sliding_window_view(photo, (24, 24, 3))
  assert (windows[..., 0, :, :, :] == example.sharp).all((-1, -2, -3)).any()
  other = source.example(0, photo_folder.photograph(99, 24, 24))
  np.testing.assert_array_equal(other.extent, example.extent)
  np.testing.assert_array_equal(other.sharp, photo_folder.photograph(99, 24, 24))


def test_what_cannot_be_read_is_named(folder, tmp_path):
  with pytest.raises(UserError, match='nowhere does not exist'):
    PhotographPairs(tmp_path / 'nowhere', 'train', BLUR)
  with pytest.raises(UserError, match='no photographs for the split train: put photographs'):
    PhotographPairs(tmp_path, 'train', BLUR)
  with pytest.raises(UserError, match=r'for the split test: raise data\.held_out_share'):
    PhotographPairs(folder, 'test', BLUR, held_out=0.0)
  with pytest.raises(UserError, match=r'photo_00\.png is 80x60, smaller than .* of 64'):
    PhotographPairs(folder, 'train', BLUR, min_size=64)
  with pytest.raises(UserError, match='variants is 0'):
    PhotographPairs(folder, 'train', BLUR, variants=0)


def test_damaged_photographs_are_named_when_they_are_asked_for(tmp_path):
  photo_folder.write(tmp_path, ['a', 'b'])
  (tmp_path / 'b.png').write_bytes(b'no picture')
  with pytest.raises(UserError, match=r'b\.png is not a picture'):
    PhotographPairs(tmp_path, 'train', BLUR)
  source = PhotographPairs(tmp_path, 'train', BLUR, defer_errors=True)
  crop(source, 0)
  with pytest.raises(UserError, match=r'b\.png is not a picture'):
    crop(source, 1)


def test_a_header_that_pillow_gives_up_on_is_named_too(tmp_path):
  photo_folder.write(tmp_path, ['a', 'b'])
  content = (tmp_path / 'b.png').read_bytes()
  text = b'zTXtComment\0\0' + zlib.compress(bytes(2**27))  # more than Pillow decompresses
  chunk = struct.pack('>I', len(text) - 4) + text + struct.pack('>I', zlib.crc32(text))
  (tmp_path / 'b.png').write_bytes(content[:33] + chunk + content[33:])
  with pytest.raises(UserError, match=r'b\.png'):
    PhotographPairs(tmp_path, 'train', BLUR)
  source = PhotographPairs(tmp_path, 'train', BLUR, defer_errors=True)
  crop(source, 0)


def test_two_files_of_one_name(tmp_path):
  photo_folder.write(tmp_path, ['a'])
  Image.fromarray(photo_folder.photograph(0)).save(tmp_path / 'a.bmp')
  with pytest.raises(UserError, match='has two photographs for a; keep one'):
    PhotographPairs(tmp_path, 'train', BLUR)


def test_a_name_that_is_no_utf_8_is_told(tmp_path):
  photo_folder.write(tmp_path, ['a'])
  (file,) = tmp_path.iterdir()
  os.rename(file, os.path.join(os.fsencode(tmp_path), b'caf\xe9.png'))
  with pytest.raises(UserError, match=r"caf\\udce9\.png' has a name that is no UTF-8: rename it"):
    PhotographPairs(tmp_path, 'train', BLUR)


def test_a_photograph_smaller_than_the_scenes_is_told(tmp_path):
  photo_folder.write(tmp_path, ['a'])
  message = r'a\.png is .*, smaller than the held-out scene of 999: lower data\.scene or remove'
  with pytest.raises(UserError, match=message):
    PhotographPairs(tmp_path, 'train', BLUR, scene=999)
