"""What the builders share: pairs of a tree to ArrayRecord files, in the tree's order."""

import contextlib
import io
import os
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.proto import tf_example_pb2

from degrep_jax.common import console, threads
from degrep_jax.common.errors import UserError
from degrep_jax.data.builders import sub_pictures
from degrep_jax.data.lists import Item
from degrep_jax.data.pairs import decode, read_header, require_partners
from degrep_jax.data.released.checks import open_dataset
from degrep_jax.data.released.layouts import DATASETS, FULL, PART, SUB_PICTURES, Layout
from degrep_jax.data.released.trees import Tree

SIDE, STEP = 512, 256  # of the sub-pictures, pixels
KEYS = 2**128  # TFDS spreads keys below this over its temporary files

Example = dict[str, Any]


class PairsBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
  """Pairs of a blurry and a sharp picture, each example {'name', 'blurry', 'sharp'}.

  Two configs: `full`, whole pictures, the PNG files as they are, byte by byte; and `sub512`, the
  training split alone, cut into overlapping sub-pictures as the released code's training data are.
  Training pictures that are sub-pictures already (NAME_s001.png) are taken as they are by `sub512`
  and left out by `full`.

  Examples keep the order of the layout (`disable_shuffling`), so that number k is the same pair as
  in a source that reads the tree. The metadata hold names and sizes by split, since reading them
  off the examples would read the whole data.

  Args:
    opened: an open tree and its layout; by default the manual folder of TFDS is opened.
    **kwargs: as `tfds.core.GeneratorBasedBuilder`. file_format is ArrayRecord by default.
  """

  VERSION = tfds.core.Version('1.0.0')
  BUILDER_CONFIGS = [  # noqa: RUF012  # TFDS wants a list
    tfds.core.BuilderConfig(name=FULL, description='Whole pictures, the files as released.'),
    tfds.core.BuilderConfig(
      name=SUB_PICTURES,
      description=f'Training sub-pictures of {SIDE} px at step {STEP}, re-encoded without loss.',
    ),
  ]
  DESCRIPTION: str
  HOMEPAGE: str
  CITATION: str

  def __init__(self, *, opened: tuple[Tree, Layout] | None = None, **kwargs):
    self.opened = opened
    kwargs.setdefault('file_format', tfds.core.FileFormat.ARRAY_RECORD)
    super().__init__(**kwargs)

  def _info(self) -> tfds.core.DatasetInfo:
    picture = tfds.features.Image(shape=(None, None, 3), encoding_format='png')
    return _Info(
      builder=self,
      description=self.DESCRIPTION,
      features=tfds.features.FeaturesDict(
        {'name': tfds.features.Text(), 'blurry': picture, 'sharp': picture}
      ),
      supervised_keys=('blurry', 'sharp'),
      homepage=self.HOMEPAGE,
      citation=self.CITATION,
      disable_shuffling=True,
      metadata=tfds.core.MetadataDict(),
    )

  def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
    if self.opened is None:
      # The generators run after this method; the tree is closed with the builder.
      stack = contextlib.ExitStack()
      weakref.finalize(self, stack.close)
      self.opened = stack.enter_context(
        open_dataset(DATASETS[self.name], Path(dl_manager.manual_dir), Path(self.data_dir).parent)
      )
    tree, layout = self.opened
    splits = dict(layout.splits)
    if self.builder_config.name == SUB_PICTURES:
      if 'train' not in splits:
        raise UserError(f'{tree.place} has no training pairs to cut into sub-pictures.')
      splits = {'train': splits['train']}
    elif layout.is_cut:
      del splits['train']
      if not splits:
        raise UserError(
          f'The training pairs of {tree.place} are sub-pictures, and there are no test pairs: '
          'prepare them by --pictures sub512.'
        )
    return {split: self._generate_examples(tree, split, items) for split, items in splits.items()}

  def _generate_examples(
    self, tree: Tree, split: str, items: tuple[Item, ...]
  ) -> Iterator[tuple[int, Example]]:
    cut = cut_pictures if self.builder_config.name == SUB_PICTURES else whole_pictures
    names: list[str] = []
    sizes: list[tuple[int, int]] = []
    # Decoding and encoding leave Python's lock.
    workers = os.cpu_count() or 1
    done = threads.map_ahead(lambda item: cut(tree, item), items, workers, ahead=2 * workers)
    description = f'{self.name}/{self.builder_config.name} {split}'
    for number, made in enumerate(console.track(done, description, len(items))):
      for part, (size, example) in enumerate(made):
        names.append(example['name'])
        sizes.append(size)
        # Without shuffling TFDS sorts by key, one temporary file after the other: keys spread over
        # all of these let it hold a thousandth of the split in memory, small ones all of it.
        yield number * (KEYS // len(items)) + part, example
    self.info.metadata[split] = {'names': names, 'sizes': sizes}

  def _example_writer(self) -> tfds.core.ExampleWriter:
    return _OrderedWriter(file_format=self.info.file_format)


class _Info(tfds.core.DatasetInfo):
  """Looks for no ready metadata on the web: that leaves an empty temporary folder each time."""

  def initialize_from_bucket(self) -> None:
    pass


class _OrderedWriter(tfds.core.ExampleWriter):
  """Writes an example's fields in one order; protobuf draws an order for each process."""

  def write(self, path, examples):
    return super().write(path, ((key, _ordered(data)) for key, data in examples))


def _ordered(data: bytes) -> bytes:
  return tf_example_pb2.Example.FromString(data).SerializeToString(deterministic=True)


def whole_pictures(tree: Tree, item: Item) -> list[tuple[tuple[int, int], Example]]:
  """((height, width), example) of a pair as it is; UserError where a picture is damaged."""
  data, pictures = _read(tree, item)
  return [(pictures[0].shape[:2], _example(item.name, *data))]


def cut_pictures(tree: Tree, item: Item) -> list[tuple[tuple[int, int], Example]]:
  """((height, width), example) of the sub-pictures of a pair, by rows, named as BasicSR names them
  (_s001, ...); of a pair that has such a name, of itself."""
  _, pictures = _read(tree, item)
  cut = {item.name: (slice(None), slice(None))}
  if not PART.search(item.name):
    numbered = enumerate(windows(*pictures[0].shape[:2]), 1)
    cut = {f'{item.name}_s{number:03}': window for number, window in numbered}
  parts = []
  for name, window in cut.items():
    blurry, sharp = (picture[window] for picture in pictures)
    example = _example(name, sub_pictures.encode(blurry), sub_pictures.encode(sharp))
    parts.append((blurry.shape[:2], example))
  return parts


def windows(height: int, width: int) -> list[sub_pictures.Window]:
  """Where sub-pictures are cut: every STEP pixels, the last ones at the far border.

  As the released code's training data: BasicSR's extract_subimages with crop_size 512, step 256 and
  thresh_size 0. A side below 512 px is taken whole.
  """
  rows, columns = (_starts(side) for side in (height, width))
  return [
    (slice(top, min(top + SIDE, height)), slice(left, min(left + SIDE, width)))
    for top in rows
    for left in columns
  ]


def _starts(side: int) -> list[int]:
  last = max(side - SIDE, 0)
  return sorted({*range(0, last + 1, STEP), last})


def _example(name: str, blurry: bytes, sharp: bytes) -> Example:
  return {'name': name, 'blurry': blurry, 'sharp': sharp}


def _read(tree: Tree, item: Item) -> tuple[list[bytes], list[np.ndarray]]:
  """The files of a pair and their pictures, which must be whole, of one size and turned alike."""
  places = [tree.locate(path) for path in (item.blurry, item.sharp)]
  data = [tree.read(path) for path in (item.blurry, item.sharp)]
  files = [*zip(data, places, strict=True)]
  pictures = [decode(content, place) for content, place in files]
  blurry, sharp = (read_header(io.BytesIO(content), place) for content, place in files)
  require_partners(blurry, sharp, places[0])
  return data, pictures
