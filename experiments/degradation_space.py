"""What a place of the degradation map says of the blur there: linear probes and an embedding.

python experiments/degradation_space.py --quick    # or, on a GPU, without it

The held-out scenes' blur is known pixel by pixel. Per place of the map (a square of the picture) it
has a mean extent, px, and an axis: the mean of (cos 2a, sin 2a) of the pixels' directions a,
weighted by their extents. Linear ridge probes are trained on scenes of the training photographs and
scored on held-out ones:

- extent: R^2 (0: no better than the mean of all places), and R^2 within scenes: of how a place
  differs from the mean of its scene, which is what a map knows and a code cannot.
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
import study
from fields import MOVED_PX
from matplotlib.figure import Figure
from scipy import ndimage
from sklearn.linear_model import RidgeCV
from sklearn.manifold import TSNE
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from degrep_jax.data.synthetic.exposure import BlurExample
from degrep_jax.evaluation.tables import write_csv, write_json

ALPHAS = np.logspace(-1, 6, 8)
FOLDS = 4
SIGMAS = (1.0, 2.0)  # px, of the derivatives of Gaussians
MEAN, BY_HAND = 'mean of the training places', 'gradients of the picture'
PRODUCTS = 'gradients and their products'
RESAMPLES = 999
CHANCE = 45.0  # degrees, median of an axis that knows nothing
MOST_NAMED = 10  # photographs in the figure's legend


class Places(NamedTuple):
  """The blur of the places of a map.

  Attributes:
    extent: (N, h, w), px.
    axis: (N, h, w, 2), (cos 2a, sin 2a) of unit length; 0 where nothing moves.
  """

  extent: np.ndarray
  axis: np.ndarray


def cell_means(values: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
  """Means over the places of a grid (h, w) that divides (N, H, W): (N, h, w)."""
  n, height, width = values.shape
  h, w = grid
  return values.reshape(n, h, height // h, w, width // w).mean((2, 4), dtype=np.float64)


def places(scenes: BlurExample, grid: tuple[int, int]) -> Places:
  """The blur of every place of a grid."""
  extent, twice = scenes.extent, 2 * scenes.direction
  axis = np.stack([cell_means(extent * part(twice), grid) for part in (np.cos, np.sin)], -1)
  length = np.linalg.norm(axis, axis=-1, keepdims=True)
  return Places(
    cell_means(extent, grid), np.divide(axis, length, out=np.zeros_like(axis), where=length > 0)
  )


def axis_error(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
  """Angle between axes given as (cos 2a, sin 2a) of any length, (N, 2): (N,) degrees, 0 .. 90."""
  difference = np.arctan2(predicted[:, 1], predicted[:, 0]) - np.arctan2(true[:, 1], true[:, 0])
  return np.rad2deg(np.abs(np.angle(np.exp(1j * difference)))) / 2


def gradient_features(pictures: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
  """Statistics of the gradients of every place and of its surroundings, (N, h, w, 20).

  Of derivatives of Gaussians of both `SIGMAS`, in the place and in a window three times as wide:
  log of the energy, the axis and the coherence of the structure tensor (as the double angle's cos
  and sin by the coherence, and the coherence), and log of the second derivatives' energy.
  """
  grey = 255 * fields.grey(pictures)
  features = []
  for sigma in SIGMAS:
    orders = {'x': (0, 0, 1), 'y': (0, 1, 0), 'xx': (0, 0, 2), 'yy': (0, 2, 0)}
    d = {
      name: ndimage.gaussian_filter(grey, (0, sigma, sigma), order, mode='reflect')
      for name, order in orders.items()
    }
    moments = [d['x'] ** 2, d['y'] ** 2, d['x'] * d['y'], (d['xx'] + d['yy']) ** 2]
    own = [cell_means(moment, grid) for moment in moments]
    wide = [ndimage.uniform_filter(cells, (0, 3, 3), mode='reflect') for cells in own]
    for xx, yy, xy, second in (own, wide):
      energy = xx + yy + 1e-3
      cos, sin = (xx - yy) / energy, 2 * xy / energy
      features += [np.log(energy), cos, sin, np.hypot(cos, sin), np.log(second + 1e-3)]
  return np.stack(features, -1)


class Data(NamedTuple):
  """Scenes, what they were cut from, and their places' blur."""

  scenes: BlurExample
  photographs: np.ndarray  # (N,)
  blur: Places


def fit(features: np.ndarray, targets: np.ndarray, groups: np.ndarray, products: bool) -> Pipeline:
  """A ridge regression whose strength is chosen by cross-validation between groups.

  Args:
    features, targets: (N, D) and (N,) or (N, T).
    groups: (N,) numbers; no group stands on both sides of a fold.
    products: the products of two features as well.
  """
  splits = GroupKFold(min(FOLDS, len(np.unique(groups)))).split(features, targets, groups)
  ridge = RidgeCV(ALPHAS, cv=list(splits), scoring='neg_mean_squared_error')
  expansion = [PolynomialFeatures(2, include_bias=False), StandardScaler()] if products else []
  return make_pipeline(StandardScaler(), *expansion, ridge).fit(features, targets)


