"""Steps in micro-batches against the step of the whole batch, and what one program costs."""

import jax
import numpy as np
import pytest
import tiny_deblur
import tiny_joint

from degrep_jax.models.variables import count_parameters
from degrep_jax.runtime import devices
from degrep_jax.training import stages

# Without batch norm: the figure's modulation, and the deblurring stage.
CASES = {
  'joint': tiny_joint.config(model__modulation='sam'),
  'official order': tiny_joint.config(model__modulation='sam', train__official_order=True),
  'without D': tiny_joint.config(model__modulation='sam', loss__gan=0.0),
  'deblurring': tiny_deblur.config(),
}
SPADE = tiny_joint.config()
CLIP = 0.01
SLOW = [pytest.param(case, marks=pytest.mark.slow) for case in CASES if case != 'deblurring']


def _with(config, **fields):
  config = config.copy_and_resolve_references()
  config.train.update(fields)
  return config


def _compiled(config):
  tiny = tiny_joint if config.model.network == 'joint' else tiny_deblur
  return tiny.compile_step(config)


def _initial(config):
  tiny = tiny_joint if config.model.network == 'joint' else tiny_deblur
  return jax.tree.map(np.asarray, tiny.initial_state(config))


def _step(compiled, state, batch):
  """(state, metrics) after one step."""
  vgg = {} if hasattr(state, 'frozen') else tiny_joint.FROZEN
  now, metrics = compiled(devices.replicate(state), vgg, devices.shard(batch))
  return devices.unreplicate(now), devices.unreplicate(metrics)


def _networks(state):
  return [state.generator, *filter(None, [getattr(state, 'discriminator', None)])]


def _apart(actual, expected):
  """Norm of the difference of two pytrees as a part of the norm of the second."""
  pairs = list(zip(*map(jax.tree.leaves, (actual, expected)), strict=True))
  difference = sum(np.square(np.float64(a) - b).sum() for a, b in pairs)
  return np.sqrt(difference / sum(np.square(np.float64(b)).sum() for _, b in pairs))


@pytest.mark.parametrize('case', ['deblurring', *SLOW])
def test_micro_batches_are_the_whole_batch(case):
  config = CASES[case]
  whole, parts = _compiled(config), _compiled(_with(config, accumulate_steps=2))
  initial, batch = _initial(config), next(tiny_joint.batches(1))
  expected, metrics = _step(whole, initial, batch)
  now, ours = _step(parts, initial, batch)
  assert ours.keys() == metrics.keys()
  for name, value in metrics.items():
    assert ours[name] == pytest.approx(value, rel=1e-6, abs=1e-7), name
  assert now.step == expected.step == 1
  networks = [*zip(*map(_networks, (initial, now, expected)), strict=True)]
  assert len(networks) == (2 if case in ('joint', 'official order') else 1)
  for i, (before, network, plain) in enumerate(networks):
    tolerance = 3e-6 if i else 1e-6  # the rounding of sums in another order
    mu, nu = (
      _apart(getattr(network.opt_state[1][0], of), getattr(plain.opt_state[1][0], of))
      for of in ('mu', 'nu')
    )
    assert mu < tolerance and nu < 2 * tolerance
    assert _apart(network.params, plain.params) < 1e-6 < _apart(plain.params, before.params)
    for a, b in zip(*map(jax.tree.leaves, (network.statistics, plain.statistics)), strict=True):
      np.testing.assert_allclose(a, b, atol=1e-6)
  if case == 'deblurring':
    for a, b in zip(*map(jax.tree.leaves, (now.frozen, expected.frozen)), strict=True):
      np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('case', CASES)
def test_micro_batches_are_the_whole_batch_but_for_rounding(case):
  """In float64, where what is left in float32 (above all of D's gradient) vanishes."""
  initial, batch = _initial(CASES[case]), next(tiny_joint.batches(1))
  with jax.enable_x64(True):
    results = []
    for count in (1, 2):
      config = _with(CASES[case], accumulate_steps=count, dtype='float64')
      step = jax.pmap(stages.open_stage(config, tiny_joint.FROZEN).step, axis_name=devices.AXIS)
      vgg = {} if hasattr(initial, 'frozen') else tiny_joint.FROZEN
      wide = devices.replicate(_wide(initial)), vgg, devices.shard(_wide(batch))
      compiled = step.lower(*wide).compile(compiler_options=tiny_joint.COMPILER)
      results.append(jax.tree.map(np.asarray, devices.unreplicate(compiled(*wide))))
  (expected, metrics), (now, ours) = results
  for name, value in metrics.items():
    assert value.dtype == np.float64 and ours[name] == pytest.approx(value, rel=1e-12), name
  for before, network, plain in zip(*map(_networks, (initial, now, expected)), strict=True):
    assert _apart(network.opt_state[1][0].mu, plain.opt_state[1][0].mu) < 1e-12
    assert _apart(network.params, plain.params) < 1e-14 < 1e-6 < _apart(plain.params, before.params)


