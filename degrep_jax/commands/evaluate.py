"""`degrep evaluate`: held-out pictures, by one or several methods, scored as papers do."""

import argparse
import os
import pathlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from degrep_jax import shipped
from degrep_jax.commands import options
from degrep_jax.common.errors import UserError
from degrep_jax.common.files import make_folder_of

if TYPE_CHECKING:
  from degrep_jax.data.pairs import Source
  from degrep_jax.evaluation import scoring

HELP = 'scores of checkpoints, or of pictures that any program restored'
FOLDER = 'evaluations'  # of a workdir
FILES = ('scores.json', 'scores.csv')
PROTOCOLS = ('released', 'full_frame', 'realblur')
TILE = 256  # px, of the published figures


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.usage = (
    f'{parser.prog} --checkpoint DIR [--compare DIR ...] --dataset NAME_OR_FOLDER [options]\n'
    f'       {parser.prog} --restored DIR ... --dataset NAME_OR_FOLDER --output DIR [options]'
  )
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.description = (
    'Restores the held-out pictures of a dataset and scores them: PSNR and both SSIMs as a table,\n'
    'picture by picture in scores.csv, and with protocol, versions and config in scores.json.'
  )
  parser.epilog = (
    'examples:\n'
    '  degrep evaluate --checkpoint runs/net --dataset /data/GOPRO_Large\n'
    '  degrep evaluate --checkpoint runs/net --compare runs/hinet --dataset gopro --data_dir tfds\n'
    '  degrep evaluate --restored results/net --dataset /data/GOPRO_Large --output scores\n'
    '\n'
    'exit status:\n'
    '  0  all scored\n'
    '  1  some pictures could not be aligned (realblur): they are listed, and in no mean\n'
    '  2  nothing scored: a sentence says why'
  )
  _add_methods(parser.add_argument_group('methods (the first is compared with each of the others)'))
  data = parser.add_argument_group('pictures')
  pictures = data.add_mutually_exclusive_group(required=True)
  pictures.add_argument(
    '--dataset',
    metavar='NAME_OR_FOLDER',
    help="a dataset in --data_dir, a folder of pairs, or one of RealBlur's lists",
  )
  pictures.add_argument(
    '--sharp', type=pathlib.Path, metavar='DIR', help='sharp pictures alone, for --restored'
  )
  data.add_argument(
    '--data_dir', type=pathlib.Path, metavar='DIR', help='where degrep prepare put the dataset'
  )
  _add_protocol(parser.add_argument_group('protocol'))
  _add_output(parser.add_argument_group('output'))


def _place(text: str) -> pathlib.Path:
  """A path that is not taken for the name of a network that ships where it was written as that of a
  folder, `./small` or `small/`."""
  path = pathlib.Path(text)
  return path if text == str(path) and not text.startswith('.') else path.absolute()


def _add_methods(group: argparse._ArgumentGroup) -> None:
  folder: dict[str, Any] = {'type': _place, 'metavar': 'DIR'}
  group.add_argument(
    '--checkpoint', **folder, help='workdir or file of a network, or the name of one that ships'
  )
  group.add_argument(
    '--step', type=int, metavar='N', help='of that checkpoint (default: the newest)'
  )
  folder |= {'action': 'append', 'default': []}
  group.add_argument(
    '--compare', **folder, help='another network, of a workdir the newest checkpoint; repeatable'
  )
  group.add_argument(
    '--restored',
    **folder,
    help='what any program restored: PNG, JPEG and others, named as the pairs are; repeatable',
  )


