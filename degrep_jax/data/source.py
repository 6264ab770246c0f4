"""From `config.data`, or a name on the command line, to a source of pairs."""

import itertools
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import ml_collections
import numpy as np

from degrep_jax.common import console
from degrep_jax.common.errors import UserError
from degrep_jax.data import mixture
from degrep_jax.data.pairs import FilePairs, FolderPairs, ListPairs, Source, has_splits
from degrep_jax.data.released.checks import seems_exchanged
from degrep_jax.data.released.layouts import DATASETS, FULL, read_layout, told_by_names
from degrep_jax.data.released.splits import SPLITS, called
from degrep_jax.data.released.trees import is_archive, open_tree
from degrep_jax.data.synthetic.pairs import Blur, SyntheticPairs
from degrep_jax.data.synthetic.photographs import PhotographPairs, split_files
from degrep_jax.data.synthetic.shots import PhotoBlur, read_kernels

HELD_OUT_SEED = 0  # the held-out pictures are the same whatever the seed of the training
LIST = re.compile(r'(.+)_(train|test)_list\.txt')


def _camera(data: ml_collections.ConfigDict) -> dict[str, Any]:
  """What both kinds of synthetic blur take of `config.data`."""
  return {
    'shake': data.shake,
    'rotation': data.rotation,
    'object_motion': data.object_motion,
    'sub_frames': data.sub_frames,
    'noise': data.noise,
    'rest': data.rest,
  }


def open_synthetic(data: ml_collections.ConfigDict, split: str, variants: int) -> SyntheticPairs:
  """The embedded photographs of a split, or those of `config.data.photographs`, each under
  `variants` fixed blurs, as `config.data` has them blurred.

  Raises:
    UserError: a field of `config.data` that is unfit, or photographs that cannot be used.
  """
  blur = Blur(**_camera(data))
  smallest = data.crop if split == 'train' else 0
  photos: list[tuple[str, pathlib.Path]] = []
  if data.photographs:
    root, rule = pathlib.Path(data.photographs), (data.held_out_share, data.held_out_list)
    photos = split_files(root, split, *rule)
  return SyntheticPairs(split, blur, variants, HELD_OUT_SEED, smallest, data.scene, photos)


def open_photographs(
  data: ml_collections.ConfigDict, split: str, variants: int, place: str = 'config.data'
) -> PhotographPairs:
  """The photographs of a split in `config.data.root`, blurred as `config.data` has it. A folder
  `config.data.eval_root` that is not divided is held out whole. Messages call `data` `place`.

  Raises:
    UserError: a field of `config.data` that is unfit, or photographs that cannot be used.
  """
  train = split == 'train'
  _require_apart(data, place)
  blur = PhotoBlur(
    **_camera(data),
    display=data.display_share,
    kernels=read_kernels(data.kernels) if data.kernels else (),
  )
  apart = not train and data.eval_root
  return PhotographPairs(
    data.eval_root if apart else data.root,
    split,
    blur,
    variants=variants,
    seed=HELD_OUT_SEED,
    sharp=data.sharp_share,
    flat=data.flat_share,
    reference=data.reference_share,
    held_out=1.0 if apart else data.held_out_share,
    held_out_list='' if apart else data.held_out_list,
    scene=0 if train else data.scene,
    min_size=data.crop if train else 0,
    defer_errors=train and data.on_error == 'skip',
  )


def open_mixture(data: ml_collections.ConfigDict, split: str) -> Source:
  """The parts of `config.data.parts` in their shares for training; all their held-out pairs."""
  parts = mixture.parts_of(data)
  if split != 'train':
    return mixture.joined(
      {
        name: open_source(part, split, f'config.data.parts.{name}')
        for name, part in parts.items()
        if part.evaluate
      }
    )
  _require_parts_apart(parts)
  weights = {name: part.weight for name, part in parts.items() if part.weight}
  sources = {name: open_source(parts[name], split, f'config.data.parts.{name}') for name in weights}
  source = mixture.mixed(sources, weights)
  console.say(f'Training on {mixture.shares(sources, source)}.')
  return source


