"""The released PyTorch code and this package side by side: same weights, pictures and device.

python experiments/compare_pytorch.py --official_repo=DIR [--checkpoint=FILE] [--pictures=DIR]
  [--device=cuda]

DIR is a clone of github.com/dasongli1/Learning_degradation; PyTorch comes with the extra `convert`.
For every network: how far our outputs are from the released ones, seconds per forward pass on one
256x256 picture, peak memory, and for msdi_net the PSNR of both; for a training step of either stage
how far the first step's losses are. Weights are random unless --checkpoint names a msdi_net file.

The clone's classes and training steps run as they are. What stands in their way outside a machine
with GPUs (paths of the authors' files, `.cuda()`, packages that these classes do not use) is
replaced from outside while they run; nothing of the clone is written to. VGG's loss is left out of
the joint step, its weights being somebody else's. Every measurement is a process of its own.
"""

import contextlib
import functools
import importlib
import importlib.util
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import types
from importlib.machinery import ModuleSpec
from unittest import mock

# PyTorch's threads spin while they wait: beside other work that made it 20 times slower.
os.environ.setdefault('OMP_WAIT_POLICY', 'passive')

import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError
from degrep_jax.common.files import write_atomically
from degrep_jax.common.pixels import to_float, to_uint8
from degrep_jax.data.pairs import FolderPairs
from degrep_jax.data.synthetic.pairs import Blur, SyntheticPairs
from degrep_jax.metrics import psnr

# JAX and PyTorch are imported where they are used: a process has only one of them in memory.

# Kind of network in degrep_jax.convert: released file, class.
NETWORKS = {
  'encoder_v1': ('encoder1', 'ConvEncoder'),
  'encoder_v2': ('encoder2', 'ConvEncoder'),
  'upsampler_v1': ('msdi_arch', 'prior_upsampling'),
  'msdi_net': ('msdi_arch', 'msdi_net'),
  'msdi2e': ('msdi2e_arch', 'MSDI2E'),
  'discriminator': ('discriminator', 'MultiscaleDiscriminator'),
}
IN_CHECKPOINT = ('encoder_v1', 'upsampler_v1', 'msdi_net')
# What is measured: the networks that it needs.
TASKS = {kind: (kind,) for kind in NETWORKS} | {
  'joint_step': ('msdi2e', 'discriminator'),
  'deblur_step': ('msdi_net',),
}
SIDE = 256  # pixels of a picture; the released encoders resize any other
REPEATS = 3  # timed calls; the table has their median
STEPS = 2  # timed training steps
RATES = {'joint_step': 2e-4, 'deblur_step': 3e-4}  # Adam's, of the released option files
BETAS, CLIP = (0.9, 0.99), 0.01
SIDES = ('pytorch', 'ours')

_REPO = flags.DEFINE_string('official_repo', None, 'Clone of the released repository.')
_CHECKPOINT = flags.DEFINE_string('checkpoint', None, 'Released msdi_net file (.pth).')
_PICTURES = flags.DEFINE_string('pictures', None, 'Folder with blur/ and sharp/; else synthetic.')
_COUNT = flags.DEFINE_integer('count', 3, 'Pictures taken from it at most, evenly spread.', 1)
_WIDTH = flags.DEFINE_integer('width', 64, 'Channels at full resolution; 64 as released.', 2)
_DEVICE = flags.DEFINE_enum('device', 'cpu', ['cpu', 'cuda'], 'Where both sides compute.')
_BATCH = flags.DEFINE_integer('batch', 1, 'Pairs of a training step.', 1)
_TASKS = flags.DEFINE_multi_enum('task', list(TASKS), list(TASKS), 'What to measure; repeatable.')
_JSON = flags.DEFINE_string('json', None, 'File for the figures.')
_MEASURE = flags.DEFINE_list('measure', None, 'Internal: side, task and folder of a process.')


# The released side.


