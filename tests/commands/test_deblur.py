"""`degrep deblur` and `degrep reblur`: the real commands with a tiny net."""

import os
import subprocess
import sys
from importlib import metadata

import child
import numpy as np
import photo_files as files
import pytest
import quick
import saved
import tiny_deblur
import tiny_joint
from command import ROOT, succeeded
from rounding import NETWORK

from degrep_jax import Restorer, cli

TILE = 32


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """Of an untrained joint net."""
  folder = tmp_path_factory.mktemp('net')
  saved.workdir(folder, tiny_joint.config(eval__tile=TILE), {7: None})
  return folder


@pytest.fixture(scope='module')
def restorer(workdir):
  return Restorer.from_checkpoint(workdir, mode='feathered')


@pytest.fixture
def degrep(workdir, tmp_path):
  """Runs `degrep` on the net, in a process of its own that ends with what it has imported."""

  def run(*arguments, **options):
    program = (
      'import atexit, sys\n'
      'from degrep_jax import cli\n'
      "atexit.register(lambda: print('tensorflow' in sys.modules, file=sys.stderr))\n"
      'cli.run()\n'
    )
    environment = child.environment(quick.XLA_FLAGS, PYTHONPATH=str(ROOT))
    command = [sys.executable, '-c', program, *arguments, '--checkpoint', str(workdir)]
    options = {'text': True} | options
    return subprocess.run(
      command, cwd=tmp_path, env=environment, capture_output=True, timeout=300, **options
    )

  return run


def smooth(height, width, dtype):
  """(height, width, 3) that an untrained net leaves away from black and white."""
  values = files.gradient(height, width, 3)
  return values if dtype == np.uint8 else values * dtype(257)


def near(actual, expected):
  """Whether two processes agree, but for rounding."""
  most = 1 + int(NETWORK * np.iinfo(expected.dtype).max)
  return np.abs(actual.astype(int) - expected).max() <= most


def test_a_folder(degrep, restorer, tmp_path):
  eight, sixteen = smooth(40, 50, np.uint8), smooth(33, 70, np.uint16)
  alpha = files.noise(40, 50, 1)
  (tmp_path / 'in' / 'x').mkdir(parents=True)
  (tmp_path / 'in' / 'a.png').write_bytes(files.png(np.dstack([eight, alpha])))
  (tmp_path / 'in' / 'text.png').write_text('hello')
  (tmp_path / 'in' / 'x' / 'b.tif').write_bytes(files.tiff(sixteen))
  result = degrep('deblur', 'in', '--output', 'out', '--compare')
  assert result.returncode == 1, result.stderr
  *said, summary, has_tensorflow = result.stderr.splitlines()
  assert said == ['in/text.png is not a picture of a kind that can be read.']
  assert summary.startswith('2 restored in 0:') and summary.endswith(', 1 failed.')
  assert has_tensorflow == 'False'
  assert result.stdout == ''
  found = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.glob('out/**/*.*'))
  assert found == ['out/a.compare.png', 'out/a.png', 'out/x/b.compare.tif', 'out/x/b.tif']
  restored = files.stored((tmp_path / 'out' / 'a.png').read_bytes())
  np.testing.assert_array_equal(restored[..., 3:], alpha)
  assert near(restored[..., :3], restorer.deblur(eight))
  assert not near(restored[..., :3], eight)
  restored = files.stored((tmp_path / 'out' / 'x' / 'b.tif').read_bytes())
  assert near(restored, restorer.deblur(sixteen))
  # More than eight bits come out of the net.
  assert (restored % 257).any() and len(np.unique(restored)) > 256


def test_standard_streams_and_options(degrep):
  values = smooth(40, 40, np.uint8)
  flags = ('--mode', 'tiles', '--step', '7', '--memory', '1GiB', '--format', 'tif')
  result = degrep('deblur', '-', '--output', '-', *flags, input=files.png(values), text=False)
  assert result.returncode == 0, result.stderr
  assert result.stdout[:4] == b'II*\0'
  restored = files.stored(result.stdout)
  assert restored.shape == values.shape and not near(restored, values)


def test_an_ensemble(degrep, workdir, tmp_path):
  values = smooth(40, 50, np.uint8)
  (tmp_path / 'a.png').write_bytes(files.png(values))
  succeeded(degrep('deblur', 'a.png', '--output', 'b.png', '--ensemble', '2'))
  restored = files.stored((tmp_path / 'b.png').read_bytes())
  assert near(restored, Restorer.from_checkpoint(workdir, ensemble=2).deblur(values))
  assert not near(restored, Restorer.from_checkpoint(workdir).deblur(values))


