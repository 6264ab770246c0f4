"""The package as it is installed, seen from outside the clone, and its public names."""

import configparser
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import child
import pytest

from degrep_jax import shipped
from degrep_jax.common import shipped_configs

ROOT = pathlib.Path(__file__).parents[1]
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


def test_setup_names_every_package():
  setup = configparser.ConfigParser()
  setup.read(ROOT / 'setup.cfg')
  folders = {path.parent for path in (ROOT / 'degrep_jax').rglob('__init__.py')}
  packages = {'.'.join(folder.relative_to(ROOT).parts) for folder in folders}
  assert {*setup['options']['packages'].split()} == packages | {'degrep_jax.configs'}


def test_shipped_configs_are_found_by_name():
  assert shipped_configs.folder() == ROOT / 'configs'
  assert shipped_configs.names() == sorted(path.stem for path in (ROOT / 'configs').glob('*.py'))
  assert shipped_configs.find('demo') == ROOT / 'configs' / 'demo.py'
  assert shipped_configs.find('configs/demo.py') is shipped_configs.find('') is None


@pytest.mark.slow
def test_an_installed_wheel_trains_and_tells(tmp_path):
  """In an environment that has the package's dependencies, but not the clone."""

  def succeeded(*command, **environment):
    environment = {**child.environment(), **environment}
    environment.pop('PYTHONPATH', None)
    result = subprocess.run(
      [*map(str, command)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout

  pip = 'pip', '--disable-pip-version-check'
  options = '--no-deps', '--no-build-isolation', '--quiet'
  clone = tmp_path / 'clone'  # nothing of earlier builds is in it
  for name in ('degrep_jax', 'configs'):
    shutil.copytree(ROOT / name, clone / name)
  for name in ('setup.cfg', 'pyproject.toml', 'README.md', 'LICENSE'):
    shutil.copy(ROOT / name, clone)
  succeeded(sys.executable, '-m', *pip, 'wheel', *options, '-w', tmp_path / 'wheels', clone)
  shutil.rmtree(clone)
  succeeded(sys.executable, '-m', 'venv', '--without-pip', tmp_path / 'env')
  python = tmp_path / 'env' / 'bin' / 'python'
  (wheel,) = (tmp_path / 'wheels').iterdir()
  succeeded(sys.executable, '-m', *pip, '--python', python, 'install', *options[::2], wheel)
  # As a path alone: the clone's own installation, a hook beside these packages, does not act.
  where = succeeded(python, '-c', 'import site; print(site.getsitepackages()[0])').strip()
  pathlib.Path(where, 'dependencies.pth').write_text(sysconfig.get_path('purelib'))
  found = succeeded(python, '-c', 'import degrep_jax; print(degrep_jax.__file__)')
  assert found.startswith(where)
  degrep = tmp_path / 'env' / 'bin' / 'degrep'
  mine = tmp_path / 'configs' / 'mine.py'
  mine.parent.mkdir()
  mine.write_text(
    'from configs import smoke\n\n\ndef get_config():\n'
    '  config = smoke.get_config()\n  config.train.steps = 2\n  return config\n'
  )
  for config in ('smoke', 'configs/mine.py'):
    flags = '--config.train.steps=2', '--config.data.crop=32'
    succeeded(degrep, f'--config={config}', '--workdir=run', *flags)
    assert (tmp_path / 'run' / 'report.json').exists()
  listed = succeeded(degrep, 'info')
  assert all(f'{name} ' in listed for name in shipped.names())
  told = succeeded(degrep, 'info', 'run')
  assert ['model.width', '4', '64'] in [line.split() for line in told.splitlines()]
