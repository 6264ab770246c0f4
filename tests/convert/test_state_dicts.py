"""Released state dicts to our variables and back, and the files they are read from."""

import datetime
import functools
import pickle

import float64
import jax
import numpy as np
import pytest
import reference
import torch
from float64 import CLOSE, apart

from degrep_jax import convert
from degrep_jax.common.errors import UserError
from degrep_jax.convert.torch_files import read_state_dict
from degrep_jax.models.encoder import Encoder
from degrep_jax.models.layers import Conv, UpConv

# Kind to (the kind of a whole network that holds it, its prefix there).
PARTS = {
  'encoder_v1': ('msdi_net', 'net_prior.'),
  'upsampler_v1': ('msdi_net', 'prior_upsampling.'),
  'encoder_v2': ('msdi2e', 'net_prior.'),
  'upsampler_v2': ('msdi2e', 'prior_upsampling.'),
}
NAMES = {'encoder': 'encoder', 'upsampler': 'pyramid'}  # of the parts in our whole networks
# Keys that nothing reads. conv_4 of 2 (5 + 4) blocks of the U-Nets and 6 * 4 of the skips, three
# statistics of four norms; weight and bias of two conv_02, the count of eight norms.
UNREAD = {'msdi_net': 18 + 24 + 3 * 4, 'msdi2e': 2 * 2 + 8}


@functools.cache
def _filled(folder, kind):
  if kind == 'upsampler_v2':  # has no figures of its own
    return _part(_filled(folder, 'msdi2e'), PARTS[kind][1])
  name = 'hinet' if kind == 'hinet' else reference.OFFICIAL
  return reference.load(folder, 8, name).state_dict(kind)


def _part(state, prefix):
  return {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}


@pytest.fixture
def filled(golden):
  """Kind to a released state dict of width 8, a new dict of shared arrays."""
  return lambda kind: dict(_filled(golden, kind))


def _assert_same(ours, expected):
  assert jax.tree.structure(ours) == jax.tree.structure(expected)
  for our, their in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
    assert our.dtype == their.dtype
    np.testing.assert_array_equal(our, their)


@pytest.mark.parametrize('kind', convert.KINDS)
def test_there_and_back_is_bit_exact(filled, kind):
  state = filled(kind)
  # Statistics as after training: a new network's 0 and 1 would hide that they are not passed on.
  state |= {key: v + 3 for key, v in state.items() if 'running' in key or 'num_batches' in key}
  _, variables, unread = convert.convert(kind, state)
  assert len(unread) == UNREAD.get(kind, 0)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype('float32')}
  _assert_same(convert.to_pytorch(kind, variables, unread), state)


@pytest.mark.parametrize('kind', UNREAD)
def test_what_nothing_reads_is_a_new_networks_unless_given(filled, kind):
  _, variables, unread = convert.convert(kind, filled(kind))
  new = {
    key: np.full(value.shape, 1 if key.endswith('running_var') else 0, value.dtype)
    for key, value in unread.items()
  }
  _assert_same(convert.to_pytorch(kind, variables), filled(kind) | new)


def test_a_file_without_what_nothing_reads(filled):
  state = {key: v for key, v in filled('msdi2e').items() if 'num_batches_tracked' not in key}
  _, variables, unread = convert.convert('msdi2e', state)
  assert sorted(unread) == [
    f'{net}.conv_02.{leaf}'
    for net in ('generator', 'inverse_generator')
    for leaf in ('bias', 'weight')
  ]
  _assert_same(variables, convert.from_pytorch('msdi2e', filled('msdi2e'))[1])


@pytest.mark.parametrize(
  'wrap',
  [
    lambda state: {'params': state},
    lambda state: {'epoch': 3, 'params_ema': state},
    lambda state: {f'module.{key}': value for key, value in state.items()},
    lambda state: {'state_dict': {f'module.{key}': value for key, value in state.items()}},
    lambda state: {key: torch.from_numpy(value) for key, value in state.items()},
  ],
  ids=['params', 'params_ema', 'module', 'module in state_dict', 'tensors'],
)
def test_other_forms_of_a_state_dict(filled, wrap):
  state = filled('discriminator')
  _, expected = convert.from_pytorch('discriminator', state)
  _assert_same(convert.from_pytorch('discriminator', wrap(state))[1], expected)


