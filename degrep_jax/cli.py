"""The command `degrep`: one of `commands`, or training and evaluation by the flags of main.py."""

import argparse
import importlib
import sys

from degrep_jax.errors import UserError, fail

# Modules of degrep_jax.commands, in the order of --help.
COMMANDS = ('evaluate', 'prepare', 'convert')


class _Parser(argparse.ArgumentParser):
  def error(self, message: str):
    """One sentence instead of the usage."""
    raise SystemExit(fail(f'{message}; see {self.prog} --help.'))


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(
    prog='degrep',
    description='Without a command: train or evaluate, by the flags of python -m degrep_jax.main.',
  )
  commands = parser.add_subparsers(required=True, metavar='COMMAND')
  for name in COMMANDS:
    module = importlib.import_module(f'degrep_jax.commands.{name}')
    command = commands.add_parser(name, help=module.HELP)
    module.add_arguments(command)
    command.set_defaults(run=module.run)
  return parser


def run() -> None:
  """The command `degrep`; exit status 2 and one sentence where something cannot be used."""
  arguments = sys.argv[1:]
  if not arguments or (arguments[0].startswith('-') and arguments[0] not in ('-h', '--help')):
    from degrep_jax import main  # TensorFlow comes with it

    main.run()
    return
  args = _parser().parse_args(arguments)
  try:
    sys.exit(args.run(args))
  except UserError as error:
    sys.exit(fail(str(error)))


if __name__ == '__main__':
  run()
