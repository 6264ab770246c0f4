"""What the degradation map and its losses are worth to Gr: the supplementary's section 2, with
figures.

python experiments/reblurring_ablation.py --quick    # or, on a GPU, without it

Trains from the same seed and data, for three seeds, the joint stage

- with a 2-D map and GAN + L1 (the paper's),
- with one code for the whole picture ("Gr w/ 1D"),
- by L1 alone ("Gr w/ L1 only"),
- without a map: zeros whatever the picture (a control of ours),

and blurs held-out scenes again with each. Writes ablation.json, ablation.csv (a line per scene) and
ablation.png (the supplementary's Fig. 1) into --output. Scores, against the true blurry picture:

- PSNR and 2-D SSIM over the whole scene, over what moved by 2 px or more, and over what moved by
  less than half a pixel: the still region, which nothing should blur. Means over the scenes that
  have 1 % of such pixels at least.
- spectrum: distance of the radial power spectra, dB, root mean square over rings; and the share of
  the true power that is there above a quarter of the sampling rate, dB (0 is right, below is
  smoother than the truth).
- the same of the sharp picture left as it is, for comparison.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import fields
import numpy as np
import study
from matplotlib.figure import Figure
from scipy import ndimage

from degrep_jax import metrics
from degrep_jax.data.exposure import BlurExample
from degrep_jax.data.source import open_synthetic
from degrep_jax.report import write_csv, write_json

VARIANTS = ('2-D map', '1-D code', 'L1 only', 'no map')
UNBLURRED = 'sharp as it is'
MOVED, STILL = 2.0, 0.5  # px
LEAST = 0.01  # share of a scene's pixels below which a region is not scored
REGIONS = ('whole', 'moving', 'still')
SHOWN = 6  # scenes in the figure


def regions(scenes: BlurExample) -> dict[str, np.ndarray]:
  """Masks (N, S, S) of the regions that are scored."""
  return {
    'whole': np.ones(scenes.extent.shape, bool),
    'moving': scenes.extent >= MOVED,
    'still': scenes.extent < STILL,
  }


def region_psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
  """PSNR, dB, over the pixels of a mask (H, W) of two pictures (H, W, 3) uint8."""
  return metrics.decibels(np.mean((a[mask].astype(np.float64) - b[mask]) ** 2))


def ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """2-D SSIM around every pixel of two pictures (H, W, 3) uint8, (H, W), mean over channels."""
  return metrics.ssim_map(a, b, peak=255).mean(-1)


def radial_power(picture: np.ndarray) -> np.ndarray:
  """Mean power of the grey picture (S, S, 3) on rings of whole spatial frequencies, 1 .. S / 2 - 1
  cycles per picture, under a Hann window."""
  grey = picture.mean(-1)
  side = len(grey)
  window = np.hanning(side + 1)[:-1]
  spectrum = np.fft.fft2((grey - grey.mean()) * np.outer(window, window))
  frequency = np.fft.fftfreq(side, 1 / side)
  ring = np.rint(np.hypot(*np.meshgrid(frequency, frequency))).astype(int)
  return ndimage.mean(np.abs(spectrum) ** 2, ring, np.arange(1, side // 2))


def spectrum_distance(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
  """(root mean square over rings of the ratio of two pictures' power, a's power to b's above a
  quarter of the sampling rate), both in dB."""
  power_a, power_b = radial_power(a), radial_power(b)
  fine = slice(len(a) // 4 - 1, None)
  ratio = 10 * np.log10(power_a / power_b)
  high = 10 * np.log10(power_a[fine].sum() / power_b[fine].sum())
  return float(np.sqrt(np.mean(ratio**2))), float(high)


def scores(result: np.ndarray, scenes: BlurExample) -> list[dict[str, float | None]]:
  """One row of scores per scene of what stands for the blurry pictures, (N, S, S, 3) uint8; None
  where a scene has no such region."""
  masks, rows = regions(scenes), []
  for number, (ours, true) in enumerate(zip(result, scenes.blurry, strict=True)):
    similarity = ssim_map(ours, true)
    row: dict[str, float | None] = {}
    for region in REGIONS:
      mask = masks[region][number]
      there = mask.mean() >= LEAST
      row[f'{region}_psnr'] = region_psnr(ours, true, mask) if there else None
      row[f'{region}_ssim'] = float(similarity[mask].mean()) if there else None
    row['spectrum_db'], row['fine_db'] = spectrum_distance(ours, true)
    rows.append(row)
  return rows


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Mean of every column over the rows that have it."""
  return {
    column: float(np.mean([row[column] for row in rows if row[column] is not None]))
    for column in rows[0]
  }


