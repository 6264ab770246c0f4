"""The paired bootstrap, against distributions that can be worked out."""

import itertools
import math

import numpy as np
import pytest

from degrep_jax.evaluation import bootstrap
from degrep_jax.evaluation.bootstrap import paired_difference

INF = float('inf')


def test_it_is_the_mean_difference_and_its_interval():
  # 1,000 differences of mean 0.3 and standard deviation 0.5: the mean's is 0.5 / sqrt(1000).
  draw = np.random.default_rng(1)
  noise = draw.normal(0, 1, 1000)
  noise = (noise - noise.mean()) / noise.std()
  second = draw.normal(30, 4, 1000)
  found = paired_difference(second + 0.3 + 0.5 * noise, second)
  error = 0.5 / math.sqrt(1000)
  assert found.mean == pytest.approx(0.3, abs=1e-9)
  assert found.low == pytest.approx(0.3 - 1.96 * error, abs=0.1 * error)
  assert found.high == pytest.approx(0.3 + 1.96 * error, abs=0.1 * error)
  assert found.pictures == 1000


def test_of_few_pictures_it_is_the_whole_distribution():
  differences = [0.1, 0.4, 0.9, 1.6]
  means = np.sort([np.mean(drawn) for drawn in itertools.product(differences, repeat=4)])
  found = paired_difference(differences, [0.0] * 4)
  for end, share in ((found.low, 0.025), (found.high, 0.975)):
    # Between the neighbours of the exact percentile, which 9,999 draws may just miss.
    least, most = np.quantile(means, [share - 0.01, share + 0.01])
    assert least - 1e-9 <= end <= most + 1e-9


def test_pictures_stay_paired():
  # Scores that differ by 20 dB from picture to picture, but always by 1 between the methods.
  second = np.linspace(20, 40, 50)
  found = paired_difference(second + 1, second)
  assert found == pytest.approx((1, 1, 1, 50))


def test_the_same_scores_give_the_same_interval():
  draw = np.random.default_rng(2)
  first, second = draw.normal(30, 2, (2, 40))
  assert paired_difference(first, second) == paired_difference(first, second)
  swapped = paired_difference(second, first)
  assert swapped.mean == -paired_difference(first, second).mean


def test_pictures_without_a_score_are_left_out_of_both():
  found = paired_difference([1.0, None, 3.0, 9.0], [0.0, 5.0, 1.0, None])
  assert (found.mean, found.pictures) == (1.5, 2)
  assert paired_difference([None, 1.0], [1.0, None]) is None


@pytest.mark.parametrize(
  ('first', 'second', 'mean'),
  [
    ([INF, 30.0], [INF, 29.0], 0.5),  # both perfect: no difference
    ([INF, 30.0], [40.0, 31.0], INF),
    ([40.0, 30.0], [INF, 20.0], -INF),
    ([INF, 30.0], [30.0, INF], math.nan),
  ],
)
def test_perfect_pictures(first, second, mean):
  found = paired_difference(first, second)
  assert found.mean == pytest.approx(mean, nan_ok=True)
  assert (found.low is None) == (not math.isfinite(mean))


def test_a_single_picture_has_no_interval():
  assert paired_difference([31.0], [30.0]) == (1.0, None, None, 1)


def test_other_numbers_of_pictures_are_refused():
  with pytest.raises(ValueError, match='zip'):
    paired_difference([1.0], [1.0, 2.0])


def test_thousands_of_pictures_are_drawn_in_parts(monkeypatch):
  first, second = np.random.default_rng(3).normal(30, 2, (2, 300))
  whole = paired_difference(first, second)
  monkeypatch.setattr(bootstrap, '_BATCH', 10_000)
  assert paired_difference(first, second) == pytest.approx(whole)