def probe(
  train: np.ndarray, test: np.ndarray, known: Data, held_out: Data, products: bool = False
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
  """Scores of linear probes of features (N, h, w, D), and what they predict of the held-out places:
  'extent' (N, h, w) and 'axis' (N, h, w, 2)."""
  columns = train.shape[-1]
  groups = np.broadcast_to(known.photographs[:, None, None], known.blur.extent.shape)
  seen = known.blur.extent >= MOVED_PX
  extent = fit(train.reshape(-1, columns), known.blur.extent.ravel(), groups.ravel(), products)
  axis = fit(train[seen], known.blur.axis[seen], groups[seen], products)
  flat = test.reshape(-1, columns)
  shape = held_out.blur.extent.shape
  guess = {
    'extent': extent.predict(flat).reshape(shape),
    'axis': axis.predict(flat).reshape(*shape, 2),
  }
  return scores(guess, held_out.blur), guess


def scores(guess: Mapping[str, np.ndarray], blur: Places) -> dict[str, Any]:
  """R^2 of extents, over all places and within scenes, and median error of directions, degrees,
  where there is one, with its interval."""
  seen = blur.extent >= MOVED_PX
  errors = [
    axis_error(axis[there], true[there])
    for axis, true, there in zip(guess['axis'], blur.axis, seen, strict=True)
  ]
  low, high = interval([error for error in errors if len(error)])
  return {
    'extent_r2': float(r2_score(blur.extent.ravel(), guess['extent'].ravel())),
    'extent_r2_within_scenes': float(r2_score(within(blur.extent), within(guess['extent']))),
    'direction_degrees': float(np.median(np.concatenate(errors))) if seen.any() else None,
    'direction_low': low,
    'direction_high': high,
    'places': int(seen.size),
    'places_with_direction': int(seen.sum()),
  }


def within(values: np.ndarray) -> np.ndarray:
  """Values (N, h, w) less the mean of their scene, in a row."""
  return (values - values.mean((1, 2), keepdims=True)).ravel()


def interval(errors: Sequence[np.ndarray]) -> tuple[float | None, float | None]:
  """95 % of the medians of what scenes have, drawn with replacement; None of fewer than two."""
  if len(errors) < 2:
    return None, None
  rng = np.random.default_rng(0)
  drawn = rng.integers(len(errors), size=(RESAMPLES, len(errors)))
  medians = [np.median(np.concatenate([errors[i] for i in row])) for row in drawn]
  low, high = np.percentile(medians, (2.5, 97.5))
  return float(low), float(high)


def means(known: Data, held_out: Data) -> dict[str, Any]:
  """The scores of predicting the training places' mean everywhere."""
  blur, shape = known.blur, held_out.blur.extent.shape
  axis = blur.axis[blur.extent >= MOVED_PX].mean(0)
  guess = {
    'extent': np.full(shape, blur.extent.mean()),
    'axis': np.broadcast_to(axis, (*shape, 2)),
  }
  return scores(guess, held_out.blur)


def per_scene(
  guess: Mapping[str, np.ndarray], blur: Places, names: Sequence[str]
) -> list[dict[str, Any]]:
  """A row per scene: mean extents, true and predicted, root mean square error, median error of
  directions."""
  rows = []
  for number, name in enumerate(names):
    extent, axis = blur.extent[number], blur.axis[number]
    seen = extent >= MOVED_PX
    error = axis_error(guess['axis'][number][seen], axis[seen])
    rows.append(
      {
        'scene': name,
        'extent_px': float(extent.mean()),
        'predicted_px': float(guess['extent'][number].mean()),
        'rmse_px': float(np.sqrt(np.mean((guess['extent'][number] - extent) ** 2))),
        'direction_degrees': float(np.median(error)) if seen.any() else None,
      }
    )
  return rows


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
    'setting': {'steps': study.settings(args).train.steps, 'seed': args.seed},
    'scenes': {split: len(photographs) for split, (_, photographs) in data.items()},
    'grids': {},
  }
  rows, embedded = [], {}
  for name, trained in fields.nets(args).items():
    for label, net in (
      (name, trained),
      (f'{name}, {fields.UNTRAINED}', fields.untrained(args, name)),
    ):
      maps = {split: net.maps(scenes.blurry) for split, (scenes, _) in data.items()}
      # What a place of the grid has in all pictures (borders leave their traces) is not asked for.
      common = maps['train'].mean(0)
      maps = {split: m - common for split, m in maps.items()}
      grid = maps['test'].shape[1:3]
      known, held_out = (
        Data(*data[split], places(data[split][0], grid)) for split in ('train', 'test')
      )
      size = f'{grid[0]}x{grid[1]}'
      asked = {label: (maps['train'], maps['test'], known, held_out)}
      if size not in report['grids']:
        report['grids'][size] = {MEAN: means(known, held_out)}
        by_hand = (
          *(gradient_features(d.scenes.blurry, grid) for d in (known, held_out)),
          known,
          held_out,
        )
        asked = {BY_HAND: by_hand, PRODUCTS: (*by_hand, True)} | asked
      for features, given in asked.items():
        report['grids'][size][features], guess = probe(*given)
        key = {'features': features, 'grid': size}
        rows += [key | row for row in per_scene(guess, held_out.blur, names)]
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
