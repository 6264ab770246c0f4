"""`degrep prepare DATASET --source DIR_OR_ARCHIVE --data_dir DIR`."""

import argparse
import os
import pathlib

HELP = 'GoPro, HIDE or RealBlur to files that training reads fast'


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.description = (
    'Writes the pairs of a released dataset as TFDS data: whole pictures, byte by byte, and the '
    'training pictures cut into overlapping sub-pictures of 512 px. A run that was killed is '
    'repeated by the same command.'
  )
  parser.add_argument('dataset', metavar='DATASET', help='gopro, hide, realblur_j or realblur_r')
  parser.add_argument(
    '--source',
    type=pathlib.Path,
    required=True,
    metavar='DIR_OR_ARCHIVE',
    help='the dataset as released: its folder, zip or tar',
  )
  parser.add_argument(
    '--data_dir', type=pathlib.Path, required=True, metavar='DIR', help='where to write'
  )
  parser.add_argument(
    '--pictures', choices=('full', 'sub512'), default='', help='write these alone'
  )


def run(args: argparse.Namespace) -> None:
  """Prepares the dataset."""
  # TensorFlow, which TFDS writes files with, tells of itself; OpenCV of the damage that we name.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
  os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
  os.environ.setdefault('OPENCV_LOG_LEVEL', 'ERROR')
  from degrep_jax.data.builders.write import prepare

  prepare(args.dataset, args.source, args.data_dir, args.pictures)
