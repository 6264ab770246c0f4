"""`degrep info`: what a checkpoint holds, told from the shapes of its arrays alone."""

import argparse
import json
import math
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import reference
import saved
import tiny_deblur
import tiny_joint
import torch
from command import ROOT, refused, succeeded

from degrep_jax import convert
from degrep_jax.checkpoints import describe
from degrep_jax.commands import info as commands_info
from degrep_jax.common.errors import UserError

SCORES = {100: 27.25, 200: 26.5, 300: None}


def command(*arguments):
  """Runs `degrep info` in a process of its own."""
  environment = os.environ | {'JAX_PLATFORMS': 'cpu', 'COLUMNS': '100'}
  return subprocess.run(
    [sys.executable, '-m', 'degrep_jax.cli', 'info', *map(str, arguments)],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
  )


def values(tree):
  """Number of values in the arrays of a pytree."""
  return sum(np.size(x) for x in jax.tree.leaves(tree))


@pytest.fixture(scope='module')
def joint(tmp_path_factory):
  """(workdir, config, last state) of a joint run of three checkpoints, two of them evaluated."""
  path = tmp_path_factory.mktemp('runs') / 'joint'
  config = tiny_joint.config(train__steps=400)
  return path, config, saved.workdir(path, config, SCORES)


def test_a_joint_run(joint):
  path, config, state = joint
  found = json.loads(succeeded(command(path, '--json')).stdout)
  params = state['generator']['params']
  expected = {part: values(params[part]) for part in params}
  assert found['parts'] == expected | {'discriminator': values(state['discriminator']['params'])}
  assert found['parameters'] == sum(expected.values())
  assert (found['network'], found['step'], found['trained_steps']) == ('joint', 300, 400)
  assert found['best'] == 100
  assert found['checkpoints'] == {
    '100': {'deblurred_psnr': 27.25},
    '200': {'deblurred_psnr': 26.5},
    '300': None,
  }
  assert found['scores'] == {'evaluations/step_200.json': {'count': 3, 'deblurred_psnr': 26.5}}
  assert found['config']['model.encoder_stages'] == [1, 2]
  assert found['config']['data.crop'] == config.data.crop


def test_the_tables_for_people(joint):
  path, _, state = joint
  result = succeeded(command(path))
  assert result.stderr == ''
  lines = [line.split() for line in result.stdout.splitlines()]
  total = f'{values(state["generator"]["params"]):,}'
  assert result.stdout.startswith(f'{path}: joint net, step 300 of 400\n')
  assert ['width', '2,', 'depth', '3,', 'unshuffle', '1,', "E's", 'width', '2'] in lines
  assert ['together', 'without', 'D', total] in lines
  assert ['step', '100', '27.25', 'best'] in lines
  assert ['step', '300', '-'] in lines
  assert ['deblurred', '26.50', '-', '-'] in lines  # no gain: the input was not scored
  # Fields that are not configs/default.py's, beside what they are there.
  assert ['model.width', '2', '64'] in lines
  assert ['model.encoder', 'official_v2', 'table1'] in lines
  assert not [line for line in lines if line and line[0] == 'model.network']


def test_a_reader_that_has_seen_enough(joint):
  read, write = os.pipe()
  os.close(read)
  arguments = [sys.executable, '-m', 'degrep_jax.cli', 'info', str(joint[0]), '--json']
  with os.fdopen(write, 'w') as pipe:
    result = subprocess.run(arguments, cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, text=True)
  assert (result.returncode, result.stderr) == (1, '')


def test_another_step(joint):
  assert describe.describe(joint[0], step=100)['step'] == 100


