"""The configs that come with the package: beside it in a clone, in it where it is installed."""

import importlib
import pathlib
import runpy
import sys
import types

import ml_collections

PACKAGE = pathlib.Path(__file__).parents[1]


def folder() -> pathlib.Path:
  """Where they lie."""
  installed = PACKAGE / 'configs'
  return installed if installed.is_dir() else PACKAGE.parent / 'configs'


def names() -> list[str]:
  """Their names, as `--config` takes them."""
  return sorted(path.stem for path in folder().glob('*.py'))


def find(name: str) -> pathlib.Path | None:
  """The file of a name such as 'demo'; None where there is none."""
  return folder() / f'{name}.py' if name in names() else None


def default() -> ml_collections.ConfigDict:
  """That with every field, `default.py`, whatever else is called `configs`."""
  return runpy.run_path(str(folder() / 'default.py'))['get_config']()


def offer(alone: bool = False) -> None:
  """Makes them importable as `from configs import default`, after other folders of that name, or
  alone, so that no foreign default takes the place of theirs."""
  try:
    configs = None if alone else importlib.import_module('configs')
  except ImportError:
    configs = None
  if configs is None:
    configs = sys.modules['configs'] = types.ModuleType('configs')
    configs.__path__ = []
  if str(folder()) not in configs.__path__:
    configs.__path__ = [*configs.__path__, str(folder())]
