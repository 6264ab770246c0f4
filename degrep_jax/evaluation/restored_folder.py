"""Pictures that any program has restored, found by the names of the pairs that they belong to."""

import collections
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from degrep_jax.common.console import listed
from degrep_jax.common.errors import UserError
from degrep_jax.data.folders import ROLES, SUFFIXES, role
from degrep_jax.data.released.trees import open_tree


def find_pictures(root: str | os.PathLike[str]) -> list[Path]:
  """All picture files below a folder, at any depth, sorted; hidden ones, and what is in hidden
  folders, are left out. Links are followed.

  Raises:
    UserError: no such folder, or nothing in it.
  """
  root = Path(root)
  if not root.is_dir():
    raise UserError(f'there is no folder {root}: name one that holds pictures.')
  with open_tree(root, scratch=root) as tree:
    found = sorted(root / path for path in tree.paths if Path(path).suffix.lower() in SUFFIXES)
  if not found:
    raise UserError(f'{root} holds no pictures: {", ".join(SUFFIXES)} are read.')
  return found


def match_pictures(root: str | os.PathLike[str], names: Sequence[str]) -> list[Path]:
  """The restored picture of every pair.

  A file belongs to the pair `a/b/000001` by its path (`b/000001.png`, `results/a/b/000001.png`;
  folders such as blur/ and target/, which tell one half of a pair from the other, are not counted)
  or by a flat name (`b_000001.png`, `a-b-000001.png`), as far as both tell. Where it is the pair
  that has a flat name, `b-000001`, `b/000001.png` is its file. The longest common path decides.

  Args:
    root: folder of the restored pictures, searched at any depth.
    names: of the pairs; folders with '/', no suffix.

  Returns:
    A file per name. Files of no pair are left out.

  Raises:
    UserError: no folder, pairs without a file (some named), a pair that several files fit, or a
      file that fits several pairs.
  """
  root = Path(root)
  files = collections.defaultdict(list)
  for path in find_pictures(root):
    for flat, above in _flat_names(path.relative_to(root).with_suffix('')):
      files[flat].append((path, above))
  found, missing = [], []
  for name in names:
    folders = _parts(PurePosixPath(name))[:-1]
    fitting: dict[Path, int] = {}  # to the length of the path in common
    for flat, own in _flat_names(PurePosixPath(name)):
      for path, above in files.get(flat, ()):
        common = _common(above, own)
        if common == min(len(above), len(own)):
          length = common + len(folders) - len(own)
          fitting[path] = max(length, fitting.get(path, 0))
    longest = max(fitting.values(), default=0)
    best = [path for path, length in fitting.items() if length == longest]
    if len(best) > 1:
      raise UserError(f'{listed(best)} all fit {name}: keep one of them.')
    found += best
    missing += [] if best else [name]
  if missing:
    raise UserError(
      f'{root} lacks {len(missing)} of {len(names)} restored pictures: {listed(missing)}.'
    )
  twice = [path for path, count in collections.Counter(found).items() if count > 1]
  if twice:
    raise UserError(
      f'{twice[0]} fits several pairs: lay the restored pictures in folders as the pairs are, for '
      f'instance {root / names[0]}.png.'
    )
  return found


def _flat_names(path: PurePosixPath | Path) -> Iterator[tuple[str, tuple[str, ...]]]:
  """(name, folders above) of a path without suffix, and of what it is where the folders next to the
  name become part of it."""
  *folders, stem = _parts(path)
  yield stem, tuple(folders)
  for count in range(1, len(folders) + 1):
    for separator in '_-':
      flat = separator.join((*folders[-count:], stem))
      yield flat, tuple(folders[:-count])


def _parts(path: PurePosixPath | Path) -> tuple[str, ...]:
  """The folders of a path that tell one pair from another, and its last part."""
  return (*(part for part in path.parts[:-1] if role(part) not in ROLES), path.parts[-1])


def _common(a: Sequence[str], b: Sequence[str]) -> int:
  """Parts that two paths share at their ends."""
  count = 0
  for one, other in zip(reversed(a), reversed(b), strict=False):
    if one != other:
      break
    count += 1
  return count
