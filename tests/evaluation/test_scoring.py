"""Several methods scored side by side: hand-made pictures, and restorers that only pretend."""

import csv
import json
import math
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import rich.console
import skimage.data

from degrep_jax import metrics
from degrep_jax.common.errors import UserError
from degrep_jax.data.pairs import Pair, read_picture
from degrep_jax.evaluation import scoring, tables

SIZES = ((12, 30), (20, 14), (16, 16))
NAMES = ('b/2', 'a/1', 'a/2')


class Pairs:
  """Pairs in memory."""

  def __init__(self, pairs):
    self.pairs = pairs
    self.names = tuple(pair.name for pair in pairs)

  def __len__(self):
    return len(self.pairs)

  def pair(self, item):
    return self.pairs[item]


class Brighter:
  """Pretends to restore: adds to every value. Counts how far it has read ahead."""

  mode, tile, dtype, window, memory = 'tiles', 256, 'float32', 384, 2**32
  ensemble, strength, scales = 1, 1.0, 0

  def __init__(self, by, step=7):
    self.by, self.given, self.taken, self.ahead = by, 0, 0, 0
    self.about = {'checkpoint': f'runs/{by}', 'step': step, 'parameters': 3, 'config': {'seed': by}}
    self.about |= {'tile': 64, 'multiple': 16}

  def deblur(self, pictures):
    for picture in pictures:
      self.given += 1
      yield (picture + self.by).astype(np.uint8)


def shade(value, size):
  return np.full((*size, 3), value, np.uint8)


@pytest.fixture
def source():
  """Sharp pictures of one value, blurry ones 20 below."""
  pairs = zip(NAMES, SIZES, (100, 110, 120), strict=True)
  return Pairs(
    [Pair(name, shade(value - 20, size), shade(value, size)) for name, size, value in pairs]
  )


def decibels(error):
  return 10 * math.log10(255**2 / error**2)


def checkpoints(*by):
  return [scoring.Checkpoint(f'by_{number}', Brighter(number)) for number in by]


def test_every_picture_of_every_method_is_scored(source):
  methods = [scoring.BlurryInput(), *checkpoints(15, 20)]
  scores = scoring.score(source, methods, scoring.Protocol())
  assert scores.methods == ['blurry', 'by_15', 'by_20']
  assert [row['name'] for row in scores.rows] == list(NAMES)
  metric = ('psnr', 'ssim_3d', 'ssim_2d')
  columns = [f'{label}_{name}' for label in scores.methods for name in metric]
  for row, pair in zip(scores.rows, source.pairs, strict=True):
    assert list(row) == ['name', *columns]
    assert row['blurry_psnr'] == pytest.approx(decibels(20))
    assert row['by_15_psnr'] == pytest.approx(decibels(5))
    assert row['by_20_psnr'] == math.inf
    assert row['by_15_ssim_3d'] == metrics.ssim_3d(pair.blurry + np.uint8(15), pair.sharp)
    assert row['by_15_ssim_2d'] == metrics.ssim_2d(pair.blurry + np.uint8(15), pair.sharp)
  assert scores.means('blurry')['psnr'] == pytest.approx(decibels(20))
  assert scores.means('by_20')['psnr'] == math.inf
  assert not scores.failed


def test_scores_keep_the_order_of_the_pairs_whichever_thread_is_first(source, monkeypatch):
  slow, order = threading.Event(), []

  def psnr(picture, sharp, **_):
    value = int(sharp[0, 0, 0])
    if value == 100:
      slow.wait(10)  # the first picture is done last
    order.append(value)
    slow.set()
    return float(value)

  monkeypatch.setattr(metrics, 'psnr', psnr)
  monkeypatch.setattr(metrics, 'THREADS', 2)
  scores = scoring.score(source, checkpoints(1), scoring.Protocol())
  assert order[0] != 100
  assert scores.column('by_1', 'psnr') == [100, 110, 120]


def test_restoring_runs_few_pictures_ahead(monkeypatch):
  monkeypatch.setattr(metrics, 'THREADS', 2)
  size, restorer, most = (12, 12), Brighter(0), []
  source = Pairs([Pair(str(i), shade(i, size), shade(i, size)) for i in range(20)])

  def psnr(picture, sharp, **_):
    most.append(restorer.given - int(sharp[0, 0, 0]))
    return 0.0

  monkeypatch.setattr(metrics, 'psnr', psnr)
  scoring.score(source, [scoring.Checkpoint('a', restorer)], scoring.Protocol())
  assert len(most) == 20 and max(most) <= 4


