"""Pairs by name and path, and the lists of them that come with RealBlur."""

import posixpath
from dataclasses import dataclass

from degrep_jax.common.errors import UserError


@dataclass(frozen=True)
class Item:
  """Names a pair and the paths of its two files within a tree."""

  name: str
  blurry: str
  sharp: str


def read_list(data: bytes, place: str, root: str = '') -> list[Item]:
  """The pairs of a list, one a line: the sharp picture's path and the blurry one's.

  A pair is named by its blurry picture's path without the suffix.

  Args:
    data: the list.
    place: how messages name it.
    root: put before the paths.

  Raises:
    UserError: an empty list or a line that is no pair, or the second of its name.
  """
  try:
    lines = data.decode().splitlines()
  except UnicodeDecodeError:
    raise UserError(f'{place} is no text: it must list pairs of paths.') from None
  items: dict[str, Item] = {}
  for number, line in enumerate(lines, 1):
    if words := line.split():
      if len(words) != 2:
        raise UserError(f"{place}, line {number}: expected 'sharp blurry', found {line!r}.")
      sharp, blurry = (posixpath.normpath(word) for word in words)
      name = posixpath.splitext(blurry)[0]
      if name in items:
        raise UserError(f'{place}, line {number}: {name} is listed twice.')
      items[name] = Item(name, root + blurry, root + sharp)
  if not items:
    raise UserError(f'{place} lists no pairs.')
  return [*items.values()]
