"""Rematerialisation, bfloat16 and the moving average: the same training in less memory, and what is
evaluated of it."""

import functools

import flax.linen as nn
import flax.serialization
import float64
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_deblur
import tiny_joint
from float64 import CLOSE, apart
from rounding import NETWORK, U, gamma

from degrep_jax import checkpoints
from degrep_jax.inference.restorer import Restorer
from degrep_jax.models import factory
from degrep_jax.models.layers import BatchNorm, Conv, instance_norm, rematerialised
from degrep_jax.models.variables import FROZEN, cast
from degrep_jax.runtime import devices
from degrep_jax.training import stages, state

NETWORKS = {
  'spade': tiny_joint.config(),
  'sam': tiny_joint.config(model__modulation='sam'),
  'msdi_net': tiny_deblur.config(),
  'hinet': tiny_deblur.config(model__network='hinet', loss__encoder_features=0.0),
}
DECAY, RATE = 0.9, 3e-4


def _pictures(count):
  draw = np.random.default_rng(5)
  return [draw.random((2, 32, 32, 3), np.float32) for _ in range(count)]


def _variables(module, pictures):
  return dict(module.lazy_init(jax.random.key(0), *pictures))


def _loss(module, variables, pictures):
  """params -> (a loss, statistics after a training pass)."""
  statistics = {name: tree for name, tree in variables.items() if name != 'params'}

  def loss(params):
    outputs, moved = module.apply(
      {'params': params, **statistics}, *pictures, train=True, mutable=['spectral', 'batch_stats']
    )
    return sum(jnp.square(output - pictures[0]).mean() for output in outputs), moved

  return loss


def _kept(loss, params):
  """Values that the way back needs of the way there."""
  _, pullback = jax.eval_shape(lambda p: jax.vjp(loss, p, has_aux=True)[:2], params)
  return sum(x.size for x in jax.tree.leaves(pullback))


@pytest.mark.parametrize(
  'name', [of if of == 'hinet' else pytest.param(of, marks=pytest.mark.slow) for of in NETWORKS]
)
def test_a_rematerialised_network_is_the_same_one(name):
  config = NETWORKS[name]
  plain, remat = (factory.build_network(config.model, None, remat) for remat in (False, True))
  pictures = _pictures(2 if config.model.network == 'joint' else 1)
  variables = _variables(plain, pictures)
  shapes = jax.tree.map(jnp.shape, variables)
  assert jax.tree.map(jnp.shape, _variables(remat, pictures)) == shapes
  variables, pictures = float64.wide((variables, pictures))
  losses = [_loss(module, variables, pictures) for module in (plain, remat)]
  (expected, gradient), (found, found_gradient) = (
    float64.jit(jax.value_and_grad(loss, has_aux=True))(variables['params']) for loss in losses
  )
  assert apart(found, expected) < CLOSE and apart(found_gradient, gradient) < CLOSE
  kept = [_kept(loss, variables['params']) for loss in losses]
  assert kept[1] < 0.8 * kept[0]


class _Counted(nn.Module):
  @nn.compact
  def __call__(self, x, train=False):
    return jnp.sin(Conv(3, spectral=True, name='conv')(BatchNorm(name='norm')(x, train), train))


class _Two(nn.Module):
  remat: bool

  @nn.compact
  def __call__(self, x, train=False):
    block = rematerialised(_Counted, self.remat)
    return block(name='b')(block(name='a')(x, train), train)


def test_statistics_of_a_rematerialised_block_move_once():
  (pictures,) = _pictures(1)
  variables = float64.wide(dict(_Two(False).init(jax.random.key(0), pictures)))
  x = float64.wide(pictures)

  def moved(remat):
    @float64.jit
    @functools.partial(jax.grad, has_aux=True)
    def gradient(params):
      y, statistics = _Two(remat).apply(
        variables | {'params': params}, x, train=True, mutable=['spectral', 'batch_stats']
      )
      return y.sum(), statistics

    return gradient(variables['params'])[1]

  found = moved(True)
  assert apart(found, moved(False)) < CLOSE
  assert apart(found['batch_stats']['a']['norm']['mean'], 0.1 * x.mean((0, 1, 2))) < CLOSE


# --- bfloat16 ------------------------------------------------------------------------------------


