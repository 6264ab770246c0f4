"""Full pictures side by side: blurry, HINet, MSDI-Net, sharp (supplementary material, section 3).

Networks trained or converted before, of any width; the full setting is for a GPU:

python experiments/full_frame.py --dataset=GOPRO_Large --method=HINet=runs/gopro_hinet \
  --method=MSDI-Net=runs/gopro_deblur --tile=256 --crop=80 --output=runs/full_frame_gopro
python experiments/full_frame.py --dataset=RealBlur/RealBlur_J_test_list.txt --align \
  --method=HINet=runs/realblur_hinet --method=MSDI-Net=runs/realblur_j --tile=256

Networks trained here first, small and for minutes on 2 CPU cores, on the embedded photographs or on
train/ of a tree; `--joint` spares the joint stage where `make demo` has run:

python experiments/full_frame.py --quick
python experiments/full_frame.py --quick --joint=runs/demo
python experiments/full_frame.py --quick --dataset=GOPRO_Large --output=runs/full_frame_gopro

All held-out pictures are restored and scored. full_frame.json has the settings, the means, how far
the first method lies from the others and the scores of every picture; full_frame.csv a line per
picture and method; full_frame.png shows `--pictures` of them, taken evenly from their order: the
blurry one whole, and every method's crops from the two windows where the restored pictures differ
most from each other (with a single method: from the blurry one).

Run again after an interruption it continues: trainings from their checkpoints, and pictures that
lie in restored/ as these weights and settings made them are not restored again.
"""

import hashlib
import json
import os
import pathlib

# As in degrep_jax.main; what TensorFlow reads, `study` sets.
os.environ.setdefault('OPENCV_LOG_LEVEL', 'ERROR')

import frames
import jax
import numpy as np
import study
from absl import app, flags

from degrep_jax import Restorer, checkpoints
from degrep_jax.commands.network import located
from degrep_jax.common import pixels
from degrep_jax.common.console import results, say
from degrep_jax.common.errors import UserError, fail
from degrep_jax.common.files import make_folder_of, write_json
from degrep_jax.data.pairs import read_picture
from degrep_jax.data.released.splits import SPLITS
from degrep_jax.data.source import open_pairs, open_source
from degrep_jax.evaluation import scoring, tables
from degrep_jax.inference import restorer
from degrep_jax.models import factory
from degrep_jax.models.variables import FROZEN
from degrep_jax.runtime import compilation_cache, exits

SYNTHETIC = 'synthetic'  # the dataset of the embedded photographs
SHARP = 'sharp'  # the last column's label
PROTOCOLS = {'tiles': 'released', 'full': 'full_frame'}  # their names in degrep evaluate
TAKEN = (scoring.BLURRY, SHARP)
# Of the quick trainings; the other fields are those of configs/demo.py.
STEPS = {'joint': 300, 'msdi_net': 400, 'hinet': 400}
BATCH = 8
LABELS = {'hinet': 'HINet', 'msdi_net': 'MSDI-Net'}

_METHODS = flags.DEFINE_multi_string(
  'method', [], 'NAME=CHECKPOINT, as for degrep deblur; repeatable, the first is the baseline.'
)
_DATASET = flags.DEFINE_string(
  'dataset', SYNTHETIC, f'{SYNTHETIC}, or what degrep evaluate takes: a folder, list or name.'
)
_DATA_DIR = flags.DEFINE_string('data_dir', None, 'Where degrep prepare put the dataset.')
_OUTPUT = flags.DEFINE_string(
  'output', None, 'Folder for all that is written; by default runs/full_frame, or with _smoke.'
)
_MODE = flags.DEFINE_enum('mode', 'tiles', restorer.MODES, 'How pictures are restored.')
_TILE = flags.DEFINE_integer(
  'tile', None, "Side of the tiles, px; by default the network's own.", 1
)
_ALIGN = flags.DEFINE_bool('align', False, "Score after RealBlur's alignment.")
_PICTURES = flags.DEFINE_integer('pictures', 3, 'Shown; all are scored.', 1)
_CROP = flags.DEFINE_integer('crop', 40, 'Side of the magnified windows, px.', 8)
_QUICK = flags.DEFINE_bool('quick', False, 'Train HINet and MSDI-Net first, for minutes.')
_SMOKE = flags.DEFINE_bool('smoke', False, '--quick by steps that teach nothing, to try it out.')
_JOINT = flags.DEFINE_string('joint', None, '--quick: workdir of a joint run, not trained then.')
_SEED = flags.DEFINE_integer('seed', 0, '--quick: of the trainings.', 0)


