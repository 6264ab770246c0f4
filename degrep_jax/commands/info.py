"""`degrep info [NETWORK]`."""

import argparse
from typing import Any

from degrep_jax import shipped
from degrep_jax.commands import options

HELP = 'tell what ships, or what a checkpoint holds: networks, parameters, steps, scores'
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
    'Tells what a checkpoint holds, of a run or of degrep convert, without reading its weights; '
    'without arguments, which networks ship with the package.'
  )
  parser.add_argument(
    'network',
    nargs='?',
    metavar='NETWORK',
    help='a workdir, a file of degrep export, or a network that ships (default: tells of all)',
  )
  options.add_step(parser)
  parser.add_argument('--json', action='store_true', help='everything, for programs')


def run(args: argparse.Namespace) -> None:
  """Prints the tables, or JSON."""
  import json

  from degrep_jax.checkpoints.describe import describe
  from degrep_jax.commands import network

  if args.network is None:
    found = {name: describe(shipped.path(name)) for name in shipped.names()}
    found = {name: of | {'measured': shipped.scores(name)} for name, of in found.items()}
    if args.json:
      print(json.dumps(found, indent=2))
    else:
      _print_shipped(found)
    return
  name, place = network.located(args.network, 'deblur')
  one = describe(place, args.step)
  if args.json:
    print(json.dumps(one, indent=2))
  else:
    _print(one, shipped.scores(name) if name else {})


def _print_shipped(found: dict[str, dict[str, Any]]) -> None:
  """A row per network that ships."""
  from degrep_jax.common.console import empty_table, results, say

  if not found:
    say('No network ships with this copy of degrep_jax: name a workdir or a file of yours.')
    return
  table = empty_table('name', 'network', 'parameters', 'MB', 'steps', 'can', texts=(0, 1, 5))
  for name, of in found.items():
    size, able = f'{of["bytes"] / 1e6:.1f}', ', '.join(shipped.NETWORKS[name].tasks)
    table.add_row(
      name, _title(of['network']), f'{of["parameters"]:,}', size, f'{of["step"]:,}', able
    )
  console = results()
  console.print(table)
  for name, of in found.items():
    for line in _measured(of['measured']):
      console.print(f'{name}: {line}', soft_wrap=True)


def _measured(scores: dict[str, Any]) -> list[str]:
  """A line per set of pictures."""
  return [
    f'{name}, {of["pictures"]} pictures: {of["psnr"]:.2f} dB from {of["blurry"]:.2f}'
    for name, of in scores.items()
  ]


def _print(found: dict[str, Any], measured: dict[str, Any]) -> None:
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
  for note, text in found.get('notes', {}).items():
    console.print(f'{note}: {text}', soft_wrap=True)
  for line in _measured(measured):
    console.print(line, soft_wrap=True)
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
