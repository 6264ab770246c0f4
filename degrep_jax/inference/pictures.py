"""Forms in which pictures are given and results come back: one, a batch, any iterable."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np

from degrep_jax.common.errors import UserError


def require(condition: Any, complaint: str) -> None:
  """Raises UserError with the sentence unless the condition holds."""
  if not condition:
    raise UserError(f'{complaint}.')


def as_picture(x: Any) -> np.ndarray:
  """A picture that can be restored, as NumPy.

  Raises:
    UserError: it is none.
  """
  require(hasattr(x, 'ndim'), f'a {type(x).__name__} is no picture: give arrays (H, W, 3)')
  x = np.asarray(x)
  require(
    x.ndim == 3 and x.shape[2] == 3 and x.size,
    f'an array {x.shape} is no picture: it must be (H, W, 3), RGB, of one pixel at least',
  )
  require(
    x.dtype in (np.uint8, np.uint16) or x.dtype.kind == 'f',
    f'a picture of {x.dtype}: it must be uint8, uint16, or floats in [0, 1]',
  )
  if x.dtype.kind == 'f':
    # Some room for what a resampling filter leaves.
    low, high = x.min(), x.max()
    require(
      low >= -0.5 and high <= 1.5, f'a picture of floats in [{low:g}, {high:g}]: scale to [0, 1]'
    )
  return x


def in_the_form_of(x: Any, stream: Callable[[Iterable[Any]], Iterator[Any]]) -> Any:
  """`stream` of the pictures in `x`: for one picture its result, for a batch a batch (of every
  output), for an iterable a generator."""
  if hasattr(x, 'ndim'):
    if x.ndim != 4:
      return next(stream([x]))
    require(len(x), f'an array {x.shape} holds no picture')
    return jax.tree.map(lambda *results: np.stack(results), *stream(x))
  require(
    isinstance(x, Iterable) and not isinstance(x, str | bytes | dict),
    f'a {type(x).__name__} is no picture: give an array (H, W, 3), a batch, or an iterable of them',
  )
  return stream(x)


def pairs(pictures: Iterable[Any], partners: Any, name: str) -> Iterator[tuple[Any, Any]]:
  """Every picture and its partner, of which there may be one for all."""
  if getattr(partners, 'ndim', 4) == 3:
    yield from ((first, partners) for first in pictures)
    return
  require(isinstance(partners, Iterable), f'{name} is a {type(partners).__name__}: give pictures')
  nothing = object()
  for first, partner in itertools.zip_longest(pictures, partners, fillvalue=nothing):
    require(
      first is not nothing and partner is not nothing,
      f'there must be as many pictures in {name} as there are beside it',
    )
    yield first, partner


def mirrored_to(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """A picture mirrored and cropped to the height and width of `shape`."""
  missing = [(0, max(0, wanted - side)) for wanted, side in zip(shape, picture.shape, strict=True)]
  return np.pad(picture, missing, mode='symmetric')[: shape[0], : shape[1]]