class Kept(scoring.Checkpoint):
  """A network whose restored pictures are kept as PNG, and taken from there when run again.

  Args:
    label: in tables.
    restorer: a `Restorer`.
    folder: for the pictures of all methods; each set of weights and settings has its own in it.
  """

  def __init__(self, label: str, restorer: Restorer, folder: pathlib.Path):
    super().__init__(label, restorer)
    made_by = [self.settings, restorer.about['config']['model']]
    digest = hashlib.sha256(json.dumps(made_by, sort_keys=True).encode())
    for path, x in jax.tree_util.tree_leaves_with_path(restorer.variables):
      digest.update(jax.tree_util.keystr(path).encode() + np.asarray(x).tobytes())
    self._folder = folder / f'{label.replace("/", "_")}-{digest.hexdigest()[:12]}'

  def file(self, source, item):
    """Of a restored picture; flat, so that no name of a pair leads elsewhere, and told from that of
    another blurry picture of the name."""
    digest = hashlib.sha256(source.pair(item).blurry.tobytes()).hexdigest()[:12]
    return self._folder / f'{item:05}_{source.names[item].replace("/", "_")}-{digest}.png'

  def restore(self, source):
    """Yields {label: deblurred picture}, uint8 (H, W, 3), of every pair."""
    files = [self.file(source, item) for item in range(len(source))]
    there = [file.is_file() for file in files]
    restored = self._restorer.deblur(
      source.pair(item).blurry for item, found in enumerate(there) if not found
    )
    for file, found in zip(files, there, strict=True):
      if found:
        yield {self.label: read_picture(file)}
        continue
      picture = next(restored)
      pixels.write_png(file, picture)
      yield {self.label: picture}


def base_config():
  """Of the quick nets, and of the embedded photographs' blur."""
  return (study.smoke if _SMOKE.value else study.demo).get_config()


def quick_config(network, joint):
  """The config of a quick training; MSDI-Net and HINet differ in the map and its loss alone.

  Args:
    network: 'joint', 'msdi_net' or 'hinet'.
    joint: workdir of the joint run whose map MSDI-Net takes.
  """
  config = base_config()
  config.seed = _SEED.value
  config.model.network = network
  if _DATASET.value != SYNTHETIC:
    config.data.source, config.data.root = 'folder', _DATASET.value
  if not factory.NETWORKS[network].can_reblur:
    loss = config.loss
    loss.gan = loss.reblur_l1 = loss.deblur_l1 = 0.0
    loss.psnr = 0.5
  if factory.NETWORKS[network].frozen:
    config.loss.encoder_features = 1.0
    config.train.init_from = joint
  if not _SMOKE.value:
    config.train.batch_size = BATCH
    config.train.steps = config.optimizer.schedule_steps = STEPS[network]
    config.log.checkpoint_every_steps = 100
  # Once, at the end: these scores of whole pictures take longer than the crops.
  config.log.evaluate_every_steps = config.log.pictures_every_steps = config.train.steps
  return config


def quick_methods(output):
  """{label: workdir} of networks trained here."""
  nets, joint = output / ('smoke' if _SMOKE.value else 'quick'), _JOINT.value
  if joint is None:
    joint = str(nets / 'joint')
    study.train_to_end(quick_config('joint', ''), pathlib.Path(joint))
  else:
    checkpoints.load_parts(joint, FROZEN)  # what is wrong with it is said before HINet is trained
  workdirs = {}
  for network, label in LABELS.items():
    workdirs[label] = nets / network
    study.train_to_end(quick_config(network, joint), workdirs[label])
  return workdirs


def named_methods():
  """{label: workdir} of the flags; UserError where these do not go together."""
  found = {}
  for text in _METHODS.value:
    label, _, workdir = text.partition('=')
    if not label or not workdir:
      raise UserError(f'--method={text} is not understood: write NAME=CHECKPOINT.')
    if label in found or label in TAKEN:
      raise UserError(f'--method: the name {label} is taken already, choose another.')
    found[label] = workdir
  quick = _QUICK.value or _SMOKE.value
  tree = all(pathlib.Path(_DATASET.value, split).is_dir() for split in SPLITS)
  for wrong, sentence in (
    (found and quick, '--quick trains its own networks: leave either it or --method.'),
    (not found and not quick, 'name networks by --method=NAME=CHECKPOINT, or use --quick.'),
    (_JOINT.value and not quick, '--joint is that of --quick: name networks by --method instead.'),
    (_DATA_DIR.value and _DATASET.value == SYNTHETIC, '--data_dir: name its dataset by --dataset.'),
    (
      quick and _DATASET.value != SYNTHETIC and (_DATA_DIR.value or not tree),
      f'{_DATASET.value} has not both train/ and test/, which --quick needs: name such a folder.',
    ),
  ):  # fmt: skip
    if wrong:
      raise UserError(sentence)
  return found


def open_dataset():
  """(the held-out pairs, what they are called in the file of the scores)."""
  if _DATASET.value == SYNTHETIC:
    data = base_config().data
    blur = {name: data[name] for name in ('shake', 'rotation', 'object_motion', 'noise')}
    return open_source(
      data, 'test'
    ), f'embedded photographs, {data.eval_variants} blurs each: {blur}'
  source = open_pairs(_DATASET.value, _DATA_DIR.value)
  where = _DATA_DIR.value or _DATASET.value
  name = f'{_DATASET.value} in ' if _DATA_DIR.value else ''
  return source, name + str(pathlib.Path(where).absolute())


