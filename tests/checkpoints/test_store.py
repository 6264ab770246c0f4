"""Which checkpoints stay, and that a state comes back bit by bit."""

import errno
import gc
import os
import resource
import shutil
import time

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from degrep_jax import checkpoints
from degrep_jax.common.errors import UserError
from degrep_jax.training.state import DeblurState, NetworkState, TrainState

OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(optax.constant_schedule(1e-3)))


def network(seed, width=3):
  """Weights, statistics and moments of random bits, as a network after some steps."""
  rng = np.random.default_rng(seed)
  params = {
    'conv': {'kernel': rng.normal(size=(3, 3, 3, width)), 'bias': rng.normal(size=width)},
    'out': {'kernel': rng.normal(size=(width, 2))},
  }
  params = jax.tree.map(np.float32, params)
  statistics = {'spectral': {'conv': {'u': np.float32(rng.normal(size=width))}}, 'batch_stats': {}}
  _, opt_state = OPTIMIZER.update(params, OPTIMIZER.init(params), params)
  return NetworkState(params, statistics, jax.device_get(opt_state))


def state(step=5, discriminator=True, **size):
  return TrainState(
    step=np.int32(step),
    generator=network(step, **size),
    discriminator=network(step + 1000, **size) if discriminator else None,
  )


def save(workdir, *steps, keep=2, scores=None):
  """Saves states at some steps in one go; `scores` maps steps to deblurred PSNRs."""
  with checkpoints.Checkpoints(workdir, keep) as saved:
    for step in steps:
      saved.save(step, {'step': np.int32(step)})
      if step in (scores or {}):
        saved.add_scores(step, {'deblurred_psnr': scores[step], 'reblurred_psnr': -scores[step]})


@pytest.mark.parametrize('discriminator', [True, False])
def test_a_state_comes_back_bit_by_bit(tmp_path, discriminator):
  saved_state = state(discriminator=discriminator)
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    saved.save(5, saved_state)
  other = jax.tree.map(np.zeros_like, saved_state)
  restored = checkpoints.restore(tmp_path, other)
  assert jax.tree.structure(restored) == jax.tree.structure(saved_state)
  assert len(jax.tree.leaves(restored)) == (1 + 2 * 12 if discriminator else 1 + 12)
  for ours, theirs in zip(jax.tree.leaves(restored), jax.tree.leaves(saved_state), strict=True):
    assert isinstance(ours, np.ndarray)
    assert (ours.dtype, ours.shape) == (theirs.dtype, np.shape(theirs))
    assert ours.tobytes() == np.asarray(theirs).tobytes()


def test_a_state_loads_as_nested_dictionaries(tmp_path):
  saved_state = state()
  with checkpoints.Checkpoints(str(tmp_path), keep=1) as saved:
    saved.save(5, saved_state)
  loaded = checkpoints.load(str(tmp_path))
  assert set(loaded) == {'step', 'generator', 'discriminator'}
  assert set(loaded['generator']) == {'params', 'statistics', 'opt_state'}
  np.testing.assert_array_equal(
    loaded['generator']['params']['conv']['kernel'], saved_state.generator.params['conv']['kernel']
  )


def test_a_restored_state_trains_on(tmp_path):
  model = nn.Dense(2)
  params = model.init(jax.random.key(0), jnp.ones((1, 3)))['params']
  first = NetworkState(params, {}, OPTIMIZER.init(params))

  def step(net):
    gradients = jax.tree.map(jnp.ones_like, net.params)
    updates, opt_state = OPTIMIZER.update(gradients, net.opt_state, net.params)
    return net.replace(params=optax.apply_updates(net.params, updates), opt_state=opt_state)

  middle = step(first)
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    saved.save(1, jax.device_get(middle))
  continued = step(checkpoints.restore(tmp_path, first))
  jax.tree.map(np.testing.assert_array_equal, continued, step(middle))


def test_the_newest_are_kept(tmp_path):
  save(tmp_path, 1, 2, 3, 4, 10)
  assert checkpoints.saved_steps(tmp_path) == [4, 10]


