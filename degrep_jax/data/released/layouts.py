"""Where the released datasets keep their pairs, and how many of them there are to be.

Every function here reads paths alone (and RealBlur's lists), so that a folder and an archive are
understood by the same code. A tree may lie a few folders below the place that the user named.
Besides the authors' layouts there is that of the copies which most programs ask for (splits.py).
"""

import functools
import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from degrep_jax.common.errors import UserError
from degrep_jax.data.lists import Item, read_list
from degrep_jax.data.released.splits import Splits, find_splits, one_root
from degrep_jax.data.released.trees import Tree

FULL, SUB_PICTURES = PICTURES = ('full', 'sub512')  # what is made of a dataset; see the builders
PART = re.compile(r'_s\d+$')  # ends the name of a sub-picture, as BasicSR counts them


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

  @property
  def is_cut(self) -> bool:
    """Whether the training pictures are sub-pictures."""
    return any(PART.search(item.name) for item in self.splits.get('train', ()))


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
  for split in dataset.counts:
    names = [item.name for item in layout.splits.get(split, ())]
    yield from _count_warning(dataset, split, names, layout.missing.get(split, ()))


def _count_warning(
  dataset: Dataset, split: str, names: Iterable[str], missing: Iterable[str]
) -> Iterator[str]:
  """A sentence where a split has not as many pairs as released, sub-pictures counted as one.

  missing: names of pairs that are not there, as far as that can be told, the first one first.
  """
  found, expected = len({PART.sub('', name) for name in names}), dataset.counts[split]
  which = f'{dataset.title}: {split} has {found:,} of {expected:,} pairs'
  if found > expected:
    yield f'{which}, {found - expected:,} more than released.'
  elif found < expected:
    first = next(iter(missing), None)
    told = f'the first is {first}' if first else 'their names cannot be told from the others'
    yield f'{which}: {expected - found:,} are missing, {told}.'


def told_by_names(names: Iterable[str], split: str) -> Iterator[str]:
  """`count_warnings` of a split where the names of its pairs are those of GoPro or HIDE alone."""
  names = tuple(names)
  frames = [_GOPRO_FRAME.fullmatch(name) for name in names]
  if {posixpath.basename(frame[1]) if frame else '' for frame in frames} <= {
    *SEQUENCES.get(split, ())
  }:
    yield from _count_warning(DATASETS['gopro'], split, names, _gaps(split, names))
  elif all(_HIDE_FRAME.fullmatch(name) for name in names):
    yield from _count_warning(DATASETS['hide'], split, names, ())


def _layout(splits: Splits, missing: Mapping[str, Iterable[str]]) -> Layout:
  return Layout(
    {split: tuple(Item(*pair) for pair in pairs) for split, pairs in splits.pairs.items()},
    {split: tuple(names) for split, names in missing.items()},
    splits.extra,
  )


# --- GoPro ---------------------------------------------------------------------------------------

# First and last frame of each sequence; none between is missing. Source: the lists of pairs in
# datas/GoPro of github.com/HongguangZhang/DMPHN-cvpr19-master.
SEQUENCES = {
  'train': {
    'GOPR0372_07_00': (47, 146),
    'GOPR0372_07_01': (601, 675),
    'GOPR0374_11_00': (1, 150),
    'GOPR0374_11_01': (203, 282),
    'GOPR0374_11_02': (541, 640),
    'GOPR0374_11_03': (2481, 2528),
    'GOPR0378_13_00': (41, 150),
    'GOPR0379_11_00': (188, 287),
    'GOPR0380_11_00': (134, 193),
    'GOPR0384_11_01': (951, 1050),
    'GOPR0384_11_02': (1301, 1400),
    'GOPR0384_11_03': (2101, 2200),
    'GOPR0384_11_04': (2801, 2900),
    'GOPR0385_11_00': (101, 200),
    'GOPR0386_11_00': (247, 346),
    'GOPR0477_11_00': (1, 80),
    'GOPR0857_11_00': (1, 100),
    'GOPR0868_11_01': (221, 320),
    'GOPR0868_11_02': (681, 780),
    'GOPR0871_11_01': (181, 280),
    'GOPR0881_11_00': (1, 100),
    'GOPR0884_11_00': (186, 285),
  },
  'test': {
    'GOPR0384_11_00': (1, 100),
    'GOPR0384_11_05': (4001, 4100),
    'GOPR0385_11_01': (3011, 3110),
    'GOPR0396_11_00': (1, 100),
    'GOPR0410_11_00': (101, 234),
    'GOPR0854_11_00': (1, 100),
    'GOPR0862_11_00': (1, 77),
    'GOPR0868_11_00': (1, 100),
    'GOPR0869_11_00': (1, 100),
    'GOPR0871_11_00': (1, 100),
    'GOPR0881_11_01': (201, 300),
  },
}
# A frame of a sequence, by folders or where those of all sequences lie in one, cut or whole.
_GOPRO_FRAME = re.compile(r'(.+)[/-](\d+)(?:_s\d+)?')


