"""Pairs that `degrep prepare` wrote, each read from its place when it is asked for."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from degrep_jax.common.errors import UserError
from degrep_jax.data.builders import sub_pictures
from degrep_jax.data.pairs import (
  Pair,
  PictureCache,
  Source,
  check_size,
  decode,
  random_window,
  shrunk,
)
from degrep_jax.data.released.layouts import DATASETS, FULL, SUB_PICTURES

KINDS = ('blurry', 'sharp')


class PreparedPairs(Source):
  """Pairs of a dataset in ArrayRecord files (a TFDS data source).

  Names and order are those of the tree that was prepared. Whole pictures and crops therefore equal
  those of `FolderPairs` or `ListPairs` on that tree.

  Args:
    data_dir: the folder that `degrep prepare` wrote to.
    name: gopro, hide, realblur_j or realblur_r.
    split: 'train' or 'test'.
    pictures: 'full', or 'sub512' for the training sub-pictures.
    min_size: smallest height and width that will do, the training crop; 0 asks for none.
    cache_bytes: the decoded pictures are kept if all of them fit; a cache for a part of them would
      mostly hold another part than the one asked for.
    shrink: as of `FilePairs`.

  Raises:
    UserError: an unknown name, data that are not prepared or have no such split, or pictures below
      min_size.
  """

  def __init__(
    self,
    data_dir: str | os.PathLike,
    name: str,
    split: str,
    pictures: str = FULL,
    min_size: int = 0,
    cache_bytes: int = 2**30,
    shrink: int = 1,
  ):
    self._shrink = shrink
    self._place = f'{name}/{pictures} {split} in {data_dir}'
    self._examples, metadata = _open(Path(data_dir), name, split, pictures)
    self.names = tuple(metadata['names'])
    self._sizes = [tuple(size) for size in metadata['sizes']]
    for item, (height, width) in zip(self.names, self._sizes, strict=True):
      check_size(width, height, min_size, item)
    needed = sum(len(KINDS) * 3 * height * width for height, width in self._sizes)
    self._cache = PictureCache(cache_bytes if needed <= cache_bytes else 0)
    self._in_part = pictures == SUB_PICTURES and needed > cache_bytes

  def __len__(self) -> int:
    return len(self.names)

  def pair(self, item: int) -> Pair:
    """The whole pictures, read-only. Raises UserError where the data are damaged."""
    # Both at once: they lie in one record.
    pictures = self._cache.picture(item, lambda: self._decode(item))
    return Pair(self.names[item], *pictures)

  def crop(self, item: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The same random window of both pictures, (size, size, 3) uint8, not augmented."""
    window = random_window(self._sizes[item], size, rng, self.names[item], self._shrink)
    if self._in_part:
      example = self.record(item)
      blurry, sharp = (sub_pictures.crop(example[kind], window) for kind in KINDS)
      if blurry is not None and sharp is not None:
        return shrunk(blurry, size), shrunk(sharp, size)
    pair = self.pair(item)
    return shrunk(pair.blurry[window], size), shrunk(pair.sharp[window], size)

  def record(self, item: int) -> Mapping[str, bytes]:
    """An example as it is stored: 'name', and the PNG files 'blurry' and 'sharp'."""
    try:
      example = self._examples[item]
    except (ValueError, RuntimeError, IndexError, KeyError):
      example = {'name': b''}
    if example['name'] != self.names[item].encode():
      raise UserError(
        f'{self._place} is damaged at {self.names[item]}: remove it, prepare it again.'
      )
    return example

  def _decode(self, item: int) -> np.ndarray:
    """Both pictures, (2, H, W, 3) uint8."""
    example = self.record(item)
    return np.stack([decode(example[kind], self.names[item]) for kind in KINDS])


def _open(
  data_dir: Path, name: str, split: str, pictures: str
) -> tuple[Sequence[Mapping[str, bytes]], Mapping[str, Any]]:
  """The examples of a split, pictures not decoded, and {'names', 'sizes'}."""
  if name not in DATASETS:
    raise UserError(f'There is no dataset {name!r}: choose one of {", ".join(DATASETS)}.')
  import tensorflow_datasets as tfds  # what reads folders alone needs none of it

  from degrep_jax.data.builders import BUILDERS

  if not data_dir.is_dir():
    raise UserError(f'The folder of prepared data {data_dir} does not exist.')
  builder = BUILDERS[name](config=pictures, data_dir=str(data_dir))
  if not builder.data_path.exists():
    raise UserError(
      f'{data_dir} holds no {name}/{pictures}: run degrep prepare {name} --source=DIR_OR_ARCHIVE '
      f'--data_dir={data_dir}.'
    )
  if split not in builder.info.splits:
    raise UserError(f'{name}/{pictures} in {data_dir} was prepared without {split} pairs.')
  skip = tfds.decode.SkipDecoding()
  examples = builder.as_data_source(split, decoders=dict.fromkeys(KINDS, skip))
  return examples, builder.info.metadata[split]