def test_the_best_is_kept_beside_the_newest(tmp_path):
  save(tmp_path, *range(1, 8), scores={1: 25.0, 2: 31.0, 4: 30.0, 6: 29.0})
  assert checkpoints.saved_steps(tmp_path) == [2, 6, 7]


def test_of_equal_scores_the_latest_is_the_best(tmp_path):
  save(tmp_path, *range(1, 6), scores={1: 30.0, 2: 30.0, 3: 29.0})
  assert checkpoints.saved_steps(tmp_path) == [2, 4, 5]  # by scores that come later
  save(tmp_path, 6)
  assert checkpoints.saved_steps(tmp_path) == [2, 5, 6]  # and by a save
  assert checkpoints.best_step({1: {'deblurred_psnr': 30.0}, 2: {'deblurred_psnr': 30.0}}) == 2
  assert checkpoints.best_step({}) is None


def test_the_best_is_kept_across_runs(tmp_path):
  save(tmp_path, 1, 2, 3, scores={2: 31.0, 3: 28.0})
  save(tmp_path, 4, 5, scores={4: 30.0})
  save(tmp_path, 6, 7)
  assert checkpoints.saved_steps(tmp_path) == [2, 6, 7]
  save(tmp_path, 8, scores={8: 32.0})
  save(tmp_path, 9, 10)
  assert checkpoints.saved_steps(tmp_path) == [8, 9, 10]


def test_a_step_saved_twice_is_left_alone(tmp_path):
  first, other = state(5), state(6)
  with checkpoints.Checkpoints(tmp_path, keep=2) as saved:
    saved.save(5, first)
    saved.add_scores(5, {'deblurred_psnr': 30.0})
    saved.save(5, other)
  with checkpoints.Checkpoints(tmp_path, keep=2) as saved:
    saved.save(5, other)
    saved.add_scores(5, {'deblurred_psnr': 10.0})
  restored = checkpoints.restore(tmp_path, other)
  jax.tree.map(np.testing.assert_array_equal, restored, first)
  save(tmp_path, 6, 7, 8, scores={6: 20.0})
  assert checkpoints.saved_steps(tmp_path) == [5, 7, 8]  # the score of the first save holds


def test_without_a_step_the_newest_is_loaded(tmp_path):
  save(tmp_path, 9, 10, 100, keep=3, scores={9: 40.0})
  assert checkpoints.load(tmp_path)['step'] == 100
  assert checkpoints.load(tmp_path, step=9)['step'] == 9
  restored = checkpoints.restore(tmp_path, {'step': np.int32(0)}, step=10)
  assert restored['step'] == 10


def test_a_save_that_was_cut_off_is_no_checkpoint(tmp_path):
  save(tmp_path, 1)
  cut_off = tmp_path / 'checkpoints' / '2.orbax-checkpoint-tmp'
  cut_off.mkdir()
  (cut_off / 'default').mkdir()
  assert checkpoints.saved_steps(tmp_path) == [1]
  assert checkpoints.load(tmp_path)['step'] == 1


def test_other_folders_beside_the_steps_are_left_alone(tmp_path):
  save(tmp_path, 1)
  others = {'best_10', 'copy_of_20', '007', '1_0', '\N{SUPERSCRIPT TWO}'}
  for name in others:
    shutil.copytree(tmp_path / 'checkpoints' / '1', tmp_path / 'checkpoints' / name)
  assert checkpoints.set_damaged_aside(tmp_path) == 1
  save(tmp_path, 2, 3, 4, scores={2: 30.0, 4: 31.0})
  assert checkpoints.saved_steps(tmp_path) == [3, 4]
  assert {path.name for path in (tmp_path / 'checkpoints').iterdir()} == others | {'3', '4'}
  assert checkpoints.load(tmp_path)['step'] == 4


