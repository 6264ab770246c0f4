"""Does synthetic blur resemble that of cameras? Parts of a mixture, real and made, measured alike.

python experiments/blur_model.py --config=CONFIG --output=DIR [--config.data.parts.NAME.root=DIR]

CONFIG has data.source 'mixture', for instance of folders of real pairs and of photographs; no part
is trained on. Crops that photographs leave sharp or flat on purpose are not made here.

Printed and written to blur_model.json, per part: blurry PSNR; by how much blur weakens the power of
details, in bands of frequency, and how much more across the motion than along it; the width of
edges, 1 px being as steep as pixels allow; the noise, by differences of second order, which details
raise, too. blur_model.png shows 40 blurry crops of each part side by side, NAME.png those of a part
above their sharp ones.
"""

import itertools
import pathlib
import sys

import cv2
import numpy as np
from absl import app, flags
from ml_collections import config_flags

from degrep_jax.common.console import empty_table, results, say
from degrep_jax.common.errors import UserError, fail
from degrep_jax.common.files import make_folder_of, write_json
from degrep_jax.common.pixels import write_png
from degrep_jax.data.mixture import parts_of
from degrep_jax.data.source import open_source

sys.path.append(str(pathlib.Path(__file__).parents[1]))  # configs lie beside the package

BANDS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2)  # limits, cycles per pixel
DIRECTED = 1 / 16, 1 / 8  # band that directions are compared in
SECTORS = 6
LOUDEST = 60.0  # dB that PSNRs are cut at
STEEP = 15.0  # levels per pixel of an edge that is measured
EDGES = 8  # measured in a crop at most
REACH = 24  # px to each side of an edge
SHOWN = 40
PERCENTILES = (10, 50, 90)

_CONFIG = config_flags.DEFINE_config_file('config')
_OUTPUT = flags.DEFINE_string('output', 'runs/blur_model', 'Folder for all that is written.')
_COUNT = flags.DEFINE_integer('count', 400, 'Crops of each part.', 1)
_SIDE = flags.DEFINE_integer('side', 160, 'Their side, px.', 64)
_SEED = flags.DEFINE_integer('seed', 0, 'Of the crops.', 0)


def grey(picture):
  """Mean of the channels, (H, W) float32."""
  return picture.mean(-1, dtype=np.float32)


def psnr(blurry, sharp):
  """dB, `LOUDEST` at most, of pictures of 8 bits."""
  error = np.mean((blurry.astype(np.float32) - sharp) ** 2)
  return float(10 * np.log10(255**2 / max(error, 255**2 / 10 ** (LOUDEST / 10))))


def power(picture):
  """Power spectrum (H, W / 2 + 1) of a windowed grey picture, frequency and angle of its places."""
  height, width = picture.shape
  window = np.outer(np.hanning(height), np.hanning(width))
  spectrum = np.abs(np.fft.rfft2((picture - picture.mean()) * window)) ** 2
  y, x = np.meshgrid(np.fft.fftfreq(height), np.fft.rfftfreq(width), indexing='ij')
  return spectrum, np.hypot(x, y), np.arctan2(y, x) % np.pi


def weakening(blurry, sharp):
  """dB by which blur weakens the bands, and the most above the least of sectors of direction."""
  (after, frequency, angle), (before, *_) = power(blurry), power(sharp)
  floor = 1e-6 * before.max()

  def lost(mask):
    return 10 * np.log10((before[mask].sum() + floor) / (after[mask].sum() + floor))

  bands = [lost((frequency >= low) & (frequency < high)) for low, high in itertools.pairwise(BANDS)]
  there = (frequency >= DIRECTED[0]) & (frequency < DIRECTED[1])
  sector = (angle / np.pi * SECTORS).astype(int) % SECTORS
  sectors = [lost(there & (sector == number)) for number in range(SECTORS)]
  return bands, max(sectors) - min(sectors)


def edge_widths(blurry, sharp):
  """Widths in pixels of the blurry edges where the sharp picture's are steepest: how far the level
  changes in one direction, over the steepest slope of it."""
  smooth = cv2.GaussianBlur(sharp, (0, 0), 1)
  dx, dy = (cv2.Sobel(smooth, cv2.CV_32F, *order) / 8 for order in ((1, 0), (0, 1)))
  steep = np.hypot(dx, dy)
  for border in (np.s_[:REACH], np.s_[-REACH:], np.s_[:, :REACH], np.s_[:, -REACH:]):
    steep[border] = 0
  widths = []
  while len(widths) < EDGES and steep.max() >= STEEP:
    y, x = np.unravel_index(steep.argmax(), steep.shape)
    along = np.arange(-REACH, REACH + 0.5, 0.5, np.float32)
    way = np.array([dx[y, x], dy[y, x]]) / steep[y, x]
    steep[max(y - 10, 0) : y + 10, max(x - 10, 0) : x + 10] = 0
    line = [
      (at + along * part).astype(np.float32)[None] for at, part in zip((x, y), way, strict=True)
    ]
    profile = cv2.remap(blurry, *line, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)[0]
    widths.append(width(profile))
  return widths


