"""Pairs of several sources in fixed shares."""

import bisect
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np

from degrep_jax.common.errors import UserError
from degrep_jax.data.pairs import Crop, Pair, Source

# Of `config.data`; all parts share these.
SHARED = ('crop', 'augment', 'on_error', 'parts')
LEAST = 1_000  # examples of an epoch, so that rounding moves no share by more than a thousandth


class JoinedPairs(Source):
  """Items of several sources as one, part after part. None is listed: a small share beside a large
  part makes millions of them.

  Args:
    parts: sources by name; names of items begin with it.
    counts: of the items of each part, which come again and again where there are fewer.
  """

  def __init__(self, parts: Mapping[str, Source], counts: Mapping[str, int]):
    self._parts, self.counts = parts, {name: counts[name] for name in parts}
    self._ends = [*itertools.accumulate(self.counts.values())]
    self.names = _Names(self)

  def __len__(self) -> int:
    return self._ends[-1]

  def where(self, item: int) -> tuple[str, int]:
    """The part of an item, and its number there."""
    number = bisect.bisect_right(self._ends, item)
    part = [*self._parts][number]
    return part, (item - self._ends[number] + self.counts[part]) % len(self._parts[part])

  def name(self, item: int) -> str:
    """Of an item, after its part's."""
    part, number = self.where(item)
    return f'{part}/{self._parts[part].names[number]}'

  def pair(self, item: int) -> Pair:
    """The whole pictures, as the part gives them."""
    part, number = self.where(item)
    pair = self._parts[part].pair(number)
    return Pair(self.names[item], pair.blurry, pair.sharp)

  def crop(self, item: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random window, as the part gives it."""
    part, number = self.where(item)
    return self._parts[part].crop(number, size, rng)

  def known_crop(self, item: int, size: int, rng: np.random.Generator) -> Crop:
    """Likewise, and what the part knows of its blur."""
    part, number = self.where(item)
    return self._parts[part].known_crop(number, size, rng)


class _Names(Sequence[str]):
  def __init__(self, source: JoinedPairs):
    self._source = source

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, item: Any) -> Any:
    if isinstance(item, slice):
      return tuple(map(self._source.name, range(len(self))[item]))
    return self._source.name(range(len(self))[item])


def joined(parts: Mapping[str, Source]) -> JoinedPairs:
  """Every item of every part once."""
  return JoinedPairs(parts, {name: len(source) for name, source in parts.items()})


def mixed(parts: Mapping[str, Source], weights: Mapping[str, float]) -> JoinedPairs:
  """The parts in shares proportional to their positive weights, items of a part equally often (to
  one time). One epoch holds every item at least once, so that whoever shows all items in turn shows
  the parts in their shares."""
  total = sum(weights.values())
  shares = {name: weights[name] / total for name in parts}
  # Rounding of the shares must not add an example.
  needed = max(math.ceil(len(parts[name]) / shares[name] * (1 - 1e-9)) for name in parts)
  counts = _apportioned(max(needed, LEAST), shares)
  counts = {name: max(count, len(parts[name])) for name, count in counts.items()}
  return JoinedPairs(parts, counts)


def parts_of(data: ml_collections.ConfigDict) -> dict[str, ml_collections.ConfigDict]:
  """The settings of each part of a mixture: those of `config.data`, changed by its own fields.

  Besides fields of `config.data` a part may set `weight`, by default 1, and `evaluate`, by default
  True: whether its held-out pairs are scored. A part of weight 0 without a folder is left out.

  Raises:
    UserError: no parts, a field that no part has, a weight that is unfit, nothing to evaluate.
  """
  if not data.parts:
    raise UserError('config.data.parts is empty: name the parts of the mixture.')
  whole, settings = data.to_dict(), {}
  for name, own in data.parts.items():
    place = f'config.data.parts.{name}'
    if not hasattr(own, 'items'):
      raise UserError(f'{place} is {own!r}: it must hold the fields of a source.')
    allowed = {'weight': 1.0, 'evaluate': True} | {
      field: value for field, value in whole.items() if field not in SHARED
    }
    for field in own:
      if field not in allowed:
        where = 'is of config.data, for all parts' if field in SHARED else 'is no field of a source'
        raise UserError(f'{place}.{field} {where}: remove it.')
    part = ml_collections.ConfigDict(
      {field: whole[field] for field in SHARED if field != 'parts'} | allowed | own.to_dict()
    )
    if part.source == 'mixture':
      raise UserError(f'{place}.source is mixture: name the source of the part.')
    if not (math.isfinite(part.weight) and part.weight >= 0):
      raise UserError(f'{place}.weight is {part.weight}: it must be 0 or more.')
    if part.weight or part.root or part.eval_root or part.source == 'synthetic':
      settings[name] = part
  if not any(part.weight for part in settings.values()):
    raise UserError('config.data.parts has weights of 0 alone: raise one.')
  if not any(part.evaluate for part in settings.values()):
    raise UserError('config.data.parts has no part with evaluate=True: set it for one.')
  return settings


def shares(parts: Mapping[str, Source], items: JoinedPairs) -> str:
  """What each part gives, for people."""
  texts = [
    f'{name} {items.counts[name] / len(items):.1%} ({len(source):,} pictures)'
    for name, source in parts.items()
  ]
  return ', '.join(texts)


def _apportioned(count: int, shares: Mapping[str, float]) -> dict[str, int]:
  """Whole numbers that sum to `count`, nearest to the shares: by largest remainders."""
  counts = {name: int(share * count) for name, share in shares.items()}
  remainders = sorted(shares, key=lambda name: counts[name] - shares[name] * count)
  for name in remainders[: count - sum(counts.values())]:
    counts[name] += 1
  return counts
