"""The package as it is installed, seen from a folder that is not the clone."""

import os
import subprocess
import sys


def _elsewhere(folder, *command):
  environment = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'}
  return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_the_installed_command_runs_anywhere(tmp_path):
  degrep = os.path.join(os.path.dirname(sys.executable), 'degrep')
  result = _elsewhere(tmp_path, degrep, '--help')
  assert result.returncode == 0, result.stderr
  assert 'convert' in result.stdout


def test_help_imports_neither_jax_nor_tensorflow(tmp_path):
  program = (
    'import sys\n'
    'from degrep_jax import cli\n'
    "sys.argv = ['degrep', '--help']\n"
    'try:\n'
    '  cli.run()\n'
    'finally:\n'
    "  print(sorted({'jax', 'tensorflow'} & sys.modules.keys()))\n"
  )
  result = _elsewhere(tmp_path, sys.executable, '-c', program)
  assert result.returncode == 0, result.stderr
  assert result.stdout.splitlines()[-1] == '[]'
