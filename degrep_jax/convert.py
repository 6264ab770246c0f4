"""Released PyTorch state dicts to our modules and variables, for the networks of the joint stage.

One table per network pairs a module path of ours with the released module that holds the same
weights; everything else (transposition, spectral vectors, running statistics) follows from the
leaf's name. NumPy alone: torch tensors are read through `np.asarray`.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from degrep_jax.errors import UserError
from degrep_jax.models.discriminator import Discriminator
from degrep_jax.models.encoder import Encoder
from degrep_jax.models.joint import JointNet
from degrep_jax.models.pyramid import MapPyramid
from degrep_jax.models.unet import Generator

KINDS = ('encoder_v1', 'encoder_v2', 'upsampler_v1', 'upsampler_v2', 'msdi2e', 'discriminator')
STAGES = {'encoder_v1': (1, 2, 4, 8, 8), 'encoder_v2': (1, 2, 4, 8, 16)}
UNUSED = ('conv_02', 'num_batches_tracked')  # stored in released files, read by nothing there

Names = dict[str, str | tuple[str, ...]]


def _under(ours: str, theirs: str, names: Names) -> Names:
  def prefixed(name):
    return tuple(map(prefixed, name)) if isinstance(name, tuple) else f'{theirs}.{name}'

  return {f'{ours}/{key}': prefixed(name) for key, name in names.items()}


def encoder_names(kind: str) -> Names:
  """Module paths of `Encoder` to those of the released `encoder1.py` ('encoder_v1') or
  `encoder2.py`."""
  names: Names = {f'down_{i}/conv': f'layer{i + 1}.0' for i in range(5)}
  names['conv_7x7'] = 'conv_7x7'
  for i in range(5 if kind == 'encoder_v1' else 3):
    names[f'residual_{i}/conv_0'] = f'res_{i}.conv_block.1'
    names[f'residual_{i}/conv_1'] = f'res_{i}.conv_block.4'
  if kind == 'encoder_v1':
    return names | {'conv_body/conv': 'layer6.0', 'conv_out/conv': 'out.0'}
  return names | {f'conv_out_{i}/conv': f'out.{3 * i + 1}.0' for i in range(3)}


def pyramid_names(kind: str) -> Names:
  """Module paths of `MapPyramid` to those of the released `prior_upsampling`."""
  stages = [f'conv_latent_up{i}' for i in range(2, 7)]
  if kind == 'upsampler_v1':
    stages.insert(0, 'conv_latent_init')
  convs: Names = {'conv_0': 'conv_block.1', 'conv_1': 'conv_block.5'}
  return {
    ours: name
    for i, stage in enumerate(stages)
    for ours, name in _under(f'block_{i}', stage, convs).items()
  }


def generator_names(depth: int = 5) -> Names:
  """Module paths of `Generator` to those of the released `generator.HINet`."""
  block: Names = {name: name for name in ('conv_1', 'conv_2', 'identity')}
  names: Names = {'conv_in': 'conv_01', 'conv_out': 'last'}
  for i in range(depth):
    names |= _under(f'encode_{i}', f'down_path_1.{i}', block | {'norm': 'norm'})
  for i in range(depth - 1):
    names[f'downsample_{i}'] = f'down_path_1.{i}.downsample'
    up = f'up_path_1.{depth - 2 - i}'
    names |= {f'upsample_{i}': f'{up}.up'} | _under(f'decode_{i}', f'{up}.conv_block', block)
    spade: Names = {
      'conv': 'conv_0',
      'norm': 'norm_0.param_free_norm',
      'shared': 'norm_0.mlp_shared.0',
      'gamma_beta': ('norm_0.mlp_gamma', 'norm_0.mlp_beta'),
    }
    names |= _under(f'modulation_{i}', f'ad1_list.{i}', spade)
  return names


def joint_names() -> Names:
  """Module paths of `JointNet` to those of the released `MSDI2E`."""
  return (
    _under('encoder', 'net_prior', encoder_names('encoder_v2'))
    | _under('pyramid', 'prior_upsampling', pyramid_names('upsampler_v2'))
    | _under('reblurrer', 'inverse_generator', generator_names())
    | _under('deblurrer', 'generator', generator_names())
  )


def discriminator_names(scales: int = 2) -> Names:
  """Module paths of `Discriminator` to those of the released `MultiscaleDiscriminator`."""
  return {
    f'scale_{s}/conv_{i}': f'discriminator_{s}.model{i}.0' + ('.0' if i in (1, 2, 3) else '')
    for s in range(scales)
    for i in range(5)
  }


def _leaf(leaf: str, name: str, state: Mapping[str, np.ndarray]) -> tuple[str, np.ndarray]:
  """The released key behind our leaf of one module, and its value in our layout."""
  if leaf == 'kernel':
    key = f'{name}.weight_orig' if f'{name}.weight_orig' in state else f'{name}.weight'
    # PyTorch keeps (out, in, kh, kw), for a transposed convolution (in, out, kh, kw).
    order = (2, 3, 0, 1) if name.endswith('.up') else (2, 3, 1, 0)
    return key, state[key].transpose(order)
  if leaf == 'v':
    key = f'{name}.weight_v'
    shape = state[f'{name}.weight_orig'].shape[1:]
    return key, state[key].reshape(shape).transpose(1, 2, 0).reshape(-1)
  suffix = {'u': 'weight_u', 'scale': 'weight', 'mean': 'running_mean', 'var': 'running_var'}
  key = f'{name}.{suffix.get(leaf, leaf)}'
  return key, state[key]


def _convert(shapes: dict, names: Names, state: Mapping[str, np.ndarray]) -> dict:
  """Fills the variables of one network from a released state dict; every key is used, or named as
  unused."""
  variables: dict[tuple[str, ...], jax.Array] = {}
  used: set[str] = set()
  for path, shape in traverse_util.flatten_dict(shapes).items():
    theirs = names['/'.join(path[1:-1])]
    try:
      parts = [
        _leaf(path[-1], n, state) for n in ((theirs,) if isinstance(theirs, str) else theirs)
      ]
    except KeyError as error:
      raise UserError(f'the state dict lacks {error}: it is not of the kind asked for') from None
    value = np.concatenate([part for _, part in parts], axis=-1)
    if value.shape != shape.shape:
      raise UserError(f'{parts[0][0]} gives shape {value.shape}, expected {shape.shape}')
    used.update(key for key, _ in parts)
    variables[path] = jnp.asarray(value, jnp.float32)
  surplus = [k for k in state if k not in used and not any(part in UNUSED for part in k.split('.'))]
  if surplus:
    raise UserError(f'the state dict holds keys of another network: {", ".join(sorted(surplus))}')
  return traverse_util.unflatten_dict(variables)


def _width(state: Mapping[str, np.ndarray], key: str) -> int:
  if key not in state:
    raise UserError(f'the state dict lacks {key!r}: it is not of the kind asked for')
  return len(state[key])


def from_pytorch(kind: str, state_dict: Mapping) -> tuple[nn.Module, dict]:
  """The module and variables that equal a released network; `module.apply(variables, ...)`
  evaluates it.

  Args:
    kind: one of `KINDS`.
    state_dict: key to array (NumPy, or torch tensors on the CPU); the width is read from the
      shapes.

  Raises:
    UserError: an unknown kind, or missing, surplus or misshapen keys.
  """
  state = {key: np.asarray(value) for key, value in state_dict.items()}
  module, names, shape, inputs = _describe(kind, state)
  shapes = jax.eval_shape(
    module.init, jax.random.key(0), *[jax.ShapeDtypeStruct(shape, jnp.float32)] * inputs
  )
  return module, _convert(shapes, names, state)


def _describe(
  kind: str, state: Mapping[str, np.ndarray]
) -> tuple[nn.Module, Names, tuple[int, ...], int]:
  """Module, names, shape of an input and number of inputs."""
  picture = (1, 256, 256, 3)
  if kind in STAGES:
    width = _width(state, 'layer1.0.weight_orig')
    encoder = Encoder(width, kind.replace('encoder', 'official'), STAGES[kind])
    return encoder, encoder_names(kind), picture, 1
  if kind in ('upsampler_v1', 'upsampler_v2'):
    width = _width(state, 'conv_latent_up6.conv_block.5.bias')
    blocks, shape = (6, (1, 4, 4, 4 * width)) if kind[-1] == '1' else (5, (1, 8, 8, 32 * width))
    return MapPyramid(width, blocks), pyramid_names(kind), shape, 1
  if kind == 'msdi2e':
    width = _width(state, 'generator.conv_01.weight')
    hidden = _width(state, 'generator.ad1_list.0.norm_0.mlp_shared.0.weight')
    net = JointNet(
      encoder=Encoder(width, 'official_v2', STAGES['encoder_v2']),
      pyramid=MapPyramid(width, blocks=5),
      reblurrer=Generator(width, hidden=hidden),
      deblurrer=Generator(width, hidden=hidden),
    )
    return net, joint_names(), picture, 2
  if kind == 'discriminator':
    width = _width(state, 'discriminator_0.model0.0.weight')
    return Discriminator(width), discriminator_names(), picture, 2
  raise UserError(f'unknown kind {kind!r}: choose one of {", ".join(KINDS)}')
