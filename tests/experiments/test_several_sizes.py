"""What seeing a picture at several sizes gains: the table, and the command on one small pair."""

import json
import math

import command
import numpy as np
import pytest
import several_sizes
from plain_nets import restorer
from scipy import ndimage
from skimage import data

from degrep_jax.common.pixels import write_png
from degrep_jax.data.synthetic.photographs import split_files


def test_the_table_has_a_column_per_size():
  found = {
    'a': {
      1.0: {'pictures': 2, 'gain': 0.5, 'least': -0.1, 'energy': -30.04},
      'together': {'pictures': 2, 'gain': 0.75, 'least': 0.2, 'energy': -29.0},
    },
    several_sizes.SHARP: {
      0.5: {'pictures': 3, 'gain': 50.0, 'least': 40.0},
      'together': {'pictures': 3, 'gain': 52.0, 'least': 41.0},
    },
  }
  assert several_sizes.markdown(found).splitlines() == [
    '| pictures | 0.5 | 1 | together |',
    '|---|---|---|---|',
    '| a, 2 |  | +0.50 (-30.0) | +0.75, least +0.20 |',
    '| sharp photographs, 3 | 50.0, least 40.0 |  | 52.0, least 41.0 |',
  ]


def test_decibels_are_of_255():
  x, y = np.full((4, 4, 3), 1.2, np.float32), np.full((4, 4, 3), 0.9, np.float32)
  assert several_sizes.decibels(x, y) == pytest.approx(20, abs=1e-4)  # 1.2 is clipped to 1


def test_gains_are_those_of_each_size_and_of_all():
  sharp = np.random.default_rng(0).uniform(0.3, 0.6, (24, 32, 3)).astype(np.float32)
  pairs = [(sharp - 0.1, sharp), (sharp, sharp)]  # of the second there is nothing to gain
  several, one = (restorer(lambda x, _: x + 0.05, scales=scales) for scales in (3500, 0))
  found = several_sizes.gains(several, one, iter(pairs))
  # From 20 dB to an error of a half, at the sides 17 by 23, 24 by 32, 34 by 45 and 48 by 64.
  assert list(found) == [2**-0.5, 1.0, 2**0.5, 2.0, 'together']
  for of in found.values():
    assert of['pictures'] == 1 and of['gain'] == of['least']
    assert of['gain'] == pytest.approx(20 * math.log10(2), abs=1e-3)
    assert of['energy'] == pytest.approx(20 * math.log10(0.05), abs=1e-3)


@pytest.mark.slow
def test_the_command_prints_and_writes_a_row_per_set(tmp_path):
  sharp = data.coffee()[100:228, 200:360]
  blurry = np.uint8(np.rint(ndimage.uniform_filter(sharp.astype(float), (1, 9, 1))))
  for folder, picture in (('blur', blurry), ('sharp', sharp)):
    (tmp_path / folder).mkdir()
    write_png(tmp_path / folder / 'a.png', picture)
  (tmp_path / 'photos').mkdir()
  for number in range(20):  # of which some are held back
    write_png(tmp_path / 'photos' / f'{number}.png', sharp[:40, :60])
  held_back = len(split_files(tmp_path / 'photos', 'test', 0.1, ''))
  flags = [f'--pairs=coffee={tmp_path}', '--resize', '1', '0.5', '--scales=50000']
  flags += [f'--photos={tmp_path}/photos', f'--output={tmp_path}/out']
  done = command.experiment('several_sizes.py', *flags)
  assert done.returncode == 0, done.stderr[-2000:]
  *_, head, _, whole, half, kept = done.stdout.splitlines()
  assert kept.startswith(f'| sharp photographs, {held_back} |') and held_back > 0
  assert head == '| pictures | 1 | 1.4 | 2 | 2.8 | 4 | together |'
  assert whole.startswith('| coffee, 1 |') and half.startswith('| coffee x 0.5, 1 |')
  found = json.loads((tmp_path / 'out' / 'several_sizes.json').read_text())
  assert set(found['coffee']) == {'1.0', '1.4142135623730951', 'together'}
  assert all(np.isfinite(of['gain']) for of in found['coffee'].values())
