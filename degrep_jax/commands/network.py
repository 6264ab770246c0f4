"""From what a command line names, or does not, to the network that restores."""

from typing import TYPE_CHECKING, Any

from degrep_jax import shipped
from degrep_jax.common.errors import UserError

if TYPE_CHECKING:
  from degrep_jax import Restorer


def opened(
  checkpoint: str | None, task: str, step: int | None = None, **options: Any
) -> 'Restorer':
  """The restorer of a command, which says first where it is one that ships.

  Args:
    checkpoint: a workdir, a file, or the name of a network that ships; None takes the best of these
      for the task.
    task: of `shipped.TASKS`.
    step: of a workdir's checkpoint.
    **options: as for `Restorer.from_checkpoint`, or `pretrained` of one that ships.

  Raises:
    UserError: as `located`, a step of a network that has none, or as `Restorer.from_checkpoint`.
  """
  from degrep_jax.common.console import say
  from degrep_jax.inference.restorer import Restorer

  name, place = located(checkpoint, task)
  if not name:
    return Restorer.from_checkpoint(place, step=step, **options)
  if step is not None:
    raise UserError(f'{name} has no steps to choose from: leave out --step.')
  restorer = Restorer.pretrained(name, **options)
  say(f'Network: {name}, {restorer.title} of {restorer.about["parameters"]:,} parameters.')
  return restorer


def located(checkpoint: str | None, task: str) -> tuple[str, str]:
  """(name, file) of a network that ships, ('', as it was given) of a workdir or another file.

  Raises:
    UserError: none ships that can do it, a name that is almost that of one, or a path that cannot
      be opened.
  """
  return shipped.located(shipped.best(task) if checkpoint is None else checkpoint)
