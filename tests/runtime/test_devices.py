"""Arrays on four simulated devices."""

import four_devices
import pytest

from degrep_jax.runtime import devices

CODE = """
import itertools, json
import jax
import jax.numpy as jnp
import numpy as np
from degrep_jax.runtime import devices

def gathered(tree):
  return jax.tree.map(lambda x: np.asarray(x).reshape(-1, *x.shape[2:]), tree)

compilations = []
jax.monitoring.register_event_duration_secs_listener(
  lambda event, *_, **__: compilations.append(event) if 'backend_compile' in event else None
)
seen = {'devices': jax.device_count()}

numbers = np.arange(24, dtype=np.float32).reshape(8, 3)
tree = {'x': numbers, 'n': (np.arange(4, dtype=np.int32),)}
sharded = devices.shard(tree)
seen['shapes'] = [list(x.shape) for x in jax.tree.leaves(sharded)]
# Device k holds the k-th part alone.
seen['parts'] = [
  [shard.device.id, np.asarray(shard.data)[0, :, 0].tolist()]
  for shard in sharded['x'].addressable_shards
]
back = gathered(sharded)
seen['gathered'] = all(
  isinstance(b, np.ndarray) and b.dtype == a.dtype and np.array_equal(a, b)
  for a, b in zip(jax.tree.leaves(tree), jax.tree.leaves(back), strict=True)
)

state = {'kernel': np.arange(6, dtype=np.float32).reshape(2, 3), 'step': np.int32(7)}
copies = devices.replicate(state)
seen['copies'] = [list(copies[name].shape) for name in state]
seen['equal copies'] = all(
  np.array_equal(np.asarray(shard.data)[0], state[name])
  for name in state for shard in copies[name].addressable_shards
)
one = devices.unreplicate(copies)
seen['unreplicated'] = [
  isinstance(one[name], (np.ndarray, np.generic)) and one[name].dtype == state[name].dtype
  and one[name].shape == np.shape(state[name]) and bool(np.array_equal(one[name], state[name]))
  for name in state
]

batches = [{'x': np.full((4, 2), i, np.float32)} for i in range(7)]
read = []
stream = devices.prefetch((read.append(i) or batch for i, batch in enumerate(batches)), size=3)
taken = [next(stream), next(stream)]
seen['read ahead'] = len(read)
taken += list(stream)
seen['prefetched'] = [float(gathered(batch)['x'][0, 0]) for batch in taken]
seen['on devices'] = all(len(batch['x'].addressable_shards) == 4 for batch in taken)
seen['short stream'] = len(list(devices.prefetch(iter(batches[:1]), size=3)))
def damaged():
  yield from batches[:2]
  raise ValueError('the third')
met = []
try:
  for batch in devices.prefetch(damaged(), size=3):
    met.append(float(gathered(batch)['x'][0, 0]))
except ValueError as error:
  met.append(str(error))
seen['error in its place'] = met
seen['empty stream'] = len(list(devices.prefetch(iter([]))))

def step(state, batch):
  total = jax.lax.psum(batch['x'].sum(), devices.AXIS)
  return state | {'step': state['step'] + 1, 'kernel': state['kernel'] + total}, total

pmapped = jax.pmap(step, axis_name=devices.AXIS, donate_argnums=0)
shapes = {'x': jax.ShapeDtypeStruct((4, 2, 3), np.float32)}
compiled = pmapped.lower(copies, shapes).compile()
batch = devices.shard({'x': tree['x']})
before = len(compilations)
for _ in range(3):
  copies, total = compiled(copies, batch)
seen['compiled anew by the compiled step'] = len(compilations) - before
result = devices.unreplicate(copies)
seen['step'] = [int(result['step']), float(result['kernel'][0, 0])]

evaluate = jax.pmap(lambda state, x: x * state['step'], axis_name=devices.AXIS)
evaluate(devices.replicate(state), batch['x'])
before = len(compilations)
answer = evaluate(copies, batch['x'])  # what a step returned, in place of what replicate gave
seen['compiled anew for states out of a step'] = len(compilations) - before
seen['compiled at all'] = before > 0
seen['answer'] = bool(np.array_equal(gathered(answer), tree['x'] * 10))
print(json.dumps(seen))
"""


