"""The table of networks: what its rows say, and that a new one takes a file and a row."""

import functools
import json

import jax
import numpy as np
import plain_unet
import pytest
import saved
import tiny_deblur

from degrep_jax import Restorer, cli, run_config
from degrep_jax.common.errors import UserError
from degrep_jax.convert import KINDS
from degrep_jax.models import factory


def test_what_networks_can_do():
  rows = factory.NETWORKS
  assert {name: (row.has_map, row.can_reblur, row.frozen) for name, row in rows.items()} == {
    'joint': (True, True, False),
    'msdi_net': (True, False, True),
    'hinet': (False, False, False),
  }
  assert {row.released for row in rows.values()} <= KINDS.keys()


@pytest.mark.parametrize('network', factory.NETWORKS)
def test_rows_name_what_the_modules_give(network):
  config = tiny_deblur.config(model__network=network)
  module, row = factory.build_network(config.model, axis_name=None), factory.NETWORKS[network]
  assert factory.name_of(module) == network
  picture = jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32)
  variables = jax.eval_shape(module.init, jax.random.key(0), *[picture] * row.inputs)
  given = (picture,)
  if row.has_map:
    encode = functools.partial(module.apply, method='degradation_map')
    given += (jax.eval_shape(encode, variables, picture),)
  seen = jax.eval_shape(functools.partial(module.apply, method='deblur'), variables, *given)
  assert {name: x.shape for name, x in seen.items()} == dict.fromkeys(row.outputs, picture.shape)


# --- a plain U-Net -------------------------------------------------------------------------------


@pytest.fixture
def config(monkeypatch):
  monkeypatch.setitem(factory.NETWORKS, 'plain', plain_unet.ROW)
  config = tiny_deblur.config(model__network='plain', loss__encoder_features=0.0)
  config.data.source = 'synthetic'
  return config


def test_a_new_network_is_checked(config):
  run_config.check(config, devices=1)
  config.loss.encoder_features = 1.0
  with pytest.raises(UserError, match=r'encoder_features.*the network plain has no such loss'):
    run_config.check(config, devices=1)
  config.loss.encoder_features, config.data.crop = 0.0, 31
  with pytest.raises(UserError, match=r'data\.crop is 31.*multiple of 2'):
    run_config.check(config, devices=1)
  config.data.crop, config.train.init_from = 32, 'runs/joint'
  with pytest.raises(UserError, match='the network plain takes no parts from elsewhere'):
    run_config.check(config, devices=1)


def test_a_new_network_learns(config):
  _, rows = tiny_deblur.run(
    tiny_deblur.compile_step(config), tiny_deblur.initial_state(config), count=3
  )
  assert rows[2]['l_psnr'] != rows[0]['l_psnr'] and np.isfinite(rows[2]['l_g'])
  assert {*rows[0]} == {'l_psnr', 'l_g', 'grad_norm_g'}


def test_a_new_network_restores_and_tells_of_itself(config, tmp_path, monkeypatch, capsys):
  state = saved.workdir(tmp_path / 'run', config, {7: None})
  net = Restorer.from_checkpoint(tmp_path / 'run', tile=32)
  picture = np.random.default_rng(0).random((32, 32, 3), np.float32)
  module = plain_unet.PlainUNet(config.model.width, config.model.depth)
  variables = {'params': state['generator']['params']}
  (expected,) = jax.jit(module.apply)(variables, picture[None])
  np.testing.assert_allclose(net.apply(picture)['deblurred'], expected[0], atol=1e-5)
  with pytest.raises(UserError, match='the network plain has no degradation map'):
    net.degradation_map(picture)
  with pytest.raises(UserError, match='the network plain cannot reblur'):
    net.reblur(picture, like=picture)
  told = []
  for flags in ([], ['--json']):
    monkeypatch.setattr('sys.argv', ['degrep', 'info', str(tmp_path / 'run'), *flags])
    with pytest.raises(SystemExit) as ended:
      cli.run()
    assert not ended.value.code
    told.append(capsys.readouterr().out)
  count = sum(x.size for x in jax.tree.leaves(variables))
  assert f'{tmp_path / "run"}: plain U-Net, step 7' in told[0]
  assert f'plain U-Net, deblurs {count:,}' in ' '.join(told[0].split())
  assert json.loads(told[1])['network'] == 'plain'
