"""Times the forms of gradients that `degrep_jax.models.convolution` chooses between.

python experiments/benchmark_convolutions.py

Prints milliseconds, the best of several runs in one process, for shapes of the networks here: the
plain form's forward pass and gradients, and the chosen forms' gradients. Choices hold on CPUs
alone, where "plain" and "chosen" differ; run it on a quiet machine.
"""

import time

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.console import Console
from rich.table import Table

from degrep_jax.models import convolution
from degrep_jax.runtime import compiling

# (what, batch, side, channels in, out, kernel, stride, padding)
SHAPES = (
  ('U-Net level 0, demo', 8, 64, 16, 16, 3, 1, 1),
  ('U-Net level 0, full', 1, 256, 64, 64, 3, 1, 1),
  ('U-Net level 1, full', 1, 128, 128, 128, 3, 1, 1),
  ('U-Net level 2, full', 1, 64, 256, 256, 3, 1, 1),
  ('U-Net level 3, full', 1, 32, 512, 512, 3, 1, 1),
  ('decoder level 0, full', 1, 256, 128, 64, 3, 1, 1),
  ('U-Net level 4, full', 2, 16, 1024, 1024, 3, 1, 1),
  ('residual block, full', 8, 4, 512, 512, 3, 1, 1),
  ('downsampling, demo', 8, 64, 16, 16, 4, 2, 1),
  ('downsampling, full', 2, 256, 64, 64, 4, 2, 1),
  ('D layer 1, full', 2, 129, 64, 128, 4, 2, 2),
  ('D layer 3, demo', 8, 9, 64, 128, 4, 1, 2),
  ('D layer 3, full', 2, 33, 256, 512, 4, 1, 2),
)
UPSAMPLING = (('upsampling, demo', 8, 32, 32, 16), ('upsampling, full', 2, 128, 128, 64))


def milliseconds(function, *arguments, repeats=3) -> float:
  """Best of `repeats` calls of the function, compiled as a training step is."""
  compiled = compiling.compiled(jax.jit(function).lower(*arguments), keep_barriers=True)
  jax.block_until_ready(compiled(*arguments))
  best = float('inf')
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(compiled(*arguments))
    best = min(best, time.perf_counter() - start)
  return 1e3 * best


def gradient(convolution, argument):
  """(x, kernel, cotangent) to the gradient of one of the first two."""

  def run(x, kernel, cotangent):
    _, pull = jax.vjp(convolution, x, kernel)
    return pull(cotangent)[argument]

  return run


def plain(stride, padding):
  """XLA's convolution with XLA's own gradients."""
  return lambda x, kernel: lax.conv_general_dilated(
    x,
    kernel,
    (stride, stride),
    [(padding, padding)] * 2,
    dimension_numbers=('NHWC', 'HWIO', 'NHWC'),
  )


def transposed(x, kernel):
  """XLA's transposed 2x2 convolution of stride 2."""
  return lax.conv_transpose(
    x, kernel[::-1, ::-1], (2, 2), 'VALID', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )


def row(what, ours, reference, x, kernel):
  """A line of the table: plain forward and gradients, chosen gradients."""
  rng = np.random.default_rng(0)
  x, kernel = (rng.standard_normal(shape, dtype=np.float32) for shape in (x, kernel))
  cotangent = jnp.asarray(rng.standard_normal(reference(x, kernel).shape), jnp.float32)
  times = [milliseconds(reference, x, kernel)]
  for argument in (0, 1):
    for form in (reference, ours):
      times.append(milliseconds(gradient(form, argument), x, kernel, cotangent))
  return [what, f'{x.shape} {kernel.shape}', *(f'{t:.2f}' for t in times)]


def main():
  """Prints the table."""
  table = Table('what', 'input, kernel', 'forward', 'dx plain', 'dx ours', 'dW plain', 'dW ours')
  for what, n, side, c, out, k, stride, padding in SHAPES:
    ours = lambda x, kernel, s=stride, p=padding: convolution.conv2d(x, kernel, s, p)  # noqa: E731
    shapes = (n, side, side, c), (k, k, c, out)
    table.add_row(*row(what, ours, plain(stride, padding), *shapes))
  for what, n, side, c, out in UPSAMPLING:
    shapes = (n, side, side, c), (2, 2, c, out)
    table.add_row(*row(what, convolution.upconv2x2, transposed, *shapes))
  Console(width=120).print(table)


if __name__ == '__main__':
  main()