def _wide(tree):
  """float32 arrays as float64."""
  return jax.tree.map(lambda x: np.float64(x) if x.dtype == np.float32 else x, tree)


def _half(batch, i):
  return {name: x[2 * i : 2 * i + 2] for name, x in batch.items()}


def _gradient(network, norm):
  """Of a first step, from Adam's moments and the norm before clipping."""
  return jax.tree.map(lambda mu: mu * (norm / CLIP), network.opt_state[1][0].mu)


@pytest.mark.slow
def test_batch_norm_sees_micro_batches():
  """Losses, gradients and moved statistics are the means of those of steps with half the batch."""
  initial, batch = _initial(SPADE), next(tiny_joint.batches(1))
  parts, half = _compiled(_with(SPADE, accumulate_steps=2)), _compiled(_with(SPADE, batch_size=2))
  now, metrics = _step(parts, initial, batch)
  (one, of_one), (other, of_other) = (_step(half, initial, _half(batch, i)) for i in range(2))
  for name in metrics:
    if name.startswith('l_'):
      expected = (of_one[name] + of_other[name]) / 2
      assert metrics[name] == pytest.approx(expected, rel=1e-5, abs=1e-6), name
  for of, name in (('generator', 'grad_norm_g'), ('discriminator', 'grad_norm_d')):
    gradients = [
      _gradient(getattr(after, of), values[name])
      for after, values in ((now, metrics), (one, of_one), (other, of_other))
    ]
    expected = jax.tree.map(lambda a, b: (a + b) / 2, *gradients[1:])
    assert _apart(gradients[0], expected) < 1e-5
    assert _apart(gradients[1], gradients[2]) > 1e-2
  moved = [tiny_deblur.by_path(of.generator.statistics) for of in (now, one, other)]
  assert sum('batch_stats' in path for path in moved[0]) == 8
  for path, ours in moved[0].items():
    expected = (moved[1][path] + moved[2][path]) / 2
    np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-6, err_msg=path)
    if 'spectral' in path:
      np.testing.assert_allclose(moved[1][path], moved[2][path], atol=1e-6)


def _equations(jaxpr):
  """(operation, whether it is inside a loop) of a program, at any depth."""
  for equation in jaxpr.eqns:
    yield equation, False
    for inner in jax.tree.leaves(list(equation.params.values()), is_leaf=_is_jaxpr):
      if _is_jaxpr(inner):
        for of, inside in _equations(getattr(inner, 'jaxpr', inner)):
          yield of, inside or equation.primitive.name == 'scan'


def _is_jaxpr(x):
  return hasattr(x, 'eqns') or hasattr(x, 'jaxpr')


def test_devices_exchange_gradients_after_the_last_micro_batch():
  stage = stages.open_stage(_with(CASES['joint'], accumulate_steps=4))
  state = jax.eval_shape(stage.create)
  pictures = jax.ShapeDtypeStruct((4, 32, 32, 3), np.float32)
  batch = {'blurry': pictures, 'sharp': pictures}
  program = jax.make_jaxpr(stage.step, axis_env=[(devices.AXIS, 2)])(state, {}, batch)
  found = list(_equations(program.jaxpr))
  (loop,) = (of for of, _ in found if of.primitive.name == 'scan')
  assert loop.params['length'] == 4
  exchanges = [(of, inside) for of, inside in found if of.primitive.name.startswith('psum')]
  assert not any(inside for _, inside in exchanges)
  exchanged = sum(x.aval.size for of, _ in exchanges for x in of.invars)
  trained = state.generator.params, state.discriminator.params
  losses = ('l_deblur', 'l_reblur', 'l_gan', 'l_g', 'l_d_fake', 'l_d_real')
  assert exchanged == count_parameters(trained) + len(losses)
