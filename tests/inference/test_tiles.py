"""Tiling: the released corners, whole coverage, exact averages, batches of one shape."""

import itertools
import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rounding import FEW, gamma

from degrep_jax.inference import tiles

sides = st.integers(1, 90)
tile_sides = st.integers(1, 16)
quick = settings(max_examples=60, deadline=None)


def _noise(height, width, seed=0):
  return np.random.default_rng(seed).random((height, width, 3), np.float32)


def _corners(height, width, tile):
  return list(itertools.product(*(tiles.averaged(side, tile).starts for side in (height, width))))


def _restored(predict, *pictures, tile, batch):
  return next(tiles.restore_many(predict, [pictures], tile=tile, batch=batch))


class _Net:
  """Remembers the shapes it is given and answers with `function` of the stacks."""

  def __init__(self, function=lambda blurry: blurry):
    self.function = function
    self.shapes = []

  def __call__(self, *stacks):
    self.shapes.extend(stack.shape for stack in stacks)
    return self.function(*stacks)


def test_corners_are_the_released_ones(golden):
  figures = json.loads((golden / 'tiles_256.json').read_text())
  assert figures
  for size, corners in figures.items():
    height, width = map(int, size.split('x'))
    assert _corners(height, width, 256) == [tuple(corner) for corner in corners]


@quick
@given(sides, sides, tile_sides)
def test_corners_cover_the_picture_once_each(height, width, tile):
  corners = _corners(height, width, tile)
  assert corners == sorted(set(corners))
  for axis, size in enumerate((height, width)):
    starts = sorted({corner[axis] for corner in corners})
    assert starts[0] == 0
    assert starts[-1] == max(0, size - tile)
    assert all(a + tile >= b for a, b in itertools.pairwise(starts))
    assert len(starts) == math.ceil(size / tile)


@quick
@given(sides, sides, st.integers(1, 7), tile_sides)
def test_identity_gives_the_picture_back(height, width, batch, tile):
  picture, net = _noise(height, width), _Net()
  restored = _restored(net, picture, tile=tile, batch=batch)
  assert restored.dtype == np.float32
  # A pixel lies in 1, 2 or 4 tiles, whose even average is exact.
  np.testing.assert_array_equal(restored, picture)
  count = len(_corners(height, width, tile))
  assert net.shapes == [(batch, tile, tile, 3)] * math.ceil(count / batch)


def test_small_pictures_are_mirrored_up_to_the_tile():
  picture, seen = _noise(2, 1), []
  _restored(lambda x: seen.append(x) or x, picture, tile=4, batch=1)
  expected = picture[[0, 1, 1, 0]][:, [0, 0, 0, 0]]
  np.testing.assert_array_equal(seen[0][0], expected)


def _ordinals():
  """A net that answers tile k of its whole life with the constant k."""
  counter = itertools.count()
  return _Net(lambda x: np.stack([np.full_like(t[..., :1], next(counter)) for t in x]))