def test_border_and_luma_reach_the_metrics(source):
  protocol = scoring.Protocol(crop_border=1, luma=True)
  draw = np.random.default_rng(0).integers(0, 256, (2, 13, 14, 3), np.uint8)
  source = Pairs([Pair('noise', *draw)])
  (row,) = scoring.score(source, [scoring.BlurryInput()], protocol).rows
  for name in ('psnr', 'ssim_3d', 'ssim_2d'):
    expected = getattr(metrics, name)(*draw, crop_border=1, luma=True)
    assert row[f'blurry_{name}'] == expected


TINY = ((1, 1), (7, 13), (10, 40), (31, 31))


def test_tiny_pictures_are_scored_without_ssim_where_its_window_does_not_fit():
  source = Pairs([Pair(f'{size}', shade(90, size), shade(100, size)) for size in TINY])
  methods = [scoring.BlurryInput(), *checkpoints(5)]
  scores = scoring.score(source, methods, scoring.Protocol())
  assert scores.column('blurry', 'psnr') == pytest.approx([decibels(10)] * 4)
  assert scores.column('by_5', 'psnr') == pytest.approx([decibels(5)] * 4)
  for metric in ('ssim_3d', 'ssim_2d'):
    *tiny, large = scores.column('by_5', metric)
    assert tiny == [None] * 3
    # Of flat pictures SSIM is its comparison of the means.
    constant = (0.01 * 255) ** 2
    expected = (2 * 95 * 100 + constant) / (95**2 + 100**2 + constant)
    assert large == scores.means('by_5')[metric] == pytest.approx(expected)
  summary = scoring.summary(scores, methods, scoring.Protocol(), 'tiny')
  assert summary['without_ssim'] == [f'{size}' for size in TINY[:3]]
  heading = table(tables.methods_table(summary)).split('PSNR, dB')[0]
  assert ' '.join(heading.split()) == 'means over pictures: 4, SSIM over 1'


def test_a_border_leaves_no_window():
  source = Pairs([Pair('a', shade(90, (20, 31)), shade(100, (20, 31)))])
  (row,) = scoring.score(source, [scoring.BlurryInput()], scoring.Protocol(crop_border=5)).rows
  assert row['blurry_psnr'] == pytest.approx(decibels(10)) and row['blurry_ssim_2d'] is None
  with pytest.raises(UserError, match=r'a of blurry: .*sides >= 21, not \(20, 31, 3\)'):
    scoring.score(source, [scoring.BlurryInput()], scoring.Protocol(crop_border=10))


def test_tiny_pictures_cannot_be_aligned():
  source = Pairs([Pair('tiny', shade(90, (10, 30)), shade(100, (10, 30)))])
  scores = scoring.score(source, [scoring.BlurryInput()], scoring.Protocol('realblur'))
  assert scores.failed == {'blurry': {'tiny': 'it is smaller than 11 px'}}
  assert scores.means('blurry') == {'psnr': None, 'ssim_2d': None}


def test_identical_pictures_are_counted_named_and_in_no_mean(source, tmp_path):
  first, second, third = source.pairs
  source = Pairs([first, Pair('same', second.sharp, second.sharp), third])
  methods = [scoring.BlurryInput(), *checkpoints(10, 15)]
  scores = scoring.score(source, methods, scoring.Protocol())
  assert scores.column('blurry', 'psnr')[1] == math.inf
  for label, error in (('blurry', 20), ('by_10', 10), ('by_15', 5)):  # `same` is 10 and 15 off
    assert scores.means(label)['psnr'] == pytest.approx(decibels(error))
  gain = scores.gain('by_15')
  assert (gain['mean'], gain['pictures']) == (pytest.approx(decibels(5) - decibels(20)), 2)
  psnr, *_ = scores.differences()
  assert (psnr['mean'], psnr['pictures']) == (pytest.approx(decibels(10) - decibels(5)), 2)
  summary = scoring.write(tmp_path, scores, methods, scoring.Protocol(), 'some')
  assert summary['identical'] == {'same': ['blurry']}
  assert json.loads((tmp_path / 'scores.json').read_text())['identical'] == summary['identical']
  heading = table(tables.methods_table(summary)).split('PSNR, dB')[0]
  assert ' '.join(heading.split()) == 'means over pictures: 3, PSNR over 2'


