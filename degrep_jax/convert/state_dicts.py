"""Released PyTorch state dicts to our modules and variables, and back.

`names.py` pairs our module paths with theirs; everything else (transposition, spectral vectors,
running statistics) follows from the leaf's name. NumPy alone: torch tensors are read through
`np.asarray`; `torch_files.py` reads the files, `workdir.py` writes checkpoints.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from degrep_jax.common.errors import UserError
from degrep_jax.convert import names as released
from degrep_jax.models.discriminator import Discriminator
from degrep_jax.models.encoder import Encoder
from degrep_jax.models.hinet import HINet
from degrep_jax.models.joint import JointNet
from degrep_jax.models.msdi_net import MSDINet, MSDIUNet
from degrep_jax.models.pyramid import MapPyramid
from degrep_jax.models.unet import Generator

STAGES = {1: (1, 2, 4, 8, 8), 2: (1, 2, 4, 8, 16)}
PICTURE = (1, 256, 256, 3)
WRAPPINGS = ('params', 'params_ema', 'state_dict')  # under which BasicSR and others save the dict
LISTED = 5  # keys that a message names at most

State = Mapping[str, np.ndarray]


RGB = 3
# Biases of the convolutions that make pictures.
_OUTPUTS = (('conv_out', 'bias'), ('picture', 'bias'))


class Kind(NamedTuple):
  """A released network.

  Attributes:
    build: module of a state dict, its width read from the shapes.
    names: our module paths and theirs.
    inputs: shapes of what the module is called with, from the module.
    parts: prefixes under which files of other kinds hold this network.
  """

  build: Callable[[State], nn.Module]
  names: released.Names
  inputs: Callable[[Any], tuple[tuple[int, ...], ...]]
  parts: tuple[str, ...] = ()


class Conversion(NamedTuple):
  """Attributes:
  module: `module.apply(variables, ...)` evaluates the released network.
  variables: of the module, float32.
  unread: what the file holds besides, key to array: nothing reads it there.
  """

  module: nn.Module
  variables: dict
  unread: dict[str, np.ndarray]


def _length(state: State, key: str) -> int:
  shape = state[key].shape if key in state else ()
  if not shape or not shape[0]:  # not there, a number or empty
    raise UserError(f'the state dict lacks {key}: it is not of the kind asked for.')
  return shape[0]


def _encoder(version: int, state: State, prefix: str = '') -> Encoder:
  width = _length(state, f'{prefix}layer1.0.weight_orig')
  return Encoder(width, f'official_v{version}', STAGES[version])


def _pyramid(version: int, state: State, prefix: str = '') -> MapPyramid:
  width = _length(state, f'{prefix}conv_latent_up6.conv_block.5.bias')
  return MapPyramid(width, Encoder(variant=f'official_v{version}', stages=STAGES[version]).halvings)


def _joint(state: State) -> JointNet:
  width = _length(state, 'generator.conv_01.weight')
  hidden = _length(state, 'generator.ad1_list.0.norm_0.mlp_shared.0.weight')
  return JointNet(
    encoder=_encoder(2, state, 'net_prior.'),
    pyramid=_pyramid(2, state, 'prior_upsampling.'),
    reblurrer=Generator(width, hidden=hidden),
    deblurrer=Generator(width, hidden=hidden),
  )


def _msdi_net(state: State) -> MSDINet:
  hidden = _length(state, 'ad1_list.0.norm_0.mlp_shared.2.weight')
  return MSDINet(
    encoder=_encoder(1, state, 'net_prior.'),
    pyramid=_pyramid(1, state, 'prior_upsampling.'),
    deblurrer=MSDIUNet(_length(state, 'conv_01.weight'), hidden=hidden),
  )


def _encoder_kind(version: int) -> Kind:
  def build(state):
    return _encoder(version, state)

  return Kind(build, released.encoder_names(version), lambda module: (PICTURE,), ('net_prior.',))


def _pyramid_kind(version: int) -> Kind:
  def build(state):
    return _pyramid(version, state)

  def inputs(module):
    size, channels = (4, 4 * module.width) if version == 1 else (8, 32 * module.width)
    return ((1, size, size, channels),)

  return Kind(build, released.pyramid_names(version), inputs, ('prior_upsampling.',))


KINDS = {
  'encoder_v1': _encoder_kind(1),
  'encoder_v2': _encoder_kind(2),
  'upsampler_v1': _pyramid_kind(1),
  'upsampler_v2': _pyramid_kind(2),
  'msdi_net': Kind(_msdi_net, released.msdi_net_names(), lambda module: (PICTURE,)),
  'msdi2e': Kind(_joint, released.joint_names(), lambda module: (PICTURE, PICTURE)),
  'discriminator': Kind(
    lambda state: Discriminator(_length(state, 'discriminator_0.model0.0.weight')),
    released.discriminator_names(),
    lambda module: (PICTURE, PICTURE),
  ),
  'hinet': Kind(
    lambda state: HINet(_length(state, 'conv_01.weight')),
    released.hinet_names(),
    lambda module: (PICTURE,),
  ),
}

# PyTorch's order of a kernel's axes (out, in, kh, kw) in ours; of a transposed one (in, out, kh,
# kw). Axes put back: the inverse permutations.
_TO_OURS = {False: (2, 3, 1, 0), True: (2, 3, 0, 1)}
_TO_THEIRS = {False: (3, 2, 0, 1), True: (2, 3, 0, 1)}
_SUFFIXES = {'u': 'weight_u', 'v': 'weight_v', 'scale': 'weight'} | {
  'mean': 'running_mean',
  'var': 'running_var',
}


def _keys(flat: Mapping[tuple[str, ...], Any], names: released.Names) -> dict:
  """Path of every leaf of ours, collection first, to the released keys that hold it."""
  keys = {}
  for path in flat:
    theirs = names['/'.join(path[1:-1])]
    suffix = _SUFFIXES.get(path[-1], path[-1])
    if path[-1] == 'kernel':
      suffix = 'weight_orig' if ('spectral', *path[1:-1], 'u') in flat else 'weight'
    keys[path] = [f'{n}.{suffix}' for n in ((theirs,) if isinstance(theirs, str) else theirs)]
  return keys


def _to_theirs(key: str, value: np.ndarray, kernel: np.ndarray | None) -> np.ndarray:
  if value.ndim == 4:
    return value.transpose(_TO_THEIRS[key.endswith('.up.weight')])
  if kernel is not None:  # a right singular vector, over (kh, kw, in)
    return value.reshape(kernel.shape[:3]).transpose(2, 0, 1).reshape(-1)
  return value


def to_pytorch(
  kind: str, variables: Mapping, unread: Mapping[str, np.ndarray] | None = None
) -> dict[str, np.ndarray]:
  """A state dict of NumPy arrays that the released network loads strictly.

  `torch.load_state_dict({k: torch.from_numpy(v) for k, v in ...})` takes it; every array is a copy.
  Values are passed on bit for bit: `from_pytorch` gives the same variables back.

  Args:
    kind: one of `KINDS`; the module must have the released network's form (depth 5, skips modulated
      as there).
    variables: of the module, as `module.apply` takes them.
    unread: values of the keys that nothing reads, for instance `Conversion.unread`; without it
      those of a new network.

  Raises:
    UserError: an unknown kind, or variables of another network, one with `model.unshuffle` among
      them.
  """
  names = kind_of(kind).names
  flat = {path: np.asarray(x) for path, x in traverse_util.flatten_dict(dict(variables)).items()}
  if any(path[-2:] in _OUTPUTS and len(x) > RGB for path, x in flat.items()):
    raise UserError(
      'these are variables of a net with model.unshuffle above 1, which the released code has not.'
    )
  foreign = sorted({'/'.join(path[1:-1]) for path in flat} ^ set(names))
  if foreign:
    raise UserError(f'the variables are not of the kind {kind}: {_list(foreign)}.')
  state: dict[str, np.ndarray] = {}
  for path, keys in _keys(flat, names).items():
    kernel = flat[('params', *path[1:-1], 'kernel')] if path[-1] == 'v' else None
    for key, part in zip(keys, np.split(flat[path], len(keys), axis=-1), strict=True):
      state[key] = np.array(_to_theirs(key, part, kernel), order='C')
  for key, shape, value in list(released.unread_keys(_shapes(state))):
    state[key] = np.full(shape, value, np.float32 if shape else np.int64)
  state |= {key: np.array(value) for key, value in (unread or {}).items()}
  try:  # modules of the same names may still differ in biases, spectral norms and shapes
    _require_keys(_layout(kind, state).expected, state)
  except UserError as error:
    raise UserError(f'the variables are not of the kind {kind}: {error}') from None
  return state


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
  return {key: value.shape for key, value in state.items()}


def _list(keys: list[str]) -> str:
  more = f' and {len(keys) - LISTED} more' if len(keys) > LISTED else ''
  return ', '.join(keys[:LISTED]) + more


def kind_of(kind: str) -> Kind:
  """The released network of a name; UserError where there is none."""
  if kind not in KINDS:
    raise UserError(f'unknown kind {kind!r}: choose one of {", ".join(KINDS)}.')
  return KINDS[kind]


def _require_keys(expected: dict[str, tuple], state: State) -> dict[str, np.ndarray]:
  """Raises UserError listing missing, surplus and misshapen keys; returns those that nothing
  reads."""
  unread = {key: shape for key, shape, _ in released.unread_keys(expected)}
  wrong = {
    'lacks': [key for key in expected if key not in state],
    'holds besides': [key for key in state if key not in expected and key not in unread],
    'has in another shape': [
      f'{key} {list(value.shape)} instead of {list(shape)}'
      for key, value in state.items()
      for shape in [expected.get(key, unread.get(key, value.shape))]
      if value.shape != shape
    ],
  }
  complaints = [f'{verb} {_list(sorted(keys))}' for verb, keys in wrong.items() if keys]
  if complaints:
    text = '; it '.join(complaints)
    raise UserError(f'the state dict is not of the kind asked for: it {text}.')
  return {key: np.array(state[key]) for key in unread if key in state}


class _Layout(NamedTuple):
  """What a state dict of one kind and width must hold.

  Attributes:
    module: that it belongs to.
    shapes: of the module's variables, by path, collection first.
    keys: the released keys that hold each of them.
    expected: shapes of all those keys.
  """

  module: nn.Module
  shapes: dict[tuple[str, ...], tuple[int, ...]]
  keys: dict[tuple[str, ...], list[str]]
  expected: dict[str, tuple[int, ...]]


def _layout(kind: str, state: State) -> _Layout:
  build, names, inputs, _ = KINDS[kind]
  module = build(state)
  pictures = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in inputs(module)]
  variables = jax.eval_shape(module.init, jax.random.key(0), *pictures)
  shapes = {path: x.shape for path, x in traverse_util.flatten_dict(variables).items()}
  keys = _keys(shapes, names)
  expected: dict[str, tuple[int, ...]] = {}
  for path, theirs in keys.items():
    for key in theirs:
      shape = (*shapes[path][:-1], shapes[path][-1] // len(theirs))
      if len(shape) == 4:
        shape = tuple(shape[axis] for axis in _TO_THEIRS[key.endswith('.up.weight')])
      expected[key] = shape
  return _Layout(module, shapes, keys, expected)


def convert(kind: str, state_dict: Mapping) -> Conversion:
  """Like `from_pytorch`, with what the file holds and nothing reads.

  Raises:
    UserError: an unknown kind, or missing, surplus or misshapen keys (listed).
  """
  state = _part(_unwrapped(state_dict), kind_of(kind).parts)
  module, shapes, keys, expected = _layout(kind, state)
  unread = _require_keys(expected, state)
  variables = {}
  for path, theirs in keys.items():
    kernel = shapes[('params', *path[1:-1], 'kernel')] if path[-1] == 'v' else None
    parts = [_to_ours(key, state[key], kernel) for key in theirs]
    variables[path] = jnp.asarray(np.concatenate(parts, axis=-1), jnp.float32)
  return Conversion(module, traverse_util.unflatten_dict(variables), unread)


def _to_ours(key: str, value: np.ndarray, kernel: tuple[int, ...] | None) -> np.ndarray:
  if value.ndim == 4:
    return value.transpose(_TO_OURS[key.endswith('.up.weight')])
  if kernel is not None:
    kh, kw, channels, _ = kernel
    return value.reshape(channels, kh, kw).transpose(1, 2, 0).reshape(-1)
  return value


def from_pytorch(kind: str, state_dict: Mapping) -> tuple[nn.Module, dict]:
  """The module and variables that equal a released network; `module.apply(variables, ...)`
  evaluates it, NHWC.

  An encoder gives the map `(B, h, w, C)`; an upsampler its four maps, finest first; msdi_net and
  hinet (out1, out2); msdi2e, called with (blurry, sharp), (deblurred, reblurred); the
  discriminator, called with two pictures, a list per scale of its five layers' outputs.

  Args:
    kind: one of `KINDS`.
    state_dict: key to array (NumPy, or torch tensors on the CPU), as it is, under 'params' as
      BasicSR saves it, or with 'module.' before every key; the width is read from the shapes. For
      an encoder or upsampler a whole msdi_net or msdi2e file will do.

  Raises:
    UserError: an unknown kind, or missing, surplus or misshapen keys (listed).
  """
  return convert(kind, state_dict)[:2]


def _unwrapped(state_dict: Mapping) -> dict[str, np.ndarray]:
  for wrapping in WRAPPINGS:
    if isinstance(state_dict.get(wrapping), Mapping):
      state_dict = state_dict[wrapping]
  module = 'module.'
  whole = bool(state_dict) and all(str(key).startswith(module) for key in state_dict)
  state = {str(k).removeprefix(module if whole else ''): v for k, v in state_dict.items()}
  try:
    return {key: np.asarray(value) for key, value in state.items()}
  except (TypeError, ValueError, RuntimeError) as error:
    raise UserError(f'the state dict holds something besides arrays: {error}.') from None


def _part(state: dict[str, np.ndarray], prefixes: tuple[str, ...]) -> dict[str, np.ndarray]:
  for prefix in prefixes:
    part = {key.removeprefix(prefix): v for key, v in state.items() if key.startswith(prefix)}
    if part:
      return part
  return state