@pytest.mark.parametrize(
  ('folder', 'what'),
  [
    ('', 'there is no such folder'),
    ('run', 'train there first'),
    ('run/checkpoints', 'train there first'),
  ],
)
def test_a_workdir_without_checkpoints(tmp_path, folder, what):
  (tmp_path / folder).mkdir(parents=True, exist_ok=True)
  workdir = tmp_path / 'run'
  assert checkpoints.saved_steps(workdir) == []
  for read in (checkpoints.load, lambda workdir: checkpoints.restore(workdir, state())):
    with pytest.raises(UserError, match=f'holds no checkpoint: {what}') as caught:
      read(workdir)
    assert str(workdir) in str(caught.value)


def test_a_missing_step(tmp_path):
  save(tmp_path, 3, 4)
  with pytest.raises(UserError, match=r'holds no checkpoint of step 2: it has 3, 4\.') as caught:
    checkpoints.load(tmp_path, step=2)
  assert str(tmp_path) in str(caught.value)


def _refusal(workdir, other):
  with pytest.raises(UserError, match='is of other networks than the config') as caught:
    checkpoints.restore(workdir, other)
  assert str(workdir) in str(caught.value)
  assert '\n' not in str(caught.value)


def test_other_networks_are_refused(tmp_path):
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    saved.save(5, state())
  renamed = state()
  renamed.generator.params['conv_0'] = renamed.generator.params.pop('conv')
  _refusal(tmp_path, renamed)


def test_networks_of_another_width_are_refused(tmp_path):
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    saved.save(5, state())
  _refusal(tmp_path, state(width=4))


@pytest.mark.parametrize('saved_with', [True, False])
def test_a_discriminator_on_one_side_alone_is_refused(tmp_path, saved_with):
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    saved.save(5, state(discriminator=saved_with))
  _refusal(tmp_path, state(discriminator=not saved_with))


# --- parts of networks ---------------------------------------------------------------------------

PARTS = ('encoder', 'pyramid')


def _kernels(*parts, start=0):
  return {part: {'kernel': np.float32([start + i])} for i, part in enumerate(parts)}


def _save_tree(workdir, tree):
  with checkpoints.Checkpoints(workdir, keep=1) as saved:
    saved.save(3, {'step': np.int32(3)} | tree)


def _joint_tree():
  network = NetworkState(
    params=_kernels(*PARTS, 'reblurrer', 'deblurrer'),
    statistics={'spectral': _kernels('encoder', start=10), 'batch_stats': _kernels('reblurrer')},
    opt_state={},
  )
  return {'generator': network, 'discriminator': network}


def _values(tree):
  """{'collection/part': value}."""
  return {
    f'{of}/{part}': float(leaf['kernel'][0])
    for of, parts in tree.items()
    for part, leaf in parts.items()
  }


def test_parts_of_a_joint_run(tmp_path):
  _save_tree(tmp_path, _joint_tree())
  assert _values(checkpoints.load_parts(tmp_path, PARTS)) == {
    'params/encoder': 0,
    'params/pyramid': 1,
    'spectral/encoder': 10,
  }


def test_parts_of_a_deblurring_run_and_its_variables(tmp_path):
  network = NetworkState(_kernels('deblurrer'), {'spectral': _kernels('deblurrer', start=5)}, {})
  frozen = {'params': _kernels(*PARTS, start=20), 'spectral': _kernels(*PARTS, start=30)}
  deblur_state = DeblurState(np.int32(3), network, frozen)
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    saved.save(3, deblur_state)
  parts = {
    'params/encoder': 20,
    'params/pyramid': 21,
    'spectral/encoder': 30,
    'spectral/pyramid': 31,
  }
  assert _values(checkpoints.load_parts(tmp_path, PARTS)) == parts
  whole = parts | {'params/deblurrer': 0, 'spectral/deblurrer': 5}
  assert _values(checkpoints.variables(checkpoints.load(tmp_path))) == whole
  assert _values(deblur_state.variables) == whole


def test_a_workdir_of_some_parts_gives_those(tmp_path):
  _save_tree(tmp_path, {'frozen': {'params': _kernels('pyramid', start=7)}})
  assert _values(checkpoints.load_parts(tmp_path, PARTS)) == {'params/pyramid': 7}
  assert _values(checkpoints.variables(checkpoints.load(tmp_path))) == {'params/pyramid': 7}


