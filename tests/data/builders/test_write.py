"""`degrep prepare` and what is read from what it wrote."""

import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import tarfile
import time
from itertools import islice

import numpy as np
import pytest
import released
import tensorflow_datasets as tfds
from command import refused, succeeded
from PIL import Image
from released import pack, pair, save
from tensorflow_datasets.core import shuffle

from configs import default
from degrep_jax.common.errors import UserError
from degrep_jax.data.builders import pairs_builder, write
from degrep_jax.data.builders.read import PreparedPairs
from degrep_jax.data.builders.write import prepare
from degrep_jax.data.pairs import FolderPairs, ListPairs, read_picture
from degrep_jax.data.pipeline import train_batches
from degrep_jax.data.released.checks import seems_exchanged
from degrep_jax.data.source import open_pairs, open_source

SIZE = {'height': 530, 'width': 600}  # 2x2 sub-pictures
TRAIN = 'train/GOPR0372_07_00'


@pytest.fixture(scope='module')
def gopro(tmp_path_factory):
  root = tmp_path_factory.mktemp('source') / 'GOPRO_Large'
  released.gopro(root, **SIZE)
  released.gopro(root, ('train/GOPR0374 été',), (9,), **SIZE)
  return root


@pytest.fixture(scope='module')
def data_dir(gopro, tmp_path_factory):
  folder = tmp_path_factory.mktemp('prepared')
  prepare('gopro', gopro, folder)
  return folder


@pytest.fixture
def small(tmp_path):
  """A tree that is quick to prepare: one pair to train, one held out."""
  return released.gopro(tmp_path / 'small', numbers=(1,))


def config(**fields):
  data = default.get_config().data
  data.source, data.crop = 'tfds', 32
  data.update(fields)
  return data


def batches(source, count=3, **changes):
  values = {'crop': 32, 'batch_size': 4, 'seed': 7} | changes
  return list(islice(train_batches(source, **values), count))


def assert_same(some, others):
  for one, other in zip(some, others, strict=True):
    for kind in ('blurry', 'sharp'):
      np.testing.assert_array_equal(one[kind], other[kind])


# --- what is written -----------------------------------------------------------------------------


@pytest.mark.parametrize(('split', 'count'), [('train', 4), ('test', 3)])
def test_whole_pictures_are_the_files_byte_by_byte(gopro, data_dir, split, count):
  source = PreparedPairs(data_dir, 'gopro', split)
  assert len(source) == len(source.names) == count
  assert source.names == FolderPairs(gopro, split).names
  for item, name in enumerate(source.names):
    sequence, _, number = name.partition('/')
    record = source.record(item)
    assert record['name'] == name.encode()
    for kind, folder in (('blurry', 'blur'), ('sharp', 'sharp')):
      path = gopro / split / sequence / folder / f'{number}.png'
      assert record[kind] == path.read_bytes()
      np.testing.assert_array_equal(getattr(source.pair(item), kind), read_picture(path))


@pytest.mark.parametrize(
  ('side', 'starts'),
  # BasicSR: range(0, side - 512 + 1, 256), and side - 512 where more than 0 px are left over.
  [(720, [0, 208]), (1280, [0, 256, 512, 768]), (512, [0]), (513, [0, 1]), (768, [0, 256])],
)
def test_where_sub_pictures_are_cut(side, starts):
  for windows, axis in (
    (pairs_builder.windows(side, 512), 0),
    (pairs_builder.windows(512, side), 1),
  ):
    assert [(window[axis].start, window[axis].stop) for window in windows] == [
      (start, start + 512) for start in starts
    ]


def test_sub_pictures_go_by_rows_and_small_pictures_stay_whole():
  corners = [(window[0].start, window[1].start) for window in pairs_builder.windows(530, 600)]
  assert corners == [(0, 0), (0, 88), (18, 0), (18, 88)]
  assert pairs_builder.windows(100, 200) == [(slice(0, 100), slice(0, 200))]