def _add_protocol(group: argparse._ArgumentGroup) -> None:
  group.add_argument(
    '--protocol',
    choices=PROTOCOLS,
    default='released',
    help='released: tiles, averaged where they overlap; full_frame: whole pictures; realblur: '
    "tiles, and scores after RealBlur's alignment (default: released)",
  )
  group.add_argument(
    '--tile',
    type=int,
    default=TILE,
    metavar='PX',
    help=f'side of the tiles, in all protocols of what E sees (default: {TILE}, as published)',
  )
  group.add_argument(
    '--window',
    type=options.window,
    metavar='PX|off',
    help='full_frame: side of the windows of the instance norms (TLC), or off for norms over the '
    'whole picture (default: 1.5 tiles)',
  )
  group.add_argument(
    '--memory',
    type=options.quantity,
    metavar='SIZE',
    help='that whole pictures may take; with less they are restored in large windows (default: '
    '4GiB)',
  )
  options.add_deblurring(group, ships=False)
  group.add_argument('--full', action='store_true', help='realblur: whole pictures, not tiles')
  group.add_argument(
    '--crop-border', type=int, default=0, metavar='PX', help='not scored, at every side'
  )
  group.add_argument('--y', action='store_true', help='score luma (BT.601) instead of RGB')


def _add_output(group: argparse._ArgumentGroup) -> None:
  group.add_argument(
    '--output',
    type=pathlib.Path,
    metavar='DIR',
    help=f'for the scores (default: {FOLDER}/DATASET_PROTOCOL in the workdir)',
  )
  group.add_argument(
    '--save', type=pathlib.Path, metavar='DIR', help='for the restored pictures, as PNG'
  )
  group.add_argument('--overwrite', action='store_true', help='replace what these folders hold')
  options.add_no_cache(group)


def run(args: argparse.Namespace) -> int:
  """Scores; the exit status."""
  restoring_by = _check(args)
  output = args.output or _default_output(args)
  _require_new(args, output)
  from degrep_jax.evaluation import means, scoring

  if args.sharp:
    source = scoring.sharp_pictures(args.sharp)
  else:
    from degrep_jax.data.source import open_pairs

    source = open_pairs(args.dataset, args.data_dir)
  methods = _methods(args, restoring_by, source)
  make_folder_of(output / FILES[0])  # what cannot be written need not be scored
  restoring = [method.settings for method in methods if isinstance(method, scoring.Checkpoint)]
  protocol = scoring.Protocol(args.protocol, (restoring or [{}])[0], args.crop_border, args.y)
  scores = scoring.score(source, methods, protocol, args.save)
  summary = scoring.write(output, scores, methods, protocol, _dataset(args))
  _show(summary, means.remarks(scores.rows), output)
  return 1 if scores.failed else 0


def _show(summary: dict[str, Any], remarks: Iterable[str], output: pathlib.Path) -> None:
  from degrep_jax.common.console import results, say
  from degrep_jax.evaluation import tables

  console = results()
  console.print(f'{_sentence(summary["protocol"])}\n', soft_wrap=True)
  console.print(tables.methods_table(summary))
  if summary['differences']:
    console.print()
    console.print(tables.differences_table(summary))
  for method in summary['methods']:
    for name, reason in method['failed_alignments'].items():
      say(f'not scored: {name} of {method["label"]}: {reason}')
  for sentence in remarks:
    say(sentence)
  say(f'wrote {output / FILES[0]} and {FILES[1]}')


def _sentence(protocol: dict[str, Any]) -> str:
  """For example: protocol full_frame: mode full, tile 256, window off, RGB."""
  told = [f'{key} {protocol[key]}' for key in ('mode', 'tile') if key in protocol]
  if 'window' in protocol:
    told.append(f'window {protocol["window"] or "off"}')
  if protocol.get('ensemble', 1) > 1:
    told.append(f'ensemble of {protocol["ensemble"]}')
  if protocol.get('strength', 1) != 1:
    told.append(f'strength {protocol["strength"]:g}')
  if protocol.get('scales'):
    told.append(f'scales up to {protocol["scales"]:,} pixels')
  told.append(protocol['channels'])
  if protocol['crop_border']:
    told.append(f'without a border of {protocol["crop_border"]}')
  return f'protocol {protocol["name"]}: {", ".join(told)}'