def open_source(data: ml_collections.ConfigDict, split: str, place: str = 'config.data') -> Source:
  """The training pairs ('train') or the held-out ones ('test') that `config.data` names.

  Args:
    data: as `config.data`, or a part of a mixture as `mixture.parts_of` gives it.
    split: of the two.
    place: what messages call `data`.

  Raises:
    UserError: pictures that cannot be used; the message names the file or field.
  """
  train = split == 'train'
  if data.source == 'synthetic':
    return open_synthetic(data, split, 1 if train else data.eval_variants)
  if data.source == 'photos':
    return open_photographs(data, split, 1 if train else data.eval_variants, place)
  if data.source == 'mixture':
    return open_mixture(data, split)
  root = pathlib.Path(data.root if train else data.eval_root or data.root)
  # Of pictures that are scored once in a while nothing is kept.
  limits = {'min_size': data.crop, 'shrink': data.shrink} if train else {'cache_bytes': 0}
  if data.source == 'tfds':
    from degrep_jax.data.builders.read import PreparedPairs  # TFDS comes with it

    return PreparedPairs(root, data.name, split, data.pictures if train else FULL, **limits)
  skip = train and data.on_error == 'skip'
  limits['defer_errors'] = skip
  if data.source == 'list':
    return _looked_at(ListPairs(root, data.list_name, split, **limits), root, split, skip)
  if not train and not data.eval_root and not has_splits(root):
    raise UserError(
      f'{root} has neither train/ nor test/, so that the training pictures would be scored: name '
      f'the folder of held-out pairs in {place}.eval_root.'
    )
  if not train:
    source = _open_held_out(root, split)
  else:
    source = _looked_at(_open_folder(root, split, data.pictures, **limits), root, split, skip)
  _require_apart(data, place)
  return source


def _require_apart(data: ml_collections.ConfigDict, place: str) -> None:
  """Raises UserError where the held-out pictures lie among those that are trained on."""
  if not data.root or not data.eval_root:
    return
  if _overlap(_folder(data, 'train'), _folder(data, 'test')):
    raise UserError(
      f'The held-out pictures of {place}.eval_root, {data.eval_root}, lie among those of '
      f'{place}.root, {data.root}, which are trained on: move them out of it.'
    )


def _require_parts_apart(parts: Mapping[str, ml_collections.ConfigDict]) -> None:
  """Raises UserError where one part trains on pictures that another holds out. What lists tell
  apart, and two parts that divide the same photographs alike, are left to them."""
  for (held, tested), (name, trained) in itertools.permutations(parts.items(), 2):
    if not (tested.evaluate and trained.weight):
      continue
    sources = {tested.source, trained.source}
    folders = _folder(tested, 'test'), _folder(trained, 'train')
    alike = (
      folders[0] == folders[1]
      and tested.held_out_share == trained.held_out_share
      and tested.held_out_list == trained.held_out_list
    )
    divided = sources <= {'photos', 'synthetic'} and alike and not tested.eval_root
    if sources != {'list'} and not divided and _overlap(*folders):
      raise UserError(
        f'config.data.parts.{name} trains on pictures in {folders[1]}, config.data.parts.{held} '
        f'holds out pictures in {folders[0]}: keep these in folders apart, or set '
        f'config.data.parts.{held}.evaluate=False.'
      )


def _folder(data: ml_collections.ConfigDict, split: str) -> pathlib.Path | None:
  """Where the pictures of a split lie, links resolved; None where they are none of a folder."""
  place = data.photographs if data.source == 'synthetic' else data.root
  if split == 'test':
    place = data.eval_root or place
  if data.source == 'tfds' or not place:
    return None
  root = pathlib.Path(place)
  divided = data.source != 'list' and has_splits(root)
  return pathlib.Path(os.path.realpath(root / split if divided else root))


def _overlap(one: pathlib.Path | None, other: pathlib.Path | None) -> bool:
  if one is None or other is None:
    return False
  return one.is_relative_to(other) or other.is_relative_to(one)


def _open_folder(root: pathlib.Path, split: str, pictures: str = FULL, **limits: Any) -> FilePairs:
  """Folders of pairs, or HIDE as released.

  Raises:
    UserError: lists lie there, which tell training pairs from held-out ones, or as `FolderPairs`.
  """
  places = (root, root.parent) if called(root.name).startswith('realblur') else (root,)
  for path in sorted(path for place in places for path in place.glob('*_list.txt')):
    if match := _list(path):
      raise UserError(
        f'{path} tells the pairs to train on from the others: set config.data.source=list and '
        f'config.data.list_name={match[1]}, or name the list to degrep evaluate.'
      )
  if pictures != FULL or not ((root / 'GT').is_dir() and has_splits(root)):
    return FolderPairs(root, split, pictures, **limits)
  with open_tree(root, scratch=root) as tree:
    items = read_layout(DATASETS['hide'], tree).splits.get(split)
  if not items:
    raise UserError(f'{root} has no {split} pairs.')
  return FilePairs([(item.name, root / item.blurry, root / item.sharp) for item in items], **limits)