def test_pictures_of_zeros_and_ones_are_scored_by_their_type():
  """A largest value of 1 makes BasicSR take them for floats, whose white is 1: 48 dB too low."""
  bits = np.random.default_rng(0).integers(0, 2, (2, 16, 16, 3), np.uint8)
  source = Pairs([Pair('bits', *bits)])
  (row,) = scoring.score(source, [scoring.BlurryInput()], scoring.Protocol()).rows
  error = np.mean(bits[0] != bits[1])
  assert row['blurry_psnr'] == pytest.approx(10 * math.log10(255**2 / error))
  assert row['blurry_ssim_2d'] > 0.96  # both are black to every eye


# --- RealBlur ------------------------------------------------------------------------------------


@pytest.fixture
def photographs():
  """Pairs of which the second cannot be aligned by a method that returns it grey."""
  photograph = skimage.data.chelsea()[:120, 100:240]
  other = skimage.data.coffee()[:120, 100:240]
  return Pairs(
    [
      Pair('cat', np.roll(photograph, 2, axis=1), photograph),
      Pair('cup', np.roll(other, 2, axis=1), other),
    ]
  )


class Greying:
  """Restores perfectly, but returns the second picture without any content."""

  about = Brighter(0).about

  def __init__(self, source):
    self._sharp = [pair.sharp for pair in source.pairs]

  def deblur(self, pictures):
    yield from (self._sharp[0], np.full_like(self._sharp[1], 90))


def test_a_failed_alignment_is_listed_and_not_scored(photographs, tmp_path):
  methods = [
    scoring.BlurryInput(),
    scoring.Checkpoint('ours', Greying(photographs)),
    scoring.Checkpoint('theirs', Brighter(0)),
  ]
  protocol = scoring.Protocol('realblur')
  scores = scoring.score(photographs, methods, protocol)
  ((name, reason),) = scores.failed['ours'].items()
  assert name == 'cup' and 'ECC' in reason
  assert list(scores.failed) == ['ours']
  cat, cup = scores.rows
  assert 'blurry_ssim_3d' not in cat
  assert cup['ours_psnr'] is None and cup['ours_ssim_2d'] is None
  assert scores.means('ours')['psnr'] == cat['ours_psnr']
  assert scores.means('theirs')['psnr'] == np.mean([cat['theirs_psnr'], cup['theirs_psnr']])
  pair = photographs.pair(0)
  assert cat['blurry_psnr'] == metrics.realblur(pair.blurry, pair.sharp)['psnr']
  psnr, ssim = scores.differences()
  assert (psnr['pictures'], ssim['metric']) == (1, 'ssim_2d')
  assert psnr['mean'] == cat['ours_psnr'] - cat['theirs_psnr']
  summary = scoring.write(tmp_path, scores, methods, protocol, 'pets')
  assert summary['methods'][1]['failed_alignments'] == {'cup': reason}
  # Of the one picture that both have.
  gain = summary['methods'][1]['gain']
  assert (gain['mean'], gain['pictures']) == (cat['ours_psnr'] - cat['blurry_psnr'], 1)
  assert summary['methods'][0]['gain'] is None
  text = table(tables.methods_table(summary))
  assert [line.split()[-1] for line in text.splitlines()][2:] == ['2', '1', '2']
  with (tmp_path / 'scores.csv').open() as file:
    assert [row['ours_psnr'] == '' for row in csv.DictReader(file)] == [False, True]


def test_a_method_that_never_aligns_has_no_mean(photographs):
  class Grey(Brighter):
    def deblur(self, pictures):
      return (np.full_like(picture, 90) for picture in pictures)

  method = scoring.Checkpoint('grey', Grey(0))
  scores = scoring.score(photographs, [method], scoring.Protocol('realblur'))
  assert scores.means('grey') == {'psnr': None, 'ssim_2d': None}


# --- what is written -----------------------------------------------------------------------------


def table(made):
  console = rich.console.Console(width=80, color_system=None)
  with console.capture() as capture:
    console.print(made)
  return capture.get()


