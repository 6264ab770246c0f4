"""The experiment that shows whole pictures of several methods, and the page that it draws."""

import csv
import itertools
import json
import shutil
import subprocess
import sys

import child
import frames
import numpy as np
import pytest
import quick
import saved
from command import ROOT, gopro, refused, succeeded
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib import image
from PIL import Image
from skimage import data

from configs import smoke

COLOURS = ((213, 94, 0), (86, 180, 233))


# --- where pictures differ -----------------------------------------------------------------------


def test_local_differences_are_those_of_every_window_and_pair():
  rng = np.random.default_rng(0)
  pictures = rng.integers(0, 256, (4, 7, 9, 3), np.uint8)
  found = frames.local_difference(list(pictures), 4)
  assert found.shape == (4, 6)
  for row in range(4):
    for column in range(6):
      window = np.s_[row : row + 4, column : column + 4]
      parts = [picture[window].astype(float) for picture in pictures]
      pairs = [(x - y) ** 2 for x, y in itertools.combinations(parts, 2)]
      assert found[row, column] == pytest.approx(np.mean(pairs), rel=1e-12)


def test_windows_lie_where_methods_differ_most():
  one = np.full((40, 60, 3), 100, np.uint8)
  other = one.copy()
  other[5:13, 20:28] += 10  # 8x8, by 10
  other[30:38, 50:58, 1] -= 90  # one channel only: 90² / 3 is more than 10²
  other[0, 0] = 255  # a pixel: 155² / 64 is less than 90² / 3, more than 10²
  assert frames.differing_windows([one, other], 8) == [(30, 50), (0, 0)]
  assert frames.differing_windows([one, other], 8, 3)[2] == (5, 20)
  # What one method does against both others counts, whichever it is.
  assert frames.differing_windows([other, one, one], 8) == [(30, 50), (0, 0)]


def test_of_equal_windows_the_first_is_taken_and_the_next_does_not_overlap():
  flat = np.zeros((8, 12, 3), np.uint8)
  assert frames.differing_windows([flat, flat], 4, 3) == [(0, 0), (0, 4), (0, 8)]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(18, 30), st.integers(18, 40))
def test_windows_never_overlap_and_lie_inside(seed, side, height, width):
  pictures = np.random.default_rng(seed).integers(0, 256, (2, height, width, 3), np.uint8)
  covered = np.zeros((height, width), int)
  for row, column in frames.differing_windows(list(pictures), side):
    assert 0 <= row <= height - side
    assert 0 <= column <= width - side
    covered[row : row + side, column : column + side] += 1
  assert covered.max() == 1
  assert covered.sum() == 2 * side**2


def test_what_cannot_be_compared_is_refused():
  black = np.zeros((8, 8, 3), np.uint8)
  with pytest.raises(ValueError, match='no room for 2 windows of 6 px in a picture of 8x8'):
    frames.differing_windows([black, black], 6)
  with pytest.raises(ValueError, match='no window of 9 px'):
    frames.differing_windows([black, black], 9)
  with pytest.raises(ValueError, match='two pictures or more'):
    frames.differing_windows([black], 4)
  with pytest.raises(ValueError, match='of one shape'):
    frames.differing_windows([black, black[:, :6]], 4)


# --- the page ------------------------------------------------------------------------------------


def _corners(figure, picture):
  """Corners (row, column) where the figure holds the picture exactly."""
  height, width = picture.shape[:2]
  windows = np.lib.stride_tricks.sliding_window_view(figure[..., 0], (1, width))[:, :, 0]
  starts = np.argwhere((windows[: len(figure) - height + 1] == picture[0, :, 0]).all(-1))
  return [
    (y, x) for y, x in starts.tolist()
    if (figure[y : y + height, x : x + width] == picture).all()
  ]  # fmt: skip


