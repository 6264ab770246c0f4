"""The tables of accelerator.py: a kind of row each, for the documentation and for a terminal."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from degrep_jax.common.console import empty_table, results

Rows = Iterable[dict[str, Any]]


def _gib(count: float) -> str:
  return f'{count / 2**30:.2f}'


# Of every kind: what the table is of, and its columns (heading, figure, how it is written).
COLUMNS: dict[str, tuple[str, list[tuple[str, str, Callable[[Any], str]]]]] = {
  'forward': (
    "the released networks' outputs; differences in deviations of the output",
    [
      ('precision', 'precision', str),
      ('width', 'width', str),
      ('msdi2e', 'msdi2e', '{:.1e}'.format),
      ('msdi_net', 'msdi_net', '{:.1e}'.format),
      ('hinet', 'hinet', '{:.1e}'.format),
      ('discriminator', 'discriminator', '{:.1e}'.format),
      ("times float32's tolerance", 'share', '{:.2g}'.format),
    ],
  ),
  'training': (
    'the first training step of the released code; relative differences',
    [
      ('precision', 'precision', str),
      ('width', 'width', str),
      ('joint: losses', 'joint_losses', '{:.1e}'.format),
      ('gradient norms', 'joint_norms', '{:.1e}'.format),
      ('deblurring: losses', 'deblur_losses', '{:.1e}'.format),
      ('gradient norm', 'deblur_norms', '{:.1e}'.format),
      ("times float32's tolerance", 'share', '{:.2g}'.format),
    ],
  ),
  'step': (
    'training steps',
    [
      ('config', 'config', str),
      ('precision', 'precision', str),
      ('remat', 'remat', str),
      ('pairs', 'pairs', str),
      ('px', 'crop', str),
      ('steps/s', 'steps_per_second', '{:.3g}'.format),
      ('pairs/s', 'pairs_per_second', '{:.3g}'.format),
      ('peak, GiB', 'peak', _gib),
      ('planned', 'planned', _gib),
      ('compiling, s', 'compile_seconds', '{:.0f}'.format),
    ],
  ),
  'batch': (
    'the largest batch of a device',
    [
      ('config', 'config', str),
      ('precision', 'precision', str),
      ('remat', 'remat', str),
      ('memory, GiB', 'limit', _gib),
      ('planned', 'planned', str),
      ('fits', 'fits', str),
      ('does not', 'fails', str),
    ],
  ),
  'pipeline': (
    'the input pipeline, 256 px',
    [
      ('cores', 'cores', str),
      ('plain loader, pairs/s', 'plain', '{:.0f}'.format),
      ('full frames', 'full', '{:.0f}'.format),
      ('sub-pictures', 'sub', '{:.0f}'.format),
    ],
  ),
  'released': (
    'beside the released code, 256 px, TF32 in the convolutions of both',
    [
      ('', 'task', str),
      ('pairs', 'pairs', str),
      ('released, s', 'released_seconds', '{:.3f}'.format),
      ('ours, s', 'our_seconds', '{:.3f}'.format),
      ('ratio', 'ratio', '{:.2f}'.format),
      ('released, MiB', 'released_mib', '{:,.0f}'.format),
      ('ours, MiB', 'our_mib', '{:,.0f}'.format),
    ],
  ),
}


def _texts(kind: str, figures: dict[str, Any]) -> list[str]:
  """The cells of a row; '-' is what was not measured."""
  found = ((write, figures.get(key)) for _, key, write in COLUMNS[kind][1])
  return ['-' if value is None else write(value) for write, value in found]


def _tables(rows: Rows) -> Iterable[tuple[str, list[str], list[list[str]]]]:
  """(title, headings, rows of texts) of every kind that was tried."""
  rows = list(rows)
  for kind, (title, columns) in COLUMNS.items():
    if texts := [_texts(kind, row['figures']) for row in rows if row['kind'] == kind]:
      yield title, [heading for heading, *_ in columns], texts


def markdown(rows: Rows, sentences: Sequence[str]) -> str:
  """The tables for the documentation, after the first of the sentences and before the others."""
  device, *others = sentences
  parts = [device]
  for title, headings, texts in _tables(rows):
    lines = [headings, ['---'] * len(headings), *texts]
    table = '\n'.join('| ' + ' | '.join(line) + ' |' for line in lines)
    parts.append(f'{title[0].upper()}{title[1:]}:\n\n{table}')
  return '\n\n'.join(parts + others) + '\n'


def show(rows: Rows, sentences: Sequence[str]) -> None:
  """Prints the tables, likewise."""
  console = results()
  console.width = max(console.width, 120)  # a log has 80, which cuts the numbers off
  device, *others = sentences
  console.print(device, '', soft_wrap=True, sep='\n')
  for title, headings, texts in _tables(rows):
    table = empty_table(*headings)
    for line in texts:
      table.add_row(*line)
    console.print(title, soft_wrap=True)
    console.print(table, '')
  for sentence in others:
    console.print(sentence, soft_wrap=True)
