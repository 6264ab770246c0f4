"""The weights that ship: they load, restore a photograph as they did, and stay finite."""

import importlib
import importlib.util
import json
import math
import pathlib

import numpy as np
import pytest

from degrep_jax import Restorer, metrics, shipped
from degrep_jax.checkpoints import exported
from degrep_jax.common.pixels import to_float
from degrep_jax.data.pairs import read_picture
from degrep_jax.inference.restorer import MODES
from degrep_jax.models import factory

FOLDER = pathlib.Path(__file__).parent
MB = 10**6
# The networks correct the input by some 0.1. Each of some 80 layers adds sums of up to 3,456
# products, whose rounding errors come to 4 sqrt(3,456) u of a sum with a probability that no test
# meets (Higham and Mary, A new approach to probabilistic rounding error analysis, 2019): together
# at most 80 * 4 * 59 * 2**-24 * 0.1 = 1.1e-4 of a picture.
ROUNDING = 1.1e-4


def _renew():
  spec = importlib.util.spec_from_file_location('renew', FOLDER / 'renew.py')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


renew = _renew()
every = pytest.mark.parametrize('name', shipped.names())


@pytest.fixture(scope='module')
def restorers():
  """A restorer per name, made once."""
  return {name: Restorer.pretrained(name, batch=1) for name in shipped.names()}


def test_the_picture_is_the_one_that_the_script_makes():
  sharp, blurry = renew.picture()
  for path, pixels in ((renew.SHARP, sharp), (renew.BLURRY, blurry)):
    # Resampling, blur and JPEG may round a pixel otherwise on another processor.
    assert metrics.psnr(read_picture(path), pixels) > 45
    assert path.stat().st_size < 150_000
  assert metrics.psnr(*map(read_picture, (renew.SHARP, renew.BLURRY))) < 28


def test_the_files_together_are_small():
  sizes = [shipped.path(name).stat().st_size for name in shipped.names()]
  assert all(size < 12 * MB for size in sizes) and sum(sizes) < 25 * MB
  assert {path.stem for path in shipped.FOLDER.glob('*.safetensors')} <= set(shipped.NETWORKS)


def test_scores_are_of_these_weights():
  file = shipped.FOLDER / shipped.SCORES
  measured = json.loads(file.read_text()) if file.exists() else {}
  assert all(shipped.scores(name) for name in measured)


@every
def test_the_file_says_what_made_it(name):
  found, row = exported.describe(shipped.path(name)), shipped.NETWORKS[name]
  assert found.config.model.network == row.network and found.folded
  assert 0 < found.step <= found.config.train.steps
  for note in ('date', 'commit', 'data'):
    assert found.notes[note]
  assert len(found.notes['commit']) >= 7 and int(found.notes['commit'], 16)
  model = importlib.import_module(f'configs.{row.config}').get_config().model
  assert found.config.model.to_dict() == json.loads(json.dumps(model.to_dict()))


@every
def test_a_photograph_is_restored_as_it_was(name, restorers):
  stored = json.loads(renew.FILE.read_text())[name]
  assert stored['sha256'] == shipped.sha256(shipped.path(name)), 'run python tests/shipped/renew.py'
  error = 10 ** (-stored['psnr'] / 20)  # root mean square, of 1
  tolerance = 20 * math.log10(1 + ROUNDING / error)
  assert renew.psnr(restorers[name]) == pytest.approx(stored['psnr'], abs=tolerance + 1e-4)


@every
def test_the_photograph_gains(name):
  blurry = metrics.psnr(*map(read_picture, (renew.SHARP, renew.BLURRY)))
  assert json.loads(renew.FILE.read_text())[name]['psnr'] > blurry


@every
@pytest.mark.parametrize('mode', [mode for mode in MODES if mode != 'full'])
def test_all_is_finite(name, mode):
  _require_finite(Restorer.pretrained(name, mode=mode, batch=1))


@every
@pytest.mark.slow
def test_all_is_finite_in_whole_pictures(name):
  _require_finite(Restorer.pretrained(name, mode='full'))


def _require_finite(restorer):
  """Of pictures that leave norms and maps nothing to see, and of others; with no clipping."""
  noise = np.random.default_rng(0).random((70, 300, 3), np.float32)
  pictures = [np.zeros_like(noise), np.ones_like(noise), np.full_like(noise, 0.5), np.rint(noise)]
  pictures += [noise[:1, :1], to_float(read_picture(renew.BLURRY))]
  row = factory.NETWORKS[restorer.network]
  seen = restorer.apply(pictures, pictures if row.can_reblur else None)
  for picture, results in zip(pictures, seen, strict=True):
    for output, result in results.items():
      assert result.shape == picture.shape, output
      assert np.isfinite(result).all(), output
