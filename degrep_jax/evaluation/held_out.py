"""Scores of whole pictures: held-out pairs in, per-picture scores, totals and pictures out."""

import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import numpy as np

from degrep_jax import metrics
from degrep_jax import run_config as configs
from degrep_jax.common import threads
from degrep_jax.common.console import say, track
from degrep_jax.common.pixels import to_uint8
from degrep_jax.data.pairs import Pair, Source
from degrep_jax.data.source import open_source
from degrep_jax.evaluation.means import remarks
from degrep_jax.evaluation.panel import panel
from degrep_jax.evaluation.tables import format_table, write_scores
from degrep_jax.inference.restorer import Restorer

METRICS = {'psnr': metrics.psnr, 'ssim_3d': metrics.ssim_3d, 'ssim_2d': metrics.ssim_2d}
PICTURES = ('deblurred', 'reblurred')
WINDOW = 256  # px of a picture that people are shown at most, or one tile


def _pictures(restorer: Restorer) -> tuple[str, ...]:
  """What a network restores."""
  return PICTURES if restorer.can_reblur else PICTURES[:1]


def _score(
  pair: Pair, restored: dict[str, np.ndarray], known: dict[str, dict[str, float | None]]
) -> dict[str, Any]:
  pictures = {name: to_uint8(picture) for name, picture in restored.items()}
  row: dict[str, Any] = {'name': pair.name}
  blurry = known.setdefault(pair.name, {})
  fits = metrics.has_window(pair.sharp.shape)
  for name, metric in METRICS.items():
    score = metric if name == 'psnr' or fits else _none
    if name not in blurry:
      blurry[name] = score(pair.blurry, pair.sharp)
    row[f'blurry_{name}'] = blurry[name]
    row[f'deblurred_{name}'] = score(pictures['deblurred'], pair.sharp)
    if 'reblurred' in pictures:
      row[f'identity_{name}'] = row[f'blurry_{name}']  # the metrics are symmetric
      row[f'reblurred_{name}'] = score(pictures['reblurred'], pair.blurry)
  return row


def _none(*_: np.ndarray) -> None:
  """What SSIM is where its window does not fit."""


def scores(
  restorer: Restorer, source: Source, known: dict[str, dict[str, float | None]] | None = None
) -> Iterator[dict[str, Any]]:
  """Per-picture scores of every pair of `source`, whole, clipped and rounded to 8 bits.

  A restorer in its mode 'tiles' gives the released protocol: tiles through the whole net (E sees
  the tile), overlaps averaged. Scoring runs in threads beside the network.

  Args:
    restorer: of the network.
    source: the pairs.
    known: scores of the blurry pictures by the pair's name; those that lack are added.

  Yields:
    'name', and `<row>_<metric>` for the rows blurry, deblurred (against sharp) and, of a joint net,
    identity (sharp as if it were the reblurred picture) and reblurred (against blurry); None for
    SSIM where its window does not fit into the picture.

  Raises:
    UserError: a picture that cannot be read.
  """
  scored = {} if known is None else known
  # Pairs are read once and kept until they are scored.
  pairs, read = itertools.tee(map(source.pair, range(len(source))))
  sharp = None
  if restorer.can_reblur:
    read, partners = itertools.tee(read)
    sharp = (pair.sharp for pair in partners)
  results = restorer.apply((pair.blurry for pair in read), sharp, outputs=_pictures(restorer))
  yield from threads.map_ahead(
    lambda restored: _score(*restored, scored),
    zip(pairs, results, strict=True),
    metrics.THREADS,
    ahead=metrics.THREADS,
  )


def _window(picture: np.ndarray, height: int, width: int) -> np.ndarray:
  """The middle of a picture, mirrored where it is too small."""
  missing = [max(0, n - s) for n, s in zip((height, width), picture.shape, strict=False)]
  picture = np.pad(picture, (*((0, n) for n in missing), (0, 0)), 'symmetric')
  top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
  return picture[top : top + height, left : left + width]


