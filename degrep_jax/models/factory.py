"""From `config.model` to modules: the only reader of that part of the config."""

import functools

import flax.linen as nn
import ml_collections

from degrep_jax.common.errors import UserError
from degrep_jax.models.discriminator import Discriminator
from degrep_jax.models.encoder import VARIANTS, Encoder
from degrep_jax.models.hinet import HINet
from degrep_jax.models.joint import JointNet
from degrep_jax.models.msdi_net import MSDINet, MSDIUNet
from degrep_jax.models.pyramid import MapPyramid, SamPyramid
from degrep_jax.models.unet import Generator

NETWORKS = ('joint', 'msdi_net', 'hinet')
MODULATIONS = ('spade', 'sam')
UNSHUFFLES = (1, 2, 4)


def _one_of(field: str, value: str, choices: tuple[str, ...]) -> str:
  if value not in choices:
    raise UserError(f'config.model.{field} is {value!r}: choose one of {", ".join(choices)}')
  return value


def check_size(model: ml_collections.ConfigDict, size: int, field: str) -> None:
  """Raises UserError naming `field` where the networks cannot take squares of `size` pixels."""
  if not model.depth >= 2:
    raise UserError(f'config.model.depth is {model.depth}: it must be 2 at least.')
  if model.network != 'hinet':
    _check_encoder(model, size, field)
  multiple = model.unshuffle * 2 ** (model.depth - 1)
  if size < 2 * multiple or size % multiple:
    squares = f' with model.unshuffle={model.unshuffle}' if model.unshuffle > 1 else ''
    raise UserError(
      f'config.{field} is {size}: a U-Net of depth {model.depth}{squares} needs a multiple of '
      f'{multiple}, {2 * multiple} at least.'
    )


def _check_encoder(model: ml_collections.ConfigDict, size: int, field: str) -> None:
  halvings, doublings = _halvings(model), _doublings(model)
  if not 1 <= model.depth - 1 <= doublings or not model.encoder_stages:
    squares = f' and model.unshuffle={model.unshuffle}' if model.unshuffle > 1 else ''
    demand = f'it must be in 2 .. {doublings + 1}' if doublings > 0 else 'there must be more stages'
    raise UserError(
      f'config.model.depth is {model.depth}: with the {len(model.encoder_stages)} stages of '
      f'model.encoder_stages{squares} {demand}.'
    )
  # The residual blocks pad by reflection, which needs 2x2 values: after the pooling, where there is
  # one.
  seen = model.encoder_input or size
  if seen % 2**halvings or seen < 2 ** (halvings + 1):
    raise UserError(
      f'config.{"model.encoder_input" if model.encoder_input else field} is {seen}: an encoder of '
      f'{len(model.encoder_stages)} stages needs a multiple of {2**halvings}, '
      f'{2 ** (halvings + 1)} at least.'
    )


def _halvings(model: ml_collections.ConfigDict) -> int:
  """How often E halves its input: at each stage and, but for version 2, in its pooling."""
  return len(model.encoder_stages) + (model.encoder != 'official_v2')


def _doublings(model: ml_collections.ConfigDict) -> int:
  """How often the pyramid doubles the map: up to the finest level of the U-Nets, which sees squares
  of `model.unshuffle` pixels as one."""
  return _halvings(model) - UNSHUFFLES.index(model.unshuffle)


def build_encoder(model: ml_collections.ConfigDict) -> Encoder:
  """E as `config.model` describes it."""
  return Encoder(
    width=model.encoder_width,
    variant=_one_of('encoder', model.encoder, VARIANTS),
    stages=tuple(model.encoder_stages),
    input_size=model.encoder_input or None,
  )


def build_network(
  model: ml_collections.ConfigDict, axis_name: str | None = 'batch', remat: bool = False
) -> nn.Module:
  """The network that `config.model.network` names, without a discriminator.

  Args:
    model: `config.model`.
    axis_name: the device axis of `jax.pmap`, or None outside.
    remat: computes the insides of blocks again instead of keeping them for the gradients; the
      variables are the same.

  Raises:
    UserError: a field of `config.model` that has no such value.
  """
  network = _one_of('network', model.network, NETWORKS)
  if network == 'joint':
    return build_generator(model, axis_name, remat)
  if network == 'hinet':
    return HINet(model.width, model.depth, remat, model.unshuffle)
  return MSDINet(
    encoder=build_encoder(model),
    pyramid=_build_pyramid(model, remat=False),  # frozen: nothing of it is kept
    deblurrer=MSDIUNet(
      model.width, model.depth, remat, model.unshuffle, hidden=model.modulation_hidden
    ),
  )


def _build_pyramid(model: ml_collections.ConfigDict, remat: bool) -> SamPyramid | MapPyramid:
  blocks = _doublings(model)
  if _one_of('modulation', model.modulation, MODULATIONS) == 'sam':
    return SamPyramid(model.width, blocks, levels=model.depth)
  return MapPyramid(model.width, blocks, levels=model.depth - 1, remat=remat)


def build_generator(
  model: ml_collections.ConfigDict, axis_name: str | None = 'batch', remat: bool = False
) -> JointNet:
  """E, the pyramid, Gr and Gd of the joint stage; arguments as for `build_network`.

  Raises:
    UserError: a field of `config.model` that has no such value.
  """
  modulation = _one_of('modulation', model.modulation, MODULATIONS)
  generator = functools.partial(
    Generator,
    model.width,
    model.depth,
    modulation,
    model.modulation_hidden,
    axis_name,
    remat,
    model.unshuffle,
  )
  return JointNet(
    encoder=build_encoder(model),
    pyramid=_build_pyramid(model, remat),
    reblurrer=generator(),
    deblurrer=generator(),
    global_code=model.global_code,
    without_map=model.without_map,
  )


def build_discriminator(model: ml_collections.ConfigDict) -> Discriminator:
  """D of the joint stage."""
  return Discriminator(model.discriminator_width)
