"""VGG19 against a plain PyTorch forward pass, and the files its reader accepts and refuses."""

import datetime
import pickle
import sys

import float64
import jax
import numpy as np
import pytest
import torch
from float64 import CLOSE, apart

from degrep_jax.common.errors import UserError
from degrep_jax.convert import vgg19
from degrep_jax.models import vgg

# torchvision's `features`: M is a max pooling; a convolution is followed by a ReLU.
LAYOUT = [64, 64, 'M', 128, 128, 'M', *[256] * 4, 'M', *[512] * 4, 'M', *[512] * 4, 'M']
RELU_X_1 = (1, 6, 11, 20, 29)


def _layers():
  """Yields (index in `features`, channels in, filters), filters 'M' for a pooling."""
  index, channels = 0, 3
  for filters in LAYOUT:
    yield index, channels, filters
    index += 1 if filters == 'M' else 2
    channels = channels if filters == 'M' else filters


@pytest.fixture(scope='module')
def state():
  generator = torch.Generator().manual_seed(0)
  found = {'classifier.6.bias': torch.zeros(1000)}
  for index, channels, filters in _layers():
    if filters != 'M':
      kernel = torch.randn(filters, channels, 3, 3, generator=generator)
      found[f'features.{index}.weight'] = kernel * (2 / (9 * channels)) ** 0.5
      found[f'features.{index}.bias'] = torch.randn(filters, generator=generator) * 0.1
  return found


@pytest.fixture(scope='module')
def path(state, tmp_path_factory):
  path = tmp_path_factory.mktemp('vgg') / 'vgg19.pth'
  torch.save(state, path)
  return path


def _torch_features(state, x):
  features = []
  for index, _, filters in _layers():
    if filters == 'M':
      x = torch.nn.functional.max_pool2d(x, 2)
    else:
      weight, bias = (state[f'features.{index}.{of}'].double() for of in ('weight', 'bias'))
      x = torch.relu(torch.nn.functional.conv2d(x, weight, bias, padding=1))
      if index + 1 in RELU_X_1:
        features.append(x)
  return features


def test_features_are_pytorchs(state, path):
  x = np.random.default_rng(0).random((2, 32, 35, 3), np.float32)
  ours = float64.jit(vgg.Vgg19Features().apply)({'params': vgg19.load_vgg19(path)}, x)
  theirs = _torch_features(state, torch.from_numpy(x).double().permute(0, 3, 1, 2))
  assert [f.shape[1:] for f in ours] == [
    (32, 35, 64), (16, 17, 128), (8, 8, 256), (4, 4, 512), (2, 2, 512)
  ]  # fmt: skip
  for our, their in zip(ours, theirs, strict=True):
    assert apart(our, their.permute(0, 2, 3, 1).numpy()) < CLOSE


def test_parameters_are_those_of_the_module(path):
  shapes = jax.eval_shape(
    vgg.Vgg19Features().init, jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32)
  )
  loaded = vgg19.load_vgg19(path)
  assert jax.tree.map(np.shape, loaded) == jax.tree.map(lambda leaf: leaf.shape, shapes['params'])
  assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(loaded))
  assert len(loaded) == 13


def test_the_older_file_format(state, path, tmp_path):
  older = tmp_path / 'vgg19-older.pth'
  torch.save(state, older, _use_new_zipfile_serialization=False)
  assert older.read_bytes()[:2] != path.read_bytes()[:2] == b'PK'
  jax.tree.map(np.testing.assert_array_equal, vgg19.load_vgg19(older), vgg19.load_vgg19(path))


def _refusal(path):
  with pytest.raises(UserError) as caught:
    vgg19.load_vgg19(path)
  message = str(caught.value)
  assert 'loss.vgg_path' in message
  assert '\n' not in message
  return message


def test_a_missing_file_or_a_folder(tmp_path):
  assert str(tmp_path / 'no.pth') in _refusal(tmp_path / 'no.pth')
  assert 'cannot read' in _refusal(tmp_path)


class _Bomb:
  """Pickles as an instruction to create a file."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return open, (str(self.path), 'w')


@pytest.mark.parametrize('new', [True, False])
def test_a_file_that_would_run_code_is_refused(tmp_path, new):
  path, trace = tmp_path / 'bad.pth', tmp_path / 'trace'
  torch.save({'features.0.weight': _Bomb(trace)}, path, _use_new_zipfile_serialization=new)
  assert 'tensors alone' in _refusal(path)
  assert not trace.exists()


@pytest.mark.filterwarnings('ignore:Detected pickle protocol')
@pytest.mark.parametrize(
  'content',
  [b'', b'<html>404</html>', b'PK\x03\x04 cut off', pickle.dumps(datetime.date(2022, 10, 1))],
)
def test_not_a_checkpoint(tmp_path, content):
  path = tmp_path / 'vgg19.pth'
  path.write_bytes(content)
  assert str(path) in _refusal(path)


@pytest.mark.parametrize(
  ('content', 'complaint'),
  [
    ([1, 2], 'tensors alone'),
    ({'state_dict': {}, 'epoch': 3}, 'has no features.0.weight'),
    ({'features.0.weight': 3}, 'is no tensor'),
  ],
)
def test_a_checkpoint_of_another_kind(tmp_path, content, complaint):
  torch.save(content, tmp_path / 'vgg19.pth')
  assert complaint in _refusal(tmp_path / 'vgg19.pth')


def test_another_networks_weights(tmp_path):
  path = tmp_path / 'other.pth'
  torch.save({'conv1.weight': torch.zeros(2)}, path)
  assert 'features.0.weight' in _refusal(path)
  torch.save({'features.0.weight': torch.zeros(64, 3, 7, 7)}, path)
  assert '(64, 3, 7, 7) instead of (64, 3, 3, 3)' in _refusal(path)


def test_without_pytorch(path, monkeypatch):
  monkeypatch.setitem(sys.modules, 'torch', None)
  assert "pip install '.[convert]'" in _refusal(path)
