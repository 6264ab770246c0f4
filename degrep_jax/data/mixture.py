"""Pairs of several sources in fixed shares."""

import math
from collections.abc import Iterable, Mapping

import ml_collections
import numpy as np

from degrep_jax.common.errors import UserError
from degrep_jax.data.pairs import Pair, Source

# Of `config.data`; all parts share these.
SHARED = ('crop', 'augment', 'on_error', 'parts')
LEAST = 1_000  # examples of an epoch, so that rounding moves no share by more than a thousandth


class JoinedPairs(Source):
  """Items of several sources as one.

  Args:
    parts: sources by name; names of items begin with it.
    items: (part, number of its item) each.
  """

  def __init__(self, parts: Mapping[str, Source], items: Iterable[tuple[str, int]]):
    self._parts, self._items = parts, tuple(items)
    self.names = tuple(f'{part}/{parts[part].names[item]}' for part, item in self._items)

  def __len__(self) -> int:
    return len(self._items)

  def pair(self, item: int) -> Pair:
    """The whole pictures, as the part gives them."""
    part, number = self._items[item]
    pair = self._parts[part].pair(number)
    return Pair(self.names[item], pair.blurry, pair.sharp)

  def crop(self, item: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random window, as the part gives it."""
    part, number = self._items[item]
    return self._parts[part].crop(number, size, rng)


def joined(parts: Mapping[str, Source]) -> JoinedPairs:
  """Every item of every part once."""
  items = [(name, item) for name, source in parts.items() for item in range(len(source))]
  return JoinedPairs(parts, items)


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
  items = [(name, k % len(parts[name])) for name in parts for k in range(counts[name])]
  return JoinedPairs(parts, items)


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
  counts = {name: 0 for name in parts}
  for name in items.names:
    counts[name.partition('/')[0]] += 1
  texts = [
    f'{name} {counts[name] / len(items):.1%} ({len(source):,} pictures)'
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
