"""`degrep map PATH... [--output DIR] [--checkpoint NETWORK]`."""

import argparse

from degrep_jax.commands import options

HELP = 'draw what the encoder reads from photographs: their degradation maps'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.usage = f'{parser.prog} PATH ... [--output DIR] [--checkpoint NETWORK] [options]'
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.description = (
    "Draws photographs' degradation maps over them, as PNG: three main components in colours,\n"
    'which mean the same in all pictures of one call, over the grey photograph. What all tiles of\n'
    'the encoder share is left out.'
  )
  parser.epilog = 'examples:\n  degrep map photo.jpg\n  degrep map holiday/ --output maps --raw'
  parser.add_argument(
    'paths',
    nargs='+',
    metavar='PATH',
    help='files, folders with all below them, or quoted patterns, as for degrep deblur',
  )
  options.add_checkpoint(parser, 'map')
  parser.add_argument(
    '--output',
    metavar='DIR',
    help='folder for the results, or the name of one PNG (default: NAME.map.png beside each '
    'picture, the folder FOLDER.map for a folder)',
  )
  parser.add_argument(
    '--raw',
    action='store_true',
    help='write NAME.npy too: the map itself, float32 (h, w, channels), as '
    'Restorer.degradation_map gives it',
  )
  parser.add_argument(
    '--overlay',
    type=float,
    default=0.4,
    metavar='SHARE',
    help='of the grey photograph, 0 to 1 (default: 0.4)',
  )
  options.add_overwrite(parser)
  options.add_salvage(parser)
  options.add_max_pixels(parser, '250M')
  options.add_step(parser)
  options.add_no_cache(parser)


def run(args: argparse.Namespace) -> int:
  """Draws; the exit status."""
  from degrep_jax.app import jobs
  from degrep_jax.common.errors import UserError

  if jobs.STREAM in (*args.paths, args.output):
    raise UserError('degrep map reads and writes files alone, not the standard streams.')
  if not 0 <= args.overlay <= 1:
    raise UserError(f'--overlay is {args.overlay}: it must be in 0 .. 1.')
  plan = jobs.plan(args.paths, args.output, format='PNG', overwrite=args.overwrite, infix='map')
  from degrep_jax.app import maps
  from degrep_jax.commands import network
  from degrep_jax.photos import reading
  from degrep_jax.runtime import compilation_cache, signals

  reading.quiet(args.max_pixels)
  signals.end_as_after_ctrl_c()  # temporary files go away then too
  if not args.no_cache:
    compilation_cache.enable()
  restorer = network.opened(args.checkpoint, 'map', args.step, mode='feathered')
  return maps.draw(
    plan,
    restorer,
    raw=args.raw,
    overlay=args.overlay,
    max_pixels=args.max_pixels,
    overwrite=args.overwrite,
    salvage=args.salvage,
  )
