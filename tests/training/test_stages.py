"""Trainings that begin with the weights of a whole network."""

import jax
import numpy as np
import pytest
import saved
import tiny_deblur
import tiny_joint

from degrep_jax.common.errors import UserError
from degrep_jax.inference.export import to_safetensors
from degrep_jax.models.variables import merged
from degrep_jax.training import stages
from degrep_jax.training.loop import train

CONFIGS = {
  'joint': tiny_joint.config(train__ema_decay=0.9),
  'msdi_net': tiny_deblur.config(train__ema_decay=0.9),
}


def started(config, place):
  """(state as drawn, state with the weights that `config.train.start_from` names)."""
  config = config.copy_and_resolve_references()
  config.train.start_from = str(place)
  stage = stages.open_stage(config, tiny_joint.FROZEN)
  drawn = stage.create()
  return drawn, stage.prepare(drawn)


def same(one, other):
  return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


@pytest.fixture(scope='module', params=CONFIGS)
def network(request, tmp_path_factory):
  """(config, workdir of a run, its variables)."""
  config, path = CONFIGS[request.param], tmp_path_factory.mktemp('runs') / request.param
  state = saved.workdir(path, config, {3: None})
  parts = {'params': state['generator']['params'], **state['generator']['statistics']}
  return config, path, merged(state.get('frozen', {}), parts)


def test_a_training_begins_with_the_weights_of_a_workdir(network):
  config, path, variables = network
  drawn, now = started(config, path)
  assert same(dict(now.variables), variables)
  assert same(now.generator.params, now.ema) and not same(now.ema, drawn.ema)
  assert now.step == 0 and same(now.generator.opt_state, drawn.generator.opt_state)
  assert jax.tree.map(np.shape, now) == jax.tree.map(np.shape, drawn)
  if config.model.network == 'joint':
    assert same(now.discriminator, drawn.discriminator)


def test_a_file_with_folded_norms_gives_the_same_network(network, tmp_path):
  config, path, variables = network
  file = tmp_path / 'network.safetensors'
  to_safetensors(path, file)
  _, now = started(config, file)
  assert jax.tree.structure(dict(now.variables)) == jax.tree.structure(variables)
  module = stages.open_stage(config, tiny_joint.FROZEN).network
  size = (1, 32, 32, 3)
  pictures = [np.random.default_rng(n).random(size, np.float32) for n in range(2)]
  shown = pictures if config.model.network == 'joint' else pictures[:1]
  apply = jax.jit(module.apply)
  # Random weights are far from what a power iteration ends at: theirs are folded exactly.
  stored = tmp_path / 'stored.safetensors'
  to_safetensors(path, stored, fold=False)
  _, exact = started(config, stored)
  assert same(dict(exact.variables), variables)
  for found, expected in zip(
    apply(now.variables, *shown), apply(_normalised(variables), *shown), strict=True
  ):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def _normalised(variables):
  """Variables whose kernels under a spectral norm are divided by sigma and then by what is left of
  their largest singular value, by NumPy; their vectors left out."""

  def divided(params, vectors):
    if 'u' not in vectors:
      return params | {name: divided(params[name], of) for name, of in vectors.items()}
    kernel = np.asarray(params['kernel'], np.float64)
    largest = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2)
    return params | {'kernel': (kernel / largest).astype(np.float32)}

  rest = {name: tree for name, tree in variables.items() if name != 'spectral'}
  return rest | {'params': divided(variables['params'], variables['spectral'])}


def test_another_network_is_refused_by_its_fields(network):
  config, path, _ = network
  other = config.copy_and_resolve_references()
  other.model.width, other.model.discriminator_width = 4, 8
  with pytest.raises(UserError) as refusal:
    started(other, path)
  assert 'config.train.start_from' in str(refusal.value)
  assert 'set model.width (there 2, now 4).' in str(refusal.value)


@pytest.mark.parametrize(
  ('kind', 'field', 'name', 'told'),
  [
    (tiny_joint, 'start_from', 'smal', '.* smal: is small meant'),
    (tiny_deblur, 'init_from', 'runs/none', 'runs/none holds no checkpoint'),
  ],
)
def test_what_is_not_there_is_told_before_anything_is_written(tmp_path, kind, field, name, told):
  config = kind.config(data__source='synthetic', eval__tile=32, eval__batch_size=8)
  config.train[field] = name
  with pytest.raises(UserError, match=rf'config\.train\.{field}: {told}'):
    train(config, tmp_path / 'run')
  assert not (tmp_path / 'run' / 'config.json').exists()