def test_sub_pictures_are_the_parts_without_loss(gopro, data_dir):
  source = PreparedPairs(data_dir, 'gopro', 'train', 'sub512')
  whole = FolderPairs(gopro, 'train')
  assert len(source) == 4 * 4
  for item in range(len(source)):
    pair = source.pair(item)
    number, part = divmod(item, 4)
    window = pairs_builder.windows(530, 600)[part]
    assert pair.name == f'{whole.names[number]}_s{part + 1:03}'
    for kind in ('blurry', 'sharp'):
      np.testing.assert_array_equal(getattr(pair, kind), getattr(whole.pair(number), kind)[window])


@pytest.mark.parametrize('name', ['GoPro.zip', 'GoPro.tar', 'GoPro.tar.gz'])
def test_an_archive_gives_the_bytes_of_the_folder(small, tmp_path, name):
  prepare('gopro', small, tmp_path / 'from_folder')
  archive = pack(small, tmp_path / name)
  prepare('gopro', archive, tmp_path / 'from_archive')
  (tmp_path / 'downloads').mkdir()
  archive.rename(tmp_path / 'downloads' / name)
  prepare('gopro', tmp_path / 'downloads', tmp_path / 'from_its_folder')
  expected = released.digests(tmp_path / 'from_folder')
  assert 'gopro/full/1.0.0/gopro-test.array_record-00000-of-00001' in expected
  assert released.digests(tmp_path / 'from_archive') == expected
  assert released.digests(tmp_path / 'from_its_folder') == expected


def test_pictures_beyond_memory_are_written_alike(gopro, data_dir, tmp_path, monkeypatch):
  # TFDS then goes through temporary files, and what lies in one of these is held at a time.
  held: list[int] = []
  monkeypatch.setattr(shuffle, 'MAX_MEM_BUFFER_SIZE', 0)
  monkeypatch.setattr(shuffle._Bucket, 'read_values', _counted(shuffle._Bucket.read_values, held))
  prepare('gopro', gopro, tmp_path)
  assert released.digests(tmp_path) == released.digests(data_dir)
  assert max(held) == 4  # the sub-pictures of a pair, of 16 in all


def _counted(read, counts):
  def read_values(bucket):
    records = [*read(bucket)]
    counts.append(len(records))
    return records

  return read_values


def test_a_copy_with_input_and_target_has_the_same_pictures(small, tmp_path):
  """As most programs ask for GoPro: {train,test}/{input,target}/<sequence>-NNNNNN.png."""
  copy = tmp_path / 'GoPro'
  for path in small.glob('*/*/*/*.png'):
    split, sequence, kind, name = path.relative_to(small).parts
    if kind != 'blur_gamma':
      folder = copy / split / {'blur': 'input', 'sharp': 'target'}[kind]
      folder.mkdir(parents=True, exist_ok=True)
      shutil.copy(path, folder / f'{sequence}-{name}')
  for root in (small, copy):
    prepare('gopro', root, tmp_path / f'{root.name}_data')
  for split, pictures in (('train', 'full'), ('train', 'sub512'), ('test', 'full')):
    ours, theirs = (
      PreparedPairs(tmp_path / f'{root.name}_data', 'gopro', split, pictures)
      for root in (small, copy)
    )
    assert theirs.names == tuple(name.replace('/', '-') for name in ours.names)
    for kind in ('blurry', 'sharp'):
      assert theirs.record(0)[kind] == ours.record(0)[kind]
  assert theirs.names == FolderPairs(copy, 'test').names == ('GOPR0384_11_00-000001',)


