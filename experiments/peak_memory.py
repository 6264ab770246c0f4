"""Peak memory of a process."""

import contextlib
import pathlib
import re
import resource
import sys

_PROCESS = pathlib.Path('/proc/self')  # on Linux


def forget_peak() -> None:
  """Has `peak_mib` count from here on, where the system can (Linux): what reading weights took is
  no part of a pass."""
  with contextlib.suppress(OSError):
    (_PROCESS / 'clear_refs').write_text('5')


def peak_mib() -> float:
  """Peak of the resident memory of this process since `forget_peak`.

  On Linux `ru_maxrss` will not do: it is at least that of the process that started this one.
  """
  status = _PROCESS / 'status'
  if status.exists() and (found := re.search(r'VmHWM:\s+(\d+) kB', status.read_text())):
    return int(found[1]) / 2**10
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
  return peak / (2**20 if sys.platform == 'darwin' else 2**10)
