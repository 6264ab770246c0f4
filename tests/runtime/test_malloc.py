"""malloc's memory: kept or returned, and nothing asked of a C library that cannot do it."""

import subprocess
import sys
import types

import pytest

from degrep_jax.runtime import malloc

SCRIPT = """
import ctypes, resource, sys, threading
import numpy as np
from degrep_jax.runtime import malloc

try:
  ctypes.CDLL(None).gnu_get_libc_version
except AttributeError:
  sys.exit('no glibc')
if sys.argv[1] == 'kept':
  malloc.keep_freed()

ZEROED = 64 << 20  # bytes

def faults():
  # Not NumPy's allocation: it asks for huge pages.
  block = libc.malloc(ZEROED)
  before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
  ctypes.memset(block, 1, ZEROED)
  found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
  libc.free(block)

libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
found = []
for _ in range(2):
  thread = threading.Thread(target=faults)
  thread.start()
  thread.join()
print(found[1])
"""


def _faults(which):
  process = subprocess.run(
    [sys.executable, '-c', SCRIPT, which], capture_output=True, text=True, check=False
  )
  if 'no glibc' in process.stderr:
    pytest.skip('no glibc')
  assert not process.returncode, process.stderr
  return int(process.stdout)


def test_a_block_that_a_thread_has_freed_serves_the_next():
  """A page of 4 KiB to 64 KiB is cleared where it is first written to."""
  assert _faults('returned') >= (64 << 20) // 2**16
  assert _faults('kept') < 100


@pytest.mark.parametrize(
  ('library', 'expected'),
  [(['malloc_trim', 'mallopt'], [('malloc_trim', 0), ('mallopt', -8, 1), ('mallopt', -4, 0),
                                 ('mallopt', -1, -1)]), ([], [])],
)  # fmt: skip
def test_a_library_without_them_is_not_asked(monkeypatch, library, expected):
  calls = []

  def recorded(name):
    return lambda *arguments: calls.append((name, *arguments))

  functions = types.SimpleNamespace(**{name: recorded(name) for name in library})
  monkeypatch.setattr(malloc.ctypes, 'CDLL', lambda name: functions)
  malloc.trim()
  malloc.keep_freed()
  assert calls == expected
