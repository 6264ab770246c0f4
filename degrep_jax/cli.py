"""The command `degrep`: `degrep convert`, or training and evaluation by the flags of main.py."""

import argparse
import pathlib
import sys

from degrep_jax import main
from degrep_jax.convert import KINDS, convert_file
from degrep_jax.errors import UserError


class _Parser(argparse.ArgumentParser):
  def error(self, message: str):
    """One sentence instead of the usage."""
    raise SystemExit(main.fail(f'{message}; see {self.prog} --help.'))


def _parser() -> argparse.ArgumentParser:
  parser = _Parser(
    prog='degrep',
    description='Without a command: train or evaluate, by the flags of python -m degrep_jax.main.',
  )
  commands = parser.add_subparsers(required=True, metavar='COMMAND')
  convert = commands.add_parser(
    'convert',
    help="the authors' PyTorch weights to a checkpoint of ours",
    description="Writes the weights of one of the authors' PyTorch files as a checkpoint.",
  )
  convert.add_argument('kind', choices=tuple(KINDS), metavar='KIND', help=', '.join(KINDS))
  convert.add_argument('file', type=pathlib.Path, metavar='FILE.pth')
  convert.add_argument('out', type=pathlib.Path, metavar='OUT_DIR', help='a new workdir')
  convert.set_defaults(run=lambda args: convert_file(args.kind, args.file, args.out))
  return parser


def run() -> None:
  """The command `degrep`; exit status 2 and one sentence where something cannot be used."""
  arguments = sys.argv[1:]
  if not arguments or (arguments[0].startswith('-') and arguments[0] not in ('-h', '--help')):
    main.run()
    return
  args = _parser().parse_args(arguments)
  try:
    args.run(args)
  except UserError as error:
    sys.exit(main.fail(str(error)))


if __name__ == '__main__':
  run()