@pytest.fixture(scope='module')
def seen():
  return four_devices.run(CODE)


def test_shards_are_the_parts_in_order(seen):
  assert seen['devices'] == 4
  assert seen['shapes'] == [[4, 1], [4, 2, 3]]
  assert seen['parts'] == [[0, [0, 3]], [1, [6, 9]], [2, [12, 15]], [3, [18, 21]]]


def test_gather_undoes_shard(seen):
  assert seen['gathered']


def test_every_device_has_a_copy(seen):
  assert seen['copies'] == [[4, 2, 3], [4]]
  assert seen['equal copies']


def test_unreplicate_undoes_replicate(seen):
  assert seen['unreplicated'] == [True, True]


def test_prefetch_gives_every_batch_in_order_and_stops(seen):
  assert seen['prefetched'] == [0, 1, 2, 3, 4, 5, 6]
  assert seen['on devices']
  assert (seen['short stream'], seen['empty stream']) == (1, 0)


def test_an_error_of_a_batch_comes_in_its_place(seen):
  assert seen['error in its place'] == [0, 1, 'the third']


def test_the_host_waits_for_the_step_that_is_two_behind():
  waited = []

  class Result:
    """What a step gives, once somebody waits for it."""

    def __init__(self, step):
      self.step = step

    def block_until_ready(self):
      waited.append(self.step)

  pace = devices.Pace()
  for step, expected in enumerate(([], [], [0], [0, 1], [0, 1, 2])):
    pace({'loss': Result(step), 'replaced': 1})
    assert waited == expected


def test_prefetch_reads_no_further_than_it_must(seen):
  assert seen['read ahead'] == 4  # the second batch was asked for: it, and three behind the first


def test_a_compiled_step_takes_them_as_they_are(seen):
  assert seen['compiled anew by the compiled step'] == 0
  assert seen['step'] == [10, 3 * 276]  # three steps, each adding the sum of 0 .. 23


def test_states_out_of_a_step_need_no_second_compilation(seen):
  assert seen['compiled at all']
  assert seen['compiled anew for states out of a step'] == 0
  assert seen['answer']


@pytest.fixture
def a_gpu(tmp_path, monkeypatch):
  """What NVIDIA's driver tells of a GPU; nothing is said about platforms."""
  folder = tmp_path / '0000:01:00.0'
  folder.mkdir()
  (folder / 'information').write_text('Model: \t\t NVIDIA GeForce RTX 3090\nIRQ:   \t\t 97\n')
  monkeypatch.setattr(devices, 'GPUS', tmp_path)
  for name in ('JAX_PLATFORMS', 'CUDA_VISIBLE_DEVICES'):
    monkeypatch.delenv(name, raising=False)


def test_a_gpu_that_jax_does_not_use_is_named(a_gpu):
  assert devices.unused_gpu() == 'NVIDIA GeForce RTX 3090'


@pytest.mark.parametrize(
  ('name', 'value'), [('JAX_PLATFORMS', 'cpu'), ('CUDA_VISIBLE_DEVICES', '')]
)
def test_a_gpu_that_is_not_to_be_used_is_not_named(a_gpu, monkeypatch, name, value):
  monkeypatch.setenv(name, value)
  assert devices.unused_gpu() is None


def test_without_a_gpu_none_is_named(a_gpu, monkeypatch, tmp_path):
  monkeypatch.setattr(devices, 'GPUS', tmp_path / 'none')
  assert devices.unused_gpu() is None


def test_a_gpu_in_use_is_not_named(a_gpu, monkeypatch):
  monkeypatch.setattr(devices.jax, 'default_backend', lambda: 'gpu')
  assert devices.unused_gpu() is None