def _check(args: argparse.Namespace) -> dict[str, Any]:
  """What is asked of the restorers; raises UserError where arguments do not go together."""
  networks = bool(args.checkpoint or args.compare)
  full = args.full or args.protocol == 'full_frame'
  realblur = args.protocol == 'realblur'
  for wrong, sentence in (
    (
      not networks and not args.restored,
      'there is nothing to score: name a --checkpoint, or a folder --restored.',
    ),
    (args.step is not None and not args.checkpoint, '--step is that of --checkpoint: name it.'),
    (
      args.data_dir and not args.dataset,
      '--data_dir is where the data of --dataset lie: name them.',
    ),
    (
      args.sharp and networks,
      '--sharp has no blurry pictures to restore: name pairs by --dataset.',
    ),
    (
      args.save and not networks,
      '--save is for pictures that a --checkpoint restores: there is none.',
    ),
    (args.crop_border < 0, f'--crop-border is {args.crop_border}: it must not be negative.'),
    (
      realblur and (args.crop_border or args.y),
      "RealBlur's scores are of whole pictures in RGB: leave --crop-border and --y.",
    ),
    (
      args.full and not realblur,
      '--full belongs to --protocol realblur: otherwise say --protocol full_frame.',
    ),
    (
      not full and (args.window is not None or args.memory is not None),
      '--window and --memory are for whole pictures: choose --protocol full_frame.',
    ),
  ):
    if wrong:
      raise UserError(sentence)
  if not networks:
    return {}
  by = {'tile': args.tile, **options.given(args)}
  if not full:
    return {'mode': 'tiles', **by}
  given = {'window': args.window, 'memory': args.memory}
  chosen = {name: value for name, value in given.items() if value is not None}
  return {'mode': 'full', **by, **chosen}


def _default_output(args: argparse.Namespace) -> pathlib.Path:
  """In the first workdir."""
  workdirs = [args.checkpoint] if args.checkpoint else args.compare
  if (
    not workdirs
    or workdirs[0].suffix.lower() == '.safetensors'
    or str(workdirs[0]) in shipped.names()
  ):
    raise UserError('name a folder for the scores by --output.')
  dataset = pathlib.Path(args.dataset).absolute()
  name = dataset.stem if os.path.isfile(dataset) else dataset.name
  return workdirs[0] / FOLDER / f'{name}_{args.protocol}'


def _dataset(args: argparse.Namespace) -> str:
  """What was scored, for those who read the scores elsewhere: a path, or the name of prepared data
  and where they lie."""
  if args.data_dir:
    return f'{args.dataset} in {args.data_dir.absolute()}'
  return str(pathlib.Path(args.dataset or args.sharp).absolute())


def _require_new(args: argparse.Namespace, output: pathlib.Path) -> None:
  """Raises UserError where results would be overwritten unasked."""
  if args.overwrite:
    return
  if any(os.path.exists(output / name) for name in FILES):
    raise UserError(f'{output} holds scores already: choose another --output, or --overwrite.')
  if args.save and os.path.isdir(args.save) and any(args.save.iterdir()):
    raise UserError(f'{args.save} is not empty: choose another --save, or --overwrite.')


def _methods(
  args: argparse.Namespace, restoring_by: dict[str, Any], source: 'Source'
) -> list['scoring.Method']:
  """In the order of the table."""
  from degrep_jax.evaluation import scoring

  workdirs = [*([args.checkpoint] if args.checkpoint else []), *args.compare]
  labels = scoring.labels_of([*workdirs, *args.restored])
  # Folders first: where a picture is missing, no network is loaded.
  folders = [
    scoring.RestoredFolder(label, path, source)
    for label, path in zip(labels[len(workdirs) :], args.restored, strict=True)
  ]
  methods: list[scoring.Method] = [] if args.sharp else [scoring.BlurryInput()]
  if workdirs:
    from degrep_jax import Restorer
    from degrep_jax.commands import network
    from degrep_jax.runtime import compilation_cache

    if not args.no_cache:
      compilation_cache.enable()
    for label, workdir in zip(labels, workdirs, strict=False):
      step = args.step if workdir is args.checkpoint else None
      _, place = network.located(str(workdir), 'deblur')
      restorer = Restorer.from_checkpoint(place, step=step, **restoring_by)
      methods.append(scoring.Checkpoint(label, restorer))
  return [*methods, *folders]
