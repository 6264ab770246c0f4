"""The script of docs/rivals.md restores a dataset by an ONNX file, and its pictures are scored."""

import csv
import re
import subprocess
import sys

import child
import released
from command import ROOT, succeeded


def _varint(number):
  low, high = number & 127, number >> 7
  return bytes([low | 128]) + _varint(high) if high else bytes([low])


def _field(number, value):
  """A field of a protobuf message: an integer, a text or a message."""
  if isinstance(value, int):
    return _varint(number << 3) + _varint(value)
  value = value.encode() if isinstance(value, str) else value
  return _varint(number << 3 | 2) + _varint(len(value)) + value


def identity():
  """An ONNX file of a network that leaves pictures as they are."""

  def pictures(name):
    sides = b''.join(_field(1, _field(2, side)) for side in 'nchw')
    return _field(1, name) + _field(2, _field(1, _field(1, 1) + _field(2, sides)))

  node = _field(1, 'x') + _field(2, 'y') + _field(4, 'Identity')
  graph = _field(1, node) + _field(2, 'net')
  graph += _field(11, pictures('x')) + _field(12, pictures('y'))
  return _field(1, 8) + _field(7, graph) + _field(8, _field(1, '') + _field(2, 13))


def _run(*command):
  return succeeded(
    subprocess.run(
      [sys.executable, *map(str, command)],
      cwd=ROOT,
      env=child.environment() | {'PYTHONPATH': str(ROOT)},
      capture_output=True,
      text=True,
      timeout=300,
    )
  )


def test_the_script(tmp_path):
  (script,) = re.findall('```python\n(.*?)```', (ROOT / 'docs/rivals.md').read_text(), re.DOTALL)
  (tmp_path / 'restore.py').write_text(script)
  (tmp_path / 'net.onnx').write_bytes(identity())
  dataset = released.gopro(tmp_path / 'GOPRO_Large')  # of 60x40, no multiple of 16
  _run(tmp_path / 'restore.py', tmp_path / 'net.onnx', dataset, tmp_path / 'results')
  arguments = ('--dataset', dataset, '--restored', tmp_path / 'results', '--output', tmp_path)
  _run('-m', 'degrep_jax.cli', 'evaluate', *arguments)
  with (tmp_path / 'scores.csv').open(newline='') as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 3
  for row in rows:
    assert row['results_psnr'] == row['blurry_psnr']
