"""What the networks that ship are worth: the figures of docs/models.md.

python experiments/model_scores.py --pairs GoPro=GOPRO_Large --pairs other=PAIRS --photos=PHOTOS \
  --tune=GOPRO_Large
python experiments/model_scores.py --network ours=runs/small_deblur --pairs GoPro=GOPRO_Large

Whole pictures, feathered tiles, 8 bits; all networks with the settings of `degrep deblur` for those
that ship (`shipped.SETTINGS`):

- pairs: PSNR and 3-D SSIM of the blurry input, of unsharp masking, of deconvolution with a Gaussian
  (Richardson-Lucy or Wiener, whichever does better), and of every network; gains over the input
  with paired 95 % intervals; the worst picture. The classical methods have their parameters from
  the training pairs of `--tune`, by mean PSNR over four of them.
- photos: PSNR between sharp photographs that were held back from training and what becomes of them.
- flat: the largest change of pictures of one colour, in all modes, in levels of 255.
- time: of those that ship, seconds of the second picture of its size and peak memory of the
  process, by both engines. Nothing else should run on the machine then.

`--part` chooses some of these. Every cell is a file in cells/ of the output, and not measured again
while weights, settings and pictures are the same (remove them where the code that restores has
changed); scores.json has all of them. `--ship` also writes
degrep_jax/shipped/scores.json, and the table into docs/models.md.
"""

import argparse
import functools
import hashlib
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('OPENCV_LOG_LEVEL', 'ERROR')

import classical
import model_tables
import numpy as np
import study

from degrep_jax import Restorer, checkpoints, metrics, shipped
from degrep_jax.common.console import listed
from degrep_jax.common.errors import UserError
from degrep_jax.common.files import write_json
from degrep_jax.data.pairs import Source
from degrep_jax.data.source import open_pairs
from degrep_jax.data.synthetic.photographs import read_photograph, split_files
from degrep_jax.evaluation import bootstrap, scoring
from degrep_jax.inference.restorer import MODES

ROOT = pathlib.Path(__file__).parents[1]
SIZES = ('1280x720', '4000x3000')
# Of the best that ships, in rows of their own.
OTHERS: tuple[dict[str, Any], ...] = (
  {'strength': 1.0, 'scales': 0},
  {'ensemble': 2, 'strength': 1.0, 'scales': 0},
  {'strength': 1.0},
  {'ensemble': 4},
  {'scales': 4_000_000},
)
COLOURS = ((0, 0, 0), (64, 64, 64), (128, 128, 128), (255, 255, 255), (200, 40, 40), (30, 90, 160))
BEGIN, END = '<!-- model_scores.py -->', '<!-- end -->'  # of the tables in the page
HELD_OUT = 0.1  # share of the photographs, as in configs/default.py


def kept(file: pathlib.Path, of: Any, measure: Callable[[], Any]) -> Any:
  """What a file holds of the same subject; else what is measured now, and is in it from then on."""
  of = json.loads(json.dumps(of))
  if file.exists() and (there := json.loads(file.read_text()))['of'] == of:
    return there['found']
  write_json(file, {'of': of, 'found': measure()})
  return json.loads(file.read_text())['found']


def named(flag: str, text: str) -> tuple[str, str]:
  """(name, place) of NAME=PLACE, given to a flag; raises UserError where it is something else."""
  name, _, place = text.partition('=')
  if not name or not place:
    raise UserError(f'--{flag} {text} is not understood: write NAME=PLACE.')
  return name, place


def files_of(folder: str | os.PathLike) -> str:
  """What tells a folder's files, or those beside a list, from others: a hash of their paths, sizes
  and times."""
  digest, root = hashlib.sha256(os.path.abspath(folder).encode()), pathlib.Path(folder)
  root = root.parent if root.is_file() else root
  for path in sorted(path for path in root.rglob('*') if path.is_file()):
    about = path.stat()
    digest.update(f'{path} {about.st_size} {about.st_mtime_ns}'.encode())
  return digest.hexdigest()


def networks(args: argparse.Namespace) -> dict[str, pathlib.Path]:
  """Label to the file or workdir of every network."""
  places = dict(named('network', text) for text in args.network)
  if taken := places.keys() & set(shipped.names()):
    raise UserError(f'--network: {", ".join(taken)} ships under that name; choose another.')
  return {name: shipped.path(name) for name in shipped.names()} | {
    label: pathlib.Path(place) for label, place in places.items()
  }


def opened(place: pathlib.Path, **options: Any) -> Restorer:
  """The restorer of a network, with the settings of those that ship unless others are given."""
  return Restorer.from_checkpoint(place, **(shipped.SETTINGS | options))


