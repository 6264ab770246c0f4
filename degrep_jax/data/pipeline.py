"""Training batches by tf.data: repeatable, resumable at any step and shared between processes."""

from __future__ import annotations  # TensorFlow's names in annotations would import it

import atexit
import itertools
import weakref
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np

from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import to_float
from degrep_jax.common.tensorflow import tf
from degrep_jax.data.blur_field import unknown
from degrep_jax.data.pairs import Source

Read = TypeVar('Read')

PAIR = ('blurry', 'sharp')
ATTEMPTS = 16  # items tried for an example before its own error counts after all

_open_batches: weakref.WeakSet[Generator] = weakref.WeakSet()


@atexit.register
def _close_batches() -> None:
  """TensorFlow's threads still making examples while Python shuts down would hang the process."""
  for batches in list(_open_batches):
    batches.close()


class Batches(Iterator[dict[str, np.ndarray]]):
  """Batches in order, and which of their examples stand for damaged ones."""

  def __init__(
    self, batches: Generator[dict[str, np.ndarray]], batch_size: int, replaced: dict[int, str]
  ):
    self._batches, self._batch_size, self._replaced = batches, batch_size, replaced

  def __next__(self) -> dict[str, np.ndarray]:
    return next(self._batches)

  def close(self) -> None:
    """Ends the work on batches that nobody will ask for."""
    self._batches.close()

  def replaced(self, step: int) -> int:
    """How many examples of this process's share of a step's batch were replaced, asked once, after
    the batch was given; steps count from 1."""
    numbers = range((step - 1) * self._batch_size, step * self._batch_size)
    return sum(self._replaced.pop(number, None) is not None for number in numbers)


class Turn(NamedTuple):
  """Horizontal and vertical flip of a picture, then its transposition."""

  horizontal: bool
  vertical: bool
  transpose: bool

  def of(self, picture: np.ndarray) -> np.ndarray:
    """(H, W, C) of any dtype, copied; a square crop keeps its shape."""
    if self.horizontal:
      picture = picture[:, ::-1]
    if self.vertical:
      picture = picture[::-1]
    if self.transpose:
      picture = picture.swapaxes(0, 1)
    return picture.copy()

  def of_field(self, field: np.ndarray) -> np.ndarray:
    """The field of the picture's blur, as blur_field.py has it: directions turn, too."""
    field = self.of(field)
    if self.horizontal != self.vertical:
      field[..., 2] *= -1
    if self.transpose:
      field[..., 1] *= -1
    return field


def draw_turn(rng: np.random.Generator) -> Turn:
  """Each of the 8 dihedral maps, equally likely: horizontal flip, vertical flip and transpose, each
  with probability 1/2, as `use_flip` and `use_rot` of the released training code.

  Args:
    rng: three numbers are drawn from it.
  """
  return Turn(*(bool(drawn) for drawn in rng.random(3) < 0.5))


def read_crop(
  source: Source, item: int, size: int, rng: np.random.Generator, inputs: Sequence[str]
) -> dict[str, np.ndarray]:
  """A random window of an item, not augmented: what `inputs` names of `Crop`."""
  if set(inputs) <= set(PAIR):
    found = dict(zip(PAIR, source.crop(item, size, rng), strict=True))
  else:
    found = source.known_crop(item, size, rng)._asdict()
  return {name: found[name] for name in inputs}


def input_shape(name: str, size: int) -> tuple[int, ...]:
  """Of what is called so in `Crop`, of windows of `size` pixels."""
  return unknown(size).shape if name == 'field' else (size, size, 3)


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
  on_error: str = 'stop',
  inputs: Sequence[str] = PAIR,
) -> Batches:
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
    on_error: 'stop' raises what the source does; 'skip' shows another item instead of one whose
      picture is damaged, named once: which is a pure function of seed and number, too.
    inputs: what an example has, fields of `Crop`.

  Returns:
    An iterator of {'blurry', 'sharp'}, or what else was asked for: (batch_size // process_count,
    crop, crop, 3) float32, pictures in [0, 1]; a field as `Crop` has it.

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
  replaced: dict[int, str] = {}
  named: set[str] = set()

  def pictures(item: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    found = read_crop(source, item, crop, rng, inputs)
    turn = draw_turn(rng) if augment else Turn(False, False, False)
    return tuple(
      turn.of_field(values) if name == 'field' else to_float(turn.of(values))
      for name, values in found.items()
    )

  def example(index: np.ndarray, item: np.ndarray) -> tuple[np.ndarray, ...]:
    number = int(index)
    candidates = _candidates(number, int(item), len(source), seed)
    try:
      shown = candidates if on_error == 'skip' else itertools.islice(candidates, 1)
      _, found, errors = _first_sound(shown, pictures)
    except Exception as error:
      failures[number] = error
      raise
    if errors:
      name = replaced[number] = source.names[int(item)]
      if name not in named:
        named.add(name)
        say(f'{errors[0]} Others are shown in its place.')
    return found

  @tf.autograph.experimental.do_not_convert  # AutoGraph leaves a temporary file
  def load(count: tf.Tensor) -> dict[str, tf.Tensor]:
    index = count // share * batch_size + process_index * share + count % share
    item = shuffled_item(index, len(source), seed)
    shown = tf.numpy_function(example, (index, item), (tf.float32,) * len(inputs), stateful=False)
    return {
      name: tf.ensure_shape(values, input_shape(name, crop))
      for name, values in zip(inputs, shown, strict=True)
    }

  dataset = tf.data.Dataset.range(start_step * share, np.iinfo(np.int64).max)
  dataset = dataset.map(load, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
  batches = _reraised(dataset.batch(share, drop_remainder=True).prefetch(2), failures)
  _open_batches.add(batches)
  return Batches(batches, batch_size, replaced)


def _candidates(
  number: int, item: int, count: int, seed: int
) -> Iterator[tuple[int, np.random.Generator]]:
  """Items of `count` for an example, its own and then those that stand for a damaged one, with what
  draws the window of each."""
  yield item, np.random.default_rng([seed, number])
  for attempt in range(1, ATTEMPTS):
    rng = np.random.default_rng([seed, number, attempt])
    yield int(rng.integers(count)), rng


def _first_sound(
  candidates: Iterable[tuple[int, np.random.Generator]],
  read: Callable[[int, np.random.Generator], Read],
) -> tuple[int, Read, list[UserError]]:
  """(the first item that is not damaged, what `read` gives of it, errors of those before it)."""
  errors: list[UserError] = []
  for item, rng in candidates:
    try:
      return item, read(item, rng), errors
    except UserError as error:
      errors.append(error)
  raise errors[0]


def batch_items(
  step: int,
  source: Source,
  *,
  crop: int,
  batch_size: int,
  seed: int,
  on_error: str = 'stop',
  inputs: Sequence[str] = PAIR,
) -> list[tuple[int, int, str]]:
  """(number of the example, of the item shown, the item's name) of a whole batch of
  `train_batches`; steps begin at 1."""

  def shown(number: int) -> int:
    item = int(shuffled_item(tf.constant(number, tf.int64), len(source), seed))
    if on_error != 'skip':
      return item
    candidates = _candidates(number, item, len(source), seed)
    return _first_sound(candidates, lambda item, rng: read_crop(source, item, crop, rng, inputs))[0]

  numbers = range((step - 1) * batch_size, step * batch_size)
  items = map(shown, numbers)
  return [(number, item, source.names[item]) for number, item in zip(numbers, items, strict=True)]


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
