"""Files that are never seen in part, and the folders that they go to."""

import errno
import json
import math
import os
import pathlib
import secrets
from collections.abc import Mapping
from typing import Any

from degrep_jax.common.errors import UserError


def write_atomically(path: str | os.PathLike[str], data: bytes, *, overwrite: bool = True) -> None:
  """Writes a file whose name never stands for half of it; makes its folder.

  Raises:
    UserError: the folder cannot be made or written, or the file is there and `overwrite` is false.
  """
  path = pathlib.Path(path)
  # A name that no other process takes, on this machine or another, and that a long one fits in.
  partial = path.with_name(f'.degrep-{secrets.token_hex(4)}.part')
  if not overwrite and os.path.exists(path):  # Path's raises where it may not look
    raise UserError(f'{path} is there already and was left alone (--overwrite writes it again).')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      with partial.open('wb') as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())  # else a power cut may leave the name with nothing behind it
      partial.replace(path)
    finally:
      partial.unlink(missing_ok=True)
  except OSError as error:
    raise UserError(f'{path} cannot be written: {error.strerror}.') from error


def write_json(path: str | os.PathLike[str], tree: Any) -> None:
  """Writes nested dictionaries and lists; what JSON has no number for becomes the text 'inf',
  '-inf' or 'nan'.

  Raises:
    UserError: the file cannot be written.
  """
  write_atomically(path, (json.dumps(plain(tree), indent=2) + '\n').encode())


def plain(tree: Any) -> Any:
  """As it comes back from a file of `write_json`: tuples are lists there."""
  if isinstance(tree, Mapping):
    return {key: plain(value) for key, value in tree.items()}
  if isinstance(tree, list | tuple):
    return [plain(value) for value in tree]
  return str(tree) if isinstance(tree, float) and not math.isfinite(tree) else tree


def make_folder_of(path: str | os.PathLike[str]) -> None:
  """Makes the folder of a file that is to be written later, so that no work is done in vain.

  Raises:
    UserError: the folder cannot be made or written.
  """
  folder = pathlib.Path(path).parent
  try:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):
      raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
  except OSError as error:
    raise UserError(f'{path} cannot be written: {error.strerror}.') from error
