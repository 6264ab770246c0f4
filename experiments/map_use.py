"""Do the generators use the degradation map, and does it say how a picture is blurred or what it
shows? Scores with the right map and with four others.

python experiments/map_use.py --workdir=runs/demo

Prints, for tiles from the middle of the held-out pictures of a finished joint run, the mean PSNR of
the reblurred (against blurry) and deblurred (against sharp) tiles, and how much the maps vary.

- Equal rows mean that the map is not used.
- "its blur on another picture" is the map of another photograph blurred by the very same motion (of
  the embedded photographs only): where that does as well as the right map, M holds the blur; where
  it does as badly as another picture's map, M holds the picture, which Gr then copies.
- "sharp picture's" is the map of the same picture without blur.
"""

import functools
import pathlib

import numpy as np
from absl import app, flags

from degrep_jax import checkpoints, run_config
from degrep_jax.common.pixels import to_float, to_uint8
from degrep_jax.data.source import open_source
from degrep_jax.metrics import psnr
from degrep_jax.models import factory
from degrep_jax.runtime import compiling

_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run.', required=True)
_STEP = flags.DEFINE_integer('step', None, 'Of the checkpoint; by default the newest.')


def middle_tiles(picture, tile):
  """The tiles around the middle of a picture (H, W, 3), at most two either way, as (n, tile, tile,
  3) float32; none where the picture is smaller than one."""
  height, width = picture.shape[:2]
  rows, columns = min(2, height // tile), min(2, width // tile)
  top, left = (height - rows * tile) // 2, (width - columns * tile) // 2
  window = to_float(picture)[top : top + rows * tile, left : left + columns * tile]
  tiles = window.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2)
  return tiles.reshape(rows * columns, tile, tile, 3)


def other_photographs(source):
  """Another photograph under every item's own blur, (H, W, 3) uint8 each."""
  sharp = [source.pair(item).sharp for item in range(len(source))]
  different = [
    next(s for s in sharp[i:] + sharp if s.shape != own.shape) for i, own in enumerate(sharp)
  ]
  return [source.example(item, photo).blurry for item, photo in enumerate(different)]


def main(_):
  """Prints the table."""
  workdir = pathlib.Path(_WORKDIR.value)
  config = run_config.load(workdir)
  variables = checkpoints.variables(checkpoints.load(workdir, _STEP.value))
  net = factory.build_generator(config.model, None)
  source = open_source(config.data, 'test')
  pairs = [source.pair(item) for item in range(len(source))]

  def tiles(pictures):
    return np.concatenate([middle_tiles(picture, config.eval.tile) for picture in pictures])

  blurry, sharp = tiles(p.blurry for p in pairs), tiles(p.sharp for p in pairs)
  encode = compiling.jit(functools.partial(net.apply, variables, method='degradation_map'))
  maps = np.asarray(encode(blurry))
  rows = {
    'right': maps,
    'mean of all': np.broadcast_to(maps.mean(0), maps.shape),
    "another picture's": np.roll(maps, len(maps) // 3, axis=0),
    "sharp picture's": np.asarray(encode(sharp)),
  }
  if config.data.source == 'synthetic':
    rows['its blur on another picture'] = np.asarray(encode(tiles(other_photographs(source))))
  generate = compiling.jit(functools.partial(net.apply, variables, method='generate'))
  print(f'std of the maps over tiles {maps.std(0).mean():.4f}, over all {maps.std():.4f}')
  print(f'{"map":<28}{"reblurred":>10}{"deblurred":>10}')
  for name, given in rows.items():
    deblurred, reblurred = generate(blurry, sharp, given)
    scores = [
      np.mean([psnr(to_uint8(r), to_uint8(t)) for r, t in zip(result, truth, strict=True)])
      for result, truth in ((np.asarray(reblurred), blurry), (np.asarray(deblurred), sharp))
    ]
    print(f'{name:<28}{scores[0]:>10.2f}{scores[1]:>10.2f}')


if __name__ == '__main__':
  app.run(main)