@contextlib.contextmanager
def released(repo: pathlib.Path, width: int):
  """Makes the clone importable as `basicsr`, GPU or none, its networks `width` channels wide."""
  import torch
  from torch.nn.modules import batchnorm, conv

  def package(name):  # without running its __init__.py, which imports all there is
    module = types.ModuleType(name)
    module.__path__ = [str(repo / name.replace('.', '/'))]
    return module

  def narrow(channels):  # all but those of pictures and logits are multiples of 32
    return channels * width // 64 if channels >= 32 else channels

  convolution, norm = conv._ConvNd.__init__, batchnorm._NormBase.__init__

  def narrow_convolution(self, inputs, outputs, *rest, **named):
    convolution(self, narrow(inputs), narrow(outputs), *rest, **named)

  def narrow_norm(self, features, eps=1e-5, momentum=0.1, affine=True, tracked=True, **named):
    # Those without parameters and statistics take their channels from a narrowed convolution.
    features = narrow(features) if affine or tracked else features
    norm(self, features, eps, momentum, affine, tracked, **named)

  packages = {name: package(name) for name in ('basicsr', 'basicsr.models', 'basicsr.models.archs')}
  packages['basicsr.models.archs'].define_network = None
  names = ('torchvision', 'tqdm', 'basicsr.utils', 'basicsr.utils.dist_util', 'basicsr.metrics')
  unused = {name: mock.MagicMock(__spec__=ModuleSpec(name, None)) for name in names}
  with (
    mock.patch.dict(sys.modules, packages | unused),
    mock.patch.object(torch, 'load', lambda *_, **__: {}),  # loaded with strict=False
    mock.patch.object(torch.Tensor, 'cuda', lambda self, *_: self.to(_DEVICE.value)),
    mock.patch.object(conv._ConvNd, '__init__', narrow_convolution),
    mock.patch.object(batchnorm._NormBase, '__init__', narrow_norm),
  ):
    yield


def released_class(path: str, name: str):
  """A class of the clone, `path` below basicsr.models; inside `released`."""
  return getattr(importlib.import_module(f'basicsr.models.{path}'), name)


def released_network(kind: str, weights: pathlib.Path | None = None):
  """A network of the clone, with the state dict `<weights>/<kind>.npz` where a folder is given."""
  import torch

  file, name = NETWORKS[kind]
  network = released_class(f'archs.{file}', name)()
  if weights:
    state = {key: torch.from_numpy(value) for key, value in read_arrays(weights, kind).items()}
    network.load_state_dict(state)
  return network


def make_weights(kind: str, checkpoint: str | None) -> dict[str, np.ndarray]:
  """A released state dict: the checkpoint's, or random and always the same."""
  import torch

  saved = {}
  if checkpoint and kind in IN_CHECKPOINT:  # read before `torch.load` is replaced
    from degrep_jax.convert.state_dicts import convert, to_pytorch
    from degrep_jax.convert.torch_files import read_state_dict

    conversion = convert(kind, read_state_dict(checkpoint))
    saved = to_pytorch(kind, conversion.variables, conversion.unread)
  with released(pathlib.Path(_REPO.value), _WIDTH.value), torch.no_grad():
    torch.manual_seed(0)
    network = released_network(kind)
    for parameter in network.parameters():
      if parameter.ndim == 4:  # keeps the activations' size, and the kernel's singular vectors
        parameter *= 3**0.5
      else:  # no bias 0, no scale 1: either would hide a mistake
        parameter += 0.2 * torch.rand_like(parameter) - 0.1
    for module in network.modules():  # spectral norms whose iteration has settled
      for hook in module._forward_pre_hooks.values():
        hook.n_power_iterations = 30
        hook.compute_weight(module, True)
    state = {key: value.numpy() for key, value in network.state_dict().items()}
  if saved and {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in state.items()}:
    raise UserError(f'{checkpoint} is of another width than --width={_WIDTH.value}.')
  return saved or state


def tensor(pictures: np.ndarray):
  """Pictures `(N, H, W, C)` as PyTorch has them, on the device."""
  import torch

  return torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).to(_DEVICE.value)


def finished(outputs):
  """The outputs, when the device has made them."""
  import torch

  if _DEVICE.value == 'cuda':
    torch.cuda.synchronize()
  return outputs


def pytorch_forward(task: str, folder: pathlib.Path, pictures):
  """(outputs, seconds of every call, None) of a released network in evaluation mode."""
  import torch

  def tensors(arrays):
    arrays = [tensor(x) for x in arrays]
    return [torch.cat(arrays, 1)] if task == 'discriminator' else arrays

  network = released_network(task, folder).eval().to(_DEVICE.value)
  inputs = [tensors(arrays) for arrays in network_inputs(task, *pictures)]
  with torch.no_grad():
    outputs, seconds = timed(lambda x: finished(network(*x)), inputs)
  return numbered(x.permute(0, 2, 3, 1).cpu().numpy() for x in leaves(outputs)), seconds, None