def test_a_workdir_without_those_parts_is_refused(tmp_path):
  network = NetworkState(_kernels('conv_in'), {}, {})
  _save_tree(tmp_path, {'generator': network})
  with pytest.raises(UserError, match='holds no encoder or pyramid') as caught:
    checkpoints.load_parts(tmp_path, PARTS)
  assert str(tmp_path) in str(caught.value)


# --- damage --------------------------------------------------------------------------------------


def _zero(file):
  file.write_bytes(bytes(file.stat().st_size))


def _cut(file):
  file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _remove(file):
  file.unlink()


@pytest.fixture(scope='module')
def two_steps(tmp_path_factory):
  """A workdir with the steps 5 and 6, evaluated."""
  workdir = tmp_path_factory.mktemp('two')
  with checkpoints.Checkpoints(workdir, keep=2) as saved:
    for step in (5, 6):
      saved.save(step, state(step), {'waited': step / 3})
      saved.add_scores(step, {'deblurred_psnr': 20.0 + step})
  return workdir


# Orbax closes its event loop on the other arrays of a checkpoint where one cannot be read.
left_behind = pytest.mark.filterwarnings('ignore::pytest.PytestUnraisableExceptionWarning')


# Every file that a restart reads.
@left_behind
@pytest.mark.parametrize(
  'file', ['default/_METADATA', 'default/manifest.ocdbt', 'default/d/*', 'progress/meta*']
)
@pytest.mark.parametrize('damage', [_zero, _cut, _remove])
def test_a_training_sets_damaged_checkpoints_aside(two_steps, tmp_path, capsys, file, damage):
  workdir = tmp_path / 'run'
  shutil.copytree(two_steps, workdir)
  for found in (workdir / 'checkpoints' / '6').glob(file):
    damage(found)
  assert checkpoints.set_damaged_aside(workdir) == 5
  assert f'the checkpoint {workdir / "checkpoints" / "6"} is damaged' in capsys.readouterr().err
  assert (workdir / 'damaged' / '6').is_dir()
  assert checkpoints.saved_steps(workdir) == [5]
  with checkpoints.Checkpoints(workdir, keep=2) as saved:  # the step comes again
    saved.save(6, state(6))
  restored = checkpoints.restore(workdir, state())
  jax.tree.map(np.testing.assert_array_equal, restored, state(6))
  gc.collect()


@pytest.mark.parametrize('damage', [_zero, _cut, _remove])
@pytest.mark.parametrize('steps', [(6,), (5,), (5, 6)])
def test_scores_that_cannot_be_read_are_as_none(two_steps, tmp_path, capsys, steps, damage):
  workdir = tmp_path / 'run'
  shutil.copytree(two_steps, workdir)
  for step in steps:
    damage(workdir / 'checkpoints' / str(step) / 'metrics' / 'metrics')
  assert checkpoints.set_damaged_aside(workdir) == 6
  told = capsys.readouterr().err
  assert all(f'the scores of the checkpoint {workdir}/checkpoints/{step}' in told for step in steps)
  assert checkpoints.saved_steps(workdir) == [5, 6] and not (workdir / 'damaged').exists()
  assert checkpoints.saved_scores(workdir).keys() == {5, 6} - {*steps}
  with checkpoints.Checkpoints(workdir, keep=2) as saved:  # the evaluation comes again
    saved.add_scores(steps[0], {'deblurred_psnr': 30.0})
  assert checkpoints.saved_scores(workdir)[steps[0]] == {'deblurred_psnr': 30.0}


@left_behind
def test_values_that_changed_are_found_and_the_one_before_is_read(two_steps, tmp_path, capsys):
  workdir = tmp_path / 'run'
  shutil.copytree(two_steps, workdir)
  # Files in perfect order, with the values of another step.
  shutil.rmtree(workdir / 'checkpoints' / '6' / 'default')
  shutil.copytree(
    workdir / 'checkpoints' / '5' / 'default', workdir / 'checkpoints' / '6' / 'default'
  )
  for read in (checkpoints.load, checkpoints.load_network):
    assert read(workdir)['step'] == 5
    assert 'is not what was saved. Taking the one before it, of step 5' in capsys.readouterr().err
    with pytest.raises(checkpoints.Damaged, match=r'6 is damaged: .* is not what was saved'):
      read(workdir, 6)
  assert checkpoints.saved_steps(workdir) == [5, 6]  # who only reads moves nothing


