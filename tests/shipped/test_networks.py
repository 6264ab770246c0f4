"""What ships is found by name, taken where no network is named, and told of; here of tiny nets."""

import json
import sys

import numpy as np
import photo_files as files
import pytest
import saved
import tiny_deblur
import tiny_joint

from configs import small_finetune, small_hinet, small_joint
from degrep_jax import Restorer, cli, shipped
from degrep_jax.common.errors import UserError
from degrep_jax.inference import export
from degrep_jax.models import factory

TILE = 32


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
  """A folder with the files of tiny networks under the names that ship."""
  folder = tmp_path_factory.mktemp('shipped')
  for name, row in shipped.NETWORKS.items():
    tiny = tiny_joint if row.network == 'joint' else tiny_deblur
    config = tiny.config(model__network=row.network, eval__tile=TILE)
    saved.workdir(folder / 'runs' / name, config, {7: None})
    export.to_safetensors(folder / 'runs' / name, folder / f'{name}.safetensors', dtype='float16')
  return folder


@pytest.fixture
def ship(weights, monkeypatch, tmp_path):
  """Lets some networks ship, and no others."""

  def choose(*names):
    folder = tmp_path / 'shipped'
    folder.mkdir()
    for name in names:
      (folder / f'{name}.safetensors').symlink_to(weights / f'{name}.safetensors')
    monkeypatch.setattr('degrep_jax.shipped.networks.FOLDER', folder)
    return folder

  return choose


@pytest.fixture
def degrep(monkeypatch, tmp_path, capsys):
  """Runs `degrep` in this process beside a.png: (exit status, output, errors)."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr('degrep_jax.runtime.compilation_cache.enable', lambda: None)
  (tmp_path / 'a.png').write_bytes(files.png(files.gradient(33, 40, 3)))

  def run(*arguments):
    monkeypatch.setattr(sys, 'argv', ['degrep', *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
      cli.run()
    printed = capsys.readouterr()
    return end.value.code or 0, printed.out, printed.err

  return run


def test_the_table_says_what_the_networks_can_do():
  for row in shipped.NETWORKS.values():
    network = factory.NETWORKS[row.network]
    able = {'deblur': True, 'map': network.has_map, 'reblur': network.can_reblur}
    assert set(row.tasks) == {task for task, can in able.items() if can}
  configs = {name: row.config for name, row in shipped.NETWORKS.items()}
  assert configs == {
    'small': 'small_finetune',
    'small_joint': 'small_joint',
    'small_hinet': 'small_hinet',
  }
  for module, row in zip(
    (small_finetune, small_joint, small_hinet), shipped.NETWORKS.values(), strict=True
  ):
    assert module.get_config().model.network == row.network


@pytest.mark.parametrize(
  ('there', 'deblur', 'reblur'),
  [
    (('small', 'small_joint', 'small_hinet'), 'small', 'small_joint'),
    (('small_joint', 'small_hinet'), 'small_joint', 'small_joint'),
    (('small_hinet',), 'small_hinet', None),
    ((), None, None),
  ],
)
def test_the_first_that_can_is_taken(ship, there, deblur, reblur):
  ship(*there)
  assert (shipped.default('deblur'), shipped.default('reblur')) == (deblur, reblur)


def test_a_name_that_does_not_ship_costs_a_sentence_that_lists_what_does(ship):
  ship('small_joint', 'small_hinet')
  with pytest.raises(UserError, match='large does not ship with this copy') as refusal:
    Restorer.pretrained('large')
  assert 'choose one of small_joint, small_hinet, or name' in str(refusal.value)
  with pytest.raises(UserError, match='small does not ship'):
    Restorer.pretrained('small')


@pytest.mark.parametrize('name', shipped.NETWORKS)
def test_a_file_restores_as_the_checkpoint_that_it_was_made_of(ship, weights, name):
  """But for the storage: half a unit in the last of float16's 11 bits, of every weight."""
  ship(name)
  ours, whole = Restorer.pretrained(name), Restorer.from_checkpoint(weights / 'runs' / name)
  assert (ours.network, ours.tile, ours.about['step']) == (whole.network, TILE, 7)
  assert ours.about['parameters'] == whole.about['parameters']
  for found, expected in zip(*map(_leaves, (ours.variables, whole.variables)), strict=True):
    # Below float16's normal numbers the step is 2**-24.
    np.testing.assert_allclose(found, expected, rtol=2.0**-11, atol=2.0**-25)
  assert ours.about['config'] == whole.about['config']


def _leaves(variables):
  import jax

  return [np.asarray(x) for x in jax.tree.leaves(variables)]


def test_several_sizes_are_restored_and_a_tenth_of_the_picture_stays(ship):
  ship('small_joint')
  picture = 0.3 + 0.4 * np.random.default_rng(0).random((33, 40, 3), np.float32)
  plain = Restorer.from_checkpoint(shipped.path('small_joint')).deblur(picture)
  found = Restorer.pretrained().deblur(picture)
  by_hand = Restorer.from_checkpoint(
    shipped.path('small_joint'), ensemble=1, strength=0.9, scales=1_000_000
  )
  np.testing.assert_array_equal(found, by_hand.deblur(picture))
  one_size = Restorer.pretrained(scales=0).deblur(picture)
  np.testing.assert_allclose(one_size, 0.1 * picture + 0.9 * plain, rtol=0, atol=1e-6)
  assert np.abs(found - one_size).max() > 0.01
  alone = Restorer.pretrained(strength=1.0, scales=0).deblur(picture)
  np.testing.assert_array_equal(alone, plain)


