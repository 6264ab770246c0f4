"""`degrep evaluate` as a user runs it: checkpoints, folders of other programs, what goes wrong."""

import csv
import json
import pathlib
import shutil
import subprocess
import sys

import child
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
import reference
import saved
import tiny_joint
from command import ROOT, gopro, refused, succeeded
from PIL import Image
from quick import COMPILER

from degrep_jax import checkpoints, cli, metrics
from degrep_jax.data.pairs import read_picture
from degrep_jax.evaluation import scoring
from degrep_jax.inference import restorer
from degrep_jax.models import factory
from degrep_jax.runtime import compilation_cache

TILE = 32
NAMES = ('GOPR0001/000001', 'GOPR0001/000002')


def command(*arguments, **variables):
  """Runs `degrep evaluate` in a process of its own, with some environment variables."""
  variables = {'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'} | variables
  environment = child.environment(quick.XLA_FLAGS, **variables)
  call = [sys.executable, '-m', 'degrep_jax.cli', 'evaluate', *map(str, arguments)]
  return subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True)


def workdir(path, network, seed):
  """A checkpoint of an untrained tiny network; (module, variables)."""
  config = tiny_joint.config(model__network=network, model__depth=2, model__width=4)
  config.eval.tile = TILE
  module = factory.build_network(config.model, axis_name=None)
  shape = (1, TILE, TILE, 3)
  variables = saved.variables(module, seed, *([shape] * (2 if network == 'joint' else 1)))
  path.mkdir(parents=True)
  (path / 'config.json').write_text(config.to_json())
  statistics = {name: tree for name, tree in variables.items() if name != 'params'}
  generator = {'params': variables['params'], 'statistics': statistics}
  with checkpoints.Checkpoints(path, keep=3) as kept:
    for step in (4, 7):
      kept.save(step, {'step': np.int32(step), 'generator': generator})
  return module, variables


@pytest.fixture(scope='module')
def place(tmp_path_factory):
  """runs/joint, runs/hinet and data/, pairs of one tile each."""
  place = tmp_path_factory.mktemp('place')
  gopro(place / 'data', size=(TILE, TILE))
  for number, kind in enumerate(('blur', 'sharp'), 2):  # other noise for the second pair
    picture = np.random.default_rng(number).integers(0, 256, (TILE, TILE, 3), np.uint8)
    Image.fromarray(picture).save(place / 'data' / 'test' / 'GOPR0001' / kind / '000002.png')
  return place


@pytest.fixture(scope='module')
def networks(place):
  """{name: (module, variables)} of what lies in runs/."""
  return {
    name: workdir(place / 'runs' / name, name, seed) for seed, name in enumerate(('joint', 'hinet'))
  }


@pytest.fixture(scope='module')
def scored(place, networks):
  """(place, what the command printed) of two checkpoints and a folder, pictures saved."""
  for name in NAMES:
    target = place / 'others' / f'{name}.png'
    target.parent.mkdir(parents=True, exist_ok=True)
    sequence, number = name.split('/')
    shutil.copy(place / 'data' / 'test' / sequence / 'blur' / f'{number}.png', target)
  result = command(
    '--checkpoint', place / 'runs' / 'joint', '--compare', place / 'runs' / 'hinet',
    '--restored', place / 'others', '--dataset', place / 'data', '--tile', TILE,
    '--save', place / 'saved', '--output', place / 'scores', XDG_CACHE_HOME=str(place / 'cache'),
    JAX_COMPILATION_CACHE_DIR='',
  )  # fmt: skip
  return place, succeeded(result)


def pair(place, name):
  sequence, number = name.split('/')
  folder = place / 'data' / 'test' / sequence
  return [read_picture(folder / kind / f'{number}.png') for kind in ('blur', 'sharp')]


def table(place):
  with (place / 'scores' / 'scores.csv').open(newline='') as file:
    return {row['name']: row for row in csv.DictReader(file)}


