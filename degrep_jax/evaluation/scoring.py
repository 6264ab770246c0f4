"""Held-out pictures restored by several methods, scored by one protocol: a paper's table.

What restores them stands in `methods`; a run's own evaluation (`held_out`) comes through here, too.
Everything that is scored is 8 bits, as it would be saved.
"""

import dataclasses
import importlib.metadata
import pathlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from degrep_jax import metrics
from degrep_jax.common import threads
from degrep_jax.common.console import track
from degrep_jax.common.errors import UserError
from degrep_jax.common.files import write_json
from degrep_jax.common.pixels import write_png
from degrep_jax.data.pairs import Pair, Source
from degrep_jax.evaluation import bootstrap, means
from degrep_jax.evaluation.methods import (
  BASES,
  BLURRY,
  IDENTITY,
  BlurryInput,
  Checkpoint,
  Method,
  RestoredFolder,
  labels_of,
  sharp_pictures,
)
from degrep_jax.evaluation.tables import write_csv

# `degrep_jax.scoring` has all that a comparison takes.
__all__ = [
  'BASES',
  'BLURRY',
  'IDENTITY',
  'BlurryInput',
  'Checkpoint',
  'Method',
  'Protocol',
  'RestoredFolder',
  'Scores',
  'labels_of',
  'score',
  'sharp_pictures',
  'summary',
  'versions',
  'write',
]
MEASURED_BY = ('jax', 'flax', 'numpy', 'scipy', 'scikit-image', 'opencv-python-headless')


@dataclasses.dataclass(frozen=True)
class Protocol:
  """How pictures are restored and scored.

  Attributes:
    name: 'released', 'full_frame' or 'realblur'; the last scores after `metrics.align`.
    restoring: `Checkpoint.settings`; empty where nothing is restored here.
    crop_border: px that are not scored at every side.
    luma: whether luma is scored instead of RGB.
  """

  name: str = 'released'
  restoring: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  crop_border: int = 0
  luma: bool = False

  @property
  def metrics(self) -> tuple[str, ...]:
    """Their names."""
    return ('psnr', 'ssim_2d') if self.name == 'realblur' else ('psnr', 'ssim_3d', 'ssim_2d')

  def score(self, picture: np.ndarray, sharp: np.ndarray) -> dict[str, float | None]:
    """The metrics of a picture, both uint8 (H, W, 3); None for SSIM where its window does not fit.

    Raises:
      ValueError: as the metrics do.
      AlignmentError: the picture cannot be laid over the sharp one.
    """
    fits = metrics.has_window(sharp.shape, self.crop_border)
    if self.name == 'realblur':
      if not fits:
        raise metrics.AlignmentError(f'it is smaller than {metrics.SIDE} px')
      return {**metrics.realblur(picture, sharp)}
    options: dict[str, Any] = {'crop_border': self.crop_border, 'luma': self.luma}
    return {
      name: getattr(metrics, name)(picture, sharp, **options) if name == 'psnr' or fits else None
      for name in self.metrics
    }

  def about(self) -> dict[str, Any]:
    """In words and numbers, for the file of the scores."""
    return {
      'name': self.name,
      **self.restoring,
      'rounding': 'clipped to 0 .. 255 and rounded to 8 bits before scoring',
      'channels': 'Y of BT.601, not rounded' if self.luma else 'RGB',
      'crop_border': self.crop_border,
      'alignment': 'OpenCV ECC, as rimchang/RealBlur' if self.name == 'realblur' else None,
    }


