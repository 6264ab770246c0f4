"""Files are whole or not there, and folders that cannot be written are named."""

import os

import pytest

from degrep_jax.common import files
from degrep_jax.common.errors import UserError


def test_a_file_is_written_into_a_folder_that_is_made(tmp_path):
  path = tmp_path / 'a' / 'b' / ('n' * 251 + '.png')  # as long as a name may be
  for data in (b'first', b'second'):
    files.write_atomically(path, data)
    assert path.read_bytes() == data
    assert list(path.parent.iterdir()) == [path]


def test_a_name_that_is_too_long_costs_a_sentence(tmp_path):
  with pytest.raises(UserError, match='cannot be written: File name too long'):
    files.write_atomically(tmp_path / ('n' * 300), b'', overwrite=False)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
  path = tmp_path / 'scores.json'
  files.write_atomically(path, b'old')

  def full(*_):
    raise OSError(28, 'No space left on device')

  monkeypatch.setattr('pathlib.Path.replace', full)
  with pytest.raises(UserError, match='No space left'):
    files.write_atomically(path, b'new')
  assert path.read_bytes() == b'old'
  assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_on_disk_before_it_has_its_name(tmp_path, monkeypatch):
  path, synced = tmp_path / 'config.json', []
  monkeypatch.setattr(
    files.os, 'fsync', lambda n: synced.append((path.exists(), os.fstat(n).st_size))
  )
  files.write_atomically(path, b'{}')
  assert synced == [(False, 2)] and path.read_bytes() == b'{}'


def test_folders_that_cannot_be_written(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  with pytest.raises(UserError, match=r'file/a\.png cannot be written: File exists\.'):
    files.make_folder_of(tmp_path / 'file' / 'a.png')
  files.make_folder_of(tmp_path / 'new' / 'folder' / 'a.png')
  assert not list((tmp_path / 'new' / 'folder').iterdir())
  monkeypatch.setattr(files.os, 'access', lambda *_: False)  # as for anyone but root
  with pytest.raises(UserError, match=r'a\.png cannot be written: Permission denied\.'):
    files.make_folder_of(tmp_path / 'new' / 'a.png')
