"""A linear probe of maps: what a place of the map says of the blur of its square of the picture."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import fields
import numpy as np
from fields import MOVED_PX
from scipy import ndimage
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import PolynomialFeatures, StandardScaler

from degrep_jax.data.synthetic.exposure import BlurExample

ALPHAS = np.logspace(-1, 6, 8)
FOLDS = 4
SIGMAS = (1.0, 2.0)  # px, of the derivatives of Gaussians
RESAMPLES = 999


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
  'extent' (N, h, w), 'within' (N, h, w), how it differs from the mean of its scene, and 'axis'
  (N, h, w, 2). Each has a probe of its own: that of extents is led by how scenes differ."""
  columns = train.shape[-1]
  groups = np.broadcast_to(known.photographs[:, None, None], known.blur.extent.shape)
  seen = known.blur.extent >= MOVED_PX
  extent = fit(train.reshape(-1, columns), known.blur.extent.ravel(), groups.ravel(), products)
  differences, target = within(train).reshape(-1, columns), within(known.blur.extent).ravel()
  inside = fit(differences, target, groups.ravel(), products)
  axis = fit(train[seen], known.blur.axis[seen], groups[seen], products)
  flat = test.reshape(-1, columns)
  shape = held_out.blur.extent.shape
  guess = {
    'extent': extent.predict(flat).reshape(shape),
    'within': inside.predict(within(test).reshape(-1, columns)).reshape(shape),
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
    'extent_r2_within_scenes': float(
      r2_score(within(blur.extent).ravel(), within(guess['within']).ravel())
    ),
    'direction_degrees': float(np.median(np.concatenate(errors))) if seen.any() else None,
    'direction_low': low,
    'direction_high': high,
    'places': int(seen.size),
    'places_with_direction': int(seen.sum()),
  }


def within(values: np.ndarray) -> np.ndarray:
  """Values (N, h, w, ...) less the mean of their scene."""
  return values - values.mean((1, 2), keepdims=True)


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
    'within': np.zeros(shape),
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
