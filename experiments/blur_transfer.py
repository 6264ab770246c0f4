"""Blur carried from one picture to another by its map, and maps mixed, with the true answer beside.

python experiments/blur_transfer.py --quick    # or, on a GPU, without it

The blur of a held-out scene is a known field, so that it can be put on the scene of another
photograph as well: that is what Gr should make of the other's sharp picture x and the map of the
first's blurry one. Three nets: maps of two sizes and a single code.

Transfer: PSNR against the true answer over the whole scene, what moved by 2 px or more, and what
rests, of

- x as it is,
- Gr(x, M of a wrong field), the field of another scene on the first picture,
- the same with the field that is nearest in mean extent: what is lost is not how much is blurred,
  but where and which way,
- Gr(x, M of the field), the transfer,
- Gr(x, M of the answer): what Gr makes of the best map that there is.

Maps are read off renderings without noise, which would be the same wherever a field is put.

Mixing: Gr(x, (1 - w) M of sharp + w M of blurry), on the scenes where the motion can be seen, on
both pictures. How much such a picture is blurred is the
strength of the known motion whose rendering is nearest to it (mean squared error; strengths of 0 to
1.5 of the true one in steps of 0.05), from 0 for sharp to 1 for blurry if all is well. Beside it
the same with maps from another picture, and with maps of true renderings of strength w in place of
mixed ones. Between two blurs of a picture, weak and strong, the nearest rendering is sought among
those of both motions, and its mean extent in pixels is given, with the share of the way from one
true picture to the other that the mixture lies at (1 at the strong one).

Writes transfer.json, transfer.csv (a line per net, field, picture and method), mixing.csv (a line
per scene and weight) and transfer.png into --output. What is not trained yet is trained first, the
rest is a matter of minutes and done again after an interruption.
"""

import argparse
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import fields
import numpy as np
import study
from blur_mixing import ELSEWHERE, MIXED, SHOWN, TRUE, WEIGHTS, Blended, mixing, rows_of
from fields import REGIONS
from matplotlib.figure import Figure

from degrep_jax import metrics
from degrep_jax.common.files import write_json
from degrep_jax.data.synthetic.exposure import BlurExample
from degrep_jax.evaluation.bootstrap import paired_difference
from degrep_jax.evaluation.tables import write_csv

SHARP, WRONG, LIKE, TRANSFER, ANSWER = METHODS = (
  'sharp as it is',
  'M of a wrong field',
  'M of a wrong field of like extent',
  'M of the field, from another picture',
  'M of the answer',
)


class Transfer(NamedTuple):
  """Fields to be carried to other pictures.

  Attributes:
    items, receivers: numbers of the scenes (N,) that fields come from and go to.
    seen: by method, the pictures (N, S, S, 3) uint8 whose maps Gr gets.
    truth: the answers.
  """

  items: np.ndarray
  receivers: np.ndarray
  seen: dict[str, np.ndarray]
  truth: BlurExample


def likest(extent: np.ndarray) -> np.ndarray:
  """Numbers (N,) of the next larger of (N,) values; of the largest, of the one before it."""
  order = np.argsort(extent, kind='stable')
  neighbours = np.empty_like(order)
  neighbours[order] = np.append(order[1:], order[-2:-1])
  return neighbours


