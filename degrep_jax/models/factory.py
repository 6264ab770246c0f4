"""The networks, and how they are built from `config.model`.

A new network is a module in a file of its own and a row of `NETWORKS`.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

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

MODULATIONS = ('spade', 'sam')
UNSHUFFLES = (1, 2, 4)


def check_choices(model: ml_collections.ConfigDict) -> None:
  """Raises UserError naming the field of `config.model` that has no such value; of converted
  weights fields may lack."""
  choices = {
    'network': NETWORKS,
    'encoder': VARIANTS,
    'modulation': MODULATIONS,
    'unshuffle': UNSHUFFLES,
  }
  for field, values in choices.items():
    if field in model and model[field] not in values:
      raise UserError(
        f'config.model.{field} is {model[field]!r}: choose one of {", ".join(map(str, values))}.'
      )


def check_tile(model: ml_collections.ConfigDict, size: int, field: str) -> None:
  """Raises UserError naming `field` where pictures cannot be restored in tiles of `size` pixels: as
  `check_size`, or where places of the map would stand for no whole number of pixels."""
  check_size(model, size, field)
  if NETWORKS[model.network].has_map and model.encoder_input:
    side = model.encoder_input >> build_encoder(model).halvings
    if size % side:
      raise UserError(
        f'config.{field} is {size}: with a map of {side}x{side} places it must be a multiple of '
        f'{side}.'
      )


def check_size(model: ml_collections.ConfigDict, size: int, field: str) -> None:
  """Raises UserError naming `field` where the networks cannot take squares of `size` pixels."""
  if not model.depth >= 2:
    raise UserError(f'config.model.depth is {model.depth}: it must be 2 at least.')
  if NETWORKS[model.network].has_map:
    _check_encoder(model, size, field)
  multiple = model.unshuffle * 2 ** (model.depth - 1)
  if size < 2 * multiple or size % multiple:
    squares = f' with model.unshuffle={model.unshuffle}' if model.unshuffle > 1 else ''
    raise UserError(
      f'config.{field} is {size}: a U-Net of depth {model.depth}{squares} needs a multiple of '
      f'{multiple}, {2 * multiple} at least.'
    )


def _check_encoder(model: ml_collections.ConfigDict, size: int, field: str) -> None:
  halvings, doublings = build_encoder(model).halvings, _doublings(model)
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


def _doublings(model: ml_collections.ConfigDict) -> int:
  """How often the pyramid doubles the map: up to the finest level of the U-Nets, which sees squares
  of `model.unshuffle` pixels as one."""
  return build_encoder(model).halvings - UNSHUFFLES.index(model.unshuffle)


def build_encoder(model: ml_collections.ConfigDict) -> Encoder:
  """E as `config.model` describes it."""
  return Encoder(
    width=model.encoder_width,
    variant=model.encoder,
    stages=tuple(model.encoder_stages),
    input_size=model.encoder_input or None,
    gain=model.encoder_gain,
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
  check_choices(model)
  return NETWORKS[model.network].build(model, axis_name, remat)


def _build_pyramid(model: ml_collections.ConfigDict, remat: bool) -> SamPyramid | MapPyramid:
  blocks = _doublings(model)
  if model.modulation == 'sam':
    return SamPyramid(model.width, blocks, levels=model.depth, remat=remat)
  return MapPyramid(model.width, blocks, levels=model.depth - 1, remat=remat)


def build_generator(
  model: ml_collections.ConfigDict, axis_name: str | None = 'batch', remat: bool = False
) -> JointNet:
  """E, the pyramid, Gr and Gd of the joint stage; arguments as for `build_network`.

  Raises:
    UserError: a field of `config.model` that has no such value.
  """
  check_choices(model)
  generator = functools.partial(
    Generator,
    model.width,
    model.depth,
    model.modulation,
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


def _build_msdi_net(
  model: ml_collections.ConfigDict, axis_name: str | None, remat: bool
) -> MSDINet:
  del axis_name  # no statistics of a batch
  return MSDINet(
    encoder=build_encoder(model),
    pyramid=_build_pyramid(model, remat=False),  # frozen: nothing of it is kept
    deblurrer=MSDIUNet(
      model.width, model.depth, remat, model.unshuffle, hidden=model.modulation_hidden
    ),
  )


def _build_hinet(model: ml_collections.ConfigDict, axis_name: str | None, remat: bool) -> HINet:
  del axis_name
  return HINet(model.width, model.depth, remat, model.unshuffle)


class Network(NamedTuple):
  """What else than a network's own file has to know of it.

  Attributes:
    title: as people call it.
    kind: its class. The methods tell what it can do: `deblur` pictures, by a `degradation_map`
      where it has an E, `reblur` others where it has a Gr; `multiple` is what the sides of pictures
      must be multiples of.
    build: (config.model, device axis or None, remat) to the module.
    losses: the weights of `config.loss` that train it.
    outputs: what `deblur` gives.
    released: its name in `convert.KINDS`; '' where there is no released one.
  """

  title: str
  kind: type[nn.Module]
  build: Callable[[ml_collections.ConfigDict, str | None, bool], nn.Module]
  losses: tuple[str, ...]
  outputs: tuple[str, ...] = ('deblurred',)
  released: str = ''

  @property
  def has_map(self) -> bool:
    """Whether there are an E and a map pyramid."""
    return hasattr(self.kind, 'degradation_map')

  @property
  def can_reblur(self) -> bool:
    """Whether there is a Gr: what the joint stage trains, with E."""
    return hasattr(self.kind, 'reblur')

  @property
  def frozen(self) -> bool:
    """Whether E and the pyramid come from another run and stay as they are there."""
    return self.has_map and not self.can_reblur

  @property
  def inputs(self) -> int:
    """Pictures that the module is called with: blurry or (blurry, sharp)."""
    return 2 if self.can_reblur else 1


NETWORKS = {
  'joint': Network(
    title='joint net',
    kind=JointNet,
    build=build_generator,
    losses=('gan', 'reblur_l1', 'deblur_l1', 'blur_field', 'feature_matching', 'vgg'),
    released='msdi2e',
  ),
  'msdi_net': Network(
    title='MSDI-Net',
    kind=MSDINet,
    build=_build_msdi_net,
    losses=('psnr', 'encoder_features', 'deblur_l1'),
    outputs=('deblurred', 'stage_1'),
    released='msdi_net',
  ),
  'hinet': Network(
    title='HINet',
    kind=HINet,
    build=_build_hinet,
    losses=('psnr', 'deblur_l1'),
    outputs=('deblurred', 'stage_1'),
    released='hinet',
  ),
}


def name_of(module: nn.Module) -> str | None:
  """The name in `NETWORKS` of a module; None where it is no whole network."""
  return next((name for name, row in NETWORKS.items() if isinstance(module, row.kind)), None)
