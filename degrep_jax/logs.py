"""What a run writes down while it trains: a line for people, JSON lines, TensorBoard."""

import contextlib
import json
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax
from clu import metric_writers

from degrep_jax.errors import UserError
from degrep_jax.progress import duration, say

FILE = 'metrics.jsonl'
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


def _local(metrics: dict[str, jax.Array]) -> dict[str, jax.Array]:
  """The first replica of replicated scalars."""
  return {name: value.addressable_shards[0].data for name, value in metrics.items()}


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
  """

  def __init__(
    self, workdir: pathlib.Path, first: int, last: int, batch_size: int, schedule: optax.Schedule
  ):
    self._path, self._last, self._batch_size = workdir / FILE, last, batch_size
    self._schedule = schedule
    self._metrics: list[dict[str, jax.Array]] = []
    self._writes = jax.process_index() == 0
    self._tensorboard = metric_writers.create_default_writer(
      str(workdir), just_logging=not self._writes
    )
    lines = _kept_lines(self._path, first)
    if self._writes:
      self._path.write_text(''.join(f'{line}\n' for line in lines))
    # An evaluation's line, often the last, says nothing about time.
    self.train_seconds: float = max(
      (json.loads(line).get('train_seconds', 0.0) for line in lines), default=0.0
    )
    self._written_seconds = self.train_seconds
    self._resumed = time.monotonic()

  def __enter__(self) -> 'Recorder':
    return self

  def __exit__(self, *_) -> None:
    self._tensorboard.close()

  def _stop_clock(self) -> None:
    now = time.monotonic()
    self.train_seconds += now - self._resumed
    self._resumed = now

  @contextlib.contextmanager
  def paused(self, state: Any) -> Iterator[None]:
    """What happens inside does not count as training; waits for the steps under way first."""
    jax.block_until_ready(state)
    self._stop_clock()
    yield
    self._resumed = time.monotonic()

  def add(self, metrics: dict[str, jax.Array]) -> None:
    """Takes the replicated scalars of a step."""
    self._metrics.append(metrics)

  def require_finite(self, step: int) -> None:
    """Raises UserError if the newest metrics are not finite: such a state is not worth keeping."""
    if self._metrics:
      self._check(jax.device_get(_local(self._metrics[-1])), step)

  def _check(self, values: dict[str, float], step: int) -> None:
    bad = [name for name, value in values.items() if not np.isfinite(value)]
    if bad:
      raise UserError(
        f'{", ".join(bad)} is not finite at step {step}; this state is not saved: start a new '
        '--workdir with a lower config.optimizer.learning_rate.'
      )

  def _means(self, step: int) -> dict[str, float]:
    fetched, self._metrics = jax.device_get([_local(m) for m in self._metrics]), []
    means = {name: float(np.mean([m[name] for m in fetched])) for name in fetched[0]}
    self._check(means, step)
    return means

  def write(self, step: int) -> None:
    """Writes the means of the metrics since the last time.

    Raises:
      UserError: one of them is not finite.
    """
    steps = len(self._metrics)
    scalars = self._means(step)
    self._stop_clock()
    step_seconds = (self.train_seconds - self._written_seconds) / steps
    self._written_seconds = self.train_seconds
    scalars |= {
      'learning_rate': float(self._schedule(step - 1)),
      'pictures_per_second': self._batch_size / step_seconds,
      'train_seconds': self.train_seconds,
    }
    self._write_scalars(step, scalars)
    terms = '  '.join(f'{text} {scalars[key]:.4f}' for key, text in SHOWN.items() if key in scalars)
    say(
      f'step {step:>{len(str(self._last))}}/{self._last}  {terms}  '
      f'{scalars["pictures_per_second"]:.1f} pictures/s  '
      f'{duration((self._last - step) * step_seconds)} left'
    )

  def write_scores(self, step: int, totals: dict[str, float]) -> None:
    """Writes the means of an evaluation."""
    self._write_scalars(step, {f'eval_{name}': value for name, value in totals.items()})

  def _write_scalars(self, step: int, scalars: dict[str, float]) -> None:
    self._tensorboard.write_scalars(step, scalars)
    if self._writes:
      # JSON has no infinity, the PSNR of identical pictures: it is the text 'inf'.
      plain = {key: x if np.isfinite(x) else str(x) for key, x in scalars.items()}
      with self._path.open('a') as file:
        file.write(json.dumps({'step': step} | plain) + '\n')

  def write_pictures(self, step: int, examples: list[dict[str, Any]]) -> None:
    """Sharp, blurry, reblurred (of a joint net) and deblurred side by side, one strip per
    example."""
    names = ('sharp', 'blurry', 'reblurred', 'deblurred')
    strips = {
      example['name']: np.concatenate([example[n] for n in names if n in example], axis=1)[None]
      for example in examples
    }
    self._tensorboard.write_images(step, strips)
