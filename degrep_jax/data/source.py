"""From `config.data` to a source of pairs: the only reader of its source fields."""

import ml_collections

from degrep_jax.data.pairs import FolderPairs, Source
from degrep_jax.data.synthetic import Blur, SyntheticPairs

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
    return SyntheticPairs(split, blur, 1 if train else data.eval_variants, HELD_OUT_SEED)
  root = data.root if train else data.eval_root or data.root
  return FolderPairs(root, split, min_size=data.crop if train else 0)
