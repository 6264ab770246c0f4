"""How a generator's features are modulated by the degradation map."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from degrep_jax.models.layers import BatchNorm, Conv, inner_leaky_relu, resize_nearest


def _scale_and_shift(hidden: jax.Array, features: int) -> list[jax.Array]:
  """gamma and beta: two 3x3 convolutions of the same input, computed as one of twice the
  filters."""
  return jnp.split(Conv(2 * features, name='gamma_beta')(hidden), 2, axis=-1)


class SpadeModulation(nn.Module):
  """The released skip modulation: s + spectralconv(act(norm(s) * (1 + gamma) + beta)).

  Released `architecture2.SPADEResnetBlock`: norm is batch norm without affine; gamma and beta are
  convolutions of relu(conv(map)), a plain ReLU here. `feature` is `(B, H, W, C)`, `map_` `(B, h, w,
  M)`, the result like `feature`.

  Attributes:
    hidden: channels between the map and gamma, beta.
    axis_name: the device axis over which batch norm is synchronised.
  """

  hidden: int = 128
  axis_name: str | None = None

  @nn.compact
  def __call__(self, feature: jax.Array, map_: jax.Array, train: bool = False) -> jax.Array:
    channels = feature.shape[-1]
    map_ = resize_nearest(map_, feature.shape[1:3])
    hidden = nn.relu(Conv(self.hidden, name='shared')(map_))
    gamma, beta = _scale_and_shift(hidden, channels)
    y = BatchNorm(self.axis_name, name='norm')(feature, train) * (1 + gamma) + beta
    return feature + Conv(channels, spectral=True, name='conv')(inner_leaky_relu(y), train)


class ConcatModulation(nn.Module):
  """MSDI-Net's modulation: s + spectralconv(act(s * (1 + gamma) + beta)), gamma and beta from the
  feature and the map together, no norm.

  Released `architecture1.SPADEResnetBlock1`, whose norm is switched off. Shapes as in
  `SpadeModulation`.

  Attributes:
    hidden: channels of the two convolutions before gamma and beta.
  """

  hidden: int = 128

  @nn.compact
  def __call__(self, feature: jax.Array, map_: jax.Array, train: bool = False) -> jax.Array:
    channels = feature.shape[-1]
    both = jnp.concatenate([feature, resize_nearest(map_, feature.shape[1:3])], axis=-1)
    hidden = inner_leaky_relu(Conv(map_.shape[-1], kernel=1, name='mix')(both))
    for i in range(2):
      hidden = inner_leaky_relu(Conv(self.hidden, name=f'shared_{i}')(hidden))
    gamma, beta = _scale_and_shift(hidden, channels)
    y = inner_leaky_relu(feature * (1 + gamma) + beta)
    return feature + Conv(channels, spectral=True, name='conv')(y, train)


class SamModulation(nn.Module):
  """Spatially adaptive modulation as the paper's figure draws it: feature * (1 + gamma) + beta, no
  norm.

  gamma and beta are convolutions of act(conv(map)). The figure multiplies by one convolution; the 1
  is its bias at the start, so that an untrained net passes its features on. Shapes and `hidden` as
  in `SpadeModulation`.
  """

  hidden: int = 128

  @nn.compact
  def __call__(self, feature: jax.Array, map_: jax.Array, train: bool = False) -> jax.Array:
    del train
    map_ = resize_nearest(map_, feature.shape[1:3])
    hidden = inner_leaky_relu(Conv(self.hidden, name='shared')(map_))
    gamma, beta = _scale_and_shift(hidden, feature.shape[-1])
    return feature * (1 + gamma) + beta
