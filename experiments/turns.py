"""Processes that take turns while they are timed: what disturbs the machine meets all of them."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence

_TURNS = 'TAKES_TURNS'  # environment of such a process
_OVER = 'This turn is over.'


def turn() -> None:
  """Lets the other processes have their turns, if `take_turns` started this one."""
  if _TURNS in os.environ:
    print(_OVER, flush=True)
    sys.stdin.readline()


def take_turns(commands: Sequence[Sequence[str]]) -> list[int | None]:
  """Runs processes of which one at a time goes on, as far as its next `turn`.

  Args:
    commands: their command lines.

  Returns:
    Their exit statuses. One that fails ends the others, whose status is then None.
  """
  processes: list[subprocess.Popen] = []
  with contextlib.ExitStack() as stack:
    for command in commands:
      process = subprocess.Popen(
        command,
        env=os.environ | {_TURNS: '1'},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
      )
      processes.append(stack.enter_context(process))
      stack.callback(process.kill)
      if not _paused(process) and process.returncode:
        break
    going = [process for process in processes if process.returncode is None]
    while going and not any(process.returncode for process in processes):
      going = [process for process in going if _goes_on(process)]
    return [process.returncode for process in processes]


def _goes_on(process: subprocess.Popen) -> bool:
  """Gives a process its turn; whether another will follow."""
  with contextlib.suppress(BrokenPipeError):  # it was killed while it waited
    process.stdin.write('\n')
    process.stdin.flush()
  return _paused(process)


def _paused(process: subprocess.Popen) -> bool:
  """Waits for the end of a process's turn; whether the process has not ended with it."""
  for line in process.stdout:
    if line.strip() == _OVER:
      return True
    sys.stderr.write(line)
  process.wait()
  return False
