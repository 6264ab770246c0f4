"""The authors' released weights: state dicts to variables of this project and back
(state_dicts.py, by the keys of names.py), read from files (torch_files.py, vgg19.py)."""

from degrep_jax.convert.state_dicts import (
  KINDS,
  Conversion,
  convert,
  convert_file,
  from_pytorch,
  to_pytorch,
)

__all__ = ['KINDS', 'Conversion', 'convert', 'convert_file', 'from_pytorch', 'to_pytorch']