def test_the_page_shows_the_crops_of_every_method_in_its_column(tmp_path):
  photograph = data.astronaut()[:120, :160]
  pictures = {name: photograph + np.uint8(i) for i, name in enumerate(('blurry', 'ours', 'sharp'))}
  windows = [(10, 20), (70, 100)]
  shown = frames.Frame('astronaut', pictures, {'ours': '30.00 / 0.9'}, windows, side=40)
  frames.page([shown, shown], tmp_path / 'page.png', 'one line\nanother')
  figure = np.round(image.imread(tmp_path / 'page.png')[..., :3] * 255).astype(np.uint8)
  lefts = []
  for picture in pictures.values():
    places = []
    for (row, column), colour in zip(windows, COLOURS, strict=True):
      crop = picture[row : row + 40, column : column + 40].repeat(4, 0).repeat(4, 1)
      found = _corners(figure, crop)
      assert len(found) == 2  # in each of the two frames
      for y, x in found:
        assert (figure[y - 2 : y, x - 2 : x + 162] == colour).all()
      places.append(found)
    (first, below), (second, _) = places
    assert first[0] + 160 < second[0] < below[0]
    assert first[1] == second[1]
    lefts.append(first[1])
  assert lefts == sorted(lefts)
  # The whole picture is as large as it was, with a box round each window.
  top, left = _corners(figure, pictures['blurry'][:8, :90])[0]
  whole = figure[top : top + 120, left : left + 160]
  for (row, column), colour in zip(windows, COLOURS, strict=True):
    box = whole[row : row + 40, column : column + 40]
    for side in (box[0], box[-1], box[:, 0], box[:, -1]):
      assert (side == colour).all()
    inner = pictures['blurry'][row : row + 40, column : column + 40]
    assert (box[3:-3, 3:-3] == inner[3:-3, 3:-3]).all()


def test_a_page_of_different_methods_is_refused(tmp_path):
  black = np.zeros((60, 60, 3), np.uint8)
  one, other = (frames.Frame('', {name: black}, {}, [(0, 0)], 20) for name in ('a', 'b'))
  for wrong in ([], [one, other]):
    with pytest.raises(ValueError, match='same methods'):
      frames.page(wrong, tmp_path / 'page.png')


# --- the experiment ------------------------------------------------------------------------------


def _run(output, *options):
  environment = child.environment(quick.XLA_FLAGS, PYTHONPATH=str(ROOT))
  command = [sys.executable, ROOT / 'experiments' / 'full_frame.py', f'--output={output}', *options]
  return subprocess.run(
    command, cwd=output.parent, env=environment, capture_output=True, text=True, timeout=600
  )


@pytest.fixture(scope='module')
def scored(tmp_path_factory):
  """A run over a tree of pairs: (output, the options that made it, the tree)."""
  folder = tmp_path_factory.mktemp('full_frame')
  tree = gopro(folder / 'tree', size=(96, 64))
  options = [f'--dataset={tree}', '--tile=32', '--crop=16', '--pictures=1']
  for label, network in (('HINet', 'hinet'), ('MSDI-Net', 'msdi_net')):
    config = smoke.get_config()
    config.model.network = network
    saved.workdir(folder / network, config, {6: None})
    options.append(f'--method={label}={folder / network}')
  succeeded(_run(folder / 'out', *options))
  return folder / 'out', options, tree


def _psnr(file, sharp):
  with Image.open(file) as one, Image.open(sharp) as other:
    squared = (np.asarray(one, float) - np.asarray(other, float)) ** 2
  return 10 * np.log10(255**2 / squared.mean())


def test_scores_are_those_of_the_pictures_that_are_kept(scored):
  output, _, tree = scored
  found = json.loads((output / 'full_frame.json').read_text())
  with (output / 'full_frame.csv').open() as file:
    rows = list(csv.DictReader(file))
  assert [method['label'] for method in found['methods']] == ['blurry', 'HINet', 'MSDI-Net']
  assert [method.get('tile') for method in found['methods']] == [None, 32, 32]
  assert len(rows) == len(found['per_picture']) == 2 * 3
  truth = {f'GOPR0001/00000{i}': f'test/GOPR0001/sharp/00000{i}.png' for i in (1, 2)}
  for label in ('HINet', 'MSDI-Net'):
    kept = sorted((output / 'restored').glob(f'{label}-*/*.png'))
    expected = [_psnr(a, tree / b) for a, b in zip(kept, truth.values(), strict=True)]
    mine = [row for row in rows if row['method'] == label]
    assert [row['name'] for row in mine] == list(truth)
    assert [float(row['psnr']) for row in mine] == pytest.approx(expected, rel=1e-9)
    (means,) = [method['means'] for method in found['methods'] if method['label'] == label]
    assert means['psnr'] == pytest.approx(np.mean(expected))
  assert list(found['shown']) == ['GOPR0001/000001']
  (difference, *_) = found['differences']
  assert (difference['method'], difference['against']) == ('HINet', 'MSDI-Net')