def draw_transfer(args: argparse.Namespace) -> Transfer:
  """Every scene's field, to a scene of each other photograph.

  Raises:
    UserError: there is one photograph only.
  """
  source = fields.fields(args, 'test', args.scenes, noise=False)
  shown = fields.photographs(source)
  fields.require_several(shown)
  scenes, count = fields.all_scenes(source), len(source)
  numbers = np.arange(count)
  ahead = np.arange(args.scenes, count, args.scenes)[:, None]
  items, receivers = np.tile(numbers, len(ahead)), ((numbers + ahead) % count).ravel()
  items, receivers = (of[shown[items] != shown[receivers]] for of in (items, receivers))
  answer = scenes.sharp[receivers]
  wrong = {WRONG: np.roll(numbers, -1), LIKE: likest(scenes.extent.mean((1, 2)))}
  seen = {name: fields.put_on(source, of, scenes.sharp).blurry for name, of in wrong.items()}
  seen = {name: pictures[items] for name, pictures in (seen | {TRANSFER: scenes.blurry}).items()}
  return Transfer(
    items,
    receivers,
    seen | {ANSWER: fields.put_on(source, items, answer).blurry},
    fields.put_on(fields.fields(args, 'test', args.scenes), items, answer),
  )


def transfer(net: study.Trained, data: Transfer) -> dict[str, np.ndarray]:
  """What stands for the answers by each method, (N, S, S, 3) uint8."""
  sharp = data.truth.sharp
  given = {name: net.maps(pictures) for name, pictures in data.seen.items()}
  return {SHARP: sharp} | {name: net.reblur(sharp, maps) for name, maps in given.items()}


def by_field(
  rows: Sequence[Mapping[str, Any]], items: np.ndarray, region: str
) -> list[float | None]:
  """Mean over the pictures of each field; rows are in the order of `Transfer.items`."""
  columns: list[list[float | None]] = [[] for _ in range(max(items) + 1)]
  for row, item in zip(rows, items, strict=True):
    columns[item].append(row[region])
  return [None if None in column else float(np.mean(column)) for column in columns]


def transfer_summary(
  scored: Mapping[str, Sequence[Mapping[str, Any]]], items: np.ndarray
) -> dict[str, Any]:
  """Means by method and region, and differences of the transfer from the other methods, with 95 %
  intervals over fields."""
  means: dict[str, dict[str, float]] = {}
  differences: dict[str, dict[str, Any]] = {}
  for name, rows in scored.items():
    means[name], differences[name] = {}, {}
    for region in REGIONS:
      own = by_field(rows, items, region)
      there = [x for x in own if x is not None]
      means[name][region] = float(np.mean(there)) if there else None
      if name != TRANSFER:
        base = by_field(scored[TRANSFER], items, region)
        difference = paired_difference(base, own)
        differences[name][region] = difference and difference._asdict()
  del differences[TRANSFER]
  return {'psnr': means, 'transfer_less': differences}


def figure(
  data: Transfer, results: Mapping[str, np.ndarray], blended: Blended, path: pathlib.Path
) -> None:
  """Transfers, strips over the weights, and the curves, of one net."""
  drawing = Figure(figsize=(9.6, 15), dpi=66, layout='constrained')
  upper, middle, lower = drawing.subfigures(3, 1, height_ratios=(5.7, 8.6, 3.7))
  extent = data.truth.extent.mean((1, 2))
  order = np.argsort(extent, kind='stable')
  chosen = order[(np.array([0.55, 0.8, 0.97]) * len(order)).astype(int)]
  axes = upper.subplots(len(chosen), 7, squeeze=False)
  upper.suptitle("A field of blur carried to another photograph's scene by its map (dB to truth)")
  titles = (
    *('blurry: its map', 'wrong field: its map', 'sharp: to be blurred'),
    *('by the wrong field', 'by the map', "by the truth's map", 'truth'),
  )
  for cell, title in zip(axes[0], titles, strict=True):
    cell.set_title(title, fontsize=9)
  for row, number in zip(axes, chosen, strict=True):
    truth = data.truth.blurry[number]
    fields.show(row[0], data.seen[TRANSFER][number], f'moved {extent[number]:.1f} px, mean')
    fields.show(row[1], data.seen[WRONG][number])
    for cell, method in zip(row[2:6], (SHARP, WRONG, TRANSFER, ANSWER), strict=True):
      picture = results[method][number]
      fields.show(cell, picture, f'{metrics.psnr(picture, truth):.1f} dB')
    fields.show(row[6], truth)
  strips = blended.strips
  rows = {
    'true blur': strips['true'][list(SHOWN)],
    'maps mixed': strips[MIXED][list(SHOWN)],
    'same maps,\nother picture': strips[ELSEWHERE][list(SHOWN)],
    'true map': strips[TRUE][list(SHOWN)],
  }
  axes = middle.subplots(5, 7, squeeze=False)
  middle.suptitle('Mixed maps: weight of the blurry (below: the stronger) map')
  for row, (name, pictures) in zip(axes, rows.items(), strict=False):
    for cell in (row[0], row[6]):
      cell.set_axis_off()
    row[0].text(1, 0.5, name, ha='right', va='center', fontsize=10)
    for cell, picture, number in zip(row[1:6], pictures, SHOWN, strict=True):
      fields.show(cell, picture, f'{WEIGHTS[number]:.1f}')
  names = ['true: weaker', *(f'{WEIGHTS[number]:.1f}' for number in SHOWN), 'true: stronger']
  for cell, picture, name in zip(axes[4], strips['two'], names, strict=True):
    fields.show(cell, picture, name)
  _draw_curves(lower.subplots(1, 2), blended)
  fields.save(drawing, path)