def identity(place: pathlib.Path, **options: Any) -> Any:
  """What tells weights, and how pictures are restored, from others."""
  by = shipped.SETTINGS | options
  if place.is_file():
    return [shipped.sha256(place), by]
  return [str(place.absolute()), checkpoints.saved_steps(place)[-1], by]


def _told(options: dict[str, Any]) -> str:
  """For example: ensemble 2, scales off."""
  told = {name: f'{value:,}'.removesuffix('.0') for name, value in options.items()}
  if options.get('scales') == 0:
    told['scales'] = 'off'
  return ', '.join(f'{name} {value}' for name, value in told.items())


def rows_of(cells: pathlib.Path, name: str, source: Source, method: Any, of: Any) -> list[dict]:
  """PSNR (infinite if identical) and SSIM (None of tiny pictures) of every pair by a method."""

  def measure() -> list[dict[str, float]]:
    scores = scoring.score(source, [method], scoring.Protocol())
    columns = {metric: scores.column(method.label, metric) for metric in ('psnr', 'ssim_3d')}
    return [dict(zip(columns, x, strict=True)) for x in zip(*columns.values(), strict=True)]

  rows = kept(cells / f'{name}_{method.label}.json', [of, list(source.names)], measure)
  # JSON has no infinity: it is the text 'inf'.
  return [row | {'psnr': float(row['psnr'])} for row in rows]


def summary(rows: list[dict], blurry: list[dict], names: tuple[str, ...]) -> dict[str, Any]:
  """Means, the gain in PSNR with its interval, and the picture that gains least. Pictures that are
  identical to the sharp ones are left out of PSNR's.

  Raises:
    UserError: all are.
  """
  both = zip((row['psnr'] for row in rows), (row['psnr'] for row in blurry), names, strict=True)
  finite = [
    (ours, before, name) for ours, before, name in both if np.isfinite([ours, before]).all()
  ]
  if not finite:
    raise UserError(f'{listed(names)}: all pictures are identical to the sharp ones.')
  psnr, before, names = zip(*finite, strict=True)
  gains = np.subtract(psnr, before)
  worst = int(np.argmin(gains))
  ssim = [row['ssim_3d'] for row in rows if row['ssim_3d'] is not None]
  return {
    'psnr': float(np.mean(psnr)),
    'ssim_3d': float(np.mean(ssim)) if ssim else None,
    'gain': bootstrap.paired_difference(psnr, before)._asdict(),
    'worst': {'name': names[worst], 'gain': float(gains[worst])},
  }


def score_pairs(args: argparse.Namespace, cells: pathlib.Path) -> dict[str, Any]:
  """Set to {method: summary}, and the differences between networks."""
  found: dict[str, Any] = {}
  methods: list[tuple[Any, Any]] = [(scoring.BlurryInput(), 'input')]
  if args.tune:
    training = open_pairs(args.tune, split='train')
    for label, (_, grid) in classical.METHODS.items():
      find = functools.partial(classical.tuned, label, training)
      of = [files_of(args.tune), list(training.names), grid]
      setting = kept(cells / f'tuned_{label}.json', of, find)
      methods.append((classical.method(label, setting), setting))
  methods += [
    (scoring.Checkpoint(label, opened(place)), identity(place))
    for label, place in networks(args).items()
  ]
  if best := shipped.names()[:1]:
    place = shipped.path(best[0])
    methods += [
      (
        scoring.Checkpoint(f'{best[0]}, {_told(options)}', opened(place, **options)),
        identity(place, **options),
      )
      for options in OTHERS
    ]
  for text in args.pairs:
    name, folder = named('pairs', text)
    source, files = open_pairs(folder), files_of(folder)
    rows = {
      method.label: rows_of(cells, name, source, method, [of, files]) for method, of in methods
    }
    found[name] = {
      label: summary(of, rows[scoring.BLURRY], source.names) for label, of in rows.items()
    } | {'pictures': len(source.names), 'differences': {}}
    for one, other in itertools.combinations(networks(args), 2):
      columns = [[row['psnr'] for row in rows[label]] for label in (one, other)]
      difference = bootstrap.paired_difference(*columns)._asdict()
      found[name]['differences'][f'{one} less {other}'] = difference
  return found


def score_photos(args: argparse.Namespace, cells: pathlib.Path) -> dict[str, Any]:
  """Network to the PSNR between held-back photographs and what it makes of them."""
  files = split_files(args.photos, 'test', HELD_OUT, '')

  def measure(place: pathlib.Path) -> dict[str, Any]:
    restorer = opened(place)
    pictures = [read_photograph(path) for _, path in files]
    restored = restorer.deblur(iter(pictures))
    psnr = [metrics.psnr(a, b) for a, b in zip(restored, pictures, strict=True)]
    worst = int(np.argmin(psnr))
    return {'psnr': float(np.mean(psnr)), 'least': psnr[worst], 'worst': files[worst][0]}

  names, there = [name for name, _ in files], files_of(args.photos)
  return {
    label: kept(
      cells / f'photos_{label}.json',
      [identity(place), names, there],
      functools.partial(measure, place),
    )
    | {'photographs': len(names)}
    for label, place in networks(args).items()
  }