def test_reblurring(degrep, restorer, tmp_path):
  sharp, blurry = smooth(40, 50, np.uint8), files.noise(30, 60, 3)
  (tmp_path / 'sharp.png').write_bytes(files.png(sharp))
  (tmp_path / 'blurry.png').write_bytes(files.png(blurry))
  flags = ('--like', 'blurry.png', '--strength', '-0.5')
  succeeded(degrep('reblur', 'sharp.png', *flags, '--output', 'out/blurred.png'))
  restored = files.stored((tmp_path / 'out' / 'blurred.png').read_bytes())
  assert near(restored, restorer.reblur(sharp, like=blurry, strength=-0.5))
  assert not near(restored, restorer.reblur(sharp, like=blurry, strength=0.5))


def test_a_net_that_cannot_reblur_says_so_once(degrep_here, tmp_path):
  saved.workdir(tmp_path / 'net', tiny_deblur.config(model__network='hinet'), {7: None})
  flags = ('--like', 'in/a.jpg', '--checkpoint', 'net', '--output', 'out')
  status, _, err = degrep_here('reblur', 'in', *flags)
  assert (status, err.count('the network hinet cannot reblur')) == (2, 1)
  assert not (tmp_path / 'out').exists()


def test_workdirs_that_hold_no_network(workdir, degrep_here, tmp_path):
  """Of nothing, of parts, and one letter off: a sentence, and nothing is written."""
  (tmp_path / 'runs' / 'empty').mkdir(parents=True)
  (tmp_path / 'runs' / 'net').symlink_to(workdir)
  (tmp_path / 'runs' / 'parts').mkdir()
  (tmp_path / 'runs' / 'parts' / 'checkpoints').symlink_to(workdir / 'checkpoints')
  (tmp_path / 'runs' / 'parts' / 'config.json').write_text('{"model": {"encoder_width": 8}}')
  before = sorted(tmp_path.rglob('*'))
  for name, words in (
    ('runs/empty', 'runs/empty holds no checkpoint: train there first, or name another workdir.'),
    ('runs/parts', 'runs/parts holds parts of a network alone: name the folder of a whole one.'),
    ('runs/nett', 'runs/nett holds no checkpoint: is runs/net meant?'),
    ('there/not', 'there/not holds no checkpoint: there is no such folder.'),
  ):
    status, out, err = degrep_here('deblur', 'in/a.jpg', '--checkpoint', name)
    assert (status, out, err) == (2, '', f'degrep_jax: {words}\n')
  assert sorted(tmp_path.rglob('*')) == before


# --- without a net -------------------------------------------------------------------------------


@pytest.fixture
def degrep_here(monkeypatch, tmp_path, capsys):
  """Runs `degrep` in this process beside in/a.jpg: (exit status, output, errors)."""
  monkeypatch.chdir(tmp_path)
  # It would last for all tests.
  monkeypatch.setattr('degrep_jax.runtime.compilation_cache.enable', lambda: None)
  (tmp_path / 'in').mkdir()
  (tmp_path / 'in' / 'a.jpg').write_bytes(files.pillow(files.gradient(8, 8, 3), 'JPEG'))

  def run(*arguments):
    monkeypatch.setattr(sys, 'argv', ['degrep', *arguments])
    with pytest.raises(SystemExit) as end:
      cli.run()
    printed = capsys.readouterr()
    return end.value.code or 0, printed.out, printed.err

  return run


def test_a_dry_run_lists_names_of_any_bytes(tmp_path):
  name = os.fsencode(tmp_path) + b'/\xff.jpg'
  with open(name, 'wb'):
    pass
  command = [sys.executable, '-m', 'degrep_jax.cli', 'deblur', str(tmp_path), '--dry-run']
  environment = os.environ | {'PYTHONIOENCODING': 'utf-8:strict'}
  done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True)
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith(name + b' -> ')


def test_a_dry_run_lists_and_writes_nothing(degrep_here, tmp_path):
  flags = ('--checkpoint', 'none', '--output', 'out', '--dry-run')
  status, out, err = degrep_here('deblur', 'in', *flags, '--compare', '--format', 'png')
  assert (status, err) == (0, '')
  assert out == 'in/a.jpg -> out/a.png\nin/a.jpg -> out/a.compare.png\n'
  assert not (tmp_path / 'out').exists()
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'a.jpg').touch()
  assert degrep_here('deblur', 'in', *flags)[1] == 'in/a.jpg -> out/a.jpg is there already\n'


