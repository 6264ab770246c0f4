"""The programs take every command that the documentation names."""

import importlib
import json
import re
import shlex

import pytest
from command import ROOT

from degrep_jax import cli

# Not by importing it: experiments define flags of the same names.
FLAGS = re.findall(r"flags\.DEFINE_\w+\(\s*'(\w+)'", (ROOT / 'degrep_jax' / 'main.py').read_text())
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').rglob('*.md')), ROOT / 'docs/quickstart.ipynb']


def _text(page):
  """Of a page; cells of a notebook that hold code become code blocks."""
  if page.suffix != '.ipynb':
    return page.read_text()
  cells = [
    (cell['cell_type'], ''.join(cell['source'])) for cell in json.loads(page.read_text())['cells']
  ]
  return '\n'.join(f'```\n{text}\n```' if kind == 'code' else text for kind, text in cells)


def _lines(page):
  """The lines of a page's code blocks, continued ones joined."""
  for block in re.findall(r'^```(?:\w*)\n(.*?)^```', _text(page), re.M | re.S):
    yield from block.replace('\\\n', ' ').splitlines()


def _words(line):
  """Words of a command, those of a command within quotes too; none of what is no command."""
  try:
    words = shlex.split(line, comments=True)
  except ValueError:
    return []
  return [
    part for word in words for part in (word.split() if 'degrep_jax.main' in word else [word])
  ]


def _commands(program):
  """[(page, what follows the program's name)] of all pages."""
  found = []
  for page in PAGES:
    for line in _lines(page):
      words = _words(line)
      if program in words:
        place = words.index(program) + 1
        rest = [word for word in words[place:] if word != '...']
        found.append(pytest.param(rest, id=f'{page.name}: {" ".join(rest)}'[:80]))
  return found


def _is_a_prompt(arguments):
  """Of a table that a command printed: words, not a command's name."""
  return arguments and (arguments[0] in cli.COMMANDS or arguments[0].startswith('-'))


@pytest.mark.parametrize('arguments', [p for p in _commands('degrep') if _is_a_prompt(p.values[0])])
def test_degrep_takes_it(arguments):
  if arguments[0].startswith('--config'):
    _require_flags(arguments)
    return
  shell = [place for place, word in enumerate(arguments) if word in ('<', '>', '|', '&&')]
  cli._parser().parse_args(arguments[: shell[0] if shell else None])


@pytest.mark.parametrize('arguments', _commands('degrep_jax.main'))
def test_training_takes_it(arguments):
  _require_flags(arguments)


def _require_flags(arguments):
  names = dict(word.lstrip('-').partition('=')[::2] for word in arguments if word.startswith('--'))
  config = None
  if path := names.pop('config', None):
    name = path.removesuffix('.py').replace('configs/', '')
    config = importlib.import_module(f'configs.{name}').get_config()
  for name in names:
    if not name.startswith('config.'):
      assert name in FLAGS, name
      continue
    value = config
    for field in name.split('.')[1:]:
      assert field in value, name
      value = value[field]


@pytest.mark.parametrize(
  'script, given',
  [
    (script, re.findall(r'--(\w+)', rest))
    for page in PAGES
    for line in _lines(page)
    for script, rest in re.findall(r'python (experiments/\w+\.py)(.*)', line)
  ],
)
def test_experiments_have_the_flags(script, given):
  text = (ROOT / script).read_text() + (ROOT / 'experiments' / 'study.py').read_text()
  for name in given:
    assert re.search(rf"['\"](?:--)?{name}['\"]", text), f'{script} has no --{name}'


@pytest.mark.parametrize(
  'target',
  sorted(
    {t for page in PAGES for t in re.findall(r'(?:^|`)make ([a-z-]+)', page.read_text(), re.M)}
  ),
)
def test_make_has_the_target(target):
  assert re.search(rf'^{target}:', (ROOT / 'Makefile').read_text(), re.M)
