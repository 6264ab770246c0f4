"""`degrep convert KIND FILE.pth OUT_DIR`."""

import argparse
import pathlib

HELP = "the authors' PyTorch weights to a checkpoint of ours"


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.description = "Writes the weights of one of the authors' PyTorch files as a checkpoint."
  parser.add_argument(
    'kind',
    metavar='KIND',
    help='encoder_v1, encoder_v2, upsampler_v1, upsampler_v2, msdi_net, msdi2e, discriminator or '
    'hinet',
  )
  parser.add_argument('file', type=pathlib.Path, metavar='FILE.pth')
  parser.add_argument('out', type=pathlib.Path, metavar='OUT_DIR', help='a new workdir')


def run(args: argparse.Namespace) -> None:
  """Writes the checkpoint."""
  from degrep_jax.convert.workdir import convert_file

  convert_file(args.kind, args.file, args.out)
