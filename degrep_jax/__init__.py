"""Learning degradation representations for image deblurring (Li et al., ECCV 2022) in JAX and Flax.

Importing the package alone loads nothing: every module says what it needs, and `Restorer` is
imported when it is first named.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  from degrep_jax.inference.restorer import Restorer

__all__ = ['Restorer']


def __getattr__(name: str) -> Any:
  if name not in __all__:
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
  from degrep_jax.inference.restorer import Restorer

  return Restorer
