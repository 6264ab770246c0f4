"""Where the released datasets keep their pairs, and how many of them there are to be.

Every function here reads paths alone (and RealBlur's lists), so that a folder and an archive are
understood by the same code. A tree may lie a few folders below the place that the user named.
"""

import functools
import itertools
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from degrep_jax.common.errors import UserError
from degrep_jax.data.lists import Item, read_list
from degrep_jax.data.released.trees import Tree

FULL, SUB_PICTURES = PICTURES = ('full', 'sub512')  # what is made of a dataset; see the builders


@dataclass(frozen=True)
class Layout:
  """What a tree holds.

  Attributes:
    splits: pairs by split, in the order in which training counts them; no split is empty.
    missing: by split, names of pairs that the tree shows to be absent, the first one first.
    extra: paths that belong to no pair and to no part of the dataset that is known.
  """

  splits: Mapping[str, tuple[Item, ...]]
  missing: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
  extra: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
  """A released dataset.

  Attributes:
    name: as commands and configs call it.
    title: as its authors call it.
    counts: pairs by split.
    find: reads the layout of a tree; a Layout without splits where the tree is another.
    shape: the layout in words, for messages.
  """

  name: str
  title: str
  counts: Mapping[str, int]
  find: Callable[[Tree], Layout]
  shape: str


def read_layout(dataset: Dataset, tree: Tree) -> Layout:
  """The dataset's pairs in a tree; UserError where it has none, or halves of pairs."""
  layout = dataset.find(tree)
  if not layout.splits:
    raise UserError(f'No pairs of {dataset.title} in {tree.place}: it needs {dataset.shape}.')
  return layout


def count_warnings(dataset: Dataset, layout: Layout) -> Iterator[str]:
  """A sentence for each split that has not as many pairs as the dataset's authors released."""
  for split, expected in dataset.counts.items():
    found = len(layout.splits.get(split, ()))
    which = f'{dataset.title}: {split} has {found:,} of {expected:,} pairs'
    if found > expected:
      yield f'{which}, {found - expected:,} more than released.'
    elif found < expected:
      first = next(iter(layout.missing.get(split, ())), None)
      named = f'the first is {first}' if first else 'their names cannot be told from the others'
      yield f'{which}: {expected - found:,} are missing, {named}.'


def _one_root(roots: Iterable[str], tree: Tree) -> str:
  """The only folder that a dataset was found in; UserError where there are several."""
  roots = sorted(set(roots))
  if len(roots) > 1:
    first, second = (tree.locate(root) for root in roots[:2])
    raise UserError(f'The dataset is there twice, in {first} and in {second}: name one of them.')
  return roots[0]


# --- GoPro ---------------------------------------------------------------------------------------

SEQUENCES = {
  'train': (
    'GOPR0372_07_00',
    'GOPR0372_07_01',
    'GOPR0374_11_00',
    'GOPR0374_11_01',
    'GOPR0374_11_02',
    'GOPR0374_11_03',
    'GOPR0378_13_00',
    'GOPR0379_11_00',
    'GOPR0380_11_00',
    'GOPR0384_11_01',
    'GOPR0384_11_02',
    'GOPR0384_11_03',
    'GOPR0384_11_04',
    'GOPR0385_11_00',
    'GOPR0386_11_00',
    'GOPR0477_11_00',
    'GOPR0857_11_00',
    'GOPR0868_11_01',
    'GOPR0868_11_02',
    'GOPR0871_11_01',
    'GOPR0881_11_00',
    'GOPR0884_11_00',
  ),
  'test': (
    'GOPR0384_11_00',
    'GOPR0384_11_05',
    'GOPR0385_11_01',
    'GOPR0396_11_00',
    'GOPR0410_11_00',
    'GOPR0854_11_00',
    'GOPR0862_11_00',
    'GOPR0868_11_00',
    'GOPR0869_11_00',
    'GOPR0871_11_00',
    'GOPR0881_11_01',
  ),
}
_GOPRO = re.compile(r'((?:.+/)?)(train|test)/([^/]+)/(blur|blur_gamma|sharp)/([^/]+)\.png')


def find_gopro(tree: Tree) -> Layout:
  """{train,test}/<sequence>/{blur,blur_gamma,sharp}/NNNNNN.png; `blur_gamma` is never used."""
  found: dict[str, dict[str, str]] = {'blur': {}, 'sharp': {}, 'blur_gamma': {}}
  roots, extra = set(), []
  for path in tree.paths:
    if match := _GOPRO.fullmatch(path):
      root, split, sequence, kind, number = match.groups()
      found[kind][f'{split}/{sequence}/{number}'] = path
      roots.add(root)
    else:
      extra.append(path)
  if not found['blur'] and not found['sharp']:
    return Layout({})
  _one_root(roots, tree)
  _partners(found['blur'], found['sharp'], tree)
  _partners(found['sharp'], found['blur'], tree)
  splits: dict[str, list[Item]] = defaultdict(list)
  for name, blurry in sorted(found['blur'].items()):
    split, _, name_in_split = name.partition('/')
    splits[split].append(Item(name_in_split, blurry, found['sharp'][name]))
  missing = {split: tuple(_gaps(split, splits.get(split, ()))) for split in SEQUENCES}
  return Layout({split: tuple(items) for split, items in splits.items()}, missing, tuple(extra))


def _partners(files: Mapping[str, str], others: Mapping[str, str], tree: Tree) -> None:
  """Raises UserError where a file of one kind has none of the other kind."""
  for name, path in sorted(files.items()):
    if name not in others:
      raise UserError(
        f'{tree.locate(path)} has no partner of its name in the folder beside it: restore the '
        'partner, or remove the file.'
      )


