"""The one exception whose message is meant for the person at the keyboard, and how it is shown."""

import sys


class UserError(Exception):
  """Something the user can mend. The message is one sentence naming the file or field and what to
  do.

  Entry points print it without a traceback and exit with status 2 (`fail`).
  """


def is_out_of_memory(error: Exception) -> bool:
  """Whether the memory of the machine, or that of an accelerator, did not suffice."""
  return isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error)


def first_line(error: Exception) -> str:
  """What an error says, or else its kind."""
  return (str(error).splitlines() or [''])[0].rstrip('.') or type(error).__name__


def fail(sentence: str) -> int:
  """Prints a sentence for the user; the exit status that goes with it."""
  print(f'degrep_jax: {sentence}', file=sys.stderr)
  return 2