def test_scores_protocol_versions_and_config_are_written(source, tmp_path):
  methods = [scoring.BlurryInput(), *checkpoints(15, 20)]
  protocol = scoring.Protocol('released', methods[1].settings)
  scores = scoring.score(source, methods, protocol)
  summary = scoring.write(tmp_path / 'new', scores, methods, protocol, 'gopro')

  def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')

  text = (tmp_path / 'new' / 'scores.json').read_text()
  read = json.loads(text, parse_constant=refuse)
  assert (read['dataset'], read['pictures']) == ('gopro', 3)
  told = {'name': 'released', 'mode': 'tiles', 'tile': 256, 'channels': 'RGB', 'crop_border': 0}
  assert told.items() <= read['protocol'].items()
  assert 'rounded' in read['protocol']['rounding']
  assert read['versions']['numpy'] == np.__version__
  blurry, first, second = read['methods']
  assert blurry['kind'] == 'input'
  assert (first['platform'], first['matmul_precision']) == ('cpu', 'default')
  assert first['config'] == {'seed': 15} and first['step'] == 7 and first['checkpoint'] == 'runs/15'
  assert first['means']['psnr'] == pytest.approx(decibels(5))
  assert second['means']['psnr'] == 'inf'
  assert read['differences'][0]['mean'] == '-inf'
  assert summary['differences'][0]['mean'] == -math.inf
  with (tmp_path / 'new' / 'scores.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [row['name'] for row in rows] == list(NAMES)
  assert float(rows[0]['by_15_psnr']) == pytest.approx(decibels(5))


def test_settings_are_those_that_matter():
  restorer = Brighter(0)
  of_tiles = {'mode': 'tiles', 'tile': 256, 'dtype': 'float32'}
  of_tiles |= {'ensemble': 1, 'strength': 1.0, 'scales': 0}
  assert scoring.Checkpoint('a', restorer).settings == of_tiles
  restorer.mode = 'full'
  of_whole = of_tiles | {'mode': 'full', 'window': 384, 'memory': 2**32}
  assert scoring.Checkpoint('a', restorer).settings == of_whole


def test_tables_fit_a_terminal(tmp_path):
  draw = np.random.default_rng(0)
  sharp = draw.integers(0, 200, (3, 12, 12, 3), np.uint8)
  source = Pairs([Pair(str(i), x + np.uint8(20 + i), x) for i, x in enumerate(sharp)])
  long = '/data/a very long path to some runs of ours/and one more folder/' + 'x' * 60
  methods = [scoring.BlurryInput(), *checkpoints(1), scoring.Checkpoint(long, Brighter(2))]
  protocol = scoring.Protocol()
  scores = scoring.score(source, methods, protocol)
  summary = scoring.write(tmp_path, scores, methods, protocol, 'gopro')
  means, differences = (
    table(make(summary)) for make in (tables.methods_table, tables.differences_table)
  )
  for text in (means, differences):
    assert max(map(len, text.splitlines())) <= 80
    assert '…' not in text
    assert text.count('x') == 60  # folded, not cut
  cells = means.splitlines()[2].split()
  psnr = scores.means('blurry')
  assert cells[:2] == ['blurry', 'input'] and cells[-1] == '-'
  assert cells[2] == f'{psnr["psnr"]:.2f}' and cells[3] == f'{psnr["ssim_3d"]:.4f}'
  gain = scores.means('by_1')['psnr'] - psnr['psnr']
  assert means.splitlines()[3].split()[-1] == f'{gain:+.2f}'
  psnr = scores.differences()[0]
  line = next(line for line in differences.splitlines() if 'PSNR' in line)
  assert line.split()[-4:] == [
    f'{psnr["mean"]:+.2f}',
    f'{psnr["low"]:+.2f}',
    '..',
    f'{psnr["high"]:+.2f}',
  ]


def test_pictures_are_saved_as_they_are_scored(source, tmp_path):
  save = tmp_path / 'new' / 'restored'
  scoring.score(source, [scoring.BlurryInput(), *checkpoints(15)], scoring.Protocol(), save)
  found = sorted(path.relative_to(save).as_posix() for path in save.rglob('*') if path.is_file())
  assert found == sorted(f'{name}.png' for name in NAMES)
  for pair in source.pairs:
    np.testing.assert_array_equal(read_picture(save / f'{pair.name}.png'), pair.blurry + 15)


def test_channels_are_saved_in_order(tmp_path):
  picture = np.random.default_rng(0).integers(0, 256, (12, 13, 3), np.uint8)
  source = Pairs([Pair('a', picture, picture)])
  scoring.score(source, checkpoints(0), scoring.Protocol(), tmp_path)
  bgr = cv2.imread(str(tmp_path / 'a.png'), cv2.IMREAD_UNCHANGED)
  np.testing.assert_array_equal(bgr[..., ::-1], picture)


def test_several_methods_save_in_folders_of_their_own(source, tmp_path):
  methods = [*checkpoints(1), scoring.Checkpoint('/runs/x', Brighter(2))]
  scoring.score(source, methods, scoring.Protocol(), tmp_path)
  for folder, by in (('by_1', 1), ('runs_x', 2)):
    for pair in source.pairs:
      saved = read_picture(tmp_path / folder / f'{pair.name}.png')
      np.testing.assert_array_equal(saved, pair.blurry + by)


@pytest.mark.parametrize('name', ['../outside', '/outside', 'a/../../outside'])
def test_nothing_is_saved_outside_the_folder(tmp_path, name):
  picture = shade(0, (12, 12))
  source = Pairs([Pair(name, picture, picture)])
  with pytest.raises(UserError, match='leads elsewhere'):
    scoring.score(source, checkpoints(0), scoring.Protocol(), tmp_path / 'folder')
  assert not list(tmp_path.rglob('*'))


# --- folders and labels --------------------------------------------------------------------------


def write_all(root, pairs, by, suffix='.png'):
  for pair in pairs:
    path = root / f'{pair.name}{suffix}'
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), cv2.cvtColor(pair.blurry + np.uint8(by), cv2.COLOR_RGB2BGR))


