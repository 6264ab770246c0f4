"""Many photographs through a stand-in for the net: what is written, what is said, and what is left
when something breaks."""

import contextlib
import io
import os
import pathlib
import subprocess
import sys
import textwrap
import threading

import imagecodecs
import jax
import numpy as np
import photo_files as files
import pytest
from PIL import Image

from degrep_jax.app import batch, jobs
from degrep_jax.common.errors import UserError
from degrep_jax.photos import reading

ROOT = pathlib.Path(__file__).parents[2]
DAC_OVERRIDE, DAC_READ_SEARCH, BOUNDING_SET_DROP = 1, 2, 24  # of Linux


@pytest.fixture(autouse=True)
def _no_time_passes(monkeypatch):
  monkeypatch.setattr(batch, 'duration', lambda seconds: '0:00')


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Writes files into a folder that becomes the current one."""
  monkeypatch.chdir(tmp_path)

  def write(**contents):
    for name, data in contents.items():
      path = pathlib.Path('in', name.replace('__', '/').replace('_', '.'))
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_bytes(data)
    return tmp_path

  return write


def inverted(pixels, progress):
  """A stand-in for the net, whose work is easily seen."""
  progress(1)
  return np.iinfo(pixels.dtype).max - pixels


def run(restore=inverted, paths=('in',), output='out', compare=False, **settings):
  """Exit status of a batch."""
  known = {'format': settings.get('format'), 'overwrite': settings.get('overwrite', False)}
  plan = jobs.plan(paths, output, compare=compare, **known)
  return batch.run(plan, restore, batch.Settings(**settings), batch.Words('restoring', 'restored'))


def written(output='out'):
  """{path below the output: file}, all of them."""
  return {
    path.relative_to(output).as_posix(): path.read_bytes()
    for path in sorted(pathlib.Path(output).rglob('*'))
    if path.is_file()
  }


def test_every_picture_goes_through_the_net(folder, capsys):
  first, second = files.noise(5, 7, 3), files.noise(9, 4, 4, np.uint16)
  folder(a_png=files.png(first), x__b_tif=files.tiff(second))
  assert run() == 0
  results = written()
  assert [*results] == ['a.png', 'x/b.tif']
  np.testing.assert_array_equal(files.stored(results['a.png']), 255 - first)
  second[..., :3] = 65535 - second[..., :3]  # alpha stays
  np.testing.assert_array_equal(files.stored(results['x/b.tif']), second)
  printed = capsys.readouterr()
  assert printed.err == '2 restored in 0:00.\n'
  assert printed.out == ''


def test_broken_files_are_said_and_the_rest_restored(folder, capsys):
  good = files.png(files.noise(5, 7, 3))
  folder(a_png=good, b_png=b'hello', c_png=b'', d_png=good[:60], e_png=good, f_jpg=good)
  assert run() == 1
  assert [*written()] == ['a.png', 'e.png', 'f.jpg']
  lines = capsys.readouterr().err.splitlines()
  assert len(lines) == 4
  assert lines[0] == 'in/b.png is not a picture of a kind that can be read.'
  assert lines[1] == 'in/c.png is empty.'
  assert lines[2].startswith('in/d.png is damaged and cannot be decoded')
  assert lines[3] == '3 restored in 0:00 (1 PNG as JPEG), 3 failed.'


def test_names_decide_the_format(folder):
  values = files.gradient(8, 8, 3)
  folder(a_jpg=files.png(values), b=files.pillow(values, 'BMP'))
  assert run(paths=['in/a.jpg', 'in/b']) == 0
  assert {name: Image.open(io.BytesIO(data)).format for name, data in written().items()} == {
    'a.jpg': 'JPEG',
    'b': 'BMP',
  }


def test_what_a_format_cannot_hold_is_said(folder, capsys):
  folder(a_png=files.png(files.noise(5, 7, 4)))
  assert run(format='JPEG', quality=50) == 0
  assert capsys.readouterr().err.splitlines()[0] == (
    'in/a.png: laid over white, as JPEG has no transparency.'
  )


def test_what_is_there_is_left_alone_unless_told(folder, capsys):
  folder(a_png=files.png(files.noise(5, 7, 3)), b_png=files.png(files.noise(5, 7, 3)))
  assert run() == 0
  pathlib.Path('out/a.png').write_bytes(b'mine')
  pathlib.Path('out/b.png').unlink()
  capsys.readouterr()
  assert run() == 0
  assert written()['a.png'] == b'mine' and 'b.png' in written()
  assert capsys.readouterr().err == (
    '1 restored in 0:00, 1 there already (--overwrite does them again).\n'
  )
  assert run() == 0
  assert capsys.readouterr().err == '2 there already (--overwrite does them again).\n'
  assert run(overwrite=True) == 0
  assert written()['a.png'] == written()['b.png']


def test_what_turns_up_meanwhile_is_left_alone(folder, capsys):
  folder(a_png=files.png(files.noise(5, 7, 3)))

  def restore(pixels, progress):
    pathlib.Path('out/a.png').write_bytes(b'mine')
    return pixels

  assert run(restore) == 1
  assert written() == {'a.png': b'mine'}
  assert 'out/a.png is there already and was left alone' in capsys.readouterr().err


def test_before_and_after_side_by_side(folder):
  values = files.noise(5, 7, 3)
  folder(a_png=files.png(values))
  assert run(compare=True) == 0
  results = written()
  assert [*results] == ['a.compare.png', 'a.png']
  both = files.stored(results['a.compare.png'])
  np.testing.assert_array_equal(both[:, :7], values)
  np.testing.assert_array_equal(both[:, -7:], 255 - values)


def test_a_comparison_that_is_there_is_left_alone_and_the_picture_restored(folder, capsys):
  values = files.noise(5, 7, 3)
  folder(a_png=files.png(values))
  pathlib.Path('out').mkdir()
  pathlib.Path('out/a.compare.png').write_bytes(b'mine')  # of a killed command, for example
  assert run(compare=True) == 0
  results = written()
  assert results['a.compare.png'] == b'mine'
  np.testing.assert_array_equal(files.stored(results['a.png']), 255 - values)
  assert capsys.readouterr().err.startswith(
    'in/a.png: comparison not written: out/a.compare.png is there already and was left alone '
    '(--overwrite writes it again).\n1 restored'
  )


def test_a_comparison_too_wide_for_its_format_costs_no_picture(folder, capsys):
  values = files.noise(1, 8190, 3)
  folder(a_webp=files.pillow(values, 'WEBP', lossless=True))
  assert run(compare=True) == 0
  results = written()
  assert [*results] == ['a.webp']
  np.testing.assert_array_equal(files.stored(results['a.webp']), 255 - values)
  assert capsys.readouterr().err.startswith(
    'in/a.webp: comparison not written: out/a.compare.webp is 16388x1, and WEBP holds at most '
    '16,383 pixels a side: choose another --format.\n'
  )


def test_a_comparison_comes_before_its_picture(folder, monkeypatch):
  """Where a killed command left a result, the picture is done."""
  folder(a_png=files.png(files.noise(5, 7, 3)))
  order, write = [], batch.write_atomically

  def noted(path, *args, **options):
    order.append(path.name)
    write(path, *args, **options)

  monkeypatch.setattr(batch, 'write_atomically', noted)
  assert run(compare=True) == 0
  assert order == ['a.compare.png', 'a.png']


@pytest.mark.parametrize(
  ('error', 'words'),
  [
    (UserError('the net wants more.'), 'in/b.png: the net wants more.'),
    (MemoryError(), 'in/b.png of 3x2 needs more memory than there is'),
    (jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: out of it'), 'needs more memory'),
  ],
)
def test_what_the_net_cannot_do_is_said(folder, capsys, error, words):
  folder(a_png=files.png(files.noise(5, 7, 3)), b_png=files.png(files.noise(2, 3, 3)))

  def restore(pixels, progress):
    if pixels.shape == (2, 3, 3):
      raise error
    return pixels

  assert run(restore) == 1
  assert [*written()] == ['a.png']
  assert words in capsys.readouterr().err


def test_other_errors_are_not_swallowed(folder):
  folder(a_png=files.png(files.noise(5, 7, 3)))

  def restore(pixels, progress):
    raise jax.errors.JaxRuntimeError('INTERNAL: a bug')

  with pytest.raises(jax.errors.JaxRuntimeError, match='a bug'):
    run(restore)


def test_files_have_the_usual_rights(folder):
  folder(a_png=files.png(files.noise(5, 7, 3)))
  before = os.umask(0o027)
  try:
    assert run() == 0
  finally:
    os.umask(before)
  assert pathlib.Path('out/a.png').stat().st_mode & 0o777 == 0o640


def test_names_as_long_as_they_may_be(folder):
  name = 'n' * 251 + '.png'
  folder(a_png=files.png(files.noise(5, 7, 3)))
  pathlib.Path('in/a.png').rename(pathlib.Path('in', name))
  assert run() == 0
  assert [*written()] == [name]


def test_names_that_are_too_long_with_what_is_added(folder, capsys):
  name = 'n' * 250 + '.png'
  folder(a_png=files.png(files.noise(5, 7, 3)), b_png=files.png(files.noise(5, 7, 3)))
  pathlib.Path('in/a.png').rename(pathlib.Path('in', name))
  assert run(paths=(f'in/{name}', 'in/b.png'), output=None) == 1
  assert 'cannot be written: File name too long.' in capsys.readouterr().err
  assert pathlib.Path('in/b.restored.png').exists()
  pathlib.Path('in/b.restored.png').unlink()
  assert run(output='out', compare=True) == 0
  assert sorted(written()) == ['b.compare.png', 'b.png', name]


@pytest.mark.parametrize('quality', [94, 95, None])
def test_noise_that_pillow_has_no_buffer_for(folder, quality):
  folder(a_png=files.png(files.noise(300, 300, 3)))
  assert run(format='JPEG', quality=quality) == 0
  with Image.open('out/a.jpg') as picture:
    before = reading.load('in/a.png').pixels.astype(float)
    assert picture.size == (300, 300)
    assert np.abs(255 - before - np.asarray(picture)).mean() < 40


def test_what_cannot_be_encoded_costs_its_picture_alone(folder, monkeypatch, capsys):
  folder(a_png=files.png(files.noise(5, 7, 3)), b_png=files.png(files.noise(6, 7, 3)))
  encode = imagecodecs.png_encode

  def stumbling(pixels):
    if len(pixels) == 5:
      raise OSError('broken data stream')
    return encode(pixels)

  monkeypatch.setattr(imagecodecs, 'png_encode', stumbling)
  assert run() == 1
  assert 'in/a.png cannot be written as PNG (broken data stream).' in capsys.readouterr().err
  assert [*written()] == ['b.png']


def test_reading_runs_ahead_of_the_net_but_not_far(folder, monkeypatch):
  folder(**{f'p{n}_png': files.png(files.noise(4, 4, 1)) for n in range(9)})
  read, load = [], batch.reading.load
  monkeypatch.setattr(
    batch.reading, 'load', lambda *args, **options: read.append(args) or load(*args, **options)
  )
  counts, waited = [], threading.Event()

  def restore(pixels, progress):
    waited.wait(0.2)  # time enough for the reader
    counts.append(len(read))
    return pixels

  assert run(restore) == 0
  assert counts == [3, 4, 5, 6, 7, 8, 9, 9, 9]


def test_a_folder_in_the_way(folder, capsys):
  folder(a_png=files.png(files.noise(5, 7, 3)), x__b_png=files.png(files.noise(5, 7, 3)))
  pathlib.Path('out').mkdir()
  pathlib.Path('out/x').write_bytes(b'a file')
  assert run() == 1
  assert 'out/x/b.png cannot be written: File exists.' in capsys.readouterr().err
  assert [*written()] == ['a.png', 'x']


# --- what is said --------------------------------------------------------------------------------


def test_nothing_passes_in_silence(folder, capsys):
  values = files.gradient(64, 64, 3)
  folder(
    a_heic=files.heic(values),
    b_ppm=files.pillow(values, 'PPM'),
    c_jpg=files.heic(values),
    d_png=files.png(values),
    e_mov=b'a video',
    f_txt=b'a text',
    Thumbs_db=b'',
  )
  assert run() == 0
  assert [*written()] == ['a.jpg', 'b.png', 'c.jpg', 'd.png']
  assert capsys.readouterr().err == (
    '4 restored in 0:00 (2 HEIC as JPEG, 1 PNM as PNG), 2 passed over: 1 .mov, 1 .txt.\n'
  )


def test_a_folder_as_phones_and_programs_fill_it(folder, capsys):
  smooth = files.gradient(48, 64, 3)
  scan, deep = files.noise(20, 30, 3), files.noise(20, 30, 3, np.uint16)
  screenshot = np.dstack([smooth, files.noise(48, 64, 1)])
  ultra_hdr = files.android_ultra_hdr()
  jpeg = files.pillow(files.noise(96, 64, 3), 'JPEG')
  folder(
    IMG1_HEIC=files.heic(smooth),
    IMG2_jpg=files.pillow(smooth, 'JPEG', quality=95, exif=files.exif(6)),
    PXL_jpg=ultra_hdr,
    broken_jpg=jpeg[: 2 * len(jpeg) // 3],
    deep_png=files.png(deep),
    notes_txt=b'where and when',
    scan_tif=files.tiff(scan, bigtiff=True),
    shot_png=files.png(screenshot),
  )
  assert run() == 1
  motion, damaged, summary = capsys.readouterr().err.splitlines()
  assert motion == 'in/PXL.jpg: motion video left out.'
  assert damaged.startswith('in/broken.jpg is damaged (') and '): --salvage restores ' in damaged
  assert summary == '6 restored in 0:00 (1 HEIC as JPEG), 1 failed, 1 passed over: 1 .txt.'
  results = written()
  assert [*results] == ['IMG1.jpg', 'IMG2.jpg', 'PXL.jpg', 'deep.png', 'scan.tif', 'shot.png']
  for name, expected in (('IMG1.jpg', smooth), ('IMG2.jpg', np.rot90(smooth, -1))):
    assert np.abs(files.stored(results[name]) - (255.0 - expected)).max() < 16
  assert results['PXL.jpg'].endswith(ultra_hdr[ultra_hdr.index(b'\xff\xd8', 2) :])  # its gain map
  np.testing.assert_array_equal(files.stored(results['deep.png']), 65535 - deep)
  np.testing.assert_array_equal(files.stored(results['scan.tif']), 255 - scan)
  restored = np.dstack([255 - smooth, screenshot[..., 3:]])
  np.testing.assert_array_equal(files.stored(results['shot.png']), restored)


def test_failures_are_listed_again_at_the_end_of_a_long_run(folder, capsys):
  good = files.png(files.noise(4, 4, 1))
  folder(**{f'p{n:02}_png': b'' if n in (0, 7) else good for n in range(21)})
  assert run() == 1
  lines = capsys.readouterr().err.splitlines()
  first, second = 'in/p00.png is empty.', 'in/p07.png is empty.'
  assert lines == [
    first,
    second,
    'Failed:',
    f'  {first}',
    f'  {second}',
    '19 restored in 0:00, 2 failed.',
  ]
  for path in pathlib.Path('in').glob('p0[1-9].png'):
    path.unlink()
  assert run(overwrite=True) == 1
  assert 'Failed:' not in capsys.readouterr().err


@pytest.mark.parametrize(
  ('paths', 'where'),
  [
    (['in/a.png'], ' as in/a.deblurred.png'),
    (['in/a.png', 'in/b.png'], ' beside the originals'),
    (['in'], ' in in.deblurred'),
  ],
)
def test_where_results_are_that_nobody_named_a_place_for(folder, capsys, paths, where):
  folder(a_png=files.png(files.noise(4, 4, 1)), b_png=files.png(files.noise(4, 4, 1)))
  plan = jobs.plan(paths, None, infix='deblurred')
  batch.run(plan, inverted, batch.Settings(), batch.Words('restoring', 'restored'))
  assert capsys.readouterr().err == f'{len(plan.jobs)} restored in 0:00{where}.\n'
  assert all(job.target.exists() for job in plan.jobs)


def test_the_bar_moves_with_the_shares_of_a_picture(folder, monkeypatch):
  folder(a_png=files.png(files.noise(4, 4, 1)), b_png=b'', c_png=files.png(files.noise(4, 4, 1)))
  moved = []
  monkeypatch.setattr(batch, 'share_of', lambda *_: contextlib.nullcontext(moved.append))

  def restore(pixels, progress):
    for share in (0.25, 0.5, 1):
      progress(share)
    return pixels

  assert run(restore) == 1
  assert sorted(moved) == [0.25, 0.5, 1, 1, 2, 2.25, 2.5, 3, 3]


def test_what_is_left_of_a_file_is_restored_where_asked_for(folder, capsys):
  values = files.noise(40, 7, 3)
  folder(a_png=files.png(values)[:-300])
  assert run() == 1
  assert '--salvage restores ' in capsys.readouterr().err
  assert run(salvage=True) == 0
  restored = files.stored(written()['a.png'])
  assert 20 < len(restored) < 40
  np.testing.assert_array_equal(restored, 255 - values[: len(restored)])
  assert capsys.readouterr().err.startswith(
    f'in/a.png: salvaged, {len(restored)} of its 40 rows.\n1 restored'
  )


@pytest.mark.parametrize('overwrite', [False, True])
def test_an_interrupted_command_goes_on_unless_it_overwrites(folder, capsys, overwrite):
  folder(a_png=files.png(files.noise(4, 4, 1)))

  def restore(pixels, progress):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    run(restore, overwrite=overwrite)
  said = capsys.readouterr().err
  assert said.startswith('Interrupted: what is written is whole')
  assert ('the same command goes on from there' in said) is not overwrite


# --- processes of their own ----------------------------------------------------------------------

PROGRAM = """
import os, signal, sys, time, types
from degrep_jax import cli
from degrep_jax.app import batch

