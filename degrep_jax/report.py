"""What an evaluation writes: the scores of every picture, their means, a table for people."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.box
import rich.console
import rich.table

from degrep_jax.errors import UserError

_METRICS = {'psnr': '{:.2f}', 'ssim_3d': '{:.4f}', 'ssim_2d': '{:.4f}'}
# Two kinds of rows, named by their first: it is what was there before the net did anything.
_KINDS = (
  {'blurry': 'blurry input', 'deblurred': 'deblurred'},
  {'identity': 'sharp as if reblurred (identity)', 'reblurred': 'reblurred'},
)


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
  """Writes a file whose name never stands for half of it; makes its folder.

  Raises:
    UserError: the folder cannot be made or written.
  """
  path = pathlib.Path(path)
  partial = path.with_name(f'.{path.name}.{os.getpid()}')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
      partial.write_bytes(data)
      partial.replace(path)
    finally:
      partial.unlink(missing_ok=True)
  except OSError as error:
    raise UserError(
      f'cannot write {path} ({error.strerror}); choose a folder that can be written.'
    ) from error


def write_scores(
  rows: Sequence[Mapping[str, Any]], directory: str | os.PathLike[str], stem: str
) -> dict[str, float]:
  """Writes <stem>.csv, one line per picture, and <stem>.json, the totals.

  Args:
    rows: one mapping per picture with the same keys: 'name', and numbers under any other key. The
      table knows <picture>_<metric>: blurry, deblurred, identity (the sharp picture as if it were
      the reblurred one) or reblurred; psnr (dB), ssim_3d or ssim_2d.
    directory: made where it is missing.
    stem: of the two file names.

  Returns:
    The totals: 'count' of pictures and the mean of every column. In the JSON an infinite mean
    (identical pictures) is the text 'inf', which JSON has no number for.

  Raises:
    ValueError: no rows, rows with different keys, or a value that is not a number (nan included).
    UserError: the folder cannot be made or written.
  """
  if not rows:
    raise ValueError('no scores to write')
  columns = list(rows[0])
  numbers = [column for column in columns if column != 'name']
  if any(set(row) != set(columns) for row in rows):
    raise ValueError('the pictures do not all have the same scores')
  means = {column: float(np.mean([float(row[column]) for row in rows])) for column in numbers}
  if any(np.isnan(mean) for mean in means.values()):
    raise ValueError(f'not a number among the scores: {means}')
  text = io.StringIO(newline='')
  writer = csv.DictWriter(text, columns, lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  totals = {'count': len(rows), **means}
  plain = {key: value if np.isfinite(value) else str(value) for key, value in totals.items()}
  directory = pathlib.Path(directory)
  write_atomically(directory / f'{stem}.csv', text.getvalue().encode())
  write_atomically(directory / f'{stem}.json', (json.dumps(plain, indent=2) + '\n').encode())
  return totals


def score_table(totals: Mapping[str, float]) -> rich.table.Table:
  """The totals of `write_scores` as a table for rich's Console, at most 80 columns wide.

  A row stands for every picture that has a PSNR; a metric that was not measured reads '-'. The
  gain is that of the PSNR over the first row of the kind: deblurred over the blurry input,
  reblurred over the sharp picture left as it is.
  """
  table = rich.table.Table(box=rich.box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
  table.add_column('means over pictures: {:,}'.format(totals['count']))
  for heading in ('PSNR, dB', 'SSIM (3-D)', 'SSIM (2-D)', 'gain, dB'):
    table.add_column(heading, justify='right', no_wrap=True)
  for kind in _KINDS:
    first = next(iter(kind))
    for picture, label in kind.items():
      if f'{picture}_psnr' in totals:
        table.add_row(label, *_scores(totals, picture), _gain(totals, picture, first))
    table.add_section()
  return table


def _scores(totals, picture):
  """The picture's metrics as text, '-' for what was not measured."""
  keys = {f'{picture}_{metric}': style for metric, style in _METRICS.items()}
  return [style.format(float(totals[key])) if key in totals else '-' for key, style in keys.items()]


def _gain(totals, picture, first):
  """The gain in PSNR over the first row of a kind as text, '-' on that row itself."""
  if picture == first or f'{first}_psnr' not in totals:
    return '-'
  return '{:+.2f}'.format(float(totals[f'{picture}_psnr']) - float(totals[f'{first}_psnr']))


def format_table(totals: Mapping[str, float]) -> str:
  """`score_table` as plain text of at most 80 columns, without colours, for a log or a file."""
  text = io.StringIO()
  rich.console.Console(file=text, width=80, color_system=None).print(score_table(totals))
  return '\n'.join(line.rstrip() for line in text.getvalue().splitlines()).strip('\n')