def pytorch_step(task: str, folder: pathlib.Path, pictures):
  """(losses of the first step, seconds of the others, None) of the released
  `optimize_parameters`."""
  import torch

  joint = task == 'joint_step'
  number = '2' if joint else ''
  model_class = released_class(f'image_restoration{number}_model', f'ImageRestorationModel{number}')
  # Its constructor wants the authors' files and GPUs; what it would set is set here.
  model = object.__new__(model_class)
  adam = {'type': 'Adam', 'lr': RATES[task], 'betas': BETAS}
  model.opt, model.optimizers = {'dist': False, 'train': {'optim_g': adam}}, []
  model.net_g = released_network(TASKS[task][0], folder).train().to(_DEVICE.value)
  model.L1 = model.criterionFeat = torch.nn.L1Loss()
  if joint:
    model.net_d = released_network('discriminator', folder).to(_DEVICE.value)
    model.criterionGAN = released_class('archs.loss', 'GANLoss')('hinge')
    model.criterionVGG = lambda fake, real: 0
  else:
    model.net_loss = released_class('archs.encoder1', 'ConvEncoderLoss')()
    model.net_loss.load_state_dict(model.net_g.net_prior.state_dict(), strict=False)
    model.net_loss.to(_DEVICE.value)
    model.cri_pix = released_class('losses', 'PSNRLoss')(loss_weight=0.5)
  model.setup_optimizers()
  model.lq, model.gt = (tensor(batch_of(x)) for x in pictures)

  def step():
    model.optimize_parameters(1)
    finished(None)
    terms = {**model.log_g_dict, **(model.log_d_dict or {})}
    return {name: np.array(float(x)) for name, x in terms.items() if name != 'VGG'}

  return *timed_steps(step), None


# Our side.


def our_network(kind: str, weights: pathlib.Path):
  """(module, variables) of ours from `<weights>/<kind>.npz`."""
  from degrep_jax.convert.state_dicts import from_pytorch

  return from_pytorch(kind, read_arrays(weights, kind))


def our_forward(task: str, folder: pathlib.Path, pictures):
  """(outputs, seconds of every call, seconds of compiling) of our network."""
  import jax

  from degrep_jax.runtime import compiling

  module, variables = our_network(task, folder)
  inputs = network_inputs(task, *pictures)
  start = time.perf_counter()
  compiled = compiling.jit(module.apply).lower(variables, *inputs[0]).compile()
  compiling = time.perf_counter() - start
  outputs, seconds = timed(lambda x: jax.block_until_ready(compiled(variables, *x)), inputs)
  return numbered(np.asarray(x) for x in leaves(outputs)), seconds, compiling


def our_joint_step(folder: pathlib.Path, optimizer):
  """The joint stage in the released order.

  Returns:
    create: variables to state; variables: its arguments; step: (state, batch) to (state, metrics);
    terms: released name of a loss to (metric, weight).
  """
  from degrep_jax.training import state, steps

  (generator, *variables), (discriminator, *others) = (
    our_network(kind, folder) for kind in TASKS['joint_step']
  )
  keywords = {
    'nets': steps.JointNets(generator, discriminator, None),
    'optimizer': optimizer,
    'weights': steps.LossWeights(l_gan=1, l_reblur=0, l_deblur=10, l_feature=10, l_vgg=0),
    'official_order': True,
  }

  def create(*variables):
    networks = (state.network_state(tree, optimizer) for tree in variables)
    return state.TrainState(np.zeros((), np.int32), *networks)

  terms = {'GAN': ('l_gan', 1), 'GAN_Feat': ('l_feature', 10), 'l_pix': ('l_deblur', 10)}
  terms |= {'D_Fake': ('l_d_fake', 1), 'D_real': ('l_d_real', 1)}
  step = lambda now, batch: steps.joint_step(now, {}, batch, **keywords)  # noqa: E731
  return create, variables + others, step, terms


