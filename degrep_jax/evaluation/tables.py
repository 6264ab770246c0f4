"""What an evaluation writes: the scores of every picture, their means, a table for people."""

import csv
import io
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import rich.console
import rich.table

from degrep_jax.common.console import empty_table
from degrep_jax.common.files import write_atomically
from degrep_jax.evaluation import means
from degrep_jax.evaluation.bootstrap import CONFIDENCE

_METRICS = {'psnr': '{:.2f}', 'ssim_3d': '{:.4f}', 'ssim_2d': '{:.4f}'}
_GAIN = 'gain, dB'
_HEADINGS = {'psnr': 'PSNR, dB', 'ssim_3d': 'SSIM (3-D)', 'ssim_2d': 'SSIM (2-D)'}
# Two kinds of rows, named by their first: it is what was there before the net did anything.
_KINDS = (
  {'blurry': 'blurry input', 'deblurred': 'deblurred'},
  {'identity': 'sharp as if reblurred (identity)', 'reblurred': 'reblurred'},
)


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes a table, a line per row under a line of names; None becomes an empty cell.

  Args:
    path: of the file; its folder is made.
    rows: mappings with the same keys in the same order.

  Raises:
    ValueError: no rows, or rows with different keys.
    UserError: the file cannot be written.
  """
  columns = _columns(rows)
  text = io.StringIO(newline='')
  writer = csv.DictWriter(text, columns, lineterminator='\n')
  writer.writeheader()
  writer.writerows(rows)
  write_atomically(path, text.getvalue().encode())


def write_json(path: str | os.PathLike[str], tree: Any) -> None:
  """Writes nested dictionaries and lists; an infinity, which JSON has no number for, becomes the
  text 'inf' or '-inf'.

  Raises:
    UserError: the file cannot be written.
  """
  write_atomically(path, (json.dumps(_plain(tree), indent=2) + '\n').encode())


def _columns(rows):
  """The keys of all rows; raises ValueError where there are none, or others in some rows."""
  if not rows:
    raise ValueError('no scores to write')
  columns = list(rows[0])
  if any(set(row) != set(columns) for row in rows):
    raise ValueError('the pictures do not all have the same scores')
  return columns


def _plain(tree):
  if isinstance(tree, Mapping):
    return {key: _plain(value) for key, value in tree.items()}
  if isinstance(tree, list | tuple):
    return [_plain(value) for value in tree]
  return str(tree) if isinstance(tree, float) and not np.isfinite(tree) else tree


def write_scores(
  rows: Sequence[Mapping[str, Any]], directory: str | os.PathLike[str], stem: str
) -> dict[str, float]:
  """Writes <stem>.csv, one line per picture, and <stem>.json, the totals.

  Args:
    rows: one mapping per picture with the same keys: 'name', and numbers, or None for none, under
      any other key. The table knows <picture>_<metric>: blurry, deblurred, identity (the sharp
      picture as if it were the reblurred one) or reblurred; psnr (dB), ssim_3d or ssim_2d.
    directory: made where it is missing.
    stem: of the two file names.

  Returns:
    The totals: 'count' of pictures and the `means.mean` of every column that has one; how many
    pictures are `identical` or `without_ssim`, where any are. In the JSON an infinite mean is the
    text 'inf', which JSON has no number for.

  Raises:
    ValueError: no rows, rows with different keys, or a value that is not a number (nan included).
    UserError: the folder cannot be made or written.
  """
  numbers = [column for column in _columns(rows) if column != 'name']
  found = {column: means.mean(rows, column) for column in numbers}
  totals = {'count': len(rows)} | {name: mean for name, mean in found.items() if mean is not None}
  if any(np.isnan(mean) for mean in totals.values()):
    raise ValueError(f'not a number among the scores: {totals}')
  left_out = {'identical': means.identical(rows), 'without_ssim': means.without_ssim(rows)}
  totals |= {name: len(pictures) for name, pictures in left_out.items() if pictures}
  directory = pathlib.Path(directory)
  write_csv(directory / f'{stem}.csv', rows)
  write_json(directory / f'{stem}.json', totals)
  return totals


def score_table(totals: Mapping[str, float]) -> rich.table.Table:
  """The totals of `write_scores` as a table for rich's Console, at most 80 columns wide.

  A row stands for every picture that has a PSNR; a metric that was not measured reads '-'. The
  gain is that of the PSNR over the first row of the kind: deblurred over the blurry input,
  reblurred over the sharp picture left as it is.
  """
  left_out = (totals.get(name, 0) for name in ('identical', 'without_ssim'))
  table = empty_table(_over(totals['count'], *left_out), *_HEADINGS.values(), _GAIN)
  for kind in _KINDS:
    first = next(iter(kind))
    for picture, label in kind.items():
      if f'{picture}_psnr' in totals:
        table.add_row(label, *_scores(totals, picture), _gain(totals, picture, first))
    table.add_section()
  return table


def _over(pictures: float, identical: float, without_ssim: float) -> str:
  """How many pictures the means are over."""
  of_metric = {'PSNR': pictures - identical or pictures, 'SSIM': pictures - without_ssim}
  fewer = [f'{name} over {count:,}' for name, count in of_metric.items() if count < pictures]
  return ', '.join([f'means over pictures: {pictures:,}', *fewer])


def methods_table(summary: Mapping[str, Any]) -> rich.table.Table:
  """The means of several methods, from what `scoring.summary` returns.

  The gain is that of the PSNR over the blurry input, on the pictures that both have. Where an
  alignment failed, a column counts the pictures that the means are over.
  """
  methods, pictures = summary['methods'], summary['pictures']
  measured = [metric for metric in _METRICS if metric in methods[0]['means']]
  gains = any(method['kind'] == 'input' for method in methods)
  failures = any(method['failed_alignments'] for method in methods)
  headings = [_HEADINGS[metric] for metric in measured] + [_GAIN] * gains
  over = _over(pictures, len(summary['identical']), len(summary['without_ssim']))
  table = empty_table(over, *headings, *['aligned'] * failures)
  for method in methods:
    name = method['label']
    cells = [_number(method['means'][metric], _METRICS[metric]) for metric in measured]
    if method['kind'] == 'input':
      name = _KINDS[0][name]
    if gains:
      cells.append(_number(method['gain'] and method['gain']['mean'], '{:+.2f}'))
    if failures:
      cells.append(f'{pictures - len(method["failed_alignments"]):,}')
    table.add_row(name, *cells)
  return table


def differences_table(summary: Mapping[str, Any]) -> rich.table.Table:
  """The first method less each of the others, from what `scoring.summary` returns."""
  differences = summary['differences']
  heading = f'{100 * CONFIDENCE:.0f} % interval'
  against = f'{differences[0]["method"]} against'
  table = empty_table(against, 'metric', 'difference', heading)
  named = None
  for difference in differences:
    metric, other = difference['metric'], difference['against']
    style = _METRICS[metric].replace(':', ':+')
    low, high = (_number(difference[end], style) for end in ('low', 'high'))
    interval = '-' if difference['low'] is None else f'{low} .. {high}'
    mean = _number(difference['mean'], style)
    table.add_row('' if other == named else other, _HEADINGS[metric], mean, interval)
    named = other
  return table


def _number(value, style):
  """A number as text, '-' for None."""
  return '-' if value is None else style.format(value)


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
