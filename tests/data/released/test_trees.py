"""Files of folders and archives: what is there, what links lead to, and what is refused."""

import io
import os
import stat
import tarfile
import zipfile

import pytest
from released import pack

from degrep_jax.common.errors import UserError
from degrep_jax.data.released import trees
from degrep_jax.data.released.trees import open_tree

ARCHIVES = ('s.zip', 's.tar', 's.tar.gz', 's.tgz', 's.tar.xz', 's.TAR.BZ2')
NAMES = ('a.png', 'b c/d e.png', 'häß/文.png')


@pytest.fixture
def folder(tmp_path):
  root = tmp_path / 'data'
  for name in (*NAMES, '.DS_Store', '__MACOSX/._a.png', 'b c/._d e.png'):
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(name.encode() * 1000)
  return root


def contents(source, scratch):
  with open_tree(source, scratch) as tree:
    return {path: tree.read(path) for path in tree.paths}


def test_a_folder(folder, tmp_path):
  assert contents(folder, tmp_path) == {name: name.encode() * 1000 for name in NAMES}


@pytest.mark.parametrize('name', ARCHIVES)
def test_an_archive_holds_what_the_folder_holds(folder, tmp_path, name):
  archive = pack(folder, tmp_path / name.lower()).rename(tmp_path / name)
  scratch = tmp_path / 'scratch'
  found = contents(archive, scratch)
  assert found == {f'data/{path}': data for path, data in contents(folder, tmp_path).items()}
  assert not list(scratch.rglob('*'))


def test_zip_names_without_the_flag_for_utf8(tmp_path):
  archive = tmp_path / 'a.zip'
  with zipfile.ZipFile(archive, 'w') as file:
    file.writestr('hxx.png', b'1')
    file.writestr('cafx.png', b'2')
  data = archive.read_bytes()
  # As programs write them that know nothing of the flag: UTF-8, and cp437.
  archive.write_bytes(data.replace(b'hxx', 'hä'.encode()).replace(b'cafx', 'café'.encode('cp437')))
  assert contents(archive, tmp_path) == {'hä.png': b'1', 'café.png': b'2'}


# --- links ---------------------------------------------------------------------------------------


def test_links_of_a_folder_are_followed_and_those_out_of_it_told(folder, tmp_path):
  elsewhere = tmp_path / 'elsewhere'
  elsewhere.mkdir()
  (elsewhere / 'x.png').write_bytes(b'x')
  (folder / 'linked').symlink_to(elsewhere)
  (folder / 'file.png').symlink_to(elsewhere / 'x.png')
  (folder / 'inner.png').symlink_to('a.png')
  with open_tree(folder, tmp_path) as tree:
    assert tree.read('linked/x.png') == tree.read('file.png') == b'x'
    assert tree.read('inner.png') == tree.read('a.png')
    assert tree.outside == {
      'linked': str(elsewhere),
      'file.png': str(elsewhere / 'x.png'),
    }


def test_links_that_lead_in_a_circle_end(folder, tmp_path):
  (folder / 'b c' / 'up').symlink_to(folder)
  (folder / 'self').symlink_to('self')
  with open_tree(folder, tmp_path) as tree:
    assert set(tree.paths) == {*NAMES, 'self'}
    with pytest.raises(UserError, match='data/self cannot be read'):
      tree.read('self')


def test_a_broken_link_is_named_when_it_is_read(folder, tmp_path):
  (folder / 'gone.png').symlink_to(tmp_path / 'nowhere.png')
  with open_tree(folder, tmp_path) as tree, pytest.raises(UserError, match=r'gone\.png cannot be'):
    tree.read('gone.png')


def add(archive, name, data=b'', **fields):
  """Appends a member to a tar; `fields` are those of its header."""
  member = tarfile.TarInfo(name)
  member.size = len(data)
  for field, value in fields.items():
    setattr(member, field, value)
  archive.addfile(member, io.BytesIO(data))


def test_links_of_a_tar(tmp_path):
  with tarfile.open(tmp_path / 'a.tar', 'w') as file:
    add(file, './d/a.png', b'picture')
    add(file, 'd/soft.png', type=tarfile.SYMTYPE, linkname='../d/a.png')
    add(file, 'd/twice.png', type=tarfile.SYMTYPE, linkname='soft.png')
    add(file, 'hard.png', type=tarfile.LNKTYPE, linkname='./d/a.png')
    add(file, 'folder', type=tarfile.SYMTYPE, linkname='d')
    add(file, 'round', type=tarfile.SYMTYPE, linkname='round')
    add(file, 'pipe', type=tarfile.FIFOTYPE)
  found = contents(tmp_path / 'a.tar', tmp_path)
  assert found == dict.fromkeys(('d/a.png', 'd/soft.png', 'd/twice.png', 'hard.png'), b'picture')