def test_run_again_it_gives_the_same_and_restores_only_what_is_missing(scored):
  output, options, tree = scored
  before = json.loads((output / 'full_frame.json').read_text())['per_picture']
  lost, kept = sorted((output / 'restored').glob('HINet-*/*.png'))
  picture = lost.read_bytes()
  lost.unlink()
  # A mark on a picture that is kept shows that it is not restored again.
  kept.write_bytes((tree / 'test/GOPR0001/sharp/000002.png').read_bytes())
  succeeded(_run(output, *options))
  after = json.loads((output / 'full_frame.json').read_text())['per_picture']
  assert lost.read_bytes() == picture
  changed = [new for old, new in zip(before, after, strict=True) if new != old]
  assert [(row['name'], row['method'], row['psnr']) for row in changed] == [
    ('GOPR0001/000002', 'HINet', 'inf')
  ]


def test_a_picture_that_was_replaced_is_restored_again(scored):
  output, options, tree = scored
  blurry = tree / 'test/GOPR0001/blur/000001.png'
  before = blurry.read_bytes()
  with Image.open(blurry) as picture:
    picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(blurry)
  try:
    succeeded(_run(output, *options))
  finally:
    blurry.write_bytes(before)
  for label in ('HINet', 'MSDI-Net'):
    assert len([*(output / 'restored').glob(f'{label}-*/00000_*.png')]) == 2
    assert len([*(output / 'restored').glob(f'{label}-*/00001_*.png')]) == 1


def test_a_missing_checkpoint_costs_a_sentence(scored, tmp_path):
  _, options, _ = scored
  missing = tmp_path / 'nothing'
  refused(_run(tmp_path / 'out', *options, f'--method=Other={missing}'), missing)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('options', 'words'),
  [
    ([], ['--method', '--quick']),
    (['--method=runs/hinet'], ['NAME=CHECKPOINT']),
    (['--method=a=x', '--method=a=y'], ['a is taken']),
    (['--method=sharp=x'], ['sharp is taken']),
    (['--method=a=x', '--quick'], ['--quick']),
    (['--method=a=x', '--joint=b'], ['--joint']),
    (['--quick', '--dataset=nowhere'], ['nowhere', 'train/']),
    (['--quick', '--dataset=.'], ['train/']),
    (['--method=a=x', '--dataset=nowhere'], ['nowhere']),
    (['--method=a=x', '--data_dir=tfds'], ['--dataset']),
    (['--smoke', '--joint=nowhere'], ['nowhere']),
    (['--mode=other'], ['mode']),
    (['--nonsense'], ['nonsense']),
    (['nonsense'], ['nonsense']),
  ],
)
def test_flags_that_cannot_be_meant_cost_a_sentence(options, words, tmp_path):
  refused(_run(tmp_path / 'out', *options), *words)


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_a_sentence(scored, tmp_path):
  _, options, _ = scored
  config = smoke.get_config()
  config.model.network = 'hinet'
  saved.workdir(tmp_path / 'hinet', config, {6: None})
  for path in (tmp_path / 'hinet' / 'checkpoints').rglob('*'):
    if path.is_file():
      path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
  refused(_run(tmp_path / 'out', *options, f'--method=Other={tmp_path / "hinet"}'), 'hinet')


@pytest.mark.slow
def test_networks_are_trained_first_and_an_interrupted_run_continues(tmp_path):
  output, options = tmp_path / 'out', ('--smoke', '--tile=32')
  whole = succeeded(_run(output, *options))
  before = {path.name: path.read_bytes() for path in output.glob('full_frame.*')}
  assert set(before) == {'full_frame.json', 'full_frame.csv', 'full_frame.png'}
  found = json.loads(before['full_frame.json'])
  assert [method['label'] for method in found['methods']] == ['blurry', 'HINet', 'MSDI-Net']
  assert found['pictures'] == 3
  assert 'PSNR' in whole.stdout
  # As if it had been stopped in the middle of its last training.
  shutil.rmtree(output / 'smoke' / 'msdi_net' / 'checkpoints' / '6')
  shutil.rmtree(output / 'restored')
  for name in before:
    (output / name).unlink()
  continued = succeeded(_run(output, *options))
  assert 'msdi_net from step 4' in continued.stderr
  assert {path.name: path.read_bytes() for path in output.glob('full_frame.*')} == before
