"""Photographs under synthetic blur whose every motion is known, blurred as they are asked for.

By default they are those inside the scikit-image wheel; nothing is ever downloaded.
"""

from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image

from degrep_jax.common.errors import UserError
from degrep_jax.data.pairs import Pair, PictureCache, Source, random_window
from degrep_jax.data.synthetic.exposure import (
  BlurExample,
  blur_photograph,
  expose,
  to_light,
  to_sensor,
)
from degrep_jax.data.synthetic.motion import WEAKEST, Blur, draw_motion
from degrep_jax.data.synthetic.photographs import read_photograph, scene_of, size_of

__all__ = ['PHOTOGRAPHS', 'Blur', 'BlurExample', 'SyntheticPairs', 'blur_photograph', 'photograph']

# No photograph, and no scene, stands on both sides (the two motorcycles are one scene). Left out:
# hubble_deep_field, ihc, retina, moon and cell are seen through instruments that no hand shakes
# during an exposure, page and text are smaller than a training crop, clock_motion is blurred.
PHOTOGRAPHS = {
  'train': (
    'astronaut.png',
    'motorcycle_left.png',
    'motorcycle_right.png',
    'rocket.jpg',
    'brick.png',
    'coins.png',
    'grass.png',
    'gravel.png',
  ),
  'test': ('chelsea.png', 'coffee.png', 'camera.png'),
}
SCALES = (0.6, 1.0, 1.5)  # of the photographs that crops are taken from
DIMMEST = 0.5  # share of the light left in a channel of a recoloured crop
# Shares of a photograph's shorter side that a scene may show; it is enlarged for that so much at
# most.
SHARES = (0.8, 0.55, 0.3)
LARGEST_SCALE = 1.5
# Strengths of fixed examples follow multiples of the golden ratio: any run of them is spread.
GOLDEN_RATIO = (5**0.5 - 1) / 2
# Of files and of the light of all photographs; those inside scikit-image all fit.
_PIXELS, _LIGHT = (PictureCache(2**30) for _ in range(2))


