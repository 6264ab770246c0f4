"""What a training says and refuses before it opens any data."""

import pytest
import tiny_joint

from degrep_jax.common.errors import UserError
from degrep_jax.runtime import devices
from degrep_jax.training import loop


@pytest.mark.parametrize('field', ['network', 'encoder', 'modulation'])
def test_an_unknown_network_is_refused_before_data_is_opened(tmp_path, monkeypatch, field):
  monkeypatch.setattr(loop, 'open_source', lambda *_: pytest.fail('data was opened'))
  config = tiny_joint.config(data__root='pairs', **{f'model__{field}': 'cubist'})
  with pytest.raises(UserError, match=f"config.model.{field} is 'cubist': choose one of"):
    loop.train(config, tmp_path / 'run')
  assert not (tmp_path / 'run').exists()


def test_an_unused_gpu_is_named_before_data_is_opened(tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(devices, 'unused_gpu', lambda: 'NVIDIA H200')
  config = tiny_joint.config(data__source='folder', data__root=str(tmp_path / 'missing'))
  with pytest.raises(UserError, match='missing'):
    loop.train(config, tmp_path / 'run')
  first = capsys.readouterr().err.splitlines()[0]
  assert first.startswith("JAX does not use this machine's NVIDIA H200: pip install '.[cuda]'")
