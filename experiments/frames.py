"""Whole pictures as several methods restored them, with magnified crops: the page of a paper."""

import dataclasses
import io
import itertools
import os
from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.figure import Figure

from degrep_jax.common.files import write_atomically

_COLOURS = ((213, 94, 0), (86, 180, 233))  # of the boxes; told apart by colour-blind readers too
_CROP = 160  # px a magnified crop is wide, about
_WIDE = 1.4  # the room of a whole picture: its width over its height
_GAP, _MARGIN, _HEAD, _CAPTION, _FOOT = 8, 24, 48, 44, 60  # px
_BOX = 2  # px, the lines of a box
_DPI = 100
_INK, _QUIET = '#1a1a1a', '#5f5f5f'
_TEXT = 20  # characters that the column of a method has room for

Corner = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Frame:
  """One picture of the page.

  Attributes:
    name: of the picture.
    pictures: by method, in the order of the columns, uint8 (H, W, 3) of one shape. The first is
      also shown whole.
    captions: what stands below the crops of a method; '' or absent: nothing.
    windows: upper left corners (row, column) of the magnified crops, two at most.
    side: of the crops, px.
  """

  name: str
  pictures: Mapping[str, np.ndarray]
  captions: Mapping[str, str]
  windows: Sequence[Corner]
  side: int


def local_difference(pictures: Sequence[np.ndarray], side: int) -> np.ndarray:
  """How far pictures differ from each other in every window.

  Args:
    pictures: uint8 (H, W, 3), two or more of one shape.
    side: of the windows, px.

  Returns:
    float64 (H - side + 1, W - side + 1): the mean of the squared difference over the window whose
    upper left corner lies there, its channels, and all pairs of pictures; 8-bit units.

  Raises:
    ValueError: fewer than two pictures, different shapes, or a window larger than they are.
  """
  if len(pictures) < 2 or len({picture.shape for picture in pictures}) > 1:
    raise ValueError('what differs takes two pictures or more, of one shape')
  height, width, channels = pictures[0].shape
  if not 0 < side <= min(height, width):
    raise ValueError(f'no window of {side} px in a picture of {width}x{height}')
  # Whole numbers throughout, so that equal windows are equal and the first of them is taken.
  wide = [picture.astype(np.int64) for picture in pictures]
  pairs = list(itertools.combinations(wide, 2))
  squared = np.sum([((a - b) ** 2).sum(-1) for a, b in pairs], axis=0)
  sums = np.pad(squared.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
  inside = sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]
  return inside / (len(pairs) * channels * side**2)


def differing_windows(pictures: Sequence[np.ndarray], side: int, count: int = 2) -> list[Corner]:
  """Where pictures differ most: windows that do not overlap, the one of the largest
  `local_difference` first.

  Of equal ones the upper, then the left one is taken.

  Args:
    pictures, side: as of `local_difference`.
    count: of the windows.

  Returns:
    Their upper left corners, (row, column).

  Raises:
    ValueError: as `local_difference`, or no room for so many windows beside those that differ most.
  """
  left = local_difference(pictures, side)
  corners: list[Corner] = []
  for _ in range(count):
    row, column = (int(i) for i in np.unravel_index(left.argmax(), left.shape))
    if left[row, column] < 0:
      height, width = pictures[0].shape[:2]
      raise ValueError(f'no room for {count} windows of {side} px in a picture of {width}x{height}')
    corners.append((row, column))
    # The corners of all windows that share a pixel with this one.
    left[max(0, row - side + 1) : row + side, max(0, column - side + 1) : column + side] = -1
  return corners


def page(frames: Sequence[Frame], path: str | os.PathLike[str], notes: str = '') -> None:
  """Draws pictures below each other: the first method's whole, with a coloured box round each
  window, and beside it the crops of every method, magnified by a whole number.

  Args:
    frames: with the same methods.
    path: the PNG to write.
    notes: said below; lines of some hundred characters.

  Raises:
    ValueError: nothing to draw, or frames of different methods.
    UserError: the file cannot be written.
  """
  methods = [list(frame.pictures) for frame in frames]
  if not frames or any(others != methods[0] for others in methods):
    raise ValueError('a page takes pictures, all of the same methods')
  write_atomically(path, _draw(frames, methods[0], notes))