@pytest.mark.parametrize('kind', PARTS)
def test_a_part_of_a_whole_network(filled, kind):
  whole, prefix = PARTS[kind]
  part, variables = convert.from_pytorch(kind, filled(whole))
  alone, expected = convert.from_pytorch(kind, _part(filled(whole), prefix))
  assert part == alone
  _assert_same(variables, expected)
  name = NAMES[kind.split('_')[0]]
  net, of_whole = convert.from_pytorch(whole, filled(whole))
  assert getattr(net, name) == part
  _assert_same(variables, {of: tree[name] for of, tree in of_whole.items() if name in tree})


def test_transposed_convolutions_are_torchs(filled):
  state = filled('hinet')
  _, variables = convert.from_pytorch('hinet', state)
  x = np.random.default_rng(0).standard_normal((2, 3, 5, 128), np.float32)
  ours = float64.jit(UpConv(64).apply)({'params': variables['params']['upsample_0_3']}, x)
  arrays = (*(state[f'up_path_1.0.up.{leaf}'] for leaf in ('weight', 'bias')), x)
  weight, bias, pictures = (torch.from_numpy(of).double() for of in arrays)
  theirs = torch.nn.functional.conv_transpose2d(
    pictures.permute(0, 3, 1, 2), weight, bias, stride=2
  )
  assert apart(ours, theirs.permute(0, 2, 3, 1).numpy()) < CLOSE


def test_spectral_convolutions_are_torchs(filled):
  torch.manual_seed(0)
  # The vectors are drawn at random, so another order of v's elements gives another sigma.
  theirs = torch.nn.utils.spectral_norm(torch.nn.Conv2d(8, 16, 3, padding=1, bias=False)).eval()
  state = filled('encoder_v1')
  state |= {f'layer2.0.{key}': value for key, value in theirs.state_dict().items()}
  _, variables = convert.from_pytorch('encoder_v1', state)
  variables = {of: variables[of]['down_1']['conv'] for of in ('params', 'spectral')}
  x = np.random.default_rng(0).standard_normal((2, 6, 5, 8), np.float32)
  ours = float64.jit(Conv(16, use_bias=False, spectral=True).apply)(variables, x)
  with torch.no_grad():
    expected = theirs.double()(torch.from_numpy(x).double().permute(0, 3, 1, 2))
  assert apart(ours, expected.permute(0, 2, 3, 1).numpy()) < CLOSE


def _refusal(function, *args):
  with pytest.raises(UserError) as caught:
    function(*args)
  message = str(caught.value)
  assert '\n' not in message
  assert message.endswith('.')
  return message


def test_every_wrong_key_is_named(filled):
  state = filled('encoder_v1')
  state['another.weight'] = state.pop('out.0.weight_u')
  state['conv_7x7.bias'] = np.zeros((3, 1), np.float32)
  message = _refusal(convert.from_pytorch, 'encoder_v1', state)
  assert 'lacks out.0.weight_u;' in message
  assert 'holds besides another.weight;' in message
  assert 'conv_7x7.bias [3, 1] instead of [8]' in message


def test_misshapen_keys_that_nothing_reads(filled):
  state = filled('msdi_net') | {'skip_conv_6.3.conv_4.weight': np.zeros(5, np.float32)}
  message = _refusal(convert.from_pytorch, 'msdi_net', state)
  assert 'skip_conv_6.3.conv_4.weight [5] instead of [8, 8, 1, 1]' in message


def test_a_long_list_of_keys_is_cut(filled):
  surplus = {f'x{i:02d}': np.zeros(1) for i in range(30)}
  message = _refusal(convert.from_pytorch, 'discriminator', filled('discriminator') | surplus)
  assert 'x04 and 25 more' in message
  assert 'x05' not in message


