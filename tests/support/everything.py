"""Every test there is, `make test-all`, or the slow ones alone, `make test-slow`.

One part after another: a single process would hold the networks and programs of all of them.
"""

import sys

import suite
from suite import Form

TRAINING, PAGE = 'tests/training', 'tests/app'


def parts() -> list[Form]:
  """The ordinary tests, then the slow ones."""

  def slow(name: str, *arguments: str) -> Form:
    return Form(name, '', workers=0, arguments=('-m', 'slow', *arguments))

  return [
    Form('ordinary', ''),
    slow('slow: training', TRAINING),
    slow('slow: the page in a browser', PAGE),
    slow('slow: all others', 'tests', f'--ignore={TRAINING}', f'--ignore={PAGE}'),
  ]


def main(arguments: list[str]) -> int:
  """Runs the parts, with `--slow` first among `arguments` without the ordinary one, the rest of
  them for each pytest; the exit status."""
  if arguments[:1] == ['--slow']:
    return suite.run_all(parts()[1:], arguments[1:])
  return suite.run_all(parts(), arguments)


if __name__ == '__main__':
  sys.exit(main(sys.argv[1:]))
