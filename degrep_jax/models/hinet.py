"""The HINet baseline (Chen et al., "HINet: Half Instance Normalization Network for Image
Restoration", CVPRW 2021)."""

from collections.abc import Sequence

import jax

from degrep_jax.models.layers import Conv
from degrep_jax.models.two_stage import TwoStageUNet


class HINet(TwoStageUNet):
  """Two-stage U-Net whose skips are single 3x3 convolutions; knows no degradation map.

  `(B, H, W, 3)` in [0, 1] to (out1, out2). At width 64 and depth 5 88,669,702 parameters.
  """

  def deblur(self, blurry: jax.Array, degradation_map: None = None) -> dict[str, jax.Array]:
    """What is seen of blurry pictures: 'stage_1' and 'deblurred' (out1, out2); there is no map."""
    del degradation_map
    stage_1, deblurred = self(blurry)
    return {'deblurred': deblurred, 'stage_1': stage_1}

  def skip(
    self, stage: int, level: int, x: jax.Array, maps: Sequence[jax.Array], train: bool
  ) -> jax.Array:
    """See `TwoStageUNet`."""
    del maps, train
    return Conv(x.shape[-1], name=f'skip_{stage}_{level}')(x)
