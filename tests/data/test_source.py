"""`open_pairs`: what a name or a folder on the command line stands for."""

import pathlib
import subprocess
import sys

import numpy as np
import pytest
import released

from configs import default
from degrep_jax.common.errors import UserError
from degrep_jax.data.builders.write import prepare
from degrep_jax.data.source import open_pairs, open_source


def test_a_folder_of_pairs(tmp_path):
  root = released.gopro(tmp_path, ('.',), (3, 1))
  assert (
    open_pairs(root).names == open_pairs(str(root), split='train').names == ('000001', '000003')
  )


def test_gopro(tmp_path):
  root = released.gopro(tmp_path)
  assert open_pairs(root).names[0] == 'GOPR0384_11_00/000001'
  assert open_pairs(root, split='train').names[0] == 'GOPR0372_07_00/000001'


def test_train_and_test_that_lie_deeper_are_not_taken_for_one(tmp_path):
  root = released.gopro(tmp_path / 'data' / 'GOPRO_Large')
  with pytest.raises(UserError, match=rf'data holds several sets of pairs: .* such as {root}\.'):
    open_pairs(tmp_path / 'data')


def test_hide(tmp_path):
  root = released.hide(tmp_path)
  assert open_pairs(root).names == (
    'test-close-ups/1fromGOPR1096.MP4',
    'test-long-shot/9fromGOPR1002',
  )
  assert open_pairs(root, split='train').names == ('7fromGOPR1001',)
  with pytest.raises(UserError, match='has no validation pairs'):
    open_pairs(root, split='validation')


def test_hide_to_train_on(tmp_path):
  data = default.get_config().data
  data.root, data.crop = str(released.hide(tmp_path)), 16
  assert open_source(data, 'train').names == ('7fromGOPR1001',)
  assert len(open_source(data, 'test')) == 2


# Where copies of the datasets lie for other programs, and the folder that is named.
COPIES = [
  ('GoPro/test/{}/GOPR0384_11_00-000001.png', 'GoPro'),
  ('Datasets/test/GoPro/{}/GOPR0384_11_00-000001.png', 'Datasets/test/GoPro'),
  ('HIDE/{}/1fromGOPR1096.MP4.png', 'HIDE'),
  ('Datasets/HIDE/test/{}/1fromGOPR1096.png', 'Datasets/HIDE'),
  ('RealBlur_J/{}/scene002_blur_7.png', 'RealBlur_J'),
  ('RealBlur/test/RealBlur_R/{}/7.png', 'RealBlur/test/RealBlur_R'),
]


@pytest.mark.parametrize(('file', 'named'), COPIES)
def test_copies_with_input_and_target(tmp_path, file, named):
  blurry, sharp = released.pair(0)
  released.save(tmp_path / file.format('input'), blurry)
  released.save(tmp_path / file.format('target'), sharp)
  source = open_pairs(tmp_path / named)
  assert source.names == (pathlib.PurePath(file).stem,)
  np.testing.assert_array_equal(source.pair(0).blurry, blurry)
  np.testing.assert_array_equal(source.pair(0).sharp, sharp)


def test_several_datasets_are_not_taken_for_one(tmp_path):
  for file, _ in (COPIES[1], COPIES[5]):
    for folder, picture in zip(('input', 'target'), released.pair(0), strict=True):
      released.save(tmp_path / file.replace('RealBlur/', 'Datasets/').format(folder), picture)
  data = default.get_config().data
  data.root = data.eval_root = str(tmp_path / 'Datasets')
  first, second = (tmp_path / 'Datasets/test' / name for name in ('GoPro', 'RealBlur_R'))
  for way in (lambda: open_pairs(tmp_path / 'Datasets'), lambda: open_source(data, 'test')):
    with pytest.raises(UserError, match=f'several sets of pairs, {first} and {second} among them'):
      way()


@pytest.mark.parametrize('kind', ['folder', 'photos'])
def test_held_out_pictures_are_not_trained_on(tmp_path, kind):
  released.gopro(tmp_path, ('mine', 'mine/held_out', 'elsewhere'), (1, 2))
  released.gopro(tmp_path / 'divided')
  data = default.get_config().data
  data.source, data.crop = kind, 16
  for root, held_out, apart in (
    ('mine', 'mine', False),
    ('mine', 'mine/held_out', False),
    ('mine/held_out', 'mine', False),
    ('mine', 'divided/../mine/held_out', False),
    ('divided/train', 'divided/train', False),
    ('mine', 'elsewhere', True),
    ('mine', 'divided', True),
    ('divided', 'divided', True),
    ('divided/train', 'divided/test', True),
  ):
    data.root, data.eval_root = str(tmp_path / root), str(tmp_path / held_out)
    for split in ('train', 'test'):
      if apart:
        open_source(data, split)
        continue
      with pytest.raises(UserError, match=f'eval_root, {data.eval_root}, lie among those of'):
        open_source(data, split)


