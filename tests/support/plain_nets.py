"""A joint net without weights, whose parts are plain functions: what is around a net shows."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn

from degrep_jax.inference.restorer import Restorer
from degrep_jax.models.joint import JointNet

CELL = 8  # px of the picture for one pixel of the degradation map


class _Averages(nn.Module):
  """An E whose map is the mean colour of squares of 8x8 px."""

  multiple: int = 1  # of a picture's sides

  def __call__(self, x, train=False):
    return nn.avg_pool(x, (CELL, CELL), (CELL, CELL))


class _MapAlone(nn.Module):
  def __call__(self, degradation_map, train=False):
    return (degradation_map,)


class _Function(nn.Module):
  function: Callable[..., Any]
  multiple: int = 2  # of a picture's sides

  def __call__(self, picture, maps, train=False):
    return self.function(picture, maps[0])


def same(picture, degradation_map):
  return picture


def joint(deblur=same, reblur=same):
  """A `JointNet` of functions of (pictures, degradation maps)."""
  return JointNet(_Averages(), _MapAlone(), _Function(reblur), _Function(deblur))


def restorer(deblur=same, reblur=same, **options):
  """A `Restorer` of `joint`, averaged tiles of 16 px unless told otherwise."""
  options = {'mode': 'tiles', 'tile': 16, 'batch': 4} | options
  return Restorer(joint(deblur, reblur), {'params': {}}, **options)