def score_flat(args: argparse.Namespace, cells: pathlib.Path) -> dict[str, Any]:
  """Network to {mode: largest change of a flat picture}."""
  pictures = [np.full((300, 400, 3), colour, np.uint8) for colour in COLOURS]

  def measure(place: pathlib.Path) -> dict[str, int]:
    changes = {}
    for mode in MODES:
      restored = opened(place, mode=mode).deblur(iter(pictures))
      both = zip(restored, pictures, strict=True)
      changes[mode] = max(int(np.abs(a.astype(int) - b).max()) for a, b in both)
    return changes

  return {
    label: kept(
      cells / f'flat_{label}.json',
      [identity(place), COLOURS],
      functools.partial(measure, place),
    )
    for label, place in networks(args).items()
  }


def score_time(args: argparse.Namespace, cells: pathlib.Path) -> dict[str, Any]:
  """Network to {size and engine: seconds of the second picture, peak memory in MiB}."""

  def measure(place: pathlib.Path, size: str, run: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
      flags = [f'--{name}={value}' for name, value in shipped.SETTINGS.items()]
      flags += [f'--workdir={place}', f'--size={size}']
      flags += [f'--runs={run}', f'--child={folder}/out.npy']
      script = ROOT / 'experiments' / 'restore_benchmark.py'
      command = [sys.executable, str(script), *flags]
      environment = os.environ | {'PYTHONPATH': str(ROOT)}
      done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    _, _, second, peak, _ = json.loads(done.stdout.splitlines()[-1])
    return {'seconds': second, 'peak_mib': peak}

  return {
    label: {
      f'{size}, {run}': kept(
        cells / f'time_{label}_{size}_{run}.json',
        [identity(place), os.cpu_count()],
        functools.partial(measure, place, size, run),
      )
      for size in SIZES
      for run in ('feathered', 'feathered by ONNX')
    }
    for label, place in networks(args).items()
    if label in shipped.names()
  }


def ship(found: dict[str, Any], text: str) -> None:
  """Writes what `degrep info` tells, and the tables of the documentation."""
  scores = {}
  for name in shipped.names():
    sets = {
      key: {'pictures': of['pictures'], 'blurry': of[scoring.BLURRY]['psnr']}
      | {'psnr': of[name]['psnr'], 'gain': of[name]['gain']}
      for key, of in found.get('pairs', {}).items()
    }
    weights = shipped.sha256(shipped.path(name))
    scores[name] = {'sha256': weights, 'settings': shipped.SETTINGS, 'sets': sets}
  write_json(shipped.FOLDER / shipped.SCORES, scores)
  page = ROOT / 'docs' / 'models.md'
  before, _, rest = page.read_text().partition(BEGIN)
  _, _, after = rest.partition(END)
  page.write_text(f'{before}{BEGIN}\n\n{text}\n\n{END}{after}')


def main(args: argparse.Namespace) -> None:
  """Measures what is missing, prints, writes."""
  networks(args)  # refuses before it measures
  for text in args.pairs:
    named('pairs', text)
  given = {'pairs': args.pairs, 'photos': args.photos}
  parts = [part for part in args.part if given.get(part, True)]
  if args.ship and not (args.tune and set(parts) == set(PARTS)):
    raise UserError('--ship renews all that is told: name --pairs, --photos and --tune, no --part.')
  found = {part: PARTS[part](args, args.output / 'cells') for part in parts}
  write_json(args.output / 'scores.json', found | {'versions': scoring.versions()})
  text = model_tables.markdown(found)
  print(text)
  if args.ship:
    ship(found, text)


PARTS = {'pairs': score_pairs, 'photos': score_photos, 'flat': score_flat, 'time': score_time}

if __name__ == '__main__':
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--pairs', action='append', default=[], metavar='NAME=FOLDER')
  parser.add_argument('--network', action='append', default=[], metavar='NAME=WORKDIR_OR_FILE')
  parser.add_argument('--photos', type=pathlib.Path, metavar='FOLDER')
  parser.add_argument('--tune', type=pathlib.Path, metavar='FOLDER', help='pairs with train/')
  parser.add_argument('--part', nargs='+', choices=PARTS, default=[*PARTS])
  parser.add_argument('--ship', action='store_true', help='renew what the package and docs tell')
  parser.add_argument('--output', type=pathlib.Path, default='runs/model_scores')
  study.run(main, parser.parse_args())