class SyntheticPairs(Source):
  """Every photograph of a split with `variants` fixed blurs; crops draw fresh ones.

  Args:
    split: 'train' or 'test'.
    blur: maxima of the blur.
    variants: blurs for each photograph; `pair` and `example` are functions of (seed, item) alone.
    seed: non-negative.
    min_size: smallest height and width that will do, the training crop; 0 asks for none.
    scene: side of the square scenes cut from resized photographs, for which motions are drawn as
      for whole photographs; 0 takes these themselves.
    photos: (name, file) of the split's photographs, in place of those inside scikit-image.

  Attributes:
    scenes: what every item's photograph shows, which several photographs may show.

  Raises:
    UserError: unknown split, variants below 1, a scene smaller than min_size or larger than the
      photographs, or a photograph missing from the installation.
  """

  def __init__(
    self,
    split: str,
    blur: Blur,
    variants: int,
    seed: int,
    min_size: int = 0,
    scene: int = 0,
    photos: Sequence[tuple[str, Path]] = (),
  ):
    if split not in PHOTOGRAPHS:
      raise UserError(f"The synthetic data has no split {split!r}; use 'train' or 'test'.")
    if variants < 1:
      raise UserError(f'variants is {variants}; it must be at least 1.')
    files: dict[str, str | Path] = dict(photos)
    scenes = [scene_of(name) for name in files]
    sides = [min(size_of(path)) for _, path in photos]
    if not photos:
      files = {Path(file).stem: file for file in PHOTOGRAPHS[split]}
      scenes = [name.split('_')[0] for name in files]
      sides = [min(photograph(file).shape[:2]) for file in PHOTOGRAPHS[split]]
    self._files = [file for file in files.values() for _ in range(variants)]
    self.names = tuple(f'{name}/{variant}' for name in files for variant in range(variants))
    self.scenes = tuple(scene for scene in scenes for _ in range(variants))
    smallest = min(sides)
    if smallest < min_size:
      name = [*files][sides.index(smallest)]
      raise UserError(
        f'data.crop is {min_size}, more than the {smallest} px of the photograph {name}.'
      )
    largest = int(smallest * LARGEST_SCALE)
    if scene and not max(min_size, 1) <= scene <= largest:
      raise UserError(
        f'data.scene is {scene}; it must be 0, or in {max(min_size, 1)} (the crop) .. {largest}.'
      )
    self._blur, self._scene = blur, scene
    self._seed = (seed, list(PHOTOGRAPHS).index(split))

  def __len__(self) -> int:
    return len(self.names)

  def example(self, item: int, photo: np.ndarray | None = None) -> BlurExample:
    """The whole photograph under its fixed blur, with the blur's extent and moving region.

    photo: another picture (H, W, 3) uint8 of any size to be put, resized, in the photograph's place
    under the very same blur.
    """
    rng = np.random.default_rng([*self._seed, item])
    own = _pixels(self._files[item])
    if self._scene:
      own = to_sensor(self._linear_scene(item, rng)[..., :3], 0, rng)
    if photo is not None:
      photo = cv2.resize(photo, own.shape[1::-1], interpolation=cv2.INTER_AREA)
    spread = (0.5 + item * GOLDEN_RATIO) % 1
    strength = WEAKEST + (1 - WEAKEST) * spread
    photo = own if photo is None else photo
    return blur_photograph(photo, self._blur, rng, strength=strength)

  def pair(self, item: int) -> Pair:
    """Like `example`, the pictures alone."""
    example = self.example(item)
    return Pair(self.names[item], example.blurry, example.sharp)

  def crop(self, item: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random window in other light and size under a blur drawn from `rng`, (size, size, 3) uint8.

    A handful of photographs must stand for all: each crop is one enlarged, reduced or left as it
    is, with its channels permuted and dimmed, in linear light, before the exposure is simulated.
    """
    file = self._files[item]
    if self._scene:
      linear = self._linear_scene(item, rng)
    else:
      fitting = [scale for scale in SCALES if min(_linear(file, scale).shape[:2]) >= size]
      linear = _linear(file, rng.choice(fitting or [1.0]))
    window = random_window(linear.shape, size, rng, self.names[item])
    motion = draw_motion(self._blur, linear.shape, rng)
    channels, gain = rng.permutation(3), rng.uniform(DIMMEST, 1, 3).astype(np.float32)
    blurry = expose(linear, motion, window)[..., channels] * gain
    sharp = linear[window][..., channels] * gain
    return to_sensor(blurry, motion.noise, rng), to_sensor(sharp, 0, rng)

  def _linear_scene(self, item: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of the photograph, resized so that it shows a random share of it."""
    file, side = self._files[item], self._scene
    shorter = min(_pixels(file).shape[:2])
    scales = [side / (share * shorter) for share in SHARES]
    fitting = [scale for scale in scales if scale <= LARGEST_SCALE] or [side / shorter]
    linear = _linear(file, rng.choice(fitting))
    return linear[random_window(linear.shape, side, rng, self.names[item])]


@cache
def photograph(file: str) -> np.ndarray:
  """An embedded photograph, (H, W, 3) uint8 RGB, read-only; UserError where it is not installed."""
  path = Path(skimage.data.__file__).parent / file
  if not path.is_file():
    raise UserError(f'scikit-image is installed without its photograph {file}; reinstall it.')
  with Image.open(path) as picture:
    photo = np.array(picture.convert('RGB'))
  photo.flags.writeable = False
  return photo


def _pixels(file: str | Path) -> np.ndarray:
  """An embedded photograph by its name, or that of a file."""
  if isinstance(file, str):
    return photograph(file)
  return _PIXELS.picture(file, partial(read_photograph, file))


def _linear(file: str | Path, scale: float) -> np.ndarray:
  """The light of a photograph at `scale` times its size, (H, W, 4), read-only."""
  return _LIGHT.picture((file, scale), partial(_scaled_light, file, scale))


def _scaled_light(file: str | Path, scale: float) -> np.ndarray:
  photo = _pixels(file)
  if scale != 1:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=how)
  return to_light(photo)
