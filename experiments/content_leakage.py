"""Does the degradation map carry the picture itself, so that Gr merely copies it?

python experiments/content_leakage.py --quick    # or, on a GPU, without it

Held-out scenes under held-out fields of blur, all pictures crossed with all fields, so that every
picture has every blur and the other way round; without noise, which would be the same in all
pictures under one field. "Another picture" is always cut from another photograph. Three answers:

(a) Transfer gap: PSNR against the true blurry picture of Gr(x, M), M of the true picture itself,
    of another picture under the same blur, of the same picture under another blur, of another
    picture under another blur, of the same picture without blur. If M were the picture, another
    picture's would ruin the result; if it were the blur, another blur's, or none's.
(b) Probe: a small convolutional decoder is trained to rebuild y from M alone, on maps of training
    photographs' scenes, and scored on held-out ones: PSNR and correlation of the grey pictures (the
    encoder's instance norms take away brightness and contrast, which PSNR counts). Beside it: the
    mean training picture, and the picture reduced to the map's grid, enlarged again, and by the
    same decoder trained on it: a map that carries as many places of the picture and nothing more.
(c) Retrieval: is the map that lies nearest to a map one of the same blur on another picture, or one
    of another blur on the same picture? The gallery holds as many of either (chance: one half), by
    cosine and Euclidean distance of maps standardised by the training maps. In the whole gallery,
    with the maps that share neither, either has a rate of its own. And, the maps being crossed:
    shares of their variance that go with the picture, with the blur, and with both together (blur
    shows where a picture has edges).

Three nets, and each untrained as control (b and c): features of any convolutions say something
about their picture, so what counts is how far training moved the answers. For (c) also the blurry
pictures themselves in place of maps. Intervals are over pictures, and these come from three
photographs: between photographs results may vary more.

Writes leakage.json, leakage.csv (a line per net, picture and blur) and leakage.png into --output.
Nets are trained once; the probes, a minute or so each, again whenever the script runs.
"""

import argparse
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import fields
import leakage_probe
import numpy as np
import study
from matplotlib.figure import Figure
from scipy.spatial.distance import cdist

from degrep_jax.common.files import write_json
from degrep_jax.common.pixels import to_float
from degrep_jax.evaluation.bootstrap import paired_difference
from degrep_jax.evaluation.tables import write_csv
from degrep_jax.metrics import psnr

PIXELS = 'the pictures themselves'
GIVEN = {  # which map Gr gets
  'right': 'M of the true picture',
  'other_picture': 'of another picture, same blur',
  'other_blur': 'of the same picture, another blur',
  'other_both': 'of another picture, another blur',
  'sharp': 'of the same picture, unblurred',
}
LEFT = 'left_sharp'  # what Gr is compared with: nothing done
VISIBLE = 0.25  # px, mean extent over the scene: an eighth of it moves by 2 px
FAINT = 0.05  # a correlation, or a difference of two, that says nothing
LEAST_DB = 0.01  # a cost that a map Gr hardly reads may have as well
DISTANCES = ('cosine', 'euclidean')


def retrieval(maps: np.ndarray, photographs: np.ndarray, metric: str) -> dict[str, float]:
  """What the nearest map has in common with a map.

  Args:
    maps: (P, B, D), of P pictures under B blurs.
    photographs: (P,) what each picture was cut from; pictures of the same photograph are left out,
      since they may show the same.
    metric: of `scipy.spatial.distance.cdist`.

  Returns:
    'blur': share of the maps that have a nearer one of the same blur on another picture than of
    another blur on the same picture, and 'blur_chance' of it. 'same_blur', 'same_picture': shares
    whose nearest in the whole gallery (with maps that share neither) is such a one, with their
    chances. Of maps equally near, the one that shares the picture, then neither, counts.
  """
  count, blurs, _ = maps.shape
  flat = maps.reshape(count * blurs, -1)
  distances = cdist(flat, flat, metric).reshape(count, blurs, count, blurs)
  wins, first, chances = [], [], []
  for p in range(count):
    others = photographs != photographs[p]
    for b in range(blurs):
      own = distances[p, b]
      another_blur = np.arange(blurs) != b
      groups = own[p, another_blur], own[np.ix_(others, another_blur)].ravel(), own[others, b]
      nearest = [group.min() for group in groups]
      wins.append(nearest[2] < nearest[0])
      first.append(int(np.argmin(nearest)))
      chances.append([len(group) for group in groups])
  first_counts, sizes = np.bincount(first, minlength=3) / len(first), np.array(chances).mean(0)
  return {
    'blur': float(np.mean(wins)),
    'blur_chance': float(sizes[2] / (sizes[0] + sizes[2])),
    'same_picture': float(first_counts[0]),
    'same_picture_chance': float(sizes[0] / sizes.sum()),
    'same_blur': float(first_counts[2]),
    'same_blur_chance': float(sizes[2] / sizes.sum()),
  }