batch.duration = lambda seconds: '0:00'

class Restorer:
  @classmethod
  def from_checkpoint(cls, *args, **options):
    return cls()

  def deblur(self, pixels, progress):
    return pixels

sys.modules['degrep_jax.inference.restorer'] = types.SimpleNamespace(Restorer=Restorer)
"""


def command(program, *arguments, limits='', stdout=subprocess.PIPE, **options):
  """Runs `degrep deblur` with `program` before it, the net replaced by an identity.

  limits: a program whose process becomes that of the command, so that what it gave up is gone.
  """
  source = PROGRAM + textwrap.dedent(program) + '\ncli.run()\n'
  python = [sys.executable, '-c', source, 'deblur', *arguments, '--checkpoint', 'none']
  if limits:
    become = '\nimport os, sys\nos.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n'
    python = [sys.executable, '-c', textwrap.dedent(limits) + become, *python[1:]]
  return subprocess.run(
    python,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
    stdout=stdout,
    stderr=subprocess.PIPE,
    timeout=120,
    **options,
  )


def test_ctrl_c_while_the_net_computes(folder):
  """The command ends at once, though the net is busy for long, and what is written is whole."""
  folder(**{f'p{n}_png': files.png(files.noise(40, 40, 3)) for n in range(6)})
  program = """
  def deblur(self, pixels, progress, seen=[]):
    seen.append(pixels)
    if len(seen) == 4:
      time.sleep(0.5)  # until the command waits
      os.kill(os.getpid(), signal.SIGINT)
      time.sleep(1000)
    return pixels
  Restorer.deblur = deblur
  """
  result = command(program, 'in', '--output', 'out')
  assert result.returncode == 130, result.stderr
  assert b'Interrupted: ' in result.stderr and b'Traceback' not in result.stderr
  results = written()
  assert {*results} <= {'p0.png', 'p1.png', 'p2.png'} and len(results) >= 2
  for data in results.values():
    assert files.stored(data).shape == (40, 40, 3)


@pytest.mark.parametrize('kind', ['SIGINT', 'SIGTERM'])
def test_ctrl_c_while_a_file_is_written(folder, kind):
  folder(**{f'p{n}_png': files.png(files.noise(40, 40, 3)) for n in range(6)})
  program = f"""
  replace = os.replace
  def interrupted(source, target):
    if 'p1' in str(target):
      os.kill(os.getpid(), signal.{kind})
      time.sleep(1)
    replace(source, target)
  os.replace = interrupted
  """
  result = command(program, 'in', '--output', 'out')
  assert result.returncode == 130, result.stderr
  results = written()
  assert [*results][:2] == ['p0.png', 'p1.png'] and len(results) < 6
  for name, data in results.items():
    assert not name.startswith('.')
    assert files.stored(data).shape == (40, 40, 3)


# Gives up root's right to pass over permissions, where the test runs as root.
WITHOUT_PRIVILEGES = f"""
import ctypes
for capability in ({DAC_OVERRIDE}, {DAC_READ_SEARCH}):
  ctypes.CDLL(None).prctl({BOUNDING_SET_DROP}, capability, 0, 0, 0)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='rights of Linux')