@dataclasses.dataclass
class Scores:
  """What was measured.

  Attributes:
    rows: per picture 'name' and `<label>_<metric>`, None where an alignment failed or a picture is
      too small for SSIM.
    methods: the labels of the rows of the table, in order.
    metrics: their names.
    failed: label to {picture: why it could not be aligned}.
    compared: label to what it was compared with, where that is not 'sharp'.
  """

  rows: list[dict[str, Any]]
  methods: list[str]
  metrics: tuple[str, ...]
  failed: dict[str, dict[str, str]]
  compared: Mapping[str, str] = dataclasses.field(default_factory=dict)

  def column(self, label: str, metric: str) -> list[float | None]:
    """A score per picture."""
    return [row[f'{label}_{metric}'] for row in self.rows]

  def means(self, label: str) -> dict[str, float | None]:
    """The mean of every metric over the pictures that have it, see `means.mean`."""
    return {metric: means.mean(self.rows, f'{label}_{metric}') for metric in self.metrics}

  def totals(self) -> dict[str, float]:
    """Numbers alone: the 'count' of pictures, `<label>_<metric>`, the means that there are, and how
    many pictures are 'identical' or 'without_ssim', where any are."""
    found: dict[str, float] = {'count': len(self.rows)}
    for label in self.methods:
      for metric, mean in self.means(label).items():
        found |= {} if mean is None else {f'{label}_{metric}': mean}
    if any(np.isnan(mean) for mean in found.values()):
      raise ValueError(f'not a number among the scores: {found}')
    left_out = {
      'identical': means.identical(self.rows),
      'without_ssim': means.without_ssim(self.rows),
    }
    return found | {name: len(pictures) for name, pictures in left_out.items() if pictures}

  def gain(self, label: str) -> dict[str, Any] | None:
    """The PSNR of a method less that of the picture that nobody touched, as `bootstrap.Difference`;
    None where that was not scored, or no picture has both."""
    base = BASES[self.compared.get(label, 'sharp')]
    if base not in self.methods or label == base:
      return None
    difference = self._difference(label, base, 'psnr')
    return difference and difference._asdict()

  def _difference(self, label: str, other: str, metric: str) -> bootstrap.Difference | None:
    """Over the pictures that the means are over."""
    columns = [f'{name}_{metric}' for name in (label, other)]
    rows = means.comparable(self.rows, columns[0])
    return bootstrap.paired_difference(*([row[column] for row in rows] for column in columns))

  def differences(self) -> list[dict[str, Any]]:
    """The first method that deblurs less each of the others, metric by metric."""
    deblurring = [label for label in self.methods if self.compared.get(label, 'sharp') == 'sharp']
    restored = [label for label in deblurring if label != BLURRY]
    found = []
    for other in restored[1:]:
      for metric in self.metrics:
        difference = self._difference(restored[0], other, metric)
        if difference is not None:
          about = {'method': restored[0], 'against': other, 'metric': metric}
          found.append(about | difference._asdict())
    return found


