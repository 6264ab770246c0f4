"""`degrep export [NETWORK] --format FORMAT --output FILE`."""

import argparse
import os
import pathlib

from degrep_jax.commands import network, options

HELP = 'write a checkpoint for other programs: safetensors, ONNX, or StableHLO'
_DESCRIPTION = """Writes a checkpoint for other programs.

safetensors: the weights. Names are paths ('params/encoder/down_0/conv/kernel'), kernels (height,
width, in, out); spectral norms are folded into the kernels unless --stored is given. The metadata
tell the network, the step, its date, the config, and what --note adds. The same checkpoint gives
the same bytes. Every --checkpoint takes such a file.

onnx: the deblurring of tiles as a model, weights and all, of opset 18 and float32, for ONNX Runtime
1.14 and later and whatever else runs ONNX. 'blurry' (B, tile, tile, 3) in [0, 1] goes in,
'deblurred' comes out, the same, not clipped; --layout NCHW turns both. It takes
pip install '.[onnx]' in the clone.

stablehlo: the deblurring of tiles as one program, weights and all, for CPUs, CUDA, ROCm and TPUs.
It needs JAX, and nothing of this package:

  import jax.export
  program = jax.export.deserialize(open(FILE, 'rb').read())
  restored = program.call(tiles)  # float32 (B, tile, tile, 3) in [0, 1]; the same, not clipped
  print(program.fun_name)  # which JAX made it and when: JAX promises to read it for 6 months"""

FORMATS = ('safetensors', 'onnx', 'stablehlo')
# Flags of some formats alone.
_FLAGS = {
  'stored': ('safetensors',),
  'dtype': ('safetensors',),
  'note': ('safetensors',),
  'tile': ('onnx', 'stablehlo'),
  'batch': ('onnx', 'stablehlo'),
  'layout': ('onnx',),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.description = _DESCRIPTION
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.add_argument('network', nargs='?', metavar='NETWORK', help=options.networks_for('deblur'))
  parser.add_argument('--format', choices=FORMATS, required=True)
  parser.add_argument('--output', type=pathlib.Path, required=True, metavar='FILE')
  options.add_step(parser)
  parser.add_argument(
    '--stored', action='store_true', help='safetensors: kernels as trained, u and v beside them'
  )
  parser.add_argument(
    '--dtype', choices=('float32', 'float16'), help='safetensors: of the file (default: float32)'
  )
  parser.add_argument(
    '--note',
    action='append',
    type=_note,
    metavar='NAME=TEXT',
    help='safetensors: for the metadata, for example of the data; repeatable',
  )
  parser.add_argument(
    '--tile', type=int, metavar='PX', help="onnx, stablehlo: side of the tiles (default: the run's)"
  )
  parser.add_argument(
    '--batch', type=int, metavar='N', help='onnx, stablehlo: tiles per call (default: any)'
  )
  parser.add_argument(
    '--layout', choices=('NHWC', 'NCHW'), help='onnx: of what goes in and comes out (default: NHWC)'
  )
  parser.add_argument('--overwrite', action='store_true', help='replace FILE if it is there')


def run(args: argparse.Namespace) -> None:
  """Writes the file."""
  from degrep_jax.checkpoints import exported
  from degrep_jax.common.console import say
  from degrep_jax.common.errors import UserError
  from degrep_jax.inference import export

  for flag, formats in _FLAGS.items():
    if getattr(args, flag) not in (None, False) and args.format not in formats:
      raise UserError(f'--{flag} is of --format {" and ".join(formats)}: leave it out.')
  if args.format == 'safetensors' and not exported.is_one(args.output):
    raise UserError(
      f'{args.output} would be taken for a workdir later: end its name with {exported.SUFFIX}.'
    )
  if os.path.exists(args.output) and not args.overwrite:
    raise UserError(f'{args.output} is there already: choose another --output, or --overwrite.')
  if args.format == 'safetensors':
    _, place = network.located(args.network, 'deblur')
    count = export.to_safetensors(
      place,
      args.output,
      step=args.step,
      fold=not args.stored,
      dtype=args.dtype or 'float32',
      notes=dict(args.note or ()),
    )
    say(f'wrote {count:,} values to {args.output}')
    return
  restorer = network.opened(args.network, 'deblur', args.step, tile=args.tile)
  if args.format == 'onnx':
    export.to_onnx(restorer, args.output, batch=args.batch, layout=args.layout or 'NHWC')
  else:
    export.to_stablehlo(restorer, args.output, batch=args.batch)
  sizes = ['any' if args.batch is None else args.batch, restorer.tile, restorer.tile]
  sizes.insert(1 if args.layout == 'NCHW' else 3, 3)
  say(f'wrote {args.output}: float32 ({", ".join(map(str, sizes))}) to the same')


def _note(text: str) -> tuple[str, str]:
  name, equals, value = text.partition('=')
  if not (name and equals):
    raise argparse.ArgumentTypeError(f'{text!r} is not NAME=TEXT')
  return name, value
