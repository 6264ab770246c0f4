"""Arrays on the devices of `jax.pmap`: a leading axis of devices, named 'batch'."""

import collections
import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

AXIS = 'batch'


def _sharding() -> jax.sharding.NamedSharding:
  """How pmap itself lays its outputs out: handing it the same avoids a second compilation."""
  mesh = jax.sharding.Mesh(np.array(jax.devices()), (AXIS,))
  return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))


def shard(tree: Any) -> Any:
  """Arrays `(local devices * n, ...)` of this process to `(devices, n, ...)`, on the devices."""

  def put(x):
    x = np.reshape(x, (jax.local_device_count(), -1, *np.shape(x)[1:]))
    return jax.make_array_from_process_local_data(_sharding(), x)

  return jax.tree.map(put, tree)


def replicate(tree: Any) -> Any:
  """One copy per device, with a leading axis of devices."""

  def put(x):
    x = np.broadcast_to(x, (jax.local_device_count(), *np.shape(x)))
    return jax.make_array_from_process_local_data(_sharding(), x)

  return jax.tree.map(put, tree)


def unreplicate(tree: Any) -> Any:
  """The first copy as NumPy arrays."""
  return jax.tree.map(lambda x: np.asarray(x.addressable_shards[0].data)[0], tree)


def prefetch(batches: Iterator[Any], size: int = 2) -> Iterator[Any]:
  """Yields sharded batches, `size` of them under way to the devices."""
  queue: collections.deque[Any] = collections.deque()
  for batch in itertools.islice(batches, size):
    queue.append(shard(batch))
  while queue:
    yield queue.popleft()
    for batch in itertools.islice(batches, 1):
      queue.append(shard(batch))
