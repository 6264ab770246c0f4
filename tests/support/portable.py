"""The ordinary suite as other processors would run it: `make test-portable`.

Libraries choose among a processor's instructions when they compile (XLA) or start (NumPy, oneDNN,
PyTorch, OpenCV). Told to take fewer, they add in another order, as on a processor that has no
others.
"""

import os
import pathlib
import re
import shutil
import sys

import child
import numpy as np
import suite
from suite import Form

CPUINFO = pathlib.Path('/proc/cpuinfo')


def _processor() -> set[str]:
  """The instruction sets of an x86 processor by their names in /proc/cpuinfo."""
  text = CPUINFO.read_text() if CPUINFO.exists() else ''
  found = re.search(r'^flags\s*:(.*)', text, re.MULTILINE)
  return set(found[1].split()) if found else set()


def forms() -> list[Form]:
  """All forms, those that this machine lacks something for among them."""
  has, chosen = _processor(), np.show_config(mode='dicts')['SIMD Extensions'].get('found', [])

  def at_most(name: str, **others: str) -> Form:
    lacks = '' if (flag := {'AVX512': 'avx512f'}.get(name, name.lower())) in has else flag
    return Form(name, lacks, child.environment(f'--xla_cpu_max_isa={name}', **others))

  core = str(min(os.sched_getaffinity(0)))
  return [
    at_most(
      'SSE4_2',
      ONEDNN_MAX_CPU_ISA='SSE41',
      ATEN_CPU_CAPABILITY='default',
      OPENCV_CPU_DISABLE='AVX512-SKX,AVX2,FP16,AVX',
    ),
    at_most(
      'AVX2',
      ONEDNN_MAX_CPU_ISA='AVX2',
      ATEN_CPU_CAPABILITY='avx2',
      OPENCV_CPU_DISABLE='AVX512-SKX',
    ),
    at_most('AVX512'),
    Form(
      'NumPy at its least',
      '' if chosen else 'a choice of instructions in NumPy',
      child.environment(NPY_DISABLE_CPU_FEATURES=' '.join(chosen)),
    ),
    Form(
      'one core',
      '' if shutil.which('taskset') else 'taskset',
      child.environment(),
      ('taskset', '--cpu-list', core),
      workers=1,
    ),
  ]


def main(arguments: list[str]) -> int:
  """Runs the forms, `arguments` for each pytest; the exit status."""
  return suite.run_all(forms(), arguments)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
