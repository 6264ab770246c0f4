"""Pairs that ship with the package's dependencies: real photographs, blurred as they are asked for.

The photographs lie inside the scikit-image wheel; nothing is ever downloaded.
"""

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import skimage.data
from PIL import Image

from degrep_jax.common.errors import UserError
from degrep_jax.data.pairs import Pair, Source, random_window
from degrep_jax.data.synthetic.exposure import (
  BlurExample,
  blur_photograph,
  expose,
  to_light,
  to_sensor,
)
from degrep_jax.data.synthetic.motion import WEAKEST, Blur, draw_motion

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

  Raises:
    UserError: unknown split, variants below 1, a scene smaller than min_size or larger than the
      photographs, or a photograph missing from the installation.
  """

  def __init__(
    self, split: str, blur: Blur, variants: int, seed: int, min_size: int = 0, scene: int = 0
  ):
    if split not in PHOTOGRAPHS:
      raise UserError(f"The synthetic data has no split {split!r}; use 'train' or 'test'.")
    if variants < 1:
      raise UserError(f'variants is {variants}; it must be at least 1.')
    self._files = [file for file in PHOTOGRAPHS[split] for _ in range(variants)]
    self.names = tuple(
      f'{Path(file).stem}/{item % variants}' for item, file in enumerate(self._files)
    )
    smallest = min(min(photograph(file).shape[:2]) for file in PHOTOGRAPHS[split])
    if smallest < min_size:
      raise UserError(
        f'data.crop is {min_size}, more than the {smallest} px of the smallest embedded photograph.'
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
    own = photograph(self._files[item])
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
    shorter = min(photograph(file).shape[:2])
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


@cache
def _linear(file: str, scale: float) -> np.ndarray:
  """The light of an embedded photograph at `scale` times its size."""
  photo = photograph(file)
  if scale != 1:
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    photo = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=how)
  return to_light(photo)