def summary(seeds: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
  """Mean and standard deviation (over n - 1; 0 of one) over seeds, per column."""
  table = {column: np.array([seed[column] for seed in seeds]) for column in seeds[0]}
  return {
    column: {'mean': float(x.mean()), 'std': float(x.std(ddof=1)) if len(x) > 1 else 0.0}
    for column, x in table.items()
  }


def orderings(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> dict[str, list[bool]]:
  """Whether each expectation held, seed by seed."""
  count = len(next(iter(runs.values())))

  def above(a: str, b: str, column: str) -> list[bool]:
    return [runs[a][seed][column] > runs[b][seed][column] for seed in range(count)]

  trained = [name for name in VARIANTS if name != 'no map']
  return {
    '2-D map above 1-D code, whole': above('2-D map', '1-D code', 'whole_psnr'),
    '2-D map above 1-D code, still': above('2-D map', '1-D code', 'still_psnr'),
    'no map worst, whole': [
      min(runs[name][seed]['whole_psnr'] for name in trained) > runs['no map'][seed]['whole_psnr']
      for seed in range(count)
    ],
    '2-D map nearer in spectrum than L1 only': [
      runs['2-D map'][seed]['spectrum_db'] < runs['L1 only'][seed]['spectrum_db']
      for seed in range(count)
    ],
  }


def format_table(result: Mapping[str, Any]) -> str:
  """The means, as the rows of a Markdown table."""
  head = ['', *(f'{region} {metric}' for region in REGIONS for metric in ('PSNR', 'SSIM'))]
  head += ['spectrum, dB', 'fine power, dB']
  rows = []
  for name, columns in result['variants'].items():
    cells = [name]
    for column, x in columns.items():
      form = '.3f' if column.endswith('ssim') else '.2f'
      spread = f' ± {x["std"]:{form}}' if name != UNBLURRED else ''
      cells.append(f'{x["mean"]:{form}}{spread}')
    rows.append(cells)
  held = '\n'.join(f'{name}: {sum(x)} of {len(x)} seeds' for name, x in result['orderings'].items())
  return f'{fields.markdown(head, rows)}\n\n{held}'


def figure(scenes: BlurExample, results: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
  """Fig. 1: sharp, true blurry, then the variants, on scenes of each kind, PSNR below."""
  columns = {'sharp': scenes.sharp, 'blurry (true)': scenes.blurry, **results}
  order = np.argsort(scenes.extent.mean((1, 2)))
  chosen = order[np.linspace(len(order) * 0.4, len(order) - 1, min(SHOWN, len(order))).astype(int)]
  drawing = Figure(figsize=(1.9 * len(columns), 2.25 * len(chosen) + 0.5), dpi=100)
  axes = drawing.subplots(len(chosen), len(columns), squeeze=False)
  for row, number in zip(axes, chosen, strict=True):
    for cell, (name, pictures) in zip(row, columns.items(), strict=True):
      if cell in axes[0]:
        cell.set_title(name, fontsize=11)
      text, moves_alone = '', name not in ('sharp', *results) and scenes.moving[number].any()
      if name in results or name == 'sharp':
        mask = np.ones(scenes.extent.shape[1:], bool)
        text = f'{region_psnr(pictures[number], scenes.blurry[number], mask):.1f} dB'
      if name == 'sharp':
        text += f', moved {scenes.extent[number].max():.0f} px at most'
      if moves_alone:
        text = 'outlined: moves alone'
      fields.show(cell, pictures[number], text)
      if moves_alone:
        cell.contour(scenes.moving[number], levels=[0.5], colors='#ffcc00', linewidths=0.8)
  drawing.tight_layout(pad=0.5)
  fields.save(drawing, path)


def main(args: argparse.Namespace) -> None:
  """Trains, scores, writes."""
  folder = study.output(args)
  source = open_synthetic(study.settings(args).data, 'test', args.scenes)
  scenes = fields.all_scenes(source)
  rows, runs, first = [], {name: [] for name in VARIANTS}, {}
  for seed in range(args.seed, args.seed + args.seeds):
    for name in VARIANTS:
      net = study.trained(argparse.Namespace(**vars(args) | {'seed': seed}), name)
      result = net.reblur(scenes.sharp, net.maps(scenes.blurry))
      own = scores(result, scenes)
      first.setdefault(name, result)
      runs[name].append(means(own))
      names = zip(source.names, own, strict=True)
      rows += [{'variant': name, 'seed': seed, 'scene': scene} | row for scene, row in names]
  report = {
    'setting': {'steps': study.settings(args).train.steps, 'seeds': args.seeds},
    'scenes': len(scenes.sharp),
    'variants': {name: summary(of) for name, of in runs.items()}
    | {UNBLURRED: summary([means(scores(scenes.sharp, scenes))])},
    'orderings': orderings(runs),
  }
  write_csv(folder / 'ablation.csv', rows)
  write_json(folder / 'ablation.json', report)
  figure(scenes, first, folder / 'ablation.png')
  print(format_table(report))
  print(f'wrote {folder}/ablation.json, .csv and .png')


if __name__ == '__main__':
  flags = study.parser(__doc__, 'reblurring_ablation')
  flags.add_argument('--seeds', type=int, default=3, help='how many, from --seed on')
  flags.add_argument('--scenes', type=int, default=16, help='held-out scenes per photograph')
  study.run(main, flags.parse_args())
