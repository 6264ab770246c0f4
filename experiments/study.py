"""What the experiments on scenes of known blur share: settings, nets trained once, held-out scenes.

The scenes are squares of the photographs inside scikit-image, or of those in a folder (`--photos`),
of which a tenth is held out, always the same ones; they are as large as a training crop. In half of
them the camera rests and a region moves alone, so that the rest of the picture is truly sharp;
in the others the camera shakes as well. How every pixel moved is known.

Three settings: the full one (a GPU) has the released widths and scenes of 256 px, `--quick` the
nets of configs/demo.py and scenes of 64 px (2 CPU cores, minutes), `--smoke` trains next to nothing
(tests). All experiments find the nets in one folder and train those that are missing: a script that
was interrupted goes on with the one it was training, from its last checkpoint, and one that has
ended only scores again. Some take a joint network that was trained elsewhere in their place
(`--checkpoint`), on scenes of its training crop.
"""

import argparse
import functools
import os
import pathlib
import sys
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, NoReturn

# TensorFlow tells of itself when it is imported.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

import jax
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

sys.path.append(str(pathlib.Path(__file__).parents[1]))

from configs import default, demo, smoke
from degrep_jax import checkpoints
from degrep_jax import run_config as configs
from degrep_jax.commands import network
from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError
from degrep_jax.common.pixels import to_float, to_uint8
from degrep_jax.data.synthetic.exposure import BlurExample
from degrep_jax.inference import saved_networks
from degrep_jax.models import factory
from degrep_jax.runtime import compilation_cache, compiling, exits
from degrep_jax.training.loop import train

BATCH = 16  # pictures per pass of a trained net
MAP = '2-D map'
# The nets that are trained, by the fields in which they differ from the first.
NETS: dict[str, dict[str, Any]] = {
  MAP: {},  # official_v2: one place for 8x8 px (quick), or 32x32 px
  '4x4 map': {'model.encoder': 'official_v1'},  # a place for twice as many px
  '1-D code': {'model.global_code': True},
  'L1 only': {'loss.gan': 0.0, 'loss.gan_warmup_steps': 0},
  'no map': {'model.without_map': True},
}


