"""Arguments that several commands take, and how their values are read."""

import argparse
import math
from typing import Any

from degrep_jax import shipped
from degrep_jax.common import units


def networks_for(task: str) -> str:
  """What a command takes for a network, and which it takes where none is named."""
  told = 'a workdir of training or degrep convert, a file of degrep export'
  able = [name for name in shipped.names() if task in shipped.NETWORKS[name].tasks]
  return f'{told}, or one that ships: {", ".join(able)} (default: {able[0]})' if able else told


def add_checkpoint(parser: argparse._ActionsContainer, task: str) -> None:
  """--checkpoint, of every command that restores by one network; `task` as in `shipped.TASKS`."""
  parser.add_argument('--checkpoint', metavar='NETWORK', help=networks_for(task))


def add_overwrite(parser: argparse._ActionsContainer) -> None:
  """--overwrite, of every command that writes many files."""
  parser.add_argument(
    '--overwrite',
    action='store_true',
    help='write again what is there already (default: it is left alone)',
  )


def add_salvage(parser: argparse._ActionsContainer) -> None:
  """--salvage, of every command that reads photographs."""
  parser.add_argument(
    '--salvage',
    action='store_true',
    help='of files that are cut off take the rows that are whole (default: they fail)',
  )


def add_max_pixels(parser: argparse._ActionsContainer, default: str) -> None:
  """--max-pixels, of every command that reads photographs."""
  parser.add_argument(
    '--max-pixels',
    type=quantity,
    default=default,
    metavar='N',
    help=f'larger pictures are refused (default: {default})',
  )


def add_step(parser: argparse._ActionsContainer) -> None:
  """--step, of every command that reads one checkpoint."""
  parser.add_argument(
    '--step', type=int, metavar='N', help='of the checkpoint (default: the newest)'
  )


def add_no_cache(parser: argparse._ActionsContainer) -> None:
  """--no-cache, of every command that compiles."""
  parser.add_argument(
    '--no-cache', action='store_true', help='keep no compiled programs for the next time'
  )


DEBLURRING = ('ensemble', 'strength', 'scales')  # what `add_deblurring` adds


def add_deblurring(parser: argparse._ActionsContainer, ships: bool) -> None:
  """The flags `DEBLURRING`, of how a network that deblurs is used; None unless they are given.

  Args:
    ships: whether networks that ship have the defaults of `shipped.SETTINGS`.
  """

  def default(name: str, own: str) -> str:
    if not ships or name not in shipped.SETTINGS:
      return f'(default: {own})'
    told = str(shipped.SETTINGS[name]).replace('000000', 'M')
    return f'(default: {told} for networks that ship, {own} for others)'

  parser.add_argument(
    '--ensemble',
    type=int,
    choices=(1, 2, 4, 8),
    help='mean over so many mirrored and turned views of each picture, which takes as many times '
    f'the time {default("ensemble", "1")}',
  )
  parser.add_argument(
    '--strength',
    type=_strength,
    metavar='0-2',
    help="how much of the network's change to take: 0 none, 1 all, 2 twice as much "
    f'{default("strength", "1")}',
  )
  parser.add_argument(
    '--scales',
    type=scales,
    metavar='PIXELS|off',
    help='see each picture at several sizes, the largest of so many pixels (or, where it has more '
    'itself, its own), and take the mean of the changes; takes the time of two pictures of the '
    'largest size '
    f'{default("scales", "off")}',
  )


def given(args: argparse.Namespace) -> dict[str, Any]:
  """Of the flags `DEBLURRING` those that were given, as `Restorer` takes them."""
  found = {name: getattr(args, name) for name in DEBLURRING}
  return {name: value for name, value in found.items() if value is not None}


def scales(text: str) -> int:
  """Pixels, 0 for 'off'.

  Raises:
    argparse.ArgumentTypeError: neither.
  """
  try:
    return 0 if text == 'off' else units.quantity(text)
  except ValueError:
    told = f'{text!r} is neither a number of pixels, such as 1M, nor off'
    raise argparse.ArgumentTypeError(told) from None


def _strength(text: str) -> float:
  found = number(text)
  if not 0 <= found <= 2:
    raise argparse.ArgumentTypeError(f'{text!r} is not between 0 and 2')
  return found


def number(text: str) -> float:
  """A finite number.

  Raises:
    argparse.ArgumentTypeError: the text is none.
  """
  try:
    found = float(text)
  except ValueError:
    found = math.nan
  if not math.isfinite(found):
    raise argparse.ArgumentTypeError(f'{text!r} is no number')
  return found


def quantity(text: str) -> int:
  """`units.quantity`, with an error that argparse shows as it is.

  Raises:
    argparse.ArgumentTypeError: no amount.
  """
  try:
    return units.quantity(text)
  except ValueError as error:
    raise argparse.ArgumentTypeError(str(error)) from None


def window(text: str) -> int:
  """Pixels that an instance norm sees, 0 for 'off': the whole picture.

  Raises:
    argparse.ArgumentTypeError: neither.
  """
  if text != 'off' and not (text.isdecimal() and int(text)):
    raise argparse.ArgumentTypeError(f'{text!r} is neither a number of pixels nor off')
  return 0 if text == 'off' else int(text)
