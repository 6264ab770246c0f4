"""Means of scores over pictures, and which pictures are not in them.

Rows are as `scoring.Scores` has them: 'name', and `<method>_<metric>` with a number or None. The
PSNR of identical pictures is infinite, and so would be every mean with it: a picture that any
method has identical to what it is compared with is in no method's mean PSNR, so that all of them
are over the same pictures. A picture that is smaller than SSIM's window has no SSIM.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from degrep_jax import metrics
from degrep_jax.common.console import listed

Rows = Sequence[Mapping[str, Any]]
_SSIMS = '_ssim_3d', '_ssim_2d'


def mean(rows: Rows, column: str) -> float | None:
  """The mean of a column over the pictures that have it, None where none has.

  Of a PSNR without the pictures that are `identical`; infinite where that leaves none.
  """
  scores = [row[column] for row in comparable(rows, column) if row[column] is not None]
  finite = [score for score in scores if score != math.inf]
  return float(np.mean(finite or scores)) if scores else None


def comparable(rows: Rows, column: str) -> Rows:
  """The rows that a mean of the column is over: of a PSNR all but those that are `identical`, or
  all of them where that leaves none."""
  if not column.endswith('_psnr'):
    return rows
  left_out = identical(rows)
  return [row for row in rows if row['name'] not in left_out] or rows


def identical(rows: Rows) -> dict[str, list[str]]:
  """{picture: methods whose PSNR is infinite on it}, of the pictures where there is one."""
  found = {}
  for row in rows:
    scores = {column: score for column, score in row.items() if column.endswith('_psnr')}
    methods = [
      column.removesuffix('_psnr') for column, score in scores.items() if score == math.inf
    ]
    if methods:
      found[row['name']] = methods
  return found


def without_ssim(rows: Rows) -> list[str]:
  """Pictures that have a PSNR alone."""
  return [
    row['name']
    for row in rows
    if any(
      score is None and row[f'{column[: -len(ssim)]}_psnr'] is not None
      for column, score in row.items()
      for ssim in _SSIMS
      if column.endswith(ssim)
    )
  ]


def remarks(rows: Rows) -> Iterator[str]:
  """Sentences on the pictures that are not in a mean."""
  if same := identical(rows):
    names = [f'{name} ({", ".join(methods)})' for name, methods in same.items()]
    means = 'no mean PSNR is over them'
    if len(same) == len(rows):
      means = 'every mean PSNR is over those where it is finite'
    yield (
      f'PSNR is infinite on {len(same):,} of {len(rows):,} pictures, where a method is identical '
      f'to what it is compared with; {means}: {listed(names)}.'
    )
  if small := without_ssim(rows):
    yield (
      f'{len(small):,} of {len(rows):,} pictures are smaller than the window of SSIM, '
      f'{metrics.SIDE} px, and scored by PSNR alone: {listed(small)}.'
    )
