"""The deblurring step against plain computations: what the U-Nets learn from, what stays as it was,
and what a step costs."""

import re

import adam
import float64
import four_devices
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_deblur
import tiny_joint
from adam import MOVED
from float64 import CLOSE, apart
from float64_steps import Steps
from quick import COMPILER

from degrep_jax.models import factory
from degrep_jax.models.variables import count_parameters
from degrep_jax.runtime import compiling

CONFIG = tiny_deblur.config()
HINET = tiny_deblur.config(model__network='hinet', loss__encoder_features=0.0)
RATE = 3e-4
NET = factory.build_network(CONFIG.model)
FEATURES = ('down_0', 'conv_7x7', 'down_1')  # E's convolutions that the loss compares


@pytest.fixture(scope='module')
def steps():
  return Steps(CONFIG)


@pytest.fixture(scope='module')
def initial():
  """The state before the first step."""
  return float64.wide(tiny_deblur.initial_state(CONFIG))


@pytest.fixture(scope='module')
def batch():
  return next(tiny_joint.batches(1))


@pytest.fixture(scope='module')
def after(steps, initial, batch):
  """(state, metrics) after one step."""
  now, (metrics,) = steps(initial, [batch])
  return now, metrics


# --- the same arithmetic, written out ------------------------------------------------------------


def _psnr_loss(outputs, sharp):
  errors = [jnp.square(output - sharp).mean((1, 2, 3)) for output in outputs]
  return sum(10 * jnp.log10(error + 1e-8).mean() for error in errors)


def _features(frozen, picture):
  """What E's first convolutions give on its way to an ordinary map."""
  encoder = {collection: tree['encoder'] for collection, tree in frozen.items()}
  _, seen = factory.build_encoder(CONFIG.model).apply(
    encoder, picture, capture_intermediates=True, mutable=['intermediates']
  )
  return [seen['intermediates'][name]['__call__'][0] for name in FEATURES]


@float64.jit
def _gradient(params, statistics, frozen, blurry, sharp):
  """(gradient of 0.5 * PSNR loss + features' L1, (terms, all spectral vectors after the pass))."""

  def loss(params):
    variables = {
      'params': {'deblurrer': params['deblurrer'], **frozen['params']},
      'spectral': {**statistics['spectral'], **frozen['spectral']},
    }
    outputs, moved = NET.apply(variables, blurry, train=True, mutable=['spectral'])
    pairs = zip(_features(frozen, outputs[1]), _features(frozen, sharp), strict=True)
    psnr, features = _psnr_loss(outputs, sharp), sum(jnp.abs(a - b).mean() for a, b in pairs)
    return 0.5 * psnr + features, ((psnr, features), moved['spectral'])

  return jax.grad(loss, has_aux=True)(params)


@pytest.fixture(scope='module')
def by_hand(initial, batch):
  of = initial.generator
  return _gradient(of.params, of.statistics, initial.frozen, batch['blurry'], batch['sharp'])


def test_the_unets_learn_from_both_losses(initial, after, by_hand):
  now, metrics = after
  gradient, ((psnr, features), _) = by_hand
  adam.assert_first_step(initial.generator, now.generator, gradient, RATE)
  expected = {
    'l_psnr': float(psnr),
    'l_features': float(features),
    'l_g': float(0.5 * psnr + features),
    'grad_norm_g': adam.norm(gradient),
  }
  assert metrics == pytest.approx(expected, rel=CLOSE)


def test_every_power_iteration_goes_on_once(after, by_hand):
  now, _ = after
  _, (_, moved) = by_hand
  ours = now.frozen['spectral'] | now.generator.statistics['spectral']
  assert set(ours) == set(moved) == {'encoder', 'pyramid', 'deblurrer'}
  assert apart(ours, dict(moved)) < CLOSE


# --- what is frozen ------------------------------------------------------------------------------


def test_only_spectral_vectors_move_in_what_is_frozen(steps, initial):
  now, _ = steps(initial, tiny_joint.batches(3))
  assert now.step == 3
  assert set(now.frozen) == {'params', 'spectral'}
  for part in ('encoder', 'pyramid'):
    before, params = (tiny_deblur.by_path(of.frozen['params'][part]) for of in (initial, now))
    assert before.keys() == params.keys()
    assert all(before[name].tobytes() == params[name].tobytes() for name in before)
    before, spectral = (tiny_deblur.by_path(of.frozen['spectral'][part]) for of in (initial, now))
    assert len(spectral) > 5
    still = [name for name in before if np.array_equal(before[name], spectral[name])]
    assert not still