@pytest.mark.parametrize('value', [None, np.float32(1), np.zeros((0, 3, 3, 3))])
def test_without_the_key_that_tells_the_width(filled, value):
  state = filled('encoder_v1') | {'layer1.0.weight_orig': value}
  if value is None:
    del state['layer1.0.weight_orig']
  assert 'lacks layer1.0.weight_orig' in _refusal(convert.from_pytorch, 'encoder_v1', state)


@pytest.mark.parametrize(('kind', 'given'), [('hinet', 'msdi_net'), ('encoder_v2', 'msdi_net')])
def test_another_networks_state_dict(filled, kind, given):
  assert 'not of the kind asked for' in _refusal(convert.from_pytorch, kind, filled(given))


def test_something_besides_arrays(filled):
  state = filled('discriminator')
  key, value = next(iter(state.items()))
  state[key] = torch.nn.Parameter(torch.from_numpy(value))  # has no plain values to give
  assert 'besides arrays' in _refusal(convert.from_pytorch, 'discriminator', state)


@pytest.mark.parametrize('function', [convert.from_pytorch, convert.to_pytorch])
def test_an_unknown_kind(function):
  message = _refusal(function, 'msdi', {})
  assert "unknown kind 'msdi'" in message
  assert all(kind in message for kind in convert.KINDS)


def test_variables_of_another_network_are_not_written(filled):
  _, variables = convert.from_pytorch('encoder_v1', filled('encoder_v1'))
  message = _refusal(convert.to_pytorch, 'encoder_v2', variables)
  assert 'encoder_v2' in message
  assert 'conv_out_0/conv' in message


def test_variables_of_another_form_are_not_written():
  # The paper's encoder has the released one's modules, but biases and spectral norms elsewhere.
  picture = jax.ShapeDtypeStruct((1, 256, 256, 3), np.float32)
  shapes = jax.eval_shape(Encoder(8).init, jax.random.key(0), picture)
  variables = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes)
  message = _refusal(convert.to_pytorch, 'encoder_v1', variables)
  assert 'encoder_v1' in message
  assert 'conv_7x7.weight_orig' in message


def test_unread_values_of_another_network_are_not_written(filled):
  _, variables = convert.from_pytorch('discriminator', filled('discriminator'))
  unread = {'conv_02.bias': np.zeros(8)}
  assert 'conv_02.bias' in _refusal(convert.to_pytorch, 'discriminator', variables, unread)


class _Bomb:
  """Pickles as an instruction to create a file."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (str(self.path), 'w')


def test_a_saved_file_is_read(filled, tmp_path):
  state = {key: torch.from_numpy(value) for key, value in filled('discriminator').items()}
  torch.save({'params': state}, tmp_path / 'net.pth')
  read = convert.from_pytorch('discriminator', read_state_dict(tmp_path / 'net.pth'))
  _assert_same(read[1], convert.from_pytorch('discriminator', state)[1])


def _read_refusal(path):
  message = _refusal(read_state_dict, path)
  assert str(path) in message
  return message


def test_a_missing_file(tmp_path):
  assert 'cannot read' in _read_refusal(tmp_path / 'no.pth')


@pytest.mark.parametrize('left', [0, 1, 100, 2000])
@pytest.mark.parametrize('new', [True, False])
def test_a_truncated_file(tmp_path, new, left):
  path = tmp_path / 'net.pth'
  torch.save({'weight': torch.zeros(1000)}, path, _use_new_zipfile_serialization=new)
  content = path.read_bytes()
  assert len(content) > 2000
  path.write_bytes(content[:left])
  assert 'damaged' in _read_refusal(path)


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
def test_foreign_objects_are_never_made(tmp_path):
  path, trace = tmp_path / 'net.pth', tmp_path / 'trace'
  for content in (_Bomb(trace), {'weight': _Bomb(trace)}, {'saved': datetime.date(2022, 10, 1)}):
    torch.save(content, path)
    assert 'tensors alone' in _read_refusal(path)
    path.write_bytes(pickle.dumps(content))
    assert 'tensors alone' in _read_refusal(path)
  assert not trace.exists()


def test_a_list(tmp_path):
  torch.save([torch.zeros(2)], tmp_path / 'net.pth')
  assert 'holds a list' in _read_refusal(tmp_path / 'net.pth')
