"""MSDI-Net, the two-stage deblurring net on a frozen degradation map (paper, section 3.3; released
`msdi_arch.py`)."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from degrep_jax.models.layers import rematerialised
from degrep_jax.models.modulation import ConcatModulation
from degrep_jax.models.two_stage import TwoStageUNet


class MSDIUNet(TwoStageUNet):
  """The trained part of MSDI-Net: picture and maps to (out1, out2).

  The first stage's skips are block -> modulation by the map -> block, the second's four blocks. At
  width 64 and depth 5 129,851,014 parameters: the released net's 135,429,766 trainable ones less
  its `conv_4`, which nothing reads.

  Attributes:
    hidden: channels inside the modulation.
  """

  hidden: int = 128

  mixing = True
  fusion_kernel = 1

  def skip(
    self, stage: int, level: int, x: jax.Array, maps: Sequence[jax.Array], train: bool
  ) -> jax.Array:
    """See `TwoStageUNet`."""
    name = f'skip_{stage}_{level}'
    x = self.block(level, f'{name}_block_0')(x)
    if stage == 0:
      modulation = rematerialised(ConcatModulation, self.remat)
      x = modulation(self.hidden, name=f'modulation_{level}')(x, maps[level], train)
      return self.block(level, f'{name}_block_1')(x)
    for i in (1, 2, 3):
      x = self.block(level, f'{name}_block_{i}')(x)
    return x


class MSDINet(nn.Module):
  """E, the map pyramid and the U-Net that deblurs by their maps.

  E and the pyramid come from the joint stage and their weights are frozen; the power iterations of
  their spectral norms go on with `train=True`, as in the released code (without that the released
  training's outputs are missed: 5 % of their deviation after three steps, with it 1 %).

  Attributes:
    encoder: E, picture to degradation map.
    pyramid: degradation map to the maps of the skips.
    deblurrer: `MSDIUNet`.
  """

  encoder: nn.Module
  pyramid: nn.Module
  deblurrer: nn.Module

  @property
  def multiple(self) -> int:
    """Of which height and width of the pictures must be multiples, for the U-Nets."""
    return self.deblurrer.multiple

  def degradation_map(self, blurry: jax.Array, train: bool = False) -> jax.Array:
    """M = E(blurry): `(B, H, W, 3)` in [0, 1] to `(B, h, w, C)`."""
    return self.encoder(blurry, train)

  def encoder_features(self, picture: jax.Array) -> tuple[jax.Array, ...]:
    """E's first five convolutions' outputs for the deblurring loss, see `Encoder`."""
    return self.encoder(picture, features=True)

  def generate(
    self, blurry: jax.Array, degradation_map: jax.Array, train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """(out1, out2) by a given map, both `(B, H, W, 3)`, unbounded."""
    return self.deblurrer(blurry, self.pyramid(degradation_map, train), train)

  def deblur(self, blurry: jax.Array, degradation_map: jax.Array) -> dict[str, jax.Array]:
    """What is seen of blurry pictures by their map: 'stage_1' and 'deblurred' (out1, out2)."""
    stage_1, deblurred = self.generate(blurry, degradation_map)
    return {'deblurred': deblurred, 'stage_1': stage_1}

  def __call__(self, blurry: jax.Array, train: bool = False) -> tuple[jax.Array, jax.Array]:
    """(out1, out2) of blurry pictures `(B, H, W, 3)` in [0, 1]."""
    return self.generate(blurry, self.degradation_map(blurry, train), train)
