"""The figures that the released networks give on deterministic weights and pictures."""

import functools
import json
import pathlib
import runpy

import numpy as np

from degrep_jax.convert import from_pytorch

# Kind of network: (its key shapes in the JSON file, the prefix of its weights).
NETWORKS = {
  'encoder_v1': ('keys_encoder_v1', 'encoder_v1/'),
  'encoder_v2': ('keys_encoder_v2', 'encoder_v2/'),
  'upsampler_v1': ('keys_upsampler_v1', 'upsampler_v1/'),
  'msdi_net': ('keys_msdi_net', 'msdi_net/'),
  'msdi2e': ('keys_msdi2e', 'msdi2e/'),
  'discriminator': ('keys_disc', 'disc/'),
}


class Figures:
  """One pair of files official_w<width>.json and .npz, and the inputs that they belong to.

  Attributes:
    about: the JSON file.
    arrays: name of a case to the reference values, whole or as `sample` keeps them.
  """

  def __init__(self, folder: pathlib.Path, width: int):
    self.about = json.loads((folder / f'official_w{width}.json').read_text())
    self.arrays = np.load(folder / f'official_w{width}.npz')
    self._inputs = runpy.run_path(str(folder / 'inputs.py'))
    assert self.about['width'] == width

  def image(self, name: str, count: int, height: int, width: int) -> np.ndarray:
    """float32 (count, height, width, 3) in (0, 1)."""
    return self._inputs['image'](self.about['salt'] + name, count, height, width)

  def latent(self) -> np.ndarray:
    """The upsampler's input, float32 (1, 4, 4, 4 * width)."""
    return self._inputs['latent'](self.about['salt'], self.about['width'])

  def network(self, kind: str):
    """(module, variables) of one of `NETWORKS`, filled as the reference was."""
    keys, prefix = NETWORKS[kind]
    return from_pytorch(kind, self._inputs['fill'](self.about[keys], self.about['salt'] + prefix))

  def compare(self, case: str, output) -> tuple[float, float]:
    """(largest |difference|, standard deviation of the whole reference)."""
    figure = self.about['cases'][case]
    assert list(output.shape) == figure['shape']
    difference = self._inputs['sample'](np.asarray(output)) - self.arrays[case]
    return float(np.abs(difference).max()), figure['std']


@functools.cache
def load(folder: pathlib.Path, width: int) -> Figures:
  """The figures of one width, read once."""
  return Figures(folder, width)