def _gaps(split: str, items: Iterable[Item]) -> Iterator[str]:
  """Frames whose numbers are passed over within a sequence, and sequences that are not there."""
  numbers: dict[str, list[str]] = {sequence: [] for sequence in SEQUENCES[split]}
  for item in items:
    sequence, _, number = item.name.partition('/')
    numbers.setdefault(sequence, []).append(number)
  for sequence, present in sorted(numbers.items()):
    if not present:
      yield sequence
    elif all(number.isdecimal() for number in present):
      for number, following in itertools.pairwise(present):
        for absent in range(int(number) + 1, int(following)):
          yield f'{sequence}/{absent:0{len(number)}}'


# --- HIDE ----------------------------------------------------------------------------------------

_HIDE = re.compile(r'((?:.+/)?)(train|test|GT)/(.+)\.png')


def find_hide(tree: Tree) -> Layout:
  """{train,test/test-close-ups,test/test-long-shot}/NAME.png, sharp pictures of all in GT/NAME.png.

  Some copies have `NAME.MP4.png` beside GT/NAME.png. Sharp pictures without a blurry one are no
  error: most copies hold the test pictures alone.
  """
  tops = {match[1] for path in tree.paths if (match := _HIDE.fullmatch(path)) and match[2] == 'GT'}
  if not tops:
    return Layout({})
  root = _one_root(tops, tree)
  splits: dict[str, list[Item]] = defaultdict(list)
  blurry: list[tuple[str, str, str]] = []
  sharp: dict[str, str] = {}
  extra = []
  for path in tree.paths:
    match = _HIDE.fullmatch(path.removeprefix(root)) if path.startswith(root) else None
    if match and not match[1] and match[2] == 'GT' and '/' not in match[3]:
      sharp[match[3]] = path
    elif match and not match[1] and match[2] != 'GT':
      blurry.append((match[2], match[3], path))
    else:
      extra.append(path)
  used = set()
  for split, name, path in sorted(blurry):
    file = posixpath.basename(name)
    partner = next((stem for stem in (file, file.removesuffix('.MP4')) if stem in sharp), None)
    if partner is None:
      raise UserError(
        f'{tree.locate(path)} has no sharp partner in {tree.locate(root + "GT")}: restore the '
        'partner, or remove the file.'
      )
    used.add(partner)
    splits[split].append(Item(name, path, sharp[partner]))
  # Which split a blurry picture is missing from is plain where only one is short.
  counts = DATASETS['hide'].counts
  short = [split for split, count in counts.items() if len(splits[split]) < count]
  missing = {short[0]: tuple(sorted(sharp.keys() - used))} if len(short) == 1 else {}
  pairs = {split: tuple(items) for split, items in splits.items() if items}
  return Layout(pairs, missing, tuple(extra))


# --- RealBlur ------------------------------------------------------------------------------------


def find_realblur(tree: Tree, camera: str) -> Layout:
  """RealBlur_<camera>_{train,test}_list.txt, a sharp and a blurry path per line, seen from there.

  camera: J (the camera's JPEG) or R (raw, developed by the authors).
  """
  lists = {split: f'RealBlur_{camera}_{split}_list.txt' for split in ('train', 'test')}
  roots = {
    path.removesuffix(name)
    for path in tree.paths
    for name in lists.values()
    if path == name or path.endswith(f'/{name}')
  }
  if not roots:
    return Layout({})
  root, there = _one_root(roots, tree), frozenset(tree.paths)
  splits: dict[str, tuple[Item, ...]] = {}
  missing: dict[str, tuple[str, ...]] = {}
  listed: set[str] = set()
  for split, file in lists.items():
    if root + file not in there:
      continue
    items, absent = [], []
    for item in read_list(tree.read(root + file), tree.locate(root + file), root):
      listed |= {item.blurry, item.sharp}
      for one, other in ((item.blurry, item.sharp), (item.sharp, item.blurry)):
        if one in there and other not in there:
          raise UserError(
            f'{tree.locate(one)} has no partner {tree.locate(other)}: restore the partner, or '
            'remove the file.'
          )
      if item.blurry in there:
        items.append(item)
      else:
        absent.append(item.name)
    missing[split] = tuple(absent)
    if items:
      splits[split] = tuple(items)
  folders = {path.removeprefix(root).split('/')[0] for path in listed}
  extra = tuple(
    path
    for path in tree.paths
    if path.startswith(root) and path not in listed and path[len(root) :].split('/')[0] in folders
  )
  return Layout(splits, missing, extra)


# --- all of them ---------------------------------------------------------------------------------

DATASETS = {
  dataset.name: dataset
  for dataset in (
    Dataset(
      name='gopro',
      title='GoPro',
      counts={'train': 2103, 'test': 1111},
      find=find_gopro,
      shape='{train,test}/<sequence>/{blur,sharp}/NNNNNN.png',
    ),
    Dataset(
      name='hide',
      title='HIDE',
      counts={'train': 6397, 'test': 2025},
      find=find_hide,
      shape='{train,test/test-close-ups,test/test-long-shot}/*.png and GT/*.png',
    ),
    *(
      Dataset(
        name=f'realblur_{camera.lower()}',
        title=f'RealBlur-{camera}',
        counts={'train': 3758, 'test': 980},
        find=functools.partial(find_realblur, camera=camera),
        shape=f'RealBlur_{camera}_train_list.txt and RealBlur_{camera}_test_list.txt beside the '
        'folders that their lines name',
      )
      for camera in 'JR'
    ),
  )
}
