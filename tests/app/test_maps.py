"""Degradation maps as pictures: no seams, nothing of the tiles, one meaning of colours."""

import os
import resource
import signal
import sys

import numpy as np
import pytest
import saved
import tiny_deblur
import tiny_joint
from PIL import Image
from skimage import data

from degrep_jax import cli
from degrep_jax.inference import map_colours
from degrep_jax.inference.restorer import Restorer
from degrep_jax.runtime import compilation_cache

# --- the command ---------------------------------------------------------------------------------


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
  path = tmp_path_factory.mktemp('runs') / 'joint'
  saved.workdir(path, tiny_joint.config(eval__tile=32), {3: None})
  return path


@pytest.fixture
def photographs(tmp_path):
  """A folder of three photographs, two of them the same, and a file that is none."""
  folder = tmp_path / 'photographs'
  (folder / 'below').mkdir(parents=True)
  Image.fromarray(data.chelsea()[:70, :90]).save(folder / 'a.png')
  Image.fromarray(data.chelsea()[:70, :90]).save(folder / 'below' / 'same.bmp')
  Image.fromarray(data.coffee()[100:150, 100:200]).save(folder / 'b.png')
  (folder / 'broken.jpg').write_text('not a picture')
  return folder


@pytest.fixture
def command(monkeypatch, capsys, checkpoint, tmp_path):
  """Runs `degrep map` in this process: (exit status, what it said, its output folder)."""

  def run(*arguments, at=checkpoint):
    output = tmp_path / 'maps'
    flags = [f'--checkpoint={at}', f'--output={output}']
    monkeypatch.setattr(sys, 'argv', ['degrep', 'map', *flags, *map(str, arguments)])
    with pytest.raises(SystemExit) as end, monkeypatch.context() as patch:
      patch.setattr(Image, 'MAX_IMAGE_PIXELS', None)
      patch.setattr(signal, 'signal', lambda *_: None)
      patch.setattr(compilation_cache, 'enable', lambda: None)  # it would last for all tests
      cli.run()
    return end.value.code, capsys.readouterr().err, output

  return run


def opened(path):
  with Image.open(path) as picture:
    return np.asarray(picture)


def test_maps_of_many_photographs(command, photographs, checkpoint):
  status, said, output = command(photographs, '--raw')
  assert status == 1
  assert f'{photographs / "broken.jpg"} is not a picture' in said
  assert said.splitlines()[-1].startswith('3 maps in ') and said.endswith(', 1 failed.\n')
  files = {str(path.relative_to(output)) for path in output.rglob('*') if path.is_file()}
  names = ('a', 'b', 'below/same')
  assert files == {f'{name}{suffix}' for name in names for suffix in ('.png', '.npy')}
  a, b = opened(output / 'a.png'), opened(output / 'b.png')
  assert (a.shape, b.shape) == ((70, 90, 3), (50, 100, 3))
  # Colours mean the same in all.
  np.testing.assert_array_equal(opened(output / 'below' / 'same.png'), a)
  restorer = Restorer.from_checkpoint(checkpoint, mode='feathered')
  raw = np.load(output / 'b.npy')
  np.testing.assert_array_equal(raw, restorer.degradation_map(data.coffee()[100:150, 100:200]))
  # Within a place of the map only the grey varies, by `overlay` of what it does in the photograph.
  grey = 0.4 * data.chelsea()[:70, :90].mean(-1, keepdims=True)
  cell = restorer.cell
  colour = (a - grey)[4 * cell : 5 * cell, 7 * cell : 8 * cell]
  assert np.ptp(colour, axis=(0, 1)).max() <= 1
  assert np.ptp((a - grey)[::cell, ::cell], axis=(0, 1)).min() > 30