def _whole(frame: Frame, room: int) -> np.ndarray:
  """The first picture with its boxes, reduced to `room` px of height where it is larger."""
  picture = next(iter(frame.pictures.values()))
  height, width = picture.shape[:2]
  scale = min(1.0, room / height, _WIDE * room / width)
  size = round(width * scale), round(height * scale)
  shown = cv2.resize(picture, size, interpolation=cv2.INTER_AREA) if scale < 1 else picture.copy()
  for (row, column), colour in zip(frame.windows, _COLOURS, strict=False):
    start, end = (
      (round(x * scale), round(y * scale))
      for y, x in ((row, column), (row + frame.side, column + frame.side))
    )
    cv2.rectangle(shown, start, (end[0] - 1, end[1] - 1), colour, _BOX)
  return shown


def _magnified(frame: Frame, picture: np.ndarray, window: Corner, factor: int) -> np.ndarray:
  row, column = window
  crop = picture[row : row + frame.side, column : column + frame.side]
  return crop.repeat(factor, 0).repeat(factor, 1)


def _draw(frames: Sequence[Frame], methods: list[str], notes: str) -> bytes:
  """The PNG file."""
  factors = [max(1, round(_CROP / frame.side)) for frame in frames]
  # Of the largest crops; a colour's border lies round each.
  cell = max(factor * frame.side for factor, frame in zip(factors, frames, strict=True)) + 2 * _BOX
  count = max(len(frame.windows) for frame in frames)
  room = count * cell + (count - 1) * _GAP
  wholes = [_whole(frame, room) for frame in frames]
  first = _MARGIN + max(whole.shape[1] for whole in wholes) + 2 * _GAP
  lefts = [first + i * (cell + _GAP) for i in range(len(methods))]
  tops = [_HEAD + i * (room + _CAPTION) for i in range(len(frames) + 1)]
  width, height = lefts[-1] + cell + _MARGIN, tops[-1] + (_FOOT if notes else 0)
  canvas = np.full((height, width, 3), 255, np.uint8)
  figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)

  def write(x, y, text, size, colour=_INK, weight='normal'):
    style = {'fontsize': size * 72 / _DPI, 'color': colour, 'weight': weight}
    figure.text(x / width, 1 - y / height, text, parse_math=False, **style)

  def paint(x, y, picture):
    canvas[y : y + picture.shape[0], x : x + picture.shape[1]] = picture

  for left, method in zip(lefts, methods, strict=True):
    write(left, _HEAD - 12, method[-_TEXT:], 15, weight='bold')
  for top, frame, whole, factor in zip(tops[:-1], frames, wholes, factors, strict=True):
    paint(_MARGIN, top, whole)
    write(_MARGIN, top + whole.shape[0] + 20, f'{frame.name}: {methods[0]}', 14)
    for left, (method, picture) in zip(lefts, frame.pictures.items(), strict=True):
      for i, (window, colour) in enumerate(zip(frame.windows, _COLOURS, strict=False)):
        crop, y = _magnified(frame, picture, window, factor), top + i * (cell + _GAP)
        paint(left, y, np.full((len(crop) + 2 * _BOX, len(crop) + 2 * _BOX, 3), colour, np.uint8))
        paint(left + _BOX, y + _BOX, crop)
      write(left, top + room + 20, frame.captions.get(method, ''), 14)
  for i, line in enumerate(notes.splitlines()):
    write(_MARGIN, tops[-1] + 16 + 18 * i, line, 13, _QUIET)
  figure.figimage(canvas)
  file = io.BytesIO()
  figure.savefig(
    file, format='png', dpi=_DPI, metadata={'Software': None}, pil_kwargs={'optimize': True}
  )
  return file.getvalue()
