"""`degrep evaluate`: held-out pictures, by one or several methods, scored as papers do."""

import argparse
import pathlib
from typing import TYPE_CHECKING, Any

from degrep_jax.errors import UserError

if TYPE_CHECKING:
  from degrep_jax import scoring

HELP = 'scores of checkpoints, or of pictures restored by any program'
FOLDER = 'evaluations'  # of a workdir
TILE = 256  # px, of the published figures
FILES = ('scores.json', 'scores.csv')


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.description = (
    'Restores the held-out pictures of a data set and scores them: PSNR and both SSIMs in a table, '
    'per picture in scores.csv, with protocol, versions and config in scores.json.'
  )
  what = parser.add_argument_group('what is scored (the first one named is compared with the rest)')
  path = pathlib.Path
  what.add_argument('--checkpoint', type=path, metavar='DIR', help='workdir of a network')
  what.add_argument('--step', type=int, metavar='N', help='of --checkpoint; default: the newest')
  what.add_argument(
    '--compare', type=path, metavar='DIR', action='append', default=[],
    help='another workdir, its newest checkpoint; may be repeated',
  )  # fmt: skip
  what.add_argument(
    '--restored', type=path, metavar='DIR', action='append', default=[],
    help='pictures that any program restored, named as the pairs are; may be repeated',
  )  # fmt: skip
  data = parser.add_argument_group('with what it is compared (one is needed)')
  pictures = data.add_mutually_exclusive_group(required=True)
  pictures.add_argument(
    '--dataset', metavar='NAME_OR_FOLDER', help='a prepared data set, or a folder of pairs'
  )
  pictures.add_argument(
    '--sharp', type=path, metavar='DIR', help='sharp pictures alone, for --restored'
  )
  data.add_argument('--data_dir', type=path, metavar='DIR', help='where data sets were prepared')
  protocol = parser.add_argument_group('protocol')
  protocol.add_argument(
    '--protocol', choices=('released', 'full_frame', 'realblur'), default='released',
    help="released: tiles, averaged where they overlap; full_frame: whole pictures; realblur: "
    "tiles, and scores after RealBlur's alignment; default: released",
  )  # fmt: skip
  protocol.add_argument(
    '--tile', type=int, metavar='N', help='side of the tiles, px; default: 256, as published'
  )
  protocol.add_argument(
    '--window', metavar='N|off', help='full_frame: px of the local instance norm (TLC), or off'
  )
  protocol.add_argument(
    '--full', action='store_true', help='realblur: whole pictures instead of tiles'
  )
  protocol.add_argument(
    '--crop-border', type=int, metavar='N', default=0, help='px at every side that are not scored'
  )
  protocol.add_argument('--y', action='store_true', help='score luma (BT.601) instead of RGB')
  out = parser.add_argument_group('output')
  out.add_argument(
    '--output', type=path, metavar='DIR',
    help=f'for the scores; default: {FOLDER}/<data set>_<protocol> in the workdir',
  )  # fmt: skip
  out.add_argument('--save', type=path, metavar='DIR', help='for the restored pictures, as PNG')
  out.add_argument('--overwrite', action='store_true', help='replace what is in these folders')
  out.add_argument(
    '--no-cache', action='store_true', help='do not keep compiled programs for the next start'
  )