def test_sub_pictures_are_taken_as_they_are(tmp_path, capsys):
  root = tmp_path / 'GoPro'
  names = [f'GOPR0372_07_00-000047_s{part:03}' for part in (1, 2)]
  for seed, name in enumerate(names):
    for folder, picture in zip(('blur_crops', 'sharp_crops'), pair(seed, 520, 60), strict=True):
      save(root / 'train' / folder / f'{name}.png', picture)
  prepare('gopro', root, tmp_path)
  source = PreparedPairs(tmp_path, 'gopro', 'train', 'sub512', cache_bytes=0)
  assert source.names == tuple(names)
  np.testing.assert_array_equal(source.pair(1).sharp, pair(1, 520, 60)[1])
  blurry, _ = source.crop(0, 60, np.random.default_rng(0))
  assert blurry.shape == (60, 60, 3)
  assert 'GoPro: train has 1 of 2,103 pairs' in capsys.readouterr().err
  assert 'are sub-pictures' in complaint('gopro', root, tmp_path, 'full')
  for folder, picture in zip(('input', 'target'), pair(3), strict=True):
    save(root / 'test' / folder / 'GOPR0384_11_00-000001.png', picture)
  prepare('gopro', root, tmp_path, 'full')
  assert PreparedPairs(tmp_path, 'gopro', 'test').names == ('GOPR0384_11_00-000001',)
  with pytest.raises(UserError, match='prepared without train pairs'):
    PreparedPairs(tmp_path, 'gopro', 'train')


def test_hide(tmp_path):
  root = released.hide(tmp_path / 'HIDE_dataset')
  prepare('hide', root, tmp_path)
  for split in ('train', 'test'):
    source, raw = PreparedPairs(tmp_path, 'hide', split), open_pairs(root, split=split)
    assert source.names == raw.names
    for item in range(len(raw)):
      for kind in ('blurry', 'sharp'):
        pictures = (getattr(some.pair(item), kind) for some in (source, raw))
        np.testing.assert_array_equal(*pictures)
  assert len(PreparedPairs(tmp_path, 'hide', 'train', 'sub512')) == 1


def test_hide_without_training_pairs_has_no_sub_pictures(tmp_path):
  root = released.hide(tmp_path / 'HIDE_dataset')
  shutil.rmtree(root / 'train')
  prepare('hide', root, tmp_path)
  with pytest.raises(UserError, match='holds no hide/sub512'):
    PreparedPairs(tmp_path, 'hide', 'train', 'sub512')
  with pytest.raises(UserError, match='no training pairs to cut'):
    prepare('hide', root, tmp_path, 'sub512')
  with pytest.raises(UserError, match=r'hide/full .* was prepared without train pairs'):
    PreparedPairs(tmp_path, 'hide', 'train')


def test_realblur(tmp_path):
  root = released.realblur(tmp_path / 'RealBlur')
  prepare('realblur_j', root, tmp_path, 'full')
  for split in ('train', 'test'):
    assert PreparedPairs(tmp_path, 'realblur_j', split).names == (
      ListPairs(root, 'RealBlur_J', split).names
    )
  by_list = config(source='list', list_name='RealBlur_J', root=str(root))
  by_tfds = config(name='realblur_j', root=str(tmp_path))
  assert_same(*(batches(open_source(data, 'train')) for data in (by_list, by_tfds)))


def test_tensorflow_datasets_alone_prepares_and_reads_it(small, tmp_path):
  builder = tfds.builder('gopro/full', data_dir=str(tmp_path / 'data'))
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(manual_dir=str(small)))
  prepare('gopro', small, tmp_path / 'ours', 'full')
  version = 'gopro/full/1.0.0'
  assert released.digests(tmp_path / 'data' / version) == released.digests(
    tmp_path / 'ours' / version
  )
  (example,) = tfds.data_source('gopro/full', split='test', data_dir=str(tmp_path / 'ours'))
  np.testing.assert_array_equal(example['sharp'], pair(1)[1])
  np.testing.assert_array_equal(example['blurry'], pair(1)[0])
  assert example['name'] == b'GOPR0384_11_00/000001'


# --- training from it ----------------------------------------------------------------------------


def test_batches_from_whole_pictures_are_those_from_the_folder(gopro, data_dir):
  folder = open_source(config(source='folder', root=str(gopro)), 'train')
  prepared = open_source(config(root=str(data_dir)), 'train')
  assert_same(batches(folder), batches(prepared))
  assert_same(batches(folder, start_step=1000), batches(prepared, start_step=1000))


