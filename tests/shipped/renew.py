"""What the tests of the shipped weights compare with, written anew.

python tests/shipped/renew.py              # psnr.json, after the weights were changed
python tests/shipped/renew.py --picture    # the picture, too
"""

import argparse
import json
import pathlib
import sys

import cv2
import numpy as np
from skimage import data

sys.path.append(str(pathlib.Path(__file__).parents[2]))

from degrep_jax import Restorer, metrics, shipped
from degrep_jax.common.pixels import to_float, write_png
from degrep_jax.data.pairs import read_picture
from degrep_jax.data.synthetic import shots
from degrep_jax.data.synthetic.shots import PhotoBlur

FOLDER = pathlib.Path(__file__).parent
FILE = FOLDER / 'psnr.json'
SHARP, BLURRY = FOLDER / 'coffee_sharp.png', FOLDER / 'coffee_blurry.png'
# As configs/small_joint.py has it, but of one moderate length.
BLUR = PhotoBlur(14.0, 0.3, 3.0, 41, 1.0, 0.0, 1.0)
SEED = 4


def picture() -> tuple[np.ndarray, np.ndarray]:
  """(sharp, blurry) uint8 (240, 288, 3): a cup of coffee under a shaking camera."""
  photo = cv2.resize(data.coffee(), (360, 240), interpolation=cv2.INTER_AREA)
  rng = np.random.default_rng(SEED)
  window = slice(0, 240), slice(40, 328)
  shot = shots.draw_shot(BLUR, photo.shape, rng)
  return photo[window], shots.picture(photo, shot, window, rng)


def psnr(restorer: Restorer) -> float:
  """Of the picture as it comes out of a network, clipped but not rounded, dB."""
  restored = restorer.deblur(to_float(read_picture(BLURRY)))
  error = restored - to_float(read_picture(SHARP))
  return metrics.decibels(255**2 * float(np.mean(np.square(error, dtype=np.float64))))


def main() -> None:
  """Writes the files."""
  flags = argparse.ArgumentParser()
  flags.add_argument('--picture', action='store_true')
  if flags.parse_args().picture:
    for path, pixels in zip((SHARP, BLURRY), picture(), strict=True):
      write_png(path, pixels)
    print(f'blurry: {metrics.psnr(*picture()):.2f} dB')
  found = {}
  for name in shipped.names():
    sha256 = shipped.sha256(shipped.path(name))
    found[name] = {'sha256': sha256, 'psnr': round(psnr(Restorer.pretrained(name)), 4)}
    print(f'{name}: {found[name]["psnr"]:.2f} dB')
  FILE.write_text(json.dumps(found, indent=2) + '\n')


if __name__ == '__main__':
  main()
