"""Runs a piece of Python on four simulated devices, in a process of its own: the number of devices
is fixed when JAX starts."""

import json
import os
import pathlib
import subprocess
import sys
from typing import Any

import child

_ROOT = pathlib.Path(__file__).parents[2]


def run(code: str) -> Any:
  """What `code` prints last, a line of JSON."""
  environment = child.environment(
    '--xla_force_host_platform_device_count=4',
    PYTHONPATH=os.pathsep.join([str(_ROOT), str(_ROOT / 'tests' / 'support')]),
  )
  done = subprocess.run(
    [sys.executable, '-c', code], env=environment, capture_output=True, text=True, check=False
  )
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])
