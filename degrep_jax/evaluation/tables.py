"""What an evaluation writes: the scores of every picture, their means, a table for people."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import rich.console
import rich.table

from degrep_jax.common.console import empty_table
from degrep_jax.common.files import write_atomically
from degrep_jax.evaluation.bootstrap import CONFIDENCE

# Metric to (heading, format), in the order of the columns.
_METRICS = {
  'psnr': ('PSNR, dB', '{:.2f}'),
  'ssim_3d': ('SSIM (3-D)', '{:.4f}'),
  'ssim_2d': ('SSIM (2-D)', '{:.4f}'),
}
_GAIN = 'gain, dB'
# Two kinds of rows of a run: what was there before the net did anything, and what it made of it.
_KINDS = (('blurry', 'deblurred'), ('identity', 'reblurred'))
_UNTOUCHED = {'blurry': 'blurry input', 'identity': 'sharp as if reblurred (identity)'}


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


def _columns(rows):
  """The keys of all rows; raises ValueError where there are none, or others in some rows."""
  if not rows:
    raise ValueError('no scores to write')
  columns = list(rows[0])
  if any(set(row) != set(columns) for row in rows):
    raise ValueError('the pictures do not all have the same scores')
  return columns


def score_table(totals: Mapping[str, Any]) -> rich.table.Table:
  """The totals of a run's evaluation as a table for rich's Console, at most 80 columns wide: what
  `scoring.Scores.totals` gives, or the file with them.

  A row stands for every picture that has a PSNR; a metric that was not measured reads '-'. The
  gain is that of the PSNR over the first row of the kind: deblurred over the blurry input,
  reblurred over the sharp picture left as it is.
  """
  methods = []
  for base, restored in _KINDS:
    for label in (base, restored):
      if f'{label}_psnr' in totals:
        means = {metric: totals.get(f'{label}_{metric}') for metric in _METRICS}
        gain = None
        if label == restored and f'{base}_psnr' in totals:
          gain = {'mean': float(totals[f'{label}_psnr']) - float(totals[f'{base}_psnr'])}
        kind = 'input' if label == base else 'checkpoint'
        about = {'label': label, 'kind': kind, 'failed_alignments': {}}
        methods.append(about | {'means': means, 'gain': gain})
  left_out = {name: totals.get(name, 0) for name in ('identical', 'without_ssim')}
  return methods_table({'pictures': totals['count'], 'methods': methods} | left_out)


def _over(found: Mapping[str, Any]) -> str:
  """How many pictures the means are over."""
  pictures = found['pictures']
  identical, without_ssim = (
    left_out if isinstance(left_out, int) else len(left_out)
    for left_out in (found['identical'], found['without_ssim'])
  )
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
  headings = [_METRICS[metric][0] for metric in measured] + [_GAIN] * gains
  table = empty_table(_over(summary), *headings, *['aligned'] * failures)
  for number, method in enumerate(methods):
    name = method['label']
    cells = [_number(method['means'][metric], _METRICS[metric][1]) for metric in measured]
    if method['kind'] == 'input':
      name = _UNTOUCHED[name]
      if number:
        table.add_section()
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
    name, style = _METRICS[metric]
    style = style.replace(':', ':+')
    low, high = (_number(difference[end], style) for end in ('low', 'high'))
    interval = '-' if difference['low'] is None else f'{low} .. {high}'
    mean = _number(difference['mean'], style)
    table.add_row('' if other == named else other, name, mean, interval)
    named = other
  return table


def _number(value, style):
  """A number, or the text 'inf' that stands for one in a file, as text; '-' for None."""
  return '-' if value is None else style.format(float(value))


def format_table(totals: Mapping[str, float]) -> str:
  """`score_table` as plain text of at most 80 columns, without colours, for a log or a file."""
  text = io.StringIO()
  rich.console.Console(file=text, width=80, color_system=None).print(score_table(totals))
  return '\n'.join(line.rstrip() for line in text.getvalue().splitlines()).strip('\n')
