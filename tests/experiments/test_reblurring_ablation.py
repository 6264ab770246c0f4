"""The ablation's measures on pictures made by hand, and the script at smoke size."""

import csv
import json
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

sys.path.append(str(pathlib.Path(__file__).parents[2] / 'experiments'))

import fields
import reblurring_ablation as ablation
import study

from degrep_jax.data.synthetic.exposure import BlurExample
from degrep_jax.metrics import psnr, ssim_2d
from degrep_jax.models import factory

ROOT = pathlib.Path(__file__).parents[2]
RNG = np.random.default_rng(0)
SCENE = RNG.integers(0, 256, (2, 32, 32, 3), np.uint8)


def example(extent, swept=0):
  extent = np.asarray(extent, np.float32)
  return BlurExample(SCENE, SCENE, extent, 0 * extent, extent > 0, (extent > 0) | (swept > 0))


def wave(cycles, amplitude=50.0, side=64):
  grey = 128 + amplitude * np.cos(2 * np.pi * cycles * np.arange(side) / side)
  return np.broadcast_to(grey[None, :, None], (side, side, 3))


def test_a_regions_psnr_looks_at_its_pixels_alone():
  mask = np.zeros((32, 32), bool)
  mask[:8] = True
  other = SCENE[0].astype(int)
  other[:8] += np.where(other[:8] < 128, 10, -10)  # an error of 10 in the mask
  other[8:] = 0
  other = other.astype(np.uint8)
  assert fields.region_psnr(other, SCENE[0], mask) == pytest.approx(20 * np.log10(25.5))
  assert fields.region_psnr(other, SCENE[0], ~mask) < 10
  everywhere = np.ones((32, 32), bool)
  assert fields.region_psnr(other, SCENE[0], everywhere) == pytest.approx(psnr(other, SCENE[0]))


def test_no_error_counts_as_that_of_rounding():
  everywhere = np.ones((32, 32), bool)
  values = np.random.default_rng(1).uniform(0, 255, 10**6)
  rounding = np.mean((np.rint(values) - values) ** 2)
  assert fields.region_psnr(SCENE[0], SCENE[0], everywhere) == pytest.approx(
    10 * np.log10(255**2 / rounding), abs=0.01
  )


def test_the_still_region_is_what_nothing_blurs():
  extent, swept = np.zeros((1, 32, 32)), np.zeros((1, 32, 32))
  extent[0, 10:20, 10:20] = 5
  swept[0, 8:22, 8:22] = 1  # the rim that the square hides and uncovers does not move itself
  masks = fields.regions(example(extent, swept))
  assert masks['still'].sum() == 32**2 - 14**2
  assert masks['moving'].sum() == 10**2 and masks['whole'].all()


def test_the_map_of_ssim_has_the_known_mean_inside():
  a, b = SCENE
  similarity = ablation.ssim_map(a, b)
  assert np.nanmean(similarity) == pytest.approx(ssim_2d(a, b), abs=1e-12)
  assert np.isnan(similarity).sum() == similarity.size - (len(a) - 10) ** 2


def test_a_waves_power_lies_on_its_ring():
  power = ablation.radial_power(wave(9))
  assert len(power) == 31
  # A Hann window spreads a wave over its frequency and the two beside it.
  assert np.argmax(power) == 9 - 1
  assert power[[7, 8, 9]].sum() / power.sum() > 0.99


def test_distances_of_spectra_are_ratios_in_decibels():
  picture = RNG.normal(128, 20, (64, 64, 3))
  half = 128 + (picture - 128) / 2
  distance, fine = ablation.spectrum_distance(half, picture)
  assert distance == pytest.approx(20 * np.log10(2))
  assert fine == pytest.approx(-20 * np.log10(2))
  assert ablation.spectrum_distance(picture, picture) == (0, 0)
  # Only what lies below a quarter of the sampling rate is gone: the fine part is untouched.
  coarse = wave(5) - 128
  distance, fine = ablation.spectrum_distance(picture + coarse, picture)
  assert fine == pytest.approx(0, abs=0.1) and distance > 3


def test_regions_that_are_not_there_have_no_scores():
  extent = np.zeros((2, 32, 32))
  extent[0] = 1.0  # neither still nor moving
  extent[1, :16] = 3.0
  rows = ablation.scores(SCENE[::-1], example(extent))
  assert rows[0]['moving_psnr'] is None and rows[0]['still_ssim'] is None
  assert rows[0]['whole_psnr'] == pytest.approx(psnr(SCENE[1], SCENE[0]))
  top = np.zeros((32, 32), bool)
  top[:16] = True
  assert rows[1]['moving_psnr'] == fields.region_psnr(SCENE[0], SCENE[1], top)
  assert rows[1]['still_psnr'] == fields.region_psnr(SCENE[0], SCENE[1], ~top)
  means = ablation.means(rows)
  assert means['moving_psnr'] == rows[1]['moving_psnr']
  assert means['whole_ssim'] == pytest.approx((rows[0]['whole_ssim'] + rows[1]['whole_ssim']) / 2)