def test_held_out_pictures_are_whole(gopro, data_dir):
  data = config(pictures='sub512', root=str(data_dir))
  assert open_source(data, 'train').names[0].endswith('_s001')
  assert open_source(data, 'test').names == FolderPairs(gopro, 'test').names
  data.eval_root = str(data_dir / 'elsewhere')
  with pytest.raises(UserError, match=r'elsewhere does not exist'):
    open_source(data, 'test')


def test_crops_without_a_cache_are_those_of_whole_pictures(data_dir):
  kept = PreparedPairs(data_dir, 'gopro', 'train', 'sub512')
  not_kept = PreparedPairs(data_dir, 'gopro', 'train', 'sub512', cache_bytes=0)
  expected = batches(kept)
  assert_same(expected, batches(not_kept))
  assert_same(expected[2:], batches(not_kept, 1, start_step=2))


def test_only_what_a_crop_needs_is_decoded(data_dir, monkeypatch):
  source = PreparedPairs(data_dir, 'gopro', 'train', 'sub512', cache_bytes=0)
  monkeypatch.setattr('degrep_jax.data.builders.read.decode', None)
  source.crop(0, 32, np.random.default_rng(0))


def test_decoded_pictures_are_kept_if_all_fit(data_dir):
  size = 4 * 2 * 530 * 600 * 3
  kept, not_kept = (
    PreparedPairs(data_dir, 'gopro', 'train', cache_bytes=limit) for limit in (size, size - 1)
  )
  assert kept.pair(0).sharp is not None
  assert kept.pair(0).sharp.base is kept.pair(0).sharp.base
  assert not_kept.pair(0).sharp.base is not not_kept.pair(0).sharp.base
  with pytest.raises(ValueError, match='read-only'):
    kept.pair(0).sharp[0] = 0


@pytest.mark.parametrize(
  ('arguments', 'message'),
  [
    (('imagenet', 'test'), "no dataset 'imagenet': choose one of gopro, hide"),
    (('hide', 'test'), 'holds no hide/full: run degrep prepare hide --source'),
    (('gopro', 'validation'), 'gopro/full .* without validation pairs'),
    (('gopro', 'test', 'sub512'), 'gopro/sub512 .* without test pairs'),
    (('gopro', 'train', 'full', 531), r'GOPR.* is 600x530, smaller .* lower data\.crop'),
    (('gopro', 'train', 'sub512', 513), r'GOPR.*_s001 is 512x512, smaller .* lower data\.crop'),
  ],
)
def test_what_cannot_be_opened(data_dir, arguments, message):
  with pytest.raises(UserError, match=message):
    PreparedPairs(data_dir, *arguments)


@pytest.mark.parametrize('keep', [0.0, 0.6])
def test_damaged_files_are_named(small, tmp_path, keep):
  prepare('gopro', small, tmp_path / 'data')
  (shard,) = (tmp_path / 'data/gopro/full/1.0.0').glob('gopro-test.array_record*')
  content = shard.read_bytes()
  shard.write_bytes(content[: int(len(content) * keep)])
  with pytest.raises(UserError, match=r'gopro/full test in .*data is damaged at GOPR.*000001'):
    open_pairs('gopro', tmp_path / 'data').pair(0)


# --- trees that cannot be taken as they are ------------------------------------------------------


def complaint(*arguments):
  with pytest.raises(UserError) as refusal:
    prepare(*arguments)
  assert '\n' not in str(refusal.value)
  return str(refusal.value)


def test_missing_pairs_are_told_again_where_they_are_scored(small, tmp_path, capsys):
  prepare('gopro', small, tmp_path / 'data', 'full')
  capsys.readouterr()
  open_pairs('gopro', tmp_path / 'data')
  assert 'Warning: GoPro: test has 1 of 1,111 pairs' in capsys.readouterr().err


@pytest.fixture
def warnings(small, tmp_path, capsys):
  """Prepares the small tree; returns the lines that it prints."""

  def run():
    prepare('gopro', small, tmp_path / 'data', 'full')
    return capsys.readouterr().err.splitlines()

  return run


