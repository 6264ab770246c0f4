"""Which networks ship with the package, and where their weights and scores are.

A table, and files in this folder: nothing is imported that `degrep --help` would wait for.
"""

import difflib
import hashlib
import json
import os
import pathlib
from typing import Any, NamedTuple

from degrep_jax.common.errors import UserError

FOLDER = pathlib.Path(__file__).parent
SCORES = 'scores.json'
# How they restore where nothing else is asked for, as `Restorer` takes it; docs/models.md says what
# each setting gains and costs, and on which pictures it was chosen.
SETTINGS: dict[str, Any] = {'strength': 0.9, 'scales': 1_000_000}
TASKS = {'deblur': 'deblurs', 'map': 'has a degradation map', 'reblur': 'blurs pictures'}


class Shipped(NamedTuple):
  """A network that ships.

  Attributes:
    network: its name in `factory.NETWORKS`.
    config: in configs/, what trains it.
    tasks: of `TASKS`, what it can do.
  """

  network: str
  config: str
  tasks: tuple[str, ...]


# The first that can do something is taken where none is named.
NETWORKS = {
  'small': Shipped('msdi_net', 'small_finetune', ('deblur', 'map')),
  'small_joint': Shipped('joint', 'small_joint', ('deblur', 'map', 'reblur')),
  'small_hinet': Shipped('hinet', 'small_hinet', ('deblur',)),
}


def names() -> list[str]:
  """Of those whose weights are here."""
  return [name for name in NETWORKS if _file(name).is_file()]


def default(task: str) -> str | None:
  """The first that can do something of `TASKS`; None where none is here."""
  return next((name for name in names() if task in NETWORKS[name].tasks), None)


def best(task: str) -> str:
  """As `default`; raises UserError where none is here."""
  name = default(task)
  if name is None:
    raise UserError(f'no network ships here that {TASKS[task]}: name a workdir of yours.')
  return name


def path(name: str) -> pathlib.Path:
  """The file of a network's weights; raises UserError, listing what ships, where it is not here."""
  if name not in names():
    choice = f'choose one of {", ".join(names())}' if names() else 'train it'
    raise UserError(f'{name} does not ship with this copy: {choice}, or name a workdir of yours.')
  return _file(name)


def located(checkpoint: str) -> tuple[str, str]:
  """(name, file) of a network that ships, ('', as it was given) of a workdir or another file.

  Raises:
    UserError: a name that is almost that of one that ships, or a path that cannot be opened.
  """
  if checkpoint in names():
    return checkpoint, str(path(checkpoint))
  try:
    os.stat(checkpoint)
  except (FileNotFoundError, NotADirectoryError):
    if checkpoint in NETWORKS:
      path(checkpoint)  # says what ships instead
    if meant := difflib.get_close_matches(checkpoint, names(), n=1):
      raise UserError(
        f'there is no workdir or network {checkpoint}: is {meant[0]} meant?'
      ) from None
  except OSError as error:
    raise UserError(f'{checkpoint} cannot be opened: {error.strerror}.') from error
  return '', checkpoint


def scores(name: str) -> dict[str, Any]:
  """What was measured of the weights that are here, by `SETTINGS`: set of pictures to its scores;
  empty where others were measured, or none."""
  file = FOLDER / SCORES
  found = json.loads(file.read_text()).get(name, {}) if file.is_file() else {}
  measured = found.get('sha256'), found.get('settings')
  return found.get('sets', {}) if measured == (sha256(path(name)), SETTINGS) else {}


def sha256(file: pathlib.Path) -> str:
  """Of a file, as hexadecimal digits: which weights a score is of."""
  return hashlib.sha256(file.read_bytes()).hexdigest()


def _file(name: str) -> pathlib.Path:
  return FOLDER / f'{name}.safetensors'
