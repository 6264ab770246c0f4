"""What befalls the workdir of a run: a second run, a full disk."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator

from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError, is_full

LOCK = '.lock'  # file of a workdir, held by the process that trains there


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
  """Nobody else trains in a workdir meanwhile, but for a warning where its disk knows no locks. The
  lock ends with the process, however that ends.

  Raises:
    UserError: another process trains there, or the workdir cannot be written.
  """
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    file = (workdir / LOCK).open('a+')
  except OSError as error:
    raise UserError(f'{workdir} cannot be written: {error.strerror}.') from error
  with file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      file.seek(0)
      holder = file.read().strip() or 'another process'
      raise UserError(
        f'{workdir} is in use by {holder}: wait for that run, end it, or choose another --workdir.'
      ) from None
    except OSError as error:  # some disks of networks and clouds know no locks
      say(f'Warning: {workdir} cannot be locked ({error.strerror}): start no second run there.')
    file.truncate(0)
    file.write(f'process {os.getpid()} on {socket.gethostname()}')
    file.flush()
    yield


@contextlib.contextmanager
def full_disk_told(workdir: pathlib.Path) -> Iterator[None]:
  """Makes one sentence of whatever a full disk below a workdir raises."""
  try:
    yield
  except Exception as error:
    if not is_full(error):
      raise
    raise UserError(
      f'the disk of {workdir} is full: what was saved is kept; make room and give the same command '
      'again to go on from there.'
    ) from error
