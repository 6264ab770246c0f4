"""What happens to a pair between the file and the net."""

import numpy as np


def augment(
  blurry: np.ndarray, sharp: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
  """Flips and transposes both pictures by one draw: each of the 8 dihedral maps is equally likely.

  Horizontal flip, vertical flip and transpose, each with probability 1/2, as `use_flip` and
  `use_rot` of the released training code.

  Args:
    blurry: (H, W, C) of any dtype; a square crop keeps its shape.
    sharp: (H, W, C), the same window.
    rng: three booleans are drawn from it.
  """
  horizontal, vertical, transpose = rng.random(3) < 0.5

  def apply(picture: np.ndarray) -> np.ndarray:
    if horizontal:
      picture = picture[:, ::-1]
    if vertical:
      picture = picture[::-1]
    if transpose:
      picture = picture.swapaxes(0, 1)
    return picture.copy()

  return apply(blurry), apply(sharp)


def to_float(picture: np.ndarray) -> np.ndarray:
  """uint8 of any shape to float32 in [0, 1]; 255 becomes exactly 1."""
  return picture.astype(np.float32) / np.float32(255)


def to_uint8(picture: np.ndarray) -> np.ndarray:
  """Float of any shape, meant to be in [0, 1], to uint8: clipped, then rounded, never truncated.

  Truncating would darken every picture by half a level and cost about 0.1 dB at 33 dB.
  """
  return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)
