"""Times how fast training pictures are made: crops of 256 px in batches of 16.

make bench-input, or python experiments/benchmark_input.py [--root=GOPRO_Large]

Folder and prepared data go through the pipeline that training reads (`train_batches`); "plain" is
what one would write by hand: Pillow, NumPy and a pool of threads on whole pictures. Nothing that
was decoded is kept, as with a dataset that does not fit in memory. The sources take turns for some
rounds, so that other work on the machine slows all of them alike; a rate is the median of the
rounds. Core time is what all threads of the process used for a pair.

Without --root, pairs of 1280x720 are made of the photographs in scikit-image's wheel.
"""

import argparse
import contextlib
import itertools
import os
import pathlib
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

# TensorFlow tells of itself when it is imported.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from degrep_jax.common import console, pixels
from degrep_jax.data import pipeline
from degrep_jax.data.builders import sub_pictures
from degrep_jax.data.builders.read import PreparedPairs
from degrep_jax.data.builders.write import prepare
from degrep_jax.data.pairs import FolderPairs, Source, random_window
from degrep_jax.data.pipeline import train_batches
from degrep_jax.data.released.layouts import FULL, SUB_PICTURES
from degrep_jax.data.synthetic.pairs import PHOTOGRAPHS, Blur, blur_photograph, photograph

CROP, BATCH = 256, 16
WARM_UP = 2  # batches before the clock starts
HEIGHT, WIDTH = 720, 1280
BLUR = Blur(shake=14, rotation=1, object_motion=16, sub_frames=9, noise=1)
PLAIN, SUB = 'plain loader, full frames', 'TFDS, sub-pictures'


def make_pairs(root: pathlib.Path, files: Sequence[str]) -> None:
  """Writes pairs in GoPro's layout: photographs continued by their mirror images, and blurred."""
  for number, file in enumerate(console.track(files, 'making pairs', len(files))):
    photo, rng = photograph(file), np.random.default_rng(number)
    margins = [
      (0, max(side - own, 0)) for side, own in zip((HEIGHT, WIDTH), photo.shape, strict=False)
    ]
    scene = np.pad(photo, [*margins, (0, 0)], mode='symmetric')[:HEIGHT, :WIDTH]
    example = blur_photograph(scene, BLUR, rng)
    for kind, picture in (('blur', example.blurry), ('sharp', example.sharp)):
      path = root / 'train' / 'GOPR0000_00_00' / kind / f'{number + 1:06}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(picture).save(path)


def plain_batches(root: pathlib.Path):
  """Yields batches as a user would make them, without end."""
  files = sorted(root.glob('train/*/blur/*.png'))

  def load(seed):
    rng = np.random.default_rng(seed)
    blur = files[rng.integers(len(files))]
    pair = [Image.open(path) for path in (blur, blur.parents[1] / 'sharp' / blur.name)]
    window = random_window(pair[0].size[::-1], CROP, rng, blur.name)
    crops = [np.asarray(picture)[window] for picture in pair]
    turn = pipeline.draw_turn(rng)
    return [pixels.to_float(turn.of(crop)) for crop in crops]

  with ThreadPoolExecutor(os.cpu_count()) as pool:
    numbers, waiting = itertools.count(), []
    while True:
      while len(waiting) < 3 * BATCH:  # as far ahead as the pipeline is
        waiting.append(pool.submit(load, next(numbers)))
      batch = [future.result() for future in waiting[:BATCH]]
      del waiting[:BATCH]
      yield dict(zip(('blurry', 'sharp'), map(np.stack, zip(*batch, strict=True)), strict=True))


def measure(batches, count: int) -> tuple[float, float]:
  """Pairs per second and core milliseconds per pair of `count` batches."""
  with contextlib.closing(batches):
    for _ in range(WARM_UP):
      next(batches)
    start, used = time.perf_counter(), time.process_time()
    for _ in range(count):
      assert next(batches)['sharp'].shape == (BATCH, CROP, CROP, 3)
    seconds, used = time.perf_counter() - start, time.process_time() - used
  return count * BATCH / seconds, 1e3 * used / (count * BATCH)