@quick
@given(st.integers(1, 900), st.integers(1, 40), st.integers(1, 4), st.data())
def test_feathered_tiles_cover_a_side_and_their_weights_sum_to_one_exactly(size, n, unit, data):
  tile = n * unit
  blend = data.draw(st.integers(1, max(1, tile // 3)))
  context = data.draw(st.integers(0, max(0, (tile - 3 * blend) // 2)))
  starts, weights = tiles.feathered(size, tile, blend, context, unit)
  end = starts[-1] + tile
  assert starts[0] == 0 and all(start % unit == 0 for start in starts)
  assert size <= end and (len(starts) == 1 or end < size + unit)
  total, counting = np.zeros(end, np.float32), np.zeros(end, int)
  for start, weight in zip(starts, weights, strict=True):
    assert weight.dtype == np.float32 and weight.min() >= 0
    total[start : start + tile] += weight
    counting[start : start + tile] += weight > 0
  np.testing.assert_array_equal(total, 1)
  # The product of two sides' weights is exact, so that the sum over a corner's tiles is 1 as well.
  assert counting.max() <= 2
  np.testing.assert_array_equal(weights * 2**11 % 1, 0)


def test_feathered_tiles_fade_by_a_raised_cosine_in_the_middle_of_what_they_share():
  starts, weights = tiles.feathered(28, 16, blend=4, context=0)
  assert starts == (0, 12)  # they share 4 px, all of which blend
  np.testing.assert_array_equal(weights[0][:12], 1)
  np.testing.assert_allclose(weights[1][:4], [0.038, 0.309, 0.691, 0.962], atol=5e-4)
  starts, weights = tiles.feathered(22, 16, blend=4, context=0)
  assert starts == (0, 6)  # they share 10 px: 3, the blend, 3
  assert [*weights[1][:3], *weights[0][-3:]] == [0] * 6
  assert [*weights[0][6:9], *weights[1][7:]] == [1] * 12


def test_context_counts_for_nothing():
  _, weights = tiles.feathered(100, 40, blend=6, context=7)
  assert (weights[1:, :7] == 0).all() and (weights[:-1, -7:] == 0).all()
  assert (weights[0, :7] == 1).all() and (weights[-1, -7:] == 1).all()


@pytest.mark.parametrize('layout', [tiles.averaged, tiles.feathered])
def test_rows_are_finished_in_bands(layout):
  picture, seen = _noise(50, 37), []

  def finish(rows, dtype):
    assert dtype == np.uint8
    seen.append(rows.shape)
    return rows.astype(np.float16)

  levels = np.rint(picture * 255).astype(np.uint8)
  (result,) = tiles.restore_many(
    lambda x: x, [(levels,)], tile=8, batch=3, layout=layout, finish=finish
  )
  assert result.dtype == np.float16
  np.testing.assert_array_equal(result, (levels / np.float32(255)).astype(np.float16))
  assert max(rows for rows, *_ in seen) <= 8
  assert sum(rows for rows, *_ in seen) == 50


def test_answers_may_be_coarser_than_tiles():
  picture = _noise(20, 27)

  def means(stack):
    return stack.reshape(-1, 4, 4, 4, 4, 3).mean((2, 4))

  (result,) = tiles.restore_many(means, [(picture,)], tile=16, batch=2, cell=4)
  padded = np.pad(picture, ((0, 0), (0, 1), (0, 0)), 'symmetric')
  expected = padded.reshape(5, 4, 7, 4, 3).mean((1, 3))
  np.testing.assert_allclose(result, expected, rtol=0, atol=gamma(16) + FEW)  # means of 16 values


def test_overlaps_are_averaged_evenly():
  restored = _restored(_ordinals(), _noise(4, 6), tile=4, batch=2)
  np.testing.assert_array_equal(restored[..., 0], [[0, 0, 0.5, 0.5, 1, 1]] * 4)


def test_many_pictures_fill_the_batches_together():
  pictures = [_noise(h, w, seed=h) for h, w in ((16, 40), (5, 7), (33, 33), (16, 16))]
  net = _Net()
  restored = list(tiles.restore_many(net, ((p,) for p in pictures), tile=16, batch=4))
  assert [r.shape for r in restored] == [p.shape for p in pictures]
  for result, picture in zip(restored, pictures, strict=True):
    np.testing.assert_allclose(result, picture, rtol=0, atol=FEW)
  assert net.shapes == [(4, 16, 16, 3)] * math.ceil((3 + 1 + 9 + 1) / 4)


def test_a_stream_is_read_only_as_far_as_needed():
  read = []

  def stream():
    for seed in itertools.count():
      read.append(seed)
      yield (_noise(8, 12, seed),)  # two tiles each

  results = tiles.restore_many(_Net(), stream(), tile=8, batch=6)
  for seed in range(5):
    np.testing.assert_allclose(next(results), _noise(8, 12, seed), rtol=0, atol=FEW)
    assert len(read) <= seed + 3


def test_several_inputs_and_outputs_stay_together():
  blurry, sharp = _noise(20, 23, 1), _noise(20, 23, 2)
  net = _Net(lambda y, x: {'difference': y - x, 'both': (x, np.concatenate([x, y], -1))})
  restored = _restored(net, blurry, sharp, tile=8, batch=3)
  np.testing.assert_allclose(restored['difference'], blurry - sharp, rtol=0, atol=FEW)
  np.testing.assert_allclose(restored['both'][0], sharp, rtol=0, atol=FEW)
  assert restored['both'][1].shape == (20, 23, 6)


def test_every_tile_has_its_own_answer():
  stack = _noise(8, 8 * 5).reshape(8, 5, 8, 3).swapaxes(0, 1)
  net = _Net(lambda x: {'picture': 2 * x, 'mean': x.mean((1, 2, 3))})
  answers = list(tiles.predict_each(net, ((tile,) for tile in stack), 3))
  assert net.shapes == [(3, 8, 8, 3)] * 2  # the sixth tile only fills the batch
  assert len(answers) == 5
  for answer, tile in zip(answers, stack, strict=True):
    np.testing.assert_array_equal(answer['picture'], 2 * tile)
    assert answer['mean'] == pytest.approx(tile.mean(dtype=np.float64), abs=gamma(tile.size))


def test_no_pictures_no_calls():
  net = _Net()
  assert list(tiles.restore_many(net, [], tile=8, batch=2)) == []
  assert net.shapes == []


@pytest.mark.parametrize(
  ('pictures', 'settings', 'message'),
  [
    ([np.zeros((8, 8, 3), np.int64)], {}, 'float or unsigned'),
    ([np.zeros((8, 8), np.float32)], {}, r'\(H, W, 3\)'),
    ([np.zeros((0, 8, 3), np.float32)], {}, 'no side 0'),
    ([_noise(8, 8), _noise(8, 9)], {}, 'must agree'),
    ([_noise(8, 8)], {'batch': 0}, 'at least one tile'),
  ],
)
def test_what_cannot_be_tiled_is_refused(pictures, settings, message):
  with pytest.raises(ValueError, match=message):
    _restored(_Net(), *pictures, **{'tile': 8, 'batch': 2, **settings})


def test_progress_is_told_of_every_tile():
  pictures = [(_noise(20, 30),), (_noise(8, 8),)]
  told = []
  net = _Net()
  for _ in tiles.restore_many(net, pictures, tile=16, batch=3, progress=told.append):
    pass
  assert told == [1 / 4, 2 / 4, 3 / 4, 1, 1]
