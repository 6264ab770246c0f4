"""Blurry photographs before and after a network that ships: docs/figures/before_after.png.

python experiments/before_after.py
python experiments/before_after.py PHOTO... --network=small --notes='GoPro (Nah et al.), CC BY 4.0'

Without a photograph it takes that of the tests, which this project's model of a moving camera
blurred. Each is shown whole, with magnified crops of the two places where most has changed.
"""

import argparse
import pathlib
from collections.abc import Iterator

import frames
import study

from degrep_jax import Restorer, shipped
from degrep_jax.common.pixels import to_8_bits
from degrep_jax.photos import reading

ROOT = pathlib.Path(__file__).parents[1]
FIGURE = ROOT / 'docs' / 'figures' / 'before_after.png'
COFFEE = ROOT / 'tests' / 'shipped' / 'coffee_blurry.png'
COFFEE_NOTES = "scikit-image's coffee, by Rachel Michetti: CC0, under a model of a moving camera."


def drawn(paths: list[pathlib.Path], restorer: Restorer, side: int) -> Iterator[frames.Frame]:
  """The frames of photographs, with crops of `side` px."""
  for path in paths:
    before = to_8_bits(reading.load(path).pixels)
    pictures = {'before': before, 'after': restorer.deblur(before)}
    windows = frames.differing_windows([*pictures.values()], side)
    yield frames.Frame(path.stem, pictures, {}, windows, side)


def main(args: argparse.Namespace) -> None:
  """Draws the figure."""
  paths, name = args.photos or [COFFEE], args.network or shipped.best('deblur')
  restorer = Restorer.pretrained(name)
  notes = args.notes if args.photos else COFFEE_NOTES
  notes = f'By {name}: {restorer.title}, {restorer.about["parameters"]:,} parameters.\n{notes}'
  frames.page([*drawn(paths, restorer, args.crop)], args.output, notes.strip())
  print(f'wrote {args.output}')


if __name__ == '__main__':
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('photos', nargs='*', type=pathlib.Path, metavar='PHOTO')
  parser.add_argument('--network', choices=shipped.names(), help='default: the best that deblurs')
  parser.add_argument('--crop', type=int, default=80, metavar='PX')
  parser.add_argument('--notes', default='', help='said below: whose photographs they are')
  parser.add_argument('--output', type=pathlib.Path, default=FIGURE)
  study.run(main, parser.parse_args())