def steps(source: PreparedPairs, count: int) -> dict[str, float]:
  """Core milliseconds per sub-picture pair of the steps between the file and the batch."""
  spent = dict.fromkeys(('read', 'decode', 'augment, to float'), 0.0)
  rng = np.random.default_rng(0)
  for item in rng.integers(len(source), size=count):
    clock = [time.process_time()]
    example = source.record(int(item))
    clock.append(time.process_time())
    window = random_window((512, 512), CROP, rng, '')
    crops = [sub_pictures.crop(example[kind], window) for kind in ('blurry', 'sharp')]
    clock.append(time.process_time())
    turn = pipeline.draw_turn(rng)
    _ = [pixels.to_float(turn.of(crop)) for crop in crops]
    clock.append(time.process_time())
    for part, (before, after) in zip(spent, itertools.pairwise(clock), strict=True):
      spent[part] += 1e3 * (after - before) / count
  return spent


def report(figures, spent: dict[str, float], pairs: int) -> None:
  """Prints rates beside the plain loader's, and where a sub-picture's time goes."""
  table = Table('source', 'pairs/s', 'times plain', 'times plain, each round', 'core ms per pair')
  for name, measured in figures.items():
    rates, used = zip(*measured, strict=True)
    ratios = [rate / plain for rate, (plain, _) in zip(rates, figures[PLAIN], strict=True)]
    table.add_row(
      name,
      f'{statistics.median(rates):.1f}',
      f'{statistics.median(ratios):.2f}',
      ' '.join(f'{ratio:.1f}' for ratio in ratios),
      f'{statistics.median(used):.1f}',
    )
  console = Console(width=120)
  console.print(f'{pairs} pairs, {os.cpu_count()} cores; medians of {len(rates)} rounds')
  console.print(table)
  whole = statistics.median(used for _, used in figures[SUB])
  spent['batch and hand over'] = whole - sum(spent.values())
  console.print(
    'A sub-picture pair, core ms: '
    + ', '.join(f'{part} {used:.1f}' for part, used in spent.items())
  )


def open_sources(root: pathlib.Path, folder: pathlib.Path) -> dict[str, tuple[Source, int]]:
  """{name: (source, its batches for one of full frames)} of a tree in GoPro's layout, which is
  prepared into a folder first."""
  prepare('gopro', root, folder)
  limits = {'min_size': CROP, 'cache_bytes': 0}
  return {
    'folder, full frames': (FolderPairs(root, 'train', **limits), 1),
    'TFDS, full frames': (PreparedPairs(folder, 'gopro', 'train', FULL, **limits), 1),
    SUB: (PreparedPairs(folder, 'gopro', 'train', SUB_PICTURES, **limits), 6),
  }


def main() -> None:
  """Prints the table."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--root', type=pathlib.Path, help="a tree in GoPro's layout")
  parser.add_argument('--rounds', type=int, default=5)
  parser.add_argument('--batches', type=int, default=6, help='of full frames, per round')
  args = parser.parse_args()
  with tempfile.TemporaryDirectory() as folder:
    root = args.root or pathlib.Path(folder) / 'GOPRO_Large'
    if args.root is None:
      make_pairs(root, [file for file in PHOTOGRAPHS['train'] for _ in range(3)])
    sources = open_sources(root, pathlib.Path(folder))
    figures = {name: [] for name in (PLAIN, *sources)}
    rounds = list(range(args.rounds))
    for seed in console.track(rounds, 'measuring', len(rounds)):
      figures[PLAIN].append(measure(plain_batches(root), args.batches))
      for name, (source, times) in sources.items():
        batches = train_batches(source, crop=CROP, batch_size=BATCH, seed=seed)
        figures[name].append(measure(batches, times * args.batches))
    whole, parts = (sources[name][0] for name in ('TFDS, full frames', SUB))
    report(figures, steps(parts, 200), len(whole))


if __name__ == '__main__':
  main()