def test_neither_tensorflow_nor_a_compiler_is_needed(joint):
  program = (
    'import sys, jax\n'
    'from degrep_jax import cli\n'
    'compiled = []\n'
    'jax.monitoring.register_event_duration_secs_listener(lambda event, *_, **__:'
    " compiled.append(event) if 'compile' in event else None)\n"
    f"sys.argv = ['degrep', 'info', {str(joint[0])!r}]\n"
    'try:\n'
    '  cli.run()\n'
    'finally:\n'
    "  print(compiled, 'tensorflow' in sys.modules)\n"
  )
  result = subprocess.run([sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True)
  assert succeeded(result).stdout.splitlines()[-1] == '[] False'


def test_the_deblurring_stage_tells_what_is_frozen(tmp_path):
  state = saved.workdir(tmp_path, tiny_deblur.config(), {7: math.inf})
  found = describe.describe(tmp_path)
  assert found['parts'] == {
    'encoder': values(state['frozen']['params']['encoder']),
    'pyramid': values(state['frozen']['params']['pyramid']),
    'deblurrer': values(state['generator']['params']),
  }
  assert found['frozen'] == ['encoder', 'pyramid']
  assert found['checkpoints'] == {7: {'deblurred_psnr': 'inf'}}


def test_a_net_without_parts(tmp_path):
  config = tiny_deblur.config(model__network='hinet')
  state = saved.workdir(tmp_path, config, {7: None})
  assert describe.describe(tmp_path)['parts'] == {'network': values(state['generator']['params'])}


@pytest.mark.parametrize(
  ('kind', 'part', 'network'),
  [
    ('encoder_v1', 'encoder', None),
    ('discriminator', 'discriminator', None),
    ('hinet', 'network', 'hinet'),
  ],
)
def test_converted_weights(golden, tmp_path, capsys, kind, part, network):
  name = 'hinet' if kind == 'hinet' else reference.OFFICIAL
  state_dict = reference.Figures(golden, 8, name).state_dict(kind)
  tensors = {key: torch.from_numpy(value) for key, value in state_dict.items()}
  torch.save(tensors, tmp_path / 'net.pth')
  convert.convert_file(kind, tmp_path / 'net.pth', tmp_path / 'out')
  # PyTorch's parameters are what its state dict has besides the vectors of the spectral norms.
  count = sum(x.size for key, x in state_dict.items() if not key.endswith(('_u', '_v')))
  found = describe.describe(tmp_path / 'out')
  assert found['parts'] == {part: count}
  assert (found['network'], found['step'], found['best']) == (network, 0, None)
  assert found['scores'] == {}
  commands_info.run(argparse.Namespace(network=str(tmp_path / 'out'), step=None, json=False))
  assert f'{count:,}' in capsys.readouterr().out


def test_a_folder_without_a_checkpoint(tmp_path):
  refused(command(tmp_path), tmp_path, 'holds no checkpoint')
  with pytest.raises(UserError, match='no holds no checkpoint'):
    describe.describe(tmp_path / 'no')


def test_a_step_that_is_not_there(joint):
  with pytest.raises(UserError, match='step 150: it has 100, 200, 300'):
    describe.describe(joint[0], step=150)


def test_damaged_checkpoints(tmp_path):
  saved.workdir(tmp_path, tiny_deblur.config(model__network='hinet'), {7: 25.0})
  folder = tmp_path / 'checkpoints' / '7'
  (folder / 'metrics' / 'metrics').write_text('{')
  with pytest.raises(UserError, match=r'scores of the checkpoints in .* are damaged'):
    describe.describe(tmp_path)
  (folder / 'default' / '_METADATA').write_text('{')
  with pytest.raises(UserError, match=f'{folder} is damaged'):
    describe.describe(tmp_path)


def test_the_step_that_is_described_is_named(tmp_path, capsys):
  saved.workdir(tmp_path, tiny_deblur.config(model__network='hinet'), {7: None, 9: None})
  (tmp_path / 'checkpoints' / '9' / 'default' / '_METADATA').write_text('{')
  assert describe.describe(tmp_path)['step'] == 7
  assert 'Taking the one before it, of step 7' in capsys.readouterr().err


def test_files_beside_the_scores(tmp_path):
  """Copies that people make are passed over; a damaged file is named."""
  saved.workdir(tmp_path, tiny_deblur.config(model__network='hinet'), {7: None})
  folder = tmp_path / 'evaluations'
  folder.mkdir()
  (folder / 'step_7_copy.json').write_text('{}')
  (folder / 'step_7.json').write_text('{"count": 2, "deblurred_psnr": 20.5}')
  scores = {'evaluations/step_7.json': {'count': 2, 'deblurred_psnr': 20.5}}
  assert describe.describe(tmp_path)['scores'] == scores
  (tmp_path / 'evaluation.json').write_text('{"count": 2')
  with pytest.raises(UserError, match=r'evaluation\.json cannot be read: .* evaluate again'):
    describe.describe(tmp_path)
