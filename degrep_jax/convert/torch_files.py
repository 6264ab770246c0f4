"""PyTorch files read without running any code that they may hold; the one place that needs
PyTorch."""

import os
from collections.abc import Mapping
from typing import Any

from degrep_jax.common.errors import UserError


def read_state_dict(path: str | os.PathLike[str]) -> Mapping[str, Any]:
  """The dictionary of tensors (or of such dictionaries) in a PyTorch file, on the CPU.

  Raises:
    UserError: no such file, a damaged one, one with other objects than tensors, or no PyTorch.
  """
  try:
    import torch
  except ImportError:
    raise UserError(
      f"{path} needs PyTorch to be read: run pip install '.[convert]' in the clone."
    ) from None
  try:
    saved = torch.load(path, weights_only=True, map_location='cpu')
  except OSError as error:
    raise UserError(f'cannot read {path} ({error.strerror or error}).') from None
  except Exception as error:  # whatever a damaged or foreign file makes the unpickler stumble over
    raise UserError(f'{path} is damaged or not a PyTorch file that holds tensors alone.') from error
  if not isinstance(saved, Mapping):
    raise UserError(f'{path} holds a {type(saved).__name__}, not a state dict of tensors alone.')
  return saved
