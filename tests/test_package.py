"""The package as it is installed, seen from outside the clone, and its public names."""

import importlib
import os
import subprocess
import sys

import pytest

# What the documents promise to those who import.
PUBLIC = {
  'degrep_jax': ['Restorer', 'checkpoints', 'convert', 'metrics', 'scoring'],
  'degrep_jax.checkpoints': ['load'],
  'degrep_jax.convert': ['from_pytorch', 'to_pytorch'],
  'degrep_jax.data.builders': [],
  'degrep_jax.evaluation': ['scoring'],
  'degrep_jax.metrics': ['align', 'psnr', 'realblur', 'ssim_2d', 'ssim_3d'],
  'degrep_jax.photos': ['reading', 'writing'],
  'degrep_jax.photos.photo': ['Photo'],
}


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


@pytest.mark.parametrize('module', PUBLIC)
def test_what_the_documents_name_is_imported(module):
  for name in PUBLIC[module]:
    scope = {}
    exec(f'from {module} import {name}', scope)
    assert scope[name] is not None
  importlib.import_module(module)