class _Once(Source):
  """A source whose pairs are kept, once they are read, until they are scored."""

  def __init__(self, source: Source):
    self._source, self.names = source, source.names
    self._kept: dict[int, Pair] = {}

  def __len__(self) -> int:
    return len(self._source)

  def pair(self, item: int) -> Pair:
    if item not in self._kept:
      self._kept[item] = self._source.pair(item)
    return self._kept[item]

  def crop(self, item: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return self._source.crop(item, size, rng)

  def last(self, item: int) -> Pair:
    """A pair that nobody asks for again."""
    return self._kept.pop(item, None) or self._source.pair(item)


def score(
  source: Source,
  methods: Sequence[Method],
  protocol: Protocol,
  save: pathlib.Path | None = None,
  check: Callable[[], None] = lambda: None,
  known: dict[tuple[str, str], dict[str, float | None]] | None = None,
) -> Scores:
  """Scores every picture of every method, one method after the other.

  Scoring runs in threads beside the network; the order of the rows is that of the pairs. A method
  reads every pair once.

  Args:
    source: the held-out pairs.
    methods: what restores them.
    protocol: of the scores.
    save: folder for the pictures of the checkpoints as PNG, in a folder per method where there are
      several.
    check: called after each pair; what it raises ends the scoring.
    known: scores of untouched pictures by label and the pair's name; those that lack are added.

  Raises:
    UserError: a picture that cannot be read, scored or written.
  """
  compared = {label: of for method in methods for label, of in method.compared.items()}
  columns = [f'{label}_{metric}' for label in compared for metric in protocol.metrics]
  rows: list[dict[str, Any]] = [{'name': name} | dict.fromkeys(columns) for name in source.names]
  failed: dict[str, dict[str, str]] = {}
  known = {} if known is None else known
  saving = [method.label for method in methods if method.saves]
  if save is not None:
    _require_inside(save, source.names)

  def scored(label: str, picture: np.ndarray, pair: Pair) -> dict[str, float | None] | str:
    try:
      return protocol.score(picture, getattr(pair, compared[label]))
    except metrics.AlignmentError as error:
      return str(error)
    except ValueError as error:
      raise UserError(f'{pair.name} of {label}: {error}.') from error

  def measured(
    work: tuple[Method, int, _Once, dict[str, np.ndarray]],
  ) -> tuple[int, dict[str, dict[str, float | None] | str]]:
    method, item, read, pictures = work
    pair = read.last(item)
    found: dict[str, dict[str, float | None] | str] = {}
    for label, picture in pictures.items():
      if save is not None and method.saves:
        folder = save / _file_name(label) if len(saving) > 1 else save
        write_png(folder / f'{pair.name}.png', picture)
      result = known.get((label, pair.name)) or scored(label, picture, pair)
      if label in method.untouched and not isinstance(result, str):
        known[label, pair.name] = result
      found[label] = result
    return item, found

  def work() -> Iterator[tuple[Method, int, _Once, dict[str, np.ndarray]]]:
    # What is restored already comes first: if one of its files is wrong, little time is lost.
    for method in sorted(methods, key=lambda method: method.saves):
      read = _Once(source)
      for item, pictures in enumerate(method.restore(read)):
        yield method, item, read, pictures

  results = threads.map_ahead(measured, work(), metrics.THREADS, ahead=metrics.THREADS)
  for item, found in track(results, 'evaluating', len(source) * len(methods)):
    for label, result in found.items():
      if isinstance(result, str):
        failed.setdefault(label, {})[source.names[item]] = result
      else:
        rows[item] |= {f'{label}_{metric}': value for metric, value in result.items()}
    check()
  others = {label: of for label, of in compared.items() if of != 'sharp'}
  return Scores(rows, [*compared], protocol.metrics, failed, others)


def _require_inside(folder, names):
  """Raises UserError where a pair's name, taken as a path, leads out of the folder."""
  for name in names:
    path = pathlib.PurePosixPath(name)
    if path.is_absolute() or '..' in path.parts:
      raise UserError(f'{name} cannot be saved below {folder}: its path leads elsewhere.')


def _file_name(label):
  return label.strip('/').replace('/', '_')


def summary(
  scores: Scores, methods: Sequence[Method], protocol: Protocol, dataset: str
) -> dict[str, Any]:
  """What is known of a comparison but for the single pictures: settings, means, differences."""
  rows = [
    {
      'label': label,
      **({'kind': 'input'} if label in method.untouched else method.about()),
      'means': scores.means(label),
      'gain': scores.gain(label),
      'failed_alignments': scores.failed.get(label, {}),
    }
    for method in methods
    for label in method.compared
  ]
  return {
    'dataset': dataset,
    'pictures': len(scores.rows),
    'identical': means.identical(scores.rows),
    'without_ssim': means.without_ssim(scores.rows),
    'protocol': protocol.about(),
    'methods': rows,
    'differences': scores.differences(),
    'intervals': f'paired bootstrap over pictures: {bootstrap.CONFIDENCE:.0%}, percentiles of '
    f'{bootstrap.RESAMPLES} resamples, seed {bootstrap.SEED}',
    'versions': versions(),
  }


def write(
  directory: pathlib.Path,
  scores: Scores,
  methods: Sequence[Method],
  protocol: Protocol,
  dataset: str,
  stem: str = 'scores',
) -> dict[str, Any]:
  """Writes <stem>.csv, a line per picture, and <stem>.json, the `totals` and the `summary`; returns
  the latter.

  Raises:
    ValueError: no pictures, or a score that is not a number.
    UserError: the folder cannot be written.
  """
  totals, found = scores.totals(), summary(scores, methods, protocol, dataset)
  write_csv(directory / f'{stem}.csv', scores.rows)
  write_json(directory / f'{stem}.json', totals | found)
  return found


def versions() -> dict[str, str]:
  """Of this package, Python and what the scores depend on, as far as installed."""
  found = {'python': platform.python_version()}
  for name in ('degrep_jax', *MEASURED_BY):
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = 'not installed'
  return found
