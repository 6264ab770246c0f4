"""Torchvision's weights of VGG19 as parameters of `models.vgg.Vgg19Features`."""

import os

import numpy as np

from degrep_jax.common.errors import UserError
from degrep_jax.convert.torch_files import read_state_dict
from degrep_jax.models.vgg import SCALES


def load_vgg19(path: str | os.PathLike[str]) -> dict[str, dict[str, np.ndarray]]:
  """Parameters of `Vgg19Features` from the state dict that torchvision publishes as vgg19-*.pth.

  Only tensors are read from the file, no objects are unpickled; layers after conv5_1 are ignored.

  Args:
    path: the file, in PyTorch's zip or its older format.

  Returns:
    {'conv1_1': {'kernel': float32 (3, 3, 3, 64), 'bias': float32 (64,)}, ...}.

  Raises:
    UserError: PyTorch is not installed, or the file is missing, no state dict, or not VGG19's.
  """
  try:
    state = read_state_dict(path)
  except UserError as error:
    raise UserError(f'loss.vgg_path: {error} Give a vgg19-*.pth file of torchvision.') from None
  params, channels = {}, 3
  for scale, (filters, first) in enumerate(SCALES, 1):
    for i, count in enumerate(filters):
      key = f'features.{first + 2 * i}'
      kernel = _tensor(state, f'{key}.weight', (count, channels, 3, 3), path)
      bias = _tensor(state, f'{key}.bias', (count,), path)
      params[f'conv{scale}_{i + 1}'] = {'kernel': kernel.transpose(2, 3, 1, 0), 'bias': bias}
      channels = count
  return params


def _tensor(state, key, shape, path):
  """state[key] as float32, of exactly this shape."""
  if key not in state:
    raise UserError(
      f'loss.vgg_path: {path} has no {key}; give a vgg19-*.pth file of torchvision (not vgg19_bn).'
    )
  if not hasattr(state[key], 'shape'):
    raise UserError(
      f'loss.vgg_path: {key} in {path} is no tensor; give a vgg19-*.pth file of torchvision.'
    )
  if tuple(state[key].shape) != shape:
    raise UserError(
      f'loss.vgg_path: {key} in {path} has shape {tuple(state[key].shape)} instead of {shape};'
      ' give a vgg19-*.pth file of torchvision.'
    )
  return np.asarray(state[key], np.float32)
