"""What a config takes before anything is trained: `--mode=plan`.

Parameters are counted, memory and FLOPs of the step are XLA's own analysis of the compiled program.
Nothing of the size of the networks is ever made: shapes are traced, lowered and compiled. The
analysis is that of the platform it runs on; on a CPU it is an estimate for all others.

Memory is affine in the pictures that pass through the networks at a time, as long as the
convolutions take the same forms, so that two programs tell of many batches. What is reserved beside
a program (the runtime, buffers of collectives, batches on their way) is not in it.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import flax.serialization
import jax
import jax.numpy as jnp
import ml_collections

from degrep_jax import run_config as configs
from degrep_jax.checkpoints.describe import count_parts
from degrep_jax.common.console import duration, empty_table, results, say
from degrep_jax.common.errors import UserError
from degrep_jax.common.units import bytes_text, quantity
from degrep_jax.data.pipeline import input_shape
from degrep_jax.models import convolution
from degrep_jax.models.variables import DTYPES
from degrep_jax.models.vgg import Vgg19Features
from degrep_jax.training.stages import Stage, open_stage

SETTINGS = [(dtype, remat) for dtype in DTYPES for remat in (False, True)]


class Needs(NamedTuple):
  """What a step takes of one device; bytes but for `flops`.

  Attributes:
    arguments: the state and a batch.
    outputs: what does not take the place of an argument, as the new state does of the old one.
    temporaries: activations and gradients.
    flops: floating-point operations.
  """

  arguments: float
  outputs: float
  temporaries: float
  flops: float

  @property
  def memory(self) -> float:
    """All that is held at a time."""
    return self.arguments + self.outputs + self.temporaries


def programs() -> list[tuple[int, int]]:
  """The pictures per device of the programs that are compiled, in pairs, fewest first. A pair gives
  the line for all counts from its first up to the next pair's: on CPUs the gradients of
  convolutions of large maps, which take most of the memory, change their form there."""
  few = (2, 4)
  if jax.default_backend() != 'cpu':
    return [few]
  return [few, (convolution.PLAIN_FROM, convolution.PLAIN_FROM + 4)]


@dataclasses.dataclass(frozen=True)
class Line:
  """The needs of a step, affine in the pictures that pass through the networks of a device at a
  time, from one pair of `programs` to the next.

  Attributes:
    of: (pictures at a time, micro-batches) to the needs of their step; called with the counts of
      `programs` alone, and one micro-batch or two.
    example_bytes: of what a batch has of one example.
  """

  of: Callable[[int, int], Needs]
  example_bytes: int

  def at(self, share: int, parts: int = 1) -> Needs:
    """For a share of the batch in so many micro-batches: memory within 10 %, as far as was tried.

    It is that of two micro-batches, and the pictures of the others twice: in the batch, and split
    into micro-batches. Operations are those of the last of `programs`: XLA counts the operations of
    a loop once, and other forms of convolutions are loops."""
    count, alike = share // parts, min(parts, 2)
    pair = next((two for two in reversed(programs()) if count >= two[0]), programs()[0])
    needs = self._affine(pair, count, alike)
    later = self.example_bytes * (share - alike * count)
    return needs._replace(
      arguments=needs.arguments + later,
      temporaries=needs.temporaries + later,
      flops=self._affine(programs()[-1], share, 1).flops,
    )

  def _affine(self, pair: tuple[int, int], count: int, parts: int) -> Needs:
    few, many = pair
    two = zip(self.of(few, parts), self.of(many, parts), strict=True)
    return Needs(*(x + (y - x) * (count - few) / (many - few) for x, y in two))

  def largest(self, memory: int) -> int:
    """The most pictures of a device at a time that fit into a memory; 0: none.

    Raises:
      UserError: by XLA's analysis more pictures take no more.
    """
    end: float = math.inf
    for few, many in reversed(programs()):
      least = self.of(few, 1).memory
      more = (self.of(many, 1).memory - least) / (many - few)
      if more <= 0:
        raise UserError(
          f"by XLA's analysis a step of {many} pictures takes no more memory than one of {few}, so "
          'that no largest batch can be told: plan with a larger config.data.crop.'
        )
      fitting = few + (memory - least) / more
      if fitting >= few:
        break
      end = few
    return max(0, math.floor(min(fitting, end - 1)))


def amount(text: str) -> int:
  """Bytes of a value of --memory.

  Raises:
    UserError: it is no amount.
  """
  try:
    return quantity(text)
  except ValueError as error:
    raise UserError(f'--memory: {error}.') from None


def _changed(config: ml_collections.ConfigDict, **train: Any) -> ml_collections.ConfigDict:
  config = config.copy_and_resolve_references()
  config.train.update(train)
  return config


def _abstract_stage(config: ml_collections.ConfigDict) -> Stage:
  constants = {}
  if config.loss.vgg:
    picture = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    constants = {'vgg': jax.eval_shape(Vgg19Features().init, jax.random.key(0), picture)['params']}
  return open_stage(config, constants)


def needs(config: ml_collections.ConfigDict, share: int) -> Needs:
  """XLA's analysis of the step of `config` with `share` pictures on a device; compiles it."""
  stage = _abstract_stage(config)
  arguments = (
    jax.eval_shape(stage.create),
    stage.constants,
    {
      name: jax.ShapeDtypeStruct((share, *input_shape(name, config.data.crop)), jnp.float32)
      for name in stage.inputs
    },
  )
  on_one = jax.tree.map(lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), arguments)
  return analysed(stage.compile(*on_one, on=jax.local_devices()[:1]))