def run(args: argparse.Namespace) -> int:
  """Scores; 1 where some pictures could not be aligned."""
  restorer = _check(args)
  output = args.output or _default_output(args)
  _require_new(args, output)

  import rich.console

  from degrep_jax import report, scoring
  from degrep_jax.progress import say

  labels = scoring.labels_of(
    [path for path in (args.checkpoint, *args.compare, *args.restored) if path is not None]
  )
  if args.sharp:
    source = scoring.sharp_pictures(args.sharp)
  else:
    from degrep_jax.data.source import open_pairs

    source = open_pairs(args.dataset, args.data_dir)
  protocol = scoring.Protocol(args.protocol, restorer, args.crop_border, args.y)
  methods: list[scoring.Method] = [] if args.sharp else [scoring.BlurryInput()]
  methods += _methods(args, labels, restorer, source)
  dataset = str(args.dataset or args.sharp)
  scores = scoring.score(source, methods, protocol, args.save)
  summary = scoring.write(output, scores, methods, protocol, dataset)
  console = rich.console.Console(highlight=False, emoji=False)
  console.print(report.methods_table(summary))
  if summary['differences']:
    console.print()
    console.print(report.differences_table(summary))
  for label, pictures in scores.failed.items():
    for name, reason in pictures.items():
      say(f'not scored: {name} of {label}: {reason}')
  say(f'wrote {output / FILES[0]} and {FILES[1]}')
  return 1 if scores.failed else 0


def _check(args: argparse.Namespace) -> dict[str, Any]:
  """Raises UserError where arguments do not go together; returns the Restorer's."""
  networks = bool(args.checkpoint or args.compare)
  if not networks and not args.restored:
    raise UserError('there is nothing to score: name a --checkpoint or a folder --restored.')
  if args.step is not None and not args.checkpoint:
    raise UserError('--step is that of --checkpoint: name it.')
  if args.sharp and networks:
    raise UserError('--sharp has no blurry pictures to restore: name pairs by --dataset.')
  if args.save and not networks:
    raise UserError('--save is for the pictures that a --checkpoint restores: there is none.')
  if args.crop_border < 0:
    raise UserError(f'--crop-border is {args.crop_border}: it must not be negative.')
  realblur, full = args.protocol == 'realblur', args.protocol == 'full_frame' or args.full
  if realblur and (args.crop_border or args.y):
    raise UserError("RealBlur's scores are of RGB and whole pictures: leave --crop-border and --y.")
  if args.full and not realblur:
    raise UserError('--full belongs to --protocol realblur; otherwise say --protocol full_frame.')
  if args.window is not None and not full:
    raise UserError('--window is for whole pictures: choose --protocol full_frame.')
  if not networks:
    return {}
  return {'mode': 'full' if full else 'tiles', 'tile': args.tile or TILE}


def _default_output(args: argparse.Namespace) -> pathlib.Path:
  """In the first workdir."""
  workdir = args.checkpoint or next(iter(args.compare), None)
  if workdir is None:
    raise UserError('name a folder for the scores by --output.')
  dataset = pathlib.Path(args.dataset).absolute()
  name = dataset.stem if dataset.is_file() else dataset.name
  return workdir / FOLDER / f'{name}_{args.protocol}'


def _require_new(args: argparse.Namespace, output: pathlib.Path) -> None:
  """Raises UserError where results would be overwritten unasked."""
  if args.overwrite:
    return
  if any((output / name).exists() for name in FILES):
    raise UserError(f'{output} holds scores already: choose another --output, or --overwrite.')
  if args.save and args.save.is_dir() and any(args.save.iterdir()):
    raise UserError(f'{args.save} is not empty: choose another --save, or --overwrite.')


def _methods(
  args: argparse.Namespace, labels: list[str], restorer: dict[str, Any], source: Any
) -> list['scoring.Method']:
  """Every method but the input, in the order of the command line's groups."""
  from degrep_jax import scoring

  networks = [args.checkpoint] if args.checkpoint else []
  networks += args.compare
  folders = labels[len(networks) :]
  found: list[scoring.Method] = [
    scoring.RestoredFolder(label, path, source)  # first: a missing picture is found at once
    for label, path in zip(folders, args.restored, strict=True)
  ]
  if networks:
    from degrep_jax import Restorer

    found[:0] = [
      scoring.Checkpoint(
        label,
        Restorer.from_checkpoint(
          path, step=args.step if path is args.checkpoint else None, **restorer
        ),
      )
      for label, path in zip(labels, networks, strict=False)
    ]
  return found