def test_the_scores_are_those_of_the_networks(scored, networks):
  place, _ = scored
  rows = table(place)
  assert list(rows) == list(NAMES)
  for label, (module, variables) in networks.items():
    apply = jax.jit(module.apply, compiler_options=COMPILER)
    for name in NAMES:
      blurry, sharp = pair(place, name)
      inputs = [jnp.float32(x[None]) / 255 for x in (blurry, sharp)]
      output = apply(variables, *inputs[: 2 if label == 'joint' else 1])
      restored = np.asarray(output[0 if label == 'joint' else 1][0], np.float64)
      expected = np.rint(np.clip(restored, 0, 1) * 255).astype(np.uint8)
      saved = read_picture(place / 'saved' / label / f'{name}.png')
      assert np.abs(saved.astype(int) - expected).max() <= 1  # float32 rounds differently
      for metric in ('psnr', 'ssim_3d', 'ssim_2d'):
        value = float(rows[name][f'{label}_{metric}'])
        assert value == getattr(metrics, metric)(saved, sharp)
      assert rows[name][f'{label}_psnr'] != rows[name]['blurry_psnr']


def test_other_programs_stand_beside_and_are_compared(scored):
  place, result = scored
  rows = table(place)
  for row in rows.values():  # here the blurry pictures themselves
    assert row['others_psnr'] == row['blurry_psnr']
  written = json.loads((place / 'scores' / 'scores.json').read_text())
  differences = {(x['against'], x['metric']): x for x in written['differences']}
  assert set(differences) == {
    (label, metric) for label in ('hinet', 'others') for metric in ('psnr', 'ssim_3d', 'ssim_2d')
  }
  each = [float(row['joint_psnr']) - float(row['hinet_psnr']) for row in rows.values()]
  found = differences['hinet', 'psnr']
  assert found['mean'] == pytest.approx(np.mean(each))
  # Of two pictures a quarter of all draws is either alone.
  assert (found['low'], found['high']) == pytest.approx((min(each), max(each)))
  assert f'{found["low"]:+.2f} .. {found["high"]:+.2f}' in result.stdout
  assert result.stdout.startswith(f'protocol released: mode tiles, tile {TILE}, RGB\n')
  assert max(map(len, result.stdout.splitlines())) <= 80


def test_protocol_checkpoint_and_config_are_written(scored):
  place, _ = scored
  written = json.loads((place / 'scores' / 'scores.json').read_text())
  told = {'name': 'released', 'mode': 'tiles', 'tile': TILE, 'alignment': None}
  assert told.items() <= written['protocol'].items()
  kinds = [(method['label'], method['kind']) for method in written['methods']]
  assert kinds == [
    ('blurry', 'input'), ('joint', 'checkpoint'), ('hinet', 'checkpoint'), ('others', 'restored')
  ]  # fmt: skip
  assert written['dataset'] == str(place / 'data')
  hinet = written['methods'][2]
  assert hinet['step'] == 7
  assert str(place / 'runs' / 'hinet') in hinet['checkpoint']
  assert hinet['config'] == json.loads((place / 'runs' / 'hinet' / 'config.json').read_text())


def test_a_saved_folder_scores_as_the_checkpoint_did(scored, tmp_path):
  place, _ = scored
  succeeded(
    command(
      '--restored', place / 'saved' / 'joint', '--dataset', place / 'data', '--output', tmp_path
    )
  )
  with (tmp_path / 'scores.csv').open(newline='') as file:
    again = {row['name']: row for row in csv.DictReader(file)}
  for name, row in table(place).items():
    assert {k: v for k, v in row.items() if k.startswith(('blurry', 'joint'))} == {
      k: v for k, v in again[name].items() if k != 'name'
    }
  assert 'mode' not in json.loads((tmp_path / 'scores.json').read_text())['protocol']


def test_compiled_programs_are_kept(scored):
  assert list((scored[0] / 'cache' / 'degrep_jax' / 'programs').iterdir())


# --- in this process -----------------------------------------------------------------------------


@pytest.fixture
def evaluate(monkeypatch, capsys):
  """Runs the command here, where no cache shall be set up; (exit status, stdout, stderr)."""

  def run(*arguments):
    monkeypatch.setattr(compilation_cache, 'enable', lambda: pytest.fail('without --no-cache'))
    arguments = ['evaluate', *map(str, arguments), '--no-cache']
    monkeypatch.setattr(sys, 'argv', ['degrep', *arguments])
    with pytest.raises(SystemExit) as end:
      cli.run()
    printed = capsys.readouterr()
    return end.value.code or 0, printed.out, printed.err

  return run


