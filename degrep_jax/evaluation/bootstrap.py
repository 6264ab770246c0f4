"""Is one method better than another on the same pictures? A paired bootstrap of the difference."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 9999
SEED = 0
_BATCH = 500  # resamples at a time, so that thousands of pictures need no gigabytes


class Difference(NamedTuple):
  """The mean over pictures of one method's score less another's.

  Attributes:
    mean: positive where the first method's scores are higher; infinite, or not a number, where
      pictures that one method restored perfectly leave no other answer.
    low, high: the interval that holds the mean with `CONFIDENCE`; None where there is none.
    pictures: that both methods have a score for.
  """

  mean: float
  low: float | None
  high: float | None
  pictures: int


def paired_difference(
  first: Sequence[float | None], second: Sequence[float | None]
) -> Difference | None:
  """Compares the scores of two methods picture by picture.

  Percentiles of means over pictures drawn with replacement, always the same draws. It takes the
  pictures as independent: of frames of one video, which are not, the true interval is wider.

  Args:
    first, second: a score per picture in the same order, inf for a perfect PSNR, None for none.

  Returns:
    The difference over the pictures that have both scores, or None where there are none. Two
    perfect scores differ by 0. No interval for a single picture or an infinite mean.

  Raises:
    ValueError: the methods do not have as many pictures.
  """
  pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
  if not pairs:
    return None
  differences = np.array([0.0 if a == b else a - b for a, b in pairs])
  if endless := {float(x) for x in differences if np.isinf(x)}:
    return Difference(endless.pop() if len(endless) == 1 else math.nan, None, None, len(pairs))
  mean = float(np.mean(differences))
  if len(pairs) == 1:
    return Difference(mean, None, None, 1)
  interval = stats.bootstrap(
    (differences,),
    np.mean,
    n_resamples=RESAMPLES,
    batch=_BATCH,
    confidence_level=CONFIDENCE,
    method='percentile',
    rng=np.random.default_rng(SEED),
  ).confidence_interval
  return Difference(mean, float(interval.low), float(interval.high), len(pairs))
