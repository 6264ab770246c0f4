"""`degrep export DIR --format FORMAT --output FILE`."""

import argparse
import pathlib

from degrep_jax.commands import options

HELP = 'write a checkpoint for other programs: safetensors, or StableHLO with weights'
_DESCRIPTION = """Writes a checkpoint for other programs.

safetensors: the weights. Names are paths ('params/encoder/down_0/conv/kernel'), kernels (height,
width, in, out); spectral norms are folded into the kernels unless --stored is given. The metadata
tell the network, the step and the config.

stablehlo: the deblurring of tiles as one program, weights and all, for CPUs, CUDA, ROCm and TPUs.
It needs JAX, and nothing of this package:

  import jax.export
  program = jax.export.deserialize(open(FILE, 'rb').read())
  restored = program.call(tiles)  # float32 (B, tile, tile, 3) in [0, 1]; the same, not clipped"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.description = _DESCRIPTION
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.add_argument('directory', type=pathlib.Path, metavar='DIR', help='a workdir')
  parser.add_argument('--format', choices=('safetensors', 'stablehlo'), required=True)
  parser.add_argument('--output', type=pathlib.Path, required=True, metavar='FILE')
  options.add_step(parser)
  parser.add_argument(
    '--stored', action='store_true', help='safetensors: kernels as trained, u and v beside them'
  )
  parser.add_argument(
    '--tile', type=int, metavar='PX', help="stablehlo: side of the tiles (default: the run's)"
  )
  parser.add_argument(
    '--batch', type=int, metavar='N', help='stablehlo: tiles per call (default: any)'
  )
  parser.add_argument('--overwrite', action='store_true', help='replace FILE if it is there')


def run(args: argparse.Namespace) -> None:
  """Writes the file."""
  from degrep_jax.common.console import say
  from degrep_jax.common.errors import UserError
  from degrep_jax.inference import export
  from degrep_jax.inference.restorer import Restorer

  if args.format == 'safetensors' and (args.tile, args.batch) != (None, None):
    raise UserError('--tile and --batch are of --format stablehlo: leave them out.')
  if args.format == 'stablehlo' and args.stored:
    raise UserError('--stored is of --format safetensors: leave it out.')
  if args.output.exists() and not args.overwrite:
    raise UserError(f'{args.output} is there already: choose another --output, or --overwrite.')
  if args.format == 'safetensors':
    count = export.to_safetensors(args.directory, args.output, step=args.step, fold=not args.stored)
    say(f'wrote {count:,} values to {args.output}')
    return
  restorer = Restorer.from_checkpoint(args.directory, step=args.step, tile=args.tile)
  export.to_stablehlo(restorer, args.output, batch=args.batch)
  batch = 'any' if args.batch is None else args.batch
  say(f'wrote {args.output}: float32 ({batch}, {restorer.tile}, {restorer.tile}, 3) to the same')