def test_an_older_step_into_the_workdir(place, networks, evaluate, monkeypatch):
  monkeypatch.chdir(place)
  arguments = ('--checkpoint', 'runs/hinet', '--dataset', 'data', '--tile', TILE, '--step', 4)
  status, out, _ = evaluate(*arguments)
  assert status == 0
  folder = pathlib.Path('runs', 'hinet', 'evaluations', 'data_released')
  written = json.loads((folder / 'scores.json').read_text())
  assert written['methods'][1]['step'] == 4
  # Whole paths, for those who read them elsewhere.
  assert written['methods'][1]['checkpoint'] == str(place / 'runs' / 'hinet' / 'checkpoints' / '4')
  assert written['dataset'] == str(place / 'data')
  status, _, err = evaluate(*arguments)
  assert status == 2 and f'{folder} holds scores already' in err
  (folder / 'scores.csv').unlink()
  status, again, _ = evaluate(*arguments, '--overwrite')
  assert status == 0 and again == out
  assert (folder / 'scores.csv').exists()


@pytest.mark.parametrize(
  ('flags', 'asked', 'told'),
  [
    ('', {'mode': 'tiles', 'tile': 256}, 'released: mode tiles, tile 256'),
    ('--tile 64', {'mode': 'tiles', 'tile': 64}, 'released: mode tiles, tile 64'),
    (
      '--protocol full_frame',
      {'mode': 'full', 'tile': 256},
      'mode full, tile 256, window 384',
    ),
    (
      '--protocol full_frame --window off --memory 1.5GiB',
      {'mode': 'full', 'tile': 256, 'window': 0, 'memory': 3 * 2**29},
      'full_frame: mode full, tile 256, window off',
    ),
    (
      '--protocol full_frame --window 96 --tile 64',
      {'mode': 'full', 'tile': 64, 'window': 96},
      'full_frame: mode full, tile 64, window 96',
    ),
    (
      '--ensemble 8',
      {'mode': 'tiles', 'tile': 256, 'ensemble': 8},
      'released: mode tiles, tile 256, ensemble of 8',
    ),
    (
      '--strength 0.9 --scales 1M',
      {'mode': 'tiles', 'tile': 256, 'strength': 0.9, 'scales': 1_000_000},
      'released: mode tiles, tile 256, strength 0.9, scales up to 1,000,000 pixels',
    ),
    (
      '--protocol realblur',
      {'mode': 'tiles', 'tile': 256},
      'realblur: mode tiles, tile 256',
    ),
    (
      '--protocol realblur --full --window off',
      {'mode': 'full', 'tile': 256, 'window': 0},
      'realblur: mode full, tile 256, window off',
    ),
  ],
)
def test_what_a_protocol_asks_of_the_network(
  place, evaluate, monkeypatch, tmp_path, flags, asked, told
):
  calls = []

  class Same:
    dtype, window, memory = 'float32', 384, 2**32
    ensemble, strength, scales = 1, 1.0, 0
    about = dict.fromkeys(('checkpoint', 'step', 'parameters', 'config'))

    def deblur(self, pictures):
      yield from pictures

  def from_checkpoint(path, *, step, **options):
    calls.append((pathlib.Path(path).name, step, options))
    restorer = Same()
    vars(restorer).update(options)
    return restorer

  monkeypatch.setattr(restorer.Restorer, 'from_checkpoint', from_checkpoint)
  _, out, _ = evaluate(
    '--checkpoint', 'runs/a', '--step', 3, '--compare', 'runs/b', '--dataset', place / 'data',
    '--output', tmp_path, *flags.split(),
  )  # fmt: skip
  assert calls == [('a', 3, asked), ('b', None, asked)]
  assert told in out.splitlines()[0]
  protocol = json.loads((tmp_path / 'scores.json').read_text())['protocol']
  assert asked.items() <= protocol.items()
  assert ('window' in protocol) == (asked['mode'] == 'full')
  assert (protocol['alignment'] is not None) == ('realblur' in flags)


def test_border_and_luma(place, evaluate, tmp_path):
  status, out, _ = evaluate(
    '--restored', place / 'data' / 'test' / 'GOPR0001' / 'blur', '--dataset', place / 'data',
    '--output', tmp_path, '--crop-border', 4, '--y',
  )  # fmt: skip
  assert status == 0
  assert 'Y of BT.601' in out.splitlines()[0] and 'border of 4' in out.splitlines()[0]
  blurry, sharp = pair(place, NAMES[0])
  with (tmp_path / 'scores.csv').open(newline='') as file:
    row = next(csv.DictReader(file))
  expected = metrics.psnr(blurry, sharp, crop_border=4, luma=True)
  assert float(row['blur_psnr']) == float(row['blurry_psnr']) == expected
  protocol = json.loads((tmp_path / 'scores.json').read_text())['protocol']
  assert protocol['crop_border'] == 4 and protocol['channels'].startswith('Y of BT.601')


