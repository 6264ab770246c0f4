"""`degrep info DIR`."""

import argparse
import pathlib
from typing import Any

from degrep_jax.commands import options

HELP = 'tell what a checkpoint holds: networks, parameters, steps, scores, config'
_NAMES = {
  'encoder': 'E, encoder',
  'pyramid': 'map pyramid',
  'reblurrer': 'Gr, reblurs',
  'deblurrer': 'Gd, deblurs',
  'discriminator': 'D, discriminator',
}
# What says the size of a net; the rest of its fields are in the config below.
_SIZE = {
  'model.width': 'width',
  'model.depth': 'depth',
  'model.unshuffle': 'unshuffle',
  'model.encoder_width': "E's width",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Of the command line."""
  parser.description = (
    'Tells what a checkpoint holds, of a run or of degrep convert, without reading its weights.'
  )
  parser.add_argument('directory', type=pathlib.Path, metavar='DIR', help='a workdir')
  options.add_step(parser)
  parser.add_argument('--json', action='store_true', help='everything, for programs')


def run(args: argparse.Namespace) -> None:
  """Prints the tables, or JSON."""
  import json

  from degrep_jax.checkpoints.describe import describe

  found = describe(args.directory, args.step)
  if args.json:
    print(json.dumps(found, indent=2))
  else:
    _print(found)


def _print(found: dict[str, Any]) -> None:
  from degrep_jax.checkpoints.describe import defaults
  from degrep_jax.common.console import results
  from degrep_jax.evaluation.tables import score_table

  console = results()
  config = found['config']
  of = f' of {found["trained_steps"]}' if found['trained_steps'] else ''
  title = f'{found["workdir"]}: {_title(found["network"])}, step {found["step"]}{of}'
  console.print(title, style='bold', soft_wrap=True)
  if sizes := [f'{name} {config[field]}' for field, name in _SIZE.items() if field in config]:
    console.print(', '.join(sizes))
  console.print('', _parts(found), sep='\n')
  if any(found['checkpoints'].values()) or len(found['checkpoints']) > 1:
    console.print('', _checkpoints(found), sep='\n')
  for file, totals in found['scores'].items():
    console.print('', file, score_table(totals), sep='\n')
  if config:
    console.print('', _config(config, defaults()), sep='\n')


def _title(network: str | None) -> str:
  from degrep_jax.models.factory import NETWORKS

  return NETWORKS[network].title if network else 'parts of a net'


def _name(network: str | None, part: str) -> str:
  """What people call a part; the deblurring one of a net that does nothing else by the net's."""
  from degrep_jax.models.factory import NETWORKS

  row = NETWORKS[network] if network else None
  if row and part == 'network':
    return f'{row.title}, deblurs'
  return row.title if row and part == 'deblurrer' and not row.can_reblur else _NAMES[part]


def _parts(found: dict[str, Any]):
  from degrep_jax.common.console import empty_table

  table = empty_table('network', 'parameters', '', texts=(0, 2))
  kinds = {'encoder': 'model.encoder', 'pyramid': 'model.modulation'}
  for part, count in found['parts'].items():
    kind = found['config'].get(kinds.get(part, ''))
    name = _name(found['network'], part)
    note = 'frozen' if part in found['frozen'] else ''
    table.add_row(f'{name} ({kind})' if kind else name, f'{count:,}', note)
  if len(found['parts']) > 1:
    table.add_section()
    without = ' without D' if 'discriminator' in found['parts'] else ''
    table.add_row(f'together{without}', f'{found["parameters"]:,}', '')
  return table


def _checkpoints(found: dict[str, Any]):
  from degrep_jax.common.console import empty_table

  table = empty_table('checkpoint', 'deblurred, dB', '', texts=(0, 2))
  for step, scores in found['checkpoints'].items():
    psnr = f'{float(scores["deblurred_psnr"]):.2f}' if scores else '-'
    table.add_row(f'step {step}', psnr, 'best' if step == found['best'] else '')
  return table


def _config(config: dict[str, Any], usual: dict[str, Any]):
  """The fields that are not as configs/default.py has them."""
  from degrep_jax.common.console import empty_table

  table = empty_table('config, where it is not the default', 'value', 'default', texts=(0, 1, 2))
  for field, value in sorted(config.items()):
    if field not in usual or usual[field] != value:
      table.add_row(field, _text(value), _text(usual[field]) if field in usual else '')
  return table


def _text(value: Any) -> str:
  return value or "''" if isinstance(value, str) else str(value)
