"""Several processes that train as one: how they find each other, and what they must agree on."""

import collections
import itertools
import json
import os
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from degrep_jax.common import console
from degrep_jax.common.errors import UserError
from degrep_jax.runtime import devices
from degrep_jax.runtime.signals import Interrupted, Result, StopSignals

# A process that no longer answers for so long ends the others.
HEARTBEAT_SECONDS = 20
LONGEST_WORK = 7 * 24 * 3600 * 1000  # ms that processes wait for others that evaluate or compile
BEHIND = devices.AHEAD  # steps after which the processes read what they said to each other
_names = itertools.count()


def initialize(
  coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
  """Makes the processes know each other, before anything else is done with JAX.

  Args:
    coordinator: address and port of process 0; None: TPU pods and SLURM tell.
    num_processes: in all.
    process_id: of this one, from 0.

  Raises:
    UserError: the address has no port, or the others are not found.
  """
  address = coordinator or os.environ.get('JAX_COORDINATOR_ADDRESS')
  if address and not re.fullmatch(r'.+:\d+', address):
    raise UserError(f'--coordinator is {address!r}: name address:port, as 10.0.0.1:1234.')
  # Of CPUs; accelerators have collectives of their own.
  jax.config.update('jax_cpu_collectives_implementation', 'gloo')
  try:
    jax.distributed.initialize(
      coordinator,
      num_processes,
      process_id,
      # In SLURM None is one device for each process; [] leaves it all that it sees.
      local_device_ids=[] if _is_alone_on_node() else None,
      heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )
  except (ValueError, RuntimeError) as error:
    text = ' '.join(str(error).split())
    raise UserError(
      f'--multihost: the processes do not find each other ({text}): name --coordinator, '
      '--num_processes and --process_id.'
    ) from error
  console.console.quiet = not is_first()


def _is_alone_on_node() -> bool:
  """Whether SLURM started one process on each node, and nobody chose its devices."""
  usual = os.environ.get('SLURM_NTASKS_PER_NODE', '')
  tasks = os.environ.get('SLURM_STEP_TASKS_PER_NODE', usual)  # as '1(x2)', or '8(x2),4'
  chosen = 'JAX_LOCAL_DEVICE_IDS' in os.environ
  return not chosen and bool(re.fullmatch(r'1(\(x\d+\))?', tasks))


def is_first() -> bool:
  """Whether this is the process that writes."""
  return jax.process_index() == 0


def _client() -> Any:
  """Of the service that started the processes: a collective of devices would wait on them, and some
  give up after a while."""
  from jax._src import distributed

  return distributed.global_state.client


def wait_for_all() -> None:
  """Until all processes are here."""
  if jax.process_count() > 1:
    _client().wait_at_barrier(f'degrep_jax/wait_for_all/{next(_names)}', LONGEST_WORK)


def until_stopped(stop: StopSignals, work: Callable[[], Result]) -> Result:
  """stop.run(work) of what all do before the first step; a signal to one of them stops all."""
  if jax.process_count() == 1:
    return stop.run(work)
  client, key = _client(), 'degrep_jax/stopped'

  def elsewhere() -> bool:
    return bool(client.key_value_dir_get(key))

  try:
    return stop.run(work, elsewhere)
  except Interrupted as interrupted:
    client.key_value_set(f'{key}/{jax.process_index()}', str(interrupted.status))
    raise


def from_first(work: Callable[[], Any]) -> Any:
  """work() of process 0, which alone does it; all get its result, or fail as it does.

  Args:
    work: gives what JSON knows.

  Raises:
    Interrupted: a signal stopped process 0.
    UserError: it failed otherwise.
  """
  if jax.process_count() == 1:
    return work()
  client = _client()
  key = f'degrep_jax/from_first/{next(_names)}'
  if not is_first():
    told = json.loads(client.blocking_key_value_get(key, LONGEST_WORK))
    if 'signal' in told:
      raise Interrupted(told['signal'], told['error'])
    if 'error' in told:
      raise UserError(told['error'])
    return told['result']
  try:
    result = work()
  except Interrupted as error:
    client.key_value_set(key, json.dumps({'signal': error.status - 128, 'error': str(error)}))
    raise
  except Exception as error:
    client.key_value_set(key, json.dumps({'error': f'process 0 failed: {error}'}))
    raise
  client.key_value_set(key, json.dumps({'result': result}))
  return result


class Sum:
  """The sum of what every process gives, on the devices, so that nobody waits for the steps under
  way; to be asked by all processes alike."""

  def __init__(self) -> None:
    self._sum = jax.pmap(lambda x: jax.lax.psum(x, devices.AXIS), axis_name=devices.AXIS)

  def __call__(self, mine: int) -> jax.Array | int:
    """A replicated scalar; of one process its own number."""
    if jax.process_count() == 1:
      return mine
    shares = np.zeros(jax.local_device_count(), np.int32)
    shares[0] = mine
    return self._sum(devices.shard(shares))


class Agreement:
  """Whether any process asked for something, known to all at the same step.

  With one process at once; with several after `BEHIND` steps, so that nobody waits for the steps
  under way.
  """

  def __init__(self) -> None:
    self._sum = Sum()
    self._said: collections.deque[Any] = collections.deque()

  def __call__(self, asked: bool) -> bool:
    """To be called once a step by all processes."""
    if jax.process_count() == 1:
      return asked
    self._said.append(self._sum(asked))
    if len(self._said) <= BEHIND:
      return False
    return bool(self._said.popleft().addressable_shards[0].data.any())