def width(profile):
  """Of a rising edge in the middle of a profile of half pixels."""
  slope = np.diff(profile)
  middle = len(slope) // 2
  near = slice(middle - REACH // 2, middle + REACH // 2)
  at = near.start + int(slope[near].argmax())
  first = last = at
  while first > 0 and slope[first - 1] > 0:
    first -= 1
  while last < len(slope) - 1 and slope[last + 1] > 0:
    last += 1
  return float(slope[first : last + 1].sum() / max(slope[at], 1e-3) / 2)


def noise(picture):
  """Standard deviation in levels of a grey picture's noise, from the median of second differences
  (Immerkær 1996)."""
  kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
  return float(np.median(np.abs(cv2.filter2D(picture, -1, kernel)[1:-1, 1:-1])) / 0.6745 / 6)


def measured(crops):
  """Values per statistic of pairs (blurry, sharp)."""
  values = {}

  def add(name, *found):
    values.setdefault(name, []).extend(found)

  for colours in crops:
    blurry, sharp = map(grey, colours)
    add('blurry PSNR, dB', psnr(*colours))
    bands, directed = weakening(blurry, sharp)
    for (low, high), lost in zip(itertools.pairwise(BANDS), bands, strict=True):
      add(f'weaker at 1/{1 / low:.0f} to 1/{1 / high:.0f}, dB', lost)
    add('more along than across, dB', directed)
    add('blurry edges, px', *edge_widths(blurry, sharp))
    add('sharp edges, px', *edge_widths(sharp, sharp))
    add('blurry noise, levels', noise(blurry))
    add('sharp noise, levels', noise(sharp))
  return values


def draw(source, count, size, seed):
  """Yields pairs of crops, evenly spread over the items."""
  for number in range(count):
    item = number * len(source) // count if count < len(source) else number % len(source)
    yield source.crop(item, size, np.random.default_rng([seed, number]))


def sheet(pictures, columns):
  """Pictures of one size in rows, black where there are none."""
  missing = -len(pictures) % columns
  grid = [*pictures, *[np.zeros_like(pictures[0])] * missing]
  rows = [np.concatenate(grid[at : at + columns], 1) for at in range(0, len(grid), columns)]
  return np.concatenate(rows)


def main(_):
  """Prints the table and draws the sheets."""
  output = pathlib.Path(_OUTPUT.value)
  make_folder_of(output / 'blur_model.json')
  parts = parts_of(_CONFIG.value.data)
  values, blocks = {}, []
  for name, data in parts.items():
    data.crop, data.sharp_share, data.flat_share = _SIDE.value, 0.0, 0.0
    source = open_source(data, 'train')
    say(f'{name}: {_COUNT.value} crops of {len(source)} pictures')
    crops = list(draw(source, _COUNT.value, _SIDE.value, _SEED.value))
    values[name] = measured(crops)
    # Spread over the pictures.
    shown = crops[:: max(1, len(crops) // SHOWN)][:SHOWN]
    blocks.append(sheet([blurry for blurry, _ in shown], 5))
    write_png(output / f'{name}.png', sheet([np.concatenate(pair) for pair in shown], 10))
  table = empty_table('median (10th .. 90th percentile)', *values)
  figures = {}
  for statistic in next(iter(values.values())):
    row = []
    for name in values:
      found = values[name][statistic]
      low, middle, high = np.percentile(found, PERCENTILES) if found else [np.nan] * 3
      figures.setdefault(name, {})[statistic] = [low, middle, high]
      row.append(f'{middle:.1f} ({low:.1f} .. {high:.1f})')
    table.add_row(statistic, *row)
  console = results()
  console.width = max(console.width, 30 + 26 * len(values))  # cells are read whole or not at all
  console.print(table)
  write_json(output / 'blur_model.json', figures)
  gap = np.full((len(blocks[0]), 8, 3), 255, np.uint8)
  write_png(
    output / 'blur_model.png',
    np.concatenate([part for block in blocks for part in (block, gap)][:-1], 1),
  )


def run(argv):
  """`main`, what people can mend told in one line."""
  try:
    main(argv)
  except UserError as error:
    raise SystemExit(fail(' '.join(str(error).split()))) from None


if __name__ == '__main__':
  app.run(run)
