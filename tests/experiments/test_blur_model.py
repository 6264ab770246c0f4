"""The comparison of made blur with cameras': its measures on pictures with known answers, its
command on two tiny folders."""

import json
import subprocess
import sys

import blur_model
import child
import numpy as np
import photo_folder
import pytest
import released
from command import ROOT
from scipy import ndimage

from degrep_jax.data.pairs import read_picture

CONFIG = """
from configs import default


def get_config():
  config = default.get_config()
  config.data.source = 'mixture'
  config.data.parts = {
    'real': {'source': 'folder', 'root': ''},
    'made': {'source': 'photos', 'root': ''},
  }
  return config
"""


def noise_picture(side=160, seed=0):
  return np.random.default_rng(seed).uniform(0, 255, (side, side)).astype(np.float32)


def step(side=160, angle=0.0):
  y, x = np.mgrid[:side, :side] - side / 2
  return np.where(np.round(x * np.cos(angle) + y * np.sin(angle), 6) > 0, 200, 50).astype(
    np.float32
  )


def test_psnr_of_one_level_and_of_equal_pictures():
  sharp = np.full((8, 8, 3), 100, np.uint8)
  assert blur_model.psnr(sharp + 1, sharp) == pytest.approx(48.13, abs=0.01)
  assert blur_model.psnr(sharp, sharp) == pytest.approx(60)


def test_a_gaussian_weakens_bands_as_its_transform_says():
  sharp = noise_picture()
  blurry = ndimage.gaussian_filter(sharp, 1.5)
  bands, directed = blur_model.weakening(blurry, sharp)
  # |H|^2 = exp(-(2 pi f sigma)^2), averaged over the rings of the bands.
  for (low, high), lost in zip(((1 / 32, 1 / 16), (1 / 16, 1 / 8)), bands, strict=False):
    f = np.linspace(low, high, 200)
    expected = -10 * np.log10(np.average(np.exp(-((2 * np.pi * f * 1.5) ** 2)), weights=f))
    assert lost == pytest.approx(expected, abs=0.3)
  assert directed < 1
  assert blur_model.weakening(sharp, sharp)[0] == pytest.approx([0, 0, 0, 0], abs=1e-6)


def test_a_line_weakens_one_direction():
  sharp = noise_picture()
  along = ndimage.uniform_filter1d(sharp, 9, axis=1)
  assert blur_model.weakening(along, sharp)[1] > 8


@pytest.mark.parametrize('angle', [0.0, np.pi / 2, np.pi])
@pytest.mark.parametrize('length', [3, 9, 15])
def test_a_step_blurred_by_a_line_is_as_wide_as_the_line(angle, length):
  sharp = step(angle=angle)
  axis = 0 if angle == np.pi / 2 else 1
  widths = blur_model.edge_widths(ndimage.uniform_filter1d(sharp, length, axis=axis), sharp)
  assert len(widths) >= 5
  np.testing.assert_allclose(widths, length, atol=0.6)
  np.testing.assert_allclose(blur_model.edge_widths(sharp, sharp), 1, atol=0.1)


def test_pictures_without_edges_have_no_widths():
  assert blur_model.edge_widths(*[np.full((160, 160), 90, np.float32)] * 2) == []


def test_noise_is_its_standard_deviation_whatever_slope_lies_below():
  x = np.arange(160, dtype=np.float32)[None]
  grain = np.random.default_rng(0).normal(0, 3, (160, 160)).astype(np.float32)
  assert blur_model.noise(0.5 * x + grain) == pytest.approx(3, rel=0.05)


def test_a_sheet_fills_rows_and_leaves_the_rest_black():
  pictures = [np.full((2, 3, 3), number, np.uint8) for number in (1, 2, 3)]
  drawn = blur_model.sheet(pictures, 2)
  np.testing.assert_array_equal(drawn[::2, ::3, 0], [[1, 2], [3, 0]])


def test_the_command_measures_and_draws_every_part(tmp_path):
  released.gopro(tmp_path / 'real', numbers=(1, 2), height=80, width=90)
  photo_folder.write(tmp_path / 'made', ['a', 'b', 'c', 'd'], height=80, width=90)
  (tmp_path / 'config.py').write_text(CONFIG)
  command = [
    *(sys.executable, str(ROOT / 'experiments' / 'blur_model.py')),
    f'--config={tmp_path / "config.py"}',
    *(f'--config.data.parts.{part}.root={tmp_path / part}' for part in ('real', 'made')),
    *(f'--output={tmp_path / "out"}', '--side=64', '--count=6'),
  ]
  result = subprocess.run(
    command, capture_output=True, text=True, cwd=ROOT, env=child.environment()
  )
  assert result.returncode == 0, result.stderr
  assert 'blurry PSNR, dB' in result.stdout
  figures = json.loads((tmp_path / 'out' / 'blur_model.json').read_text())
  assert figures.keys() == {'real', 'made'}
  low, middle, high = figures['made']['blurry PSNR, dB']
  assert 5 < low <= middle <= high <= 60
  assert read_picture(tmp_path / 'out' / 'blur_model.png').shape == (2 * 64, 2 * 5 * 64 + 8, 3)
  assert read_picture(tmp_path / 'out' / 'made.png').shape == (128, 640, 3)
  command[-1] = '--config.data.parts.real.root='
  refused = subprocess.run(
    command, capture_output=True, text=True, cwd=ROOT, env=child.environment()
  )
  assert refused.returncode != 0 and 'Traceback' not in refused.stderr
