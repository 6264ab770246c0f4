"""The two-scale patch discriminator of the joint stage (released `discriminator.py`)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from degrep_jax.models.layers import Conv, instance_norm, leaky_relu


class PatchDiscriminator(nn.Module):
  """One scale: five 4x4 convolutions of padding 2; returns the five layers' outputs, the logits
  last.

  The first has bias, the next three are spectral-normalised without bias and followed by instance
  norm; all four end in LeakyReLU. The last gives one logit per patch.
  """

  width: int = 64

  @nn.compact
  def __call__(self, x: jax.Array, train: bool = False) -> list[jax.Array]:
    x = leaky_relu(Conv(self.width, kernel=4, stride=2, name='conv_0')(x))
    outputs = [x]
    for i, stride in ((1, 2), (2, 2), (3, 1)):
      conv = Conv(
        self.width * 2**i,
        kernel=4,
        stride=stride,
        use_bias=False,
        spectral=True,
        name=f'conv_{i}',
      )
      x = conv(x, train)
      x = leaky_relu(instance_norm(x))
      outputs.append(x)
    return [*outputs, Conv(1, kernel=4, name='conv_4')(x)]


def _halved(x: jax.Array) -> jax.Array:
  """Means over 3x3 windows of stride 2, the padding of 1 not counted: `(B, H, W, C)` to `(B,
  ceil(H / 2), ceil(W / 2), C)`."""
  # Of Flax's own count XLA computes each element while it compiles, for seconds.
  sides = [
    np.minimum(np.arange(-1, n - 1, 2) + 3, n) - np.maximum(np.arange(-1, n - 1, 2), 0)
    for n in x.shape[1:3]
  ]
  share = 9 / np.multiply.outer(*sides)[:, :, None]
  return nn.avg_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))) * share.astype(x.dtype)


class Discriminator(nn.Module):
  """D: is `picture` the blurry photograph of `sharp`, or a reblurred one?

  Each further scale sees the pair averaged over 3x3 windows of stride 2 (the padding not counted),
  with weights of its own.

  Attributes:
    width: channels of the first convolution.
    scales: number of patch discriminators.
  """

  width: int = 64
  scales: int = 2

  @nn.compact
  def __call__(
    self, sharp: jax.Array, picture: jax.Array, train: bool = False
  ) -> list[list[jax.Array]]:
    """Args: both `(B, H, W, 3)`. Returns, per scale, the outputs of `PatchDiscriminator`."""
    x = jnp.concatenate([sharp, picture], axis=-1)
    outputs = []
    for i in range(self.scales):
      if i:
        x = _halved(x)
      outputs.append(PatchDiscriminator(self.width, name=f'scale_{i}')(x, train))
    return outputs