def our_deblur_step(folder: pathlib.Path, optimizer):
  """The deblurring stage; returns what `our_joint_step` does."""
  from degrep_jax.models.variables import FROZEN, split
  from degrep_jax.training import state, steps

  net, variables = our_network('msdi_net', folder)
  weights = steps.DeblurWeights(l_psnr=0.5, l_features=1)
  step = functools.partial(steps.deblur_step, net=net, optimizer=optimizer, weights=weights)

  def create(variables):
    frozen, trained = split(variables, FROZEN)
    return state.DeblurState(
      np.zeros((), np.int32), state.network_state(trained, optimizer), frozen
    )

  return create, [variables], step, {'l_pix': ('l_psnr', 0.5), 'l_blur': ('l_features', 1)}


def our_step(task: str, folder: pathlib.Path, pictures):
  """(losses of the first step, seconds of the others, seconds of compiling) of our step."""
  import jax

  from degrep_jax.runtime import compiling, devices
  from degrep_jax.training import state

  optimizer = state.make_optimizer(lambda count: RATES[task], *BETAS, CLIP)
  build = our_joint_step if task == 'joint_step' else our_deblur_step
  create, variables, step, terms = build(folder, optimizer)
  now = jax.pmap(create)(*devices.replicate(variables))
  variables.clear()  # nothing is in memory twice
  blurry, sharp = map(batch_of, pictures)
  batch = devices.shard({'blurry': blurry, 'sharp': sharp})
  start = time.perf_counter()
  lowered = jax.pmap(step, axis_name=devices.AXIS, donate_argnums=0).lower(now, batch)
  compiled = compiling.compiled(lowered)
  compiling = time.perf_counter() - start

  def run():
    nonlocal now
    now, metrics = compiled(now, batch)
    metrics = devices.unreplicate(jax.block_until_ready(metrics))
    return {name: weight * metrics[ours] for name, (ours, weight) in terms.items()}

  return *timed_steps(run), compiling


# One process, one measurement.


def read_arrays(folder: pathlib.Path, stem: str) -> dict[str, np.ndarray]:
  """The arrays of `<folder>/<stem>.npz` by name."""
  with np.load(folder / f'{stem}.npz') as arrays:
    return dict(arrays)


def leaves(tree) -> list:
  """The arrays of nested lists and tuples, in order."""
  if not isinstance(tree, (list, tuple)):
    return [tree]
  return [leaf for part in tree for leaf in leaves(part)]


def numbered(arrays) -> dict[str, np.ndarray]:
  """Arrays under the names '0', '1', ..."""
  return {str(i): x for i, x in enumerate(arrays)}


def timed(call, inputs):
  """(what `call` gives for each input, seconds of every call); warms up first."""
  call(inputs[0])
  outputs, seconds = [], []
  for i in range(max(REPEATS, len(inputs))):
    start = time.perf_counter()
    output = call(inputs[i % len(inputs)])
    seconds.append(time.perf_counter() - start)
    outputs += [output] if i < len(inputs) else []
  return outputs, seconds


def timed_steps(step):
  """(losses of the first step, seconds of each further one)."""
  first, seconds = step(), []
  for _ in range(STEPS):
    start = time.perf_counter()
    step()
    seconds.append(time.perf_counter() - start)
  return first, seconds


def batch_of(pictures: np.ndarray) -> np.ndarray:
  """As many pictures as a training step takes, from the first on and again."""
  return np.resize(pictures, (_BATCH.value, *pictures.shape[1:]))


def peak_mib(side: str) -> float:
  """Peak memory of this process, or of what it holds of the GPU."""
  if _DEVICE.value == 'cpu':
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # KiB, on macOS bytes
    return peak / (2**20 if sys.platform == 'darwin' else 2**10)
  if side == 'pytorch':
    import torch

    return torch.cuda.max_memory_allocated() / 2**20
  import jax

  return jax.local_devices()[0].memory_stats()['peak_bytes_in_use'] / 2**20


def network_inputs(task: str, blurry: np.ndarray, sharp: np.ndarray) -> list[tuple]:
  """What a network is called with, a tuple for every picture `(N, SIDE, SIDE, 3)` of [0, 1]."""
  if task == 'upsampler_v1':  # an encoder's map has mean 0 and variance 1 in every channel
    rng = np.random.default_rng(0)
    shape = (len(blurry), 1, 4, 4, 4 * _WIDTH.value)
    return [(latent,) for latent in rng.standard_normal(shape, dtype=np.float32)]
  pairs = [(blurry[i : i + 1], sharp[i : i + 1]) for i in range(len(blurry))]
  if task == 'msdi2e':
    return pairs
  return [(s, b) if task == 'discriminator' else (b,) for b, s in pairs]


