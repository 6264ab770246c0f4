"""`degrep deblur PATH... [--output DIR] [--checkpoint NETWORK]`."""

import argparse

from degrep_jax.commands import photographs

HELP = 'restore blurry photographs'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.description = (
    'Restores blurry photographs: JPEG, PNG, WebP, TIFF, BMP and AVIF, 8 and 16 bits; and HEIC,\n'
    'JPEG XL, JPEG 2000, GIF, PNM and others, which are written as JPEG or PNG. Transparency,\n'
    'colour profile, metadata and the gain map of Ultra HDR are kept, and pictures come out\n'
    'upright. Each result is written whole or not at all; what is there already is left alone, so\n'
    'that an interrupted command is continued by giving it again.'
  )
  photographs.add_arguments(
    parser,
    'PATH',
    'deblur',
    'examples:\n'
    '  degrep deblur photo.jpg\n'
    '  degrep deblur holiday/ --output restored --compare\n'
    "  degrep deblur 'scans/**/*.tif' --output restored --format png --checkpoint runs/net\n"
    '  degrep deblur - --output - < photo.jpg > restored.jpg\n'
    '\n'
    'exit status:\n'
    '  0  all restored, or there already\n'
    '  1  some failed: a sentence says why, the others are restored\n'
    '  2  nothing done: a wrong argument, no network, no pictures\n'
    '  130  interrupted; what is written is whole',
  )


def run(args: argparse.Namespace) -> int:
  """Restores; the exit status."""
  return photographs.run(
    args, 'deblur', lambda restorer: restorer.deblur, 'deblurring', 'deblurred', 'restored'
  )
