"""Learning degradation representations for image deblurring (Li et al., ECCV 2022) in JAX and Flax.

Importing the package alone loads nothing: every module says what it needs, and the names below are
imported when they are first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from degrep_jax.evaluation import scoring
  from degrep_jax.inference.restorer import Restorer

__all__ = ['Restorer', 'scoring']


def __getattr__(name: str) -> Any:
  if name == 'Restorer':
    return importlib.import_module('degrep_jax.inference.restorer').Restorer
  if name == 'scoring':
    return importlib.import_module('degrep_jax.evaluation.scoring')
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