def test_missing_pairs_are_a_warning_that_names_the_first(warnings):
  train, test, done = warnings()
  assert train == (
    'Warning: GoPro: train has 1 of 2,103 pairs: 2,102 are missing, the first is '
    'GOPR0372_07_00/000047.'
  )
  assert test.startswith('Warning: GoPro: test has 1 of 1,111 pairs: 1,110 are missing')
  assert done.startswith('gopro/full, 1 train and 1 test pairs in ')


def test_a_missing_partner_is_refused(small, tmp_path):
  (small / TRAIN / 'sharp/000001.png').unlink()
  assert 'pictures in blur/ but none in sharp/' in complaint('gopro', small, tmp_path / 'data')


def test_an_extra_file_is_passed_over_with_a_warning(small, warnings):
  (small / TRAIN / 'blur/Thumbs.db').write_bytes(b'thumbs')
  (small / '.DS_Store').write_bytes(b'hidden')
  lines = [line for line in warnings() if 'belong to no pair' in line]
  assert lines == [
    f'Warning: {small} holds 1 files that belong to no pair and are passed over, the first is '
    f'{TRAIN}/blur/Thumbs.db.'
  ]


@pytest.mark.parametrize('kind', ['blur', 'sharp'])
def test_a_damaged_picture_is_refused_and_nothing_is_left(gopro, tmp_path, kind):
  root = shutil.copytree(gopro, tmp_path / 'copy')
  file = root / TRAIN / kind / '000004.png'
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.write_bytes(content)
  message = complaint('gopro', root, tmp_path / 'data')
  assert f'{kind}/000004.png cannot be decoded' in message
  assert not (tmp_path / 'data').exists()


def test_partners_of_different_sizes_are_refused(small, tmp_path):
  save(small / TRAIN / 'sharp/000001.png', pair(1, width=61)[1])
  message = complaint('gopro', small, tmp_path / 'data')
  assert 'blur/000001.png is 60x40 but its sharp partner is 61x40' in message


def test_partners_that_are_turned_differently_are_refused(small, tmp_path):
  tags = Image.Exif()
  tags[0x0112] = 3
  file = small / TRAIN / 'sharp/000001.png'
  Image.open(file).save(file, exif=tags)
  assert 'blur/000001.png has the EXIF orientation 1 but its sharp partner has 3' in complaint(
    'gopro', small, tmp_path / 'data'
  )


@pytest.mark.parametrize(
  ('factors', 'exchanged'),  # the contrast of the "sharp" pictures against the "blurry" ones
  [
    ([1], False),
    ([0.9], False),
    ([0.7], True),
    ([2], False),
    ([0.5, 2, 2], False),
    ([0.5, 0.5, 2], True),
  ],
)
def test_what_counts_as_exchanged(factors, exchanged):
  noise = np.random.default_rng(0).integers(0, 120, (40, 60, 3), np.uint8)

  def read(number):  # the variance of any linear filter goes with the square of the contrast
    return noise, (noise * factors[number]).astype(np.uint8)

  assert seems_exchanged(len(factors), read) == exchanged


def test_few_pairs_are_looked_at_and_the_last_is_among_them():
  seen = []

  def read(number):
    seen.append(number)
    return np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)

  assert not seems_exchanged(2103, read)
  assert len(seen) == 8 and {0, 2102} <= {*seen}


def exchange(folder):
  (folder / 'blur').rename(folder / 'other')
  (folder / 'sharp').rename(folder / 'blur')
  (folder / 'other').rename(folder / 'sharp')


def test_exchanged_folders_are_refused(small, tmp_path):
  exchange(small / TRAIN)
  message = complaint('gopro', small, tmp_path / 'data')
  assert 'the train pairs' in message and 'exchange them back' in message


def test_exchanged_folders_are_a_warning_where_they_are_read_as_they_are(small, capsys):
  exchange(small / TRAIN)
  for split, warned in (('train', True), ('test', False)):
    open_pairs(small, split=split)
    open_source(config(source='folder', root=str(small)), split)
    assert capsys.readouterr().err.count('were the two exchanged?') == 2 * warned