def find_gopro(tree: Tree) -> Layout:
  """{train,test}/<sequence>/{blur,blur_gamma,sharp}/NNNNNN.png; `blur_gamma` is never used. Or
  {train,test}/{input,target}/<sequence>-NNNNNN.png."""
  splits = find_splits('gopro', tree, _GOPRO_FRAME)
  splits.require_partners(tree)
  names = {split: [name for name, *_ in splits.pairs.get(split, ())] for split in SEQUENCES}
  return _layout(splits, {split: _gaps(split, of_split) for split, of_split in names.items()})


def _gaps(split: str, names: Iterable[str]) -> Iterator[str]:
  """Released frames that are not among the names, in order; of a sequence without any its name."""
  # Sequence to {number: (what stands before it, its digits)}.
  found: dict[str, dict[int, tuple[str, int]]] = defaultdict(dict)
  for name in names:
    if match := _GOPRO_FRAME.fullmatch(name):
      about = name[: match.start(2)], len(match[2])
      found[posixpath.basename(match[1])][int(match[2])] = about
  for sequence, (first, last) in SEQUENCES[split].items():
    present = found.get(sequence, {})
    if not present:
      yield sequence
      continue
    before, digits = next(iter(present.values()))
    for number in range(first, last + 1):
      if number not in present:
        yield f'{before}{number:0{digits}}'


# --- HIDE ----------------------------------------------------------------------------------------

_HIDE = re.compile(r'((?:.+/)?)(train|test|GT)/(.+)\.png')
_HIDE_FRAME = re.compile(r'(?:.+/)?\d+from\w+(?:\.MP4)?(?:_s\d+)?')


def find_hide(tree: Tree) -> Layout:
  """{train,test/test-close-ups,test/test-long-shot}/NAME.png, sharp pictures of all in GT/NAME.png;
  or {train,test}/{input,target}/NAME.png, of the test pictures without test/, too.

  Some copies have `NAME.MP4.png` beside GT/NAME.png. Sharp pictures without a blurry one are no
  error: most copies hold the test pictures alone.
  """
  found = [match for path in tree.paths if (match := _HIDE.fullmatch(path))]
  # A copy may have GT/ beside its blurry pictures' folder, below train/ and test/.
  tops = {of[1] for of in found if of[2] == 'GT'} & {of[1] for of in found if of[2] != 'GT'}
  if not tops:
    copy = find_splits('hide', tree, _HIDE_FRAME, default='test')
    names = {
      split: [posixpath.splitext(posixpath.basename(path))[0] for path in alone]
      for split, alone in copy.alone.items()
    }
    return _layout(copy, names)
  root = one_root(tops, tree)
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
  Or {train,test}/{input,target}/*.png in a folder that is called by the camera, of the test
  pictures without test/, too.

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
    copy = find_splits(f'realblur_{camera.lower()}', tree, None, default='test')
    copy.require_partners(tree)
    return _layout(copy, {})
  root, there = one_root(roots, tree), frozenset(tree.paths)
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
      shape='{train,test}/<sequence>/{blur,sharp}/NNNNNN.png, or <sequence>-NNNNNN.png in '
      '{train,test}/{input,target}',
    ),
    Dataset(
      name='hide',
      title='HIDE',
      counts={'train': 6397, 'test': 2025},
      find=find_hide,
      shape='{train,test/test-close-ups,test/test-long-shot}/*.png and GT/*.png, or input/*.png '
      'and target/*.png',
    ),
    *(
      Dataset(
        name=f'realblur_{camera.lower()}',
        title=f'RealBlur-{camera}',
        counts={'train': 3758, 'test': 980},
        find=functools.partial(find_realblur, camera=camera),
        shape=f'RealBlur_{camera}_train_list.txt and RealBlur_{camera}_test_list.txt beside the '
        f'folders that their lines name, or input/*.png and target/*.png in RealBlur_{camera}',
      )
      for camera in 'JR'
    ),
  )
}
