"""What computes for a `Restorer`: XLA on all devices of this process, or ONNX Runtime on the CPU.

Both take a function of variables and of stacks of pictures, and make of it a program that is called
with these as they lie in the memory of the host.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from degrep_jax.common.errors import UserError
from degrep_jax.runtime import compiling

ENGINES = ('jax', 'onnx')

Function = Callable[..., Any]  # (variables, *stacks) to a tree of stacks


class Xla:
  """By XLA; the pictures of a stack are split between the devices.

  Attributes:
    devices: their number.
    shares_programs: whether a program may be called with other variables than it was made with.
  """

  shares_programs = True

  def __init__(self) -> None:
    devices = jax.local_devices()
    mesh = jax.sharding.Mesh(np.array(devices), ('batch',))
    self.devices = len(devices)
    self._split, self._everywhere = (
      jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
      for axes in (('batch',), ())
    )

  def place(self, variables: Any) -> Any:
    """Arrays of the host as the programs take them."""
    return jax.device_put(variables, self._everywhere)

  def program(self, function: Function, variables: Any, stacks: Sequence[np.ndarray]) -> 'Program':
    """The program of a function for stacks of these shapes."""
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._split) for x in stacks]
    jitted = compiling.jit(function, out_shardings=self._split)
    return Program(jitted.lower(variables, *shapes).compile(), self._split)


class Program:
  """A program of `Xla`.

  Attributes:
    compiled: `jax.stages.Compiled`.
  """

  def __init__(self, compiled: Any, split: jax.sharding.Sharding):
    self.compiled, self._split = compiled, split

  def __call__(self, variables: Any, *stacks: np.ndarray) -> Any:
    return self.compiled(variables, *(jax.device_put(stack, self._split) for stack in stacks))


class OnnxRuntime:
  """By ONNX Runtime, on the CPU and in float32; attributes as those of `Xla`.

  Raises:
    UserError: it is not installed.
  """

  devices = 1
  shares_programs = False

  def __init__(self) -> None:
    try:
      import onnxruntime

      from degrep_jax.inference import to_onnx
    except ImportError:
      raise UserError(
        "The engine onnx is missing: run pip install '.[onnx]' in the clone."
      ) from None
    self._runtime, self._convert = onnxruntime, to_onnx.convert

  def place(self, variables: Any) -> Any:
    """Arrays of the host as they are."""
    return variables

  def program(self, function: Function, variables: Any, stacks: Sequence[np.ndarray]) -> Function:
    """The program of a function for stacks of these shapes, which holds the variables."""
    structure: Any = None

    def numbered(variables: Any, *stacks: jax.Array) -> dict[str, jax.Array]:
      nonlocal structure
      leaves, structure = jax.tree.flatten(function(variables, *stacks))
      return {f'output_{i}': x for i, x in enumerate(leaves)}

    names = [f'input_{i}' for i in range(len(stacks))]
    shapes = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in stacks]
    # The model's weights are in memory once more for as long as it is.
    model = self._convert(numbered, variables, dict(zip(names, shapes, strict=True)))
    model = model.SerializeToString()
    options = self._runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = self._runtime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
    outputs = [f'output_{i}' for i in range(len(session.get_outputs()))]

    def run(variables: Any, *stacks: np.ndarray) -> Any:
      del variables
      results = session.run(outputs, dict(zip(names, stacks, strict=True)))
      return jax.tree.unflatten(structure, results)

    return run
