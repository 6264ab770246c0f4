"""What every test shares: the CPU backend, quiet TensorFlow, the folder of reference figures."""

import os
import pathlib

import pytest

# jax and tensorflow read these when first imported; pytest loads this file before any test module.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')


@pytest.fixture(scope='session')
def golden():
  """The folder of reference figures: $DEGREP_GOLDEN, or else the copy in tests/golden."""
  default = pathlib.Path(__file__).parent / 'golden'
  return pathlib.Path(os.environ.get('DEGREP_GOLDEN') or default)
