"""Losses as functions of pictures, logits and features: the joint stage's (supplementary section 1
and the released `image_restoration2_model.py`), then the deblurring stage's (released
`image_restoration_model.py`). Each returns a scalar mean over the local batch."""

import functools
import operator
from collections.abc import Iterable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

VGG_WEIGHTS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1.0)

# Per scale of the discriminator, its layers' outputs, logits last.
Outputs = Sequence[Sequence[jax.Array]]


def l1(a: jax.Array, b: jax.Array) -> jax.Array:
  """Mean absolute difference of two arrays of one shape."""
  return jnp.abs(a - b).mean()


def _sum(values: Iterable[jax.Array]) -> jax.Array:
  return functools.reduce(operator.add, values)


def _mean_over_scales(values: list[jax.Array]) -> jax.Array:
  return jnp.stack(values).mean()


def field_l1(maps: jax.Array, field: jax.Array) -> jax.Array:
  """L1 between the first channels of maps and the blur, where it is known (ours).

  Args:
    maps: `(N, h, w, C)`, of B pictures, or of these and as many that have the same blur.
    field: of the B pictures, `(B, H, W, 4)` as data/blur_field.py has it; a place of the map has
      the mean of its points, or, where their number is no multiple, is interpolated.

  Returns:
    Mean over pictures, places and the three channels, ().
  """
  (batch, height, width, channels), (h, w) = field.shape, maps.shape[1:3]
  if height % h == 0 and width % w == 0:
    side = height // h, width // w
    field = nn.avg_pool(field, side, side)
  else:
    field = jax.image.resize(field, (batch, h, w, channels), 'linear')
  field = jnp.tile(field, (len(maps) // batch, 1, 1, 1))
  blur, known = field[..., :-1], field[..., -1:]
  return (known * jnp.abs(maps[..., : channels - 1] - blur)).mean()


def hinge_generator(fake: Outputs) -> jax.Array:
  """-E[D(fake)], mean over scales (Lim and Ye 2017; released `GANLoss('hinge')`)."""
  return _mean_over_scales([-scale[-1].mean() for scale in fake])


def hinge_discriminator_fake(fake: Outputs) -> jax.Array:
  """E[max(0, 1 + D(fake))], mean over scales."""
  return _mean_over_scales([jax.nn.relu(1 + scale[-1]).mean() for scale in fake])


def hinge_discriminator_real(real: Outputs) -> jax.Array:
  """E[max(0, 1 - D(real))], mean over scales."""
  return _mean_over_scales([jax.nn.relu(1 - scale[-1]).mean() for scale in real])


def feature_matching(fake: Outputs, real: Outputs) -> jax.Array:
  """L1 between the discriminator's features of fake and real (held constant): summed over the
  layers before the logits, mean over scales."""
  return _mean_over_scales(
    [
      _sum(l1(f, jax.lax.stop_gradient(r)) for f, r in zip(fakes[:-1], reals[:-1], strict=True))
      for fakes, reals in zip(fake, real, strict=True)
    ]
  )


def perceptual(fake: Sequence[jax.Array], real: Sequence[jax.Array]) -> jax.Array:
  """L1 between VGG19 features relu1_1 .. relu5_1, weighted 1/32, 1/16, 1/8, 1/4, 1; `real` is held
  constant."""
  terms = zip(VGG_WEIGHTS, fake, real, strict=True)
  return _sum(weight * l1(f, jax.lax.stop_gradient(r)) for weight, f, r in terms)


def psnr_loss(restored: jax.Array, sharp: jax.Array) -> jax.Array:
  """-PSNR in dB for a peak of 1, mean over the pictures `(B, H, W, 3)` (released `PSNRLoss`)."""
  errors = jnp.square(restored - sharp).mean((1, 2, 3))
  return 10 / np.log(10) * jnp.log(errors + 1e-8).mean()


def features_l1(restored: Sequence[jax.Array], sharp: Sequence[jax.Array]) -> jax.Array:
  """Sum of the L1 differences between E's features of the restored and the sharp picture."""
  return _sum(l1(r, s) for r, s in zip(restored, sharp, strict=True))
