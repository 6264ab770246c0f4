"""The tables of model_scores.py."""

from typing import Any

import fields

from degrep_jax import shipped
from degrep_jax.checkpoints.describe import describe
from degrep_jax.evaluation import scoring


def markdown(found: dict[str, Any]) -> str:
  """Of what was measured: part to figures, as in scores.json."""
  tables = [_trained()] if shipped.names() else []
  if 'pairs' in found:
    tables.append(_pairs(found['pairs']))
  if found.keys() - {'pairs'}:
    tables.append(_care(found))
  return '\n\n'.join(tables)


def _trained() -> str:
  """What the files that ship say of their training."""
  rows = []
  for name in shipped.names():
    of = describe(shipped.path(name))
    notes, steps = of['notes'], f'{of["step"]:,}'
    examples = f'{of["step"] * of["config"]["train.batch_size"]:,}'
    size = f'{of["bytes"] / 1e6:.1f}'
    told = [notes.get(note, '')[:10] for note in ('hours', 'date', 'commit')]
    rows.append([name, f'{of["parameters"]:,}', size, steps, examples, *told])
  head = ['network', 'parameters', 'MB', 'steps', 'crops seen', 'hours', 'day', 'commit']
  return fields.markdown(head, rows)


def _pairs(pairs: dict[str, Any]) -> str:
  """Markdown: a row per method of every set."""
  rows = []
  for name, found in pairs.items():
    for label, of in found.items():
      if label in ('pictures', 'differences'):
        continue
      gain, worst = of['gain'], of['worst']['gain']
      ssim = of['ssim_3d']
      cells = [f'{of["psnr"]:.2f}', '-' if ssim is None else f'{ssim:.3f}']
      if label == scoring.BLURRY:
        cells += ['', '', '']
      else:
        cells += [f'{gain["mean"]:+z.2f}', fields.interval(gain), f'{worst:+z.2f}']
      rows.append([f'{name}, {found["pictures"]}: {label}', *cells])
    for label, difference in found['differences'].items():
      cells = ['', '', f'{difference["mean"]:+z.2f}', fields.interval(difference), '']
      rows.append([f'{name}: {label}', *cells])
  head = ['pictures: method', 'PSNR, dB', 'SSIM', 'gain, dB', '95 % interval', 'worst, dB']
  return fields.markdown(head, rows)


def _care(found: dict[str, Any]) -> str:
  """Markdown: what happens to sharp and flat pictures, and what restoring takes."""
  labels = [*found.get('photos', found.get('flat', found.get('time', {})))]
  rows: dict[str, dict[str, str]] = {}
  for label in labels:
    if of := found.get('photos', {}).get(label):
      for row, figure in (('mean', of['psnr']), ('least', of['least'])):
        name = f'sharp photographs to themselves, dB: {row}'
        rows.setdefault(name, {})[label] = f'{float(figure):.1f}'
    for mode, change in found.get('flat', {}).get(label, {}).items():
      rows.setdefault(f'flat pictures, largest change, {mode}', {})[label] = str(change)
    for run, of in found.get('time', {}).get(label, {}).items():
      rows.setdefault(f'{run}: seconds', {})[label] = f'{of["seconds"]:.1f}'
      rows.setdefault(f'{run}: peak, MiB', {})[label] = f'{of["peak_mib"]:,.0f}'
  table = [[name, *(cells.get(label, '') for label in labels)] for name, cells in rows.items()]
  return fields.markdown(['', *labels], table)
