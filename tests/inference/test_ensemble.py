"""Self-ensemble: means over the views of a picture, against NumPy's own flips and quarter turns."""

import types

import numpy as np
import pytest
from plain_nets import restorer
from rounding import FEW

from degrep_jax.common.errors import UserError
from degrep_jax.inference import ensemble

# The views of a square picture, and the way back; the group is that of the square.
VIEWS = (
  (lambda x: x, lambda x: x),
  (lambda x: np.rot90(np.fliplr(x)), lambda x: np.fliplr(np.rot90(x, -1))),
  (np.flipud, np.flipud),
  (lambda x: np.rot90(x), lambda x: np.rot90(x, -1)),
  (np.fliplr, np.fliplr),
  (lambda x: np.rot90(x, -1), lambda x: np.rot90(x)),
  (lambda x: np.rot90(x, 2), lambda x: np.rot90(x, 2)),
  (lambda x: np.rot90(np.flipud(x)), lambda x: np.flipud(np.rot90(x, -1))),
)
SIDE = 16


def noise(*shape):
  return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def darker(picture, _):
  """Each pixel by a weight of its own, so that no view gives what another does."""
  return picture * weights()


def weights():
  return np.random.default_rng(1).random((SIDE, SIDE, 3), np.float32)


@pytest.mark.parametrize('size', ensemble.SIZES)
def test_a_result_is_the_mean_of_what_becomes_of_the_views(size):
  picture = noise(SIDE, SIDE).astype(np.float32) / 255
  expected = np.mean([back(there(picture) * weights()) for there, back in VIEWS[:size]], axis=0)
  result = restorer(darker, ensemble=size).deblur(picture)
  assert result.dtype == np.float32
  np.testing.assert_allclose(result, expected, rtol=0, atol=2 * FEW)  # eight more sums below 1


@pytest.mark.parametrize('size', [1, 4])
@pytest.mark.parametrize('strength', [0.0, 0.9, 1.5, 2.0])
def test_strength_lies_on_the_line_from_the_picture_through_the_result(size, strength):
  picture = np.float32(0.4) + noise(SIDE, SIDE).astype(np.float32) / 2550
  at = [back(there(picture) * weights()) for there, back in VIEWS[:size]]
  expected = np.clip((1 - strength) * picture + strength * np.mean(at, axis=0), 0, 1)
  result = restorer(darker, ensemble=size, strength=strength).deblur(picture)
  np.testing.assert_allclose(result, expected, rtol=0, atol=2 * FEW)


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_without_strength_pictures_stay_as_they_are_bit_for_bit(dtype):
  picture = noise(300, SIDE).astype(dtype)
  np.testing.assert_array_equal(restorer(darker, strength=0.0).deblur(picture), picture)


def test_without_strength_floats_are_rounded_to_float32_and_clipped():
  picture = np.random.default_rng(0).uniform(-0.1, 1.1, (20, SIDE, 3))
  result = restorer(darker, strength=0.0).deblur(picture)
  assert result.dtype == np.float64
  np.testing.assert_array_equal(result, np.clip(picture.astype(np.float32), 0, 1))


@pytest.mark.parametrize(
  ('wrong', 'sentence'),
  [
    (float('nan'), 'a strength of nan: it must be a number'),
    (1e39, r'a strength of 1e\+39: it must be a number'),  # too large for float32
    ('x', "a strength of 'x': it must be a number"),
    (None, 'a strength of None: it must be a number'),
    (-0.1, 'a strength of -0.1: choose between 0 and 2'),
    (2.5, 'a strength of 2.5: choose between 0 and 2'),
  ],
)
def test_what_is_no_strength_is_refused(wrong, sentence):
  with pytest.raises(UserError, match=sentence):
    restorer(strength=wrong)


def test_the_views_are_the_eight_of_a_square_and_lead_back():
  picture = np.arange(6).reshape(2, 3, 1)
  views = [ensemble.seen(picture, number) for number in range(8)]
  assert [view.shape for view in views] == [(2, 3, 1), (3, 2, 1)] * 4
  assert len({view.tobytes() for view in views}) == 8
  for number, view in enumerate(views):
    np.testing.assert_array_equal(ensemble.turned_back(view, number), picture)


@pytest.mark.parametrize('mode', ['tiles', 'feathered', 'full'])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16])
def test_a_net_that_changes_nothing_returns_pictures_of_any_size(mode, dtype):
  net = restorer(mode=mode, tile=32, ensemble=8)
  pictures = [noise(*size).astype(dtype) for size in ((70, 40), (20, 90), (1, 5))]
  results = net.deblur(iter(pictures))
  assert isinstance(results, types.GeneratorType)
  for result, picture in zip(results, pictures, strict=True):
    np.testing.assert_array_equal(result, picture)
    assert result.dtype == dtype
  batch = noise(2, 40, 50)
  np.testing.assert_array_equal(net.deblur(batch), batch)


def test_progress_runs_once_over_all_views():
  told = []
  net = restorer(tile=16, batch=2, ensemble=4)
  for picture in (noise(40, 40), noise(10, 10)):
    told.clear()
    net.deblur(picture, told.append)
    assert told == sorted(set(told)) and told[-1] == 1
    assert len(told) == (4 * 9 if len(picture) > 16 else 4)


def test_what_is_no_size_is_refused():
  with pytest.raises(UserError, match='ensemble 3: choose one of 1, 2, 4, 8'):
    restorer(ensemble=3)
