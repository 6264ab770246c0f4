"""Which pictures are pairs: files of two folders side by side, by the names such folders have.

Paths are looked at, not files, so that a folder and an archive are understood by the same code.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from degrep_jax.common.errors import UserError

SUFFIXES = (
  *('.png', '.jpg', '.jpeg', '.bmp', '.tif', '.tiff', '.webp', '.avif'),
  *('.heic', '.heif', '.hif', '.jp2', '.jxl'),
)
# What a folder of blurry pictures is called, and one of sharp ones: GOPRO_Large has blur/ and
# sharp/; MPRNet, HINet, Restormer and the released code have input/ and target/; RealBlur has
# blur/ and gt/; REDS train_blur/ and train_sharp/. Capitals make no difference.
BLURRY = ('blur', 'input')
SHARP = ('sharp', 'target', 'gt')
GAMMA = 'blur_gamma'  # GoPro's other blur, which is never read
CROPS = '_crops'  # ends the names of both folders where they hold sub-pictures
ROLES = frozenset((*BLURRY, *SHARP, GAMMA, *(name + CROPS for name in (*BLURRY, *SHARP))))
_SPLIT = re.compile(r'^(?:train|val)_(?=(?:blur|sharp)$)')  # before such a name, in REDS
# Such a word within a file's name: blur_7.png and gt_7.png are a pair of RealBlur's.
_WORD = re.compile(rf'(?<![^_-])(?:{"|".join((*BLURRY, *SHARP))})(?![^_-])')

Locate = Callable[[str], str]


def require_utf8(name: str, path: object) -> None:
  """Raises UserError where a file's name is no UTF-8, which no table of scores could hold."""
  try:
    name.encode()
  except UnicodeEncodeError:
    raise UserError(f'{str(path)!a} has a name that is no UTF-8: rename it.') from None


@dataclass(frozen=True)
class Found:
  """Pairs of some paths.

  Attributes:
    pairs: (name, blurry file, sharp file), sorted by name: the folder that both folders lie in and
      the blurry file's name without its suffix.
    alone: sharp files without a blurry partner, sorted.
  """

  pairs: tuple[tuple[str, str, str], ...]
  alone: tuple[str, ...]


def find_pairs(paths: Iterable[str], locate: Locate, crops: bool = False) -> Found:
  """The pairs among files that lie in folders side by side, at any depth.

  Partners have equal paths within their folders, suffixes aside; a word that tells what a folder
  holds (`blur_7.png` and `gt_7.png`) and HIDE's `.MP4` are no difference either.

  Args:
    paths: relative, with slashes, no hidden ones.
    locate: how messages name one; '' is the folder that all lie in.
    crops: take folders of sub-pictures, blur_crops/ and sharp_crops/ or input_crops/ and
      target_crops/, and no others. Otherwise they are taken where there are no whole pictures.

  Raises:
    UserError: two folders that may hold the same half of the pairs, none for the other half,
      `blur_gamma/` in place of `blur/`, a blurry file without a sharp partner or with several, or
      two of one name.
  """
  places: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
  for path in sorted(paths):
    if (place := split(path)) and PurePosixPath(path).suffix.lower() in SUFFIXES:
      places[place[0]][place[1]].append(path)
  pairs: dict[str, tuple[str, str, str]] = {}
  alone: list[str] = []
  for parent, found in places.items():
    there = _of_one_size(found, crops)
    if not there:
      continue
    blurry, sharp = _both_halves(parent, there, locate)
    partners = _partners(there[blurry], there[sharp], locate)
    for path, partner in partners.items():
      name = PurePosixPath(parent, _within(path)).with_suffix('').as_posix()
      if name in pairs:
        raise UserError(f'{locate("")} has two blurry files for {name}; keep one of them.')
      pairs[name] = name, path, partner
    alone += sorted({*there[sharp]} - {*partners.values()})
  return Found(tuple(pairs[name] for name in sorted(pairs)), tuple(alone))


