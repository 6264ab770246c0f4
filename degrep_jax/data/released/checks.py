"""A released dataset as it lies on disk: opened, counted and looked at before anything is made."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from degrep_jax.common import console
from degrep_jax.common.errors import UserError
from degrep_jax.data.folders import require_utf8
from degrep_jax.data.lists import Item
from degrep_jax.data.pairs import decode
from degrep_jax.data.released.layouts import Dataset, Layout, count_warnings, read_layout
from degrep_jax.data.released.trees import Tree, is_archive, open_tree

SAMPLE = 8  # pairs that are looked at to tell blurry pictures from sharp ones
# A blurry picture is not sharper than its partner; noise and recompression may make it a little so.
SHARPER = 1.5


@contextlib.contextmanager
def open_dataset(dataset: Dataset, source: Path, scratch: Path) -> Iterator[tuple[Tree, Layout]]:
  """Opens a dataset's folder or archive, or a folder that holds one archive of it.

  Says how many pairs are missing, what does not belong to the dataset and which links lead out of
  the folder.

  Args:
    dataset: one of `layouts.DATASETS`.
    source: the folder or the archive.
    scratch: a folder for a temporary file, as large as the dataset, where a tar is compressed.

  Raises:
    UserError: no pairs, halves of pairs, blurry and sharp pictures exchanged, or as `open_tree`.
  """
  with open_tree(_archive_in(source), scratch) as tree:
    layout = read_layout(dataset, tree)
    for split, items in layout.splits.items():
      _check_names(items, tree)
      if seems_exchanged(len(items), partial(_read, tree, items)):
        raise UserError(
          f'In the {split} pairs of {tree.place} the blurry pictures are sharper than the sharp '
          f'ones, for instance {items[0].blurry}: the two were exchanged, exchange them back.'
        )
    for sentence in _notes(dataset, tree, layout):
      console.say(f'Warning: {sentence}')
    yield tree, layout


def _archive_in(source: Path) -> Path:
  """The only archive of a folder that holds nothing else, or the source itself."""
  with contextlib.suppress(OSError):  # no folder, or one that `open_tree` will name
    inside = [path for path in source.iterdir() if not path.name.startswith('.')]
    if len(inside) == 1 and inside[0].is_file() and is_archive(inside[0]):
      return inside[0]
  return source


def _read(tree: Tree, items: tuple[Item, ...], number: int) -> tuple[np.ndarray, np.ndarray]:
  item = items[number]
  blurry, sharp = (decode(tree.read(path), tree.locate(path)) for path in (item.blurry, item.sharp))
  return blurry, sharp


def _check_names(items: tuple[Item, ...], tree: Tree) -> None:
  taken: dict[str, Item] = {}
  for item in items:
    if (other := taken.setdefault(item.name, item)) is not item:
      one, two = (tree.locate(of.blurry) for of in (other, item))
      raise UserError(f'{one} and {two} would both be called {item.name!r}: rename one.')
    require_utf8(item.name, tree.locate(item.blurry))


def _notes(dataset: Dataset, tree: Tree, layout: Layout) -> Iterator[str]:
  yield from count_warnings(dataset, layout)
  if layout.extra:
    yield (
      f'{tree.place} holds {len(layout.extra):,} files that belong to no pair and are passed over, '
      f'the first is {layout.extra[0]}.'
    )
  for link, target in sorted(tree.outside.items())[:1]:
    yield (
      f'{len(tree.outside):,} links lead out of {tree.place} and are followed, the first is {link} '
      f'to {target}.'
    )


def seems_exchanged(count: int, read: Callable[[int], tuple[np.ndarray, np.ndarray]]) -> bool:
  """Whether blurry and sharp pictures were exchanged: most "blurry" ones have far more detail.

  Detail is the variance of the Laplacian. A few pairs, spread over all, are looked at.

  Args:
    count: of all pairs.
    read: gives a pair by its number, blurry and sharp, (H, W, 3) uint8.
  """
  numbers = np.unique(np.linspace(0, count - 1, SAMPLE).astype(int))
  pairs = (read(int(number)) for number in numbers)
  sharper = [_detail(blurry) > SHARPER * _detail(sharp) for blurry, sharp in pairs]
  return sum(sharper) > len(sharper) / 2


def _detail(picture: np.ndarray) -> float:
  grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
  return float(cv2.Laplacian(grey, cv2.CV_32F).var())
