"""Held-out pictures restored by several methods, scored by one protocol: a paper's table.

A method is a checkpoint of ours, or a folder of what any program has restored; the blurry input
stands beside them as it is. Everything that is scored is 8 bits, as it would be saved.
"""

import collections
import dataclasses
import importlib.metadata
import pathlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from degrep_jax import metrics
from degrep_jax.common import threads
from degrep_jax.common.console import track
from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import write_png
from degrep_jax.data.pairs import FilePairs, Source, read_picture
from degrep_jax.evaluation import bootstrap, means
from degrep_jax.evaluation.restored_folder import find_pictures, match_pictures
from degrep_jax.evaluation.tables import write_csv, write_json

BLURRY = 'blurry'  # the label of the input itself
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


class BlurryInput:
  """The method that leaves pictures as they are."""

  label = BLURRY
  saves = False

  def about(self) -> dict[str, Any]:
    """What the file of the scores says of it."""
    return {'kind': 'input'}

  def restore(self, source: Source) -> Iterator[np.ndarray]:
    """Yields a picture per pair, uint8 (H, W, 3)."""
    for item in range(len(source)):
      yield source.pair(item).blurry


class Checkpoint:
  """A network of ours.

  Args:
    label: in tables.
    restorer: a `Restorer`.
  """

  saves = True

  def __init__(self, label: str, restorer: Any):
    self.label, self._restorer = label, restorer

  @property
  def settings(self) -> dict[str, Any]:
    """What decides on the result besides the weights: mode, tile, dtype; of whole pictures also
    window (0: norms over all of it) and memory, bytes."""
    fields = ['mode', 'tile', 'dtype']
    if self._restorer.mode == 'full':
      fields += ['window', 'memory']
    return {field: getattr(self._restorer, field) for field in fields}

  def about(self) -> dict[str, Any]:
    """Path, step and config of the checkpoint, the number of parameters, and what multiplied."""
    known = self._restorer.about
    fields = ('checkpoint', 'step', 'parameters', 'config')
    precision = jax.config.jax_default_matmul_precision or 'default'  # type: ignore[attr-defined]
    by = {'platform': jax.default_backend(), 'matmul_precision': precision}
    return {'kind': 'checkpoint', **{field: known[field] for field in fields}, **by}

  def restore(self, source: Source) -> Iterator[np.ndarray]:
    """Yields the deblurred picture of every pair, uint8 (H, W, 3)."""
    yield from self._restorer.deblur(source.pair(item).blurry for item in range(len(source)))


class RestoredFolder:
  """Pictures that some program has restored.

  Args:
    label: in tables.
    root: folder of the pictures.
    source: whose pairs they must be.

  Raises:
    UserError: as `match_pictures`.
  """

  saves = False

  def __init__(self, label: str, root: pathlib.Path, source: Source):
    self.label, self._root = label, root
    self._files = match_pictures(root, source.names)

  def about(self) -> dict[str, Any]:
    """The folder."""
    return {'kind': 'restored', 'folder': str(self._root.absolute())}

  def restore(self, source: Source) -> Iterator[np.ndarray]:
    """Yields the restored picture of every pair, uint8 (H, W, 3).

    Raises:
      UserError: one that cannot be read.
    """
    for path in self._files:
      yield read_picture(path)


Method = BlurryInput | Checkpoint | RestoredFolder


def sharp_pictures(root: pathlib.Path) -> Source:
  """The pictures of a folder as the sharp ones of pairs whose blurry partners nobody asks for.

  Raises:
    UserError: no folder, nothing in it, two files of one name, or a file that is no picture.
  """
  found = find_pictures(root)
  files = {path.relative_to(root).with_suffix('').as_posix(): path for path in found}
  if len(files) < len(found):
    raise UserError(f'{root} has pictures whose names differ in the suffix alone: keep one each.')
  return FilePairs([(name, path, path) for name, path in files.items()], cache_bytes=0)


def labels_of(paths: Sequence[pathlib.Path]) -> list[str]:
  """Short names for tables: the folders' own, or the whole paths where these are not unique.

  Raises:
    UserError: a folder twice.
  """
  whole = [path.absolute().as_posix() for path in paths]
  for path, count in collections.Counter(whole).items():
    if count > 1:
      raise UserError(f'{path} is named twice: a method stands beside others, not itself.')
  short = [pathlib.Path(path).name for path in whole]
  counts = collections.Counter([BLURRY, 'name', *short])
  return [name if counts[name] == 1 else path for name, path in zip(short, whole, strict=True)]


