"""A convolution and its gradients as loops in NumPy, in float64."""

import numpy as np


def normal(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _taps(x, kernel, stride, padding, height, width):
  """Per place (a, b) of the kernel: what lies under it at every output position, as a view."""
  padded = np.pad(x.astype(np.float64), ((0, 0), (padding,) * 2, (padding,) * 2, (0, 0)))
  for a, b in np.ndindex(kernel.shape[:2]):
    rows, columns = (slice(i, i + stride * n, stride) for i, n in ((a, height), (b, width)))
    yield (a, b), (slice(None), rows, columns), padded


def conv_and_gradients(x, kernel, stride, padding, seed=2):
  """A cotangent, the convolution and its two gradients, all float64."""
  k, kernel = len(kernel), kernel.astype(np.float64)
  height, width = ((s + 2 * padding - k) // stride + 1 for s in x.shape[1:3])
  shape = (len(x), height, width, kernel.shape[-1])
  cotangent = normal(*shape, seed=seed).astype(np.float64)
  output, dkernel = np.zeros(shape), np.zeros(kernel.shape)
  dpadded = np.zeros((len(x), *(s + 2 * padding for s in x.shape[1:3]), x.shape[-1]))
  for place, window, padded in _taps(x, kernel, stride, padding, height, width):
    output += padded[window] @ kernel[place]
    dkernel[place] = np.einsum('nhwi,nhwo->io', padded[window], cotangent)
    dpadded[window] += cotangent @ kernel[place].T
  inner = (slice(None), *(slice(padding, padding + s) for s in x.shape[1:3]))
  return cotangent, output, dpadded[inner], dkernel
