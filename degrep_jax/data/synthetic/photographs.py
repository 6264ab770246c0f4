"""A folder of sharp photographs, blurred on the fly."""

import collections
import hashlib
import os
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from PIL import Image

from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import to_8_bits
from degrep_jax.data import blur_field
from degrep_jax.data.folders import BLURRY, CROPS, GAMMA, SHARP, require_utf8, role
from degrep_jax.data.pairs import (
  Crop,
  Pair,
  PictureCache,
  Source,
  check_size,
  has_splits,
  random_window,
)
from degrep_jax.data.released.splits import SPLITS
from degrep_jax.data.released.trees import open_tree
from degrep_jax.data.synthetic import exposure, shots
from degrep_jax.data.synthetic.exposure import BlurExample, Window
from degrep_jax.data.synthetic.shots import PhotoBlur, Shot
from degrep_jax.photos import reading
from degrep_jax.photos.kinds import SUFFIXES

LARGEST = 1920  # px of a photograph's longer side; larger ones are reduced, and gain sharpness
SMALLEST_SCALE = 0.5  # of the sizes that crops are taken at
CANDIDATES = 2  # windows drawn for a crop, of which that with most detail is taken
GRADIENT = 24  # levels by which a flat crop changes at most from side to side


class PhotographPairs(Source):
  """Every photograph of a split with `variants` fixed blurs; crops draw fresh ones.

  A folder with train/ and test/ is divided by these. Otherwise scenes are held back by name, see
  `held_back`. Folders such as blur/ beside sharp/, or input/ beside target/, are left out, so that
  the sharp halves of pairs are photographs, too.

  Args:
    root: folder of photographs, at any depth.
    split: 'train' or 'test'.
    blur: what shots are drawn from.
    variants: blurs for each photograph; `pair` and `example` are functions of (seed, name) alone,
      whatever other photographs there are.
    seed: non-negative.
    sharp: share of the crops that are left as they are.
    flat: share of the crops that show a smooth surface, left as it is, in place of a photograph.
    reference: share of the crops whose reference is another photograph under the very same shot.
    held_out: share of the scenes that is held back.
    held_out_list: text file that names the scenes held back, one a line, in place of a share.
    scene: side of the square windows that `pair` and `example` show; 0: whole photographs.
    min_size: smallest height and width that will do, the training crop; 0 asks for none.
    cache_bytes: decoded photographs are kept up to this many bytes.
    defer_errors: raise the errors of single files where an item is asked for.

  Raises:
    UserError: no photographs in root, or HIDE as released, no such split, a list that cannot be
      used, a file that is no picture or smaller than min_size or the scene.
  """

  def __init__(
    self,
    root: str | os.PathLike,
    split: str,
    blur: PhotoBlur,
    *,
    variants: int = 1,
    seed: int = 0,
    sharp: float = 0.0,
    flat: float = 0.0,
    reference: float = 0.0,
    held_out: float = 0.0,
    held_out_list: str | os.PathLike = '',
    scene: int = 0,
    min_size: int = 0,
    cache_bytes: int = 2**30,
    defer_errors: bool = False,
  ):
    if variants < 1:
      raise UserError(f'variants is {variants}; it must be at least 1.')
    files = split_files(Path(root), split, held_out, held_out_list)
    self._errors: dict[int, str] = {}
    for number, (_, path) in enumerate(files):
      try:
        size = size_of(path)
        check_size(*size, min_size, str(path))
        check_size(*size, scene, str(path), 'held-out scene', 'scene')
      except UserError as error:
        if not defer_errors:
          raise
        for item in range(number * variants, (number + 1) * variants):
          self._errors[item] = str(error)
    self._items = [(name, path, variant) for name, path in files for variant in range(variants)]
    self.names = tuple(
      f'{name}/{variant}' if variants > 1 else name for name, _, variant in self._items
    )
    self._blur, self._seed, self._scene = blur, seed, scene
    self._sharp, self._flat, self._reference = sharp, flat, reference
    self._cache = PictureCache(cache_bytes)

  def __len__(self) -> int:
    return len(self.names)

  def photograph(self, item: int) -> np.ndarray:
    """(H, W, 3) uint8, upright, read-only. Raises UserError where it cannot be decoded."""
    if item in self._errors:
      raise UserError(self._errors[item])
    path = self._items[item][1]
    return self._cache.picture(path, partial(read_photograph, path))

  def example(self, item: int, photo: np.ndarray | None = None) -> BlurExample:
    """The photograph, or a scene of it, under its fixed blur.

    photo: another picture (H, W, 3) uint8 of any size to be put, resized, in the place of what is
    shown.
    """
    own, shot, window, rng = self._drawn(item)
    if photo is not None:
      rows, columns = window
      size = columns.stop - columns.start, rows.stop - rows.start
      own = own.copy()
      own[window] = cv2.resize(photo, size, interpolation=cv2.INTER_AREA)
    return shots.shoot(own, shot, window, rng)

  def pair(self, item: int) -> Pair:
    """Like `example`, the pictures alone."""
    photo, shot, window, rng = self._drawn(item)
    return Pair(self.names[item], shots.picture(photo, shot, window, rng), photo[window])

  def _drawn(self, item: int) -> tuple[np.ndarray, Shot, Window, np.random.Generator]:
    """A photograph, its fixed shot, the window that is shown, and what draws the noise."""
    name, _, variant = self._items[item]
    rng = np.random.default_rng([self._seed, variant, _number(name)])
    photo = self.photograph(item)
    window: Window = slice(0, photo.shape[0]), slice(0, photo.shape[1])
    if self._scene:
      window = random_window(photo.shape, self._scene, rng, name)
    shot = shots.draw_shot(self._blur, photo.shape, rng)
    # What moves may be out of sight, and a picture that nothing was done to has no PSNR.
    while not shots.blurs(shot, window):
      shot = shots.draw_shot(self._blur, photo.shape, rng)
    return photo, shot, window, rng

  def crop(self, item: int, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A window of the photograph in a random size, blurred by a shot drawn from `rng`, (size, size,
    3) uint8. Windows of much detail are preferred. Only what the window shows is blurred."""
    return self._crop(item, size, rng)[:2]

  def known_crop(self, item: int, size: int, rng: np.random.Generator) -> Crop:
    """Like `crop`, and the field of its blur; the reference is in a share of the crops a window of
    another photograph, in a size of its own, under the very same shot."""
    blurry, sharp, shot, window = self._crop(item, size, rng)
    if window is None or shot is None:
      field = blur_field.unknown(size) if window is None else blur_field.still(size)
      return Crop(blurry, sharp, blurry, field)
    reference = None
    if rng.uniform() < self._reference:
      reference = self._reference_of(item, shot, window, rng)
    field = shots.field_of(shot, window)
    return Crop(blurry, sharp, blurry if reference is None else reference, field)

  def _reference_of(
    self, item: int, shot: Shot, window: Window, rng: np.random.Generator
  ) -> np.ndarray | None:
    """Another photograph under the exposure of an item's window, or None where it is damaged, which
    is told in its own turn."""
    other = (item + int(rng.integers(1, max(len(self), 2)))) % len(self)
    try:
      photo, place, scale, _ = self._window(other, window[0].stop - window[0].start, rng)
    except UserError:
      return None

    def seen(whole: Window, around: int) -> np.ndarray:
      # The exposure is that of the window, whatever is seen there.
      rows, columns = (
        slice(there.start + outer.start - here.start, there.stop + outer.stop - here.stop)
        for there, outer, here in zip(place, whole, window, strict=True)
      )
      return _scaled(photo, scale, (rows, columns), around)

    return shots.exposed(shot, window, seen, rng)[0]

  def _crop(
    self, item: int, size: int, rng: np.random.Generator
  ) -> tuple[np.ndarray, np.ndarray, Shot | None, Window | None]:
    """Blurry, sharp, the shot, and the window of the photograph; no shot where it was left as it
    is, no window where a surface is shown instead."""
    kind = rng.uniform()
    if kind < self._flat:
      # Decoded even so: whether an item counts as damaged must not depend on what is drawn.
      self.photograph(item)
      surface = flat_crop(size, rng)
      return surface, surface.copy(), None, None
    photo, window, scale, shape = self._window(item, size, rng)
    if kind < self._flat + self._sharp:
      sharp = _scaled(photo, scale, window, 0)
      return sharp.copy(), sharp, None, window
    shot = shots.draw_shot(self._blur, shape, rng)
    seen = partial(_scaled, photo, scale)
    return *shots.exposed(shot, window, seen, rng), shot, window

  def _window(
    self, item: int, size: int, rng: np.random.Generator
  ) -> tuple[np.ndarray, Window, float, tuple[int, ...]]:
    """A photograph, a window of much detail of it in a random size, the size's scale and shape."""
    photo = self.photograph(item)
    smallest = max(SMALLEST_SCALE, size / min(photo.shape[:2]))
    scale = shots.log_uniform(rng, min(smallest, 1), 1)
    shape = tuple(max(round(side * scale), size) for side in photo.shape[:2])
    windows = [random_window(shape, size, rng, self.names[item]) for _ in range(CANDIDATES)]
    window = max(windows, key=lambda window: _detail(_source(photo, window, scale)))
    return photo, window, scale, shape


def scene_of(name: str) -> str:
  """What a photograph shows a part of: the folder that it lies in, in the root itself."""
  return name.rpartition('/')[0] or name


def held_back(scene: str, share: float) -> bool:
  """Whether a scene is held back: always the same ones, whatever else there is, and of a larger
  share a superset. By the first 8 bytes of SHA-256 of its name."""
  return _number(scene) < share * 2**64


def flat_crop(size: int, rng: np.random.Generator) -> np.ndarray:
  """A surface of one colour that may change slowly across, (size, size, 3) uint8."""
  colour = rng.uniform(0, 255, 3) if rng.uniform() < 0.5 else np.full(3, rng.uniform(0, 255))
  change = rng.uniform(-GRADIENT, GRADIENT, (2, 3)) * (rng.uniform() < 0.5)
  y, x = np.mgrid[:size, :size][..., None] / size - 0.5
  return np.rint(np.clip(colour + x * change[0] + y * change[1], 0, 255)).astype(np.uint8)


def read_photograph(path: Path) -> np.ndarray:
  """A file as 8-bit RGB, upright, reduced to `LARGEST`. Raises UserError naming it."""
  pixels = to_8_bits(reading.load(path).pixels)
  scale = LARGEST / max(pixels.shape[:2])
  if scale < 1:
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
  return pixels


def _number(name: str) -> int:
  return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def _detail(patch: np.ndarray) -> float:
  """Mean difference of neighbours, in levels, of every other pixel in green."""
  green = np.ascontiguousarray(patch[::2, ::2, 1])
  across, down = cv2.absdiff(green[:, 1:], green[:, :-1]), cv2.absdiff(green[1:], green[:-1])
  return across.mean() + down.mean()


def _source(photo: np.ndarray, window: Window, scale: float) -> np.ndarray:
  """What a window at `scale` times the photograph's size is made of."""
  rows, columns = (slice(round(part.start / scale), round(part.stop / scale)) for part in window)
  return exposure.cut(photo, (rows, columns), 0)


def _scaled(photo: np.ndarray, scale: float, window: Window, around: int) -> np.ndarray:
  """A window of the photograph at `scale` times its size, and `around` pixels around it."""
  rows, columns = (slice(part.start - around, part.stop + around) for part in window)
  patch = _source(photo, (rows, columns), scale)
  if scale == 1:
    return patch
  size = columns.stop - columns.start, rows.stop - rows.start
  return cv2.resize(patch, size, interpolation=cv2.INTER_AREA)


def split_files(
  root: Path, split: str, share: float, list_file: str | os.PathLike
) -> list[tuple[str, Path]]:
  """(name, file) of the photographs of a split, see `PhotographPairs`; UserError where there are
  none."""
  if split not in SPLITS:
    raise UserError(f'Photographs have no split {split!r}; use one of {", ".join(SPLITS)}.')
  if not root.is_dir():
    raise UserError(f'The data folder {root} does not exist.')
  if has_splits(root):
    if (root / 'GT').is_dir():  # HIDE's, whose blurry pictures alone are divided
      raise UserError(f'{root} has its sharp pictures in {root / "GT"}: name that folder.')
    files = sorted(_find(root / split))
  else:
    files = _by_scene(root, split, share, list_file)
  for (name, _), (following, _) in pairwise(files):
    if name == following:
      raise UserError(f'{root} has two photographs for {name}; keep one of them.')
  if not files:
    hint = 'raise data.held_out_share' if split == 'test' else 'lower data.held_out_share'
    known = 'put photographs into it' if has_splits(root) or not list(_find(root)) else hint
    raise UserError(f'{root} has no photographs for the split {split}: {known}.')
  return files


def _by_scene(
  root: Path, split: str, share: float, list_file: str | os.PathLike
) -> list[tuple[str, Path]]:
  files = sorted(_find(root))
  scenes = [scene_of(name) for name, _ in files]
  listed = _read_list(Path(list_file), set(scenes)) if list_file else None
  return [
    file
    for file, scene in zip(files, scenes, strict=True)
    if (scene in listed if listed is not None else held_back(scene, share)) == (split == 'test')
  ]


def _read_list(path: Path, scenes: set[str]) -> set[str]:
  try:
    lines = path.read_text().splitlines()
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f'The list of held-out scenes {path} cannot be read: {error}.') from None
  listed = {line.strip() for line in lines if line.strip()}
  listed = {name if name in scenes else os.path.splitext(name)[0] for name in listed}
  if unknown := sorted(listed - scenes):
    raise UserError(f'{path} names {unknown[0]}, which is no photograph of data.root: correct it.')
  return listed


