"""`degrep convert`: released files become workdirs that evaluation and `train.init_from` take."""

import datetime
import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
import reference
import torch
from command import ROOT, differing, gopro, refused, run, succeeded
from PIL import Image

from configs import gopro_deblur
from degrep_jax import checkpoints, cli, convert
from degrep_jax.common.errors import UserError
from degrep_jax.data.released.layouts import DATASETS, PICTURES
from degrep_jax.evaluation.held_out import evaluate_run
from degrep_jax.inference import engines, restorer
from degrep_jax.models.variables import DTYPES
from degrep_jax.training import stages
from degrep_jax.training.loop import train

PARTS = ('encoder_v1', 'upsampler_v1')


def shrunk(data=''):
  """The deblurring stage's config with the released networks narrowed to width 8."""
  config = gopro_deblur.get_config()
  config.model.encoder, config.model.width, config.model.encoder_width = 'official_v1', 8, 8
  config.data.crop, config.data.root = 32, str(data)
  return config


@pytest.fixture(scope='module')
def released(golden, tmp_path_factory):
  """(folder of <kind>.pth files, kind to state dict)."""
  folder = tmp_path_factory.mktemp('released')
  figures = reference.load(golden, 8)
  state_dicts = {kind: figures.state_dict(kind) for kind in ('msdi_net', *PARTS)}
  for kind, state_dict in state_dicts.items():
    tensors = {key: torch.from_numpy(value) for key, value in state_dict.items()}
    torch.save({'params': tensors}, folder / f'{kind}.pth')
  return folder, state_dicts


