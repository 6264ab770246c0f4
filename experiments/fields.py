"""What the experiments on the map share: known fields of blur on chosen pictures, nets, output."""

import argparse
import io
import pathlib
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import study
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from degrep_jax import metrics
from degrep_jax.common.errors import UserError
from degrep_jax.common.files import write_atomically
from degrep_jax.common.pixels import to_float
from degrep_jax.data.source import open_synthetic
from degrep_jax.data.synthetic.exposure import BlurExample
from degrep_jax.data.synthetic.pairs import SyntheticPairs
from degrep_jax.models import factory
from degrep_jax.training import stages

MAPS = (study.MAP, '4x4 map', '1-D code')  # the nets that are compared
UNTRAINED = 'untrained'
REGIONS = ('whole', 'moving', 'still')
MOVED_PX, STILL_PX = 2.0, 0.5
ROUNDING = 1 / 12  # mean squared error of rounding to 8 bits: 58.9 dB
LEAST_SHARE = 0.01  # of a scene's pixels, below which a region is not scored


def parser(
  doc: str, name: str, scenes: int, probe_scenes: int | None = None
) -> argparse.ArgumentParser:
  """The flags of all experiments, the nets that are compared or a joint network that is there, and
  how many scenes are scored and, where there is a probe, trained on."""
  flags = study.parser(doc, name)
  flags.add_argument(
    '--checkpoint', help='a joint network, shipped or trained, in place of those compared'
  )
  flags.add_argument('--scenes', type=int, default=scenes, help='held-out scenes per photograph')
  flags.add_argument(
    '--net', action='append', choices=MAPS, help='one of those compared, again for more; all'
  )
  if probe_scenes is not None:
    about = 'scenes per training photograph to probe with'
    flags.add_argument('--probe_scenes', type=int, default=probe_scenes, help=about)
  return flags


def nets(args: argparse.Namespace) -> dict[str, study.Trained]:
  """The nets that are compared, trained as far as they are not yet; or that of `--checkpoint`.

  Raises:
    UserError: flags for the training of nets beside `--checkpoint`, or as `study.joint`.
  """
  if args.checkpoint:
    if args.net or args.steps or args.quick or args.smoke or args.nets:
      raise UserError(
        '--checkpoint names a trained network: leave out --net, --nets, --steps, --quick, --smoke.'
      )
    return {study.label(args.checkpoint): study.joint(args.checkpoint)[0]}
  return {name: study.trained(args, name) for name in args.net or MAPS}


def fields(
  args: argparse.Namespace,
  split: str,
  per_photograph: int,
  strength: float = 1.0,
  noise: bool = True,
) -> SyntheticPairs:
  """The scenes of a split, photograph after photograph, every motion `strength` times as large.

  `example(item, photo)` has the field of an item on any picture. Its noise is the same on all of
  them; `noise=False` leaves it out where a map could tell the field by it.
  """
  data = study.settings(args).data
  data.shake *= strength
  data.object_motion *= strength
  data.rotation *= strength
  if not noise:
    data.noise = 0.0
  return open_synthetic(data, split, per_photograph)


def photographs(source: SyntheticPairs) -> np.ndarray:
  """The number of the photograph that each of `fields` was cut from, (N,); several that show the
  same (motorcycle_left and motorcycle_right) have one number."""
  shown = list(dict.fromkeys(source.scenes))
  return np.array([shown.index(scene) for scene in source.scenes])


def require_several(shown: Sequence[Hashable]) -> None:
  """Raises UserError where items show one picture only: one has no other."""
  if len(set(shown)) < 2:
    raise UserError(
      'One picture, or scene, alone is held out, and two are needed: name a folder of more.'
    )


