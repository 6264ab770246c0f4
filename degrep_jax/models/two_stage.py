"""The two-stage deblurring U-Net behind HINet and MSDI-Net."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from degrep_jax.models.layers import (
  Conv,
  UpConv,
  depth_to_space,
  rematerialised,
  space_to_depth,
)
from degrep_jax.models.unet import ConvBlock


class SupervisedAttention(nn.Module):
  """Hands a stage's features on, gated by the picture they already restore (Zamir et al. 2021,
  section 3.3; released `SAM`).

  Features `(B, H, W, C)` and the blurry picture `(B, H, W, 3)`, or its squares of pixels
  (`TwoStageUNet.unshuffle`), to (gated features, restored picture), both shapes kept.
  """

  @nn.compact
  def __call__(self, x: jax.Array, picture: jax.Array) -> tuple[jax.Array, jax.Array]:
    features = x.shape[-1]
    restored = picture + Conv(picture.shape[-1], name='picture')(x)
    gate = nn.sigmoid(Conv(features, name='gate')(restored))
    return x + Conv(features, name='features')(x) * gate, restored


class TwoStageUNet(nn.Module):
  """Two U-Nets in a row, joined by supervised attention and cross-stage feature fusion (Chen et al.
  2021, HINet; released `msdi_arch.py`).

  What the skip connections do is left to the subclass: `skip`.

  Attributes:
    width: channels of the finest level; level i has `width * 2 ** i`.
    depth: levels; height and width must be multiples of `multiple`.
    remat: computes the insides of blocks again instead of keeping them for the gradients.
    unshuffle: see `unet.Generator`; the supervised attention works on the same squares of pixels.
  """

  width: int = 64
  depth: int = 5
  remat: bool = False
  unshuffle: int = 1

  mixing = False  # the form of the blocks, see `ConvBlock`
  fusion_kernel = 3  # of the cross-stage convolutions, which have biases unless `mixing`

  @property
  def multiple(self) -> int:
    """Of which height and width of the pictures must be multiples."""
    return self.unshuffle * 2 ** (self.depth - 1)

  def skip(
    self, stage: int, level: int, x: jax.Array, maps: Sequence[jax.Array], train: bool
  ) -> jax.Array:
    """What a skip connection makes of the encoder's features `(B, h, w, C)`; keeps the shape."""
    raise NotImplementedError

  def block(self, level: int, name: str, norm: bool = True) -> nn.Module:
    """The block of a level under a name."""
    block = rematerialised(ConvBlock, self.remat)
    return block(self.width * 2**level, norm, self.mixing, name=name)

  def _encode(self, stage: int, x: jax.Array, fused: Sequence[Sequence[jax.Array]] = ()):
    """(deepest features, features of the levels above, finest first); `fused`: other features of
    those levels to be added."""
    features: list[jax.Array] = []
    for level in range(self.depth):
      x = self.block(level, f'encode_{stage}_{level}')(x)
      if level == self.depth - 1:
        return x, features
      for source, others in zip(('encoder', 'decoder'), fused, strict=False):
        x = x + Conv(
          x.shape[-1],
          kernel=self.fusion_kernel,
          use_bias=not self.mixing,
          name=f'fuse_{source}_{level}',
        )(others[level])
      features.append(x)
      down = Conv(x.shape[-1], 4, 2, 1, use_bias=False, name=f'downsample_{stage}_{level}')
      x = down(x)

  def _decode(self, stage: int, x: jax.Array, encoded, maps, train: bool) -> list[jax.Array]:
    """Features of all levels but the deepest, finest first."""
    features: list[jax.Array] = []
    for level in reversed(range(self.depth - 1)):
      up = UpConv(self.width * 2**level, name=f'upsample_{stage}_{level}')(x)
      x = jnp.concatenate([up, self.skip(stage, level, encoded[level], maps, train)], axis=-1)
      x = self.block(level, f'decode_{stage}_{level}', norm=False)(x)
      features.insert(0, x)
    return features

  @nn.compact
  def __call__(
    self, picture: jax.Array, maps: Sequence[jax.Array] = (), train: bool = False
  ) -> tuple[jax.Array, jax.Array]:
    """The pictures that the two stages restore.

    Args:
      picture: blurry, `(B, H, W, 3)` in [0, 1].
      maps: of the pyramid, finest first, where the skips use them.
      train: advances the spectral norms' iterations.

    Returns:
      (out1, out2), `(B, H, W, 3)`, unbounded; the second is the result.
    """
    picture = space_to_depth(picture, self.unshuffle)
    deepest, encoded = self._encode(0, Conv(self.width, name='conv_in_0')(picture))
    decoded = self._decode(0, deepest, encoded, maps, train)
    handed, restored = SupervisedAttention(name='attention')(decoded[0], picture)
    x = jnp.concatenate([Conv(self.width, name='conv_in_1')(picture), handed], axis=-1)
    x = Conv(self.width, kernel=1, name='join')(x)
    deepest, encoded = self._encode(1, x, (encoded, decoded))
    decoded = self._decode(1, deepest, encoded, maps, train)
    result = picture + Conv(picture.shape[-1], name='conv_out')(decoded[0])
    return depth_to_space(restored, self.unshuffle), depth_to_space(result, self.unshuffle)
