"""A network's variables, {collection: {part: tree}}: joined, split, cast and counted."""

from typing import Any

import jax

# Collections that a training pass moves and no gradient reaches.
STATISTICS = ('spectral', 'batch_stats')
DTYPES = ('float32', 'bfloat16')  # that networks compute in, see `cast`
FROZEN = ('encoder', 'pyramid')  # parts of a deblurring net that come from the joint stage


def merged(*parts: Any) -> dict:
  """The variables of parts of a network as those of the whole: {collection: {part: ...}}."""
  whole: dict = {}
  for part in parts:
    for collection, tree in part.items():
      whole[collection] = whole.get(collection, {}) | tree
  return whole


def cast(params: Any, dtype: str) -> Any:
  """Parameters in the type that a network is to compute in, all but E's: the map is small, and all
  else depends on it."""
  return {
    part: tree if part == 'encoder' else jax.tree.map(lambda x: x.astype(dtype), tree)
    for part, tree in params.items()
  }


def split(variables: Any, names: tuple[str, ...]) -> tuple[dict, dict]:
  """Variables {collection: {part: ...}} as (those of the parts `names`, the others)."""
  inside: dict = {}
  outside: dict = {}
  for collection, tree in variables.items():
    for part, x in tree.items():
      (inside if part in names else outside).setdefault(collection, {})[part] = x
  return inside, outside


def count_parameters(params: Any) -> int:
  """Number of values in a pytree of arrays."""
  return sum(x.size for x in jax.tree.leaves(params))
