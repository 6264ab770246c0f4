"""The environment of a process that a test starts."""

import os


def environment(*xla_flags: str, **variables: str) -> dict[str, str]:
  """The caller's environment on the CPU, with `variables` in place of its own.

  Args:
    xla_flags: come after the caller's XLA_FLAGS, which may say, for one, which instructions XLA is
      to use.
    variables: of the environment.
  """
  flags = ' '.join([*os.environ.get('XLA_FLAGS', '').split(), *xla_flags])
  return os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': flags} | variables
