"""Training steps of the tiny stages in float64, where what is claimed to be equal is compared.

Two programs that compute the same add in another order, and their results differ by rounding: by
how much depends on the compiler and on the width of the processor's registers. In float32 nothing
but a measurement tells how much that is. In float64 the bounds below hold before anything is run,
and a mistake (a term, a mean or an order that is not the intended one) lies far above them.

`CLOSE`, as a part of the norm of what is compared: a sum of n terms in any order is off by n u of
the sum of their sizes, u = 2^-53 = 1.1e-16. Sums here run over 4 pictures of 32x32 pixels in three
colours at most, n = 1.2e4 (that of the squares of all gradients over 9e4, once); a gradient comes
from some 50 sums, one after the other: 50 n u = 7e-11. A layer that enlarges a relative error, as a
norm does of features that vary less than they are large, has ten times as much.

`MOVED`, of each parameter after one step as a part of the learning rate: Adam's first step is
rate * g / (|g| + 1e-8), whose slope is 1e8 * rate at most. g is clipped to the norm 0.01, so that
it is off by 0.01 * CLOSE = 1e-11, and the step by 1e-3 * rate.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np
import tiny_joint

from degrep_jax.runtime import devices
from degrep_jax.training import stages

CLOSE = 1e-9
MOVED = 1e-3


def wide(tree: Any) -> Any:
  """Arrays as NumPy's, of float64 where they were of float32."""
  return jax.tree.map(lambda x: np.asarray(x, np.float64 if x.dtype == np.float32 else None), tree)


def apart(actual: Any, expected: Any) -> float:
  """Norm of the difference of two trees as a part of the norm of the second."""
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  pairs = list(zip(*map(jax.tree.leaves, (actual, expected)), strict=True))
  for x in (x for pair in pairs for x in pair):
    assert x.dtype == np.float64
  difference = sum(np.square(a - b).sum() for a, b in pairs)
  return float(np.sqrt(difference / sum(np.square(b).sum() for _, b in pairs)))


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
  """A compiled function of arrays, which are widened, to NumPy arrays."""
  compiled = jax.jit(function, compiler_options=tiny_joint.COMPILER)

  @functools.wraps(function)
  def call(*arguments):
    with jax.enable_x64(True):
      return jax.tree.map(np.asarray, compiled(*wide(arguments)))

  return call


class Steps:
  """The compiled step of a stage in float64, on all devices.

  Args:
    config: of `tiny_joint` or `tiny_deblur`.
    vgg: a module without parameters in place of VGG19.

  Attributes:
    program: compiled, to be called with float64 enabled; it takes the state's memory.
  """

  def __init__(self, config: Any, vgg: Any = None):
    config = config.copy_and_resolve_references()
    config.train.dtype = 'float64'
    stage = stages.open_stage(config, tiny_joint.FROZEN)
    step = stage.step
    if vgg is not None:
      nets, _ = stages.build_joint(config)
      step = functools.partial(step, nets=nets._replace(vgg=vgg))
    count = jax.device_count()

    def shape(x, *axes):
      dtype = np.float64 if x.dtype == np.float32 else x.dtype
      return jax.ShapeDtypeStruct((count, *axes, *x.shape), dtype)

    state = jax.tree.map(shape, jax.eval_shape(stage.create))
    picture = jax.ShapeDtypeStruct((config.data.crop, config.data.crop, 3), np.float32)
    pictures = shape(picture, config.train.batch_size // count)
    with jax.enable_x64(True):
      pmapped = jax.pmap(step, axis_name=devices.AXIS, donate_argnums=0)
      lowered = pmapped.lower(state, stage.constants, {'blurry': pictures, 'sharp': pictures})
      self.program = lowered.compile(tiny_joint.COMPILER | stage.compiler_options)
    self._constants = stage.constants

  def __call__(self, state: Any, batches: Iterable[Any]) -> tuple[Any, list[dict[str, float]]]:
    """(last state as NumPy arrays, metrics of every step), neither state replicated."""
    replicas, rows = self.replicas(state, batches)
    return jax.tree.map(lambda x: x[0], replicas), rows

  def replicas(self, state: Any, batches: Iterable[Any]) -> tuple[Any, list[dict[str, float]]]:
    """Likewise, but for a leading axis of devices of the last state."""
    rows = []
    with jax.enable_x64(True):
      now = devices.replicate(wide(state))
      for batch in batches:
        now, metrics = self.program(now, self._constants, devices.shard(wide(batch)))
        rows.append({name: float(x) for name, x in devices.unreplicate(metrics).items()})
      return jax.tree.map(np.asarray, now), rows