def test_layers_compute_in_bfloat16_and_keep_statistics_in_float32():
  x = np.random.default_rng(0).normal(200, 1, (2, 16, 16, 4)).astype(np.float32)
  normed = instance_norm(jnp.asarray(x, jnp.bfloat16))
  assert normed.dtype == jnp.bfloat16
  rounded = np.float32(jnp.asarray(x, jnp.bfloat16))
  centred = rounded - rounded.mean((1, 2), keepdims=True)
  expected = centred / np.sqrt(np.square(centred).mean((1, 2), keepdims=True) + 1e-5)
  # bfloat16 rounds by 2^-9. The mean of 200, a sum of 256 in float32, is off by gamma(256) of it.
  np.testing.assert_allclose(np.float32(normed), expected, rtol=2**-8, atol=200 * gamma(256))

  conv = Conv(5, spectral=True)
  variables = conv.init(jax.random.key(0), x)
  narrow = variables | {'params': cast(variables['params'], 'bfloat16')}
  y, moved = conv.apply(narrow, x, train=True, mutable=['spectral'])
  assert y.dtype == jnp.bfloat16
  kernel = np.float32(narrow['params']['kernel']).reshape(-1, 5)
  kernel, u = np.float64(kernel), np.float64(variables['spectral']['u'])
  v = kernel @ u
  # Of sums of 5 and of 36 products, of norms, and of what cancels in the sums.
  rounding = 3 * gamma(36 + 5) * np.linalg.norm(np.abs(kernel) @ np.abs(u)) / np.linalg.norm(v)
  v /= np.linalg.norm(v)
  u = v @ kernel / np.linalg.norm(v @ kernel)
  assert moved['spectral']['u'].dtype == moved['spectral']['v'].dtype == np.float32
  np.testing.assert_allclose(moved['spectral']['u'], u, rtol=0, atol=rounding)
  np.testing.assert_allclose(moved['spectral']['v'], v, rtol=0, atol=rounding)

  norm = BatchNorm()
  y, moved = norm.apply(
    norm.init(jax.random.key(0), x), rounded.astype(jnp.bfloat16), True, mutable=['batch_stats']
  )
  assert y.dtype == jnp.bfloat16 and moved['batch_stats']['mean'].dtype == np.float32
  mean = np.float64(rounded).mean((0, 1, 2))  # of 512 values of one sign
  np.testing.assert_allclose(moved['batch_stats']['mean'], 0.1 * mean, rtol=gamma(512 + 3))


def _trained(tiny, steps=3, **fields):
  """(state before, state after, metrics) of a tiny run."""
  config = tiny.config(**fields)
  first = jax.tree.map(np.asarray, tiny.initial_state(config))
  now, rows = tiny.run(tiny.compile_step(config), first, steps)
  return first, devices.unreplicate(now), rows


@pytest.fixture(scope='module')
def averaged():
  """Two steps of HINet with a moving average: (states before and after each, metrics)."""
  fields = {'model__network': 'hinet', 'loss__encoder_features': 0.0, 'train__ema_decay': DECAY}
  config = tiny_deblur.config(**fields)
  step = tiny_deblur.compile_step(config)
  first = tiny_deblur.initial_state(config)
  runs = [tiny_deblur.run(step, first, steps) for steps in (1, 2, 3)]
  return [first, *(devices.unreplicate(now) for now, _ in runs)], runs[-1][1]


def _near(first, plain, half, rows, low):
  for x in jax.tree.leaves(half):
    assert x.dtype in (np.float32, np.int32)
  assert any(a != b for a, b in zip(rows, low, strict=True))
  for a, b in zip(rows, low, strict=True):
    for name, value in a.items():
      assert b[name] == pytest.approx(value, rel=0.05, abs=0.05), name
  assert plain.step == half.step == 3
  moved, apart = (
    np.sqrt(sum(np.square(a - b).sum() for a, b in zip(*map(jax.tree.leaves, pair), strict=True)))
    for pair in (
      (plain.generator.params, first.generator.params),
      (plain.generator.params, half.generator.params),
    )
  )
  assert apart < 0.7 * moved


def test_hinet_in_bfloat16_learns_what_float32_does(averaged):
  states, rows = averaged
  fields = {'model__network': 'hinet', 'loss__encoder_features': 0.0, 'train__ema_decay': DECAY}
  _, half, low = _trained(tiny_deblur, **fields, train__dtype='bfloat16')
  _near(states[0], states[-1], half, rows, low)


@pytest.mark.slow
@pytest.mark.parametrize('tiny', [tiny_joint, tiny_deblur])
def test_steps_in_bfloat16_learn_what_float32_does(tiny):
  first, plain, rows = _trained(tiny)
  _, half, low = _trained(tiny, train__dtype='bfloat16')
  _near(first, plain, half, rows, low)


@pytest.mark.slow
@pytest.mark.parametrize('tiny', [tiny_joint, tiny_deblur])
def test_everything_together_learns_what_the_plain_step_does(tiny):
  first, plain, rows = _trained(tiny)
  fields = {'train__remat': True, 'train__accumulate_steps': 2, 'train__ema_decay': DECAY}
  _, half, low = _trained(tiny, train__dtype='bfloat16', **fields)
  assert half.ema is not None
  _near(first, plain, half.replace(ema=None), rows, low)