def test_folders_and_files_without_permission(folder):
  good = files.png(files.noise(5, 7, 3))
  folder(a_png=good, closed__b_png=good, d_png=good, locked__e_png=good, x__f_png=good)
  pathlib.Path('out/locked').mkdir(parents=True)
  modes = {'in/closed': 0, 'in/d.png': 0, 'out/locked': 0o555}
  for path, mode in modes.items():
    os.chmod(path, mode)
  try:
    result = command('', 'in', '--output', 'out', limits=WITHOUT_PRIVILEGES)
  finally:
    for path in modes:
      os.chmod(path, 0o755)
  assert result.returncode == 1
  assert [*written()] == ['a.png', 'x/f.png']
  assert result.stderr.decode().splitlines() == [
    'in/closed cannot be listed: Permission denied.',
    'in/d.png cannot be opened: Permission denied.',
    'out/locked/e.png cannot be written: Permission denied.',
    '2 restored in 0:00, 3 failed.',
  ]


@pytest.mark.skipif(sys.platform != 'linux', reason='rights of Linux')
def test_a_pattern_in_a_folder_that_may_only_be_listed(folder):
  good = files.png(files.noise(5, 7, 3))
  folder(a_png=good, closed__b_png=good)
  os.chmod('in/closed', 0o444)
  try:
    result = command('', 'in/**/*.png', '--output', 'out', limits=WITHOUT_PRIVILEGES)
  finally:
    os.chmod('in/closed', 0o755)
  assert result.returncode == 1
  assert [*written()] == ['a.png']
  assert result.stderr.decode().splitlines() == [
    'in/closed/b.png cannot be opened: Permission denied.',
    '1 restored in 0:00, 1 failed.',
  ]