def test_pictures_that_cannot_be_aligned_are_counted(place, evaluate, tmp_path):
  # Noise against other noise.
  status, out, err = evaluate(
    '--restored', place / 'data' / 'test' / 'GOPR0001' / 'blur', '--dataset', place / 'data',
    '--output', tmp_path, '--protocol', 'realblur',
  )  # fmt: skip
  assert status == 1
  assert out.splitlines()[0] == 'protocol realblur: RGB'
  assert 'aligned' in out.splitlines()[2]
  assert out.splitlines()[-1].split() == ['blur', '-', '-', '-', '0']
  for name in NAMES:
    assert f'not scored: {name} of blur: ECC' in err
  written = json.loads((tmp_path / 'scores.json').read_text())
  assert set(written['methods'][1]['failed_alignments']) == set(NAMES)
  assert written['methods'][1]['means'] == {'psnr': None, 'ssim_2d': None}


def test_realblurs_figures_from_its_tree_and_flat_names(golden, evaluate, tmp_path):
  root, lines = tmp_path / 'RealBlur', []
  arrays, cases = reference.read_arrays(golden / 'realblur_ecc.npz'), golden / 'realblur_ecc.json'
  cases = json.loads(cases.read_text())
  for case in cases:
    i, scene = case['i'], f'RealBlur-J_ECC/scene{case["i"]:03}'
    sharp, blurry = f'{scene}/gt/gt_1.png', f'{scene}/blur/blur_1.png'
    restored = tmp_path / 'restored' / f'scene{i:03}_blur_1.png'
    for path, name in ((root / sharp, 'gt'), (root / blurry, 'restored'), (restored, 'restored')):
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(arrays[f'{name}{i}']).save(path)
    lines.append(f'{sharp} {blurry}\n')
  (root / 'RealBlur_J_test_list.txt').write_text(''.join(lines))
  status, _, _ = evaluate(
    '--restored', tmp_path / 'restored', '--dataset', root, '--protocol', 'realblur',
    '--output', tmp_path / 'scores',
  )  # fmt: skip
  assert status == 0
  with (tmp_path / 'scores' / 'scores.csv').open(newline='') as file:
    rows = list(csv.DictReader(file))
  for row, case in zip(rows, cases, strict=True):
    assert float(row['restored_psnr']) == pytest.approx(case['psnr'], abs=0.05)
    assert float(row['restored_ssim_2d']) == pytest.approx(case['ssim'], abs=0.001)
  means = json.loads((tmp_path / 'scores' / 'scores.json').read_text())['methods'][1]['means']
  assert means['psnr'] == pytest.approx(np.mean([case['psnr'] for case in cases]), abs=0.05)


def test_sharp_pictures_alone(place, evaluate, tmp_path):
  folder = place / 'data' / 'test' / 'GOPR0001'
  status, out, _ = evaluate(
    '--restored', folder / 'blur', '--sharp', folder / 'sharp', '--output', tmp_path
  )
  assert status == 0
  assert 'blurry input' not in out and 'gain' not in out
  with (tmp_path / 'scores.csv').open(newline='') as file:
    rows = list(csv.DictReader(file))
  assert float(rows[0]['blur_psnr']) == metrics.psnr(*pair(place, NAMES[0]))


def test_what_is_in_no_mean_is_said(evaluate, tmp_path):
  """A copy of a dataset with input/ and target/, scored beside a folder of another program."""
  draw = np.random.default_rng(0)
  sizes = {'same': (20, 20), 'tiny': (7, 13), 'usual': (20, 20)}
  for name, size in sizes.items():
    blurry, sharp = draw.integers(0, 256, (2, *size, 3), np.uint8)
    blurry = sharp if name == 'same' else blurry
    for folder, picture in (('input', blurry), ('target', sharp), ('others', 255 - sharp)):
      path = tmp_path / folder / f'{name}.png'
      path.parent.mkdir(exist_ok=True)
      Image.fromarray(picture).save(path)
  status, out, err = evaluate(
    '--restored', tmp_path / 'others', '--dataset', tmp_path, '--output', tmp_path / 'scores'
  )
  assert status == 0
  assert ' '.join(out.split('────')[0].split()).startswith(
    'protocol released: RGB means over pictures: 3, PSNR over 2'
  )
  assert 'PSNR is infinite on 1 of 3 pictures' in err and 'same (blurry)' in err
  assert '1 of 3 pictures are smaller than the window of SSIM, 11 px' in err and ': tiny.' in err


