"""What the degradation map and its losses are worth to Gr: the supplementary's section 2, with
figures.

python experiments/reblurring_ablation.py --quick    # or, on a GPU, without it

Trains from the same seed and data, for three seeds, the joint stage

- with a 2-D map and GAN + L1 (the paper's),
- with one code for the whole picture ("Gr w/ 1D"),
- by L1 alone ("Gr w/ L1 only"),
- without a map: zeros whatever the picture (a control of ours),

and blurs held-out scenes again with each. Writes ablation.json, ablation.csv (a line per variant,
seed and scene) and ablation.png (the supplementary's Fig. 1) into --output. Scores, against the
true blurry picture:

- PSNR and 2-D SSIM over the whole scene, over what moved by 2 px or more, and over the still
  region, which nothing should blur: what moved by less than half a pixel and was at no time behind
  what moves alone (errors below that of rounding count as that: at most 58.9 dB). Means over the
  scenes that have 1 % of such pixels at least.
- two motions: PSNR over the whole of those scenes in which what moves alone and what surrounds it
  are blurred differently (`TWO_MOTIONS_PX`): what one code for the picture cannot say.
- spectrum: distance of the radial power spectra, dB, root mean square over rings; and the mean
  power of the rings above a quarter of the sampling rate against the true one, dB (0 is right,
  below is smoother than the truth).
- the same of the sharp picture left as it is, for comparison.

By how much each expectation of the paper holds is told seed by seed, with a paired 95 % interval
over scenes.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import fields
import numpy as np
import study
from fields import REGIONS
from matplotlib.figure import Figure
from scipy import ndimage

from degrep_jax import metrics
from degrep_jax.common.files import write_json
from degrep_jax.data.source import open_synthetic
from degrep_jax.data.synthetic.exposure import BlurExample
from degrep_jax.evaluation.bootstrap import paired_difference
from degrep_jax.evaluation.tables import write_csv

VARIANTS = ('2-D map', '1-D code', 'L1 only', 'no map')
UNBLURRED = 'sharp as it is'
TRUE = 'blurry (true)'
SHOWN = 6  # scenes in the figure
# How far the lines of blur of two parts of a scene lie apart at least, as vectors of their length
# at twice their angle: lines of one direction differ by their lengths, others by more.
TWO_MOTIONS_PX = 4.0


def ssim_map(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """2-D SSIM around every pixel of two pictures (H, W, 3) uint8, (H, W), mean over channels; nan
  in the border where a window would leave the picture."""
  similarity, rim = metrics.ssim_map(a, b, peak=255).mean(-1), metrics.SIDE // 2
  return np.pad(similarity[rim:-rim, rim:-rim], rim, constant_values=np.nan)


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


def two_motions(scenes: BlurExample) -> np.ndarray:
  """Which of N scenes hold two blurs, (N,) bool: the medians of what moves alone and of what does
  not lie `TWO_MOTIONS_PX` apart, and neither is less than `fields.LEAST_SHARE` of the scene."""
  line = scenes.extent[..., None] * np.stack(
    [np.cos(2 * scenes.direction), np.sin(2 * scenes.direction)], -1
  )

  def apart(lines: np.ndarray, moving: np.ndarray) -> bool:
    if min(moving.mean(), 1 - moving.mean()) < fields.LEAST_SHARE:
      return False
    between = np.median(lines[moving], 0) - np.median(lines[~moving], 0)
    return bool(np.hypot(*between) >= TWO_MOTIONS_PX)

  return np.array([apart(*scene) for scene in zip(line, scenes.moving, strict=True)])


def scores(result: np.ndarray, scenes: BlurExample) -> list[dict[str, float | None]]:
  """One row of scores per scene of what stands for the blurry pictures, (N, S, S, 3) uint8; None
  where a scene has no such region."""
  masks, apart, rows = fields.regions(scenes), two_motions(scenes), []
  psnrs = fields.psnrs(result, scenes)
  for number, (ours, true) in enumerate(zip(result, scenes.blurry, strict=True)):
    similarity = ssim_map(ours, true)
    row: dict[str, float | None] = {}
    for region, db in psnrs[number].items():
      row[f'{region}_psnr'] = db
      inside = similarity[masks[region][number]]
      inside = inside[np.isfinite(inside)]
      row[f'{region}_ssim'] = float(inside.mean()) if db is not None and inside.size else None
    row['two_motions_psnr'] = row['whole_psnr'] if apart[number] else None
    row['spectrum_db'], row['fine_db'] = spectrum_distance(ours, true)
    rows.append(row)
  return rows


def means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
  """Mean of every column over the rows that have it; nan where none has."""
  there = {name: [row[name] for row in rows if row[name] is not None] for name in rows[0]}
  return {name: float(np.mean(column)) if column else np.nan for name, column in there.items()}


def summary(seeds: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
  """Mean and standard deviation (over n - 1; 0 of one) over seeds, per column."""
  table = {column: np.array([seed[column] for seed in seeds]) for column in seeds[0]}
  return {
    column: {'mean': float(x.mean()), 'std': float(x.std(ddof=1)) if len(x) > 1 else 0.0}
    for column, x in table.items()
  }


def orderings(
  runs: Mapping[str, Sequence[Sequence[Mapping[str, float | None]]]],
) -> dict[str, list[dict[str, Any]]]:
  """By how much each expectation held, dB, seed by seed: above 0 where it did.

  runs: per variant and seed the rows of `scores`; expectations of those that are missing are left
    out.

  Returns:
    Per expectation a `paired_difference` over scenes for each seed, as a dict.
  """

  def less(a: str, b: str, column: str) -> list[dict[str, Any]]:
    columns = ([[row[column] for row in seed] for seed in runs[name]] for name in (a, b))
    differences = (paired_difference(x, y) for x, y in zip(*columns, strict=True))
    return [x._asdict() for x in differences if x is not None]

  held = {
    name: less(a, b, column)
    for name, (a, b, column) in {
      '2-D map above 1-D code, whole': ('2-D map', '1-D code', 'whole_psnr'),
      '2-D map above 1-D code, still': ('2-D map', '1-D code', 'still_psnr'),
      '2-D map above 1-D code, two motions': ('2-D map', '1-D code', 'two_motions_psnr'),
      '2-D map nearer in spectrum than L1 only': ('L1 only', '2-D map', 'spectrum_db'),
    }.items()
    if a in runs and b in runs
  }
  others = [name for name in runs if name != 'no map']
  if 'no map' in runs and others:
    control = [less(name, 'no map', 'whole_psnr') for name in others]
    held['no map worst, whole'] = [
      min(seed, key=lambda x: x['mean']) for seed in zip(*control, strict=True)
    ]
  return held


def _told(difference: Mapping[str, Any]) -> str:
  interval = fields.interval(difference)
  return f'{difference["mean"]:+z.2f}' + (f' ({interval})' if interval else '')


def format_table(result: Mapping[str, Any]) -> str:
  """The means, as the rows of a Markdown table."""
  head = ['', *(f'{region} {metric}' for region in REGIONS for metric in ('PSNR', 'SSIM'))]
  head += ['two motions PSNR', 'spectrum, dB', 'fine power, dB']
  several = len(result['setting']['seeds']) > 1
  rows = []
  for name, columns in result['variants'].items():
    cells = [name]
    for column, x in columns.items():
      form = '.3f' if column.endswith('ssim') else '.2f'
      spread = f' ± {x["std"]:{form}}' if several and name != UNBLURRED else ''
      cells.append(f'{x["mean"]:{form}}{spread}')
    rows.append(cells)
  held = [
    [name, *map(_told, by_seed), f'{sum(x["mean"] > 0 for x in by_seed)} of {len(by_seed)}']
    for name, by_seed in result['orderings'].items()
  ]
  seeds = result['setting']['seeds']
  head_held = ['held by, dB', *(f'seed {seed}' for seed in seeds), 'held']
  return f'{fields.markdown(head, rows)}\n\n{fields.markdown(head_held, held)}'


def figure(scenes: BlurExample, results: Mapping[str, np.ndarray], path: pathlib.Path) -> None:
  """Fig. 1: sharp, true blurry, then the variants, on scenes of each kind, PSNR below."""
  columns = {'sharp': scenes.sharp, TRUE: scenes.blurry, **results}
  order = np.argsort(scenes.extent.mean((1, 2)))
  chosen = order[np.linspace(len(order) * 0.4, len(order) - 1, min(SHOWN, len(order))).astype(int)]
  drawing = Figure(figsize=(1.9 * len(columns), 2.25 * len(chosen) + 0.5), dpi=100)
  axes = drawing.subplots(len(chosen), len(columns), squeeze=False)
  for row, number in zip(axes, chosen, strict=True):
    for cell, (name, pictures) in zip(row, columns.items(), strict=True):
      if cell in axes[0]:
        cell.set_title(name, fontsize=11)
      outlined = name == TRUE and scenes.moving[number].any()
      text = 'outlined: moves alone' if outlined else ''
      if name != TRUE:
        text = f'{metrics.psnr(pictures[number], scenes.blurry[number]):.1f} dB'
      if name == 'sharp':
        text += f', moved {scenes.extent[number].max():.0f} px at most'
      fields.show(cell, pictures[number], text)
      if outlined:
        cell.contour(scenes.moving[number], levels=[0.5], colors='#ffcc00', linewidths=0.8)
  drawing.tight_layout(pad=0.5)
  fields.save(drawing, path)


def main(args: argparse.Namespace) -> None:
  """Trains, scores, writes."""
  folder, config = study.output(args), study.settings(args)
  source = open_synthetic(config.data, 'test', args.scenes)
  scenes = fields.all_scenes(source)
  seeds = list(range(args.seed, args.seed + args.seeds))
  rows: list[dict[str, Any]] = []

  def scored(name: str, seed: int | str, result: np.ndarray) -> list[dict[str, float | None]]:
    own = scores(result, scenes)
    for scene, row in zip(source.names, own, strict=True):
      rows.append({'variant': name, 'seed': seed, 'scene': scene} | row)
    return own

  unblurred = scored(UNBLURRED, '', scenes.sharp)
  runs: dict[str, list[list[dict[str, float | None]]]] = {
    name: [] for name in args.variant or VARIANTS
  }
  first: dict[str, np.ndarray] = {}
  for seed in seeds:
    for name in runs:
      net = study.trained(argparse.Namespace(**vars(args) | {'seed': seed}), name)
      result = net.reblur(scenes.sharp, net.maps(scenes.blurry))
      first.setdefault(name, result)
      runs[name].append(scored(name, seed, result))
  masks = fields.regions(scenes)
  report = {
    'setting': {'steps': config.train.steps, 'seeds': seeds, 'gan_weight': config.loss.gan},
    'scenes': {
      region: int((masks[region].mean((1, 2)) >= fields.LEAST_SHARE).sum()) for region in REGIONS
    },
    'variants': {
      name: summary([means(seed) for seed in of])
      for name, of in (runs | {UNBLURRED: [unblurred]}).items()
    },
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
  about = 'one of the nets, again for more; all'
  flags.add_argument('--variant', action='append', choices=VARIANTS, help=about)
  study.run(main, flags.parse_args())