def lines(scores):
  """A row per picture and method, for the CSV."""
  return [
    {'name': row['name'], 'method': label}
    | {metric: row[f'{label}_{metric}'] for metric in scores.metrics}
    for row in scores.rows
    for label in scores.methods
  ]


def summary(scores, methods, protocol, dataset):
  """What full_frame.json holds, but for the windows that are shown."""
  found = scoring.summary(scores, methods, protocol, dataset)
  for told, method in zip(found['methods'], methods, strict=True):
    if isinstance(method, Kept):
      told |= method.settings
  return found | {'per_picture': lines(scores)}


def spread(count, shown):
  """`shown` of `count` items at even distances, the first among them; all where these are fewer."""
  shown = min(count, shown)
  return [i * count // shown for i in range(shown)]


def frame(source, item, networks, scores):
  """A shown picture: every method's, captions and windows."""
  pair = source.pair(item)
  pictures = {scoring.BLURRY: pair.blurry}
  pictures |= {method.label: read_picture(method.file(source, item)) for method in networks}
  compared = list(pictures.values())[1 if len(networks) > 1 else 0 :]
  try:
    windows = frames.differing_windows(compared, _CROP.value)
  except ValueError as error:
    raise UserError(f'{source.names[item]}: {error}: choose a smaller --crop.') from None
  row, (psnr, ssim) = scores.rows[item], scores.metrics[:2]
  captions = {SHARP: 'PSNR, dB / SSIM'}
  for label in pictures:
    value = row[f'{label}_{psnr}']
    captions[label] = (
      'not aligned' if value is None else f'{value:.2f} / {row[f"{label}_{ssim}"]:.4f}'
    )
  pictures[SHARP] = pair.sharp
  return frames.Frame(source.names[item], pictures, captions, windows, _CROP.value)


def draw(shown, scores, path):
  """The page of the pictures, with the means below it."""
  psnr, ssim = scores.metrics[:2]
  means = []
  for label in scores.methods:
    mean = scores.means(label)
    if mean[psnr] is not None:
      means.append(f'{label} {mean[psnr]:.2f} / {mean[ssim]:.4f}')
  frames.page(
    shown,
    path,
    f'Boxes: the two windows of {_CROP.value} px where the restored pictures differ most from '
    f'{"each other" if len(scores.methods) > 2 else "the blurry one"}. Scores: of whole pictures.\n'
    f'Means over all {len(scores.rows)} pictures: {", ".join(means)}.',
  )


def compare():
  """Trains where that is asked for, restores, scores, writes and prints."""
  default = 'runs/full_frame_smoke' if _SMOKE.value else 'runs/full_frame'
  workdirs, output = named_methods(), pathlib.Path(_OUTPUT.value or default)
  source, dataset = open_dataset()
  make_folder_of(output / 'full_frame.json')
  compilation_cache.enable()
  workdirs = workdirs or quick_methods(output)
  networks = [
    Kept(
      label,
      Restorer.from_checkpoint(
        located(str(workdir), 'deblur')[1], mode=_MODE.value, tile=_TILE.value
      ),
      output / 'restored',
    )
    for label, workdir in workdirs.items()
  ]
  methods = [scoring.BlurryInput(), *networks]
  name = 'realblur' if _ALIGN.value else PROTOCOLS.get(_MODE.value, _MODE.value)
  protocol = scoring.Protocol(name)  # each method tells how it restores
  scores = scoring.score(source, methods, protocol)
  shown = {
    item: frame(source, item, networks, scores) for item in spread(len(source), _PICTURES.value)
  }
  found = summary(scores, methods, protocol, dataset)
  found['shown'] = {frame.name: frame.windows for frame in shown.values()}
  found['crop'] = _CROP.value
  tables.write_csv(output / 'full_frame.csv', found['per_picture'])
  draw(list(shown.values()), scores, output / 'full_frame.png')
  write_json(output / 'full_frame.json', found)
  console = results()
  console.print(tables.methods_table(found))
  if found['differences']:
    console.print()
    console.print(tables.differences_table(found))
  say(f'wrote {output / "full_frame.json"}, .csv and .png')


def main(argv):
  """Status 0, or 2 with one sentence on stderr."""
  if len(argv) > 1:
    return fail(f'{argv[1]!r} is not understood: flags start with --.')
  return exits.status_of(compare)


def parse(argv):
  """Flags as absl reads them, but a bad one costs a sentence instead of the help."""
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    raise SystemExit(fail(' '.join(str(error).split()))) from None


if __name__ == '__main__':
  app.run(lambda argv: exits.leave(main(argv)), flags_parser=parse)