def test_seeds_are_summed_up_and_orderings_counted():
  table = ablation.summary([{'x': 1.0}, {'x': 2.0}, {'x': 6.0}])
  assert table['x'] == {'mean': 3.0, 'std': pytest.approx(7**0.5)}
  assert ablation.summary([{'x': 4.0}])['x'] == {'mean': 4.0, 'std': 0.0}

  def run(*scenes):
    columns = 'whole_psnr', 'still_psnr', 'two_motions_psnr', 'spectrum_db'
    return [dict(zip(columns, scene, strict=True)) for scene in scenes]

  runs = {
    '2-D map': [run((30, 40, 33, 2), (32, None, None, 2)), run((30, 40, 33, 2))],
    '1-D code': [run((29, 41, 30, 2), (30, None, None, 2)), run((31, 39, 34, 2))],
    'L1 only': [run((31, 40, 30, 3), (33, None, None, 5)), run((28, 40, 30, 1))],
    'no map': [run((28, 40, 30, 2), (29, None, None, 2)), run((29, 40, 30, 2))],
  }
  held = ablation.orderings(runs)
  del runs['no map'], runs['1-D code']
  assert [*ablation.orderings(runs)] == ['2-D map nearer in spectrum than L1 only']
  assert {name: [seed['mean'] for seed in of] for name, of in held.items()} == {
    '2-D map above 1-D code, whole': [1.5, -1],
    '2-D map above 1-D code, still': [-1, 1],
    '2-D map above 1-D code, two motions': [3, -1],
    'no map worst, whole': [1, -1],
    '2-D map nearer in spectrum than L1 only': [2, -1],
  }
  first, second = held['2-D map above 1-D code, whole']
  # Of two scenes every mean that can be drawn lies between theirs.
  assert (first['low'], first['high'], first['pictures']) == (1, 2, 2)
  assert second['low'] is None
  assert held['2-D map above 1-D code, still'][0]['pictures'] == 1


def test_two_motions_are_lines_of_blur_that_differ():
  moving = np.zeros((5, 32, 32), bool)
  moving[:4, 8:24, 8:24] = True
  extent, direction = np.zeros((2, 5, 32, 32), np.float32)
  extent[0][moving[0]] = 6  # it moves where all else rests
  extent[1] = extent[4] = 9  # all moves alike; without a part that moves alone
  extent[2], direction[2][moving[2]] = 3, np.pi / 2  # as far, but across
  extent[3][moving[3]] = 3  # too little
  pictures = np.zeros((5, 32, 32, 3), np.uint8)
  scenes = BlurExample(pictures, pictures, extent, direction, moving, moving)
  assert ablation.two_motions(scenes).tolist() == [True, False, True, False, False]


@pytest.mark.parametrize('net, parameters', [('2-D map', 157_470_464), ('4x4 map', 31_247_104)])
def test_the_full_setting_has_the_released_encoders(net, parameters):
  args = study.parser('', '').parse_args([])
  encoder = factory.build_encoder(study.settings(args, net).model)
  picture = jax.ShapeDtypeStruct((1, 256, 256, 3), np.float32)
  shapes = jax.eval_shape(encoder.init, jax.random.key(0), picture)['params']
  assert sum(x.size for x in jax.tree.leaves(shapes)) == parameters


def ran(folder, *flags):
  command = [sys.executable, 'experiments/reblurring_ablation.py', *flags]
  return subprocess.run(
    [*command, f'--output={folder}/out', f'--nets={folder}/nets'],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=1200,
  )


def test_two_settings_at_once_are_refused(tmp_path):
  result = ran(tmp_path, '--smoke', '--quick')
  assert result.returncode == 2 and 'not allowed with' in result.stderr


@pytest.mark.slow
def test_a_second_run_gives_the_same_numbers(tmp_path):
  first = ran(tmp_path, '--smoke', '--seeds=1', '--scenes=2')
  assert first.returncode == 0, first.stderr[-4000:]
  out = tmp_path / 'out'
  written = {path.name: path.read_bytes() for path in out.iterdir()}
  assert set(written) == {'ablation.json', 'ablation.csv', 'ablation.png'}
  report = json.loads(written['ablation.json'])
  assert list(report['variants']) == [*ablation.VARIANTS, ablation.UNBLURRED]
  with (out / 'ablation.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert len(rows) == 5 * 6 and rows[0]['scene'] == 'chelsea/0'
  assert report['scenes']['whole'] == 6 and report['setting']['seeds'] == [0]
  again = ran(tmp_path, '--smoke', '--seeds=1', '--scenes=2')
  assert again.returncode == 0 and 'training' not in again.stderr
  assert {path.name: path.read_bytes() for path in out.iterdir()} == written
  # And so do nets that are trained once more.
  shutil.rmtree(tmp_path / 'nets')
  again = ran(tmp_path, '--smoke', '--seeds=1', '--scenes=2')
  assert again.returncode == 0 and again.stderr.count('training') >= 4
  assert {path.name: path.read_bytes() for path in out.iterdir()} == written
