"""Mixed maps: what Gr makes of maps between those of two pictures, told by true renderings."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import fields
import numpy as np
import study
from scipy import stats

from degrep_jax.common.errors import UserError

STRENGTHS = np.arange(31) / 20  # 0 .. 1.5
WEIGHTS = STRENGTHS[:21:2]  # 0 .. 1
SHOWN = (0, 2, 5, 8, 10)  # of the weights, in the figure
VISIBLE = 4.0  # mean squared error, 8-bit units, that tells two pictures apart
MIXED, ELSEWHERE, TRUE = CURVES = (
  'maps mixed',
  'maps mixed, from another picture',
  'map of the true blur of strength w',
)


class Renderings(NamedTuple):
  """One picture under motions of known strength.

  Attributes:
    pictures: (K, S, S, 3) uint8.
    strengths: (K,), shares of the true motion.
    extents: (K,), mean path length, px.
  """

  pictures: np.ndarray
  strengths: np.ndarray
  extents: np.ndarray

  def at(self, strength: float) -> np.ndarray:
    """The picture under the first motion of a strength."""
    return self.pictures[np.argmax(self.strengths == strength)]

  def nearest(self, pictures: np.ndarray) -> np.ndarray:
    """Numbers (N,) of the renderings nearest to pictures (N, S, S, 3), mean squared error."""
    known = self.pictures.reshape(len(self.pictures), -1).astype(np.float64)
    sought = pictures.reshape(len(pictures), -1).astype(np.float64)
    return ((known**2).sum(1) - 2 * sought @ known.T).argmin(1)


def render(sources: Sequence[Any], item: int, picture: np.ndarray) -> Renderings:
  """An item's field on a picture, by the sources of all `STRENGTHS`."""
  scenes = study.stacked(source.example(item, picture) for source in sources)
  return Renderings(scenes.blurry, STRENGTHS, scenes.extent.mean((1, 2)))


def mix(first: np.ndarray, second: np.ndarray, weights: np.ndarray = WEIGHTS) -> np.ndarray:
  """(1 - w) first + w second, (K, ...) for weights (K,)."""
  weights = weights.reshape(-1, *[1] * first.ndim).astype(np.float32)
  return (1 - weights) * first + weights * second


