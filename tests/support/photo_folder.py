"""A small folder of sharp photographs."""

import numpy as np
from PIL import Image
from scipy import ndimage


def photograph(seed, height=60, width=80):
  """Smooth noise, (height, width, 3) uint8."""
  noise = np.random.default_rng(seed).random((height, width, 3))
  smooth = ndimage.gaussian_filter(noise, (1, 1, 0)) * 4 - 1.5
  return np.rint(np.clip(smooth, 0, 1) * 255).astype(np.uint8)


def write(root, names, **size):
  """PNG files by name, without their suffix."""
  for seed, name in enumerate(names):
    path = root / f'{name}.png'
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(photograph(seed, **size)).save(path)
  return root