def variance_shares(maps: np.ndarray) -> dict[str, float]:
  """Shares of the variance of maps (P, B, D), P pictures under B blurs, that the picture alone
  explains, that the blur alone does, and that takes both (their interaction); 0 where all are the
  same."""
  centred = maps - maps.mean((0, 1), dtype=np.float64)
  picture, blur = centred.mean(1, keepdims=True), centred.mean(0, keepdims=True)
  parts = {'picture': picture, 'blur': blur, 'both': centred - picture - blur}
  total = np.mean(centred**2)
  return {name: float(np.mean(part**2) / total) if total else 0.0 for name, part in parts.items()}


class Crossed(NamedTuple):
  """Every picture under every blur.

  Attributes:
    sharp: (P, S, S, 3).
    blurry: (P, B, S, S, 3).
    photographs: (P,) numbers of what the pictures were cut from.
    others: (P,) numbers of pictures of another photograph.
    names: of the pictures.
  """

  sharp: np.ndarray
  blurry: np.ndarray
  photographs: np.ndarray
  others: np.ndarray
  names: tuple[str, ...]


def cross(args: argparse.Namespace) -> Crossed:
  """As many blurs as make a balanced gallery: one more than there are pictures of other
  photographs. They are the first that can be seen, by their mean extents.

  Raises:
    UserError: there is one photograph only.
  """
  pictures = fields.fields(args, 'test', args.scenes, noise=False)
  photographs = fields.photographs(pictures)
  others = fields.of_others(photographs, args.scenes)
  sharp = fields.all_scenes(pictures).sharp
  source = fields.fields(args, 'test', 2 * args.scenes, noise=False)
  count = int((photographs != 0).sum()) + 1
  extent = fields.all_scenes(source).extent.mean((1, 2))
  # Stable: in their order, those that cannot be seen last.
  items = np.argsort(extent < VISIBLE, kind='stable')[:count]
  blurry = [fields.put_on(source, items, [picture] * count).blurry for picture in sharp]
  return Crossed(sharp, np.stack(blurry), photographs, others, pictures.names)


def given_maps(
  maps: np.ndarray, unblurred: np.ndarray, others: np.ndarray
) -> dict[str, np.ndarray]:
  """Maps (P, B, ...) for Gr as `GIVEN` names them: each picture's own, that of the one of `others`,
  (P,) numbers, of the next blur, of both, or that of the picture `unblurred`, (P, ...)."""
  other = maps[others]
  return {
    'right': maps,
    'other_picture': other,
    'other_blur': np.roll(maps, -1, 1),
    'other_both': np.roll(other, -1, 1),
    'sharp': np.broadcast_to(unblurred[:, None], maps.shape),
  }


def transfer_gap(net: study.Trained, maps: np.ndarray, data: Crossed) -> dict[str, Any]:
  """PSNR (P, B) of Gr by the maps of `GIVEN`, and of the sharp picture left as it is. Some
  blurs change nothing: `fields.whole_psnr` keeps their PSNR finite."""
  pictures, blurs = data.blurry.shape[:2]
  sharp = data.sharp.repeat(blurs, 0)
  results = {LEFT: sharp}
  for name, given in given_maps(maps, net.maps(data.sharp), data.others).items():
    results[name] = net.reblur(sharp, given.reshape(len(sharp), *maps.shape[2:]))
  truth = data.blurry.reshape(sharp.shape)
  return {
    name: np.reshape(
      [fields.whole_psnr(a, b) for a, b in zip(x, truth, strict=True)], (pictures, blurs)
    )
    for name, x in results.items()
  }


