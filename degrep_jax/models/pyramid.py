"""The map pyramids: the degradation map at the resolutions of a U-Net's skips.

One pyramid serves both generators. `MapPyramid` is the released code's "prior upsampling",
`SamPyramid` the paper's figure.
"""

import flax.linen as nn
import jax

from degrep_jax.models.layers import Conv, leaky_relu, rematerialised, resize_nearest, upsample2


class PyramidBlock(nn.Module):
  """Spectral 3x3 convolution, act, nearest x2, spectral 3x3 convolution, act; reflection padding
  throughout."""

  features: int

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
    x = Conv(self.features, padding_mode='reflect', spectral=True, name='conv_0')(x, train)
    x = upsample2(leaky_relu(x))
    x = Conv(self.features, padding_mode='reflect', spectral=True, name='conv_1')(x, train)
    return leaky_relu(x)


class MapPyramid(nn.Module):
  """`(B, h, w, C)` to a tuple of `levels` maps, finest first (released `prior_upsampling`).

  Block i of `blocks` doubles the size and has `width * 2 ** (blocks - 1 - i)` channels, so that the
  last has `width`. v1 has six blocks (4x4 to 256x256), v2 five (8x8 to 256x256).

  Attributes:
    width: channels of the finest map.
    blocks: doublings.
    levels: how many of the finest maps are returned; a U-Net of depth d has d - 1 skips.
    remat: computes the insides of blocks again instead of keeping them for the gradients.
  """

  width: int = 64
  blocks: int = 6
  levels: int = 4
  remat: bool = False

  @nn.compact
  def __call__(self, degradation_map: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
    x, maps = degradation_map, []
    block = rematerialised(PyramidBlock, self.remat)
    for i in range(self.blocks):
      x = block(self.width * 2 ** (self.blocks - 1 - i), name=f'block_{i}')(x, train)
      maps.append(x)
    return tuple(maps[::-1][: self.levels])


class SamPyramid(nn.Module):
  """Maps for every scale of a U-Net, the deepest too: M_(i+1) = conv(nearest x2 (M_i)) (the paper's
  figure).

  `(B, h, w, C)` to a tuple of `levels` maps, finest first; level i has `width * 2 ** i` channels,
  the deepest is the degradation map itself, repeated to the size of the deepest features.

  Attributes:
    width: channels of the finest map.
    blocks: doublings between the degradation map and the finest level of the U-Net.
    levels: scales of the U-Net.
    remat: doubles the maps again for the gradients, instead of keeping what it made of them.
  """

  width: int = 64
  blocks: int = 6
  levels: int = 5
  remat: bool = False

  @nn.compact
  def __call__(self, degradation_map: jax.Array, train: bool = False) -> tuple[jax.Array, ...]:
    del train
    repeat = 2 ** (self.blocks - self.levels + 1)
    x = resize_nearest(degradation_map, [repeat * n for n in degradation_map.shape[1:3]])
    maps = [x]

    def doubled(conv: Conv, x: jax.Array) -> jax.Array:
      return conv(upsample2(x))

    if self.remat:
      doubled = nn.remat(doubled)
    for level in reversed(range(self.levels - 1)):
      x = doubled(Conv(self.width * 2**level, name=f'conv_{level}'), x)
      maps.append(x)
    return tuple(maps[::-1])