def test_a_link_out_of_the_tree_is_followed_with_a_warning(small, tmp_path, warnings):
  (small / TRAIN).rename(tmp_path / 'elsewhere')
  (small / TRAIN).symlink_to(tmp_path / 'elsewhere')
  lines = [line for line in warnings() if 'lead out' in line]
  assert lines == [
    f'Warning: 1 links lead out of {small} and are followed, the first is {TRAIN} to '
    f'{tmp_path}/elsewhere.'
  ]
  shutil.rmtree(tmp_path / 'elsewhere')
  assert len(PreparedPairs(tmp_path / 'data', 'gopro', 'train')) == 1


def test_an_archive_with_members_that_point_out_of_it_is_refused(small, tmp_path):
  archive = pack(small, tmp_path / 'a.tar')
  with tarfile.open(archive, 'a') as file:
    file.add(small / TRAIN / 'blur/000001.png', '../evil.png')
  assert "a member '../evil.png'" in complaint('gopro', archive, tmp_path / 'data')
  assert not (tmp_path / 'evil.png').exists()


def test_a_name_that_is_no_utf8_is_refused(small, tmp_path):
  os.rename(small / TRAIN, os.fsencode(small) + b'/train/\xff')
  assert 'a name that is no UTF-8: rename it' in complaint('gopro', small, tmp_path / 'data')


@pytest.mark.parametrize('closed', ['', 'train'])
def test_a_source_that_cannot_be_read_is_what_is_named(small, tmp_path, monkeypatch, closed):
  scan = os.scandir

  def scandir(path):
    if os.path.normpath(path) == str(small / closed):
      raise PermissionError(13, 'Permission denied', str(path))
    return scan(path)

  monkeypatch.setattr(os, 'scandir', scandir)
  message = complaint('gopro', small, tmp_path / 'data')
  assert message.startswith(str(small / closed))
  assert message.endswith('cannot be read: Permission denied.')


def test_a_folder_that_cannot_be_written(small, tmp_path):
  (tmp_path / 'file').write_text('in the way')
  assert 'cannot be written' in complaint('gopro', small, tmp_path / 'file')