def test_no_network_need_be_named(ship, degrep, tmp_path):
  ship('small_joint')
  status, out, err = degrep('deblur', 'a.png')
  first, done = err.splitlines()
  assert (status, out) == (0, '')
  assert first.startswith('Network: small_joint, joint net of ') and 'a.deblurred.png' in done
  restored = files.stored((tmp_path / 'a.deblurred.png').read_bytes())
  expected = Restorer.pretrained().deblur(files.gradient(33, 40, 3))
  np.testing.assert_array_equal(restored, expected)
  for command in (('map', 'a.png'), ('reblur', 'a.png', '--like', 'a.png')):
    status, _, err = degrep(*command)
    assert (status, err.splitlines()[0]) == (0, first)
  status, _, err = degrep('export', '--format=safetensors', '--output=net.safetensors')
  assert status == 0 and (tmp_path / 'net.safetensors').is_file()
  flags = ('--overwrite', '--checkpoint', 'net.safetensors', '--strength', '0.9', '--scales', '1M')
  assert degrep('deblur', 'a.png', *flags)[0] == 0
  again = files.stored((tmp_path / 'a.deblurred.png').read_bytes())
  np.testing.assert_array_equal(again, restored)


@pytest.mark.parametrize('command', ['deblur', 'map', 'reblur', 'demo', 'export'])
def test_help_names_the_default(ship, degrep, command):
  ship('small', 'small_joint')
  _, out, _ = degrep(command, '--help')
  default = 'small_joint' if command == 'reblur' else 'small'
  assert f'(default: {default})' in ' '.join(out.split())


def test_where_nothing_ships_the_commands_say_so(ship, degrep, tmp_path):
  ship()
  for command in (
    ('deblur', 'a.png'),
    ('map', 'a.png'),
    ('reblur', 'a.png', '--like', 'a.png'),
    ('export', '--format=onnx', '--output=net.onnx'),
    ('deblur', 'a.png', '--checkpoint', 'small'),
  ):
    status, out, err = degrep(*command)
    assert (status, out, len(err.splitlines())) == (2, '', 1)
    assert ('ships here' in err or 'does not ship' in err) and 'name a' in err
    assert degrep(command[0], '--help')[0] == 0
  status, out, err = degrep('info')
  assert (status, out) == (0, '') and err.startswith('No network ships with this copy')
  assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ['a.png']


def test_what_goes_wrong_with_names(ship, degrep):
  ship('small_joint')
  status, _, err = degrep('deblur', 'a.png', '--checkpoint', 'small_jiont')
  assert status == 2 and 'is small_joint meant?' in err
  status, _, err = degrep('deblur', 'a.png', '--step', '7')
  assert status == 2 and 'small_joint has no steps to choose from' in err
  status, _, err = degrep('deblur', 'a.png', '--checkpoint', 'small_hinet')
  words = 'small_hinet does not ship with this copy: choose one of small_joint, or name a workdir'
  assert status == 2 and words in err


def test_what_ships_is_listed(ship, degrep):
  folder = ship('small_joint', 'small_hinet')
  file = folder / 'small_joint.safetensors'
  measured = {'gopro': {'pictures': 6, 'blurry': 23.81, 'psnr': 24.9}}
  here = {'settings': shipped.SETTINGS, 'sets': measured}
  scores = {
    'small_joint': {'sha256': shipped.sha256(file)} | here,
    'small_hinet': {'sha256': 'of other weights'} | here,
  }
  (folder / shipped.SCORES).write_text(json.dumps(scores))
  status, out, err = degrep('info')
  assert (status, err) == (0, '')
  parameters = f'{Restorer.pretrained("small_joint").about["parameters"]:,}'
  (row,) = [line for line in out.splitlines() if line.startswith('small_joint ')]
  assert parameters in row and row.split()[-4:] == ['7', 'deblur,', 'map,', 'reblur']
  # Scores of other weights are not told.
  assert out.count('6 pictures: 24.90 dB from 23.81') == 1
  status, out, _ = degrep('info', 'small_joint')
  assert status == 0 and out.startswith(f'{file}: joint net, step 7')
  assert 'gopro, 6 pictures: 24.90 dB' in out and parameters in out
  found = json.loads(degrep('info', '--json')[1])
  assert found['small_joint']['measured'] == measured and not found['small_hinet']['measured']
  assert found['small_joint']['bytes'] == file.stat().st_size
  # Nor those of other settings.
  scores['small_joint']['settings'] = {'strength': 1.0}
  (folder / shipped.SCORES).write_text(json.dumps(scores))
  assert '24.90 dB' not in degrep('info', 'small_joint')[1]