def test_the_folder_one_is_in_is_a_folder_too(tmp_path, monkeypatch):
  released.gopro(tmp_path, ('.', 'held_out'), (1, 2))
  monkeypatch.chdir(tmp_path)
  data = default.get_config().data
  data.crop, data.root, data.eval_root = 16, '.', 'held_out'
  with pytest.raises(UserError, match='eval_root, held_out, lie among those of'):
    open_source(data, 'train')


def test_a_half_downloaded_set_is_told(tmp_path, capsys):
  root = released.gopro(tmp_path, ('test/GOPR0384_11_00',), (1, 2, 4))
  open_pairs(root)
  warning = 'Warning: GoPro: test has 3 of 1,111 pairs: 1,108 are missing, the first is {}.\n'
  assert capsys.readouterr().err == warning.format('GOPR0384_11_00/000003')
  folder = root / 'test/GOPR0384_11_00'
  for kind in ('blur', 'sharp'):  # as the copies have it
    for path in (folder / kind).iterdir():
      path.rename(folder / kind / f'GOPR0384_11_00-{path.name}')
  open_pairs(root)
  assert capsys.readouterr().err == warning.format('GOPR0384_11_00/GOPR0384_11_00-000003')


def test_sharp_pictures_without_a_partner_are_told(tmp_path, capsys):
  root = released.gopro(tmp_path, ('.',), (1, 2, 3))
  for number in (2, 3):
    (root / f'blur/00000{number}.png').unlink()
  assert open_pairs(root).names == ('000001',)
  assert capsys.readouterr().err == (
    f'Warning: {root}/sharp/000002.png has no blurry partner; 2 sharp pictures of {root} have none '
    'and are passed over.\n'
  )


@pytest.mark.parametrize('folder', ['.', released.LIST_FOLDER])
def test_pairs_that_a_list_divides_are_not_taken_together(tmp_path, folder):
  root = released.realblur(tmp_path)
  data = default.get_config().data
  data.root = data.eval_root = str(root / folder)
  with pytest.raises(
    UserError, match=r'RealBlur_J_test_list\.txt tells .*source=list .*=RealBlur_J'
  ):
    open_source(data, 'train')


def test_realblur(tmp_path):
  root = released.realblur(tmp_path)
  (name,) = open_pairs(root).names
  assert name == f'{released.LIST_FOLDER}/scene002/blur/blur_7'
  assert open_pairs(root / 'RealBlur_J_test_list.txt').names == (name,)
  assert len(open_pairs(root, split='train')) == 2
  (root / 'RealBlur_R_test_list.txt').write_text('gt.png blur.png')
  with pytest.raises(UserError, match=r'several lists .* such as .*RealBlur_J_test_list\.txt'):
    open_pairs(root)
  (root / 'pairs.txt').write_text('gt.png blur.png')
  with pytest.raises(UserError, match=r'pairs\.txt is no list of pairs: these end in'):
    open_pairs(root / 'pairs.txt')


def test_a_prepared_dataset_is_read_without_tensorflow(tmp_path):
  root = released.gopro(tmp_path / 'GOPRO_Large')
  prepare('gopro', root, tmp_path / 'data', 'full')
  program = (
    'import sys\n'
    'from degrep_jax.data.source import open_pairs\n'
    "source = open_pairs('gopro', sys.argv[1])\n"
    'print(source.names[1], source.pair(1).sharp.shape)\n'
    "print(sorted({'jax', 'tensorflow'} & sys.modules.keys()))\n"
  )
  run = [sys.executable, '-c', program, str(tmp_path / 'data')]
  result = subprocess.run(run, capture_output=True, text=True, cwd=released.ROOT)
  assert result.stdout == 'GOPR0384_11_00/000002 (40, 60, 3)\n[]\n', result.stderr


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('gopro', 'gopro is a prepared dataset: name the folder that holds it by --data_dir'),
    ('nowhere', r'nowhere is neither a folder nor a dataset \(gopro, hide, '),
    ('data.zip', r'data\.zip is an archive: unpack it, or run degrep prepare'),
  ],
)
def test_what_cannot_be_opened(tmp_path, monkeypatch, name, message):
  monkeypatch.chdir(tmp_path)
  (tmp_path / 'data.zip').write_bytes(b'PK')
  with pytest.raises(UserError, match=message):
    open_pairs(name)
