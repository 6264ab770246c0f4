"""A run's own evaluation: its held-out pairs through its network, scored, written and shown."""

import itertools
import pathlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import ml_collections
import numpy as np

from degrep_jax import run_config as configs
from degrep_jax.common.console import say
from degrep_jax.common.pixels import to_uint8
from degrep_jax.data.mixture import parts_of
from degrep_jax.data.pairs import Source
from degrep_jax.data.source import open_source
from degrep_jax.evaluation import scoring
from degrep_jax.evaluation.means import remarks
from degrep_jax.evaluation.panel import panel
from degrep_jax.evaluation.tables import format_table
from degrep_jax.inference.restorer import Restorer

PICTURES = {'deblurred': 'sharp', 'reblurred': 'blurry'}  # what they are compared with
WINDOW = 256  # px of a picture that people are shown at most, or one tile

# Scores of what never changes, see `scoring.score`.
Known = dict[tuple[str, str], dict[str, float | None]]


def _pictures(restorer: Restorer) -> tuple[str, ...]:
  """What a network restores."""
  return tuple(PICTURES) if restorer.can_reblur else ('deblurred',)


class OwnNetwork(scoring.Checkpoint):
  """All that the network of a run makes of a pair, each beside what it is to be better than.

  The rows are blurry and deblurred (against sharp) and, of a joint net, identity (sharp as if it
  were the reblurred picture) and reblurred (against blurry).

  Args:
    restorer: of the network. In its mode 'tiles' it gives the released protocol: tiles through the
      whole net (E sees the tile), overlaps averaged.
  """

  saves = False

  def __init__(self, restorer: Restorer):
    super().__init__('deblurred', restorer)
    made = {name: PICTURES[name] for name in _pictures(restorer)}
    self.compared = {
      label: of for name, of in made.items() for label, of in ((scoring.BASES[of], of), (name, of))
    }
    self.untouched = tuple(scoring.BASES[of] for of in made.values())

  def restore(self, source: Source) -> Iterator[dict[str, np.ndarray]]:
    """Yields the pictures of every row, of every pair; a pair is read once."""
    pairs, read = itertools.tee(map(source.pair, range(len(source))))
    sharp = None
    if self._restorer.can_reblur:
      read, partners = itertools.tee(read)
      sharp = (pair.sharp for pair in partners)
    blurry = (pair.blurry for pair in read)
    results = self._restorer.apply(blurry, sharp, outputs=_pictures(self._restorer))
    for pair, restored in zip(pairs, results, strict=True):
      shown = {scoring.BLURRY: pair.blurry, scoring.IDENTITY: pair.sharp}
      shown |= {name: to_uint8(picture) for name, picture in restored.items()}
      yield {label: shown[label] for label in self.compared}


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
  dataset: str,
  check: Callable[[], None] = lambda: None,
  known: Known | None = None,
) -> dict[str, float]:
  """Scores every pair, writes `<stem>.csv` and `<stem>.json` and returns the `totals`.

  Args:
    restorer: of the network.
    source: the held-out pairs.
    directory, stem: of the two files, see `scoring.write`.
    dataset: what the pairs are called there.
    check, known: see `scoring.score`; of an evaluation that is broken off nothing is written.

  Raises:
    UserError: a picture that cannot be read, or a folder that cannot be written.
  """
  own = OwnNetwork(restorer)
  protocol = scoring.Protocol(restoring=own.settings)
  scores = scoring.score(source, [own], protocol, check=check, known=known)
  for sentence in remarks(scores.rows):
    say(sentence)
  scoring.write(directory, scores, [own], protocol, dataset, stem)
  return scores.totals()


def dataset_of(data: ml_collections.ConfigDict) -> str:
  """What the held-out pairs of a config are called: their folder, what names them in it, or the
  source that makes them; of a mixture, part by part."""
  if data.source == 'mixture':
    parts = {name: part for name, part in parts_of(data).items() if part.evaluate}
    return ', '.join(f'{name}: {dataset_of(part)}' for name, part in parts.items())
  folder = data.eval_root or data.root or data.photographs
  if not folder:
    return data.source
  named = {'tfds': data.name, 'list': data.list_name}.get(data.source)
  place = str(pathlib.Path(folder).absolute())
  return f'{named} in {place}' if named else place


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
    dataset: what they are called.
    tile: side of the tiles of whole pictures, pixels.
    batch: tiles per pass, a multiple of the devices.
  """

  def __init__(
    self, network: nn.Module, source: Source, *, dataset: str = '', tile: int, batch: int
  ):
    self._restorer = Restorer(network, None, mode='tiles', tile=tile, batch=batch)
    self._source, self._dataset = source, dataset
    self._known: Known = {}

  def scores(
    self,
    variables: Any,
    directory: pathlib.Path,
    stem: str,
    check: Callable[[], None] = lambda: None,
    about: dict[str, Any] | None = None,
  ) -> dict[str, float]:
    """`write_evaluation` by the network's variables, with what is known `about` them, see
    `Restorer.about`; nothing is compiled but the first time."""
    restorer = self._restorer.with_variables(variables)
    restorer.about |= about or {}
    return write_evaluation(
      restorer, self._source, directory, stem, self._dataset, check, self._known
    )

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
  trained_by = configs.require_same_model(workdir, config)
  source = open_source(config.data, 'test')
  restorer = Restorer.from_checkpoint(
    workdir, step=step, config=config, mode='tiles', batch=config.eval.batch_size
  )
  if trained_by:  # what the network learned by stands beside its scores
    restorer.about['config'] = trained_by
  totals = write_evaluation(restorer, source, workdir, 'evaluation', dataset_of(config.data))
  panel(spread_samples(restorer, source), workdir / 'evaluation.png')
  say(f'step {restorer.about["step"]}\n{format_table(totals)}')
  return totals