def of_others(shown: Sequence[Hashable], step: int) -> np.ndarray:
  """For every item the number of one that shows something else, (N,): the first such that lies a
  whole number of `step` further on, or the first of all.

  Raises:
    UserError: all show the same.
  """
  require_several(shown)
  numbers = range(len(shown))

  def other(item: int) -> int:
    further = [number % len(shown) for number in range(item + step, item + len(shown), step)]
    return next(number for number in (*further, *numbers) if shown[number] != shown[item])

  return np.array([other(item) for item in numbers])


def all_scenes(source: SyntheticPairs) -> BlurExample:
  """Every scene under its own field, stacked."""
  return study.stacked(map(source.example, range(len(source))))


def put_on(source: SyntheticPairs, items: Sequence[int], pictures: np.ndarray) -> BlurExample:
  """The fields of items on as many pictures (N, S, S, 3) uint8, stacked."""
  return study.stacked(map(source.example, items, pictures))


def regions(scenes: BlurExample) -> dict[str, np.ndarray]:
  """Masks (N, S, S) of the regions that are scored: all, what moved by `MOVED_PX` or more, and what
  nothing should blur: it moved by less than `STILL_PX` and was never behind what moves alone."""
  return {
    'whole': np.ones(scenes.extent.shape, bool),
    'moving': scenes.extent >= MOVED_PX,
    'still': (scenes.extent < STILL_PX) & ~scenes.swept,
  }


def region_psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float | None:
  """PSNR, dB, over the pixels of a mask (H, W) of two pictures (H, W, 3) uint8; None where the mask
  is less than `LEAST_SHARE` of them. Errors below `ROUNDING`, none at all for instance, count as
  that, so that means are finite."""
  if mask.mean() < LEAST_SHARE:
    return None
  return metrics.decibels(max(np.mean((a[mask].astype(np.float64) - b[mask]) ** 2), ROUNDING))


def whole_psnr(a: np.ndarray, b: np.ndarray) -> float:
  """`region_psnr` over the whole pictures."""
  return metrics.decibels(max(np.mean((a.astype(np.float64) - b) ** 2), ROUNDING))


def psnrs(result: np.ndarray, truth: BlurExample) -> list[dict[str, float | None]]:
  """A row per scene: PSNR of what stands for its blurry picture, (N, S, S, 3) uint8, by region."""
  masks = regions(truth)
  return [
    {name: region_psnr(ours, true, masks[name][number]) for name in REGIONS}
    for number, (ours, true) in enumerate(zip(result, truth.blurry, strict=True))
  ]


def untrained(args: argparse.Namespace, net: str = study.MAP) -> study.Trained:
  """A net with the weights that its training begins from."""
  config = study.settings(args, net)
  module = factory.build_generator(config.model, None)
  return study.Trained(module, stages.open_stage(config, constants={}).create().variables)


def grey(pictures: np.ndarray) -> np.ndarray:
  """Mean of the channels, (N, H, W, 3) uint8 to (N, H, W) float32 in [0, 1]."""
  return to_float(pictures).mean(-1)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  """A table whose first column is text and whose others are numbers."""
  lines = [head, ['---', *['---:'] * (len(head) - 1)], *rows]
  return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)


def interval(difference: Mapping[str, Any]) -> str:
  """That of a `bootstrap.Difference`, '' where pictures are too few for one."""
  low, high = difference['low'], difference['high']
  return '' if low is None else f'{low:+z.2f} .. {high:+z.2f}'


def show(cell: Axes, picture: np.ndarray, text: str = '') -> None:
  """A picture without ticks, with a text below."""
  cell.imshow(picture, interpolation='nearest')
  cell.set_xticks([])
  cell.set_yticks([])
  cell.set_xlabel(text, fontsize=8)


def save(drawing: Figure, path: pathlib.Path) -> None:
  """Writes a figure as a small PNG, the same bytes for the same figure."""
  canvas = FigureCanvasAgg(drawing)
  canvas.draw()
  file = io.BytesIO()
  Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3]).save(file, 'PNG', optimize=True)
  write_atomically(path, file.getvalue())
