"""Training steps of the tiny stages in float64."""

import functools
from collections.abc import Iterable
from typing import Any

import jax
import numpy as np
import tiny_joint
from float64 import wide
from quick import COMPILER

from degrep_jax.data import pipeline
from degrep_jax.runtime import devices
from degrep_jax.training import stages


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
    inputs = {
      name: jax.ShapeDtypeStruct(pipeline.input_shape(name, config.data.crop), np.float32)
      for name in stage.inputs
    }
    batch = {name: shape(x, config.train.batch_size // count) for name, x in inputs.items()}
    with jax.enable_x64(True):
      pmapped = jax.pmap(step, axis_name=devices.AXIS, donate_argnums=0)
      lowered = pmapped.lower(state, stage.constants, batch)
      self.program = lowered.compile(COMPILER | stage.compiler_options)
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
