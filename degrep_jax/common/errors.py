"""The one exception whose message is meant for the person at the keyboard, how it is shown, and how
others are told apart."""

import errno
import os
import sys

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What libraries make of these before it reaches us, without the number.
_FULL_TEXTS = tuple(os.strerror(number) for number in _FULL)


class UserError(Exception):
  """Something the user can mend. The message is one sentence naming the file or field and what to
  do.

  Entry points print it without a traceback and exit with status 2 (`fail`).
  """


def is_full(error: BaseException | None) -> bool:
  """Whether an error, or what it came from, is a full disk."""
  seen: set[int] = set()
  while error is not None and id(error) not in seen:
    seen.add(id(error))
    if isinstance(error, OSError) and error.errno in _FULL:
      return True
    if any(text in str(error) for text in _FULL_TEXTS):
      return True
    error = error.__cause__ or error.__context__
  return False


def is_out_of_memory(error: Exception) -> bool:
  """Whether the memory of the machine, or that of an accelerator, did not suffice."""
  exhausted = isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error)
  return exhausted and not is_full(error)  # disks are exhausted in the same words


def first_line(error: Exception) -> str:
  """What an error says, or else its kind."""
  return (str(error).splitlines() or [''])[0].rstrip('.') or type(error).__name__


def fail(sentence: str) -> int:
  """Prints a sentence for the user; the exit status that goes with it."""
  print(f'degrep_jax: {sentence}', file=sys.stderr)
  return 2
