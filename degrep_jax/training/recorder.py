"""What a run writes down while it trains: a line for people, JSON lines, TensorBoard."""

import contextlib
import io
import json
import os
import pathlib
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import jax
import numpy as np
import optax
from clu import metric_writers
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto import event_pb2
from tensorboard.summary.writer.record_writer import RecordWriter

from degrep_jax.common.console import duration, say
from degrep_jax.common.files import write_atomically
from degrep_jax.runtime import processes
from degrep_jax.training.finite import SKIPPED, NotFinite

Item = TypeVar('Item')

FILE = 'metrics.jsonl'
_SCORE = 'eval_'  # begins the names of an evaluation's means
# Metrics that add up, and what the line for people calls them.
COUNTS = {SKIPPED: 'steps skipped', 'replaced': 'damaged pictures replaced'}
# Of a line, what differs between two runs of one training.
CLOCKS = ('pictures_per_second', 'step_seconds', 'input_wait', 'train_seconds', 'compile_seconds')
SHOWN = {
  'l_deblur': 'deblur L1',
  'l_reblur': 'reblur L1',
  'l_gan': 'GAN',
  'l_d_fake': 'D fake',
  'l_psnr': 'PSNR loss',
  'l_features': 'E features',
}


def _kept_lines(path: pathlib.Path, step: int) -> list[str]:
  """Whole lines up to `step`: those of a run that went on after its last checkpoint come anew."""
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  # A run that was killed, or a full disk, leaves a last line without its end.
  whole = [line.strip() for line in lines if line.endswith('\n')]
  return [line for line in whole if json.loads(line)['step'] <= step]


def _local(metrics: dict[str, Any]) -> dict[str, Any]:
  """The first replica of replicated scalars, and what is on the host already."""
  return {
    name: value.addressable_shards[0].data if isinstance(value, jax.Array) else value
    for name, value in metrics.items()
  }


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
  """Means of the metrics over the rows that have them; of counts, named in COUNTS, the sums."""
  names = dict.fromkeys(name for row in rows for name in row)
  values = {name: [row[name] for row in rows if name in row] for name in names}
  return {name: float(np.sum(of) if name in COUNTS else np.mean(of)) for name, of in values.items()}


def _forget(workdir: pathlib.Path, step: int, scored: bool) -> None:
  """Takes out of TensorBoard's files what an earlier process wrote after a step, and the scores of
  that step unless it is `scored`: they come anew.

  (TensorBoard's own event for this makes it forget everything but what TensorFlow 2 writes.)
  """

  def is_kept(event: event_pb2.Event) -> bool:
    scores = any(value.tag.startswith(_SCORE) for value in event.summary.value)
    return event.step < step or (event.step == step and (scored or not scores))

  for path in workdir.glob('events.out.tfevents.*'):
    # A file that a kill cut short is read as far as it goes.
    events = list(RawEventFileLoader(str(path)).Load())
    kept = [event for event in events if is_kept(event_pb2.Event.FromString(event))]
    if len(kept) < len(events):
      file = io.BytesIO()
      writer = RecordWriter(file)
      for event in kept:
        writer.write(event)
      write_atomically(path, file.getvalue())


