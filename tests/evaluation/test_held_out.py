"""Whole pictures scored and shown: hand-made predictions, one tiny network."""

import csv
import functools
import json
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from plain_nets import CELL, joint, restorer
from rounding import FEW, gamma

from configs import default
from degrep_jax import metrics
from degrep_jax.data.pairs import Pair
from degrep_jax.evaluation import held_out, scoring
from degrep_jax.models import factory
from degrep_jax.training.state import create_network

TILE = 16
# Sizes and the tiles that cover them: larger than a tile, of a tile, smaller than a tile.
SIZES = {(20, 33): 2 * 3, (16, 16): 1, (40, 21): 3 * 2, (11, 12): 1}
METRICS = ('psnr', 'ssim_3d', 'ssim_2d')


class Pairs:
  """Pairs in memory; remembers which were asked for."""

  def __init__(self, pairs):
    self.pairs = pairs
    self.names = tuple(pair.name for pair in pairs)
    self.asked = []

  def __len__(self):
    return len(self.pairs)

  def pair(self, item):
    self.asked.append(item)
    return self.pairs[item]

  def crop(self, item, size, rng):
    raise AssertionError('an evaluation takes whole pictures')


def noise(seed, size):
  return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@pytest.fixture
def source():
  return Pairs(
    [
      Pair(f'scene/{seed}', noise(seed, size), noise(seed + 100, size))
      for seed, size in enumerate(SIZES)
    ]
  )


def coordinates(name, height, width):
  """A pair whose pixels tell where they lie: (row, column, 1 where sharp)."""
  rows, columns = np.mgrid[:height, :width].astype(np.uint8)
  blurry, sharp = (np.stack([rows, columns, np.full_like(rows, k)], -1) for k in (0, 1))
  return Pair(name, blurry, sharp)


def direct(pair, deblurred, reblurred):
  """What a row must hold, by the metrics themselves."""
  compared = {
    'blurry': (pair.blurry, pair.sharp),
    'deblurred': (deblurred, pair.sharp),
    'identity': (pair.sharp, pair.blurry),
    'reblurred': (reblurred, pair.blurry),
  }
  return {'name': pair.name} | {
    f'{row}_{name}': getattr(metrics, name)(*two)
    for row, two in compared.items()
    for name in METRICS
  }


def scores(restorer, source, **options):
  """A row per pair."""
  own = held_out.OwnNetwork(restorer)
  return scoring.score(source, [own], scoring.Protocol(), **options).rows


def test_pictures_left_as_they_are_score_as_they_are(source):
  rows = scores(restorer(), source)
  assert rows == [direct(pair, pair.blurry, pair.sharp) for pair in source.pairs]
  for row in rows:
    assert set(row) == {'name'} | {
      f'{kind}_{name}'
      for kind in ('blurry', 'deblurred', 'identity', 'reblurred')
      for name in METRICS
    }
    for name in METRICS:
      assert row[f'deblurred_{name}'] == row[f'blurry_{name}']
      assert row[f'reblurred_{name}'] == row[f'identity_{name}']


def test_perfect_pictures(source):
  perfect = Pairs([Pair(pair.name, pair.sharp, pair.sharp) for pair in source.pairs])
  for row in scores(restorer(), perfect):
    for kind in ('deblurred', 'reblurred'):
      assert row[f'{kind}_psnr'] == float('inf')
      assert row[f'{kind}_ssim_3d'] == pytest.approx(1, abs=1e-12)


def test_pictures_are_clipped_and_rounded_before_they_are_scored(source):
  # In 8-bit levels: 76.6 more, which is 77, and 20.4 fewer, which is 20.
  net = restorer(lambda x, _: x + 76.6 / 255, lambda x, _: x - 20.4 / 255)
  rows = scores(net, source)
  for row, pair in zip(rows, source.pairs, strict=True):
    brighter = np.minimum(pair.blurry.astype(int) + 77, 255).astype(np.uint8)
    darker = np.maximum(pair.sharp.astype(int) - 20, 0).astype(np.uint8)
    assert row == direct(pair, brighter, darker)


