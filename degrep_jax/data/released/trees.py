"""Files of a dataset by their paths, in a folder or in an archive that is read where it lies."""

import bz2
import contextlib
import gzip
import lzma
import os
import posixpath
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from degrep_jax.common.errors import UserError, is_full

# What makes a compressed tar plain.
DECOMPRESSORS: dict[str, Callable] = {
  '.tar.gz': gzip.open,
  '.tgz': gzip.open,
  '.tar.bz2': bz2.open,
  '.tar.xz': lzma.open,
}
# Methods of zip that Python knows; Windows packs large files by another, Deflate64.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ARCHIVES = ('.zip', '.tar', *DECOMPRESSORS)
# The libraries' ways to say that an archive is damaged.
DAMAGE = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, ValueError)


@dataclass(frozen=True)
class Tree:
  """Files of a folder or an archive.

  Attributes:
    place: the folder or archive, as the user named it.
    read_file: gives a file's bytes by its path; safe to call from several threads.
    paths: of all files but hidden ones, relative, with slashes, sorted.
    outside: links of a folder that lead out of it, path to target.
  """

  place: Path
  read_file: Callable[[str], bytes]
  paths: tuple[str, ...]
  outside: Mapping[str, str] = field(default_factory=dict)

  def read(self, path: str) -> bytes:
    """A file's bytes; UserError, naming it, where it cannot be read."""
    try:
      return self.read_file(path)
    except OSError as error:
      raise UserError(f'{self.locate(path)} cannot be read: {error.strerror or error}.') from None
    except DAMAGE as error:
      raise UserError(f'{self.locate(path)} is damaged: {error}.') from None

  def locate(self, path: str) -> str:
    """How messages name a file."""
    return str(self.place / path)


def is_archive(path: Path) -> bool:
  """Whether a name is that of an archive."""
  return path.name.lower().endswith(ARCHIVES)


@contextlib.contextmanager
def open_tree(source: Path, scratch: Path) -> Iterator[Tree]:
  """Opens a folder, a zip or a tar.

  A compressed tar has no second file without the first: it is made plain once, in a file without a
  name below `scratch`, which ends with the process whatever ends that.

  Raises:
    UserError: nothing there, a damaged archive, or one whose members point out of it.
  """
  if not source.exists():
    raise UserError(f'{source} does not exist.')
  if not source.is_dir() and not is_archive(source):
    raise UserError(
      f'{source} is neither a folder nor an archive ({", ".join(ARCHIVES)}): unpack it and name '
      'the folder.'
    )
  with contextlib.ExitStack() as stack:
    try:
      if source.is_dir():
        tree = _open_folder(source)
      elif source.name.lower().endswith('.zip'):
        tree = _open_zip(source, stack)
      else:
        tree = _open_tar(source, scratch, stack)
    except OSError as error:
      place = error.filename or source
      raise UserError(f'{place} cannot be read: {error.strerror or error}.') from None
    except DAMAGE as error:
      raise UserError(f'{source} is damaged ({error}): fetch it again.') from None
    yield tree


def _hidden(path: str) -> bool:
  return any(part.startswith('.') or part == '__MACOSX' for part in path.split('/'))


# --- folders -------------------------------------------------------------------------------------


def _open_folder(root: Path) -> Tree:
  paths: list[str] = []
  outside: dict[str, str] = {}
  _walk(root, '', (os.path.realpath(root),), paths, outside)
  return Tree(root, lambda path: (root / path).read_bytes(), tuple(sorted(paths)), outside)


def _walk(
  root: Path, prefix: str, above: tuple[str, ...], paths: list[str], outside: dict[str, str]
) -> None:
  """Collects the files below a folder and its links out of it. `above`: it and those it is in."""
  with os.scandir(root / prefix) as entries:
    for entry in entries:
      path = prefix + entry.name
      if _hidden(entry.name):
        continue
      target = os.path.realpath(entry.path) if entry.is_symlink() else ''
      if target and not Path(target).is_relative_to(above[0]):
        outside[path] = target
      folder = os.path.isdir(entry.path) if target else entry.is_dir()  # a link may lead nowhere
      if not folder:
        paths.append(path)
      elif target not in above:  # a link to a folder that it lies in would never end
        inside = target or os.path.join(above[-1], entry.name)
        _walk(root, f'{path}/', (*above, inside), paths, outside)