def test_nothing_left_to_do_needs_no_net(degrep_here, tmp_path):
  (tmp_path / 'out').mkdir()
  (tmp_path / 'out' / 'a.jpg').touch()
  assert degrep_here('deblur', 'in', '--checkpoint', 'none', '--output', 'out') == (
    0,
    '',
    '1 there already (--overwrite does them again).\n',
  )


def test_the_engine_onnx(degrep, restorer, tmp_path):
  picture = smooth(40, 50, np.uint8)
  (tmp_path / 'a.png').write_bytes(files.png(picture))
  succeeded(degrep('deblur', 'a.png', '--output', 'b.png', '--engine', 'onnx'))
  found = files.stored((tmp_path / 'b.png').read_bytes())
  assert near(found, restorer.deblur(picture)) and not near(found, picture)


def test_options_reach_the_restorer(degrep_here, monkeypatch):
  given = {}

  class Stub:
    @classmethod
    def from_checkpoint(cls, directory, **options):
      given.update(options, directory=directory)
      return cls()

    def deblur(self, pixels, progress):
      return pixels

  monkeypatch.setattr('degrep_jax.inference.restorer.Restorer', Stub)
  monkeypatch.setattr(
    'degrep_jax.runtime.compilation_cache.enable', lambda: given.update(cache=True)
  )
  flags = ('--checkpoint', 'net', '--output', 'out', '--overwrite')
  assert degrep_here('deblur', 'in', *flags)[0] == 0
  assert given.pop('cache')
  assert given == {
    'directory': 'net',
    'step': None,
    'mode': 'feathered',
    'window': None,
    'dtype': 'float32',
    'memory': 2**32,
    'engine': 'jax',
  }
  flags += ('--mode', 'full', '--window', 'off', '--dtype', 'bfloat16', '--memory', '500M')
  flags += ('--engine', 'onnx', '--ensemble', '8', '--strength', '0', '--scales', 'off')
  assert degrep_here('deblur', 'in', *flags, '--step', '3', '--no-cache')[0] == 0
  assert given == {
    'directory': 'net',
    'step': 3,
    'mode': 'full',
    'window': 0,
    'dtype': 'bfloat16',
    'memory': 500_000_000,
    'engine': 'onnx',
    'ensemble': 8,
    'strength': 0.0,
    'scales': 0,
  }


@pytest.mark.parametrize(
  ('arguments', 'words'),
  [
    (['deblur'], 'required: PATH; see degrep deblur --help'),
    (['deblur', 'in', '--checkpoint', 'none', '--output', 'out'], 'none holds no checkpoint'),
    (['deblur', 'no', '--checkpoint', 'none', '--output', 'out'], 'no cannot be opened'),
    (['deblur', '*.gif', '--checkpoint', 'none', '--output', 'out'], '*.gif matches no file'),
    (['deblur', 'in', '--checkpoint', 'none', '--output', 'in'], 'is itself one of the pictures'),
    (['deblur', 'in', '--strength', 'nan'], "'nan' is no number"),
    (['deblur', 'in', '--strength', '2.5'], "'2.5' is not between 0 and 2"),
    (['deblur', 'in', '--scales', '0'], "'0' is neither a number of pixels, such as 1M, nor off"),
    (['deblur', 'in', '--quality', '0'], "'0' is not between 1 and 100"),
    (['deblur', 'in', '--window', '0'], "'0' is neither a number of pixels nor off"),
    (['deblur', 'in', '--memory', 'lots'], "'lots' is no amount such as 500M or 4GiB"),
    (['deblur', 'in', '--format', 'gif'], "invalid choice: 'gif'"),
    (
      ['deblur', 'in', '--chekpoint', 'none'],
      '--chekpoint is no flag of degrep deblur (is --checkpoint meant?); see degrep deblur --help',
    ),
    (['reblur', 'in', '--lke=a.jpg', '--checkpoint', 'none'], '--lke is no flag of degrep reblur'),
    (['debur', 'in'], "there is no command 'debur' (is deblur meant?); see degrep --help"),
    (['in'], "there is no command 'in' (is degrep deblur in meant?); see degrep --help"),
    (['map', 'in', '--xyz'], '--xyz is no flag of degrep map; see'),
    (['deblur', 'in', '--mode', 'whole'], "invalid choice: 'whole'"),
    (['reblur', 'in', '--checkpoint', 'none', '--output', 'out'], 'required: --like'),
    (['reblur', 'in', '--strength', 'nan'], "'nan' is no number"),
    (
      ['reblur', 'in', '--like', 'no.png', '--checkpoint', 'none', '--output', 'out'],
      'no.png cannot be opened: No such file',
    ),
  ],
)
def test_what_a_user_gets_wrong(degrep_here, arguments, words, tmp_path):
  status, out, err = degrep_here(*arguments)
  (line,) = err.splitlines()
  assert line.startswith('degrep_jax: ') and words in line
  assert (status, out) == (2, '')
  assert not (tmp_path / 'out').exists()


