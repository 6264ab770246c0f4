"""From `config.data`, or a name on the command line, to a source of pairs."""

import os
import pathlib
import re

import ml_collections
import numpy as np

from degrep_jax.common import console
from degrep_jax.common.errors import UserError
from degrep_jax.data import mixture
from degrep_jax.data.pairs import SPLITS, FilePairs, FolderPairs, ListPairs, Source, has_splits
from degrep_jax.data.released.checks import seems_exchanged
from degrep_jax.data.released.layouts import DATASETS, read_layout
from degrep_jax.data.released.trees import is_archive, open_tree
from degrep_jax.data.synthetic.pairs import Blur, SyntheticPairs
from degrep_jax.data.synthetic.photographs import PhotographPairs
from degrep_jax.data.synthetic.shots import PhotoBlur, read_kernels

HELD_OUT_SEED = 0  # the held-out pictures are the same whatever the seed of the training
LIST = re.compile(r'(.+)_(train|test)_list\.txt')


def open_synthetic(data: ml_collections.ConfigDict, split: str, variants: int) -> SyntheticPairs:
  """The embedded photographs of a split, each under `variants` fixed blurs, as `config.data` has
  them blurred.

  Raises:
    UserError: a field of `config.data` that is unfit.
  """
  blur = Blur(
    shake=data.shake,
    rotation=data.rotation,
    object_motion=data.object_motion,
    sub_frames=data.sub_frames,
    noise=data.noise,
    rest=data.rest,
  )
  smallest = data.crop if split == 'train' else 0
  return SyntheticPairs(split, blur, variants, HELD_OUT_SEED, smallest, data.scene)


def open_photographs(data: ml_collections.ConfigDict, split: str, variants: int) -> PhotographPairs:
  """The photographs of a split in `config.data.root`, blurred as `config.data` has it. A folder
  `config.data.eval_root` that is not divided is held out whole.

  Raises:
    UserError: a field of `config.data` that is unfit, or photographs that cannot be used.
  """
  train = split == 'train'
  blur = PhotoBlur(
    shake=data.shake,
    rotation=data.rotation,
    object_motion=data.object_motion,
    sub_frames=data.sub_frames,
    noise=data.noise,
    rest=data.rest,
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
      {name: open_source(part, split) for name, part in parts.items() if part.evaluate}
    )
  weights = {name: part.weight for name, part in parts.items() if part.weight}
  sources = {name: open_source(parts[name], split) for name in weights}
  source = mixture.mixed(sources, weights)
  console.say(f'Training on {mixture.shares(sources, source)}.')
  return source


def open_source(data: ml_collections.ConfigDict, split: str) -> Source:
  """The training pairs ('train') or the held-out ones ('test'). This module alone reads
  `config.data`.

  Raises:
    UserError: pictures that cannot be used; the message names the file or field.
  """
  train = split == 'train'
  if data.source == 'synthetic':
    return open_synthetic(data, split, 1 if train else data.eval_variants)
  if data.source == 'photos':
    return open_photographs(data, split, 1 if train else data.eval_variants)
  if data.source == 'mixture':
    return open_mixture(data, split)
  root = pathlib.Path(data.root if train else data.eval_root or data.root)
  # Of pictures that are scored once in a while nothing is kept.
  limits = {'min_size': data.crop} if train else {'cache_bytes': 0}
  if data.source == 'tfds':
    from degrep_jax.data.builders.read import PreparedPairs  # TFDS comes with it

    return PreparedPairs(root, data.name, split, data.pictures if train else 'full', **limits)
  skip = train and data.on_error == 'skip'
  limits['defer_errors'] = skip
  if data.source == 'list':
    return _looked_at(ListPairs(root, data.list_name, split, **limits), root, skip)
  if not train and not data.eval_root and not has_splits(root):
    raise UserError(
      f'{root} has neither train/ nor test/, so that the training pictures would be scored: name '
      'the folder of held-out pairs in config.data.eval_root.'
    )
  return _looked_at(FolderPairs(root, split, **limits), root, skip)


def _looked_at(source: Source, place: pathlib.Path, skip_damaged: bool = False) -> Source:
  """The source, after a warning where its blurry and sharp pictures seem to be exchanged; nothing
  is said where a damaged picture may be passed over and is among those looked at."""

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


def open_pairs(
  name_or_folder: str | os.PathLike,
  data_dir: str | os.PathLike | None = None,
  split: str = 'test',
) -> Source:
  """Whole pairs to be looked at or scored, each once.

  Args:
    name_or_folder: the name of a dataset prepared in `data_dir`; or a folder of pairs, `blur/` and
      `sharp/` side by side at any depth; or the folder of GoPro, HIDE or RealBlur as released; or
      one of RealBlur's lists.
    data_dir: the folder that `degrep prepare` wrote to. With it `name_or_folder` is a name.
    split: 'train' or 'test'; a folder without such parts, and a list, are taken whole.

  Raises:
    UserError: nothing that can be used there; the message names the file.
  """
  if data_dir is not None:
    from degrep_jax.data.builders.read import PreparedPairs

    return PreparedPairs(data_dir, str(name_or_folder), split, cache_bytes=0)
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
  if (path / 'GT').is_dir():
    return _open_hide(path, split)
  source = FolderPairs(path, split, cache_bytes=0)
  if not has_splits(path):
    _require_one_split(source, path)
  return _looked_at(source, path)


def _require_one_split(source: Source, path: pathlib.Path) -> None:
  """Raises UserError where train/ or test/ lies deeper in a folder, so that both would be taken."""
  for name in source.names:
    *folders, _ = pathlib.PurePosixPath(name).parts
    for place, folder in enumerate(folders):
      if folder in SPLITS:
        whole = path.joinpath(*folders[:place])
        raise UserError(f'{path} holds several sets of pairs: name one of them, such as {whole}.')


def _open_list(path: pathlib.Path) -> Source:
  if is_archive(path):
    raise UserError(f'{path} is an archive: unpack it, or run degrep prepare and use --data_dir.')
  match = LIST.fullmatch(path.name)
  if not match:
    raise UserError(f'{path} is no list of pairs: these end in _train_list.txt or _test_list.txt.')
  return _looked_at(ListPairs(path.parent, match[1], match[2], cache_bytes=0), path)


def _open_hide(path: pathlib.Path, split: str) -> Source:
  with open_tree(path, scratch=path) as tree:
    items = read_layout(DATASETS['hide'], tree).splits.get(split)
  if not items:
    raise UserError(f'{path} has no {split} pairs.')
  files = [(item.name, path / item.blurry, path / item.sharp) for item in items]
  return _looked_at(FilePairs(files, cache_bytes=0), path)