@dataclasses.dataclass
class Scores:
  """What was measured.

  Attributes:
    rows: per picture 'name' and `<label>_<metric>`, None where an alignment failed or a picture is
      too small for SSIM.
    methods: the methods' labels, in order.
    metrics: their names.
    failed: label to {picture: why it could not be aligned}.
  """

  rows: list[dict[str, Any]]
  methods: list[str]
  metrics: tuple[str, ...]
  failed: dict[str, dict[str, str]]

  def column(self, label: str, metric: str) -> list[float | None]:
    """A score per picture."""
    return [row[f'{label}_{metric}'] for row in self.rows]

  def means(self, label: str) -> dict[str, float | None]:
    """The mean of every metric over the pictures that have it, see `means.mean`."""
    return {metric: means.mean(self.rows, f'{label}_{metric}') for metric in self.metrics}

  def gain(self, label: str) -> dict[str, Any] | None:
    """The PSNR of a method less that of the blurry input, as `bootstrap.Difference`; None where
    the input was not scored, or no picture has both."""
    if BLURRY not in self.methods or label == BLURRY:
      return None
    difference = self._difference(label, BLURRY, 'psnr')
    return difference and difference._asdict()

  def _difference(self, label: str, other: str, metric: str) -> bootstrap.Difference | None:
    """Over the pictures that the means are over."""
    columns = [f'{name}_{metric}' for name in (label, other)]
    rows = means.comparable(self.rows, columns[0])
    return bootstrap.paired_difference(*([row[column] for row in rows] for column in columns))

  def differences(self) -> list[dict[str, Any]]:
    """The first method less each of the others, the input aside, metric by metric."""
    first, *others = (label for label in self.methods if label != BLURRY)
    found = []
    for other in others:
      for metric in self.metrics:
        difference = self._difference(first, other, metric)
        if difference is not None:
          about = {'method': first, 'against': other, 'metric': metric}
          found.append(about | difference._asdict())
    return found


def score(
  source: Source,
  methods: Sequence[Method],
  protocol: Protocol,
  save: pathlib.Path | None = None,
) -> Scores:
  """Scores every picture of every method, one method after the other.

  Scoring runs in threads beside the network; the order of the rows is that of the pairs.

  Args:
    source: the held-out pairs.
    methods: what restores them.
    protocol: of the scores.
    save: folder for the pictures of the checkpoints as PNG, in a folder per method where there are
      several.

  Raises:
    UserError: a picture that cannot be read, scored or written.
  """
  columns = [f'{method.label}_{metric}' for method in methods for metric in protocol.metrics]
  rows: list[dict[str, Any]] = [{'name': name} | dict.fromkeys(columns) for name in source.names]
  failed: dict[str, dict[str, str]] = {}
  saving = [method.label for method in methods if method.saves]
  if save is not None:
    _require_inside(save, source.names)

  def measured(
    work: tuple[Method, int, np.ndarray],
  ) -> tuple[str, int, dict[str, float | None] | str]:
    method, item, picture = work
    if save is not None and method.saves:
      folder = save / _file_name(method.label) if len(saving) > 1 else save
      write_png(folder / f'{source.names[item]}.png', picture)
    sharp = source.pair(item).sharp
    try:
      return method.label, item, protocol.score(picture, sharp)
    except metrics.AlignmentError as error:
      return method.label, item, str(error)
    except ValueError as error:
      raise UserError(f'{source.names[item]} of {method.label}: {error}.') from error

  def work() -> Iterator[tuple[Method, int, np.ndarray]]:
    # What is restored already comes first: if one of its files is wrong, little time is lost.
    for method in sorted(methods, key=lambda method: method.saves):
      for item, picture in enumerate(method.restore(source)):
        yield method, item, picture

  results = threads.map_ahead(measured, work(), metrics.THREADS, ahead=metrics.THREADS)
  for label, item, result in track(results, 'evaluating', len(source) * len(methods)):
    if isinstance(result, str):
      failed.setdefault(label, {})[source.names[item]] = result
    else:
      rows[item] |= {f'{label}_{metric}': value for metric, value in result.items()}
  return Scores(rows, [method.label for method in methods], protocol.metrics, failed)


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
  return {
    'dataset': dataset,
    'pictures': len(scores.rows),
    'identical': means.identical(scores.rows),
    'without_ssim': means.without_ssim(scores.rows),
    'protocol': protocol.about(),
    'methods': [
      {
        'label': method.label,
        **method.about(),
        'means': scores.means(method.label),
        'gain': scores.gain(method.label),
        'failed_alignments': scores.failed.get(method.label, {}),
      }
      for method in methods
    ],
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
) -> dict[str, Any]:
  """Writes scores.csv, a line per picture, and scores.json, the `summary`; returns the latter.

  Raises:
    UserError: the folder cannot be written.
  """
  found = summary(scores, methods, protocol, dataset)
  write_csv(directory / 'scores.csv', scores.rows)
  write_json(directory / 'scores.json', found)
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