def test_a_disk_too_full_for_what_is_decompressed(small, tmp_path, monkeypatch):
  archive = pathlib.Path(shutil.make_archive(str(tmp_path / 'gopro'), 'gztar', small))

  def copy(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr(shutil, 'copyfileobj', copy)
  message = complaint('gopro', archive, tmp_path / 'data')
  assert re.fullmatch(
    r'The disk of .*/data\S* is full: .*gopro.tar.gz is decompressed there.', message
  )


def test_files_of_others_are_left_alone(small, tmp_path):
  data = tmp_path / 'data'
  shutil.copytree(small, data / 'gopro' / 'GOPRO_Large')
  theirs = data / 'gopro' / 'GOPRO_Large' / 'incomplete.download' / 'part'
  theirs.parent.mkdir()
  theirs.write_text('mine')
  (data / 'gopro' / 'incomplete.txt').write_text('mine')
  left = data / 'gopro' / 'full' / 'incomplete.x' / 'part'
  left.parent.mkdir(parents=True)
  left.write_text('of a killed one')
  write.prepare('gopro', data / 'gopro' / 'GOPRO_Large', data, pictures='full')
  assert theirs.read_text() == (data / 'gopro' / 'incomplete.txt').read_text() == 'mine'
  assert not left.parent.exists()


def test_a_full_disk(small, tmp_path, monkeypatch):
  def write(*arguments):
    raise RuntimeError('Failed to finalize: write() failed: No space left on device; writing x')

  monkeypatch.setattr(tfds.core.ExampleWriter, 'write', write)
  assert 'has no space left on its disk: free some' in complaint('gopro', small, tmp_path)
  assert not [*tmp_path.rglob('*record*')]


def test_an_unknown_dataset(small, tmp_path):
  assert "no dataset 'reds': choose one of" in complaint('reds', small, tmp_path / 'data')


# --- the command ---------------------------------------------------------------------------------


def test_the_command(small, tmp_path, monkeypatch):
  temporary = tmp_path / 'tmp'
  temporary.mkdir()
  monkeypatch.setenv('TMPDIR', str(temporary))
  arguments = ('gopro', '--source', small, '--data_dir', tmp_path / 'data')
  first = succeeded(released.run(*arguments))
  assert not [*temporary.iterdir()]
  assert 'Warning: GoPro: train has 1 of 2,103 pairs' in first.stderr
  lines = first.stderr.splitlines()[-2:]
  for line, kind in zip(lines, ('full, 1 train and 1 test', 'sub512, 1 train'), strict=True):
    assert line.startswith(f'gopro/{kind} pairs in ') and line.endswith(': prepared.')
  before = released.digests(tmp_path / 'data')
  again = succeeded(released.run(*arguments))
  assert again.stderr.count('prepared before, remove that folder to do it again') == 2
  assert released.digests(tmp_path / 'data') == before


def test_a_source_that_is_not_there(tmp_path):
  arguments = ('--source', tmp_path / 'no', '--data_dir', tmp_path / 'data')
  refused(released.run('gopro', *arguments), f'{tmp_path / "no"} does not exist')
  assert not list(tmp_path.iterdir())  # a folder that this command made for nothing


def test_folders_that_were_there_are_left(tmp_path):
  (tmp_path / 'data').mkdir()
  with pytest.raises(UserError, match='nothing does not exist'):
    prepare('gopro', tmp_path / 'nothing', tmp_path / 'data')
  assert [*tmp_path.rglob('*')] == [tmp_path / 'data']


def test_two_processes_do_not_prepare_the_same(small, tmp_path):
  with write._owned(tmp_path / 'gopro'):
    assert 'Another process is preparing' in complaint('gopro', small, tmp_path)
  prepare('gopro', small, tmp_path)


def _killed_at_random(root, data_dir, kills, seed):
  """Kills `kills` runs at random moments of their writing, then lets one end.

  Returns the moments, as shares of the time that an unkilled run writes for.
  """
  arguments = ('gopro', '--source', root, '--data_dir', data_dir)
  whole = data_dir.with_name('whole')
  writes = _run_until((*arguments[:-1], whole), whole, None)
  rng = random.Random(seed)
  moments = [rng.random() for _ in range(kills)]
  print(f'seed {seed}, killed at {moments} of {writes:.2f} s')
  for moment in moments:
    _run_until(arguments, data_dir, moment * writes)
  succeeded(released.run(*arguments))
  assert released.digests(data_dir) == released.digests(whole)


def _run_until(arguments, data_dir, moment):
  """Seconds from the first new file to the end, or to a kill `moment` seconds after it."""
  line = released.command(*arguments)
  process = subprocess.Popen(**line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  before = _paths(data_dir)
  while process.poll() is None and not _paths(data_dir) - before:
    time.sleep(0.002)
  start = time.monotonic()
  try:
    process.wait(moment)
  except subprocess.TimeoutExpired:
    process.send_signal(signal.SIGKILL)
    process.wait()
  return time.monotonic() - start


def _paths(folder):
  """What lies below a folder; what another process removes meanwhile is passed over."""
  walk = os.walk(folder)
  return {os.path.join(top, name) for top, *below in walk for names in below for name in names}


@pytest.mark.parametrize(
  'kills', [2, pytest.param(12, marks=[pytest.mark.slow, pytest.mark.promise])]
)
def test_a_killed_run_leaves_nothing_behind(tmp_path, monkeypatch, kills):
  temporary = tmp_path / 'tmp'
  temporary.mkdir()
  monkeypatch.setenv('TMPDIR', str(temporary))
  root = released.gopro(tmp_path / 'GOPRO_Large', numbers=(1, 2, 3), **SIZE)
  seed = random.SystemRandom().randrange(2**32)
  _killed_at_random(root, tmp_path / 'data', kills, seed)
  assert not [*temporary.iterdir()]