def _open_held_out(root: pathlib.Path, split: str) -> Source:
  """The pairs of one dataset in a folder, nothing of which is kept."""
  source = _open_folder(root, split, cache_bytes=0)
  _require_one_set(source, root / split if has_splits(root) else root)
  return _looked_at(source, root, split)


def _looked_at(
  source: Source, place: pathlib.Path, split: str, skip_damaged: bool = False
) -> Source:
  """The source, after warnings of what seems to be wrong with it: pairs that are missing, and
  blurry and sharp pictures that seem to be exchanged (not where a damaged picture may be passed
  over and is among those looked at)."""
  if alone := getattr(source, 'alone', ()):
    console.say(
      f'Warning: {alone[0]} has no blurry partner; {len(alone):,} sharp pictures of {place} have '
      'none and are passed over.'
    )
  _warn_of_missing(source, split)

  def read(number: int) -> tuple[np.ndarray, np.ndarray]:
    pair = source.pair(number)
    return pair.blurry, pair.sharp

  try:
    exchanged = seems_exchanged(len(source), read)
  except UserError:
    if not skip_damaged:
      raise
    exchanged = False
  if exchanged:
    console.say(
      f'Warning: in {place} the blurry pictures are sharper than the sharp ones: were the two '
      'exchanged?'
    )
  return source


def _warn_of_missing(source: Source, split: str) -> None:
  for sentence in told_by_names(source.names, split):
    console.say(f'Warning: {sentence}')


def open_pairs(
  name_or_folder: str | os.PathLike,
  data_dir: str | os.PathLike | None = None,
  split: str = 'test',
) -> Source:
  """Whole pairs to be looked at or scored, each once.

  Args:
    name_or_folder: the name of a dataset prepared in `data_dir`; or a folder of pairs, as
      `FolderPairs` reads them; or the folder of GoPro, HIDE or RealBlur as released; or one of
      RealBlur's lists.
    data_dir: the folder that `degrep prepare` wrote to. With it `name_or_folder` is a name.
    split: 'train' or 'test'; a folder without such parts, and a list, are taken whole.

  Raises:
    UserError: nothing that can be used there; the message names the file.
  """
  if data_dir is not None:
    from degrep_jax.data.builders.read import PreparedPairs

    source = PreparedPairs(data_dir, str(name_or_folder), split, cache_bytes=0)
    _warn_of_missing(source, split)
    return source
  path = pathlib.Path(name_or_folder)
  if path.is_file():
    return _open_list(path)
  if not path.is_dir():
    if str(name_or_folder) in DATASETS:
      raise UserError(
        f'{name_or_folder} is a prepared dataset: name the folder that holds it by --data_dir.'
      )
    raise UserError(f'{path} is neither a folder nor a dataset ({", ".join(DATASETS)}).')
  lists = sorted(path.glob(f'*_{split}_list.txt'))
  if len(lists) > 1:
    raise UserError(f'{path} holds several lists of pairs: name one of them, such as {lists[0]}.')
  if lists:
    return _open_list(lists[0])
  return _open_held_out(path, split)


def _require_one_set(source: Source, path: pathlib.Path) -> None:
  """Raises UserError where what lies in a folder is several datasets, or train/ and test/ lie
  deeper in it: their pairs would be scored as one."""
  sets: dict[str, pathlib.Path] = {}
  for name in source.names:
    *folders, _ = pathlib.PurePosixPath(name).parts
    for place, folder in enumerate(folders):
      if folder.lower() in SPLITS:
        whole = path.joinpath(*folders[:place])
        raise UserError(f'{path} holds several sets of pairs: name one of them, such as {whole}.')
      if dataset := called(folder):
        sets.setdefault(dataset, path.joinpath(*folders[: place + 1]))
  if len(sets) > 1:
    first, second, *_ = sets.values()
    raise UserError(
      f'{path} holds several sets of pairs, {first} and {second} among them: name one of them.'
    )


def _list(path: pathlib.Path) -> re.Match | None:
  """(name of a list of pairs, split) where a file is called as one."""
  return LIST.fullmatch(path.name)


def _open_list(path: pathlib.Path) -> Source:
  if is_archive(path):
    raise UserError(f'{path} is an archive: unpack it, or run degrep prepare and use --data_dir.')
  match = _list(path)
  if not match:
    raise UserError(f'{path} is no list of pairs: these end in _train_list.txt or _test_list.txt.')
  return _looked_at(ListPairs(path.parent, match[1], match[2], cache_bytes=0), path, match[2])