def test_what_is_frozen_has_no_moments(initial):
  params = initial.generator.params
  assert set(params) == {'deblurrer'}
  moments = sum(x.size for x in jax.tree.leaves(initial.generator.opt_state))
  assert moments == 2 * count_parameters(params) + 2  # and the counts of Adam and the schedule


def _convolutions(program):
  return len(re.findall(r' convolution\(', program.as_text()))


def _kernels(params):
  return sum(x.ndim == 4 for x in jax.tree.leaves(params))


def test_nothing_is_propagated_into_what_is_frozen(steps, initial, batch):
  """Beside what the U-Nets cost on ready maps: E and the pyramid forward, the features of two
  pictures, and the way back from those of out2 to the picture alone."""

  def loss(params, statistics, maps, picture, sharp):
    variables = {'params': params['deblurrer'], 'spectral': statistics['spectral']['deblurrer']}
    outputs, _ = NET.deblurrer.apply(variables, picture, maps, True, mutable=['spectral'])
    return _psnr_loss(outputs, sharp)

  def maps(variables, picture):
    return NET.apply(variables, picture, method=lambda net, x: net.pyramid(net.encoder(x)))

  picture = jax.ShapeDtypeStruct(batch['blurry'].shape, jnp.float64)
  of = initial.generator
  with jax.enable_x64(True):  # as the step is: newer jaxlibs have a library for those of float32
    shapes = jax.eval_shape(maps, initial.frozen, picture)
    lowered = jax.jit(jax.grad(loss)).lower(of.params, of.statistics, shapes, picture, picture)
  alone = _convolutions(lowered.compile(COMPILER | compiling.options()))
  forward = _kernels(initial.frozen['params'])
  assert _convolutions(steps.program) - alone == forward + 3 * len(FEATURES)


# --- HINet ---------------------------------------------------------------------------------------


def test_hinet_learns_from_the_pictures_alone(batch):
  first = float64.wide(tiny_deblur.initial_state(HINET))
  assert first.frozen == {}
  now, (metrics,) = Steps(HINET)(first, [batch])
  assert now.frozen == {}
  net = factory.build_network(HINET.model)

  @float64.jit
  def value_and_gradient(params, blurry, sharp):
    return jax.value_and_grad(
      lambda params: 0.5 * _psnr_loss(net.apply({'params': params}, blurry), sharp)
    )(params)

  loss, gradient = value_and_gradient(first.generator.params, batch['blurry'], batch['sharp'])
  expected = {'l_g': float(loss), 'l_psnr': float(2 * loss), 'grad_norm_g': adam.norm(gradient)}
  assert metrics == pytest.approx(expected, rel=CLOSE)
  adam.assert_first_step(first.generator, now.generator, gradient, RATE)


def test_l1_of_both_outputs_may_take_the_place_of_psnr(batch):
  config = tiny_deblur.config(
    model__network='hinet', loss__encoder_features=0.0, loss__psnr=0.0, loss__deblur_l1=2.0
  )
  first = tiny_deblur.initial_state(config)
  _, (metrics,) = Steps(config)(first, [batch])
  assert set(metrics) == {'l_psnr', 'l_deblur', 'l_g', 'grad_norm_g'}
  outputs = float64.jit(factory.build_network(config.model).apply)(
    {'params': first.generator.params}, batch['blurry']
  )
  difference = sum(np.abs(output - batch['sharp']).mean() for output in outputs)
  assert metrics['l_deblur'] == pytest.approx(difference, rel=CLOSE)
  assert metrics['l_g'] == pytest.approx(2 * difference, rel=CLOSE)


# --- several devices -----------------------------------------------------------------------------


@pytest.fixture(scope='module')
def four():
  return four_devices.run('import tiny_deblur; tiny_deblur.main()')


def test_replicas_stay_equal_to_the_bit(four):
  assert four['devices'] == 4
  assert len(four['state']) > 100
  assert four['differing'] == []


def test_four_devices_take_the_step_of_one(four, after):
  now, metrics = after
  assert four['metrics'] == pytest.approx(metrics, rel=CLOSE)
  expected, ours = tiny_deblur.by_path(now), {}
  assert expected.keys() == four['state'].keys()
  for path, value in four['state'].items():
    ours[path] = np.asarray(value, expected[path].dtype)
    if 'generator.params' in path:
      np.testing.assert_allclose(ours[path], expected[path], rtol=0, atol=MOVED * RATE)
    elif expected[path].dtype == np.int32:
      assert ours[path] == expected[path]
  for part in ('.mu', '.nu', 'statistics', 'frozen'):
    a, b = ({path: x for path, x in of.items() if part in path} for of in (ours, expected))
    assert apart(a, b) < 2 * CLOSE  # the second moments are squares
