"""The files that a run's numbers go to: JSON lines, and TensorBoard's events beside them."""

import json
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from degrep_jax.common.files import write_atomically
from degrep_jax.common.tensorflow import metric_writers, tf
from degrep_jax.runtime import processes

FILE = 'metrics.jsonl'
SCORE = 'eval_'  # begins the names of an evaluation's means


class LogFiles:
  """`<workdir>/metrics.jsonl`, one JSON object a line, and TensorBoard's events.

  What an earlier process wrote after the step that the run continues from is taken out: it comes
  anew. Files are written by process 0.

  Args:
    workdir: of the run.
    first: step that the run continues from.

  Attributes:
    lines: those that were there already, as dictionaries.
  """

  def __init__(self, workdir: pathlib.Path, first: int):
    self._path, self._writes = workdir / FILE, processes.is_first()
    texts = _kept_lines(self._path, first)
    self.lines: list[dict[str, Any]] = [json.loads(text) for text in texts]
    self._scored = {line['step'] for line in self.lines if f'{SCORE}deblurred_psnr' in line}
    if self._writes:
      # Never in part: a kill here would lose lines that nobody writes again.
      write_atomically(self._path, ''.join(f'{text}\n' for text in texts).encode())
      _forget(workdir, first, first in self._scored)
    self._tensorboard = metric_writers.create_default_writer(
      str(workdir), just_logging=not self._writes
    )

  def close(self) -> None:
    """Waits until TensorBoard's events are written."""
    self._tensorboard.close()

  def flush(self) -> None:
    """Likewise, and goes on."""
    self._tensorboard.flush()

  def write_scalars(self, step: int, scalars: dict[str, float]) -> None:
    """Writes a line, to both."""
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

  def write_scores(self, step: int, totals: dict[str, float]) -> None:
    """Writes the means of an evaluation, once for a step."""
    if step not in self._scored:
      self._scored.add(step)
      self.write_scalars(step, {f'{SCORE}{name}': value for name, value in totals.items()})

  def write_pictures(self, step: int, examples: list[dict[str, Any]]) -> None:
    """Sharp, blurry, reblurred (of a joint net) and deblurred side by side, one strip per
    example."""
    names = ('sharp', 'blurry', 'reblurred', 'deblurred')
    strips = {
      example['name']: np.concatenate([example[n] for n in names if n in example], axis=1)[None]
      for example in examples
    }
    self._tensorboard.write_images(step, strips)


def _kept_lines(path: pathlib.Path, step: int) -> list[str]:
  """Whole lines up to `step`: those of a run that went on after its last checkpoint come anew."""
  lines = path.read_text().splitlines(keepends=True) if path.exists() else []
  # A run that was killed, or a full disk, leaves a last line without its end.
  whole = [line.strip() for line in lines if line.endswith('\n')]
  return [line for line in whole if json.loads(line)['step'] <= step]


def _records(path: pathlib.Path) -> Iterator[bytes]:
  """Those of a file of TensorBoard's, as far as it goes where a kill cut it short."""
  try:
    yield from tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
  except tf.errors.DataLossError:
    return


def _forget(workdir: pathlib.Path, step: int, scored: bool) -> None:
  """Takes out of TensorBoard's files what an earlier process wrote after a step, and the scores of
  that step unless it is `scored`: they come anew.

  (TensorBoard's own event for this makes it forget everything but what TensorFlow 2 writes.)
  """

  def is_kept(record: bytes) -> bool:
    event = tf.compat.v1.Event.FromString(record)
    scores = any(value.tag.startswith(SCORE) for value in event.summary.value)
    return event.step < step or (event.step == step and (scored or not scores))

  for path in workdir.glob('events.out.tfevents.*'):
    records = list(_records(path))
    kept = [record for record in records if is_kept(record)]
    if len(kept) < len(records):
      with tempfile.TemporaryDirectory(dir=workdir, prefix='.degrep-') as folder:
        rewritten = pathlib.Path(folder) / path.name
        with tf.io.TFRecordWriter(str(rewritten)) as writer:
          for record in kept:
            writer.write(record)
        write_atomically(path, rewritten.read_bytes())
