"""The released PyTorch networks and training steps, run as they are out of a clone.

What stands in their way outside a machine with GPUs (paths of the authors' files, `.cuda()`,
packages that these classes do not use) is replaced from outside while they run; nothing of the
clone is written to. VGG's loss is left out of the joint step, its weights being somebody else's.
"""

import contextlib
import importlib
import pathlib
import sys
import types
from importlib.machinery import ModuleSpec
from unittest import mock

import numpy as np
from peak_memory import forget_peak
from side_by_side import (
  BETAS,
  NETWORKS,
  RATES,
  TASKS,
  leaves,
  numbered,
  read_arrays,
  timed,
  timed_steps,
)

from degrep_jax.common.errors import UserError

# PyTorch is imported where it is used: our side's process has none of it.

IN_CHECKPOINT = ('encoder_v1', 'upsampler_v1', 'msdi_net')


@contextlib.contextmanager
def importable(repo: pathlib.Path, width: int, device: str = 'cpu'):
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
    mock.patch.object(torch.Tensor, 'cuda', lambda self, *_: self.to(device)),
    mock.patch.object(conv._ConvNd, '__init__', narrow_convolution),
    mock.patch.object(batchnorm._NormBase, '__init__', narrow_norm),
  ):
    yield


def released_class(path: str, name: str):
  """A class of the clone, `path` below basicsr.models; inside `importable`."""
  return getattr(importlib.import_module(f'basicsr.models.{path}'), name)


def network(kind: str, weights: pathlib.Path | None = None):
  """A network of the clone, with the state dict `<weights>/<kind>.npz` where a folder is given;
  inside `importable`."""
  import torch

  file, name = NETWORKS[kind]
  net = released_class(f'archs.{file}', name)()
  if weights:
    state = {key: torch.from_numpy(value) for key, value in read_arrays(weights, kind).items()}
    net.load_state_dict(state)
  return net


def make_weights(
  kind: str, repo: pathlib.Path, width: int, checkpoint: str | None
) -> dict[str, np.ndarray]:
  """A released state dict: the checkpoint's, or random and always the same."""
  import torch

  saved = {}
  if checkpoint and kind in IN_CHECKPOINT:  # read before `torch.load` is replaced
    from degrep_jax.convert.state_dicts import convert, to_pytorch
    from degrep_jax.convert.torch_files import read_state_dict

    conversion = convert(kind, read_state_dict(checkpoint))
    saved = to_pytorch(kind, conversion.variables, conversion.unread)
  with importable(repo, width), torch.no_grad():
    torch.manual_seed(0)
    net = network(kind)
    for parameter in net.parameters():
      if parameter.ndim == 4:  # keeps the activations' size, and the kernel's singular vectors
        parameter *= 3**0.5
      else:  # no bias 0, no scale 1: either would hide a mistake
        parameter += 0.2 * torch.rand_like(parameter) - 0.1
    for module in net.modules():  # spectral norms whose iteration has settled
      for hook in module._forward_pre_hooks.values():
        hook.n_power_iterations = 30
        hook.compute_weight(module, True)
    state = {key: value.numpy() for key, value in net.state_dict().items()}
  if saved and {k: v.shape for k, v in saved.items()} != {k: v.shape for k, v in state.items()}:
    raise UserError(f'{checkpoint} is of another width than --width={width}.')
  return saved or state


def tensor(pictures: np.ndarray, device: str):
  """Pictures `(N, H, W, C)` as PyTorch has them, on the device."""
  import torch

  return torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()).to(device)


def finished(outputs, device: str):
  """The outputs, when the device has made them."""
  import torch

  if device == 'cuda':
    torch.cuda.synchronize()
  return outputs


def forward(task: str, folder: pathlib.Path, inputs: list[tuple], device: str):
  """(outputs, seconds of every call, None) of a network in evaluation mode; inside `importable`."""
  import torch

  def tensors(arrays):
    arrays = [tensor(x, device) for x in arrays]
    return [torch.cat(arrays, 1)] if task == 'discriminator' else arrays

  net = network(task, folder).eval().to(device)
  forget_peak()
  with torch.no_grad():
    outputs, seconds = timed(lambda x: finished(net(*x), device), list(map(tensors, inputs)))
  return numbered(x.permute(0, 2, 3, 1).cpu().numpy() for x in leaves(outputs)), seconds, None


def step(task: str, folder: pathlib.Path, batch: tuple[np.ndarray, np.ndarray], device: str):
  """(losses of the first step, seconds of the others, None) of `optimize_parameters` on a blurry
  and a sharp batch; inside `importable`."""
  import torch

  joint = task == 'joint_step'
  number = '2' if joint else ''
  model_class = released_class(f'image_restoration{number}_model', f'ImageRestorationModel{number}')
  # Its constructor wants the authors' files and GPUs; what it would set is set here.
  model = object.__new__(model_class)
  adam = {'type': 'Adam', 'lr': RATES[task], 'betas': BETAS}
  model.opt, model.optimizers = {'dist': False, 'train': {'optim_g': adam}}, []
  model.net_g = network(TASKS[task][0], folder).train().to(device)
  model.L1 = model.criterionFeat = torch.nn.L1Loss()
  if joint:
    model.net_d = network('discriminator', folder).to(device)
    model.criterionGAN = released_class('archs.loss', 'GANLoss')('hinge')
    model.criterionVGG = lambda fake, real: 0
  else:
    model.net_loss = released_class('archs.encoder1', 'ConvEncoderLoss')()
    model.net_loss.load_state_dict(model.net_g.net_prior.state_dict(), strict=False)
    model.net_loss.to(device)
    model.cri_pix = released_class('losses', 'PSNRLoss')(loss_weight=0.5)
  model.setup_optimizers()
  model.lq, model.gt = (tensor(pictures, device) for pictures in batch)
  forget_peak()

  def run():
    model.optimize_parameters(1)
    finished(None, device)
    terms = {**model.log_g_dict, **(model.log_d_dict or {})}
    return {name: np.array(float(x)) for name, x in terms.items() if name != 'VGG'}

  return *timed_steps(run), None
