"""The figures that the released networks give on deterministic weights and pictures."""

import functools
import json
import pathlib
import runpy

import numpy as np

from degrep_jax.convert.state_dicts import from_pytorch

OFFICIAL = 'official_w{}'  # the files of everything but HINet, whose one file holds both widths
# Kind of network: (its key shapes in the JSON file, the prefix of its weights).
NETWORKS = {
  'encoder_v1': ('keys_encoder_v1', 'encoder_v1/'),
  'encoder_v2': ('keys_encoder_v2', 'encoder_v2/'),
  'upsampler_v1': ('keys_upsampler_v1', 'upsampler_v1/'),
  'msdi_net': ('keys_msdi_net', 'msdi_net/'),
  'msdi2e': ('keys_msdi2e', 'msdi2e/'),
  'discriminator': ('keys_disc', 'disc/'),
  'hinet': ('keys_hinet_w{}', 'hinet/'),
}
TOLERANCE = 2e-4  # of one forward pass in float32, times max(1, std of the reference)
# One pass: (kind of network, its inputs) and the names of its outputs, in order ({} stands for the
# width).
PASSES = {
  ('encoder_v1', 'blurry'): ['encoder_v1/256'],
  ('encoder_v1', 'odd'): ['encoder_v1/128x208'],
  ('encoder_v2', 'blurry'): ['encoder_v2/256'],
  ('upsampler_v1', 'latent'): [f'upsampler_v1/{level}' for level in range(4)],
  ('msdi_net', 'blurry'): ['msdi_net/256/out1', 'msdi_net/256/out2'],
  ('msdi_net', 'odd'): ['msdi_net/128x208/out1', 'msdi_net/128x208/out2'],
  ('msdi2e', 'blurry, sharp'): ['msdi2e/256/deblur', 'msdi2e/256/reblur'],
  ('discriminator', 'sharp, blurry'): [f'disc/{i}/{layer}' for i in range(2) for layer in range(5)],
  ('hinet', 'blurry'): ['hinet_w{}/256/out1', 'hinet_w{}/256/out2'],
  ('hinet', 'odd'): ['hinet_w{}/128x208/out1', 'hinet_w{}/128x208/out2'],
}


def read_arrays(path: pathlib.Path) -> dict[str, np.ndarray]:
  """All arrays of an .npz file, which is closed again."""
  with np.load(path) as arrays:
    return dict(arrays)


class Figures:
  """One pair of .json and .npz files, and the inputs that they belong to.

  Attributes:
    width: of the networks.
    about: the JSON file.
    arrays: name of a case to the reference values, whole or as `sample` keeps them.
  """

  def __init__(self, folder: pathlib.Path, width: int, name: str):
    name = name.format(width)
    self.width = width
    self.about = json.loads((folder / f'{name}.json').read_text())
    self.arrays = read_arrays(folder / f'{name}.npz')
    self._inputs = runpy.run_path(str(folder / 'inputs.py'))
    assert self.about.get('width', width) == width

  def image(self, name: str, count: int, height: int, width: int) -> np.ndarray:
    """float32 (count, height, width, 3) in (0, 1)."""
    return self._inputs['image'](self.about['salt'] + name, count, height, width)

  def latent(self) -> np.ndarray:
    """The upsampler's input, float32 (1, 4, 4, 4 * width)."""
    return self._inputs['latent'](self.about['salt'], self.width)

  def pass_of(self, kind: str, names: str) -> tuple[list[str], list[np.ndarray]]:
    """(names of the outputs, inputs) of one of `PASSES`."""
    cases = [case.format(self.width) for case in PASSES[kind, names]]
    count = self.about['cases'][cases[0]]['shape'][0]
    makers = {
      'blurry': lambda: self.image('blur', 2, 256, 256)[:count],
      'sharp': lambda: self.image('sharp', 2, 256, 256)[:count],
      'odd': lambda: self.image('odd', 1, 128, 208),
      'latent': self.latent,
    }
    return cases, [makers[name]() for name in names.split(', ')]

  def state_dict(self, kind: str) -> dict[str, np.ndarray]:
    """The released state dict of one of `NETWORKS`, filled as the reference was."""
    keys, prefix = NETWORKS[kind]
    shapes = self.about[keys.format(self.width)]
    return self._inputs['fill'](shapes, self.about['salt'] + prefix)

  def network(self, kind: str):
    """(module, variables) of one of `NETWORKS`, filled as the reference was."""
    return from_pytorch(kind, self.state_dict(kind))

  def compare(self, case: str, output) -> tuple[float, float]:
    """(largest |difference|, standard deviation of the whole reference)."""
    figure = self.about['cases'][case]
    assert list(output.shape) == figure['shape']
    difference = self._inputs['sample'](np.asarray(output)) - self.arrays[case]
    return float(np.abs(difference).max()), figure['std']


def files_of(kind: str) -> str:
  """The files that hold the figures of one of `NETWORKS`, for `load`."""
  return 'hinet' if kind == 'hinet' else OFFICIAL


@functools.cache
def load(folder: pathlib.Path, width: int, name: str = OFFICIAL) -> Figures:
  """The figures of one width, read once; `name` of the files, {} standing for the width."""
  return Figures(folder, width, name)