def analysed(compiled: Any) -> Needs:
  """XLA's analysis of a compiled step."""
  found = compiled.memory_analysis()
  return Needs(
    arguments=found.argument_size_in_bytes,
    outputs=found.output_size_in_bytes - found.alias_size_in_bytes,
    temporaries=found.temp_size_in_bytes,
    flops=compiled.cost_analysis()['flops'],
  )


def line(config: ml_collections.ConfigDict) -> Line:
  """The needs of all batches with the type and rematerialisation of `config`; compiles when asked
  for what it has not compiled yet."""
  train = config.train
  about = f'{train.dtype}, {"with" if train.remat else "without"} rematerialisation'

  @functools.cache
  def of(count: int, parts: int) -> Needs:
    start = time.monotonic()
    found = needs(_changed(config, accumulate_steps=parts), count * parts)
    took = duration(time.monotonic() - start)
    pictures = f'{parts} x {count}' if parts > 1 else count
    say(f'compiled a step of {pictures} pictures, {about}: {took}, {bytes_text(found.memory)}')
    return found

  inputs = _abstract_stage(config).inputs
  return Line(
    of, example_bytes=sum(4 * math.prod(input_shape(name, config.data.crop)) for name in inputs)
  )


def nearest(
  lines: dict[tuple[str, bool], Line], train: ml_collections.ConfigDict, share: int, memory: int
) -> Iterator[tuple[dict[str, Any], Needs]]:
  """(fields of `config.train` that differ, needs) that fit into a memory, the batch as it is: of
  every type and rematerialisation the fewest micro-batches."""
  own = train.dtype, train.remat
  for settings in sorted(lines, key=lambda one: (one != own, one[0] != own[0])):
    of = lines[settings]
    for parts in range(train.accumulate_steps, share + 1):
      if share % parts or of.at(share // parts).memory > memory:
        continue  # one micro-batch alone does not fit, and its program is compiled sooner
      if (found := of.at(share, parts)).memory <= memory:
        chosen = {'dtype': settings[0], 'remat': settings[1], 'accumulate_steps': parts}
        yield {name: value for name, value in chosen.items() if value != train[name]}, found
        break


def plan(
  config: ml_collections.ConfigDict, memories: list[int], devices: int | None = None
) -> None:
  """Prints what a training step of `config` takes of every device.

  Args:
    config: of the run; its pictures are not looked at.
    memories: bytes of a device. With any, all types and rematerialisation are compiled, for the
      largest batch of each and the nearest settings that fit.
    devices: that share the batch; None: as many as there are here.

  Raises:
    UserError: a config that no step can be made of.
  """
  devices = jax.device_count() if devices is None else devices
  if devices < 1:
    raise UserError(f'--devices is {devices}: it must be 1 at least.')
  configs.check_step(config, devices)
  train, share = config.train, config.train.batch_size // devices
  platform = jax.devices()[0].platform
  say(
    f"planning by XLA's analysis on this machine's {platform}: programs are compiled one after "
    'another, nothing is trained'
  )
  own = train.dtype, train.remat
  lines = {own: line(config)}
  found = lines[own].at(share, train.accumulate_steps)
  console = results()
  _print_step(console, config, devices, found)
  if not memories:
    return
  for dtype, remat in SETTINGS:
    if (dtype, remat) not in lines:
      lines[dtype, remat] = line(_changed(config, dtype=dtype, remat=remat))
  _print_batches(console, lines, memories)
  for memory in memories:
    _print_verdict(console, lines, train, share, memory, found)


def _print_step(console, config, devices: int, found: Needs) -> None:
  state = flax.serialization.to_state_dict(jax.eval_shape(_abstract_stage(config).create))
  parts, frozen = count_parts(state)
  table = empty_table('network', 'parameters')
  for part, count in parts.items():
    table.add_row(f'{part} (frozen)' if part in frozen else part, f'{count:,}')
  console.print(table, '')
  train, side = config.train, config.data.crop
  share = train.batch_size // devices
  of = f' in {train.accumulate_steps} micro-batches' if train.accumulate_steps > 1 else ''
  title = f'a step of {train.batch_size} pairs of {side} px: {share} on each of {devices} devices'
  console.print(f'{title}{of}, {train.dtype}', soft_wrap=True)
  table = empty_table('of each device', 'size')
  for name, size in (
    ('state and batch', found.arguments),
    ('new beside the old', found.outputs),
    ('activations and gradients', found.temporaries),
    ('together', found.memory),
  ):
    table.add_row(name, bytes_text(size))
  table.add_row('operations', f'{found.flops / 1e9:,.1f} GFLOP')
  console.print(table, '')


def _print_batches(console, lines, memories: list[int]) -> None:
  console.print('pairs at a time that fit on a device', soft_wrap=True)
  table = empty_table('', *map(bytes_text, memories))
  for (dtype, remat), of in lines.items():
    name = f'{dtype}, rematerialised' if remat else dtype
    table.add_row(name, *(str(of.largest(memory)) for memory in memories))
  console.print(table, '')


def _print_verdict(console, lines, train, share: int, memory: int, found: Needs) -> None:
  if found.memory <= memory:
    console.print(
      f'{bytes_text(memory)}: this config fits, with {bytes_text(found.memory)}.', soft_wrap=True
    )
    return
  choices = list(nearest(lines, train, share, memory))
  end = 'nearest settings that do:' if choices else 'take more devices, smaller crops or networks.'
  console.print(f'{bytes_text(memory)}: this config does not fit; {end}', soft_wrap=True)
  for fields, fitting in choices:
    flags = ' '.join(f'--config.train.{name}={value}' for name, value in fields.items())
    console.print(f'  {bytes_text(fitting.memory):>9}  {flags}', soft_wrap=True)