def _draw_curves(axes: np.ndarray, blended: Blended) -> None:
  left, right = axes
  left.plot([0, 1], [0, 1], color='0.7', linestyle='--', label='ideal')
  for name, curves in blended.curves.items():
    left.plot(WEIGHTS, curves.mean(0), marker='o', markersize=3, label=name)
  low, high = np.percentile(blended.curves[MIXED], (25, 75), axis=0)
  left.fill_between(WEIGHTS, low, high, alpha=0.12, label=f'{MIXED}: half of the scenes')
  left.set(xlabel='weight w', ylabel='strength of the nearest true rendering', title='From sharp')
  left.legend(fontsize=8)
  means = blended.ends.mean(0)
  right.plot([0, 1], means, color='0.7', linestyle='--', label='ideal')
  right.plot(WEIGHTS, blended.extents.mean(0), marker='o', markersize=3, label='nearest rendering')
  low, high = np.percentile(blended.extents, (25, 75), axis=0)
  right.fill_between(WEIGHTS, low, high, alpha=0.12)
  right.set(xlabel='weight of the stronger', ylabel='mean extent, px', title='Between two blurs')
  right.legend(fontsize=8)


def _signed(difference: Mapping[str, Any] | None) -> str:
  """A difference and its interval, dB."""
  if not difference:
    return ''
  interval = fields.interval(difference)
  return f'{difference["mean"]:+z.2f}' + (f' ({interval})' if interval else '')


def tables(report: Mapping[str, Any]) -> str:
  """Markdown."""
  compared = ('whole', 'moving')
  head = ['net', 'method', *(f'{region}, dB' for region in REGIONS)]
  head += [f'transfer less this, {region}' for region in compared]
  rows = []
  for net, of in report['nets'].items():
    for method in METHODS:
      psnr = of['transfer']['psnr'][method]
      less = of['transfer']['transfer_less'].get(method, {})
      cells = ['-' if x is None else f'{x:z.2f}' for x in psnr.values()]
      rows.append([net, method, *cells, *(_signed(less.get(region)) for region in compared)])
  text = fields.markdown(head, rows)
  head = ['net', 'measured', *(f'w = {WEIGHTS[i]:.1f}' for i in SHOWN)]
  head += ['rho, mean of scenes', 'rho of the mean', 'never falls']
  rows = []
  for net, of in report['nets'].items():
    curves = dict(of['mixing']['strength'])
    between = of['mixing']['between']
    low, high = between['true_extents_px']
    curves[f'between two blurs, px ({low:z.2f} to {high:z.2f})'] = between['extent_px']
    curves['between two blurs, share of the way'] = between['position']
    for name, curve in curves.items():
      cells = [f'{curve["mean"][i]:z.2f}' for i in SHOWN]
      cells += [f'{curve[key]:z.2f}' for key in ('spearman_mean', 'spearman_of_mean')]
      rows.append([net, name, *cells, f'{curve["never_falls"]:.0%}'])
  return f'{text}\n\n{fields.markdown(head, rows)}'


