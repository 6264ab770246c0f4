"""What commands on many photographs say when they are done."""

import os
from collections.abc import Sequence

from degrep_jax.app.jobs import Plan
from degrep_jax.common.console import say

_SCREEN = 20  # lines of results: what failed before these is listed again


def conclude(made: Sequence[str], failures: Sequence[str], plan: Plan) -> int:
  """Ends a command with a line, before it what failed in a long run; the exit status.

  Args:
    made: parts of the line that tell what was made.
    failures: a sentence for everything that failed, said once already.
    plan: of what there was to do.

  Returns:
    1 where anything failed, else 0.
  """
  if failures and len(plan.jobs) > _SCREEN:
    say('Failed:')
    for sentence in failures:
      say(f'  {sentence}')
  parts = [*made]
  if failures:
    parts.append(f'{len(failures)} failed')
  if plan.existing:
    parts.append(f'{len(plan.existing)} there already (--overwrite does them again)')
  if plan.passed:
    parts.append(plan.passed_over)
  say(', '.join(parts) + '.')
  return 1 if failures else 0


def places(plan: Plan) -> str:
  """Where results are that nobody named a place for."""
  if not plan.beside:
    return ''
  if len(plan.jobs) == 1:
    return f' as {plan.jobs[0].target}'
  targets = [os.path.abspath(job.target) for job in plan.jobs if job.target]
  sources = [os.path.abspath(job.name) for job in plan.jobs]
  if [*map(os.path.dirname, targets)] == [*map(os.path.dirname, sources)]:
    return ' beside the originals'
  return f' in {os.path.relpath(os.path.commonpath(map(os.path.dirname, targets)))}'