def measure(side: str, task: str, folder: pathlib.Path) -> None:
  """One side of a task: writes `<folder>/<side>.npz` (outputs or losses) and `<side>.json`."""
  repo = pathlib.Path(_REPO.value)
  if side == 'weights':
    for kind in TASKS[task]:
      np.savez(folder / f'{kind}.npz', **make_weights(kind, _CHECKPOINT.value))
    return
  saved = read_arrays(folder.parent, 'pictures')
  pictures = to_float(saved['blurry']), to_float(saved['sharp'])
  if side == 'pytorch':
    run = pytorch_forward if task in NETWORKS else pytorch_step
    context = released(repo, _WIDTH.value)
  else:
    run = our_forward if task in NETWORKS else our_step
    context = contextlib.nullcontext()
  with context:
    arrays, seconds, compiling = run(task, folder, pictures)
  np.savez(folder / f'{side}.npz', **arrays)
  row = {'seconds': seconds, 'compile_seconds': compiling, 'peak_mib': peak_mib(side)}
  (folder / f'{side}.json').write_text(json.dumps(row))


# The process that starts the others.


def require_inputs() -> None:
  """Raises UserError for what is missing, before anything is measured."""
  if importlib.util.find_spec('torch') is None:
    raise UserError('PyTorch is not installed: run pip install degrep_jax[convert].')
  if not _REPO.value:
    raise UserError('--official_repo is missing: clone github.com/dasongli1/Learning_degradation.')
  file = pathlib.Path(_REPO.value, 'basicsr/models/archs/msdi_arch.py')
  if not file.is_file():
    raise UserError(f'there is no {file}: --official_repo must be a clone of the released code.')
  if _CHECKPOINT.value and not pathlib.Path(_CHECKPOINT.value).is_file():
    raise UserError(f'there is no file {_CHECKPOINT.value}: mend --checkpoint.')
  if _WIDTH.value % 2:
    raise UserError(f'--width={_WIDTH.value} must be even: half the channels are normalised.')


