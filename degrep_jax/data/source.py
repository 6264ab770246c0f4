"""From `config.data` to a source of pairs: the only reader of its source fields."""

import pathlib

import ml_collections

from degrep_jax.data.pairs import FolderPairs, ListPairs, Source, has_splits
from degrep_jax.data.synthetic import Blur, SyntheticPairs
from degrep_jax.errors import UserError

HELD_OUT_SEED = 0  # the held-out pictures are the same whatever the seed of the training


def open_source(data: ml_collections.ConfigDict, split: str) -> Source:
  """The training pairs ('train') or the held-out ones ('test').

  Raises:
    UserError: pictures that cannot be used; the message names the file or field.
  """
  train = split == 'train'
  if data.source == 'synthetic':
    blur = Blur(
      shake=data.shake,
      rotation=data.rotation,
      object_motion=data.object_motion,
      sub_frames=data.sub_frames,
      noise=data.noise,
    )
    return SyntheticPairs(
      split,
      blur,
      variants=1 if train else data.eval_variants,
      seed=HELD_OUT_SEED,
      min_size=data.crop if train else 0,
    )
  root = pathlib.Path(data.root if train else data.eval_root or data.root)
  # Of pictures that are scored once in a while nothing is kept.
  limits = {'min_size': data.crop} if train else {'cache_bytes': 0}
  if data.source == 'list':
    return ListPairs(root, data.list_name, split, **limits)
  if not train and not data.eval_root and not has_splits(root):
    raise UserError(
      f'{root} has neither train/ nor test/, so that the training pictures would be scored: name '
      'the folder of held-out pairs in config.data.eval_root.'
    )
  return FolderPairs(root, split, **limits)
