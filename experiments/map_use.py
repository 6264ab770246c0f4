"""Do the generators use the degradation map, and does it say how a picture is blurred or what it
shows? Scores with the right map and with four others.

python experiments/map_use.py --checkpoint runs/demo
python experiments/map_use.py --checkpoint small_joint --photos PHOTOS

Prints, for tiles from the middle of the held-out pictures of a joint run, or for scenes of the
photographs held out of those in a folder, the mean PSNR of the reblurred (against blurry) and
deblurred (against sharp) ones, and how much the maps vary.

- Equal rows mean that the map is not used.
- "its blur on another picture" is the map of another photograph blurred by the very same motion
  (under made blur only): where that does as well as the right map, M holds the blur; where it does
  as badly as another picture's map, M holds the picture, which Gr then copies.
- "sharp picture's" is the map of the same picture without blur.
"""

import argparse
import pathlib

import fields
import numpy as np
import study

from degrep_jax.common.errors import UserError
from degrep_jax.data.source import open_source
from degrep_jax.metrics import psnr

SCENES = 4  # of every photograph of a folder


def middle_tiles(picture, tile):
  """The tiles around the middle of a picture (H, W, 3), at most two either way, as (n, tile, tile,
  3); none where the picture is smaller than one."""
  height, width = picture.shape[:2]
  rows, columns = min(2, height // tile), min(2, width // tile)
  top, left = (height - rows * tile) // 2, (width - columns * tile) // 2
  window = picture[top : top + rows * tile, left : left + columns * tile]
  tiles = window.reshape(rows, tile, columns, tile, 3).swapaxes(1, 2)
  return tiles.reshape(rows * columns, tile, tile, 3)


def other_photographs(source):
  """Another photograph under every item's own blur, (H, W, 3) uint8 each."""
  if len(set(source.scenes)) < 2:
    raise UserError('One scene is held out, and two are needed: name more photographs.')
  sharp = [source.pair(item).sharp for item in range(len(source))]
  shown = [*zip(sharp, source.scenes, strict=True)]
  different = [
    next(picture for picture, scene in shown[item:] + shown if scene != own)
    for item, own in enumerate(source.scenes)
  ]
  return [source.example(item, photo).blurry for item, photo in enumerate(different)]


def main(args):
  """Prints the table."""
  net, config = study.joint(args.checkpoint)
  config = config.copy_and_resolve_references()
  if args.photos:
    study.on_scenes(config, args.photos)
    config.data.eval_variants = SCENES
  source = open_source(config.data, 'test')
  pairs = [source.pair(item) for item in range(len(source))]

  def tiles(pictures):
    return np.concatenate([middle_tiles(picture, config.eval.tile) for picture in pictures])

  blurry, sharp = tiles(p.blurry for p in pairs), tiles(p.sharp for p in pairs)
  scenes = getattr(source, 'scenes', source.names)
  shown = [
    scene
    for scene, pair in zip(scenes, pairs, strict=True)
    for _ in middle_tiles(pair.blurry, config.eval.tile)
  ]
  maps = net.maps(blurry)
  rows = {
    'right': maps,
    'mean of all': np.broadcast_to(maps.mean(0), maps.shape),
    "another picture's": maps[fields.of_others(shown, max(1, len(shown) // 3))],
    "sharp picture's": net.maps(sharp),
  }
  if config.data.source == 'synthetic':
    rows['its blur on another picture'] = net.maps(tiles(other_photographs(source)))
  print(f'std of the maps over tiles {maps.std(0).mean():.4f}, over all {maps.std():.4f}')
  print(f'{"map":<28}{"reblurred":>10}{"deblurred":>10}')
  for name, given in rows.items():
    scores = [
      np.mean([psnr(r, t) for r, t in zip(result, truth, strict=True)])
      for result, truth in ((net.reblur(sharp, given), blurry), (net.deblur(blurry, given), sharp))
    ]
    print(f'{name:<28}{scores[0]:>10.2f}{scores[1]:>10.2f}')


if __name__ == '__main__':
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument('--checkpoint', required=True, help='a joint network, shipped or trained')
  parser.add_argument('--photos', type=pathlib.Path, metavar='DIR', help='photographs for scenes')
  study.run(main, parser.parse_args())
