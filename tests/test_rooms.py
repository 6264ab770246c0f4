"""Packages import downwards alone, inside functions too, and nothing goes in circles."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]

# A package may import those before it, and itself; the same holds of the modules beside them. What
# is not obvious:
#   data before run_config: configs name datasets, and `data.source` reads `config.data` as a plain
#     ConfigDict.
#   models before run_config: likewise, `models.factory` reads `config.model`.
#   inference before evaluation: what is scored comes from the one `Restorer`; colours of maps are
#     made there, since commands, the page and the figures of evaluations draw by them.
#   main before cli: `degrep --config=X` is the trainer under another name.
ORDER = (
  'common',
  'metrics',
  'runtime',
  'photos',
  'models',
  'data',
  'run_config',
  'checkpoints',
  'shipped',
  'convert',
  'inference',
  'evaluation',
  'app',
  'training',
  'commands',
  'main',
  'cli',
)
# What the package itself gives on, by where it stands.
PUBLIC = {'Restorer': 'inference', 'scoring': 'evaluation'}


def room(path):
  return path.relative_to(ROOT / 'degrep_jax').parts[0].removesuffix('.py')


def imported(node):
  """Names of the packages and modules of ours that a statement imports."""
  if isinstance(node, ast.Import):
    names = [alias.name for alias in node.names]
  elif node.module == 'degrep_jax':
    names = [f'degrep_jax.{alias.name}' for alias in node.names]
  else:
    names = [node.module or '']
  parts = [name.split('.') for name in names]
  return [PUBLIC.get(part[1], part[1]) for part in parts if part[0] == 'degrep_jax' and part[1:]]


def upward(text, place, of):
  """A sentence for every import of a module's text that leads to a later package."""
  found = []
  for node in ast.walk(ast.parse(text)):
    if isinstance(node, ast.Import | ast.ImportFrom):
      found += [
        f'{place}:{node.lineno}: {of} imports {other}'
        for other in imported(node)
        if ORDER.index(other) > ORDER.index(of)
      ]
  return found


def test_every_package_has_its_place():
  modules = [path for path in (ROOT / 'degrep_jax').rglob('*.py') if path.name != '__init__.py']
  assert {room(path) for path in modules} == set(ORDER)


def test_the_contributors_page_has_the_same_order():
  page = (ROOT / 'docs' / 'contributing' / 'index.md').read_text()
  rows = re.findall(r'^\| \d+ \| (.*?) \|', page, re.M)
  assert tuple(re.findall(r'`(\w+)`', ' '.join(rows))) == ORDER


@pytest.mark.parametrize('of', ORDER)
def test_imports_lead_downwards(of):
  whole = ROOT / 'degrep_jax' / of
  files = sorted(whole.rglob('*.py')) or [whole.with_suffix('.py')]
  found = [line for path in files for line in upward(path.read_text(), path, of)]
  assert not found, '\n'.join(found)


@pytest.mark.parametrize(
  ('line', 'other'),
  [
    ('import degrep_jax.training.loop', 'training'),
    ('from degrep_jax import cli', 'cli'),
    ('from degrep_jax import checkpoints, main', 'main'),
    ('from degrep_jax.app.jobs import Plan', 'app'),
    ('def lazily():\n  from degrep_jax.commands import options', 'commands'),
  ],
)
def test_an_import_upwards_is_named(line, other):
  last = line.count('\n') + 1
  sentence = f'here.py:{last}: inference imports {other}'
  assert upward(line, 'here.py', 'inference') == [sentence]


def test_what_the_package_gives_on_counts_where_it_stands():
  line = 'from degrep_jax import Restorer'
  assert upward(line, 'here.py', 'inference') == []
  assert upward(line, 'here.py', 'models') == ['here.py:1: models imports inference']
