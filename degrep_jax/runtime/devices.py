"""Arrays on the devices of `jax.pmap`: a leading axis of devices, named 'batch'."""

import collections
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

AXIS = 'batch'
AHEAD = 2  # steps that the host may be ahead of the devices
GPUS = pathlib.Path('/proc/driver/nvidia/gpus')  # of the Linux driver, a folder per GPU


def unused_gpu() -> str | None:
  """What NVIDIA's driver calls a GPU of this machine that JAX computes without, though nobody told
  it to (JAX_PLATFORMS, CUDA_VISIBLE_DEVICES); None where there is none."""
  told = os.environ.get('JAX_PLATFORMS') or os.environ.get('CUDA_VISIBLE_DEVICES') in ('', '-1')
  if told or jax.default_backend() != 'cpu':
    return None
  files = sorted(GPUS.glob('*/information'))
  models = (re.search(r'^Model:\s*(.+)$', file.read_text(), re.MULTILINE) for file in files)
  return next((model[1] for model in models if model), None)


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
  """Yields sharded batches, `size` of them under way to the devices; an error of theirs comes in
  its batch's place."""
  queue: collections.deque[Any] = collections.deque()
  try:
    for batch in batches:
      queue.append(shard(batch))
      if len(queue) == size:
        yield queue.popleft()
  except Exception:
    yield from queue
    raise
  yield from queue


class Pace:
  """Keeps the host within `AHEAD` steps of the devices, which are never idle for it: a signal is
  heard in time, and few batches wait in the devices' memory."""

  def __init__(self) -> None:
    self._under_way: collections.deque[Any] = collections.deque()

  def __call__(self, results: Any) -> None:
    """Takes what a step gives, and waits for that of `AHEAD` steps before it."""
    self._under_way.append(results)
    if len(self._under_way) > AHEAD:
      jax.block_until_ready(self._under_way.popleft())
