"""A dataset in folders side by side below train/ and test/: its authors' layout, or that of the
copies {train,test}/{input,target}/*.png which most programs ask for."""

import itertools
import posixpath
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from degrep_jax.common.errors import UserError
from degrep_jax.data import folders
from degrep_jax.data.released.trees import Tree

SPLITS = ('train', 'test')
# What people call a folder of a dataset.
CALLED = {
  'gopro': re.compile(r'gopro.*', re.IGNORECASE),
  'hide': re.compile(r'hide(?:[-_]dataset)?', re.IGNORECASE),
  'realblur_j': re.compile(r'realblur[-_]?j(?:[-_].*)?', re.IGNORECASE),
  'realblur_r': re.compile(r'realblur[-_]?r(?:[-_].*)?', re.IGNORECASE),
}


@dataclass(frozen=True)
class Splits:
  """Pairs by split.

  Attributes:
    pairs: (name, blurry file, sharp file), sorted by name; no split is empty.
    alone: sharp files without a blurry partner.
    extra: files that are none of these, nor in `blur_gamma`.
  """

  pairs: dict[str, list[tuple[str, str, str]]]
  alone: dict[str, tuple[str, ...]]
  extra: tuple[str, ...]

  def require_partners(self, tree: Tree) -> None:
    """Raises UserError where there are sharp files without a blurry partner."""
    if alone := [path for paths in self.alone.values() for path in paths]:
      raise UserError(
        f'{tree.locate(alone[0])} has no blurry partner; {len(alone):,} sharp pictures have none: '
        'restore the partners, or remove the files.'
      )


def called(folder: str) -> str:
  """The dataset that a folder is called by, '' for none."""
  return next((name for name, known in CALLED.items() if known.fullmatch(folder)), '')


def find_splits(name: str, tree: Tree, frame: re.Pattern | None, default: str = '') -> Splits:
  """A dataset's pairs, which may lie a few folders below the tree's top.

  Args:
    name: of the dataset. What lies in a folder that is called by another one is not looked at.
    tree: where to look.
    frame: what names of pairs look like; None where all that tells them is how a folder is called.
    default: split of what lies neither below train/ nor below test/; '' leaves it out.

  Raises:
    UserError: the dataset is there twice, or as `folders.find_pairs`.
  """
  place = tree.place.absolute()
  known = {called(part) for part in (*place.parts, place.name.split('.')[0])}
  files: dict[str, list[str]] = defaultdict(list)
  roots: set[str] = set()
  tops: dict[str, str] = {}
  extra: list[str] = []
  for path in tree.paths:
    around, _, within = folders.split(path) or ('', '', '')
    parts = around.split('/') if around else []
    level = max((at for at, part in enumerate(parts, 1) if part in SPLITS), default=0)
    split = parts[level - 1] if level else default
    pair = posixpath.splitext(posixpath.join(*parts[level:], within))[0]
    names = {called(part) for part in parts} - {''}
    ours = frame.fullmatch(pair) if frame else name in names | known
    if within and split and ours and names <= {name} and path.endswith('.png'):
      files[split].append(path)
      tops[split] = ''.join(f'{part}/' for part in parts[:level])
      roots.add(''.join(f'{part}/' for part in (parts[: level - 1] if level else parts)))
    else:
      extra.append(path)
  pairs: dict[str, list[tuple[str, str, str]]] = {}
  alone: dict[str, tuple[str, ...]] = {}
  if files:
    one_root(roots, tree)
  for split, paths in files.items():
    found = _below(tops[split], paths, tree)
    alone[split] = found.alone
    pairs[split] = [(_without(name, pair), blurry, sharp) for pair, blurry, sharp in found.pairs]
    used = {*found.alone, *(path for _, *two in found.pairs for path in two)}
    extra += [path for path in paths if path not in used and not folders.is_gamma(path)]
  found_pairs = {split: of_split for split, of_split in pairs.items() if of_split}
  return Splits(found_pairs, alone, tuple(sorted(extra)))


def one_root(roots: Iterable[str], tree: Tree) -> str:
  """The only folder that a dataset was found in; UserError where there are several."""
  roots = sorted(set(roots))
  if len(roots) > 1:
    first, second = (tree.locate(root) for root in roots[:2])
    raise UserError(f'The dataset is there twice, in {first} and in {second}: name one of them.')
  return roots[0]


def _below(top: str, paths: Iterable[str], tree: Tree) -> folders.Found:
  """The pairs of a split, named from the folder `top` of the tree."""
  found = folders.find_pairs(
    [path.removeprefix(top) for path in paths], lambda path: tree.locate(top + path)
  )
  pairs = tuple((name, top + blurry, top + sharp) for name, blurry, sharp in found.pairs)
  return folders.Found(pairs, tuple(top + path for path in found.alone))


def _without(name: str, pair: str) -> str:
  """The name of a pair without leading folders that are called by the dataset `name`."""
  *inside, file = pair.split('/')
  return '/'.join([*itertools.dropwhile(lambda part: called(part) == name, inside), file])