def test_what_is_there_is_left_alone(command, photographs):
  status, _, output = command(photographs / 'a.png', '--overlay=0')
  assert not status
  picture, cell = opened(output / 'a.png'), 4  # of colours alone: every place is of one
  last = cell - 1
  assert (picture[:68:cell, :88:cell] == picture[last:68:cell, last:88:cell]).all()
  (output / 'a.png').write_text('mine')
  (output / 'b.npy').write_text('mine')  # of a killed command, for example
  status, said, _ = command(photographs / 'a.png')
  assert not status and '0 maps' in said and '1 there already' in said
  assert (output / 'a.png').read_text() == 'mine'
  status, said, _ = command(photographs / 'b.png', '--raw')
  assert not status and f'{output / "b.npy"} is there already and was left alone' in said
  assert (output / 'b.npy').read_text() == 'mine'
  assert opened(output / 'b.png').shape == (50, 100, 3) and '1 map in ' in said


def test_an_ending_in_capitals_is_kept(command, photographs):
  (photographs / 'a.png').rename(photographs / 'A.PNG')
  for _ in range(2):
    status, said, output = command(photographs / 'A.PNG')
    assert not status
    assert [path.name for path in output.iterdir()] == ['A.PNG']
  assert '1 there already' in said


def test_more_maps_than_files_may_be_open(command, photographs):
  small = Image.fromarray(data.chelsea()[:12, :12])
  for number in range(60):
    small.save(photographs / 'below' / f'{number}.png')
  soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
  there = len(os.listdir('/proc/self/fd'))
  resource.setrlimit(resource.RLIMIT_NOFILE, (there + 40, hard))
  try:
    status, said, _ = command(photographs / 'below')
  finally:
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
  assert not status and '61 maps in ' in said


def test_an_interrupted_command_with_raw_maps_may_be_given_again(command, photographs, monkeypatch):
  def interrupt(*_):
    raise ZeroDivisionError

  with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
    patch.setattr('degrep_jax.app.maps.over_photograph', interrupt)
    command(photographs / 'a.png', photographs / 'b.png', '--raw')
  status, _, output = command(photographs / 'a.png', photographs / 'b.png', '--raw')
  assert not status
  assert sorted(path.name for path in output.iterdir()) == ['a.npy', 'a.png', 'b.npy', 'b.png']


def test_a_disk_too_small_for_the_maps(command, photographs, monkeypatch):
  (photographs / 'temporary').mkdir()
  monkeypatch.setattr('tempfile.tempdir', str(photographs / 'temporary'))
  monkeypatch.setattr(map_colours.MapPictures, 'read', lambda *_: np.zeros((2, 3, 4), np.float32))

  def full(path, array):
    path.write_bytes(b'half')
    raise OSError(f'{array.size} requested and 12 written')  # as NumPy has it

  monkeypatch.setattr(np, 'save', full)
  status, said, output = command(photographs / 'a.png', photographs / 'b.png')
  sentence, _, summary = said.splitlines()
  assert sentence.startswith(f'{photographs / "a.png"}: a map cannot be kept in {photographs}')
  assert '(24 requested and 12 written): set TMPDIR to a folder with more room.' in sentence
  assert status == 1 and summary.startswith('0 maps in ') and summary.endswith(', 2 failed.')
  assert not output.exists() and not [*(photographs / 'temporary').iterdir()]


def test_a_picture_too_large_for_the_memory(command, photographs, monkeypatch):
  def read(pictures, picture, progress):
    raise MemoryError

  monkeypatch.setattr(map_colours.MapPictures, 'read', read)
  status, said, _ = command(photographs / 'a.png')
  assert status == 1 and f'{photographs / "a.png"} needs more memory than there is.' in said


def test_what_a_user_gets_wrong(command, photographs, tmp_path):
  saved.workdir(tmp_path / 'hinet', tiny_deblur.config(model__network='hinet'), {7: None})
  status, said, output = command(photographs, at=tmp_path / 'hinet')
  assert status == 2 and 'a HINet has no degradation map' in said
  status, said, _ = command(photographs, '--overlay=2')
  assert status == 2 and '--overlay is 2.0' in said
  status, said, _ = command(photographs / 'a.png', '--output=x.jpg')
  assert status == 2 and 'x.jpg is the name of a JPEG file, and PNG is to be written' in said
  status, said, _ = command('-')
  assert status == 2 and 'not the standard streams' in said
  assert not output.exists()
