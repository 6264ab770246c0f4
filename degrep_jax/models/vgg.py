"""VGG19 features for the official perceptual loss."""

import flax.linen as nn
import jax

from degrep_jax.models.layers import Conv

SMALLEST = 16  # px of a side, as the fourth pooling leaves one
# One row per scale: the filters of its convolutions, and the index of the first in torchvision's
# `features`, where a convolution and its ReLU take one index each and a pooling takes one.
SCALES = (((64, 64), 0), ((128, 128), 5), ((256,) * 4, 10), ((512,) * 4, 19), ((512,), 28))


class Vgg19Features(nn.Module):
  """The five feature maps of VGG19 (Simonyan and Zisserman 2015) that the perceptual loss compares.

  The input is RGB in [0, 1] as it is, without ImageNet's mean and deviation: the released code
  feeds its pictures so (basicsr/models/archs/loss.py, VGGLoss; architecture.py, VGG19).
  Parameters: conv1_1 .. conv5_1, each a kernel (3, 3, in, out) and a bias (out,).
  """

  @nn.compact
  def __call__(self, x: jax.Array) -> tuple[jax.Array, ...]:
    """Features of a batch of pictures.

    Args:
      x: float32 (B, H, W, 3), RGB in [0, 1], H and W at least `SMALLEST`.

    Returns:
      relu1_1 (B, H, W, 64), relu2_1 (B, H // 2, W // 2, 128), relu3_1 (.. // 4, 256),
      relu4_1 (.. // 8, 512), relu5_1 (.. // 16, 512).
    """
    features = []
    for scale, (filters, _) in enumerate(SCALES, 1):
      if scale > 1:
        x = nn.max_pool(x, (2, 2), strides=(2, 2))
      for i, count in enumerate(filters, 1):
        x = nn.relu(Conv(count, name=f'conv{scale}_{i}')(x))
        if i == 1:
          features.append(x)
    return tuple(features)