@pytest.mark.parametrize('mode', ['tiles', 'feathered', 'full'])
@pytest.mark.parametrize('batch', [1, 4, 5, 32])
def test_pairs_are_read_once_in_their_order(source, batch, mode):
  rows = scores(restorer(batch=batch, mode=mode), source)
  assert [row['name'] for row in rows] == ['scene/0', 'scene/1', 'scene/2', 'scene/3']
  assert rows == [direct(pair, pair.blurry, pair.sharp) for pair in source.pairs]
  assert source.asked == [0, 1, 2, 3]


def test_pairs_are_read_when_they_are_needed(source, monkeypatch):
  monkeypatch.setattr(metrics, 'THREADS', 1)
  asked = []
  scores(restorer(batch=6), source, check=lambda: asked.append([*source.asked]))
  # The first picture has six tiles; one is scored beside a batch, which the third one fills.
  assert asked[0] == [0, 1, 2]


def test_tiny_pictures_are_restored_and_scored_without_ssim(tmp_path, capsys):
  pairs = [
    Pair(f'{height}x{width}', noise(height, (height, width)), noise(width + 50, (height, width)))
    for height, width in ((1, 1), (7, 13), (31, 31))
  ]
  net = restorer(lambda x, _: x, lambda x, _: x)
  totals = held_out.write_evaluation(net, Pairs(pairs), tmp_path, 's', 'noise')
  with (tmp_path / 's.csv').open() as file:
    rows = list(csv.DictReader(file))
  for row, pair in zip(rows, pairs, strict=True):
    assert float(row['deblurred_psnr']) == metrics.psnr(pair.blurry, pair.sharp)
  for name in ('ssim_3d', 'ssim_2d'):
    assert [row[f'reblurred_{name}'] for row in rows[:2]] == ['', '']
    assert totals[f'deblurred_{name}'] == getattr(metrics, name)(pairs[2].blurry, pairs[2].sharp)
  assert (totals['count'], totals['without_ssim']) == (3, 2)
  written = json.loads((tmp_path / 's.json').read_text())
  assert written['without_ssim'] == ['1x1', '7x13']
  assert '2 of 3 pictures are smaller than the window of SSIM' in capsys.readouterr().err


def test_identical_pairs_are_in_no_mean_psnr(source, tmp_path, capsys):
  same = Pair('same', source.pairs[0].sharp, source.pairs[0].sharp)
  net = restorer(lambda x, _: x + 10 / 255, lambda x, _: x)
  totals, without = (
    held_out.write_evaluation(net, Pairs(pairs), tmp_path, 's', 'noise')
    for pairs in ([*source.pairs, same], source.pairs)
  )
  assert (totals['count'], totals['identical']) == (5, 1)
  for column in ('blurry_psnr', 'deblurred_psnr', 'identity_psnr', 'reblurred_psnr'):
    assert totals[column] == without[column]
  assert 'no mean PSNR is over them: same (blurry, identity, reblurred)' in capsys.readouterr().err


def test_overlapping_tiles_are_averaged():
  # Two tiles of 16 over 24 columns: they share columns 8 to 15.
  pair = Pair('grey', np.full((16, 24, 3), 100, np.uint8), noise(0, (16, 24)))
  levels = np.array([60, 120], np.float32)[:, None, None, None] / 255
  net = restorer(lambda x, _: jnp.broadcast_to(levels, x.shape), batch=2)
  (row,) = scores(net, Pairs([pair]))
  expected = np.full((16, 24, 3), 60, np.uint8)
  expected[:, 8:16] = 90
  expected[:, 16:] = 120
  assert row == direct(pair, expected, pair.sharp)


