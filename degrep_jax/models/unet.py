"""The generators of the joint stage: a U-Net whose skips are modulated by the map pyramid (released
`generator.py`)."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from degrep_jax.models.layers import (
  Conv,
  HalfInstanceNorm,
  UpConv,
  depth_to_space,
  inner_leaky_relu,
  leaky_relu,
  rematerialised,
  space_to_depth,
)
from degrep_jax.models.modulation import SamModulation, SpadeModulation


class ConvBlock(nn.Module):
  """conv 3x3 -> half instance norm (if `norm`) -> act -> conv 3x3 -> act, plus a 1x1 convolution of
  the input.

  `(B, H, W, C)` to `(B, H, W, features)`.

  Attributes:
    features: filters of every convolution.
    norm: whether the first convolution is normalised.
    mixing: MSDI-Net's form (released `msdi_arch.UNetConvBlock`): one more 1x1 convolution and act
      between the two; it and the 1x1 convolution of the input have no bias.
  """

  features: int
  norm: bool
  mixing: bool = False

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    y = Conv(self.features, name='conv_1')(x)
    if self.norm:
      y = HalfInstanceNorm(name='norm')(y)
    y = inner_leaky_relu(y)
    if self.mixing:
      y = inner_leaky_relu(Conv(self.features, kernel=1, use_bias=False, name='conv_3')(y))
    y = leaky_relu(Conv(self.features, name='conv_2')(y))
    return y + Conv(self.features, kernel=1, use_bias=not self.mixing, name='identity')(x)


class Generator(nn.Module):
  """Gr or Gd: picture and maps in, picture out (a residual to the input picture, unbounded).

  Attributes:
    width: channels of the finest level; level i has `width * 2 ** i`.
    depth: levels of the U-Net; height and width must be multiples of `multiple`.
    modulation: 'spade' modulates the skips (released code), 'sam' every scale's features (paper's
      figure).
    hidden: channels inside the modulation.
    axis_name: the device axis over which batch norm is synchronised.
    remat: computes the insides of blocks again instead of keeping them for the gradients.
    unshuffle: side of the squares of pixels that the U-Net sees as one pixel of `3 * unshuffle **
      2` channels: the same width costs `unshuffle ** 2` times less. Ours; 1 is the paper's.
  """

  width: int = 64
  depth: int = 5
  modulation: str = 'spade'
  hidden: int = 128
  axis_name: str | None = None
  remat: bool = False
  unshuffle: int = 1

  @property
  def multiple(self) -> int:
    """Of which height and width of the pictures must be multiples."""
    return self.unshuffle * 2 ** (self.depth - 1)

  @nn.compact
  def __call__(
    self, picture: jax.Array, maps: Sequence[jax.Array], train: bool = False
  ) -> jax.Array:
    """Args: picture `(B, H, W, 3)`; maps finest first, one per modulated scale. Returns `(B, H, W,
    3)`."""
    picture = space_to_depth(picture, self.unshuffle)

    block, spade, sam = (
      rematerialised(of, self.remat) for of in (ConvBlock, SpadeModulation, SamModulation)
    )

    def modulate(level: int, feature: jax.Array) -> jax.Array:
      name = f'modulation_{level}'
      if self.modulation == 'sam':
        return sam(self.hidden, name=name)(feature, maps[level], train)
      return spade(self.hidden, self.axis_name, name=name)(feature, maps[level], train)

    x, skips = Conv(self.width, name='conv_in')(picture), []
    for level in range(self.depth):
      features = self.width * 2**level
      x = block(features, norm=True, name=f'encode_{level}')(x)
      if level < self.depth - 1:
        skips.append(x)
        x = Conv(
          features, kernel=4, stride=2, padding=1, use_bias=False, name=f'downsample_{level}'
        )(x)
    if self.modulation == 'sam':
      x = modulate(self.depth - 1, x)
    for level in reversed(range(self.depth - 1)):
      features = self.width * 2**level
      up = UpConv(features, name=f'upsample_{level}')(x)
      x = jnp.concatenate([up, modulate(level, skips[level])], axis=-1)
      x = block(features, norm=False, name=f'decode_{level}')(x)
    restored = picture + Conv(picture.shape[-1], name='conv_out')(x)
    return depth_to_space(restored, self.unshuffle)
