"""Files of `degrep export` read again."""

import json

import numpy as np
import pytest
import safetensors.numpy
import saved
import tiny_deblur
import tiny_joint
from command import differing
from flax import traverse_util

from degrep_jax import Restorer, checkpoints
from degrep_jax.checkpoints import exported
from degrep_jax.checkpoints.describe import describe
from degrep_jax.common.errors import UserError
from degrep_jax.inference import export
from degrep_jax.models import spectral_norm

TILE = 32


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  """A joint run's workdir, whose config names folders of this machine."""
  path = tmp_path_factory.mktemp('runs') / 'joint'
  config = tiny_joint.config(eval__tile=TILE, data__root='/home/somebody/GOPRO_Large/')
  config.train.init_from = '/home/somebody/encoder, /home/somebody/pyramid'
  saved.workdir(path, config, {3: None, 5: None})
  return path


@pytest.mark.parametrize('fold', [True, False])
def test_variables_come_back(run, tmp_path, fold):
  export.to_safetensors(run, tmp_path / 'net.safetensors', step=3, fold=fold)
  found = exported.load(tmp_path / 'net.safetensors')
  expected = checkpoints.variables(checkpoints.load(run, 3))
  if fold:
    expected = spectral_norm.folded(expected)
  assert not differing(found.variables, expected)
  assert (found.step, found.folded) == (3, fold)
  assert exported.describe(tmp_path / 'net.safetensors').variables is None


@pytest.mark.parametrize('fold', [True, False])
def test_a_file_of_float32_restores_as_the_checkpoint_to_the_bit(run, tmp_path, fold):
  export.to_safetensors(run, tmp_path / 'net.safetensors', fold=fold)
  ours = Restorer.from_checkpoint(tmp_path / 'net.safetensors')
  theirs = Restorer.from_checkpoint(run)
  assert not differing(*({'': _plain(of.variables)} for of in (ours, theirs)))


@pytest.mark.parametrize('name', ['net.safetensors', 'a/NET.SAFETENSORS', 'net.SafeTensors'])
def test_names_of_files_are_told_from_workdirs(name):
  assert exported.is_one(name) and not exported.is_one(f'{name}/net')


def _plain(variables):
  flat = traverse_util.flatten_dict(variables)
  return traverse_util.unflatten_dict({path: np.asarray(x) for path, x in flat.items()})


def test_the_same_checkpoint_gives_the_same_bytes(run, tmp_path):
  notes = {'commit': 'c0ffee', 'data': 'photographs', 'licence': 'CC0', 'by': 'us', 'at': 'home'}
  contents = set()
  for number in range(4):  # the library's own order of the metadata would repeat 1 time in 10^12
    path = tmp_path / f'{number}.safetensors'
    export.to_safetensors(run, path, dtype='float16', notes=notes)
    contents.add(path.read_bytes())
  assert len(contents) == 1
  found = exported.load(path)
  day = checkpoints.saved_on(run, 5)
  assert found.notes == notes | {'date': day} and len(day) == len('2026-11-29')
  # Again, from the file itself.
  export.to_safetensors(path, tmp_path / 'again.safetensors', dtype='float16')
  assert (tmp_path / 'again.safetensors').read_bytes() in contents


def test_a_file_names_no_folders_of_the_machine_that_made_it(run, tmp_path):
  export.to_safetensors(run, tmp_path / 'net.safetensors')
  assert b'somebody' not in (tmp_path / 'net.safetensors').read_bytes()
  config = exported.load(tmp_path / 'net.safetensors').config
  assert config.data.root == 'GOPRO_Large'
  assert config.train.init_from == 'encoder,pyramid'


def test_half_the_bytes_and_what_does_not_fit(run, tmp_path):
  whole, half = tmp_path / 'whole.safetensors', tmp_path / 'half.safetensors'
  count = export.to_safetensors(run, whole)
  export.to_safetensors(run, half, dtype='float16')
  assert whole.stat().st_size - half.stat().st_size == pytest.approx(2 * count, abs=8 * 64)
  state = saved.state(tiny_joint.config(), 3)
  params = state['generator']['params']['deblurrer']['conv_in']
  params['bias'] = np.full_like(params['bias'], 1e5)
  with checkpoints.Checkpoints(tmp_path / 'large', keep=1) as to:
    to.save(3, state)
  with pytest.raises(UserError, match=r'deblurrer/conv_in/bias of .* float16 cannot: write float3'):
    export.to_safetensors(tmp_path / 'large', tmp_path / 'large.safetensors', dtype='float16')
  assert not (tmp_path / 'large.safetensors').exists()


@pytest.mark.parametrize('network', ['msdi_net', 'hinet'])
def test_the_parts_of_a_file_are_those_of_the_run(tmp_path, network):
  saved.workdir(tmp_path / 'run', tiny_deblur.config(model__network=network), {7: None})
  path = tmp_path / 'net.safetensors'
  export.to_safetensors(tmp_path / 'run', path, dtype='float16')
  found, run = describe(path), describe(tmp_path / 'run')
  for field in ('network', 'parts', 'frozen', 'parameters', 'step', 'trained_steps'):
    assert found[field] == run[field], field
  assert found['bytes'] == path.stat().st_size


def _write(path, **metadata):
  path.write_bytes(safetensors.numpy.save({'params/x': np.zeros(2, np.float32)}, metadata))
  return path


def test_what_is_no_network(tmp_path):
  told = {'network': 'joint', 'step': '3', 'spectral_norm': 'folded', 'config': '{}'}
  for path, words in (
    (tmp_path / 'no.safetensors', 'cannot be read'),
    (_write(tmp_path / 'foreign.safetensors', format='pt'), 'was not written by degrep export'),
    (_write(tmp_path / 'parts.safetensors', **told | {'network': ''}), 'parts of a network alone'),
    (_write(tmp_path / 'config.safetensors', **told | {'config': '{'}), 'was not written by'),
    (_write(tmp_path / 'other.safetensors', **told), 'no safetensors file'),
  ):
    if path.stem == 'other':
      path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=f'{path} .*{words}'):
      exported.load(path)
  config = json.dumps({'model': tiny_joint.config().model.to_dict()})
  path = _write(tmp_path / 'net.safetensors', **told | {'config': config})
  with pytest.raises(UserError, match=f'{path} is of other networks than the config'):
    Restorer.from_checkpoint(path)
  with pytest.raises(UserError, match='is a file, which has no steps'):
    Restorer.from_checkpoint(path, step=3)
  with pytest.raises(UserError, match='a note step: the file says that itself'):
    export.to_safetensors(path, tmp_path / 'x.safetensors', notes={'step': '4'})