def samples(restorer: Restorer, source: Source, items: Iterable[int]) -> list[dict[str, Any]]:
  """The middle of some pairs for people to look at, whole tiles within `WINDOW`.

  Returns:
    Per item 'name', 'sharp', 'blurry', 'deblurred' and, of a joint net, 'reblurred' `(H, W, 3)`
    uint8; where there is a map 'degradation_map' `(h, w, C)` and 'map_tile', (h, w) of one tile's
    map.
  """
  tile, examples = restorer.tile, []
  for pair in map(source.pair, items):
    most = max(1, WINDOW // tile)
    height, width = (tile * min(most, max(1, side // tile)) for side in pair.sharp.shape[:2])
    shown = {'blurry': pair.blurry, 'sharp': pair.sharp}
    shown = {name: _window(picture, height, width) for name, picture in shown.items()}
    examples.append({'name': pair.name, **shown})
  blurry, sharp = ([example[name] for example in examples] for name in ('blurry', 'sharp'))
  results = restorer.apply(blurry, sharp, outputs=_pictures(restorer))
  for example, restored in zip(examples, results, strict=True):
    example |= {name: to_uint8(picture) for name, picture in restored.items()}
  if restorer.has_map:
    for example, map_ in zip(examples, restorer.degradation_map(blurry), strict=True):
      tiles = len(example['blurry']) // tile
      example |= {'degradation_map': map_, 'map_tile': (len(map_) // tiles,) * 2}
  return examples


def write_evaluation(
  restorer: Restorer,
  source: Source,
  directory: pathlib.Path,
  stem: str,
  check: Callable[[], None] = lambda: None,
  known: dict[str, dict[str, float | None]] | None = None,
) -> dict[str, float]:
  """Scores every pair, writes `<stem>.csv` and `<stem>.json`, and returns the means. `check` is
  called after each pair; what it raises ends the evaluation, of which nothing is written. `known`
  as in `scores`."""
  rows = []
  for row in track(scores(restorer, source, known), 'evaluating', len(source)):
    check()
    rows.append(row)
  for sentence in remarks(rows):
    say(sentence)
  return write_scores(rows, directory, stem)


def spread_samples(restorer: Restorer, source: Source, count: int = 4) -> list[dict[str, Any]]:
  """`samples` of `count` pairs, spread evenly over the source."""
  items = sorted({round(i) for i in np.linspace(0, len(source) - 1, count)})
  return samples(restorer, source, items)


class Evaluator:
  """The held-out pairs and the compiled passes that score them, again and again while a network
  learns.

  Args:
    network: of `factory.NETWORKS`.
    source: the held-out pairs.
    tile: side of the tiles of whole pictures, pixels.
    batch: tiles per pass, a multiple of the devices.
  """

  def __init__(self, network: nn.Module, source: Source, *, tile: int, batch: int):
    self._restorer = Restorer(network, None, mode='tiles', tile=tile, batch=batch)
    self._source = source
    # The blurry pictures' scores, which never change.
    self._known: dict[str, dict[str, float | None]] = {}

  def scores(
    self,
    variables: Any,
    directory: pathlib.Path,
    stem: str,
    check: Callable[[], None] = lambda: None,
  ) -> dict[str, float]:
    """`write_evaluation` by the network's variables; nothing is compiled but the first time."""
    restorer = self._restorer.with_variables(variables)
    return write_evaluation(restorer, self._source, directory, stem, check, self._known)

  def samples(self, variables: Any, count: int = 4) -> list[dict[str, Any]]:
    """`spread_samples` by the network's variables."""
    return spread_samples(self._restorer.with_variables(variables), self._source, count)


def evaluate_run(
  config: ml_collections.ConfigDict, workdir: pathlib.Path, step: int | None = None
) -> dict[str, float]:
  """Scores a checkpoint of a workdir: writes evaluation.csv, .json and .png there.

  Args:
    config: of the run; its data may be other than that of the training.
    workdir: of the run.
    step: of the checkpoint; None takes the newest.

  Raises:
    UserError: no checkpoint, one of another model than `config`, or pictures that cannot be used.
  """
  configs.check_evaluation(config, jax.local_device_count())
  configs.require_same_model(workdir, config)
  source = open_source(config.data, 'test')
  restorer = Restorer.from_checkpoint(
    workdir, step=step, config=config, mode='tiles', batch=config.eval.batch_size
  )
  totals = write_evaluation(restorer, source, workdir, 'evaluation')
  panel(spread_samples(restorer, source), workdir / 'evaluation.png')
  say(f'step {restorer.about["step"]}\n{format_table(totals)}')
  return totals
