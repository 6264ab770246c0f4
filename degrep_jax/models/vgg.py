"""VGG19 features for the official perceptual loss, and the reader of torchvision's weights file."""

import os

import flax.linen as nn
import jax
import numpy as np

from degrep_jax.errors import UserError
from degrep_jax.models.layers import Conv
from degrep_jax.torch_files import read_state_dict

# One row per scale: the filters of its convolutions, and the index of the first in torchvision's
# `features`, where a convolution and its ReLU take one index each and a pooling takes one.
_SCALES = (((64, 64), 0), ((128, 128), 5), ((256,) * 4, 10), ((512,) * 4, 19), ((512,), 28))


class Vgg19Features(nn.Module):
  """The five feature maps of VGG19 (Simonyan and Zisserman 2015) that the perceptual loss compares.

  The input is RGB in [0, 1] as it is, without ImageNet's mean and deviation: the released code
  feeds its pictures so (basicsr/models/archs/loss.py, VGGLoss; architecture.py, VGG19).
  Parameters: conv1_1 .. conv5_1, each a kernel (3, 3, in, out) and a bias (out,).
  """

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
    """Features of a batch of pictures.

    Args:
      x: float32 (B, H, W, 3), RGB in [0, 1], H and W at least 16.

    Returns:
      relu1_1 (B, H, W, 64), relu2_1 (B, H // 2, W // 2, 128), relu3_1 (.. // 4, 256),
      relu4_1 (.. // 8, 512), relu5_1 (.. // 16, 512).
    """
    features = []
    for scale, (filters, _) in enumerate(_SCALES, 1):
      if scale > 1:
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
      for i, count in enumerate(filters, 1):
        x = nn.relu(Conv(count, name=f'conv{scale}_{i}')(x))
        if i == 1:
          features.append(x)
    return tuple(features)


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
  for scale, (filters, first) in enumerate(_SCALES, 1):
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