def test_links_of_a_zip(tmp_path):
  def link(name):
    member = zipfile.ZipInfo(name)
    member.create_system = 3
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    return member

  with zipfile.ZipFile(tmp_path / 'a.zip', 'w') as file:
    file.writestr('d/a.png', b'picture')
    file.writestr(link('d/soft.png'), 'a.png')
  assert contents(tmp_path / 'a.zip', tmp_path)['d/soft.png'] == b'picture'
  with zipfile.ZipFile(tmp_path / 'a.zip', 'a') as file:
    file.writestr(link('d/out.png'), '../../etc/passwd')
  with pytest.raises(UserError, match=r'out of the archive'):
    contents(tmp_path / 'a.zip', tmp_path)


# --- what is not to be trusted -------------------------------------------------------------------


@pytest.mark.parametrize('kind', ['zip', 'tar', 'tar.gz'])
@pytest.mark.parametrize('name', ['../evil.png', '/evil.png', 'a/../../evil.png', 'C:/evil.png'])
def test_members_that_point_out_of_the_archive(tmp_path, kind, name):
  archive = tmp_path / f'a.{kind}'
  if kind == 'zip':
    with zipfile.ZipFile(archive, 'w') as file:
      file.writestr('a.png', b'1')
      file.writestr(name, b'2')
  else:
    with tarfile.open(archive, 'w:gz' if kind == 'tar.gz' else 'w') as file:
      add(file, 'a.png', b'1')
      add(file, name, b'2')
  with pytest.raises(UserError, match=r'points out of the archive.*fetch it') as refusal:
    contents(archive, tmp_path)
  assert name in str(refusal.value) and '\n' not in str(refusal.value)
  assert {path.name for path in tmp_path.iterdir()} == {archive.name}


@pytest.mark.parametrize('target', ['/etc/passwd', '../x.png', 'd/../../x.png'])
@pytest.mark.parametrize('type', [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_that_lead_out_of_a_tar(tmp_path, target, type):
  with tarfile.open(tmp_path / 'a.tar', 'w') as file:
    add(file, 'link.png', type=type, linkname=target)
  with pytest.raises(UserError, match='points out of the archive'):
    contents(tmp_path / 'a.tar', tmp_path)


@pytest.mark.parametrize('name', ARCHIVES)
@pytest.mark.parametrize('keep', [0.0, 0.5])
def test_damaged_archives_are_named(folder, tmp_path, name, keep):
  (folder / 'noise.bin').write_bytes(os.urandom(100_000))
  archive = pack(folder, tmp_path / name.lower()).rename(tmp_path / name)
  data = archive.read_bytes()
  archive.write_bytes(data[: int(len(data) * keep)])
  with pytest.raises(UserError, match=rf'{archive}.* (is damaged|cannot be read)') as refusal:
    contents(archive, tmp_path / 'scratch')
  assert '\n' not in str(refusal.value)


def test_a_flipped_bit_in_a_zip(folder, tmp_path):
  archive = tmp_path / 'a.zip'
  with zipfile.ZipFile(archive, 'w') as file:
    file.writestr('a.png', b'abcdefgh')
  archive.write_bytes(archive.read_bytes().replace(b'abcd', b'abcx'))
  with pytest.raises(UserError, match=r'a\.zip/a\.png is damaged: Bad CRC'):
    contents(archive, tmp_path)


def test_a_locked_zip(folder, tmp_path):
  archive = pack(folder, tmp_path / 'a.zip')
  data = bytearray(archive.read_bytes())
  data[data.index(b'PK\x01\x02') + 8] |= 1  # the flag for encryption, in the directory
  archive.write_bytes(data)
  with pytest.raises(UserError, match='locked by a password'):
    contents(archive, tmp_path)


def test_a_zip_that_python_cannot_unpack(folder, tmp_path):
  archive = pack(folder, tmp_path / 'a.zip')
  data = bytearray(archive.read_bytes())
  data[data.rindex(b'PK\x01\x02') + 10] = 9  # Deflate64 for the last member, in the directory
  archive.write_bytes(data)
  with pytest.raises(UserError, match=r'a\.zip is compressed in a way .*9\): unpack it and name'):
    contents(archive, tmp_path)


def test_a_folder_that_cannot_be_listed_is_named(folder, tmp_path, monkeypatch):
  scan = os.scandir

  def closed(path):
    if str(path).rstrip('/').endswith('b c'):
      raise PermissionError(13, 'Permission denied', str(path))
    return scan(path)

  monkeypatch.setattr(trees.os, 'scandir', closed)
  with pytest.raises(UserError, match=r'data/b c/? cannot be read: Permission denied\.'):
    contents(folder, tmp_path)


def test_no_such_source_and_no_archive(tmp_path):
  with pytest.raises(UserError, match='nowhere does not exist'):
    contents(tmp_path / 'nowhere', tmp_path)
  (tmp_path / 'a.rar').write_bytes(b'Rar!')
  with pytest.raises(UserError, match=r'a\.rar is neither a folder nor an archive'):
    contents(tmp_path / 'a.rar', tmp_path)
