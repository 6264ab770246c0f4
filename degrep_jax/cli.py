"""The command `degrep`: one of `commands`, or training and evaluation by the flags of main.py."""

import argparse
import difflib
import importlib
import importlib.metadata
import itertools
import os
import shlex
import sys

from degrep_jax.common.errors import UserError, fail, first_line, is_out_of_memory

# Modules of degrep_jax.commands, in the order of --help.
COMMANDS = (
  'deblur',
  'reblur',
  'map',
  'demo',
  'evaluate',
  'prepare',
  'info',
  'export',
  'convert',
)
INTERRUPTED = 130  # exit status after Ctrl-C, as shells have it


class _Parser(argparse.ArgumentParser):
  def parse_known_args(self, args=None, namespace=None):
    """Names a mistyped flag first: where it is required, argparse would call it missing."""
    if self._subparsers is None:  # else others read what comes behind their names
      for argument in itertools.takewhile(lambda argument: argument != '--', args or ()):
        self._check_flag(argument.partition('=')[0])
    return super().parse_known_args(args, namespace)

  def _check_flag(self, name: str):
    known = [flag for flag in self._option_string_actions if flag.startswith('--')]
    if not name.startswith('--') or any(flag.startswith(name) for flag in known):
      return
    close = difflib.get_close_matches(name, known, n=1)
    hint = f' (is {close[0]} meant?)' if close else ''
    self.error(f'{name} is no flag of {self.prog}{hint}')

  def error(self, message: str):
    """One sentence instead of the usage."""
    raise SystemExit(fail(f'{message}; see {self.prog} --help.'))


class _Version(argparse.Action):
  """Looked up when it is asked for."""

  def __call__(self, parser, *_):
    print('degrep_jax', importlib.metadata.version('degrep_jax'))
    parser.exit()


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(
    prog='degrep',
    usage='degrep COMMAND ... | degrep --config=FILE --workdir=DIR [flags]',
    description='Restores blurry photographs by learned degradation representations.',
    epilog='examples:\n'
    '  degrep deblur photo.jpg --output restored\n'
    '  degrep demo\n'
    '  degrep convert msdi_net net_g.pth runs/net\n'
    '  degrep --config=demo --workdir=runs/demo\n'
    '\n'
    'degrep COMMAND --help tells more. Without a command, degrep trains and evaluates, by the\n'
    'flags of python -m degrep_jax.main.',
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--version', action=_Version, nargs=0, help='show the version and exit')
  commands = parser.add_subparsers(
    required=True, metavar='COMMAND', title='commands', prog='degrep'
  )
  for name in COMMANDS:
    module = importlib.import_module(f'degrep_jax.commands.{name}')
    command = commands.add_parser(name, help=module.HELP)
    module.add_arguments(command)
    command.set_defaults(run=module.run)
  return parser


def run() -> None:
  """The command `degrep`; exit status 2 and one sentence where something cannot be used."""
  arguments = sys.argv[1:]
  if not arguments:
    _parser().print_help(sys.stderr)
    sys.exit(2)
  if arguments[0].startswith('-') and arguments[0] not in ('-h', '--help', '--version'):
    from degrep_jax import main  # TensorFlow comes with it

    main.run()
    return
  if not arguments[0].startswith('-') and arguments[0] not in COMMANDS:
    close = difflib.get_close_matches(arguments[0], COMMANDS, n=1)
    if os.path.exists(arguments[0]):
      close = [f'degrep deblur {shlex.quote(arguments[0])}']
    hint = f' (is {close[0]} meant?)' if close else ''
    sys.exit(fail(f'there is no command {arguments[0]!r}{hint}; see degrep --help.'))
  args = _parser().parse_args(arguments)
  try:
    status = args.run(args)
    sys.stdout.flush()
    sys.exit(status)
  except UserError as error:
    sys.exit(fail(str(error)))
  except BrokenPipeError:  # who reads has seen enough
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(1)
  except KeyboardInterrupt:
    sys.stdout.flush()
    sys.stderr.flush()
    # sys.exit would wait for threads, and one may be in the middle of a long computation.
    os._exit(INTERRUPTED)
  except OSError as error:  # that no place nearer to it has a sentence for
    why = error.strerror or first_line(error)
    sys.exit(fail(f'{error.filename} cannot be used: {why}.' if error.filename else f'{why}.'))
  except Exception as error:
    if not is_out_of_memory(error):
      raise
    why, what = first_line(error), 'where the command has --memory, --tile or --batch, lower these'
    sys.exit(fail(f'the memory does not suffice ({why}): {what}.'))


if __name__ == '__main__':
  run()