def centre_crops() -> dict[str, np.ndarray]:
  """'blurry' and 'sharp', `(N, SIDE, SIDE, 3)` uint8, from the middle of the pictures."""
  if _PICTURES.value:
    source = FolderPairs(_PICTURES.value, 'test')
  else:  # the held-out photographs as the default config blurs them
    source = SyntheticPairs('test', Blur(14.0, 1.0, 16.0, 17, 1.0), variants=1, seed=0)
  crops = {'blurry': [], 'sharp': []}
  items = np.linspace(0, len(source) - 1, min(_COUNT.value, len(source)))
  for pair in map(source.pair, np.rint(items).astype(int)):
    top, left = ((side - SIDE) // 2 for side in pair.sharp.shape[:2])
    if min(top, left) < 0:
      raise UserError(f'{pair.name} is smaller than {SIDE}x{SIDE} pixels: leave it out.')
    window = slice(top, top + SIDE), slice(left, left + SIDE)
    crops['blurry'].append(pair.blurry[window])
    crops['sharp'].append(pair.sharp[window])
  return {name: np.stack(pictures) for name, pictures in crops.items()}


def in_own_process(side: str, task: str, folder: pathlib.Path) -> None:
  """Runs `measure` in a new process; -B: no byte code is written into the clone."""
  command = [sys.executable, '-B', '-W', 'ignore', __file__, *sys.argv[1:]]
  status = subprocess.run([*command, f'--measure={side},{task},{folder}'], check=False).returncode
  if status < 0:
    raise UserError(f'{task} ({side}) was killed, probably for want of memory: lower --width.')
  if status:  # it has said why
    raise SystemExit(status)


def scores(outputs: dict[str, np.ndarray], sharp: np.ndarray) -> list[float]:
  """PSNR, dB, of msdi_net's second output for every picture; outputs as `measure` writes them."""
  restored = list(outputs.values())[1::2]
  return [psnr(to_uint8(r[0]), s) for r, s in zip(restored, sharp, strict=True)]


def compare(task: str, folder: pathlib.Path, pictures: dict[str, np.ndarray]) -> dict:
  """A task's figures, everything as JSON has it."""
  for side in ('weights', *SIDES):
    say(f'{task}: {side}')
    in_own_process(side, task, folder)
  theirs, ours = (read_arrays(folder, side) for side in SIDES)
  if {k: v.shape for k, v in theirs.items()} != {k: v.shape for k, v in ours.items()}:
    raise RuntimeError(f'{task}: the two sides have different outputs')
  reference, values = (np.concatenate([x[k].ravel() for k in theirs]) for x in (theirs, ours))
  difference = np.abs(values - reference)
  row = {'task': task, 'largest': float(difference.max()), 'mean': float(difference.mean())}
  row |= {side: json.loads((folder / f'{side}.json').read_text()) for side in SIDES}
  if task in NETWORKS:
    row['deviation'] = float(reference.std())
  if task == 'msdi_net':
    blurry, sharp = pictures['blurry'], pictures['sharp']
    row['psnr'] = {'blurry': [psnr(b, s) for b, s in zip(blurry, sharp, strict=True)]}
    row['psnr'] |= {'pytorch': scores(theirs, sharp), 'ours': scores(ours, sharp)}
  return row


def _cost(side: dict) -> tuple[str, str]:
  return f'{statistics.median(side["seconds"]):.3f}', f'{side["peak_mib"]:,.0f}'


def show(rows: list[dict]) -> None:
  """Prints the table and the PSNRs; a training step's differences are those of its losses."""
  batch = f'batch 1, of a training step {_BATCH.value}'
  table = Table(title=f'width {_WIDTH.value}, 256x256, {batch}, {_DEVICE.value}')
  table.add_column('', no_wrap=True)
  headings = ['largest difference', 'mean', 'released: std', 's', 'MiB', 'ours: s', 'MiB']
  for heading in [*headings, 'compiling, s']:
    table.add_column(heading, justify='right')
  for row in rows:
    theirs, ours = row['pytorch'], row['ours']
    table.add_row(
      row['task'],
      *(f'{row[name]:.1e}' for name in ('largest', 'mean')),
      f'{row["deviation"]:.3f}' if 'deviation' in row else '-',
      *(text for side in (theirs, ours) for text in _cost(side)),
      f'{ours["compile_seconds"]:.1f}',
    )
  console = Console(width=120)
  console.print(table)
  for row in rows:
    if 'psnr' in row:
      means = {name: np.mean(values) for name, values in row['psnr'].items()}
      console.print(
        'msdi_net, PSNR against sharp, mean of {} pictures: released {pytorch:.4f} dB, '
        'ours {ours:.4f} dB, blurry {blurry:.4f} dB'.format(len(row['psnr']['ours']), **means)
      )


def main(argv: list[str]) -> int:
  """Prints the table and writes the JSON file; status 2 with one sentence where that fails."""
  try:
    if len(argv) > 1:
      raise UserError(f'{argv[1]!r} is not understood: flags start with --.')
    os.environ.setdefault('JAX_PLATFORMS', _DEVICE.value)
    if _MEASURE.value:
      side, task, folder = _MEASURE.value
      measure(side, task, pathlib.Path(folder))
      return 0
    require_inputs()
    rows, pictures = [], centre_crops()
    with tempfile.TemporaryDirectory() as root:
      np.savez(pathlib.Path(root, 'pictures.npz'), **pictures)
      for task in _TASKS.value:
        with tempfile.TemporaryDirectory(dir=root) as folder:
          rows.append(compare(task, pathlib.Path(folder), pictures))
    show(rows)
    if _JSON.value:
      about = {'width': _WIDTH.value, 'checkpoint': _CHECKPOINT.value, 'cpus': os.cpu_count()}
      about |= {'device': _DEVICE.value, 'batch': _BATCH.value}
      text = json.dumps(about | {'pictures': len(pictures['sharp']), 'rows': rows}, indent=2)
      write_atomically(_JSON.value, (text + '\n').encode())
  except UserError as error:
    print(f'compare_pytorch: {error}', file=sys.stderr)
    return 2
  return 0


if __name__ == '__main__':
  app.run(main)
