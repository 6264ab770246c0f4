"""Values of pixels in one type made those of another, and pictures as PNG."""

import pathlib

import cv2
import numpy as np

from degrep_jax.common.files import write_atomically


def to_float(picture: np.ndarray) -> np.ndarray:
  """uint8 of any shape to float32 in [0, 1]; 255 becomes exactly 1."""
  return picture.astype(np.float32) / np.float32(255)


def to_uint8(picture: np.ndarray) -> np.ndarray:
  """Float of any shape, meant to be in [0, 1], to uint8: clipped, then rounded, never truncated.

  Truncating would darken every picture by half a level and cost about 0.1 dB at 33 dB.
  """
  return np.rint(np.clip(picture, 0, 1) * 255).astype(np.uint8)


def in_floats(picture: np.ndarray) -> np.ndarray:
  """float32 of unsigned integers, scaled to [0, 1], or of floats; what `finished` leads back."""
  if picture.dtype.kind == 'u':
    values = picture.astype(np.float32)
    values /= np.float32(np.iinfo(picture.dtype).max)
    return values
  return picture.astype(np.float32, copy=False)


def finished(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """Floats as a picture of a dtype: clipped to [0, 1], integers rounded over their range."""
  rows = np.clip(rows, 0, 1)
  if dtype.kind == 'u':
    rows = np.rint(rows * np.float32(np.iinfo(dtype).max))
  return rows.astype(dtype)


def to_8_bits(values: np.ndarray) -> np.ndarray:
  """uint8 of uint8 or uint16 values: the nearest eighth-bit level, 65535 becoming 255."""
  if values.dtype == np.uint8:
    return values
  return np.rint(values / np.float32(257)).astype(np.uint8)


def to_16_bits(values: np.ndarray, bits: int) -> np.ndarray:
  """uint16 over the whole range of uint16 values of `bits` bits: the highest becomes 65535."""
  if bits == 16:
    return values
  top = 2**bits - 1
  # In integers: 32 bits hold what comes of 15, and float32 would round some to their neighbours.
  return ((values.astype(np.uint32) * (2 * 65535) + top) // (2 * top)).astype(np.uint16)


def divided_by_alpha(values: np.ndarray, top: int) -> np.ndarray:
  """Colours `(H, W, C)` that were premultiplied by the alpha that comes last, divided by it.

  Args:
    values: unsigned integers.
    top: the value of what is opaque.
  """
  colours, alpha = np.split(values.astype(np.float64), [-1], axis=-1)
  divided = np.minimum(colours * top / np.maximum(alpha, 1), top)
  return np.rint(np.concatenate([divided, alpha], axis=-1)).astype(values.dtype)


def write_png(path: pathlib.Path, picture: np.ndarray) -> None:
  """Writes a picture (H, W, 3) uint8, RGB, whole or not at all; UserError where it cannot."""
  _, data = cv2.imencode('.png', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
  write_atomically(path, data.tobytes())
