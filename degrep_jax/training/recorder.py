"""What the steps of a run come to: means of their metrics, looked at for what is not finite."""

import pathlib
from typing import Any

import jax
import numpy as np
import optax

from degrep_jax.common.console import duration, say
from degrep_jax.training.clock import Clock
from degrep_jax.training.finite import SKIPPED, NotFinite
from degrep_jax.training.log_files import LogFiles

# Metrics that add up, and what the line for people calls them.
COUNTS = {SKIPPED: 'steps skipped', 'replaced': 'damaged pictures replaced'}
# Of a line, what differs between two runs of one training.
CLOCKS = ('pictures_per_second', 'step_seconds', 'input_wait', 'train_seconds', 'compile_seconds')
SHOWN = {
  'l_deblur': 'deblur L1',
  'l_reblur': 'reblur L1',
  'l_field': 'blur field',
  'l_gan': 'GAN',
  'l_d_fake': 'D fake',
  'l_psnr': 'PSNR loss',
  'l_features': 'E features',
}


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


class Recorder:
  """Collects the steps' metrics without waiting for a device, and writes their means.

  Use as a context manager.

  Args:
    workdir: of the run.
    first: step that the run continues from.
    last: step at which it ends.
    batch_size: pictures per step over all devices.
    schedule: of the learning rate.
    progress: what `progress` gave at the step `first`; without it what was measured since the last
      line is lost.
    nan_skips: how many steps in a row may be left out because they are not finite.

  Attributes:
    clock: of the training.
    files: that the numbers and pictures go to.
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
    self._last, self._batch_size, self._schedule = last, batch_size, schedule
    self._nan_skips = nan_skips
    # Of the steps since the last line: on the devices, and fetched.
    self._metrics: list[tuple[int, dict[str, Any]]] = []
    self._fetched: list[dict[str, float]] = progress['metrics'] if progress else []
    self._in_a_row: int = progress['skipped_in_a_row'] if progress else 0
    self.files = LogFiles(workdir, first)
    self._skipped = sum(line.get(SKIPPED, 0) for line in self.files.lines)
    # An evaluation's line, often the last, says nothing about time.
    written = max((line.get('train_seconds', 0.0) for line in self.files.lines), default=0.0)
    self.clock = Clock(written, progress)

  def __enter__(self) -> 'Recorder':
    return self

  def __exit__(self, *_) -> None:
    self.files.close()

  def progress(self) -> dict[str, Any]:
    """What has been measured since the last line, for the checkpoint of this step. What TensorBoard
    was given is on disk then.

    Raises:
      NotFinite: the state is not worth a checkpoint.
    """
    self._fetch()
    self.files.flush()
    return {
      'metrics': list(self._fetched),  # written in a thread, while steps join ours
      'skipped_in_a_row': self._in_a_row,
      **self.clock.progress(),
    }

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
    times = self.clock.line(len(rows))
    scalars |= {
      # The optimiser does not count the steps that were left out.
      'learning_rate': float(self._schedule(max(0, step - self._skipped - 1))),
      'pictures_per_second': self._batch_size / times['step_seconds'],
      **times,
    }
    self.files.write_scalars(step, scalars)
    terms = [f'{text} {scalars[key]:.4f}' for key, text in SHOWN.items() if key in scalars]
    terms += [f'{scalars[key]:.0f} {text}' for key, text in COUNTS.items() if scalars.get(key)]
    say(
      f'step {step:>{len(str(self._last))}}/{self._last}  {"  ".join(terms)}  '
      f'{scalars["pictures_per_second"]:.1f} pictures/s  '
      f'{duration((self._last - step) * times["step_seconds"])} left'
    )