def position(pictures: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
  """How far along the way from one picture to another each of (N, S, S, 3) lies: 0 at `start`, 1 at
  `end`, of its projection onto the line through both."""
  way = (end.astype(np.float64) - start).ravel()
  return (pictures.astype(np.float64) - start).reshape(len(pictures), -1) @ way / (way @ way)


def rank_correlation(weights: np.ndarray, values: np.ndarray) -> float:
  """Spearman's rho; 0 where the values do not vary."""
  return float(stats.spearmanr(weights, values).statistic) if np.ptp(values) else 0.0


def course(curves: np.ndarray, weights: np.ndarray = WEIGHTS) -> dict[str, Any]:
  """How measured values (N, K) of N scenes run over the weights (K,)."""
  return {
    'mean': curves.mean(0).tolist(),
    'quartiles': np.percentile(curves, (25, 75), axis=0).tolist(),
    'spearman_mean': float(np.mean([rank_correlation(weights, curve) for curve in curves])),
    'spearman_of_mean': rank_correlation(weights, curves.mean(0)),
    'never_falls': float((np.diff(curves) >= 0).all(1).mean()),
  }


class Blended(NamedTuple):
  """What one net makes of mixed maps.

  Attributes:
    curves: by the names of `CURVES`, strengths (scenes, weights); scenes and pairs in the order of
      their extents.
    extents, positions: between two blurs, (pairs, weights): mean extent of the nearest rendering,
      px, and share of the way between the true pictures.
    ends: (pairs, 2), mean extents of the two blurs, px.
    strips: pictures of one scene by what they show, (weights, S, S, 3) each.
  """

  curves: dict[str, np.ndarray]
  extents: np.ndarray
  positions: np.ndarray
  ends: np.ndarray
  strips: dict[str, np.ndarray]

  def summary(self) -> dict[str, Any]:
    """Numbers for the report."""
    return {
      'strength': {name: course(curve) for name, curve in self.curves.items()},
      'between': {
        'true_extents_px': self.ends.mean(0).tolist(),
        'extent_px': course(self.extents),
        'position': course(self.positions),
      },
    }


def told_apart(a: np.ndarray, b: np.ndarray) -> float:
  """Mean squared error of two pictures, 8-bit units, by `VISIBLE`: 1 and more can be seen."""
  return float(np.mean((a.astype(np.float64) - b) ** 2)) / VISIBLE


def mixing(args: argparse.Namespace, nets: Mapping[str, study.Trained]) -> dict[str, Blended]:
  """Mixed maps of the held-out scenes whose motion can be seen, by every net; without noise, which
  is no part of a strength.

  Raises:
    UserError: too few such scenes, or photographs.
  """
  sources = [fields.fields(args, 'test', args.scenes, s, noise=False) for s in STRENGTHS]
  plain = fields.fields(args, 'test', args.scenes, noise=False)
  own, others = fields.all_scenes(plain), fields.of_others(fields.photographs(plain), args.scenes)
  extents = own.extent.mean((1, 2))
  maps = {name: (net.maps(own.sharp), net.maps(own.blurry)) for name, net in nets.items()}
  curves: dict[str, dict[str, list]] = {name: {curve: [] for curve in CURVES} for name in nets}
  strips: dict[str, dict[str, np.ndarray]] = {name: {} for name in nets}
  seen: list[int] = []
  for number in np.argsort(extents, kind='stable'):
    other = others[number]
    here, there = (render(sources, number, own.sharp[i]) for i in (number, other))
    if min(told_apart(known.at(0), known.at(1)) for known in (here, there)) < 1:
      continue
    seen.append(number)
    true = here.pictures[: 2 * len(WEIGHTS) : 2]
    for name, net in nets.items():
      mixed = mix(maps[name][0][number], maps[name][1][number])
      for curve, known, sharp, given in (
        (MIXED, here, own.sharp[number], mixed),
        (ELSEWHERE, there, own.sharp[other], mixed),
        (TRUE, here, own.sharp[number], net.maps(true)),
      ):
        pictures = net.reblur(np.broadcast_to(sharp, (len(given), *sharp.shape)), given)
        curves[name][curve].append(STRENGTHS[known.nearest(pictures)])
        if extents[number] <= np.quantile(extents, 0.8):  # the last of these stays
          strips[name] |= {curve: pictures, 'true': true}
  half = len(seen) // 2
  between: dict[str, list] = {name: [] for name in nets}
  ends, widest = [], 1.0
  for weak, strong in zip(seen[:half], seen[len(seen) - half :], strict=True):
    sharp = own.sharp[weak]
    both = [render(sources, item, sharp) for item in (weak, strong)]
    known = Renderings(*map(np.concatenate, zip(*both, strict=True)))
    start, end = (of.at(1) for of in both)
    apart = told_apart(start, end)
    if apart < 1:
      continue
    ends.append(extents[[weak, strong]])
    for name, net in nets.items():
      pictures = net.reblur(
        np.broadcast_to(sharp, (len(WEIGHTS), *sharp.shape)), mix(*net.maps(np.stack([start, end])))
      )
      between[name].append((known.extents[known.nearest(pictures)], position(pictures, start, end)))
      if apart > widest:
        strips[name]['two'] = np.stack([start, *pictures[list(SHOWN)], end])
    widest = max(widest, apart)
  if not ends:
    raise UserError('too few of the scenes are blurred visibly: ask for more with --scenes.')
  return {
    name: Blended(
      {curve: np.array(values) for curve, values in curves[name].items()},
      *np.swapaxes(between[name], 0, 1),
      np.array(ends),
      strips[name],
    )
    for name in nets
  }


def rows_of(blended: Mapping[str, Blended]) -> list[dict[str, Any]]:
  """A row per net, scene or pair, and weight."""
  rows = []
  for net, of in blended.items():
    measures = {name: (curve, 'strength') for name, curve in of.curves.items()}
    measures |= {
      'between two blurs, extent': (of.extents, 'px'),
      'between two blurs, position': (of.positions, 'share'),
    }
    for name, (curves, unit) in measures.items():
      rows += [
        {'net': net, 'curve': name, 'scene': number, 'weight': w, 'value': x, 'unit': unit}
        for number, curve in enumerate(curves.tolist())
        for w, x in zip(WEIGHTS.tolist(), curve, strict=True)
      ]
  return rows
