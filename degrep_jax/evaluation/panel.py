"""The figure of an evaluation: examples side by side, for readers who do not know the paper."""

import io
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from degrep_jax.common.files import write_atomically
from degrep_jax.inference.map_colours import map_colours, over_photograph, without_common
from degrep_jax.metrics import psnr

_COLUMNS = {
  'sharp': ('Sharp', 'the scene as it was'),
  'blurry': ('Blurry', 'the scene as the camera took it'),
  'degradation_map': ('Degradation map', 'what the encoder reads\nfrom the blurry picture'),
  'reblurred': ('Reblurred', 'the sharp picture, blurred\nagain by that map'),
  'deblurred': ('Deblurred', 'the blurry picture, restored'),
}
# What is said below the figure, each where there is such a column.
_NOTES = {
  'sharp': 'PSNR in decibels, of what is shown: higher is closer.',
  'deblurred': 'In brackets the gain of deblurred over the blurry picture as it came.',
  'reblurred': 'In brackets the gain of reblurred over the sharp picture left unblurred.',
  'degradation_map': (
    'Map: like colours mean like values in all rows (three main components, less what all tiles'
    ' share, over grey).'
  ),
}
_CELL = 320  # px a picture is wide at most
_COLUMN = 256  # px a column is wide at least, for its texts
_GAP, _MARGIN, _HEAD, _CAPTION, _FOOT = 16, 32, 116, 48, 96  # px
_DPI = 100
_NAME = 28  # characters of a name that a column has room for, the last ones
_INK, _QUIET = '#1a1a1a', '#5f5f5f'


def panel(
  rows: Sequence[Mapping[str, Any]], path: str | os.PathLike[str], overlay: float = 0.4
) -> None:
  """Draws examples below each other: sharp, blurry, degradation map, reblurred, deblurred, as far
  as the rows have them.

  All pictures have the same magnification, a whole number of screen pixels per pixel. Wider ones
  than 320 px are reduced by a whole number, which hides blur: better crop them before.

  Args:
    rows: mappings with 'sharp', 'blurry', 'deblurred' and perhaps 'reblurred', uint8 (H, W, 3) of
      one shape; perhaps 'degradation_map', float (h, w, C), of the same picture, with 'map_tile',
      the (h, w) of the tiles it was put together from; and 'name', a text. All have the same keys.
    path: the PNG to write.
    overlay: how much of the grey blurry picture shows through the map, 0 (not at all) to 1.

  Raises:
    ValueError: no rows, or pictures of one row that are not uint8 (H, W, 3) of one shape.
    UserError: the file cannot be written.
  """
  if not rows:
    raise ValueError('no examples to draw')
  columns = [column for column in _COLUMNS if column in rows[0]]
  captions = [[_caption(row, column) for column in columns] for row in rows]
  widest = max(row['sharp'].shape[1] for row in rows)
  pictures = [dict(row) for row in rows]
  if 'degradation_map' in columns:
    maps = [row['degradation_map'] for row in rows]
    if 'map_tile' in rows[0]:
      maps = without_common(maps, rows[0]['map_tile'])
    colours = map_colours(maps)
    for row, colour in zip(pictures, colours, strict=True):
      row['degradation_map'] = over_photograph(colour, row['blurry'], overlay=overlay)
  cells = [[_magnify(row[column], widest) for column in columns] for row in pictures]
  write_atomically(path, _draw(cells, captions, columns))


def _caption(row, column):
  """The text under one picture of a row."""
  if column == 'sharp':
    return row['name'][-_NAME:]
  if column == 'degradation_map':
    h, w, channels = row['degradation_map'].shape
    return f'{h} × {w} places, {channels} channels'
  before = psnr(row['blurry'], row['sharp'])
  if column == 'blurry':
    return f'{before:.2f} dB to sharp'
  target = 'blurry' if column == 'reblurred' else 'sharp'
  after = psnr(row[column], row[target])
  return f'{after:.2f} dB to {target} ({after - before:+.2f})'


def _magnify(picture, widest):
  """Enlarges by the whole number that takes `widest` to the cell, or reduces by block means."""
  if widest <= _CELL:
    return picture.repeat(_CELL // widest, 0).repeat(_CELL // widest, 1)
  side = -(-widest // _CELL)
  h, w = picture.shape[0] // side, picture.shape[1] // side
  blocks = picture[: h * side, : w * side].reshape(h, side, w, side, 3)
  return np.round(blocks.mean((1, 3))).astype(np.uint8)


def _draw(cells, captions, columns):
  """The PNG file of cells[row][column], uint8 pictures, with their captions and headings."""
  pitch = max(_COLUMN, *(cell.shape[1] for row in cells for cell in row)) + _GAP
  lefts = [_MARGIN + i * pitch for i in range(len(columns))]
  heights = [row[0].shape[0] + _CAPTION for row in cells]
  tops = _HEAD + np.cumsum([0, *heights])
  width, height = lefts[-1] + pitch - _GAP + _MARGIN, int(tops[-1]) + _FOOT
  canvas = np.full((height, width, 3), 255, np.uint8)
  figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)

  def write(x, y, text, size, colour=_QUIET, weight='normal'):
    for i, line in enumerate(text.split('\n')):
      up = 1 - (y + 1.4 * size * i) / height  # of the baseline
      style = {'fontsize': size * 72 / _DPI, 'color': colour, 'weight': weight}
      figure.text(x / width, up, line, parse_math=False, **style)

  for left, column in zip(lefts, columns, strict=True):
    title, subtitle = _COLUMNS[column]
    write(left, _MARGIN + 20, title, 21, _INK, 'bold')
    write(left, _MARGIN + 44, subtitle, 14)
  for top, row, texts in zip(tops[:-1], cells, captions, strict=True):
    for left, cell, text in zip(lefts, row, texts, strict=True):
      canvas[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
      write(left, top + cell.shape[0] + 22, text, 15, _INK)
  notes = '\n'.join(note for column, note in _NOTES.items() if column in columns)
  write(_MARGIN, tops[-1] + 24, notes, 13)
  figure.figimage(canvas)
  file = io.BytesIO()
  figure.savefig(file, format='png', dpi=_DPI, metadata={'Software': None})
  return file.getvalue()
