"""Sharpening without learning, its parameters chosen on training pairs."""

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from skimage import filters, restoration

from degrep_jax import metrics
from degrep_jax.common.pixels import to_float, to_uint8
from degrep_jax.data.pairs import Source
from degrep_jax.evaluation import scoring

TUNED_ON = 4  # pairs
UNSHARP, DECONVOLVED = 'unsharp mask', 'Gaussian deconvolution'
UNSHARP_GRID = list(itertools.product((1, 2, 4, 8), (0.25, 0.5, 1.0, 2.0)))  # radius, amount
DECONVOLVED_GRID = [
  *itertools.product(['richardson_lucy'], (0.6, 1.0, 1.5, 2.0), (3, 10)),  # sigma, iterations
  *itertools.product(['wiener'], (0.6, 1.0, 1.5, 2.0), (0.03, 0.1, 0.3)),  # sigma, balance
]


def unsharp(picture: np.ndarray, radius: float, amount: float) -> np.ndarray:
  """Unsharp masking of a picture (H, W, 3) uint8, by a Gaussian of `radius` px."""
  x = to_float(picture)
  return to_uint8(x + amount * (x - filters.gaussian(x, radius, channel_axis=-1)))


def deconvolved(picture: np.ndarray, method: str, sigma: float, setting: float) -> np.ndarray:
  """A picture (H, W, 3) uint8 with a Gaussian's blur taken off, mirrored at its edges."""
  radius = int(np.ceil(4 * sigma))
  y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
  psf = np.exp(-(x**2 + y**2) / (2 * sigma**2))
  psf /= psf.sum()
  edge = 2 * radius
  wide = np.pad(to_float(picture), ((edge, edge), (edge, edge), (0, 0)), mode='symmetric')
  if method == 'wiener':
    run = functools.partial(restoration.wiener, psf=psf, balance=setting)
  else:
    run = functools.partial(restoration.richardson_lucy, psf=psf, num_iter=int(setting))
  restored = np.stack([run(wide[..., i]) for i in range(3)], axis=-1)
  return to_uint8(np.clip(restored, 0, 1)[edge:-edge, edge:-edge].astype(np.float32))


class Filter(scoring.Method):
  """A function of the blurry picture."""

  def __init__(self, label: str, function: Callable[[np.ndarray], np.ndarray], setting: Any):
    super().__init__(label)
    self._function, self._setting = function, setting

  def about(self) -> dict[str, Any]:
    """The parameters."""
    return {'kind': 'filter', 'setting': self._setting}

  def restore(self, source: Source) -> Iterator[dict[str, np.ndarray]]:
    """Yields the filtered picture of every pair."""
    for item in range(len(source)):
      yield {self.label: self._function(source.pair(item).blurry)}


METHODS = {UNSHARP: (unsharp, UNSHARP_GRID), DECONVOLVED: (deconvolved, DECONVOLVED_GRID)}


def tuned(label: str, source: Source) -> tuple[Any, ...]:
  """The parameters of one of `METHODS` with the highest mean PSNR over some pairs of a source."""
  function, grid = METHODS[label]
  pairs = [source.pair(i) for i in np.linspace(0, len(source) - 1, TUNED_ON).astype(int)]

  def score(setting: tuple[Any, ...]) -> float:
    return float(
      np.mean([metrics.psnr(function(pair.blurry, *setting), pair.sharp) for pair in pairs])
    )

  return max(grid, key=score)


def method(label: str, setting: tuple[Any, ...]) -> Filter:
  """One of `METHODS` with its parameters."""
  function, _ = METHODS[label]
  return Filter(label, lambda picture: function(picture, *setting), setting)