@left_behind
def test_nothing_but_damaged_checkpoints(two_steps, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(two_steps, workdir)
  for step in ('5', '6'):
    _cut(workdir / 'checkpoints' / step / 'default' / '_METADATA')
  for _ in range(2):  # nor does the same command again find an empty workdir
    with pytest.raises(UserError, match=r'all checkpoints of .* are damaged') as caught:
      checkpoints.set_damaged_aside(workdir)
    assert str(workdir) in str(caught.value)
  assert checkpoints.saved_steps(workdir) == [5, 6]


@left_behind
def test_a_disk_that_does_not_answer_is_no_damage(two_steps, tmp_path, monkeypatch):
  workdir, whole = tmp_path / 'run', tmp_path / 'whole'
  for copy in (workdir, whole):
    shutil.copytree(two_steps, copy)
  refused = pytest.raises(UserError, match=r'6 cannot be read: .*symbolic links')
  for file in (workdir / 'checkpoints' / '6' / 'default' / 'd').iterdir():
    file.unlink()
    file.symlink_to(file)
  with refused:
    checkpoints.set_damaged_aside(workdir)
  with refused:
    checkpoints.load_network(workdir)

  def fail(folder):
    raise OSError(errno.EIO, os.strerror(errno.EIO))

  for read in ('_scores_of', '_load'):
    monkeypatch.setattr(f'degrep_jax.checkpoints.store.{read}', fail)
    with pytest.raises(UserError, match=r'6 cannot be read: Input/output error'):
      checkpoints.set_damaged_aside(whole)
  assert checkpoints.saved_steps(workdir) == checkpoints.saved_steps(whole) == [5, 6]
  assert (whole / 'checkpoints' / '6' / 'metrics' / 'metrics').exists()
  gc.collect()


def test_checksums_and_progress_that_are_gone(two_steps, tmp_path):
  """Such a checkpoint is none of earlier times."""
  workdir = tmp_path / 'run'
  shutil.copytree(two_steps, workdir)
  shutil.rmtree(workdir / 'checkpoints' / '6' / 'progress')
  with pytest.raises(checkpoints.Damaged, match='progress is missing'):
    checkpoints.load_progress(workdir, 6)
  assert checkpoints.set_damaged_aside(workdir) == 5


def test_arrays_that_are_gone(two_steps, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(two_steps, workdir)
  with checkpoints.Checkpoints(tmp_path / 'less', keep=1) as saved:
    saved.save(6, state(6, discriminator=False))
  shutil.rmtree(workdir / 'checkpoints' / '6' / 'default')
  shutil.copytree(
    tmp_path / 'less' / 'checkpoints' / '6' / 'default', workdir / 'checkpoints' / '6' / 'default'
  )
  with pytest.raises(checkpoints.Damaged, match=r'6 is damaged: discriminator/'):
    checkpoints.load(workdir, 6)
  assert checkpoints.set_damaged_aside(workdir) == 5


def test_what_a_killed_save_left_is_cleared(tmp_path):
  save(tmp_path, 1)
  folder = tmp_path / 'checkpoints'
  shutil.copytree(folder / '1', folder / '2.orbax-checkpoint-tmp')
  save(tmp_path, 2, 3, keep=5)
  assert sorted(path.name for path in folder.iterdir()) == ['1', '2', '3']
  assert checkpoints.load(tmp_path)['step'] == 3


def test_a_killed_removal_of_an_old_one_is_no_obstacle(tmp_path):
  save(tmp_path, 1, 2, keep=5, scores={1: 30.0})
  shutil.rmtree(tmp_path / 'checkpoints' / '1' / 'default')
  (tmp_path / 'checkpoints' / '1' / 'metrics' / 'metrics').unlink()
  assert checkpoints.set_damaged_aside(tmp_path) == 2
  save(tmp_path, 3, 4)
  assert checkpoints.saved_steps(tmp_path) == [3, 4]


def test_a_save_that_failed_is_told_before_the_next(tmp_path):
  rng, limits = np.random.default_rng(0), resource.getrlimit(resource.RLIMIT_FSIZE)
  with checkpoints.Checkpoints(tmp_path, keep=2) as saved:
    saved.save(1, {'step': np.int32(1)})
    saved.check()  # also while it saves
    saved._manager.wait_until_finished()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
      saved.save(2, {'x': rng.random(100_000)})
      with pytest.raises(Exception, match='File too large'):
        for _ in range(500):
          saved.check()
          time.sleep(0.01)
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, limits)
  assert checkpoints.load(tmp_path) == {'step': 1}


def test_scores_that_come_later(tmp_path):
  save(tmp_path, 1, 2, scores={1: 20.0})
  with checkpoints.Checkpoints(tmp_path, keep=1) as saved:
    assert (saved.has_scores(1), saved.has_scores(2)) == (True, False)
    for psnr in (25.0, 15.0):
      saved.add_scores(2, {'deblurred_psnr': psnr})
    assert saved.has_scores(2)
  assert checkpoints.saved_steps(tmp_path) == [2]  # 1 was the best
  save(tmp_path, 3, 4, keep=1)
  assert checkpoints.saved_steps(tmp_path) == [2, 4]  # the best now, and the newest
  assert checkpoints.saved_scores(tmp_path) == {2: {'deblurred_psnr': 25.0}}


def test_progress_comes_back(two_steps):
  assert checkpoints.load_progress(two_steps, 6) == {'waited': 2.0}
  assert checkpoints.load_progress(two_steps, 5) == {'waited': 5 / 3}


def test_a_checkpoint_of_earlier_times_is_continued(tmp_path):
  """They had no checksums."""
  options = ocp.CheckpointManagerOptions(best_fn=lambda scores: scores['deblurred_psnr'])
  with ocp.CheckpointManager(tmp_path / 'checkpoints', options=options) as manager:
    scores = {'deblurred_psnr': 30.0}
    manager.save(2, args=ocp.args.StandardSave({'step': np.int32(2)}), metrics=scores)
  assert checkpoints.set_damaged_aside(tmp_path) == 2
  assert checkpoints.load(tmp_path) == {'step': 2}
  assert checkpoints.load_progress(tmp_path, 2) == {}
  save(tmp_path, 3, 4, keep=1)
  assert checkpoints.saved_steps(tmp_path) == [2, 4]


@pytest.mark.parametrize(
  ('named', 'meant'),
  [
    ('runs/nett', 'runs/net'),
    ('runs/net/checkpoints/3', 'runs/net'),
    ('runs/empty', None),
    ('runs', 'runs/net'),
  ],
)
def test_a_workdir_that_is_called_almost_so(tmp_path, monkeypatch, named, meant):
  monkeypatch.chdir(tmp_path)
  save(tmp_path / 'runs' / 'net', 3)
  (tmp_path / 'runs' / 'empty').mkdir()
  with pytest.raises(UserError) as caught:
    checkpoints.load(named)
  what = f'is {meant} meant?' if meant else 'train there first, or name another workdir.'
  assert str(caught.value) == f'{named} holds no checkpoint: {what}'


def test_a_file_of_weights_is_no_workdir(tmp_path):
  file = tmp_path / 'net_g.pth'
  file.write_bytes(b'weights')
  with pytest.raises(
    UserError, match=r'net_g\.pth is a file, not a workdir\..* degrep convert makes'
  ):
    checkpoints.load(file)
  save(tmp_path / 'net_g', 3)  # what degrep convert may have made of it
  with pytest.raises(UserError, match=f'holds no checkpoint: is {tmp_path}/net_g meant?'):
    checkpoints.load(file)
