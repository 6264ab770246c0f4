"""The authors' released weights: state dicts to variables of this project and back
(state_dicts.py, by the keys of names.py), read from files (torch_files.py, vgg19.py) and written
as a workdir (workdir.py)."""

from degrep_jax.convert.state_dicts import KINDS, Conversion, convert, from_pytorch, to_pytorch
from degrep_jax.convert.workdir import convert_file

__all__ = ['KINDS', 'Conversion', 'convert', 'convert_file', 'from_pytorch', 'to_pytorch']
