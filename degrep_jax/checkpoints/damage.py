"""Whether the files of a checkpoint are what was saved, and what is told where they are not."""

import pathlib
import zlib
from collections.abc import Callable
from typing import Any, TypeVar

import flax.traverse_util
import numpy as np
import orbax.checkpoint as ocp

from degrep_jax.common.errors import UserError, is_full, is_out_of_memory

PROGRESS = 'progress'  # item of a checkpoint: checksums of its arrays, and where the log was
# Errors of a file rather than of the disk it lies on.
_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
# How TensorStore begins those of the disk.
_UNANSWERED = ('ABORTED:', 'DEADLINE_EXCEEDED:', 'PERMISSION_DENIED:', 'UNAVAILABLE:', 'UNKNOWN:')

Read = TypeVar('Read')


class Damaged(UserError):
  """A checkpoint that cannot be read, or does not hold what was written."""


def checksums(tree: dict[str, Any]) -> dict[str, int]:
  """CRC-32 of the bytes of every array, by its path."""
  leaves = flax.traverse_util.flatten_dict(tree, sep='/')
  return {
    name: zlib.crc32(np.ascontiguousarray(leaf).view(np.uint8).data)
    for name, leaf in leaves.items()
    if leaf is not None
  }


def sound(folder: pathlib.Path, read: Callable[[pathlib.Path], Read]) -> Read:
  """What `read` makes of a folder.

  Raises:
    Damaged: its files are not what was saved.
    UserError: the disk does not give them; they may be sound.
  """
  try:
    return read(folder)
  except Exception as error:  # files cut short or zeroed make the libraries raise anything
    if isinstance(error, UserError) or is_out_of_memory(error) or is_full(error):
      raise
    if reason := _unanswered(error):
      raise UserError(f'the checkpoint {folder} cannot be read: {reason}.') from error
    raise Damaged(f'the checkpoint {folder} is damaged.') from error


def _unanswered(error: Exception) -> str | None:
  """What the disk itself says in an error; None where that is one of the files."""
  if isinstance(error, OSError) and not isinstance(error, _MISSING):
    return error.strerror
  text = str(error)
  return text.partition(' [tensorstore_spec')[0] if text.startswith(_UNANSWERED) else None


def verify(folder: pathlib.Path, found: dict[str, Any], whole: bool = True) -> None:
  """Raises Damaged where arrays are not those that were saved or, of a whole state, not all."""
  expected = about(folder).get('checksums')
  if expected is None:
    return
  there = checksums(found)
  names = there.keys() | expected.keys() if whole else there.keys()
  wrong = sorted(name for name in names if there.get(name) != expected.get(name))
  if wrong:
    raise Damaged(f'the checkpoint {folder} is damaged: {wrong[0]} is not what was saved.')


def about(folder: pathlib.Path) -> dict[str, Any]:
  """Checksums and progress; empty for a checkpoint of a time when these were not saved, which does
  not name them among its items."""
  if (folder / PROGRESS).is_dir():
    return ocp.JsonCheckpointHandler().restore(folder / PROGRESS)
  if PROGRESS in ocp.metadata.get_step_metadata(folder).item_handlers:
    raise Damaged(f'the checkpoint {folder} is damaged: {PROGRESS} is missing.')
  return {}