def parser(doc: str, name: str) -> argparse.ArgumentParser:
  """The flags of all experiments; `name` is that of the folder in runs/ that results go to."""
  flags = argparse.ArgumentParser(
    description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  size = flags.add_mutually_exclusive_group()
  size.add_argument('--quick', action='store_true', help='minutes on 2 CPU cores')
  size.add_argument('--smoke', action='store_true', help='nets of two steps, for tests')
  flags.add_argument('--steps', type=int, help='training steps of every net')
  flags.add_argument('--seed', type=int, default=0, help='of weights, data and everything drawn')
  flags.add_argument(
    '--output', type=pathlib.Path, help=f'folder of the results; default runs/{name}[_quick]'
  )
  flags.add_argument(
    '--nets', type=pathlib.Path, help='folder of the nets; default runs/scene_nets[_quick]'
  )
  flags.add_argument(
    '--photos',
    type=pathlib.Path,
    metavar='DIR',
    help='photographs to cut scenes from, in place of those inside scikit-image',
  )
  flags.set_defaults(name=name, checkpoint=None)
  return flags


def label(checkpoint: str) -> str:
  """What a network of `--checkpoint` is called in tables and folders."""
  return pathlib.Path(checkpoint).name.removesuffix('.safetensors')


def _folder(args: argparse.Namespace, name: str) -> pathlib.Path:
  setting = 'quick' if args.quick else 'smoke' if args.smoke else ''
  if args.checkpoint:
    setting = label(args.checkpoint)
  return pathlib.Path('runs', '_'.join(filter(None, (name, setting))))


def output(args: argparse.Namespace) -> pathlib.Path:
  """The folder of the results."""
  return args.output or _folder(args, args.name)


def settings(args: argparse.Namespace, net: str = MAP) -> ConfigDict:
  """The joint stage's config in the chosen setting, of one of `NETS`, or of the checkpoint."""
  if args.checkpoint:
    config = joint(args.checkpoint)[1].copy_and_resolve_references()
    config.seed = args.seed
    on_scenes(config, args.photos)
    return config
  config = (smoke if args.smoke else demo if args.quick else default).get_config()
  config.seed = args.seed
  if args.smoke:
    config.train.steps = 2
  elif args.quick:
    config.train.steps = 500
    config.train.batch_size = 4
  else:
    # Table 1's encoder learns its map late, if at all; see configs/demo.py.
    config.model.encoder, config.model.modulation = 'official_v2', 'sam'
    config.train.steps = 60_000
  if args.steps is not None:
    config.train.steps = args.steps
  config.optimizer.schedule_steps = steps = config.train.steps
  # A GAN from the first step on kept Gr from ever reading its map, in one seed of three.
  config.loss.gan_warmup_steps = 2 * steps // 5
  on_scenes(config, args.photos)
  log = config.log
  log.evaluate_every_steps = log.pictures_every_steps = steps
  log.checkpoint_every_steps = 2_000 if steps > 10_000 else 100
  log.keep_checkpoints = 1
  config.update_from_flattened_dict(NETS[net])
  if config.model.encoder == 'official_v2' and not (args.quick or args.smoke):
    config.model.encoder_stages = (1, 2, 4, 8, 16)  # as released; the default is of the other two
  return config


def on_scenes(config: ConfigDict, photos: pathlib.Path | None) -> None:
  """Has a config's data be the scenes of known blur, as large as its training crop, of the
  photographs in a folder, or of those inside scikit-image."""
  data = config.data
  data.source = 'synthetic'
  data.scene = data.crop
  data.photographs = str(photos.absolute()) if photos else ''
  data.shake, data.object_motion, data.rotation = data.crop / 6, data.crop / 5, 0.0
  data.rest = 0.5
  # The scripts score the nets on more scenes than a run looks at, and once.
  data.eval_variants = 1
  config.eval.tile, config.eval.batch_size = data.crop, 4 * jax.device_count()


class Trained(NamedTuple):
  """A joint net and its variables."""

  net: nn.Module
  variables: Any

  def maps(self, pictures: np.ndarray) -> np.ndarray:
    """M of pictures (N, S, S, 3) uint8 as the generators get it: (N, h, w, C) float32."""
    return self._apply('degradation_map', pictures)

  def reblur(self, sharp: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Gr(x, M), (N, S, S, 3) uint8, of sharp pictures, uint8 as well, and maps (N, h, w, C)."""
    return to_uint8(self._apply('reblur', sharp, maps))

  def deblur(self, blurry: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Gd(y, M), likewise."""
    return to_uint8(self._apply('deblur', blurry, maps))

  def _apply(self, method: str, *inputs: np.ndarray) -> np.ndarray:
    count, apply = len(inputs[0]), _compiled(self.net, method)
    # One shape, one compilation: the last batch is filled up.
    numbers = np.minimum(np.arange(-(-count // BATCH) * BATCH), count - 1).reshape(-1, BATCH)
    results = [
      apply(self.variables, *(to_float(x[i]) if x.dtype == np.uint8 else x[i] for x in inputs))
      for i in numbers
    ]
    return np.concatenate([np.asarray(jax.tree.leaves(result)[0]) for result in results])[:count]


@functools.cache
def _compiled(net: nn.Module, method: str) -> Callable:
  return compiling.jit(functools.partial(net.apply, method=method))


@functools.cache
def joint(checkpoint: str) -> tuple[Trained, ConfigDict]:
  """A joint network and its config; a workdir, a file, or the name of one that ships.

  Raises:
    UserError: there is none, or it is another network.
  """
  saved = saved_networks.load(network.located(checkpoint, 'reblur')[1])
  config = ConfigDict(saved.about['config'])
  if config.model.network != 'joint':
    raise UserError(f'--checkpoint {checkpoint} is a {config.model.network}; name a joint network.')
  if 'data' not in config:
    raise UserError(f'--checkpoint {checkpoint} was converted: it says nothing of its training.')
  return Trained(saved.module, saved.variables), config


def setting(args: argparse.Namespace) -> dict[str, Any]:
  """What a report says of the nets: their seed and steps, or where they come from."""
  if args.checkpoint:
    return {'checkpoint': args.checkpoint}
  return {'steps': settings(args).train.steps, 'seed': args.seed}


def train_to_end(config: ConfigDict, workdir: pathlib.Path) -> None:
  """Trains, or continues, a run; one that has ended is neither trained nor scored again."""
  if config.train.steps in checkpoints.saved_steps(workdir):
    configs.keep_in(workdir, config, has_checkpoint=True)  # refuses another run's
  else:
    say(f'training {workdir}')
    train(config, workdir)


def workdir_of(args: argparse.Namespace, net: str) -> pathlib.Path:
  """Where one of `NETS` lies, by the seed, steps and photographs of `args`."""
  config = settings(args, net)
  name = f'{net.replace(" ", "_")}_seed_{config.seed}_steps_{config.train.steps}'
  if args.photos:
    name += f'_{args.photos.absolute().name}'
  return (args.nets or _folder(args, 'scene_nets')) / name


def trained(args: argparse.Namespace, net: str = MAP) -> Trained:
  """One of `NETS`, by the seed, steps and photographs of `args`, trained as far as need be."""
  config, workdir = settings(args, net), workdir_of(args, net)
  train_to_end(config, workdir)
  variables = checkpoints.variables(checkpoints.load_network(workdir))
  return Trained(factory.build_generator(config.model, None), variables)


def stacked(examples: Iterable[BlurExample]) -> BlurExample:
  """Scenes of one size as one example of arrays with a leading axis of scenes."""
  columns = zip(*(vars(example).values() for example in examples), strict=True)
  return BlurExample(*map(np.stack, columns))


def run(main: Callable[[argparse.Namespace], None], args: argparse.Namespace) -> NoReturn:
  """Runs an experiment and ends the process: compiled programs are kept on the disk, and what goes
  wrong costs one sentence, as in `degrep_jax.main`."""
  compilation_cache.enable()
  exits.leave(exits.status_of(lambda: main(args)))
