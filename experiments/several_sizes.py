r"""What seeing a picture at several sizes gains: the table "At several sizes" of docs/models.md.

python experiments/several_sizes.py --pairs GoPro=GOPRO_Large --resize 1 0.5 0.25 2
python experiments/several_sizes.py --pairs REDS_small=REDS_SMALL --photos=PHOTOS
python experiments/several_sizes.py --pairs 'GoPro, training=GOPRO_Large' --split=train --every=5 \
  --resize 1 0.5 0.25

For every set of pairs, also with sides so many times as long (`--resize`): mean gain in PSNR by the
network that ships, at each size alone (1: the picture as it is) and by all together, as
`degrep_jax/inference/scales.py` weighs them, at strength 1, in floats. In brackets the mean energy
of the change, in dB: the network changes most at about the size where it gains most, which is why
energies can weigh. `--photos` adds held-back sharp photographs: PSNR between them and what becomes
of them. Least gains of each size are in several_sizes.json.
"""

import argparse
import pathlib
from collections.abc import Iterator
from typing import Any

import model_scores
import numpy as np
import study

from degrep_jax import Restorer, metrics, shipped
from degrep_jax.common.files import write_json
from degrep_jax.common.pixels import to_float
from degrep_jax.data.source import open_pairs
from degrep_jax.data.synthetic.photographs import read_photograph, split_files
from degrep_jax.inference import scales

TOGETHER = 'together'
Changes = dict[float | str, np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]  # blurry, sharp, float32 (H, W, 3) in [0, 1]


def changes(several: Restorer, one: Restorer, picture: np.ndarray) -> Changes:
  """What a network changes of a picture float32 `(H, W, 3)` in [0, 1], at each size alone and
  together.

  Args:
    several: with `scales`, at strength 1.
    one: the same without.
    picture: the picture.
  """
  found: Changes = {}
  for factor in scales.factors(picture.shape[:2], several.scales, several.tile):
    look = scales.resized(picture, factor)
    found[factor] = scales.resized_back(one.deblur(look) - look, picture.shape[:2])
  return found | {TOGETHER: several.deblur(picture) - picture}


def decibels(x: np.ndarray, y: np.ndarray) -> float:
  """PSNR of floats in [0, 1], after clipping x."""
  error = np.clip(x, 0, 1) - y
  return metrics.decibels(255**2 * float(np.mean(np.square(error, dtype=np.float64))))


def pairs(text: str, split: str, every: int, factor: float) -> Iterator[Pair]:
  """The pairs of a set, resized."""
  source = open_pairs(text, split=split)
  for item in range(0, len(source), every):
    pair = source.pair(item)
    blurry, sharp = to_float(pair.blurry), to_float(pair.sharp)
    yield scales.resized(blurry, factor), scales.resized(sharp, factor)


def gains(several: Restorer, one: Restorer, of: Iterator[Pair]) -> Any:
  """{size: mean gain, least gain and mean energy, dB}."""
  rows: dict[float | str, list[list[float]]] = {}
  for blurry, sharp in of:
    before = decibels(blurry, sharp)
    if not np.isfinite(before):  # there is nothing to gain
      continue
    for size, change in changes(several, one, blurry).items():
      energy = 10 * np.log10(max(scales.energy(change), 1e-12))
      rows.setdefault(size, []).append([decibels(blurry + change, sharp) - before, energy])
  return {
    size: {'pictures': len(of_it), 'gain': np.mean(of_it, 0)[0], 'energy': np.mean(of_it, 0)[1]}
    | {'least': np.min(of_it, 0)[0]}
    for size, of_it in rows.items()
  }


def kept(several: Restorer, one: Restorer, photos: pathlib.Path) -> Any:
  """{size: mean and least PSNR of held-back sharp photographs to what becomes of them}."""
  rows: dict[float | str, list[float]] = {}
  files = split_files(photos, 'test', model_scores.HELD_OUT, '')
  for _, path in files:
    picture = to_float(read_photograph(path))
    for size, change in changes(several, one, picture).items():
      rows.setdefault(size, []).append(decibels(picture + change, picture))
  return {
    size: {'pictures': len(of_it), 'gain': np.mean(of_it), 'least': np.min(of_it)}
    for size, of_it in rows.items()
  }


def markdown(found: dict[str, dict[float | str, dict[str, float]]]) -> str:
  """The table: a row per set, a column per size."""
  sizes = sorted({size for of in found.values() for size in of if size != TOGETHER})  # type: ignore
  titles = [f'{size:.2g}' for size in sizes]
  lines = [f'| pictures | {" | ".join(titles)} | {TOGETHER} |', f'|---|{"---|" * (len(sizes) + 1)}']
  for name, of in found.items():
    cells = [_cell(of.get(size), size) for size in (*sizes, TOGETHER)]
    lines.append(f'| {name}, {of[TOGETHER]["pictures"]} | {" | ".join(cells)} |')
  return '\n'.join(lines)


def _cell(of: dict[str, float] | None, size: float | str) -> str:
  if of is None:
    return ''
  if 'energy' not in of:
    return f'{of["gain"]:.1f}, least {of["least"]:.1f}'
  if size == TOGETHER:
    return f'{of["gain"]:+.2f}, least {of["least"]:+.2f}'
  return f'{of["gain"]:+.2f} ({of["energy"]:.1f})'


SHARP = 'sharp photographs'


def main(args: argparse.Namespace) -> None:
  """Measures, prints, writes."""
  several = Restorer.pretrained(args.network, strength=1.0, scales=args.scales)
  one = Restorer.pretrained(args.network, strength=1.0, scales=0)
  found = {}
  for name, folder in (model_scores.named('pairs', text) for text in args.pairs):
    for factor in args.resize:
      label = name if factor == 1 else f'{name} x {factor:g}'
      found[label] = gains(several, one, pairs(folder, args.split, args.every, factor))
      print(label, {size: round(of['gain'], 2) for size, of in found[label].items()}, flush=True)
  if args.photos:
    found[SHARP] = kept(several, one, args.photos)
  print(markdown(found))
  write_json(args.output / 'several_sizes.json', found)


if __name__ == '__main__':
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--pairs', action='append', required=True, metavar='NAME=FOLDER')
  parser.add_argument('--split', choices=('train', 'test'), default='test')
  parser.add_argument('--every', type=int, default=1, metavar='N', help='take every Nth pair')
  parser.add_argument('--resize', type=float, nargs='+', default=[1.0], metavar='FACTOR')
  parser.add_argument('--photos', type=pathlib.Path, metavar='FOLDER')
  parser.add_argument('--network', choices=shipped.names(), help='default: the best that deblurs')
  parser.add_argument('--scales', type=int, default=shipped.SETTINGS['scales'], metavar='PIXELS')
  parser.add_argument('--output', type=pathlib.Path, default='runs/several_sizes')
  study.run(main, parser.parse_args())