class Recorder:
  """Collects the steps' metrics without waiting for a device, and writes their means.

  `<workdir>/metrics.jsonl` holds one JSON object per logged step and one per evaluation, in order;
  TensorBoard's events lie beside it. Use as a context manager. Files are written by process 0.

  Args:
    workdir: of the run.
    first: step that the run continues from.
    last: step at which it ends.
    batch_size: pictures per step over all devices.
    schedule: of the learning rate.
    progress: what `progress` gave at the step `first`; without it what was measured since the last
      line is lost.
    nan_skips: how many steps in a row may be left out because they are not finite.
  """

  def __init__(
    self,
    workdir: pathlib.Path,
    first: int,
    last: int,
    batch_size: int,
    schedule: optax.Schedule,
    progress: dict[str, Any] | None = None,
    nan_skips: int = 0,
  ):
    self._path, self._last, self._batch_size = workdir / FILE, last, batch_size
    self._schedule, self._nan_skips = schedule, nan_skips
    # Of the steps since the last line: on the devices, and fetched.
    self._metrics: list[tuple[int, dict[str, Any]]] = []
    self._fetched: list[dict[str, float]] = []
    self._writes = processes.is_first()
    lines = _kept_lines(self._path, first)
    logged = [json.loads(line) for line in lines]
    self._scored = {line['step'] for line in logged if f'{_SCORE}deblurred_psnr' in line}
    if self._writes:
      # Never in part: a kill here would lose lines that nobody writes again.
      write_atomically(self._path, ''.join(f'{line}\n' for line in lines).encode())
      _forget(workdir, first, first in self._scored)
    self._tensorboard = metric_writers.create_default_writer(
      str(workdir), just_logging=not self._writes
    )
    # An evaluation's line, often the last, says nothing about time.
    written = max((line.get('train_seconds', 0.0) for line in logged), default=0.0)
    self.train_seconds: float = written
    self.compile_seconds = 0.0
    self._written_seconds, self._waited, self._in_a_row = written, 0.0, 0
    self._skipped = sum(line.get(SKIPPED, 0) for line in logged)
    if progress:
      self._fetched = progress['metrics']
      self.train_seconds, self._written_seconds = progress['train_seconds']
      self.compile_seconds, self._waited = progress['compile_seconds'], progress['waited']
      self._in_a_row = progress['skipped_in_a_row']
    self._paused, self._resumed = False, time.monotonic()

  def __enter__(self) -> 'Recorder':
    return self

  def __exit__(self, *_) -> None:
    self._tensorboard.close()

  def progress(self) -> dict[str, Any]:
    """What has been measured since the last line, for the checkpoint of this step. What TensorBoard
    was given is on disk then.

    Raises:
      NotFinite: the state is not worth a checkpoint.
    """
    self._fetch()
    self._stop_clock()
    self._tensorboard.flush()
    return {
      'metrics': list(self._fetched),  # written in a thread, while steps join ours
      'train_seconds': [self.train_seconds, self._written_seconds],
      'compile_seconds': self.compile_seconds,
      'waited': self._waited,
      'skipped_in_a_row': self._in_a_row,
    }

  def _stop_clock(self) -> None:
    if not self._paused:
      now = time.monotonic()
      self.train_seconds += now - self._resumed
      self._resumed = now

  @contextlib.contextmanager
  def paused(self, state: Any) -> Iterator[None]:
    """What happens inside does not count as training; waits for the steps under way first."""
    jax.block_until_ready(state)
    self._stop_clock()
    self._paused = True
    yield
    self._paused, self._resumed = False, time.monotonic()

  def timed(self, batches: Iterable[Item]) -> Iterator[Item]:
    """The batches; the time that the loop waits for one is the log's `input_wait`."""
    iterator = iter(batches)
    while True:
      start = time.monotonic()
      try:
        batch = next(iterator)
      except StopIteration:
        return
      self._waited += time.monotonic() - start
      yield batch

  def add(self, step: int, metrics: dict[str, Any]) -> None:
    """Takes the replicated scalars of a step, and numbers that were counted on the host."""
    self._metrics.append((step, metrics))

  def _fetch(self) -> None:
    """Waits for the steps under way, and looks at every one.

    Raises:
      NotFinite: naming the first step that is not finite, or one too many that was left out.
    """
    new = jax.device_get([_local(metrics) for _, metrics in self._metrics])
    steps, self._metrics = [step for step, _ in self._metrics], []
    for step, values in zip(steps, new, strict=True):
      row = {name: float(np.squeeze(value)) for name, value in values.items()}
      bad = [name for name, value in row.items() if not np.isfinite(value)]
      self._in_a_row = self._in_a_row + 1 if row.get(SKIPPED) else 0
      if row.get(SKIPPED) and self._in_a_row <= self._nan_skips:
        row = {name: value for name, value in row.items() if name not in bad}
      elif bad:
        after = f' after {self._nan_skips} steps in a row were skipped' if SKIPPED in row else ''
        are = 'is' if len(bad) == 1 else 'are'
        raise NotFinite(step, bad, f'{", ".join(bad)} {are} not finite at step {step}{after}')
      self._fetched.append(row)

  def require_finite(self) -> None:
    """Raises NotFinite where a step since the last line was not finite."""
    self._fetch()

  def write(self, step: int) -> None:
    """Writes the means of the metrics since the last time.

    Raises:
      NotFinite: one of them is not finite.
    """
    self._fetch()
    rows, self._fetched = self._fetched, []
    scalars = _means(rows)
    self._skipped += int(scalars.get(SKIPPED, 0))
    self._stop_clock()
    seconds = self.train_seconds - self._written_seconds
    step_seconds = seconds / len(rows)
    scalars |= {
      # The optimiser does not count the steps that were left out.
      'learning_rate': float(self._schedule(max(0, step - self._skipped - 1))),
      'pictures_per_second': self._batch_size / step_seconds,
      'step_seconds': step_seconds,
      'input_wait': self._waited / seconds,
      'train_seconds': self.train_seconds,
      'compile_seconds': self.compile_seconds,
    }
    self._written_seconds, self._waited = self.train_seconds, 0.0
    self._write_scalars(step, scalars)
    terms = [f'{text} {scalars[key]:.4f}' for key, text in SHOWN.items() if key in scalars]
    terms += [f'{scalars[key]:.0f} {text}' for key, text in COUNTS.items() if scalars.get(key)]
    say(
      f'step {step:>{len(str(self._last))}}/{self._last}  {"  ".join(terms)}  '
      f'{scalars["pictures_per_second"]:.1f} pictures/s  '
      f'{duration((self._last - step) * step_seconds)} left'
    )

  def write_scores(self, step: int, totals: dict[str, float]) -> None:
    """Writes the means of an evaluation, once for a step."""
    if step not in self._scored:
      self._scored.add(step)
      self._write_scalars(step, {f'{_SCORE}{name}': value for name, value in totals.items()})

  def _write_scalars(self, step: int, scalars: dict[str, float]) -> None:
    self._tensorboard.write_scalars(step, scalars)
    self._tensorboard.flush()  # a line that is there stands for both
    if self._writes:
      # JSON has no infinity, the PSNR of identical pictures: it is the text 'inf'.
      plain = {key: x if np.isfinite(x) else str(x) for key, x in scalars.items()}
      with self._path.open('a') as file:
        file.write(json.dumps({'step': step} | plain) + '\n')
        # A checkpoint that is on disk must find the lines before it there.
        file.flush()
        os.fsync(file.fileno())

  def write_pictures(self, step: int, examples: list[dict[str, Any]]) -> None:
    """Sharp, blurry, reblurred (of a joint net) and deblurred side by side, one strip per
    example."""
    names = ('sharp', 'blurry', 'reblurred', 'deblurred')
    strips = {
      example['name']: np.concatenate([example[n] for n in names if n in example], axis=1)[None]
      for example in examples
    }
    self._tensorboard.write_images(step, strips)
