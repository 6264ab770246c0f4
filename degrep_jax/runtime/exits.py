"""How a command ends, well or not: its exit status, and what is printed of an error."""

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

from absl import logging

from degrep_jax.common.errors import UserError, fail, first_line, is_out_of_memory
from degrep_jax.runtime.signals import Interrupted


def _report(unraisable: Any) -> None:
  """As Python reports what cannot be raised, but for what follows a save that failed: threads that
  are still writing find the event loop closed, hundreds of times, before the error is told."""
  error = unraisable.exc_value
  if not (isinstance(error, RuntimeError) and str(error) == 'Event loop is closed'):
    sys.__unraisablehook__(unraisable)


def status_of(work: Callable[[], None]) -> int:
  """Does what a command is for; its exit status: 0, 2 with one sentence on stderr, 128 + the signal
  that stopped it, or 1 with the trace of an error that nobody expected."""
  # Libraries log errors with their traces, and raise them after that: we tell.
  logging.set_verbosity(logging.FATAL)
  logging.set_stderrthreshold(logging.FATAL)
  sys.unraisablehook = _report
  try:
    work()
  except UserError as error:
    return fail(str(error))
  except Interrupted as interrupted:
    fail(str(interrupted))
    return interrupted.status
  except KeyboardInterrupt:  # where there is nothing to save
    return 128 + signal.SIGINT
  except Exception as error:
    if is_out_of_memory(error):
      return fail(
        f'the memory does not suffice ({first_line(error)}): training takes less with '
        '--config.train.remat=True and, in a new --workdir, with a larger '
        '--config.train.accumulate_steps or a smaller --config.data.crop (--mode=plan tells what '
        'fits), evaluating with a smaller --config.eval.batch_size.'
      )
    # Left to Python, one of several processes would wait for the others, and they for it.
    traceback.print_exc()
    return 1
  return 0


def leave(status: int) -> NoReturn:
  """Ends a process in which everything is written and closed.

  TensorFlow's threads, still making examples where a run ends early, wait for ever for an
  interpreter that shuts down: seen in one of some hundred runs.
  """
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)
