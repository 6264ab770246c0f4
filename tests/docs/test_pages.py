"""Pages that tell of the same thing agree; configs and experiments all have their place there."""

import re

import pytest
from command import ROOT

CONFIGS = {path.name for path in (ROOT / 'configs').glob('*.py')} - {'__init__.py', 'default.py'}
# accelerator.py runs the rows of accelerator_tasks.py as processes.
SCRIPTS = {
  path.name
  for path in (ROOT / 'experiments').glob('*.py')
  if "__name__ == '__main__'" in path.read_text()
} - {'accelerator_tasks.py'}


def _machines(page):
  """{config: the last cell of its row} of a page's tables."""
  rows = [line for line in (ROOT / page).read_text().splitlines() if line.startswith('| `')]
  found = {}
  for row in rows:
    cells = [cell.strip() for cell in row.strip('|').split('|')]
    found |= {name: cells[-1] for name in re.findall(r'`(\w+\.py)`', cells[0]) if name in CONFIGS}
  return found


def test_every_config_has_its_row():
  assert _machines('docs/training.md').keys() == CONFIGS


def test_the_readme_says_of_configs_what_the_documentation_says():
  short = _machines('README.md')
  assert short and short.items() <= _machines('docs/training.md').items()


@pytest.mark.parametrize('script', sorted(SCRIPTS))
def test_every_experiment_is_told_of(script):
  pages = (ROOT / 'docs').rglob('*.md')
  assert any(script in page.read_text() for page in pages)