def gap_summary(scores: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Means, and what each wrong map costs, with 95 % intervals over pictures. Also how much better
  than another picture's map, which knows the blur, the unblurred picture's own is, which knows what
  is shown."""
  by_picture = {name: x.mean(1).tolist() for name, x in scores.items()}

  def less(one: str, other: str) -> dict[str, Any]:
    difference = paired_difference(by_picture[one], by_picture[other])
    assert difference is not None  # every picture has all scores
    return difference._asdict()

  return {
    'psnr': {name: float(np.mean(x)) for name, x in by_picture.items()},
    'right_less': {name: less('right', name) for name in by_picture if name != 'right'},
    'content_less_blur': less('sharp', 'other_picture'),
  }


def figure(
  data: Crossed,
  decoded: Mapping[str, np.ndarray],
  report: Mapping[str, Any],
  path: pathlib.Path,
) -> None:
  """What the decoders make of maps, what these vary with, and what Gr makes of wrong ones."""
  drawing = Figure(figsize=(12, 8.8), dpi=70, layout='constrained')
  upper, lower = drawing.subfigures(2, 1, height_ratios=(2.1, 1))
  pictures, blurs = data.blurry.shape[:2]
  chosen = np.linspace(0, pictures - 1, 4).astype(int)
  columns = {'blurry y': data.blurry} | {
    name: x.reshape(data.blurry.shape) for name, x in decoded.items()
  }
  axes = upper.subplots(len(chosen), len(columns), squeeze=False)
  upper.suptitle('y rebuilt from its map alone by the probe (PSNR, dB)')
  for row, number in zip(axes, chosen, strict=True):
    blur = int(number) % blurs
    for cell, (name, x) in zip(row, columns.items(), strict=True):
      db = '' if name == 'blurry y' else f'{psnr(x[number, blur], data.blurry[number, blur]):.1f}'
      fields.show(cell, x[number, blur], db)
  for cell, name in zip(axes[0], columns, strict=True):
    cell.set_title(name.replace(', ', ',\n'), fontsize=9)
  left, right = lower.subplots(1, 2)
  names, start = list(report['nets']), np.zeros(len(report['nets']))
  for part, label in (('picture', 'picture'), ('both', 'both together'), ('blur', 'blur')):
    shares = np.array([report['nets'][name]['variance'][part] for name in names])
    left.barh(names, shares, left=start, label=label)
    start += shares
  left.set(xlim=(0, 1), title='Variance of maps that goes with')
  left.invert_yaxis()
  left.legend(fontsize=8, ncols=3, loc='upper center', bbox_to_anchor=(0.5, -0.1))
  trained = [name for name in names if report['nets'][name].get('transfer')]
  words = ('right map', "other picture's", "other blur's", 'both wrong', "unblurred picture's")
  for label, word, marker in zip((*GIVEN, LEFT), (*words, 'left sharp'), 'os^vDx', strict=True):
    values = [report['nets'][name]['transfer']['psnr'][label] for name in trained]
    right.plot(values, trained, marker, label=word)
  right.set(title='Gr by the maps of others, dB', ylim=(len(trained) - 0.5, -1.5))
  right.legend(fontsize=8, ncols=3, loc='upper center')
  fields.save(drawing, path)


def tables(report: Mapping[str, Any]) -> str:
  """Markdown: transfer, probe, retrieval."""
  parts, nets = [], report['nets']
  rows = []
  for name, of in nets.items():
    if gap := of.get('transfer'):
      for key, words in (GIVEN | {LEFT: 'none: the picture left sharp'}).items():
        less = gap['right_less'].get(key)
        cells = ['', ''] if less is None else [f'{less["mean"]:+z.2f}', fields.interval(less)]
        rows.append([name, words, f'{gap["psnr"][key]:z.2f}', *cells])
  head = ['Gr(x, M)', 'M', 'PSNR, dB', 'right map less this, dB', '95 % interval']
  parts.append(fields.markdown(head, rows))
  parts.append(
    f'{report["pictures"]} pictures under {report["blurs"]} blurs. Intervals are over pictures,'
    f' which come from {report["photographs"]} photographs.'
  )
  head = ['y from M alone', 'map', 'probe, dB', 'mean picture', 'thumbnail of the grid']
  head += ['decoded', 'probe: correlation', 'thumbnail', 'decoded', 'probe on training maps, dB']
  rows = []
  for name, of in nets.items():
    if of.get('probe'):
      three = [of['probe'][key] for key in ('decoder', 'thumbnail', 'decoded_thumbnail')]
      psnrs, correlations = ([f'{x[key]:z.2f}' for x in three] for key in ('psnr', 'correlation'))
      psnrs.insert(1, f'{of["probe"]["mean"]["psnr"]:z.2f}')
      on_training = f'{of["probe"]["decoder_on_training"]["psnr"]:z.2f}'
      shape = 'x'.join(map(str, of['shape']))
      rows.append([name, shape, *psnrs, *correlations, on_training])
  parts.append(fields.markdown(head, rows))
  head = ['variance of maps', *(f'by {name}' for name in ('picture', 'blur', 'both together'))]
  rows = [[name, *(f'{x:.1%}' for x in of['variance'].values())] for name, of in nets.items()]
  parts.append(fields.markdown(head, rows))
  head = ['nearest map', 'distance', 'same blur rather than same picture', 'chance']
  head += ['same blur, whole gallery', 'chance', 'same picture, whole gallery', 'chance']
  rows = [
    [name, metric, *(f'{x:.1%}' for x in _ordered(of['retrieval'][metric]))]
    for name, of in nets.items()
    for metric in DISTANCES
  ]
  parts.append(fields.markdown(head, rows))
  return '\n\n'.join(parts)


def _ordered(rates: Mapping[str, float]) -> list[float]:
  keys = ('blur', 'same_blur', 'same_picture')
  return [rates[key + end] for key in keys for end in ('', '_chance')]


def conclusion(report: Mapping[str, Any]) -> list[str]:
  """The answer per net, in words."""
  sentences = []
  for name, of in report['nets'].items():
    if not of.get('transfer'):
      continue
    control = report['nets'][f'{name}, {fields.UNTRAINED}']
    cost = {key: f'{less["mean"]:z.2f} dB' for key, less in of['transfer']['right_less'].items()}
    shares = (
      f'{of["variance"][key]:.0%} (untrained {control["variance"][key]:.0%}) goes with {words}'
      for key, words in (('picture', 'the picture alone'), ('blur', 'the blur alone'))
    )
    probe, rates = of['probe'], of['retrieval']['cosine']
    sentences.append(
      f'{name}: (a) Gr loses {cost["other_picture"]} by the map of another picture under the same'
      f' blur, {cost["other_blur"]} by that of the same picture under another blur and'
      f' {cost["sharp"]} by that of the same picture unblurred; the right map is {cost[LEFT]} above'
      f' leaving the picture sharp. (b) What the probe rebuilds has a correlation of'
      f' {probe["decoder"]["correlation"]:z.2f} with y, from the untrained map'
      f' {control["probe"]["decoder"]["correlation"]:z.2f}, from the thumbnail'
      f' {probe["decoded_thumbnail"]["correlation"]:z.2f}. (c) The nearest map shares the blur'
      f' rather than the picture in {rates["blur"]:.0%} (chance {rates["blur_chance"]:.0%}); of the'
      f' variance of maps {" and ".join(shares)}. {answer(of, control)}'
    )
  return sentences


def answer(of: Mapping[str, Any], control: Mapping[str, Any]) -> str:
  """Whether M shows the picture, beside the untrained map, and which of picture and blur Gr uses; a
  cost counts where its interval over pictures lies above `LEAST_DB`."""
  correlation, untrained = (x['probe']['decoder']['correlation'] for x in (of, control))
  shown = 'something' if correlation > FAINT else 'hardly anything'
  more = correlation - untrained
  beside = 'as much as' if abs(more) < FAINT else 'more than' if more > 0 else 'less than'
  less, both = of['transfer']['right_less'], of['transfer']['content_less_blur']
  picture, blur = ((less[key]['low'] or 0) > LEAST_DB for key in ('other_picture', 'sharp'))
  if picture and blur:
    share = 'the picture more' if both['low'] > 0 else 'the blur more' if both['high'] < 0 else ''
    use = f'both the picture and the blur in it, {share or "neither certainly more"}'
  elif picture or blur:
    one, other = ('picture', 'blur') if picture else ('blur', 'picture')
    use = f'the {one} in it, not certainly the {other}'
  else:
    use = 'nothing in it that is certain'
  return f'So M shows {shown} of the picture, {beside} an untrained map, and Gr uses {use}.'


def main(args: argparse.Namespace) -> None:
  """Trains what is missing, measures, writes."""
  folder = study.output(args)
  data = cross(args)
  training = fields.all_scenes(fields.fields(args, 'train', args.probe_scenes)).blurry
  truth = data.blurry.reshape(-1, *data.blurry.shape[2:])
  probe = leakage_probe.Probe(truth, training, args.probe_steps, args.seed)
  trained = fields.nets(args)
  nets = trained | {f'{name}, {fields.UNTRAINED}': fields.untrained(args, name) for name in trained}
  report: dict[str, Any] = {
    'setting': study.setting(args),
    'pictures': len(data.sharp),
    'blurs': data.blurry.shape[1],
    'photographs': len(set(data.photographs.tolist())),
    'nets': {},
  }
  rows: list[dict[str, Any]] = []
  baselines: dict[tuple[int, int], Any] = {}
  decoded = {}
  for name, net in nets.items():
    maps, known = net.maps(truth), net.maps(training)
    grid = maps.shape[1:3] if np.ptp(maps, (1, 2)).any() else (1, 1)  # a code: one place
    if grid not in baselines:
      baselines[grid], thumbnail = probe.baselines(grid)
      decoded[f'thumbnail {grid[0]}x{grid[1]}, decoded'] = thumbnail
    scores, decoded[name] = probe(maps, known, name)
    crossed = leakage_probe.Scale.of(known)(maps).reshape(*data.blurry.shape[:2], -1)
    of = {
      'shape': [*grid, maps.shape[-1]],
      'probe': scores | baselines[grid],
      'retrieval': {m: retrieval(crossed, data.photographs, m) for m in DISTANCES},
      'variance': variance_shares(crossed),
    }
    if name in trained:
      gap = transfer_gap(net, maps.reshape(*data.blurry.shape[:2], *maps.shape[1:]), data)
      of = {'transfer': gap_summary(gap)} | of
      for p, picture in enumerate(data.names):
        for b in range(data.blurry.shape[1]):
          row = {key: float(x[p, b]) for key, x in gap.items()}
          rows.append({'net': name, 'picture': picture, 'blur': b} | row)
    report['nets'][name] = of
  pixels = to_float(data.blurry).reshape(*data.blurry.shape[:2], -1)
  pixels = pixels - pixels.mean((0, 1))
  report['nets'][PIXELS] = {
    'retrieval': {m: retrieval(pixels, data.photographs, m) for m in DISTANCES},
    'variance': variance_shares(pixels),
  }
  report['conclusion'] = conclusion(report)
  write_csv(folder / 'leakage.csv', rows)
  write_json(folder / 'leakage.json', report)
  figure(data, decoded, report, folder / 'leakage.png')
  print(tables(report), *report['conclusion'], sep='\n\n')
  print(f'wrote {folder}/leakage.json, leakage.csv and leakage.png')


if __name__ == '__main__':
  flags = fields.parser(__doc__, 'content_leakage', scenes=8, probe_scenes=512)
  flags.add_argument('--probe_steps', type=int, default=800, help='of a probe, of 32 scenes')
  study.run(main, flags.parse_args())
