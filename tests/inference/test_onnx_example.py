"""The program in docs/weights.md that restores a photograph without this package."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import saved
import tiny_joint
from command import succeeded
from PIL import Image

from degrep_jax.inference import export
from degrep_jax.inference.restorer import Restorer

DOCS = pathlib.Path(__file__).parents[2] / 'docs' / 'weights.md'
ALONE = "import sys\nsys.modules['degrep_jax'] = sys.modules['jax'] = None\n"


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  """(restorer of tiles by ONNX, folder with its net.onnx)."""
  folder = tmp_path_factory.mktemp('network')
  saved.workdir(folder / 'run', tiny_joint.config(eval__tile=32), {3: None})
  restorer = Restorer.from_checkpoint(folder / 'run', mode='tiles', engine='onnx')
  export.to_onnx(restorer, folder / 'net.onnx')
  return restorer, folder


@pytest.mark.parametrize('size', [(45, 70), (20, 100), (96, 33), (1, 1)])
def test_the_documented_program_restores_by_the_released_protocol(network, size):
  restorer, folder = network
  (program,) = re.findall(r'```python\n(import sys\n[^`]*onnxruntime[^`]*)```', DOCS.read_text())
  photo = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
  Image.fromarray(photo).save(folder / 'photo.png')
  command = [sys.executable, '-c', ALONE + program, 'photo.png', 'restored.png']
  succeeded(subprocess.run(command, cwd=folder, capture_output=True, text=True))
  found, wanted = np.asarray(Image.open(folder / 'restored.png')), restorer.deblur(photo)
  difference = np.abs(found.astype(int) - wanted)
  # A level at most, where a value lies on the edge between two.
  assert found.shape == photo.shape and difference.max() <= 1 and difference.mean() < 1e-3
  assert np.abs(found.astype(int) - photo).mean() > 1
