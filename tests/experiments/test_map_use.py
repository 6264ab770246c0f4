"""What map_use.py scores: its tiles, its other photographs, and the table."""

import argparse
import sys
import types

import numpy as np
import pytest
import saved
from command import ROOT

sys.path.append(str(ROOT / 'experiments'))

import fields
import map_use
import study

from degrep_jax import checkpoints, metrics
from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import to_float, to_uint8
from degrep_jax.data.source import open_source
from degrep_jax.models import factory

ARGS = argparse.Namespace(
  smoke=True, quick=False, seed=0, steps=None, photos=None, checkpoint=None, net=None
)


@pytest.mark.parametrize(
  'shape, tops, lefts',
  [
    ((20, 28), (2, 10), (6, 14)),  # two tiles of 8 either way around the middle
    ((13, 9), (2,), (0,)),  # room for one
    ((8, 17), (0,), (0, 8)),
    ((7, 30), (), (7, 15)),  # smaller than a tile
  ],
)
def test_tiles_lie_around_the_middle(shape, tops, lefts):
  picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
  tiles = map_use.middle_tiles(picture, 8)
  expected = [picture[top : top + 8, left : left + 8] for top in tops for left in lefts]
  assert tiles.shape == (len(expected), 8, 8, 3)
  np.testing.assert_array_equal(tiles, np.reshape(expected, tiles.shape))


def test_another_photograph_is_the_next_of_another_scene():
  config = study.settings(ARGS)
  config.data.eval_variants = 2
  source = open_source(config.data, 'test')
  sharp = [source.pair(item).sharp for item in range(6)]  # three photographs, two blurs each
  for item, other in enumerate(map_use.other_photographs(source)):
    following = sharp[(2, 2, 4, 4, 0, 0)[item]]
    np.testing.assert_array_equal(other, source.example(item, following).blurry)


@pytest.mark.parametrize(
  'shown, others',
  [
    ('aabbcc', [2, 3, 4, 5, 0, 1]),
    ('aaab', [3, 3, 3, 0]),
    ('ab', [1, 0]),
  ],
)
def test_another_tile_is_of_another_picture(shown, others):
  assert fields.of_others(shown, max(1, len(shown) // 3)).tolist() == others


def test_one_picture_has_no_other():
  with pytest.raises(UserError, match='One picture, or scene, alone is held out'):
    fields.of_others(['a', 'a', 'a'], 1)


def test_one_scene_has_no_other():
  with pytest.raises(UserError, match='One scene is held out'):
    map_use.other_photographs(types.SimpleNamespace(scenes=('a', 'a')))


def test_the_table_says_what_the_generators_make_of_the_maps(tmp_path, capsys):
  config = study.settings(ARGS)
  saved.workdir(tmp_path, config, {2: None})
  map_use.main(argparse.Namespace(checkpoint=str(tmp_path), photos=None))
  heading, *rows = capsys.readouterr().out.splitlines()[1:]
  assert heading.split() == ['map', 'reblurred', 'deblurred']
  assert len(rows) == 5
  net = factory.build_generator(config.model, None)
  variables = checkpoints.variables(checkpoints.load_network(tmp_path))
  source = open_source(config.data, 'test')
  pairs = [source.pair(item) for item in range(len(source))]
  blurry = to_float(np.stack([pair.blurry for pair in pairs]))
  sharp = to_float(np.stack([pair.sharp for pair in pairs]))
  for row, pictures in ((rows[0], blurry), (rows[3], sharp)):
    maps = net.apply(variables, pictures, method='degradation_map')
    made = net.apply(variables, blurry, sharp, maps, method='generate')
    for text, ours, true in zip(row.split()[-2:], made[::-1], (blurry, sharp), strict=True):
      psnr = map(metrics.psnr, to_uint8(np.asarray(ours)), to_uint8(true))
      assert float(text) == pytest.approx(np.mean(list(psnr)), abs=0.011)
