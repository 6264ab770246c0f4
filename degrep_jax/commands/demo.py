"""`degrep demo [--checkpoint NETWORK]`."""

import argparse

from degrep_jax import shipped
from degrep_jax.commands import options
from degrep_jax.common.errors import UserError

HELP = 'serve a page in the browser: drop photographs, see them restored'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.description = (
    'Serves a page on which photographs are dropped to be restored, their degradation maps are\n'
    'shown and other pictures blurred alike. By default this machine alone can reach it, and it\n'
    "reaches nobody: what is dropped goes nowhere. Needs the extra 'demo'."
  )
  parser.epilog = 'examples:\n  degrep demo\n  degrep demo --checkpoint runs/net --port 8000'
  options.add_checkpoint(parser, 'deblur')
  parser.add_argument(
    '--host',
    default='127.0.0.1',
    help='to listen at (default: 127.0.0.1); 0.0.0.0 lets in all that reach this machine',
  )
  parser.add_argument(
    '--port', type=int, default=7860, metavar='N', help='0: any free one (default: 7860)'
  )
  options.add_max_pixels(parser, '25M')
  parser.add_argument(
    '--max-size',
    type=options.quantity,
    default='64MB',
    metavar='SIZE',
    help='larger files are refused (default: 64MB)',
  )
  parser.add_argument(
    '--mode',
    choices=('tiles', 'feathered', 'full'),
    default='feathered',
    help='as of degrep deblur (default: feathered)',
  )
  options.add_step(parser)
  options.add_no_cache(parser)


def run(args: argparse.Namespace) -> None:
  """Serves the page until Ctrl-C."""
  try:
    from degrep_jax.app import page
  except ImportError as error:
    raise UserError(
      f"the page needs Gradio ({error}): pip install 'degrep_jax[demo]', in a clone '.[demo]'."
    ) from None
  from degrep_jax.commands import network
  from degrep_jax.photos import reading
  from degrep_jax.runtime import compilation_cache

  reading.quiet(args.max_pixels)
  if not args.no_cache:
    compilation_cache.enable()
  restorer = network.opened(args.checkpoint, 'deblur', args.step, mode=args.mode)
  reblurrer = None
  if args.checkpoint is None and not restorer.can_reblur and shipped.default('reblur'):
    reblurrer = network.opened(None, 'reblur', mode=args.mode)
  page.serve(
    restorer,
    reblurrer,
    host=args.host,
    port=args.port,
    max_pixels=args.max_pixels,
    max_bytes=args.max_size,
  )