def split(path: str) -> tuple[str, str, str] | None:
  """(the folder around, the folder that tells which half of a pair, the path within that) of a
  file; None where no folder tells."""
  parts = path.split('/')
  for place in reversed(range(len(parts) - 1)):
    if role(parts[place]) in ROLES:
      return '/'.join(parts[:place]), parts[place], '/'.join(parts[place + 1 :])
  return None


def role(folder: str) -> str:
  """What a folder's name tells: in small letters, without what REDS puts before it."""
  return _SPLIT.sub('', folder.lower())


def is_gamma(path: str) -> bool:
  """Whether a file is one of `blur_gamma/`."""
  place = split(path)
  return place is not None and place[1].lower() == GAMMA


def _within(path: str) -> str:
  place = split(path)
  assert place is not None  # it was found by its folder
  return place[2]


def _of_one_size(found: Mapping[str, list[str]], crops: bool) -> Mapping[str, list[str]]:
  """The folders of whole pictures or those of sub-pictures, by name."""
  cut = {name: files for name, files in found.items() if name.lower().endswith(CROPS)}
  whole = {name: files for name, files in found.items() if name not in cut}
  only_cut = cut and {name.lower() for name in whole} <= {GAMMA}
  return cut if crops or only_cut else whole


def _both_halves(parent: str, there: Mapping[str, list[str]], locate: Locate) -> tuple[str, str]:
  """The names of the folder of blurry pictures and of that of sharp ones."""
  halves = []
  for kind, names in (('blurry', BLURRY), ('sharp', SHARP)):
    found = [name for name in there if role(name).removesuffix(CROPS) in names]
    if len(found) > 1:
      raise UserError(
        f'{locate(parent)} has {found[0]}/ and {found[1]}/, which both stand for {kind} pictures: '
        'move one of them elsewhere.'
      )
    halves.append(found[0] if found else '')
  blurry, sharp = halves
  gamma = next((name for name in there if name.lower() == GAMMA), '')
  if gamma and not blurry:
    raise UserError(
      f'{locate(parent)} has {gamma}/ but no blur/, and no published figure is of {gamma}/, whose '
      'frames were averaged in linear light: put blur/ there, or rename the folder if you mean it.'
    )
  if not (blurry and sharp):
    there_is, wanted = (blurry, SHARP) if blurry else (sharp, BLURRY)
    others = ' or '.join(f'{name}/' for name in wanted)
    raise UserError(
      f'{locate(parent)} has pictures in {there_is}/ but none in {others} beside it: restore them.'
    )
  return blurry, sharp


def _partners(blurry: list[str], sharp: list[str], locate: Locate) -> dict[str, str]:
  """{blurry file: sharp file} of all blurry files of a folder."""
  by_key: list[dict[str, list[str]]] = [defaultdict(list) for _ in _keys('')]
  for path in sharp:
    for known, key in zip(by_key, _keys(_within(path)), strict=True):
      known[key].append(path)
  partners: dict[str, str] = {}
  missing: list[str] = []
  for path in blurry:
    keys = zip(by_key, _keys(_within(path)), strict=True)
    fitting = next((known[key] for known, key in keys if key in known), [])
    if len(fitting) > 1:
      raise UserError(
        f'{locate(path)} has several sharp partners, {locate(fitting[0])} and '
        f'{locate(fitting[1])}: keep one of them.'
      )
    if fitting:
      partners[path] = fitting[0]
    else:
      missing.append(path)
  if missing:
    raise UserError(
      f'{locate(missing[0])} has no sharp partner; {len(missing):,} of {len(blurry):,} blurry '
      'pictures there have none: restore the partners, or remove the files.'
    )
  return partners


def _keys(within: str) -> tuple[str, str, str]:
  """What partners agree in, the closest first."""
  path = PurePosixPath(within).with_suffix('') if within else PurePosixPath()
  bare = _WORD.sub('', path.name.removesuffix('.MP4'))
  return within, path.as_posix(), (path.parent / bare).as_posix()