NET = '--checkpoint {0}/runs/joint --dataset {0}/data'
OTHER = '--restored {0}/data/test/GOPR0001/blur --dataset {0}/data'


@pytest.mark.parametrize(
  ('arguments', 'word'),
  [
    ('--dataset {0}/data', 'nothing to score'),
    ('--checkpoint {0}/runs/joint', '--dataset'),
    ('--checkpoint {0}/no --dataset {0}/data', '{0}/no holds no checkpoint'),
    # The folder, not the network that ships.
    ('--checkpoint small/ --dataset {0}/data --output {0}/o', '/small holds no checkpoint'),
    ('--checkpoint ./small --dataset {0}/data --output {0}/o', '/small holds no checkpoint'),
    ('--checkpoint {0}/runs/joint --dataset {0}/nothing', '{0}/nothing'),
    ('--checkpoint {0}/runs/joint --sharp {0}/data', '--sharp has no blurry pictures'),
    (f'{NET} --step 5', 'no checkpoint of step 5'),
    (f'{NET} --tile 21', 'tiles of 21 px'),
    (f'{NET} --tile 0', 'tiles of 0 px'),
    (f'{NET} --compare {{0}}/runs/joint/', 'named twice'),
    (f'{NET} --save {{0}}/data', '{0}/data is not empty'),
    (f'{NET} --window 9', '--window and --memory are for whole pictures'),
    (f'{NET} --memory 2GiB', '--window and --memory are for whole pictures'),
    (f'{NET} --protocol full_frame --window 0', "'0' is neither a number of pixels nor off"),
    (f'{NET} --protocol full_frame --memory much', "'much' is no amount such as 500M or 4GiB"),
    (f'{NET} --full', '--full belongs to'),
    (f'{NET} --crop-border -1', '--crop-border is -1'),
    (f'{NET} --protocol realblur --y', 'leave --crop-border and --y'),
    (OTHER, 'name a folder for the scores by --output'),
    (f'{OTHER} --output {{0}}/o --save {{0}}/s', '--save is for'),
    (f'{OTHER} --output {{0}}/o --step 1', '--step is that of --checkpoint'),
    (
      '--restored {0}/r --sharp {0}/data --data_dir {0} --output {0}/o',
      '--data_dir is where the data of --dataset lie',
    ),
    ('--restored {0}/runs --dataset {0}/data --output {0}/o', '{0}/runs holds no pictures'),
  ],
)
def test_what_cannot_be_is_one_sentence(place, networks, evaluate, arguments, word):
  before = sorted(place.rglob('*'))
  status, out, err = evaluate(*arguments.format(place).split(' '))
  assert status == 2 and out == ''
  (line,) = err.splitlines()
  assert line.startswith('degrep_jax: ') and word.format(place) in line
  assert sorted(place.rglob('*')) == before


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_scored(
  place, evaluate, monkeypatch, tmp_path
):
  monkeypatch.setattr(scoring, 'score', lambda *_: pytest.fail('scored in vain'))
  (tmp_path / 'file').write_text('')
  arguments = OTHER.format(place).split()
  status, _, err = evaluate(*arguments, '--output', tmp_path / 'file' / 'scores')
  assert status == 2 and 'file/scores/scores.json cannot be written' in err


def test_a_missing_picture_in_a_process_of_its_own(place, tmp_path):
  shutil.copytree(place / 'data' / 'test' / 'GOPR0001' / 'blur', tmp_path / 'mine')
  (tmp_path / 'mine' / '000002.png').unlink()
  result = command(
    '--restored', tmp_path / 'mine', '--dataset', place / 'data', '--output', tmp_path / 'o'
  )
  refused(result, 'lacks 1 of 2', NAMES[1])
  assert len(result.stderr.splitlines()) == 1