# --- the moving average --------------------------------------------------------------------------


def test_the_average_follows_the_formula(averaged):
  states, _ = averaged
  expected = jax.tree.map(np.float64, states[0].generator.params)
  jax.tree.map(np.testing.assert_array_equal, states[0].ema, states[0].generator.params)
  for done, now in enumerate(states[1:]):
    decay = min(DECAY, (1 + done) / (10 + done))
    expected = jax.tree.map(
      lambda average, x, decay=decay: decay * average + (1 - decay) * x,
      expected,
      now.generator.params,
    )
    for a, b in zip(*map(jax.tree.leaves, (now.ema, expected)), strict=True):
      # An average is rounded once a step, and so is what it moves by: less than ten rates.
      np.testing.assert_allclose(a, b, rtol=gamma(4), atol=10 * RATE * gamma(16))


def test_the_decay_is_bounded():
  ema, params = {'x': np.float32([1, 2])}, {'x': np.float32([3, -2])}
  after = state.moving_average(ema, params, jnp.int32(10**6), 0.999)
  # 0.999 is off by U, which is multiplied by the differences, and the result is rounded.
  np.testing.assert_allclose(after['x'], [1 + 0.001 * 2, 2 - 0.001 * 4], rtol=0, atol=8 * U)
  assert state.moving_average(None, params, jnp.int32(0), 0.0) is None


def test_the_average_is_saved_and_evaluated(averaged, tmp_path):
  states, _ = averaged
  last = states[-1]
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    saved.save(3, last)
  restored = checkpoints.restore(tmp_path, jax.tree.map(np.zeros_like, last))
  jax.tree.map(np.testing.assert_array_equal, restored, last)
  jax.tree.map(np.testing.assert_array_equal, last.variables['params'], last.ema)
  whole, network = checkpoints.load(tmp_path), checkpoints.load_network(tmp_path)
  assert (
    set(network) == {'step', 'generator', 'frozen', 'ema'} and 'params' not in network['generator']
  )
  for found in (whole, network):
    params = checkpoints.variables(found)['params']
    jax.tree.map(np.testing.assert_array_equal, params, flax.serialization.to_state_dict(last.ema))


def test_parts_are_taken_over_as_they_are_evaluated(tmp_path):
  def kernels(start):
    return {part: {'kernel': np.float32([start + i])} for i, part in enumerate(FROZEN)}

  network = state.NetworkState(kernels(0), {'spectral': kernels(10)}, opt_state={})
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    saved.save(3, state.TrainState(np.int32(3), network, None, ema=kernels(20)))
  parts = checkpoints.load_parts(tmp_path, FROZEN)
  assert parts == {'params': kernels(20), 'spectral': kernels(10)}


def test_all_generators_are_averaged():
  for config, parts in (
    (tiny_joint.config(train__ema_decay=DECAY), {'encoder', 'pyramid', 'reblurrer', 'deblurrer'}),
    (tiny_deblur.config(train__ema_decay=DECAY), {'deblurrer'}),
  ):
    first = jax.eval_shape(stages.open_stage(config).create)
    assert set(first.ema) == parts
    assert jax.tree.map(jnp.shape, first.ema) == jax.tree.map(jnp.shape, first.generator.params)
    config.train.ema_decay = 0.0
    assert jax.eval_shape(stages.open_stage(config).create).ema is None


def test_a_checkpoint_from_before_there_were_averages(tmp_path):
  config = tiny_deblur.config(model__network='hinet', loss__encoder_features=0.0)
  first = tiny_deblur.initial_state(config)
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    tree = {'step': first.step, 'generator': first.generator, 'frozen': first.frozen}
    saved.save(0, tree)
  restored = checkpoints.restore(tmp_path, jax.tree.map(np.zeros_like, first))
  assert restored.ema is None
  jax.tree.map(np.testing.assert_array_equal, restored, first)
  with checkpoints.Checkpoints(tmp_path / 'now', keep=1) as saved:
    saved.save(0, first)
  assert set(checkpoints.load(tmp_path / 'now')) == {'step', 'generator', 'frozen'}


def test_a_restorer_of_a_network_in_training_takes_both_kinds():
  config = NETWORKS['hinet']
  (picture,) = _pictures(1)
  variables = _variables(factory.build_network(config.model), [picture])
  results = [
    Restorer(factory.build_network(config.model, None, remat), variables, tile=32).deblur(picture)
    for remat in (False, True)
  ]
  np.testing.assert_allclose(*results, rtol=0, atol=NETWORK)