def _verdict(difference: Mapping[str, Any]) -> str:
  """What a difference with its interval means."""
  low, high = difference['low'], difference['high']
  if low is None or low <= 0 <= high:
    return 'no better or worse than'
  return 'better than' if low > 0 else 'worse than'


def conclusion(report: Mapping[str, Any]) -> list[str]:
  """What the numbers say, a sentence or three per net."""
  sentences = []
  for net, of in report['nets'].items():
    psnr = {name: x['whole'] for name, x in of['transfer']['psnr'].items()}
    less = of['transfer']['transfer_less']
    wrong, like = (less[name]['whole'] for name in (WRONG, LIKE))
    curve = of['mixing']['strength'][MIXED]
    rises = np.all(np.diff(curve['mean']) > 0)
    sentences.append(
      f'{net}: the map of a field, taken from another picture, does {_verdict(wrong)} that of a'
      f' wrong field ({wrong["mean"]:+z.2f} dB), and {_verdict(like)} that of one of like extent'
      f' ({like["mean"]:+z.2f} dB); it is {psnr[TRANSFER] - psnr[SHARP]:+z.2f} dB from the picture'
      f' left sharp, and {psnr[TRANSFER] - psnr[ANSWER]:+z.2f} dB from its own map.'
      f' Mixed with the map of the sharp picture, a map makes blur of {curve["mean"][0]:z.2f}'
      f' (w = 0) to {curve["mean"][-1]:z.2f} (w = 1) times the true strength, which'
      f' {"rises" if rises else "does not rise"} with every step of w (rho'
      f' {curve["spearman_of_mean"]:z.2f}; mean over scenes {curve["spearman_mean"]:z.2f}).'
    )
  return sentences


def main(args: argparse.Namespace) -> None:
  """Trains what is missing, measures, writes."""
  folder = study.output(args)
  data, rows = draw_transfer(args), []
  nets = fields.nets(args)
  names = fields.fields(args, 'test', args.scenes).names
  report: dict[str, Any] = {
    'setting': study.setting(args),
    'fields': len(names),
    'transfers': len(data.items),
    'weights': WEIGHTS.tolist(),
    'nets': {},
  }
  blended, drawn = mixing(args, nets), {}
  first = next(iter(nets))
  report['mixed'] = {'scenes': len(blended[first].curves[MIXED]), 'pairs': len(blended[first].ends)}
  for name, net in nets.items():
    results = transfer(net, data)
    scored = {method: fields.psnrs(result, data.truth) for method, result in results.items()}
    drawn[name] = results
    report['nets'][name] = {
      'transfer': transfer_summary(scored, data.items),
      'mixing': blended[name].summary(),
    }
    for method, of in scored.items():
      for item, receiver, row in zip(data.items, data.receivers, of, strict=True):
        key = {'net': name, 'field': names[item], 'picture': names[receiver], 'method': method}
        rows.append(key | row)
  report['conclusion'] = conclusion(report)
  write_csv(folder / 'transfer.csv', rows)
  write_csv(folder / 'mixing.csv', rows_of(blended))
  write_json(folder / 'transfer.json', report)
  figure(data, drawn[first], blended[first], folder / 'transfer.png')
  print(tables(report), *report['conclusion'], sep='\n\n')
  print(f'wrote {folder}/transfer.json, transfer.csv, mixing.csv and transfer.png')


if __name__ == '__main__':
  flags = fields.parser(__doc__, 'blur_transfer', scenes=16)
  study.run(main, flags.parse_args())
