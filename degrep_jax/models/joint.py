"""The networks of the joint stage as one module: E, the map pyramid, Gr and Gd (released
`msdi2e_arch.py`)."""

import flax.linen as nn
import jax
import jax.numpy as jnp


class JointNet(nn.Module):
  """Reblurs a sharp picture and deblurs a blurry one by the same degradation map.

  The variables of the four parts lie side by side under their names, so that E and the pyramid can
  be taken out of a checkpoint by key.

  Attributes:
    encoder: E, picture to degradation map.
    pyramid: degradation map to the maps of the generators' scales.
    reblurrer: Gr.
    deblurrer: Gd.
    global_code: averages the map over the picture and spreads the mean over its grid (supplementary
      section 2, "Gr w/ 1D").
    without_map: a map of zeros whatever the picture, a control with as many parameters (ours).
  """

  encoder: nn.Module
  pyramid: nn.Module
  reblurrer: nn.Module
  deblurrer: nn.Module
  global_code: bool = False
  without_map: bool = False

  @property
  def multiple(self) -> int:
    """Of which height and width of the pictures must be multiples, for the U-Nets."""
    return self.deblurrer.multiple

  def degradation_map(self, blurry: jax.Array, train: bool = False) -> jax.Array:
    """M = E(blurry): `(B, H, W, 3)` in [0, 1] to `(B, h, w, C)`."""
    m = self.encoder(blurry, train)
    if self.global_code:
      m = jnp.broadcast_to(m.mean((1, 2), keepdims=True), m.shape)
    return jnp.zeros_like(m) if self.without_map else m

  def generate(
    self,
    blurry: jax.Array,
    sharp: jax.Array,
    degradation_map: jax.Array,
    train: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    """(Gd(blurry, M), Gr(sharp, M)): deblurred and reblurred, both `(B, H, W, 3)`, unbounded.

    degradation_map: `(B, h, w, C)`, or `(2 B, h, w, C)`, of which Gd takes the first half and Gr
    the second.
    """
    maps = self.pyramid(degradation_map, train)
    count = len(blurry)
    first, last = ([m[part] for m in maps] for part in (slice(count), slice(-count, None)))
    return self.deblurrer(blurry, first, train), self.reblurrer(sharp, last, train)

  def with_map(
    self,
    blurry: jax.Array,
    sharp: jax.Array,
    reference: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """What a call gives, and the maps `(B, h, w, C)` of the blurry pictures, or `(2 B, h, w, C)`
    with those of `reference` after them."""
    shown = blurry if reference is None else jnp.concatenate([blurry, reference])
    m = self.degradation_map(shown, train)
    return *self.generate(blurry, sharp, m, train), m

  def deblur(self, blurry: jax.Array, degradation_map: jax.Array) -> dict[str, jax.Array]:
    """What is seen of blurry pictures by their map: 'deblurred' `(B, H, W, 3)`, unbounded."""
    return {'deblurred': self.deblurrer(blurry, self.pyramid(degradation_map))}

  def reblur(self, sharp: jax.Array, degradation_map: jax.Array) -> dict[str, jax.Array]:
    """What is seen of sharp pictures by a map: 'reblurred' `(B, H, W, 3)`, unbounded."""
    return {'reblurred': self.reblurrer(sharp, self.pyramid(degradation_map))}

  def __call__(
    self,
    blurry: jax.Array,
    sharp: jax.Array,
    reference: jax.Array | None = None,
    train: bool = False,
  ) -> tuple[jax.Array, jax.Array]:
    """(deblurred, reblurred) of a batch of pairs `(B, H, W, 3)`, by the blurry pictures' maps.

    Given a `reference`, other pictures under the same blur, Gr takes their maps. Ours: what a map
    holds of its picture then helps it nothing.
    """
    deblurred, reblurred, _ = self.with_map(blurry, sharp, reference, train)
    return deblurred, reblurred
