"""Scores of whole pictures: held-out pairs in, per-picture scores, totals and pictures out."""

import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import numpy as np

from degrep_jax import checkpoints, metrics, parallel, tiles
from degrep_jax import config as configs
from degrep_jax.data.pairs import Pair, Source
from degrep_jax.data.preprocess import to_float, to_uint8
from degrep_jax.data.source import open_source
from degrep_jax.figures import panel
from degrep_jax.models import factory
from degrep_jax.progress import say, track
from degrep_jax.report import format_table, write_scores

METRICS = {'psnr': metrics.psnr, 'ssim_3d': metrics.ssim_3d, 'ssim_2d': metrics.ssim_2d}
PICTURES = ('deblurred', 'reblurred')
WINDOW = 256  # px of a picture that people are shown at most, or one tile

Predict = Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]]


def make_predict(network: nn.Module) -> Callable[[Any], Predict]:
  """The evaluation pass of a network, its method `restore`, compiled once for one size of batch.

  Returns:
    `bind(variables)` for replicated variables, which gives `predict(blurry, sharp)`: both
    `(B, tile, tile, 3)` float32 in [0, 1], B a multiple of the devices; the result holds
    'deblurred' and, of a joint net, 'reblurred' `(B, tile, tile, 3)`, and where there is a map
    'degradation_map' `(B, h, w, C)`.
  """

  def evaluate(variables, blurry, sharp):
    return network.apply(variables, blurry, sharp, method='restore')

  compiled = jax.pmap(evaluate, axis_name=parallel.AXIS)

  def bind(variables):
    def predict(blurry, sharp):
      return parallel.gather(compiled(variables, *parallel.shard((blurry, sharp))))

    return predict

  return bind


def _score(pair: Pair, restored: dict[str, np.ndarray]) -> dict[str, Any]:
  pictures = {name: to_uint8(picture) for name, picture in restored.items()}
  row: dict[str, Any] = {'name': pair.name}
  for name, metric in METRICS.items():
    row[f'blurry_{name}'] = metric(pair.blurry, pair.sharp)
    row[f'deblurred_{name}'] = metric(pictures['deblurred'], pair.sharp)
    if 'reblurred' in pictures:
      row[f'identity_{name}'] = row[f'blurry_{name}']  # the metrics are symmetric
      row[f'reblurred_{name}'] = metric(pictures['reblurred'], pair.blurry)
  return row


def scores(predict: Predict, source: Source, *, tile: int, batch: int) -> Iterator[dict[str, Any]]:
  """Per-picture scores of every pair of `source`, whole, in the released protocol.

  Tiles through the whole net (E sees the tile), overlaps averaged, clipped, rounded to 8 bits.

  Args:
    predict: see `make_predict`.
    source: the held-out pairs.
    tile: side of the tiles, pixels.
    batch: tiles per call of `predict`.

  Yields:
    'name', and `<row>_<metric>` for the rows blurry, deblurred (against sharp) and, of a joint net,
    identity (sharp as if it were the reblurred picture) and reblurred (against blurry).
  """
  waiting: list[Pair] = []  # cut into tiles already, not yet scored

  def examples() -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for item in range(len(source)):
      waiting.append(source.pair(item))
      yield to_float(waiting[-1].blurry), to_float(waiting[-1].sharp)

  def pictures_alone(blurry, sharp):
    answer = predict(blurry, sharp)
    return {name: answer[name] for name in PICTURES if name in answer}

  for restored in tiles.restore_many(pictures_alone, examples(), tile=tile, batch=batch):
    yield _score(waiting.pop(0), restored)


def _window(picture: np.ndarray, rows: int, columns: int, tile: int) -> list[np.ndarray]:
  """The middle of a picture, mirrored where it is too small, as `rows * columns` tiles."""
  missing = [max(0, n * tile - s) for n, s in zip((rows, columns), picture.shape, strict=False)]
  picture = np.pad(picture, (*((0, n) for n in missing), (0, 0)), 'symmetric')
  top, left = (picture.shape[0] - rows * tile) // 2, (picture.shape[1] - columns * tile) // 2
  return [
    picture[top + r * tile :, left + c * tile :][:tile, :tile]
    for r in range(rows)
    for c in range(columns)
  ]