def command(kind, path, out):
  """Runs `degrep convert` in a process of its own."""
  arguments = ['-m', 'degrep_jax.cli', 'convert', kind, str(path), str(out)]
  environment = os.environ | {'JAX_PLATFORMS': 'cpu'}
  return subprocess.run(
    [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True
  )


@pytest.fixture(scope='module')
def converted(released, tmp_path_factory):
  """Workdir of the whole net."""
  out = tmp_path_factory.mktemp('converted') / 'runs' / 'msdi_net'
  result = succeeded(command('msdi_net', released[0] / 'msdi_net.pth', out))
  assert 'parameters to' in result.stderr
  return out


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  """Pairs of one tile each, in GoPro's layout."""
  return gopro(tmp_path_factory.mktemp('data'), size=(32, 32))


def test_a_converted_checkpoint_holds_the_networks_variables(released, converted):
  module, variables = convert.from_pytorch('msdi_net', released[1]['msdi_net'])
  saved = checkpoints.load(converted)
  assert saved['step'] == 0
  assert not differing(checkpoints.variables(saved), variables)
  assert json.loads((converted / 'config.json').read_text()) == {
    'model': {
      'network': 'msdi_net',
      'width': 8,
      'depth': 5,
      'unshuffle': 1,
      'modulation_hidden': module.deblurrer.hidden,
      'encoder': 'official_v1',
      'encoder_width': 8,
      'encoder_stages': [1, 2, 4, 8, 8],
      'encoder_input': 256,
      'encoder_gain': 1.0,
      'modulation': 'spade',
      'global_code': False,
      'without_map': False,
    }
  }


@pytest.mark.slow
def test_a_converted_network_is_evaluated(released, converted, data):
  flags = (
    '--config.model.encoder=official_v1',
    '--config.model.width=8',
    '--config.model.encoder_width=8',
    '--config.eval.tile=32',
    f'--config.data.root={data}',
  )
  succeeded(run(converted, '--mode=eval', *flags, config='configs/gopro_deblur.py'))
  module, variables = convert.from_pytorch('msdi_net', released[1]['msdi_net'])
  blurry, sharp = (
    np.asarray(Image.open(data / 'test' / 'GOPR0001' / kind / '000001.png'), np.float64)
    for kind in ('blur', 'sharp')
  )
  _, out2 = jax.jit(module.apply)(variables, np.float32(blurry[None] / 255))
  restored = np.rint(np.clip(out2[0], 0, 1) * 255)
  expected = 10 * np.log10(255**2 / np.square(restored - sharp).mean())
  # Both pairs are the same pictures.
  scores = json.loads((converted / 'evaluation.json').read_text())
  assert scores['deblurred_psnr'] == pytest.approx(expected, abs=0.01)


def test_a_converted_network_is_not_evaluated_as_another(converted, data):
  config = shrunk(data)
  config.model.encoder_width = 4
  with pytest.raises(UserError, match=r'model\.encoder_width \(there 8, now 4\)'):
    evaluate_run(config, converted)


def test_no_training_goes_on_from_converted_weights(converted, data):
  before = checkpoints.load(converted)
  with pytest.raises(UserError, match=r'holds converted weights.*choose another --workdir'):
    train(shrunk(data), converted)
  assert not differing(before, checkpoints.load(converted))


def test_a_training_begins_with_converted_weights(released, converted):
  config = shrunk()
  config.train.start_from = str(converted)
  stage = stages.open_stage(config)
  _, expected = convert.from_pytorch('msdi_net', released[1]['msdi_net'])
  assert not differing(stage.prepare(stage.create()).variables, expected)


def test_converted_parts_start_a_deblurring_run(released, tmp_path):
  folder, state_dicts = released
  for kind in PARTS:
    convert.convert_file(kind, folder / f'{kind}.pth', tmp_path / kind)
  config = shrunk()
  config.model.depth = 2  # of the U-Nets, to be quick: E and the pyramid are whole
  config.train.init_from = ','.join(str(tmp_path / kind) for kind in PARTS)
  stage = stages.open_stage(config)
  frozen = stage.prepare(stage.create()).frozen
  for part, kind in zip(('encoder', 'pyramid'), PARTS, strict=True):
    _, expected = convert.from_pytorch(kind, state_dicts[kind])
    assert not differing({of: tree[part] for of, tree in frozen.items()}, expected)


# --- what a user gets wrong ----------------------------------------------------------------------


@pytest.fixture
def refusal(monkeypatch, capsys, tmp_path):
  """(kind, file) -> the one line that `degrep convert` prints; status 2, nothing written."""

  def refuse(kind, path):
    out = tmp_path / 'runs' / 'out'
    monkeypatch.setattr(sys, 'argv', ['degrep', 'convert', kind, str(path), str(out)])
    with pytest.raises(SystemExit) as end:
      cli.run()
    assert end.value.code == 2
    assert not out.parent.exists()
    printed = capsys.readouterr()
    assert printed.out == ''
    (line,) = printed.err.splitlines()
    assert line.startswith('degrep_jax: ')
    return line

  return refuse


def test_a_truncated_file(released, refusal, tmp_path):
  content = (released[0] / 'encoder_v1.pth').read_bytes()
  (tmp_path / 'net.pth').write_bytes(content[: len(content) // 2])
  line = refusal('encoder_v1', tmp_path / 'net.pth')
  assert str(tmp_path / 'net.pth') in line and 'damaged' in line


def test_another_networks_file(released, refusal):
  path = released[0] / 'upsampler_v1.pth'
  line = refusal('encoder_v1', path)
  assert str(path) in line and 'not of the kind asked for' in line


def test_a_file_with_foreign_objects(refusal, tmp_path):
  torch.save({'saved': datetime.date(2022, 10, 1)}, tmp_path / 'net.pth')
  line = refusal('encoder_v1', tmp_path / 'net.pth')
  assert str(tmp_path / 'net.pth') in line and 'tensors alone' in line


def test_a_missing_file(tmp_path):
  result = command('encoder_v1', tmp_path / 'no.pth', tmp_path / 'out')
  refused(result, f'cannot read {tmp_path / "no.pth"}')
  assert len(result.stderr.splitlines()) == 1
  assert not (tmp_path / 'out').exists()


def test_too_little_memory_is_a_sentence(monkeypatch, capsys):
  def run(_):
    raise RuntimeError('RESOURCE_EXHAUSTED: Out of memory')

  monkeypatch.setattr('degrep_jax.commands.info.run', run)
  monkeypatch.setattr(sys, 'argv', ['degrep', 'info', 'runs/net'])
  with pytest.raises(SystemExit) as end:
    cli.run()
  assert end.value.code == 2
  assert capsys.readouterr().err.startswith('degrep_jax: the memory does not suffice (')


@pytest.mark.parametrize(
  ('error', 'sentence'),
  [
    (PermissionError(13, 'Permission denied', 'a/b'), 'a/b cannot be used: Permission denied.'),
    (OSError(28, 'No space left on device'), 'No space left on device.'),
    (OSError('broken data stream'), 'broken data stream.'),
  ],
)
def test_an_error_of_the_system_is_a_sentence(monkeypatch, capsys, error, sentence):
  def run(_):
    raise error

  monkeypatch.setattr('degrep_jax.commands.info.run', run)
  monkeypatch.setattr(sys, 'argv', ['degrep', 'info', 'runs/net'])
  with pytest.raises(SystemExit) as end:
    cli.run()
  assert end.value.code == 2
  assert capsys.readouterr().err == f'degrep_jax: {sentence}\n'


def test_a_file_of_weights_that_no_checkpoint_flag_would_know(monkeypatch, capsys, tmp_path):
  for name in ('net', 'net.bin'):
    output = f'--output={tmp_path / name}'
    monkeypatch.setattr(sys, 'argv', ['degrep', 'export', 'none', '--format=safetensors', output])
    with pytest.raises(SystemExit) as end:
      cli.run()
    assert end.value.code == 2
    assert f'{tmp_path / name} would be taken for a workdir later: end its name with ' in (
      capsys.readouterr().err
    )


@pytest.mark.parametrize(
  ('command', 'names'),
  [('convert', convert.KINDS), ('prepare', DATASETS)],
  ids=lambda x: str(x)[:9],
)
def test_help_names_all_that_there_are(monkeypatch, capsys, command, names):
  monkeypatch.setattr(sys, 'argv', ['degrep', command, '--help'])
  with pytest.raises(SystemExit):
    cli.run()
  assert names.keys() <= set(capsys.readouterr().out.replace(',', ' ').split())


@pytest.mark.parametrize(
  ('command', 'choices'),
  [
    ('deblur', {'mode': restorer.MODES, 'dtype': DTYPES, 'engine': engines.ENGINES}),
    ('reblur', {'mode': restorer.MODES, 'dtype': DTYPES, 'engine': engines.ENGINES}),
    ('demo', {'mode': restorer.MODES}),
    ('prepare', {'pictures': PICTURES}),
  ],
)
def test_help_offers_what_the_modules_take(monkeypatch, capsys, command, choices):
  monkeypatch.setattr(sys, 'argv', ['degrep', command, '--help'])
  with pytest.raises(SystemExit):
    cli.run()
  text = ' '.join(capsys.readouterr().out.split())
  for flag, values in choices.items():
    assert f'--{flag} {{{",".join(values)}}}' in text


def test_an_unknown_kind(refusal, tmp_path):
  line = refusal('resnet', tmp_path / 'net.pth')
  assert 'resnet' in line and 'encoder_v1' in line


def test_a_folder_with_a_checkpoint(released, converted, monkeypatch, capsys):
  before = checkpoints.load(converted)
  path = str(released[0] / 'msdi_net.pth')
  monkeypatch.setattr(sys, 'argv', ['degrep', 'convert', 'msdi_net', path, str(converted)])
  with pytest.raises(SystemExit) as end:
    cli.run()
  assert end.value.code == 2
  assert f'{converted} holds a run or a checkpoint already' in capsys.readouterr().err
  assert not differing(before, checkpoints.load(converted))
