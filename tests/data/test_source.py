"""`open_pairs`: what a name or a folder on the command line stands for."""

import subprocess
import sys

import pytest
import released

from degrep_jax.common.errors import UserError
from degrep_jax.data.builders.write import prepare
from degrep_jax.data.source import open_pairs


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
