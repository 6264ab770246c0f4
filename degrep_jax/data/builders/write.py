"""`degrep prepare`: a released dataset to ArrayRecord files, whole or not at all."""

import contextlib
import errno
import fcntl
import io
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from degrep_jax.common import console
from degrep_jax.common.errors import UserError
from degrep_jax.data.builders import BUILDERS, PairsBuilder
from degrep_jax.data.released.checks import open_dataset
from degrep_jax.data.released.layouts import DATASETS, PICTURES, SUB_PICTURES, Layout
from degrep_jax.data.released.trees import Tree


def prepare(name: str, source: Path, data_dir: Path, pictures: str = '') -> None:
  """Writes `<data_dir>/<name>/<pictures>/<version>/`.

  Each such folder is written under another name and renamed when it is complete. What is complete
  is left as it is; what a killed run left behind is removed first.

  Args:
    name: gopro, hide, realblur_j or realblur_r.
    source: folder or archive of the dataset.
    data_dir: made if need be.
    pictures: 'full' or 'sub512'; by default full and, where there are training pairs, sub512.

  Raises:
    UserError: an unknown name, a source that cannot be used (see `open_dataset`), a data_dir that
      cannot be written or in which another process is preparing the same dataset.
  """
  if name not in DATASETS:
    raise UserError(f'There is no dataset {name!r}: choose one of {", ".join(DATASETS)}.')
  try:
    folder = data_dir / name
    with _owned(folder):
      missing = []
      for kind in (pictures,) if pictures else PICTURES:
        builder = BUILDERS[name](config=kind, data_dir=str(data_dir))
        if builder.data_path.exists():
          console.say(f'{_summary(builder)}: prepared before, remove that folder to do it again.')
        else:
          missing.append(builder)
      if missing:
        with open_dataset(DATASETS[name], source, folder) as (tree, layout):
          if not pictures:
            missing = [builder for builder in missing if _is_for(builder, layout)]
          for builder in missing:
            _build(builder, tree, layout, folder)
  except OSError as error:
    raise UserError(f'{data_dir} cannot be written: {error.strerror or error}.') from error


@contextlib.contextmanager
def _owned(folder: Path) -> Iterator[None]:
  """Makes a dataset's folder, keeps other processes from preparing in it and clears it of what a
  killed one left. What it made and nothing came of is removed again."""
  made = [place for place in (folder, *folder.parents) if not place.exists()]
  folder.mkdir(parents=True, exist_ok=True)
  handle = os.open(folder, os.O_RDONLY)
  try:
    try:
      fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise UserError(f'Another process is preparing {folder}: wait for it to end.') from None
    # This command's folders and, in those of a form, TFDS's; what lies elsewhere is not theirs.
    for place in (folder, *(folder / form for form in PICTURES)):
      for leftover in [*place.glob('incomplete.*')]:
        if leftover.is_dir() and not leftover.is_symlink():
          shutil.rmtree(leftover)
    yield
  finally:
    with contextlib.suppress(OSError):  # something lies there
      for place in made:
        place.rmdir()
    os.close(handle)


def _is_for(builder: PairsBuilder, layout: Layout) -> bool:
  """Whether a layout has what a builder writes: sub-pictures are of training pairs, and what is cut
  already is no whole picture."""
  splits = {'test'} if layout.is_cut else {'train', 'test'}
  if builder.builder_config.name == SUB_PICTURES:
    splits = {'train'}
  return not splits.isdisjoint(layout.splits)


def _build(builder: PairsBuilder, tree: Tree, layout: Layout, folder: Path) -> None:
  builder.opened = tree, layout
  # TFDS would draw bars and print notices of its own, and wants a folder for downloads: one that
  # `_owned` clears away, should this process be killed.
  tfds.disable_progress_bar()
  with (
    tempfile.TemporaryDirectory(prefix='incomplete.', dir=folder) as downloads,
    contextlib.redirect_stdout(io.StringIO()),
  ):
    try:
      builder.download_and_prepare(download_dir=downloads)
    # OSError, RuntimeError or TensorFlow's, as the library at work has it.
    except Exception as error:
      if os.strerror(errno.ENOSPC) not in str(error):
        raise
      raise UserError(
        f'{builder.data_dir} has no space left on its disk: free some and run the command again.'
      ) from error
  console.say(f'{_summary(builder)}: prepared.')


def _summary(builder: PairsBuilder) -> str:
  """For example "gopro/full, 2,103 train and 1,111 test pairs in DIR"."""
  counts = {
    split: f'{builder.info.splits[split].num_examples:,} {split}'
    for split in ('train', 'test')
    if split in builder.info.splits
  }
  name = f'{builder.name}/{builder.builder_config.name}'
  return f'{name}, {" and ".join(counts.values())} pairs in {builder.data_dir}'
