"""Training batches by tf.data: repeatable, resumable at any step and shared between processes."""

import atexit
import weakref
from collections.abc import Generator, Iterator

import numpy as np
import tensorflow as tf

from degrep_jax.data import preprocess
from degrep_jax.data.pairs import Source
from degrep_jax.errors import UserError

# TensorFlow only feeds pictures here; left alone it would take the memory of JAX's GPUs.
tf.config.set_visible_devices([], 'GPU')

_open_batches: weakref.WeakSet[Generator] = weakref.WeakSet()


@atexit.register
def _close_batches() -> None:
  """TensorFlow's threads still making examples while Python shuts down would hang the process."""
  for batches in list(_open_batches):
    batches.close()


def train_batches(
  source: Source,
  *,
  crop: int,
  batch_size: int,
  seed: int,
  start_step: int = 0,
  augment: bool = True,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
  """Yields batches without end; each example is a pure function of (seed, its global number).

  Every epoch shows every item once, in an order of its own. Starting at step k gives the batches
  of a run from 0 after k steps, at no cost. The processes' batches of one step, put together in
  order, are the batch of a single process.

  Args:
    source: where crops come from.
    crop: side of the square windows in pixels.
    batch_size: of all processes together; must be divisible by process_count.
    seed: non-negative; with it all randomness is fixed.
    start_step: number of batches already used.
    augment: flip and transpose.
    process_index: this process, below process_count.
    process_count: number of processes.

  Yields:
    {'blurry', 'sharp'}: (batch_size // process_count, crop, crop, 3) float32 in [0, 1].

  Raises:
    UserError: batch_size or seed unfit; or, while iterating, what the source raises (any other
      exception of the source comes out as itself, too).
  """
  if batch_size % process_count:
    raise UserError(
      f'A batch of {batch_size} cannot be shared by {process_count} processes; '
      'choose a multiple for batch_size.'
    )
  if seed < 0:
    raise UserError(f'seed is {seed}; it must not be negative.')
  share = batch_size // process_count
  failures: dict[int, Exception] = {}

  def example(index: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    try:
      rng = np.random.default_rng([seed, int(index)])
      blurry, sharp = source.crop(int(item), crop, rng)
      if augment:
        blurry, sharp = preprocess.augment(blurry, sharp, rng)
      return preprocess.to_float(blurry), preprocess.to_float(sharp)
    except Exception as error:
      failures[int(index)] = error
      raise

  def load(count: tf.Tensor) -> dict[str, tf.Tensor]:
    index = count // share * batch_size + process_index * share + count % share
    item = shuffled_item(index, len(source), seed)
    pictures = tf.numpy_function(example, (index, item), (tf.float32, tf.float32), stateful=False)
    blurry, sharp = (tf.ensure_shape(picture, (crop, crop, 3)) for picture in pictures)
    return {'blurry': blurry, 'sharp': sharp}

  dataset = tf.data.Dataset.range(start_step * share, np.iinfo(np.int64).max)
  dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  batches = _reraised(dataset.batch(share, drop_remainder=True).prefetch(2), failures)
  _open_batches.add(batches)
  return batches


def shuffled_item(index: tf.Tensor, count: int, seed: int) -> tf.Tensor:
  """The item shown as example number `index` (int64): every epoch of `count` is a permutation."""
  # Small keys hardly shuffle (all zeros gives 0, 1, 2, ...), so the epoch's key is mixed first.
  base = tf.constant([seed % 2**31, seed // 2**31 % 2**31], tf.int64)
  mixed = tf.random.experimental.stateless_fold_in(base, index // count)
  key = tf.random.stateless_uniform([3], mixed, None, None, tf.int64, alg='philox')
  return tf.random_index_shuffle(index % count, key, count - 1)


def _reraised(
  dataset: tf.data.Dataset, failures: dict[int, Exception]
) -> Generator[dict[str, np.ndarray], None, None]:
  """Iterates; where an example failed, raises its own exception instead of TensorFlow's."""
  try:
    yield from dataset.as_numpy_iterator()
  except tf.errors.OpError:
    if not failures:
      raise
    # Examples are made in parallel: the first in order is the one that would fail every time.
    raise failures[min(failures)] from None
