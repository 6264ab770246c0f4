"""`degrep reblur SHARP... --like BLURRY [--output DIR] [--checkpoint NETWORK]`."""

import argparse
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from degrep_jax.commands import options, photographs

if TYPE_CHECKING:
  from degrep_jax import Restorer

HELP = 'blur sharp photographs as another one is'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.description = (
    'Blurs sharp photographs by the degradation map of a blurry one, with a network of the joint\n'
    'stage. Files are treated as by degrep deblur.'
  )
  photographs.add_arguments(
    parser,
    'SHARP',
    'reblur',
    'examples:\n'
    '  degrep reblur sharp.png --like blurry.jpg\n'
    '  degrep reblur sharp/ --like blurry.jpg --strength 0.5 --output blurred',
  )
  parser.usage = (
    'degrep reblur SHARP ... --like BLURRY [--output DIR] [--checkpoint NETWORK] [options]'
  )
  parser.add_argument(
    '--like', required=True, type=pathlib.Path, metavar='BLURRY', help='the blurry photograph'
  )
  parser.add_argument(
    '--strength',
    type=options.number,
    default=1.0,
    metavar='S',
    help="1 takes the blurry photograph's map, 0 the sharp one's own, others the line through both "
    '(default: 1)',
  )


def run(args: argparse.Namespace) -> int:
  """Blurs; the exit status."""
  from degrep_jax.photos import reading

  reading.quiet(args.max_pixels)
  like = reading.load(args.like, args.max_pixels, salvage=args.salvage).pixels

  def restore_by(restorer: 'Restorer') -> Callable[[Any, Callable[[float], None]], Any]:
    restorer.reblur((), like=like)  # a network that cannot says so once, not of every picture
    return lambda sharp, progress: restorer.reblur(sharp, like, args.strength, progress)

  return photographs.run(args, 'reblur', restore_by, 'reblurring', 'reblurred', 'blurred')
