"""`degrep export`: files that other programs read, and what these make of them."""

import importlib.metadata
import json
import re
import subprocess
import sys

import child
import jax
import jax.export
import numpy as np
import onnx
import onnxruntime
import pytest
import quick
import saved
import tiny_deblur
import tiny_joint
from command import leaves, succeeded
from flax import traverse_util
from rounding import NETWORK, U, gamma
from safetensors import safe_open

from configs import gopro_deblur
from degrep_jax import checkpoints, cli, inference
from degrep_jax.common.errors import UserError
from degrep_jax.inference import export
from degrep_jax.inference.restorer import Restorer
from degrep_jax.models import factory

TILE = 32
VERSION = importlib.metadata.version('degrep_jax')


@pytest.fixture(scope='module')
def joint(tmp_path_factory):
  """(workdir, last state) of a joint run of two checkpoints."""
  path = tmp_path_factory.mktemp('runs') / 'joint'
  return path, saved.workdir(path, tiny_joint.config(eval__tile=TILE), {3: None, 5: None})


@pytest.fixture
def command(monkeypatch, capsys):
  """Runs `degrep export` in this process: (exit status, what it said)."""

  def run(*arguments):
    monkeypatch.setattr(sys, 'argv', ['degrep', 'export', *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
      cli.run()
    return end.value.code, capsys.readouterr().err

  return run


def read(path):
  """(arrays by name, metadata) of a safetensors file."""
  with safe_open(path, 'numpy') as file:
    return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_safetensors_hold_the_kernels_as_the_convolutions_take_them(joint, command, tmp_path):
  path, state = joint
  target = tmp_path / 'new' / 'net.safetensors'
  status, said = command(path, '--format=safetensors', f'--output={target}')
  assert not status
  arrays, metadata = read(target)
  generator = state['generator']
  params = {name[1:]: x for name, x in leaves({'params': generator['params']}).items()}
  statistics = {name[1:]: x for name, x in leaves(generator['statistics']).items()}
  moments = {name for name in statistics if name.startswith('batch_stats/')}
  assert arrays.keys() == params.keys() | moments
  assert f'wrote {sum(x.size for x in arrays.values()):,} values' in said
  spectral = 0
  for name, x in arrays.items():
    expected, rounding = np.float64((params | statistics)[name]), U
    vectors = name.replace('params/', 'spectral/').removesuffix('kernel')
    if name.endswith('/kernel') and f'{vectors}u' in statistics:
      matrix = expected.reshape(-1, expected.shape[-1]).T
      u, v = (np.float64(statistics[f'{vectors}{of}']) for of in 'uv')
      sigma = u @ matrix @ v
      expected = expected / sigma
      # Two sums, as far as they cancel, a reciprocal, a product and what is kept.
      sums = gamma(len(u) + len(v)) * (np.abs(u) @ np.abs(matrix) @ np.abs(v)) / np.abs(sigma)
      rounding = sums + 3 * U
      spectral += 1
    assert x.dtype == np.float32
    np.testing.assert_allclose(x, expected, rtol=rounding, atol=0)
  assert spectral > 5
  assert (metadata['network'], metadata['step']) == ('joint', '5')
  assert metadata['spectral_norm'] == 'folded'
  assert json.loads(metadata['config']) == json.loads((path / 'config.json').read_text())


def test_stored_safetensors_are_the_checkpoint_bit_by_bit(joint, command, tmp_path):
  path, _ = joint
  target = tmp_path / 'net.safetensors'
  flags = ('--format=safetensors', f'--output={target}', '--stored', '--step=3')
  assert not command(path, *flags)[0]
  arrays, metadata = read(target)
  again = traverse_util.unflatten_dict(arrays, sep='/')
  expected = checkpoints.variables(checkpoints.load(path, 3))
  assert leaves(again).keys() == leaves(expected).keys()
  for name, x in leaves(expected).items():
    assert leaves(again)[name].tobytes() == x.tobytes()
  assert (metadata['step'], metadata['spectral_norm']) == ('3', 'stored')


def test_parts_are_exported_and_a_discriminator_is_not(joint, tmp_path):
  _, state = joint
  encoder = {'params': {'encoder': state['generator']['params']['encoder']}}
  for name, tree in {
    'e': {'frozen': encoder},
    'd': {'discriminator': state['discriminator']},
  }.items():
    with checkpoints.Checkpoints(tmp_path / name, keep=1) as to:
      to.save(0, {'step': np.int32(0)} | tree)
  count = export.to_safetensors(tmp_path / 'e', tmp_path / 'e.safetensors')
  arrays, metadata = read(tmp_path / 'e.safetensors')
  assert count == sum(x.size for x in leaves(encoder).values())
  assert metadata['network'] == '' and all(name.startswith('params/encoder/') for name in arrays)
  with pytest.raises(UserError, match='holds a discriminator alone'):
    export.to_safetensors(tmp_path / 'd', tmp_path / 'd.safetensors')


# Reads a program and pictures, writes what becomes of them; has neither this package nor Flax.
_ELSEWHERE = """
import sys
sys.modules['degrep_jax'] = sys.modules['flax'] = None
import jax.export
import numpy as np
program = jax.export.deserialize(open(sys.argv[1], 'rb').read())
assert program.platforms == ('cpu', 'cuda', 'rocm', 'tpu')
print(program.fun_name)
pictures = np.load(sys.argv[2])
np.save(sys.argv[3], program.call(pictures))
"""


def test_a_program_gives_elsewhere_what_the_restorer_gives(joint, command, tmp_path):
  path, _ = joint
  target = tmp_path / 'net.stablehlo'
  status, said = command(path, '--format=stablehlo', f'--output={target}')
  assert (status, said.split(': ')[1]) == (None, 'float32 (any, 32, 32, 3) to the same\n')
  pictures = np.random.default_rng(0).random((3, TILE, TILE, 3), np.float32)
  np.save(tmp_path / 'pictures.npy', pictures)
  files = [target, tmp_path / 'pictures.npy', tmp_path / 'results.npy']
  result = succeeded(
    subprocess.run(
      [sys.executable, '-c', _ELSEWHERE, *map(str, files)],
      env=child.environment(quick.XLA_FLAGS),
      capture_output=True,
      text=True,
    )
  )
  # Which JAX can be asked to read it, and until when.
  name = f'deblur by degrep_jax {VERSION}, JAX {jax.__version__} on'
  assert re.fullmatch(rf'{re.escape(name)} \d{{4}}-\d\d-\d\d', result.stdout.strip())
  expected = Restorer.from_checkpoint(path).apply(pictures)['deblurred']
  assert np.abs(expected - pictures).max() > 0.05
  np.testing.assert_allclose(np.load(tmp_path / 'results.npy'), expected, rtol=0, atol=NETWORK)


def test_a_program_of_any_batch_resizes_for_its_encoder(tmp_path):
  saved.workdir(tmp_path, tiny_joint.config(eval__tile=TILE, model__encoder_input=64), {3: None})
  export.to_stablehlo(Restorer.from_checkpoint(tmp_path), tmp_path / 'program')
  program = jax.export.deserialize(bytearray((tmp_path / 'program').read_bytes()))
  pictures = np.random.default_rng(0).random((3, TILE, TILE, 3), np.float32)
  expected = Restorer.from_checkpoint(tmp_path).apply(pictures)['deblurred']
  np.testing.assert_allclose(program.call(pictures), expected, rtol=0, atol=NETWORK)


@pytest.mark.parametrize('network', ['msdi_net', 'hinet'])
def test_programs_of_the_deblurring_stage(tmp_path, network):
  saved.workdir(tmp_path, tiny_deblur.config(model__network=network), {7: None})
  restorer = Restorer.from_checkpoint(tmp_path, tile=TILE)
  export.to_stablehlo(restorer, tmp_path / 'program', batch=2)
  program = jax.export.deserialize(bytearray((tmp_path / 'program').read_bytes()))
  assert [x.shape for x in program.in_avals] == [(2, TILE, TILE, 3)]
  assert [x.shape for x in program.out_avals] == [(2, TILE, TILE, 3)]


def test_an_onnx_model_gives_what_the_restorer_gives_and_says_what_it_is(joint, command, tmp_path):
  path, _ = joint
  target = tmp_path / 'net.onnx'
  status, said = command(path, '--format=onnx', f'--output={target}')
  assert (status, said.split(': ')[1]) == (None, 'float32 (any, 32, 32, 3) to the same\n')
  model = onnx.load(target)
  onnx.checker.check_model(model, full_check=True)
  (opset,) = model.opset_import
  assert (opset.domain, opset.version, model.ir_version) == ('', 18, 8)
  assert (model.producer_name, model.producer_version) == ('degrep_jax', VERSION)
  # Spectral norms are folded into kernels, and what only Gr has is left out.
  names = {constant.name for constant in model.graph.initializer}
  assert 'encoder/down_0/conv/kernel' in names and not any('reblurrer' in x for x in names)
  session = onnxruntime.InferenceSession(target, providers=['CPUExecutionProvider'])
  about = session.get_modelmeta().custom_metadata_map
  assert re.fullmatch(r'\d{4}-\d\d-\d\d', about.pop('date'))
  assert json.loads(about.pop('config')) == json.loads((path / 'config.json').read_text())
  assert about == {
    'task': 'deblurring',
    'input': 'blurry: float32 (B, 32, 32, 3), RGB in [0, 1]',
    'output': 'deblurred: float32 (B, 32, 32, 3), RGB, to be clipped to [0, 1]',
    'network': 'joint',
    'tile': '32',
    'layout': 'NHWC',
    'step': '5',
    'versions': f'degrep_jax {VERSION}, JAX {jax.__version__}',
  }
  pictures = np.random.default_rng(0).random((3, TILE, TILE, 3), np.float32)
  expected = Restorer.from_checkpoint(path).apply(pictures)['deblurred']
  for count in (1, 3):
    (found,) = session.run(['deblurred'], {'blurry': pictures[:count]})
    np.testing.assert_allclose(found, expected[:count], atol=1e-5)


def test_an_onnx_model_of_channels_first_and_a_fixed_batch(tmp_path, command):
  saved.workdir(tmp_path / 'net', tiny_deblur.config(model__network='hinet'), {7: None})
  flags = ('--format=onnx', f'--output={tmp_path / "model"}', '--layout=NCHW', '--batch=2')
  status, said = command(tmp_path / 'net', *flags, f'--tile={TILE}')
  assert (status, said.split(': ')[1]) == (None, 'float32 (2, 3, 32, 32) to the same\n')
  session = onnxruntime.InferenceSession(tmp_path / 'model', providers=['CPUExecutionProvider'])
  for end in (session.get_inputs()[0], session.get_outputs()[0]):
    assert (end.type, end.shape) == ('tensor(float)', [2, 3, TILE, TILE])
  pictures = np.random.default_rng(0).random((2, TILE, TILE, 3), np.float32)
  restorer = Restorer.from_checkpoint(tmp_path / 'net', tile=TILE)
  (found,) = session.run(None, {'blurry': pictures.transpose(0, 3, 1, 2)})
  expected = restorer.apply(pictures)['deblurred'].transpose(0, 3, 1, 2)
  np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_onnx_cannot_hold_is_refused_before_anything_is_written(joint, tmp_path, monkeypatch):
  restorer, target = Restorer.from_checkpoint(joint[0]), tmp_path / 'net.onnx'
  with pytest.raises(UserError, match="a layout 'NHCW': choose one of NHWC, NCHW"):
    export.to_onnx(restorer, target, layout='NHCW')
  half = Restorer.from_checkpoint(joint[0], dtype='bfloat16')
  with pytest.raises(UserError, match='bfloat16: ONNX takes float32'):
    export.to_onnx(half, target)
  large = {'params': np.broadcast_to(np.float32(0), 2**29)}
  with monkeypatch.context() as patch, pytest.raises(UserError, match='GiB of weights'):
    patch.setattr(restorer, 'variables', large)
    export.to_onnx(restorer, target)
  monkeypatch.delattr(inference, 'to_onnx', raising=False)
  monkeypatch.setitem(sys.modules, 'degrep_jax.inference.to_onnx', None)
  with pytest.raises(UserError, match=r"run pip install '\.\[onnx\]' in the clone"):
    export.to_onnx(restorer, target)
  assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_onnx_model_of_full_width(tmp_path):
  module = factory.build_network(gopro_deblur.get_config().model, axis_name=None)
  restorer = Restorer(module, saved.variables(module, 0, (1, 256, 256, 3)))
  assert restorer.about['parameters'] == 241_287_622
  export.to_onnx(restorer, tmp_path / 'net.onnx')
  session = onnxruntime.InferenceSession(tmp_path / 'net.onnx', providers=['CPUExecutionProvider'])
  pictures = np.random.default_rng(0).random((1, restorer.tile, restorer.tile, 3), np.float32)
  expected = restorer.apply(pictures)['deblurred']
  (found,) = session.run(None, {'blurry': pictures})
  np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['small_joint', 'small_deblur', 'small_hinet'])
def test_onnx_models_of_the_small_nets(tmp_path, name):
  config = importlib.import_module(f'configs.{name}').get_config().model
  module, shape = factory.build_network(config, axis_name=None), (1, 256, 256, 3)
  inputs = [shape] * factory.NETWORKS[config.network].inputs
  restorer = Restorer(module, saved.variables(module, 0, *inputs))
  export.to_onnx(restorer, tmp_path / 'net.onnx')
  session = onnxruntime.InferenceSession(tmp_path / 'net.onnx', providers=['CPUExecutionProvider'])
  pictures = np.random.default_rng(0).random((2, *shape[1:]), np.float32)
  (found,) = session.run(None, {'blurry': pictures})
  np.testing.assert_allclose(found, restorer.apply(pictures)['deblurred'], atol=1e-5)


def test_what_is_there_is_left_alone(joint, command, tmp_path):
  target = tmp_path / 'net.safetensors'
  target.write_text('mine')
  flags = (joint[0], '--format=safetensors', f'--output={target}')
  status, said = command(*flags)
  assert status == 2 and f'{target} is there already' in said
  assert target.read_text() == 'mine'
  assert not command(*flags, '--overwrite')[0]
  assert read(target)[1]['network'] == 'joint'


@pytest.mark.parametrize(
  ('form', 'flag'),
  [
    ('safetensors', '--tile=32'),
    ('safetensors', '--batch=1'),
    ('safetensors', '--layout=NCHW'),
    ('stablehlo', '--stored'),
    ('stablehlo', '--layout=NCHW'),
    ('onnx', '--stored'),
    ('onnx', '--dtype=float16'),
    ('stablehlo', '--note=data=mine'),
  ],
)
def test_flags_of_the_other_form_are_refused(command, tmp_path, form, flag):
  status, said = command('none', f'--format={form}', f'--output={tmp_path / "x"}', flag)
  assert status == 2 and f'{flag.partition("=")[0]} ' in said and 'leave' in said


def test_batches_of_nothing_are_refused(joint, command, tmp_path):
  flags = ('--format=stablehlo', f'--output={tmp_path / "x"}')
  status, said = command(joint[0], *flags, '--batch=0')
  assert status == 2 and 'a batch of 0 tiles' in said
  assert not list(tmp_path.iterdir())