def test_a_folder_of_restored_pictures_is_scored(source, tmp_path):
  write_all(tmp_path, source.pairs, 15)
  methods = [scoring.RestoredFolder('other', tmp_path, source), *checkpoints(15)]
  scores = scoring.score(source, methods, scoring.Protocol())
  for row in scores.rows:
    assert row['other_psnr'] == row['by_15_psnr'] == pytest.approx(decibels(5))
  assert methods[0].about() == {'kind': 'restored', 'folder': str(tmp_path)}


def test_restored_pictures_of_another_size_are_refused_early(source, tmp_path, monkeypatch):
  monkeypatch.setattr(metrics, 'THREADS', 1)
  write_all(tmp_path, source.pairs, 15)
  cv2.imwrite(str(tmp_path / 'a' / '1.png'), shade(0, (20, 15)))
  restorer = Brighter(0)
  methods = [
    scoring.Checkpoint('ours', restorer),
    scoring.RestoredFolder('other', tmp_path, source),
  ]
  with pytest.raises(UserError, match=r'a/1 of other: .*\(20, 15, 3\)'):
    scoring.score(source, methods, scoring.Protocol())
  assert restorer.given <= 1


def test_sharp_pictures_alone(source, tmp_path):
  write_all(tmp_path / 'sharp', source.pairs, 20)
  sharp = scoring.sharp_pictures(tmp_path / 'sharp')
  assert sorted(sharp.names) == sorted(NAMES)
  write_all(tmp_path / 'restored', source.pairs, 10)
  method = scoring.RestoredFolder('other', tmp_path / 'restored', sharp)
  scores = scoring.score(sharp, [method], scoring.Protocol())
  assert scores.column('other', 'psnr') == pytest.approx([decibels(10)] * 3)
  write_all(tmp_path / 'sharp', source.pairs[:1], 20, suffix='.bmp')
  with pytest.raises(UserError, match='suffix alone'):
    scoring.sharp_pictures(tmp_path / 'sharp')


def test_labels_are_the_folders_names_where_these_are_unique():
  paths = [Path('/runs/a'), Path('/runs/b/'), Path('/other/a'), Path('/runs/blurry')]
  assert scoring.labels_of(paths) == ['/runs/a', 'b', '/other/a', '/runs/blurry']
  with pytest.raises(UserError, match='twice'):
    scoring.labels_of([Path('/runs/a'), Path('/runs/b'), Path('/runs/a/')])


def test_a_score_of_zero_counts_and_a_missing_one_does_not():
  rows = [{'name': str(i), 'a_psnr': value} for i, value in enumerate((0.0, None, 30.0))]
  assert scoring.Scores(rows, ['a'], ('psnr',), {}).means('a') == {'psnr': 15.0}


def test_the_blurry_pictures_alone_may_be_scored(source, tmp_path):
  methods, protocol = [scoring.BlurryInput()], scoring.Protocol()
  scores = scoring.score(source, methods, protocol)
  found = scoring.write(tmp_path, scores, methods, protocol, 'noise')
  assert found['differences'] == []
  assert found['methods'][0]['means']['psnr'] == pytest.approx(decibels(20))