# Size of the picture, and the upper left corner and size of what is shown.
@pytest.mark.parametrize(
  ('size', 'corner', 'shown'),
  [
    ((40, 50), (4, 9), (32, 32)),
    ((32, 32), (0, 0), (32, 32)),
    ((100, 31), (34, 7), (32, 16)),
    ((20, 50), (2, 9), (16, 32)),
    ((16, 16), (0, 0), (16, 16)),
  ],
)
@pytest.mark.parametrize('batch', [1, 3, 8])
def test_samples_are_the_middle_of_the_picture(size, corner, shown, batch):
  pair = coordinates('here', *size)
  net = restorer(lambda x, _: x + 30 / 255, lambda x, _: x + 3, batch=batch)
  (example,) = held_out.samples(net, Pairs([pair]), [0])
  window = tuple(slice(c, c + s) for c, s in zip(corner, shown, strict=True))
  assert example['name'] == 'here'
  for name in ('blurry', 'sharp', 'deblurred', 'reblurred'):
    assert example[name].shape == (*shown, 3)
    assert example[name].dtype == np.uint8
  np.testing.assert_array_equal(example['blurry'], pair.blurry[window])
  np.testing.assert_array_equal(example['sharp'], pair.sharp[window])
  np.testing.assert_array_equal(example['deblurred'], pair.blurry[window] + 30)
  np.testing.assert_array_equal(example['reblurred'], np.full((*shown, 3), 255))
  # The map of each tile, means of 8x8 px, lies where the tile lies.
  means = pair.blurry[window].reshape(shown[0] // 8, 8, shown[1] // 8, 8, 3).mean((1, 3)) / 255
  rounding = gamma(CELL**2) + FEW
  np.testing.assert_allclose(example['degradation_map'], means, rtol=0, atol=rounding)
  assert example['map_tile'] == (2, 2)


@pytest.mark.parametrize(('size', 'shown'), [((11, 12), (16, 16)), ((13, 40), (16, 32))])
def test_samples_smaller_than_a_tile_are_mirrored(size, shown):
  pair = coordinates('small', *size)
  (example,) = held_out.samples(restorer(), Pairs([pair]), [0])
  height, width = size
  rows = [*range(height), *reversed(range(height))][: shown[0]]
  left = max(0, width - shown[1]) // 2
  columns = [*range(width), *reversed(range(width))][left : left + shown[1]]
  np.testing.assert_array_equal(example['blurry'], pair.blurry[rows][:, columns])
  np.testing.assert_array_equal(example['reblurred'], pair.sharp[rows][:, columns])


def test_samples_come_in_the_order_they_are_asked_for(source):
  examples = held_out.samples(restorer(), source, [2, 0, 3])
  assert [example['name'] for example in examples] == ['scene/2', 'scene/0', 'scene/3']


@pytest.fixture(autouse=True)
def small_window(monkeypatch):
  """People are shown at most 2x2 tiles."""
  monkeypatch.setattr(held_out, 'WINDOW', 2 * TILE)


evaluator_of = functools.partial(held_out.Evaluator, joint(), tile=TILE, batch=4)


@pytest.mark.parametrize(
  ('pairs', 'count', 'items'),
  [(10, 4, [0, 3, 6, 9]), (3, 3, [0, 1, 2]), (2, 4, [0, 1]), (1, 4, [0]), (7, 1, [0])],
)
def test_samples_are_spread_over_the_source(pairs, count, items):
  source = Pairs([coordinates(str(item), 16, 16) for item in range(pairs)])
  examples = evaluator_of(source).samples({'params': {}}, count)
  assert [example['name'] for example in examples] == [str(item) for item in items]


def test_scores_are_written_and_averaged(source, tmp_path):
  totals = evaluator_of(source).scores({'params': {}}, tmp_path / 'evaluations', 'step_3')
  rows = [direct(pair, pair.blurry, pair.sharp) for pair in source.pairs]
  assert totals['count'] == 4
  for name in METRICS:
    assert totals[f'blurry_{name}'] == pytest.approx(np.mean([r[f'blurry_{name}'] for r in rows]))
  written = json.loads((tmp_path / 'evaluations' / 'step_3.json').read_text())
  assert totals.items() <= written.items()
  with (tmp_path / 'evaluations' / 'step_3.csv').open() as file:
    assert [row['name'] for row in csv.DictReader(file)] == list(source.names)


def test_the_blurry_pictures_are_scored_once(source, tmp_path, monkeypatch):
  evaluator = evaluator_of(source)
  first = evaluator.scores({'params': {}}, tmp_path, 'step_1')
  compared = []

  def psnr(a, b, **options):
    compared.append((a, b))
    return psnr_of(a, b, **options)

  psnr_of = metrics.psnr
  monkeypatch.setattr(metrics, 'psnr', psnr)
  assert evaluator.scores({'params': {}}, tmp_path, 'step_2') == first
  assert len(compared) == 2 * len(source)  # deblurred and reblurred


def test_the_file_is_that_of_degrep_evaluate(source, tmp_path):
  """The same keys, and the rows of a joint net each beside what it is to be better than."""
  net = restorer(lambda x, _: x + 10 / 255)
  totals = held_out.write_evaluation(net, source, tmp_path, 'own', 'noise')
  methods, protocol = [scoring.BlurryInput()], scoring.Protocol()
  compared = scoring.score(source, [*methods, scoring.Checkpoint('ours', net)], protocol)
  methods.append(scoring.Checkpoint('ours', net))
  scoring.write(tmp_path, compared, methods, protocol, 'noise')
  own, other = (json.loads((tmp_path / f'{stem}.json').read_text()) for stem in ('own', 'scores'))
  assert own.keys() - totals.keys() == other.keys() - compared.totals().keys()
  assert own['methods'][1]['means'] == other['methods'][1]['means']
  assert own['methods'][1]['gain'] == other['methods'][1]['gain']
  rows = {row['label']: row for row in own['methods']}
  assert {label: row['kind'] for label, row in rows.items()} == {
    'blurry': 'input',
    'deblurred': 'checkpoint',
    'identity': 'input',
    'reblurred': 'checkpoint',
  }
  assert rows['reblurred']['gain']['mean'] == 0  # sharp pictures left as they are
  assert rows['identity']['gain'] is None and own['differences'] == []
  assert own['protocol']['mode'] == 'tiles' and own['dataset'] == 'noise'


@pytest.fixture(scope='module')
def tiny():
  """(module, variables) of a joint net of two scales for tiles of 32 px."""
  model = default.get_config().model
  model.update(
    width=2,
    depth=2,
    encoder_width=2,
    encoder_stages=(1, 2),
    encoder_input=0,
    modulation_hidden=2,
  )
  module = factory.build_generator(model, None)
  picture = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  nothing = types.SimpleNamespace(init=lambda params: ())
  key = jax.random.key(0, impl='rbg')
  return module, create_network(module, key, nothing, picture, picture).variables


def test_an_evaluation_while_training_is_that_of_the_module(tiny, caplog):
  module, variables = tiny
  pairs = Pairs(
    [Pair(str(seed), noise(seed, (32, 32)), noise(seed + 9, (32, 32))) for seed in (0, 1)]
  )
  evaluator = held_out.Evaluator(module, pairs, tile=32, batch=2)
  stacks = [np.stack([getattr(pair, of) for pair in pairs.pairs]) for of in ('blurry', 'sharp')]
  apply = jax.jit(module.apply)

  def compare(variables):
    examples = evaluator.samples(variables, 2)
    outputs = apply(variables, *(stack / np.float32(255) for stack in stacks))
    for name, expected in zip(('deblurred', 'reblurred'), outputs, strict=True):
      levels = np.clip(np.asarray(expected), 0, 1) * 255
      given = np.stack([example[name] for example in examples])
      assert np.std(levels) > 1
      np.testing.assert_allclose(given, levels, rtol=0, atol=0.51)

  compare(variables)
  halved = jax.tree.map(lambda x: np.asarray(x) / 2, variables)
  with jax.log_compiles():
    compare(halved)
  assert not [record for record in caplog.records if 'ompil' in record.getMessage()]


def test_what_was_scored_is_called_by_what_tells_it_apart(tmp_path, monkeypatch):
  """GoPro and HIDE may lie prepared in one folder, RealBlur's two lists in another."""
  monkeypatch.chdir(tmp_path)
  data = default.get_config().data
  data.source = 'synthetic'
  assert held_out.dataset_of(data) == 'synthetic'
  data.update(source='tfds', root='prepared', name='hide')
  assert held_out.dataset_of(data) == f'hide in {tmp_path}/prepared'
  data.update(source='list', root='/RealBlur', list_name='RealBlur_R')
  assert held_out.dataset_of(data) == 'RealBlur_R in /RealBlur'
  data.update(source='folder', eval_root='/other')
  assert held_out.dataset_of(data) == '/other'
  data.update(source='mixture', root='', eval_root='')
  data.parts = {
    'gopro': {'source': 'folder', 'root': '/GOPRO_Large'},
    'pairs': {'source': 'folder', 'root': '/pairs', 'evaluate': False},
    'made': {'source': 'synthetic'},
  }
  assert held_out.dataset_of(data) == 'gopro: /GOPRO_Large, made: synthetic'
