"""What a place of the degradation map says of the blur there: linear probes and an embedding.

python experiments/degradation_space.py --quick    # or, on a GPU, without it

The held-out scenes' blur is known pixel by pixel. Per place of the map (a square of the picture) it
has a mean extent, px, and an axis: the mean of (cos 2a, sin 2a) of the pixels' directions a,
weighted by their extents. Linear ridge probes are trained on scenes of the training photographs and
scored on held-out ones:

- extent: R^2 (0: no better than the mean of all places), and R^2 within scenes: of how a place
  differs from the mean of its scene, which is what a map knows and a code cannot, by a probe of how
  the map's place differs from the mean of its map.
- direction: (cos 2a, sin 2a) are predicted, where the extent is 2 px or more; median error of the
  axis in degrees, with a 95 % interval by resampling scenes, most of which have one direction.
  Chance is 45.

What a place of the grid has in common in all training pictures is subtracted: the borders leave
their traces in a map. The strength of the regularisation is chosen by cross-validation over the
training photographs. The same is done with an untrained net's map, and with what can be had by hand
from the gradients of every place: the second moments at two scales, in windows of two sizes; by a
linear probe as well, and by one of their products too.

The embedding is t-SNE of places of held-out scenes, the trained net's and the untrained one's:
coloured by extent, by direction, and by the photograph that they come from. Places of one blur side
by side whatever the photograph would be a space of degradations; places of one photograph side by
side, a space of pictures.

Writes space.json, space.csv (a line per held-out scene and features) and space.png into --output.
Nets are trained once; the probes, seconds each, again whenever the script runs.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import fields
import numpy as np
import place_probe
import study
from fields import MOVED_PX
from matplotlib.figure import Figure
from place_probe import Data
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler

from degrep_jax.common.files import write_json
from degrep_jax.evaluation.tables import write_csv

MEAN, BY_HAND = 'mean of the training places', 'gradients of the picture'
PRODUCTS = 'gradients and their products'
CHANCE = 45.0  # degrees, median of an axis that knows nothing
MOST_NAMED = 10  # photographs in the figure's legend


def embed(features: np.ndarray, seed: int) -> np.ndarray:
  """t-SNE of features (N, D), standardised: (N, 2)."""
  standard = StandardScaler().fit_transform(features)
  perplexity = min(30.0, (len(features) - 1) / 3)
  method = TSNE(perplexity=perplexity, init='pca', random_state=seed)
  return method.fit_transform(standard.astype(np.float32))


class Embedded(NamedTuple):
  """Points (N, 2) of some places, with their extents (N,), axes (N, 2) and photographs (N,)."""

  points: np.ndarray
  extent: np.ndarray
  axis: np.ndarray
  photographs: np.ndarray


def figure(
  embedded: Mapping[str, Embedded], photographs: Sequence[str], path: pathlib.Path
) -> None:
  """A row per net: t-SNE by extent, direction and photograph."""
  drawing = Figure(figsize=(13.5, 4.2 * len(embedded)), dpi=64, layout='constrained')
  axes = drawing.subplots(len(embedded), 3, squeeze=False)
  for row, (name, of) in zip(axes, embedded.items(), strict=True):
    x, y = of.points.T
    seen = of.extent >= MOVED_PX
    degrees = np.rad2deg(np.arctan2(of.axis[:, 1], of.axis[:, 0]) / 2)
    for cell in row:
      cell.set_xticks([])
      cell.set_yticks([])
      cell.scatter(x, y, s=2, color='0.88')
    row[0].set_ylabel(name)
    colours = row[0].scatter(x, y, s=5, c=of.extent, cmap='viridis')
    drawing.colorbar(colours, ax=row[0], label='extent, px')
    colours = row[1].scatter(
      *of.points[seen].T, s=5, c=degrees[seen], cmap='hsv', vmin=-90, vmax=90
    )
    drawing.colorbar(colours, ax=row[1], label='direction, degrees', ticks=(-90, -45, 0, 45, 90))
    for number, photograph in enumerate(photographs):
      chosen = of.photographs == number
      row[2].scatter(x[chosen], y[chosen], s=5, label=photograph)
    if len(photographs) <= MOST_NAMED:
      row[2].legend(fontsize=8, markerscale=3)
  for cell, title in zip(
    axes[0],
    ('by extent', f'by direction ({MOVED_PX:.0f} px and more)', 'by photograph'),
    strict=True,
  ):
    cell.set_title(title)
  fields.save(drawing, path)


def tables(report: Mapping[str, Any]) -> str:
  """Markdown."""
  head = ['features', 'places', 'R^2 of extent', 'within scenes', 'error of direction, degrees']
  rows = []
  for grid, of in report['grids'].items():
    for name, score in of.items():
      degrees = '-' if score['direction_degrees'] is None else f'{score["direction_degrees"]:.0f}'
      if score['direction_low'] is not None:
        degrees += f' ({score["direction_low"]:.0f} .. {score["direction_high"]:.0f})'
      r2 = (f'{score[key]:z.2f}' for key in ('extent_r2', 'extent_r2_within_scenes'))
      rows.append([name, grid, *r2, degrees])
  return fields.markdown(head, rows)


def conclusion(report: Mapping[str, Any]) -> list[str]:
  """What the numbers say, a sentence per net."""
  sentences = []
  for grid, of in report['grids'].items():
    hand = of[BY_HAND]
    for name, score in of.items():
      control = of.get(f'{name}, {fields.UNTRAINED}')
      if control is None:
        continue
      words = [
        f'{_compared(score["extent_r2"] - other["extent_r2"])} {text} ({other["extent_r2"]:z.2f},'
        f' {other["direction_degrees"] or CHANCE:.0f} degrees)'
        for text, other in (('an untrained map', control), ('gradients by hand', hand))
      ]
      sentences.append(
        f'{name} ({grid}): a linear probe reads R^2 {score["extent_r2"]:z.2f} of the local extent'
        f' of blur from it ({score["extent_r2_within_scenes"]:z.2f} within scenes),'
        f' {" and ".join(words)}; directions are off by'
        f' {score["direction_degrees"] or CHANCE:.0f} degrees in the median, {_certain(score)}.'
      )
  return sentences


def _certain(score: Mapping[str, Any]) -> str:
  """Whether the error of directions is another than that of an axis that knows nothing."""
  low, high = score['direction_low'], score['direction_high']
  if low is None or low <= CHANCE <= high:
    return f'no other than chance ({CHANCE:.0f}) by its interval'
  return 'better than chance' if high < CHANCE else 'worse than chance'


def _compared(difference: float) -> str:
  """How one R^2 stands to another; a hundredth is no difference."""
  return 'as much as' if abs(difference) < 0.01 else 'more than' if difference > 0 else 'less than'


def main(args: argparse.Namespace) -> None:
  """Trains what is missing, measures, writes."""
  folder, data = study.output(args), {}
  for split, count in (('train', args.probe_scenes), ('test', args.scenes)):
    source = fields.fields(args, split, count)
    data[split] = fields.all_scenes(source), fields.photographs(source)
  names = source.names
  report: dict[str, Any] = {
    'setting': study.setting(args),
    'scenes': {split: len(photographs) for split, (_, photographs) in data.items()},
    'grids': {},
  }
  nets: dict[str, study.Trained] = {}
  for name, trained in fields.nets(args).items():
    nets |= {name: trained, f'{name}, {fields.UNTRAINED}': fields.untrained(args, name)}
  rows, embedded = [], {}
  for label, net in nets.items():
    maps = {split: net.maps(scenes.blurry) for split, (scenes, _) in data.items()}
    # What a place of the grid has in all pictures (borders leave their traces) is not asked for.
    common = maps['train'].mean(0)
    maps = {split: m - common for split, m in maps.items()}
    grid = maps['test'].shape[1:3]
    known, held_out = (
      Data(*data[split], place_probe.places(data[split][0], grid)) for split in ('train', 'test')
    )
    size = f'{grid[0]}x{grid[1]}'
    asked = {label: (maps['train'], maps['test'], False)}
    if size not in report['grids']:  # what needs no map is the same for all maps of a size
      report['grids'][size] = {MEAN: place_probe.means(known, held_out)}
      by_hand = [place_probe.gradient_features(of.scenes.blurry, grid) for of in (known, held_out)]
      asked = {BY_HAND: (*by_hand, False), PRODUCTS: (*by_hand, True)} | asked
    for features, (train, test, products) in asked.items():
      score, guess = place_probe.probe(train, test, known, held_out, products)
      report['grids'][size][features] = score
      key = {'features': features, 'grid': size}
      rows += [key | row for row in place_probe.per_scene(guess, held_out.blur, names)]
    if len(embedded) < 2:
      embedded[label] = _embedded(maps['test'], held_out, args)
  report['conclusion'] = conclusion(report)
  write_csv(folder / 'space.csv', rows)
  write_json(folder / 'space.json', report)
  figure(embedded, list(dict.fromkeys(source.scenes)), folder / 'space.png')
  print(tables(report), *report['conclusion'], sep='\n\n')
  print(f'wrote {folder}/space.json, space.csv and space.png')


def _embedded(maps: np.ndarray, held_out: Data, args: argparse.Namespace) -> Embedded:
  """The embedding of places drawn by the seed."""
  flat = maps.reshape(-1, maps.shape[-1])
  drawn = np.random.default_rng(args.seed).permutation(len(flat))[: args.points]
  photographs = np.broadcast_to(held_out.photographs[:, None, None], maps.shape[:3]).ravel()
  blur = held_out.blur
  return Embedded(
    embed(flat[drawn], args.seed),
    blur.extent.ravel()[drawn],
    blur.axis.reshape(-1, 2)[drawn],
    photographs[drawn],
  )


if __name__ == '__main__':
  flags = fields.parser(__doc__, 'degradation_space', scenes=32, probe_scenes=48)
  flags.add_argument('--points', type=int, default=2000, help='places that are embedded')
  study.run(main, flags.parse_args())
