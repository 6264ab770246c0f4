"""A released file as a workdir."""

import pytest
import reference
import torch

from degrep_jax import convert
from degrep_jax.common.errors import UserError


def test_a_folder_of_others_is_left_alone(golden, tmp_path):
  weights = reference.load(golden, 8, reference.OFFICIAL).state_dict('discriminator')
  theirs = tmp_path / 'net' / 'checkpoints' / 'net.pth'
  theirs.parent.mkdir(parents=True)
  torch.save({key: torch.from_numpy(value) for key, value in weights.items()}, theirs)
  with pytest.raises(UserError, match='checkpoints is there and not empty: choose another folder'):
    convert.convert_file('discriminator', theirs, tmp_path / 'net')
  assert [*(tmp_path / 'net').rglob('*.*')] == [theirs]


@pytest.mark.parametrize('failing', ['checkpoints.Checkpoints.save', 'write_json'])
def test_a_conversion_that_failed_may_be_given_again(golden, tmp_path, monkeypatch, failing):
  weights = reference.load(golden, 8, reference.OFFICIAL).state_dict('discriminator')
  state = {key: torch.from_numpy(value) for key, value in weights.items()}
  torch.save(state, tmp_path / 'net.pth')

  def full(*_):
    raise OSError(28, 'No space left on device')

  with monkeypatch.context() as patch:
    patch.setattr(f'degrep_jax.convert.workdir.{failing}', full)
    with pytest.raises(UserError, match='is full'):
      convert.convert_file('discriminator', tmp_path / 'net.pth', tmp_path / 'net')
  assert not list((tmp_path / 'net').iterdir())
  convert.convert_file('discriminator', tmp_path / 'net.pth', tmp_path / 'net')
  assert (tmp_path / 'net' / 'config.json').exists()