def _find(base: Path) -> Iterator[tuple[str, Path]]:
  """Yields (name without suffix, file); of pairs the sharp halves, whole ones if there are such.
  Raises UserError for a name that is no UTF-8."""
  with open_tree(base, scratch=base) as tree:
    paths = [PurePosixPath(path) for path in tree.paths]
  folders = {folder for path in paths for folder in path.parents[:-1]}
  roles: dict[PurePosixPath, set[str]] = collections.defaultdict(set)  # of the folders in a folder
  for folder in folders:
    roles[folder.parent].add(role(folder.name))
  left_out = {folder for folder in folders if _is_no_sharp_half(folder, roles[folder.parent])}
  for path in paths:
    if path.suffix.lower() in SUFFIXES and left_out.isdisjoint(path.parents):
      name = path.with_suffix('').as_posix()
      require_utf8(name, base / path)
      yield name, base / path


def _is_no_sharp_half(folder: PurePosixPath, beside: set[str]) -> bool:
  """Whether a folder has blurry pictures, or sub-pictures of sharp ones, of which others are in a
  folder beside it."""
  own = role(folder.name)
  if own.endswith(CROPS) and not beside.isdisjoint(SHARP):
    return True
  paired = any(part.removesuffix(CROPS) in SHARP for part in beside)
  return paired and own.removesuffix(CROPS) in (*BLURRY, GAMMA)


def size_of(path: Path) -> tuple[int, int]:
  """Sides of what `read_photograph` gives, px, by the file's header if Pillow knows its kind."""
  try:
    with Image.open(path) as picture:
      width, height = picture.size
  except Exception:  # Pillow has many for headers that it does not understand
    height, width = reading.load(path).pixels.shape[:2]
  scale = min(1, LARGEST / max(width, height))
  return int(width * scale), int(height * scale)
