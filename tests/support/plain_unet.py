"""A network as somebody might add it: a module in a file of its own, and a row for the table."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from degrep_jax.models.factory import Network
from degrep_jax.models.layers import Conv, UpConv, leaky_relu


class PlainUNet(nn.Module):
  """A U-Net without norm, stages or map: `(B, H, W, 3)` in [0, 1] to (restored picture,).

  Attributes:
    width: channels of the finest level; level i has `width * 2 ** i`.
    depth: levels; height and width must be multiples of `multiple`.
  """

  width: int = 64
  depth: int = 5

  @property
  def multiple(self) -> int:
    """Of which height and width of the pictures must be multiples."""
    return 2 ** (self.depth - 1)

  @nn.compact
  def __call__(self, blurry: jax.Array, train: bool = False) -> tuple[jax.Array]:
    del train
    x, skips = leaky_relu(Conv(self.width, name='conv_in')(blurry)), []
    for level in range(1, self.depth):
      skips.append(x)
      x = leaky_relu(Conv(self.width * 2**level, 4, 2, 1, name=f'down_{level}')(x))
    for level in reversed(range(self.depth - 1)):
      x = UpConv(self.width * 2**level, name=f'up_{level}')(x)
      x = jnp.concatenate([x, skips[level]], axis=-1)
      x = leaky_relu(Conv(self.width * 2**level, name=f'conv_{level}')(x))
    return (blurry + Conv(3, name='conv_out')(x),)

  def deblur(self, blurry: jax.Array, degradation_map: None = None) -> dict[str, jax.Array]:
    """What is seen of blurry pictures: 'deblurred'; there is no map."""
    del degradation_map
    return {'deblurred': self(blurry)[0]}


def _build(model, axis_name, remat):
  del axis_name, remat  # neither statistics of a batch nor blocks to compute again
  return PlainUNet(model.width, model.depth)


ROW = Network(title='plain U-Net', kind=PlainUNet, build=_build, losses=('psnr', 'deblur_l1'))
