"""What the figures of the networks that ship are made of: classical methods, cells, summaries."""

import argparse
import json
import math

import classical
import model_scores
import numpy as np
import pytest
from scipy import ndimage
from skimage import data

from degrep_jax import metrics
from degrep_jax.common import pixels
from degrep_jax.common.errors import UserError
from degrep_jax.data.source import open_pairs
from degrep_jax.evaluation import scoring

SHARP = data.coffee()[100:200, 200:330]


def _blurred(sigma):
  return np.uint8(np.rint(ndimage.gaussian_filter(SHARP.astype(float), (sigma, sigma, 0))))


@pytest.mark.parametrize(
  ('label', 'setting'),
  [
    (classical.UNSHARP, (2, 1.0)),
    (classical.DECONVOLVED, ('richardson_lucy', 1.5, 10)),
    (classical.DECONVOLVED, ('wiener', 1.5, 0.03)),
  ],
)
def test_classical_methods_take_a_gaussian_off(label, setting):
  blurry = _blurred(1.5)
  function, _ = classical.METHODS[label]
  restored = function(blurry, *setting)
  assert restored.shape == SHARP.shape and restored.dtype == np.uint8
  assert metrics.psnr(restored, SHARP) > metrics.psnr(blurry, SHARP) + 0.5
  flat = np.full((60, 70, 3), 90, np.uint8)
  assert np.abs(function(flat, *setting).astype(int) - flat).max() <= 1


class Pairs:
  """Two pictures under the same Gaussian."""

  def __len__(self):
    return 2

  def pair(self, item):
    from degrep_jax.data.pairs import Pair

    return Pair(str(item), _blurred(1.5), SHARP)


def test_parameters_are_those_that_do_best(monkeypatch):
  grid = [('wiener', 1.5, 1e3), ('wiener', 1.5, 0.03), ('wiener', 4.0, 0.03)]
  methods = {classical.DECONVOLVED: (classical.deconvolved, grid)}
  monkeypatch.setattr(classical, 'METHODS', methods)
  assert classical.tuned(classical.DECONVOLVED, Pairs()) == grid[1]
  method = classical.method(classical.DECONVOLVED, grid[1])
  (one, _) = method.restore(Pairs())
  np.testing.assert_array_equal(
    one[method.label], classical.deconvolved(_blurred(1.5), 'wiener', 1.5, 0.03)
  )


def test_a_cell_is_measured_once_as_long_as_its_subject_stays(tmp_path):
  measured = []

  def measure():
    measured.append(1)
    return {'psnr': 20.0 + len(measured)}

  file = tmp_path / 'cells' / 'a.json'
  for of in (('x', 1), ('x', 1), ('x', 2)):
    found = model_scores.kept(file, of, measure)
  assert (len(measured), found) == (2, {'psnr': 22.0})


def test_a_summary_by_hand():
  blurry = [{'psnr': 20.0, 'ssim_3d': 0.5}, {'psnr': 30.0, 'ssim_3d': 0.7}]
  rows = [{'psnr': 21.0, 'ssim_3d': 0.6}, {'psnr': 29.5, 'ssim_3d': 0.8}]
  found = model_scores.summary(rows, blurry, ('a', 'b'))
  assert found['psnr'] == 25.25 and found['ssim_3d'] == pytest.approx(0.7)
  assert found['gain']['mean'] == 0.25 and found['gain']['pictures'] == 2
  assert found['worst'] == {'name': 'b', 'gain': -0.5}


def test_a_summary_leaves_out_what_is_identical_or_too_small():
  blurry = [{'psnr': 20.0, 'ssim_3d': 0.5}, {'psnr': math.inf, 'ssim_3d': 1.0}]
  rows = [{'psnr': 21.0, 'ssim_3d': None}, {'psnr': 60.0, 'ssim_3d': 0.9}]
  found = model_scores.summary(rows, blurry, ('a', 'b'))
  assert found['psnr'] == 21 and found['ssim_3d'] == 0.9
  assert found['gain']['pictures'] == 1
  assert found['worst'] == {'name': 'a', 'gain': 1}
  with pytest.raises(UserError, match='a: all pictures are identical'):
    model_scores.summary(blurry[1:], blurry[1:], ('a',))


def test_scores_of_identical_pictures_are_kept_as_numbers(tmp_path):
  for split in ('blur', 'sharp'):
    pixels.write_png(tmp_path / 'pairs' / split / '0.png', SHARP)
  source, method = open_pairs(tmp_path / 'pairs'), scoring.BlurryInput()
  for _ in range(2):  # measured, and as it was kept
    (row,) = model_scores.rows_of(tmp_path, 'set', source, method, 'input')
    assert row == {'psnr': math.inf, 'ssim_3d': pytest.approx(1)}


def test_a_folder_is_another_when_a_file_of_it_is(tmp_path):
  (tmp_path / 'a').mkdir()
  (tmp_path / 'a' / '0.png').write_bytes(b'one')
  before = model_scores.files_of(tmp_path)
  assert model_scores.files_of(tmp_path) == before
  (tmp_path / 'a' / '0.png').write_bytes(b'two!')
  assert model_scores.files_of(tmp_path) != before


@pytest.mark.parametrize(
  ('given', 'sentence'),
  [
    ({'network': ['runs/x']}, '--network runs/x is not understood: write NAME=PLACE'),
    ({'network': ['small=runs/x']}, '--network: small ships under that name; choose another'),
    ({'pairs': ['GOPRO_Large']}, '--pairs GOPRO_Large is not understood'),
    ({'ship': True, 'part': ['flat']}, '--ship renews all that is told: name --pairs, --photos'),
    ({'ship': True, 'part': [*model_scores.PARTS]}, '--ship renews all'),
  ],
)
def test_what_is_named_wrongly_is_told_before_anything_is_measured(tmp_path, given, sentence):
  none = {'pairs': [], 'network': [], 'photos': None, 'tune': None}
  args = argparse.Namespace(**none | {'part': ['flat'], 'ship': False, 'output': tmp_path} | given)
  with pytest.raises(UserError, match=sentence):
    model_scores.main(args)
  assert not list(tmp_path.iterdir())


def test_what_ships_tells_its_scores(tmp_path, monkeypatch):
  docs = tmp_path / 'docs'
  docs.mkdir()
  page = f'before\n\n{model_scores.BEGIN}\n\nold\n\n{model_scores.END}\n\nafter\n'
  (docs / 'models.md').write_text(page)
  (tmp_path / 'small.safetensors').write_bytes(b'weights')
  monkeypatch.setattr(model_scores, 'ROOT', tmp_path)
  monkeypatch.setattr('degrep_jax.shipped.networks.FOLDER', tmp_path)
  monkeypatch.setattr('degrep_jax.shipped.FOLDER', tmp_path)
  gain = {'mean': 1.5, 'low': 1.0, 'high': 2.0, 'pictures': 6}
  found = {
    'pairs': {
      'GoPro': {'blurry': {'psnr': 23.8}, 'small': {'psnr': 25.3, 'gain': gain}, 'pictures': 6}
    }
  }
  model_scores.ship(found, '| a table |')
  assert (docs / 'models.md').read_text() == page.replace('old', '| a table |')
  written = json.loads((tmp_path / 'scores.json').read_text())
  measured = {'pictures': 6, 'blurry': 23.8, 'psnr': 25.3, 'gain': gain}
  assert written['small']['sets'] == {'GoPro': measured}
  assert model_scores.shipped.scores('small') == {'GoPro': measured}
