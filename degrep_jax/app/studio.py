"""What the page in the browser does with photographs; knows nothing of how it is laid out."""

import dataclasses
import os
import pathlib
import shutil
import time
from typing import NamedTuple

import cv2
import numpy as np

from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import to_8_bits
from degrep_jax.data.synthetic.pairs import Blur, SyntheticPairs
from degrep_jax.inference.map_colours import MapPictures, over_photograph
from degrep_jax.inference.restorer import Restorer
from degrep_jax.photos import reading, writing
from degrep_jax.photos.photo import FORMATS, Photo, fitted

SHOWN = 2048  # px of a picture's longer side on the page; the file to save is whole
_LONGEST_STEM = 200  # bytes, so that a name has room for what is added to it
_EXAMPLES = Blur(shake=12.0, rotation=0.8, object_motion=12.0, sub_frames=11, noise=1.0)


class Restored(NamedTuple):
  """A photograph before and after, uint8 `(H, W, 3)` as they are shown.

  Attributes:
    before: the blurry picture.
    after: the restored one.
    map: its degradation map in colours over it, None where the net has none.
    file: the restored photograph, whole, in the format and with the tags of the file it came in.
    text: what was done, a sentence.
  """

  before: np.ndarray
  after: np.ndarray
  map: np.ndarray | None
  file: pathlib.Path
  text: str


class Studio:
  """What the page does with files.

  Args:
    restorer: that deblurs, and whose map is shown.
    folder: where files for the browser are written.
    max_pixels: of a picture that is read.
    reblurrer: that blurs pictures; None: the restorer, if it can.

  Attributes:
    restorer: as given.
    reblurrer: what blurs pictures, None where nothing does.
  """

  def __init__(
    self,
    restorer: Restorer,
    folder: pathlib.Path,
    max_pixels: int,
    reblurrer: Restorer | None = None,
  ):
    self.restorer = restorer
    self.reblurrer = restorer if restorer.can_reblur else reblurrer
    self._folder = folder
    self._max_pixels = max_pixels

  def read(self, path: str | os.PathLike[str], name: str) -> Photo:
    """A photograph, upright.

    Raises:
      UserError: a file that is no picture, or too large, under the `name` it had.
    """
    return reading.read(pathlib.Path(path).read_bytes(), name, self._max_pixels)

  def deblur(self, photo: Photo, name: str) -> Restored:
    """The photograph restored; `name` is that of its file."""
    started = time.monotonic()
    restored = dataclasses.replace(photo, pixels=self.restorer.deblur(photo.pixels))
    seconds = time.monotonic() - started
    width, height = photo.size
    text = f'{width} × {height} pixels restored in {seconds:.1f} s.'
    if max(photo.size) > SHOWN:
      text += f' Shown reduced to {SHOWN} pixels; the file to save is whole.'
    if photo.alpha is not None:
      text += ' What is transparent in the file is shown as it is stored.'
    return Restored(
      before=_shown(photo.pixels),
      after=_shown(restored.pixels),
      map=self.degradation_map(photo) if self.restorer.has_map else None,
      file=self._write(restored, name),
      text=text,
    )

  def degradation_map(self, photo: Photo) -> np.ndarray:
    """The map of a photograph in colours over it, uint8 `(H, W, 3)`."""
    pictures = MapPictures(self.restorer)
    (colours,) = pictures.colours([pictures.read(photo.pixels)])
    return _shown(over_photograph(colours, to_8_bits(photo.pixels), self.restorer.cell))

  def reblur(self, sharp: Photo, like: Photo, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """A sharp picture and the same blurred as `like` is, as they are shown. There must be a
    `reblurrer`."""
    assert self.reblurrer is not None
    blurred = self.reblurrer.reblur(sharp.pixels, like=like.pixels, strength=strength)
    return _shown(sharp.pixels), _shown(blurred)

  def examples(self) -> list[tuple[pathlib.Path, pathlib.Path]]:
    """Files (blurry, sharp) of embedded photographs that no synthetic training sees."""
    source = SyntheticPairs('test', _EXAMPLES, variants=1, seed=0)
    pairs = []
    for item, name in enumerate(source.names):
      pair, stem = source.pair(item), name.partition('/')[0]
      files = {f'{stem}_blurry.png': pair.blurry, f'{stem}_sharp.png': pair.sharp}
      paths = [self._folder / 'examples' / file for file in files]
      for path, pixels in zip(paths, files.values(), strict=True):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(writing.encode(Photo(pixels, 'PNG')))
      pairs.append((paths[0], paths[1]))
    return pairs

  def _write(self, photo: Photo, name: str) -> pathlib.Path:
    """The file to save. It replaces the one before, of which the page has its own copy by now."""
    folder = self._folder / 'restored'
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    stem = pathlib.PurePath(name).stem.encode()[:_LONGEST_STEM].decode(errors='ignore') or 'photo'
    path = folder / f'{stem}_deblurred{FORMATS[photo.format][0]}'
    try:
      path.write_bytes(writing.encode(fitted(photo, photo.format)))
    except UserError as error:
      raise UserError(f'{name} {error}.') from error
    return path


def _shown(pixels: np.ndarray) -> np.ndarray:
  """8 bits, the longer side `SHOWN` px at most."""
  pixels = to_8_bits(pixels)
  scale = SHOWN / max(pixels.shape[:2])
  if scale >= 1:
    return pixels
  height, width = (max(1, round(scale * side)) for side in pixels.shape[:2])
  return cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