# As a disk that is full, but for small files.
SMALL_FILES_ONLY = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
"""


def test_a_file_that_does_not_fit(folder):
  large = files.png(files.noise(300, 300, 3))
  folder(a_png=files.png(files.noise(5, 7, 3)), b_png=large, c_png=files.png(files.noise(9, 9, 3)))
  result = command('', 'in', '--output', 'out', limits=SMALL_FILES_ONLY)
  assert result.returncode == 1
  assert [*written()] == ['a.png', 'c.png']
  assert result.stderr.decode().splitlines() == [
    'out/b.png cannot be written: File too large.',
    '2 restored in 0:00, 1 failed.',
  ]


def test_a_full_disk(folder, monkeypatch, capsys):
  folder(a_png=files.png(files.noise(5, 7, 3)), b_png=files.png(files.noise(9, 9, 3)))
  sync = os.fsync

  def full(number):
    # The first picture fills the disk in the middle.
    if not pathlib.Path('out/b.png').exists() and os.fstat(number).st_size < 300:
      os.ftruncate(number, 10)
      raise OSError(28, os.strerror(28))
    sync(number)

  monkeypatch.setattr(os, 'fsync', full)
  assert run() == 1
  assert [*written()] == ['b.png']
  assert 'out/a.png cannot be written: No space left on device.' in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists('/dev/full'), reason='needs /dev/full')
def test_standard_streams(folder):
  values = files.noise(5, 7, 3, np.uint16)
  folder(a_png=files.png(values))
  data = pathlib.Path('in/a.png').read_bytes()
  result = command('', '-', '--output', '-', input=data)
  assert result.returncode == 0, result.stderr
  assert result.stderr == b''
  np.testing.assert_array_equal(files.stored(result.stdout), values)
  result = command('', '-', '--output', '-', input=b'hello')
  assert (result.returncode, result.stdout) == (1, b'')
  assert result.stderr == b'standard input is not a picture of a kind that can be read.\n'
  with open('/dev/full', 'wb') as full:
    result = command('', 'in/a.png', '--output', '-', stdout=full)
  assert result.returncode == 1
  assert result.stderr == b'The standard output cannot be written: No space left on device.\n'