# --- archives ------------------------------------------------------------------------------------


def _inside(name: str, archive: Path) -> str:
  """A member's name without `./`; UserError where it points out of the archive."""
  path = posixpath.normpath(name.replace('\\', '/'))
  if path.startswith('/') or path.split('/')[0] == '..' or path[1:2] == ':':
    raise UserError(
      f'{archive} has a member {name!r}, which points out of the archive: it is not to be trusted, '
      'fetch it from its authors.'
    )
  return path


def _aliases(
  links: Mapping[str, str], files: Mapping[str, object], archive: Path
) -> Iterator[tuple[str, str]]:
  """(link, file) of the archive's links, followed to the end; those to anything else are dropped.

  links: path to the path that it points to, both seen from the archive's root.
  """
  for link in links:
    target, steps = link, 0
    while target in links and steps <= len(links):
      target, steps = _inside(links[target], archive), steps + 1
    if target in files:
      yield link, target


def _open_zip(archive: Path, stack: contextlib.ExitStack) -> Tree:
  reader = stack.enter_context(zipfile.ZipFile(archive))
  files: dict[str, zipfile.ZipInfo] = {}
  links: dict[str, str] = {}
  for member in reader.infolist():
    path = _inside(_zip_name(member), archive)
    if member.flag_bits & 1:
      raise UserError(f'{archive} is locked by a password: unpack it and name the folder.')
    if member.compress_type not in COMPRESSIONS:
      raise UserError(
        f'{archive} is compressed in a way that cannot be read here (method '
        f'{member.compress_type}): unpack it and name the folder.'
      )
    if stat.S_ISLNK(member.external_attr >> 16):
      links[path] = posixpath.join(posixpath.dirname(path), reader.read(member).decode())
    elif not member.is_dir():
      files[path] = member
  for link, target in list(_aliases(links, files, archive)):
    files[link] = files[target]
  return _archive_tree(archive, files, reader.read)


def _zip_name(member: zipfile.ZipInfo) -> str:
  """A member's name. Without the flag for UTF-8 zip means cp437, but many programs write UTF-8."""
  if not member.flag_bits & 0x800:
    with contextlib.suppress(UnicodeError):
      return member.filename.encode('cp437').decode()
  return member.filename


def _open_tar(archive: Path, scratch: Path, stack: contextlib.ExitStack) -> Tree:
  reader = stack.enter_context(_plain(archive, scratch))
  files: dict[str, tarfile.TarInfo] = {}
  links: dict[str, str] = {}
  with tarfile.open(fileobj=reader, mode='r:') as members:
    for member in members:
      path = _inside(member.name, archive)
      if member.issym():
        links[path] = posixpath.join(posixpath.dirname(path), member.linkname)
      elif member.islnk():
        links[path] = member.linkname
      elif member.isreg():
        files[path] = member
  for link, target in list(_aliases(links, files, archive)):
    files[link] = files[target]

  def read(member: tarfile.TarInfo) -> bytes:
    data = os.pread(reader.fileno(), member.size, member.offset_data)
    if len(data) != member.size:
      raise EOFError('the archive ends within it')
    return data

  return _archive_tree(archive, files, read)


def _plain(archive: Path, scratch: Path) -> IO[bytes]:
  """The archive, open for reading, its compression undone."""
  name = archive.name.lower()
  for suffix, decompress in DECOMPRESSORS.items():
    if name.endswith(suffix):
      scratch.mkdir(parents=True, exist_ok=True)
      with decompress(archive) as packed, contextlib.ExitStack() as stack:
        plain = stack.enter_context(tempfile.TemporaryFile(dir=scratch))
        try:
          shutil.copyfileobj(packed, plain, 2**20)
          plain.seek(0)
        except OSError as error:
          if is_full(error):
            raise UserError(
              f'The disk of {scratch} is full: {archive} is decompressed there.'
            ) from None
          raise
        stack.pop_all()  # it worked: the file stays open
      return plain
  return archive.open('rb')


def _archive_tree(archive: Path, files: Mapping, read: Callable[..., bytes]) -> Tree:
  paths = tuple(sorted(path for path in files if not _hidden(path)))
  return Tree(archive, lambda path: read(files[path]), paths)
