"""The tables of model_scores.py."""

from typing import Any

import fields

from degrep_jax.evaluation import scoring


def markdown(found: dict[str, Any]) -> str:
  """Of what was measured: part to figures, as in scores.json."""
  tables = [_pairs(found['pairs'])] if 'pairs' in found else []
  if found.keys() - {'pairs'}:
    tables.append(_care(found))
  return '\n\n'.join(tables)


def _pairs(pairs: dict[str, Any]) -> str:
  """Markdown: a row per method of every set."""
  rows = []
  for name, found in pairs.items():
    for label, of in found.items():
      if label in ('pictures', 'differences'):
        continue
      gain, worst = of['gain'], of['worst']['gain']
      cells = [f'{of["psnr"]:.2f}', f'{of["ssim_3d"]:.3f}']
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
  rows: dict[str, list[str]] = {}
  for label in labels:
    if of := found.get('photos', {}).get(label):
      rows.setdefault('sharp photographs to themselves, dB: mean', []).append(f'{float(of["psnr"]):.1f}')
      rows.setdefault('... the least', []).append(f'{float(of["least"]):.1f}')
    for mode, change in found.get('flat', {}).get(label, {}).items():
      rows.setdefault(f'flat pictures, largest change, {mode}', []).append(str(change))
    for run, of in found.get('time', {}).get(label, {}).items():
      rows.setdefault(f'{run}: seconds', []).append(f'{of["seconds"]:.1f}')
      rows.setdefault(f'{run}: peak, MiB', []).append(f'{of["peak_mib"]:,.0f}')
  return fields.markdown(['', *labels], [[name, *cells] for name, cells in rows.items()])
