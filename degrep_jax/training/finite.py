"""Steps whose losses or gradients are not finite: left out while compiled, or reported."""

import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from degrep_jax.common.errors import UserError
from degrep_jax.common.files import write_json

_EVERY = 'config.log.every_steps'  # a field may be given once
SKIPPED = 'skipped'  # metric of a step: 1 where it changed nothing


class NotFinite(UserError):
  """A step whose losses or gradients are not finite, and may not be left out."""

  def __init__(self, step: int, names: Sequence[str], sentence: str):
    super().__init__(sentence)
    self.step, self.names = step, tuple(names)


def skipping(step: Callable[..., Any]) -> Callable[..., Any]:
  """A step that leaves a state as it is, but for its number, where a metric is not finite.

  The metrics hold all losses and the norms of all gradients, equal on all devices, so that all
  decide alike; `SKIPPED` joins them.

  Args:
    step: (state, constants, batch) -> (state, metrics), as `stages.Stage.step`.
  """

  def guarded(state: Any, constants: Any, batch: Any) -> tuple[Any, dict[str, jax.Array]]:
    moved, metrics = step(state, constants, batch)
    finite = jnp.isfinite(jnp.stack(list(metrics.values()))).all()
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), moved, state)
    skipped = jnp.where(finite, 0, 1).astype(jnp.float32)
    return kept.replace(step=moved.step), metrics | {SKIPPED: skipped}

  return guarded


def _without(flag: str, arguments: list[str]) -> list[str]:
  """Arguments of a command but for a flag, given as --flag=value or --flag value."""
  kept, rest = [], iter(arguments)
  for argument in rest:
    name, equals, _ = argument.partition('=')
    if name.lstrip('-') != flag:
      kept.append(argument)
    elif not equals:
      next(rest, None)
  return kept


def report(
  workdir: pathlib.Path, error: NotFinite, items: Sequence[tuple[int, int, str]]
) -> pathlib.Path:
  """Writes down how the steps went wrong: `<workdir>/not_finite.json`.

  A run continues exactly, so the same command comes to the same step again, from the last
  checkpoint before it; logging every step, it stops right there.

  Args:
    workdir: of the run.
    error: what was found.
    items: (number of the example, of its item, the item's name) of that step's batch.

  Returns:
    The file.
  """
  path = workdir / 'not_finite.json'
  module = getattr(sys.modules['__main__'], '__spec__', None)
  program = ['-m', module.name] if module else [sys.argv[0]]
  command = ['python', *program, *_without(_EVERY, sys.argv[1:]), f'--{_EVERY}=1']
  found = {
    'step': error.step,
    'not_finite': list(error.names),
    'batch': [{'example': number, 'item': item, 'name': name} for number, item, name in items],
    'again': shlex.join(command),
  }
  write_json(path, found)
  return path