def _joined(parts: list[np.ndarray], rows: int) -> np.ndarray:
  """`rows * columns` parts `(h, w, C)`, row by row, as one `(rows h, columns w, C)`."""
  columns = len(parts) // rows
  return np.vstack([np.hstack(parts[r * columns : (r + 1) * columns]) for r in range(rows)])


def samples(
  predict: Predict, source: Source, items: Iterable[int], *, tile: int, batch: int
) -> list[dict[str, Any]]:
  """The middle of some pairs for people to look at, whole tiles within `WINDOW`.

  Returns:
    Per item 'name', 'sharp', 'blurry' and what `predict` gives: 'deblurred', 'reblurred'
    `(H, W, 3)` uint8, 'degradation_map' `(h, w, C)` and 'map_tile', (h, w) of one tile's map.
  """
  examples = []
  for item in items:
    pair = source.pair(item)
    most = max(1, WINDOW // tile)
    rows, columns = (min(most, max(1, side // tile)) for side in pair.sharp.shape[:2])
    parts: dict[str, list[np.ndarray]] = {
      name: _window(picture, rows, columns, tile)
      for name, picture in (('blurry', pair.blurry), ('sharp', pair.sharp))
    }
    cut = zip(map(to_float, parts['blurry']), map(to_float, parts['sharp']), strict=True)
    for answer in tiles.predict_each(predict, cut, batch):
      for name, part in answer.items():
        parts.setdefault(name, []).append(to_uint8(part) if name in PICTURES else part)
    joined: dict[str, Any] = {name: _joined(part, rows) for name, part in parts.items()}
    if 'degradation_map' in parts:
      joined['map_tile'] = parts['degradation_map'][0].shape[:2]
    examples.append({'name': pair.name, **joined})
  return examples


class Evaluator:
  """The held-out pairs and the compiled pass that scores them.

  Args:
    network: a `JointNet`, `MSDINet` or `HINet`.
    source: the held-out pairs.
    tile: side of the tiles of whole pictures, pixels.
    batch: tiles per pass, a multiple of the devices.
  """

  def __init__(self, network: nn.Module, source: Source, *, tile: int, batch: int):
    self._bind = make_predict(network)
    self._source = source
    self._size = {'tile': tile, 'batch': batch}

  def scores(self, variables: Any, directory: pathlib.Path, stem: str) -> dict[str, float]:
    """Scores every pair, writes `<stem>.csv` and `<stem>.json`, and returns the means.

    Args:
      variables: of the network, replicated over the devices.
      directory: where the two files go.
      stem: of their names.
    """
    rows = scores(self._bind(variables), self._source, **self._size)
    return write_scores(list(track(rows, 'evaluating', len(self._source))), directory, stem)

  def samples(self, variables: Any, count: int = 4) -> list[dict[str, Any]]:
    """`samples` of `count` pairs, spread evenly over the source."""
    last = len(self._source) - 1
    items = sorted({round(i) for i in np.linspace(0, last, count)})
    return samples(self._bind(variables), self._source, items, **self._size)


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
  configs.check_evaluation(config, jax.device_count())
  configs.require_same_model(workdir, config)
  source = open_source(config.data, 'test')
  saved = checkpoints.load(workdir, step)
  variables = checkpoints.variables(saved)
  network = factory.build_network(config.model)
  tile = config.eval.tile
  picture = jax.ShapeDtypeStruct((1, tile, tile, 3), np.float32)
  expected = jax.eval_shape(
    functools.partial(network.init, method='restore'), jax.random.key(0), picture, picture
  )
  checkpoints.require_same_shapes(workdir, variables, expected)
  evaluator = Evaluator(network, source, tile=tile, batch=config.eval.batch_size)
  variables = parallel.replicate(variables)
  totals = evaluator.scores(variables, workdir, 'evaluation')
  panel(evaluator.samples(variables), workdir / 'evaluation.png')
  say(f'step {int(saved["step"])}\n{format_table(totals)}')
  return totals