def test_few_words_suffice(degrep_here, monkeypatch, tmp_path):
  """Without an output the result goes beside the picture, and never over one."""

  class Stub:
    @classmethod
    def from_checkpoint(cls, directory, **options):
      return cls()

    def deblur(self, pixels, progress):
      return 255 - pixels

  monkeypatch.setattr('degrep_jax.inference.restorer.Restorer', Stub)
  monkeypatch.setattr('degrep_jax.app.batch.duration', lambda seconds: '0:00')
  original = (tmp_path / 'in' / 'a.jpg').read_bytes()
  flags = ('--checkpoint', 'net')
  assert degrep_here('deblur', 'in/a.jpg', *flags) == (
    0,
    '',
    '1 restored in 0:00 as in/a.deblurred.jpg.\n',
  )
  assert degrep_here('deblur', 'in/a.jpg', '--format', 'PNG', *flags)[0] == 0
  assert degrep_here('deblur', 'in', *flags)[2] == '1 restored in 0:00 as in.deblurred/a.jpg.\n'
  assert (tmp_path / 'in' / 'a.jpg').read_bytes() == original
  assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.glob('in*/*')) == [
    'in.deblurred/a.jpg',
    'in/a.deblurred.jpg',
    'in/a.deblurred.png',
    'in/a.jpg',
  ]


def test_a_blurry_photograph_that_is_cut_off(degrep_here, monkeypatch, tmp_path):
  likes = []

  class Stub:
    @classmethod
    def from_checkpoint(cls, directory, **options):
      return cls()

    def reblur(self, sharp, like, strength=1.0, progress=None):
      likes.append(like)
      return sharp

  monkeypatch.setattr('degrep_jax.inference.restorer.Restorer', Stub)
  values = files.noise(40, 7, 3)
  (tmp_path / 'cut.png').write_bytes(files.png(values)[:-300])
  flags = ('in/a.jpg', '--like', 'cut.png', '--checkpoint', 'net')
  status, _, err = degrep_here('reblur', *flags)
  assert status == 2 and 'cut.png is damaged (' in err and '): --salvage restores ' in err
  assert degrep_here('reblur', *flags, '--salvage')[0] == 0
  np.testing.assert_array_equal(likes[0], values[: len(likes[0])])
  assert 20 < len(likes[0]) < 40


@pytest.mark.parametrize('name', ['n' * 300, 'in/' + 'n' * 300])
def test_a_network_that_cannot_be_looked_for(degrep_here, name):
  status, _, err = degrep_here('deblur', 'in/a.jpg', '--checkpoint', name)
  assert (status, err) == (2, f'degrep_jax: {name} cannot be opened: File name too long.\n')


@pytest.mark.parametrize('command', ['deblur', 'reblur'])
def test_help_shows_how(degrep_here, command):
  status, out, err = degrep_here(command, '--help')
  assert (status, err) == (0, '')
  assert out.startswith(f'usage: degrep {command} ')
  assert 'examples:\n' in out
  assert max(map(len, out.splitlines())) <= 100


def test_without_arguments_the_help_is_shown(degrep_here):
  status, out, err = degrep_here()
  assert (status, out) == (2, '') and err.startswith('usage: degrep COMMAND')
  for name in cli.COMMANDS:
    assert f'\n    {name} ' in err


def test_the_version(degrep_here):
  assert degrep_here('--version') == (0, f'degrep_jax {metadata.version("degrep_jax")}\n', '')


def test_every_example_of_the_help_is_a_command_line(degrep_here, tmp_path, monkeypatch):
  """The examples parse; where they would run they stop at what they name, which is not here."""
  for command in ('deblur', 'reblur'):
    _, out, _ = degrep_here(command, '--help')
    lines = [line.strip() for line in out.splitlines() if line.startswith(f'  degrep {command}')]
    assert len(lines) >= 2
    for line in lines:
      arguments = [word.strip("'") for word in line.split(' < ')[0].split()[1:]]
      if '-' not in arguments:
        status, _, err = degrep_here(*arguments)
        assert status == 2 and ('cannot be opened' in err or 'matches no file' in err), line
