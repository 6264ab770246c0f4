"""The notebook of the documentation: what is committed has been run, and runs."""

import json
import os
import pathlib
import sys

import child
import pytest
from command import ROOT

NOTEBOOK = ROOT / 'docs' / 'quickstart.ipynb'


def code_cells():
  return [cell for cell in json.loads(NOTEBOOK.read_text())['cells'] if cell['cell_type'] == 'code']


def pictures(cell):
  return [output for output in cell['outputs'] if 'image/jpeg' in output.get('data', {})]


def test_it_was_run_from_the_first_cell_to_the_last():
  cells = code_cells()
  assert [cell['execution_count'] for cell in cells] == list(range(1, len(cells) + 1))
  assert not [output for cell in cells for output in cell['outputs'] if 'ename' in output]
  assert sum(len(pictures(cell)) for cell in cells) == 3
  assert NOTEBOOK.stat().st_size < 2**20


@pytest.mark.slow
def test_it_runs(tmp_path, monkeypatch):
  nbclient, nbformat = (pytest.importorskip(name) for name in ('nbclient', 'nbformat'))
  for name, value in child.environment().items():
    monkeypatch.setenv(name, value)
  # Commands are those of this environment and of this clone.
  folder = str(pathlib.Path(sys.executable).parent)
  monkeypatch.setenv('PATH', os.pathsep.join([folder, os.environ['PATH']]))
  monkeypatch.setenv('PYTHONPATH', str(ROOT))
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  run = nbclient.NotebookClient(
    notebook, timeout=1800, kernel_name='python3', resources={'metadata': {'path': str(tmp_path)}}
  ).execute()
  cells = [cell for cell in run.cells if cell.cell_type == 'code']
  assert [len(pictures(cell)) for cell in cells] == [len(pictures(cell)) for cell in code_cells()]
  assert (tmp_path / 'restored' / 'photo.png').exists()
  assert (tmp_path / 'runs' / 'quickstart' / 'report.json').exists()
