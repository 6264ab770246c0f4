import os
import subprocess
import sys
from itertools import islice
from pathlib import Path

import child
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from degrep_jax.common.errors import UserError
from degrep_jax.data import blur_field
from degrep_jax.data.pairs import Crop, FolderPairs, Pair, Source
from degrep_jax.data.pipeline import batch_items, draw_turn, shuffled_item, train_batches

HERE = Path(__file__).parent


class Numbers(Source):
  """Crops whose first channel is the item, the second random; sharp is 100 below blurry."""

  def __init__(self, count):
    self.names = tuple(str(item) for item in range(count))

  def __len__(self):
    return len(self.names)

  def pair(self, item):
    return Pair(self.names[item], *self.crop(item, 4, np.random.default_rng(0)))

  def crop(self, item, size, rng):
    sharp = np.empty((size, size, 3), np.uint8)
    sharp[..., 0] = item
    sharp[..., 1:] = rng.integers(0, 100, (size, size, 2))
    return sharp + np.uint8(100), sharp


def batches(count, source=None, **changes):
  values = {'crop': 4, 'batch_size': 6, 'seed': 0} | changes
  return list(islice(train_batches(source or Numbers(10), **values), count))


def items(some):
  return [int(item) for batch in some for item in np.rint(batch['sharp'][:, 0, 0, 0] * 255)]


def assert_same(some, others):
  assert len(some) == len(others)
  for one, other in zip(some, others, strict=True):
    for key in ('blurry', 'sharp'):
      np.testing.assert_array_equal(one[key], other[key])


def in_process(program, **variables):
  """What a program printed that may import this file."""
  places = HERE, HERE.parents[1], HERE.parent / 'support'
  return subprocess.run(
    [sys.executable, '-c', program],
    env=child.environment(PYTHONPATH=os.pathsep.join(map(str, places)), **variables),
    capture_output=True,
    text=True,
    timeout=120,
  )


def test_batches_are_floats_of_the_promised_shape():
  (batch,) = batches(1)
  assert set(batch) == {'blurry', 'sharp'}
  for pictures in batch.values():
    assert pictures.shape == (6, 4, 4, 3) and pictures.dtype == np.float32
    assert pictures.min() >= 0 and pictures.max() <= 1


def test_temporary_folders_stay_empty(tmp_path):
  """In a process of its own: AutoGraph converts a function once, and exits may sweep its files."""
  program = (
    'import os\n'
    'from test_pipeline import batches\n'
    'batches(1)\n'
    "print(os.listdir(os.environ['TMPDIR']))\n"
  )
  result = in_process(program, TMPDIR=str(tmp_path))
  assert result.stdout.splitlines()[-1:] == ['[]'], result.stderr


@pytest.mark.parametrize('count', [1, 2, 10, 33])
def test_every_epoch_shows_every_item_once(count):
  shown = items(batches(count, Numbers(count)))
  epochs = [shown[start : start + count] for start in range(0, len(shown), count)]
  assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
  if count > 2:
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_positions_within_an_epoch_are_about_uniform():
  shown = tf.data.Dataset.range(500 * 8).map(lambda index: shuffled_item(index, 8, seed=0))
  order = np.array(list(shown.as_numpy_iterator())).reshape(500, 8)
  counts = np.array([[(order[:, place] == item).sum() for item in range(8)] for place in range(8)])
  assert counts.min() > 35 and counts.max() < 92  # 62.5 expected, standard deviation 7.4


def dihedral(picture):
  """The eight flips and turns of a picture, by NumPy's rot90."""
  turned = [np.rot90(picture, k) for k in range(4)]
  return turned + [turn[:, ::-1] for turn in turned]


@settings(deadline=None)
@given(seed=st.integers(0, 2**32), side=st.integers(2, 9))
def test_pictures_are_flipped_and_turned(seed, side):
  picture = np.arange(side * side * 3, dtype=np.float32).reshape(side, side, 3)
  out = draw_turn(np.random.default_rng(seed)).of(picture)
  assert any(np.array_equal(out, one) for one in dihedral(picture))


def test_all_eight_flips_and_turns_are_drawn_about_equally():
  sharp = np.arange(12).reshape(2, 2, 3)
  rng = np.random.default_rng(0)
  draws = [draw_turn(rng).of(sharp) for _ in range(800)]
  counts = [sum(np.array_equal(draw, one) for draw in draws) for one in dihedral(sharp)]
  assert sum(counts) == 800
  assert min(counts) > 65 and max(counts) < 135  # 100 expected, standard deviation 9.4


