"""What the commands on photographs share: their arguments, and the way from these to files."""

import argparse
import io
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from degrep_jax.commands import options
from degrep_jax.common.errors import UserError

if TYPE_CHECKING:
  from degrep_jax import Restorer

_FORMATS = {'jpg': 'JPEG', 'jpeg': 'JPEG', 'png': 'PNG', 'webp': 'WEBP', 'tif': 'TIFF'}
_FORMATS |= {'tiff': 'TIFF', 'bmp': 'BMP', 'avif': 'AVIF'}


def add_arguments(parser: argparse.ArgumentParser, what: str, task: str, examples: str) -> None:
  """Paths, files and net.

  Args:
    parser: of a command.
    what: metavar of the paths.
    task: of `shipped.TASKS`.
    examples: what stands below the help.
  """
  parser.usage = f'{parser.prog} {what} ... [--output DIR] [--checkpoint NETWORK] [options]'
  parser.formatter_class = argparse.RawDescriptionHelpFormatter
  parser.epilog = examples
  parser.add_argument(
    'paths',
    nargs='+',
    metavar=what,
    help="files, folders with all below them, quoted patterns such as 'trip/**/*.jpg', or - for "
    'the standard input',
  )
  options.add_checkpoint(parser, task)
  parser.add_argument(
    '--output',
    metavar='DIR',
    help='folder for the results, made where it is missing; for one picture also the name of a '
    'file, or - for the standard output (default: beside the pictures, under names of their own)',
  )
  files = parser.add_argument_group('files')
  options.add_overwrite(files)
  files.add_argument(
    '--format',
    type=str.lower,
    choices=_FORMATS,
    metavar='FORMAT',
    help='jpg, png, webp, tif, bmp or avif for all results (default: that of each picture)',
  )
  files.add_argument(
    '--quality',
    type=_quality,
    metavar='1-100',
    help="of JPEG, WebP and AVIF (default: 95, or the picture's own where finer; of AVIF 90)",
  )
  files.add_argument(
    '--compare', action='store_true', help='write NAME.compare too: before and after side by side'
  )
  files.add_argument(
    '--dry-run',
    action='store_true',
    help='only list what would be read and written; decodes no picture',
  )
  options.add_salvage(files)
  options.add_max_pixels(files, '250M')
  net = parser.add_argument_group('network')
  net.add_argument(
    '--mode',
    choices=('tiles', 'feathered', 'full'),
    default='feathered',
    help='tiles: as in evaluation; feathered: overlapping tiles that fade into each other, without '
    'seams; full: the whole picture at once (default: feathered)',
  )
  net.add_argument(
    '--window',
    type=options.window,
    metavar='PX|off',
    help='full mode: what instance norms see, or off for the whole picture (default: 1.5 tiles)',
  )
  net.add_argument(
    '--memory',
    type=options.quantity,
    default='4GiB',
    metavar='SIZE',
    help='full mode: what restoring may take besides the pictures (default: 4GiB)',
  )
  net.add_argument(
    '--dtype',
    choices=('float32', 'bfloat16'),
    default='float32',
    help='of the computation; bfloat16 is quicker on GPUs and TPUs (default: float32)',
  )
  net.add_argument(
    '--engine',
    choices=('jax', 'onnx'),
    default='jax',
    help='what computes; onnx is quicker on CPUs, in all modes but full, and takes pip install '
    "'.[onnx]' (default: jax)",
  )
  if task == 'deblur':
    options.add_deblurring(net, ships=True)
  options.add_step(net)
  options.add_no_cache(net)


def run(
  args: argparse.Namespace,
  task: str,
  restore_by: Callable[['Restorer'], Callable[[Any, Callable[[float], None]], Any]],
  doing: str,
  infix: str,
  done: str,
) -> int:
  """Restores the files of a command line.

  Args:
    args: with the fields of `add_arguments`.
    task: of `shipped.TASKS`.
    restore_by: makes of a restorer what turns a picture into the result, telling the share of it
      that is done.
    doing: for the progress bar, for example 'deblurring'.
    infix: for the names of results where no output is given, for example 'deblurred'.
    done: for the line at the end, for example 'restored'.

  Returns:
    The exit status.

  Raises:
    UserError: something that no picture can be restored with or from.
  """
  from degrep_jax.app import jobs

  plan = jobs.plan(
    args.paths,
    args.output,
    format=_FORMATS.get(args.format),
    overwrite=args.overwrite,
    compare=args.compare,
    infix=infix,
  )
  if args.dry_run:
    return _list(plan)
  from degrep_jax.runtime import signals

  signals.end_as_after_ctrl_c()  # half a file goes away then too
  if any(job.target is None for job in plan.jobs) and sys.stdout.isatty():
    raise UserError('The standard output is a terminal: send it to a file, or name an --output.')
  from degrep_jax.app import batch
  from degrep_jax.commands import network
  from degrep_jax.photos import reading
  from degrep_jax.runtime import compilation_cache

  reading.quiet(args.max_pixels)
  settings = batch.Settings(
    format=_FORMATS.get(args.format),
    quality=args.quality,
    max_pixels=args.max_pixels,
    overwrite=args.overwrite,
    salvage=args.salvage,
  )
  words = batch.Words(doing, done)
  if not plan.jobs:
    return batch.run(plan, lambda picture, progress: picture, settings, words)
  if not args.no_cache:
    compilation_cache.enable()
  restorer = network.opened(
    args.checkpoint,
    task,
    args.step,
    mode=args.mode,
    window=args.window,
    dtype=args.dtype,
    memory=args.memory,
    engine=args.engine,
    **(options.given(args) if task == 'deblur' else {}),
  )
  return batch.run(plan, restore_by(restorer), settings, words)


def _list(plan: Any) -> int:
  """What a dry run shows."""
  from degrep_jax.common.console import say

  if isinstance(sys.stdout, io.TextIOWrapper):
    sys.stdout.reconfigure(errors='surrogateescape')  # names of files may be any bytes
  for job in plan.jobs:
    for target in (job.target, job.compare) if job.compare else (job.target,):
      print(f'{job.name} -> {target or "standard output"}')
  for job in plan.existing:
    print(f'{job.name} -> {job.target} is there already')
  for sentence in plan.unreadable:
    say(sentence)
  if plan.passed:
    say(f'{plan.passed_over}.')
  return 1 if plan.unreadable else 0


def _quality(text: str) -> int:
  if not text.isdecimal() or not 1 <= int(text) <= 100:
    raise argparse.ArgumentTypeError(f'{text!r} is not between 1 and 100')
  return int(text)