def test_augmenting_does_not_touch_its_input():
  blurry, sharp = np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), np.uint8)
  before = blurry.copy(), sharp.copy()
  for seed in range(8):
    for picture in (blurry, sharp):
      draw_turn(np.random.default_rng(seed)).of(picture)[:] = 0
  np.testing.assert_array_equal((blurry, sharp), before)


class Known(Numbers):
  """References are 50 above blurry; every place moved by 16 px along a line that leans by 30
  degrees."""

  def known_crop(self, item, size, rng):
    blurry, sharp = self.crop(item, size, rng)
    paths = np.full((2, size // 4, size // 4), [[[16.0]], [[np.pi / 6]]])
    return Crop(blurry, sharp, blurry + np.uint8(50), blur_field.of_paths(*paths))


ALL = Crop._fields


def test_what_is_known_comes_along_and_is_augmented_alike():
  plain = batches(3)
  assert all(batch.keys() == {'blurry', 'sharp'} for batch in plain)
  known = batches(3, Known(10), inputs=ALL)
  assert_same(plain, known)
  seen = set()
  for batch in known:
    np.testing.assert_allclose(batch['reference'] - batch['blurry'], 50 / 255, atol=1e-6)
    assert batch['field'].shape == (6, 1, 1, 4)
    for strength, x, y, there in batch['field'][:, 0, 0]:
      assert (strength, there) == (2, 1) and np.hypot(x, y) == pytest.approx(2)
      seen.add(round(np.rad2deg(np.arctan2(y, x) / 2)) % 180)
  assert seen == {30, 150, 60, 120}  # flipped, transposed, both


def test_a_source_that_knows_nothing_says_so():
  for batch in batches(2, inputs=ALL):
    np.testing.assert_array_equal(batch['reference'], batch['blurry'])
    assert not batch['field'].any()


def test_not_augmented_the_field_is_as_it_was():
  (batch,) = batches(1, Known(10), inputs=('field',), augment=False)
  expected = 2, 2 * np.cos(np.pi / 3), 2 * np.sin(np.pi / 3), 1
  np.testing.assert_allclose(batch['field'][:, 0, 0], [expected] * 6, rtol=1e-6)


def test_blurry_and_sharp_are_augmented_alike():
  for batch in batches(4):
    np.testing.assert_allclose(batch['blurry'] - batch['sharp'], 100 / 255, atol=1e-6)


def test_augmentation_can_be_left_out():
  class Ramp(Numbers):
    def crop(self, item, size, rng):
      ramp = np.arange(size * size * 3, dtype=np.uint8).reshape(size, size, 3)
      return ramp, ramp

  ramp = np.arange(48, dtype=np.float32).reshape(4, 4, 3) / 255
  plain = batches(3, Ramp(10), augment=False)
  turned = batches(3, Ramp(10), augment=True)
  assert all((batch['sharp'] == ramp).all() for batch in plain)
  assert len({picture.tobytes() for batch in turned for picture in batch['blurry']}) > 4


@pytest.mark.parametrize('start', [1, 2, 7, 1000])
def test_starting_later_skips_exactly(start):
  whole = batches(start + 2) if start < 10 else batches(start - 998, start_step=999)
  skipped = whole[start:] if start < 10 else whole[1:]
  assert_same(batches(len(skipped), start_step=start), skipped)


@pytest.mark.parametrize('processes', [2, 3])
def test_processes_share_the_batch_of_one(processes):
  shares = [
    batches(4, process_index=process, process_count=processes) for process in range(processes)
  ]
  joined = [
    {key: np.concatenate([share[key] for share in step]) for key in ('blurry', 'sharp')}
    for step in zip(*shares, strict=True)
  ]
  assert shares[0][0]['blurry'].shape[0] == 6 // processes
  assert_same(joined, batches(4))


def test_seeds_fix_and_change_everything():
  assert_same(batches(3, seed=2**40 + 1), batches(3, seed=2**40 + 1))
  for other in (1, 2**31, 2**40):
    assert items(batches(5)) != items(batches(5, seed=other))
    one_item, again = batches(1, Numbers(1)), batches(1, Numbers(1), seed=other)
    assert (one_item[0]['sharp'] != again[0]['sharp']).any()


def test_an_item_is_cropped_anew_in_every_epoch():
  first, second = batches(2, Numbers(6))
  crops = [
    {int(np.rint(p[0, 0, 0] * 255)): sorted(p[..., 1].ravel()) for p in batch['sharp']}
    for batch in (first, second)
  ]
  assert all(crops[0][item] != crops[1][item] for item in range(6))


def test_batch_that_cannot_be_shared():
  with pytest.raises(UserError, match=r'batch of 6 .* 4 processes'):
    batches(1, process_count=4)


def test_negative_seed():
  with pytest.raises(UserError, match='seed is -1'):
    batches(1, seed=-1)


def test_truncated_picture_comes_out_as_the_user_error(tmp_path):
  noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
  for name in ('blur/1.png', 'blur/2.png', 'sharp/1.png', 'sharp/2.png'):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.fromarray(noise).save(tmp_path / name)
  file = tmp_path / 'sharp/2.png'
  file.write_bytes(file.read_bytes()[:1500])
  source = FolderPairs(tmp_path, 'train', min_size=8)
  with pytest.raises(UserError, match=r'sharp/2\.png cannot be decoded') as caught:
    batches(1, source, crop=8, batch_size=2)
  assert caught.value.__suppress_context__


def test_the_first_of_several_failures_is_raised():
  class Failing(Numbers):
    def crop(self, item, size, rng):
      raise KeyError(item)

  first = int(shuffled_item(tf.constant(0, tf.int64), 10, 0))
  with pytest.raises(KeyError, match=str(first)):
    batches(1, Failing(10))


def test_the_process_ends_while_batches_are_being_made():
  code = (
    'from test_pipeline import Numbers, train_batches\n'
    'unfinished = train_batches(Numbers(10), crop=64, batch_size=6, seed=0)\n'
    'print(next(unfinished)["blurry"].shape)\n'
  )
  ended = in_process(code)
  assert ended.returncode == 0 and ended.stdout == '(6, 64, 64, 3)\n', ended.stderr


class Damaged(Numbers):
  """Numbers of which some items cannot be read."""

  def __init__(self, count, damaged):
    super().__init__(count)
    self.damaged = damaged

  def crop(self, item, size, rng):
    if item in self.damaged:
      raise UserError(f'{self.names[item]} is damaged.')
    return super().crop(item, size, rng)


def test_damaged_items_are_replaced_and_counted(capsys):
  damaged = Damaged(10, {3, 7})
  stream = train_batches(damaged, crop=4, batch_size=6, seed=0, on_error='skip')
  shown, counts = [], []
  for step in range(1, 11):
    shown += items([next(stream)])
    counts.append(stream.replaced(step))
  whole = items(batches(10))
  assert not damaged.damaged & set(shown)
  replaced = [one != other for one, other in zip(shown, whole, strict=True)]
  assert [other in damaged.damaged for other in whole] == replaced
  assert counts == [sum(replaced[start : start + 6]) for start in range(0, 60, 6)]
  told = capsys.readouterr().err
  assert told.count('3 is damaged.') == told.count('7 is damaged.') == 1


def test_replacements_are_the_same_on_resume_and_for_several_processes():
  options = {'source': Damaged(10, {3, 7}), 'on_error': 'skip'}
  whole = batches(6, **options)
  assert_same(batches(3, start_step=3, **options), whole[3:])
  shares = [batches(6, process_index=i, process_count=2, **options) for i in range(2)]
  for step, parts in zip(whole, zip(*shares, strict=True), strict=True):
    np.testing.assert_array_equal(step['sharp'], np.concatenate([p['sharp'] for p in parts]))


def test_nothing_but_damage_is_an_error():
  with pytest.raises(UserError, match='is damaged'):
    batches(1, Damaged(4, {0, 1, 2, 3}), on_error='skip')


def test_other_errors_are_not_passed_over():
  class Failing(Numbers):
    def crop(self, item, size, rng):
      raise KeyError(item)

  with pytest.raises(KeyError):
    batches(1, Failing(10), on_error='skip')


def test_the_items_of_a_batch():
  (_, second) = batches(2)
  options = {'crop': 4, 'batch_size': 6, 'seed': 0}
  found = batch_items(2, Numbers(10), **options)
  assert [number for number, _, _ in found] == [6, 7, 8, 9, 10, 11]
  assert [item for _, item, _ in found] == items([second])
  assert [name for _, _, name in found] == [str(item) for item in items([second])]
  # Of damaged ones those that were shown in their place.
  shown = items([batches(2, Damaged(10, {2, 6}), on_error='skip')[1]])
  assert shown != items([second])
  found = batch_items(2, Damaged(10, {2, 6}), **options, on_error='skip')
  assert [item for _, item, _ in found] == shown
