"""The Restorer: modes, forms of pictures, programs, memory; plain functions in place of nets, and
tiny nets where the net matters."""

import functools
import itertools
import json
import pathlib
import subprocess
import sys
import types

import child
import four_devices
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import quick
import reference
import saved
import skimage.data
import tiny_joint
import torch
from command import differing
from flax import traverse_util
from hypothesis import example, given, settings
from hypothesis import strategies as st
from plain_nets import CELL, joint, restorer
from rounding import FEW, NETWORK, gamma

from configs import smoke
from degrep_jax import Restorer, checkpoints, convert
from degrep_jax.common.errors import UserError
from degrep_jax.inference import tiles, windows
from degrep_jax.models import factory
from degrep_jax.models.hinet import HINet

MODES = ('tiles', 'feathered', 'full')
MEANS = gamma(CELL**2) + FEW  # of the maps of `plain_nets`, means of colours up to 1
each_mode = pytest.mark.parametrize('mode', MODES)


def noise(*shape, seed=0, dtype=np.uint8):
  levels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
  return levels if dtype == np.uint8 else (levels / 255).astype(dtype)


def never(picture, degradation_map):
  raise AssertionError('this generator is not needed')


def spread(picture, degradation_map):
  """The map as a picture, for a look at what a generator was given."""
  return degradation_map.repeat(CELL, 1).repeat(CELL, 2)


def means(picture):
  """The map of a picture by `plain_nets`: mean colours of squares, the picture mirrored up."""
  missing = [(0, -side % CELL) for side in picture.shape[:2]]
  picture = np.pad(picture / np.float32(255), (*missing, (0, 0)), 'symmetric')
  h, w = (side // CELL for side in picture.shape[:2])
  return picture.reshape(h, CELL, w, CELL, 3).mean((1, 3))


# --- what comes back ---


@functools.cache
def _identity(mode):
  return restorer(mode=mode, tile=64, batch=8)


@each_mode
@settings(max_examples=12, deadline=None)
@given(st.integers(1, 700), st.integers(1, 900))
@example(1, 1)
@example(700, 900)
@example(64, 64)
def test_a_net_that_changes_nothing_returns_the_picture(mode, height, width):
  picture = noise(height, width)
  np.testing.assert_array_equal(_identity(mode).deblur(picture), picture)


@each_mode
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_results_have_the_dtype_of_the_picture_and_are_clipped_and_rounded(mode, dtype):
  most = np.iinfo(dtype).max if np.issubdtype(dtype, np.integer) else 1
  picture = np.array([[0.1, 0.5, 0.95]] * 33)[:, None].repeat(40, 1) * most
  picture = (np.rint(picture) if most > 1 else picture).astype(dtype)
  result = restorer(lambda x, _: x + 0.0601, mode=mode).deblur(picture)
  assert result.dtype == dtype
  expected = np.minimum(picture.astype(np.float64) / most + 0.0601, 1) * most
  # Half a level, and FEW of 65535; float16 has 11 bits.
  tolerance = 0.51 if most > 1 else {np.float16: 2**-11}.get(dtype, 0) + FEW
  np.testing.assert_allclose(result, expected, rtol=0, atol=tolerance)
  dark = restorer(lambda x, _: x - 2, mode=mode).deblur(picture)
  np.testing.assert_array_equal(dark, np.zeros_like(picture))


@each_mode
def test_progress_is_told_while_a_picture_is_restored(mode):
  told = []
  net = restorer(lambda x, _: x, mode=mode, tile=32, batch=2)
  for picture in (noise(200, 170), noise(20, 30)):
    told.clear()
    np.testing.assert_array_equal(net.deblur(picture, told.append), picture)
    assert told == sorted(set(told)) and told[-1] == 1
    assert mode == 'full' or (len(told) > 5) == (len(picture) > 32)  # where one window holds it


@each_mode
def test_batches_and_iterables_come_back_in_their_form(mode):
  net = restorer(lambda x, _: 1 - x, mode=mode)
  batch = noise(3, 20, 25)
  np.testing.assert_array_equal(net.deblur(batch), 255 - batch)
  assert isinstance(net.deblur(jnp.asarray(batch)), np.ndarray)
  pictures = [noise(20, 25), noise(7, 40, dtype=np.float32), noise(16, 16)]
  results = net.deblur(pictures)
  assert isinstance(results, types.GeneratorType)
  for result, picture in zip(results, pictures, strict=True):
    expected = 255 - picture if picture.dtype == np.uint8 else 1 - picture
    np.testing.assert_allclose(result, expected, rtol=0, atol=FEW)
    assert result.dtype == picture.dtype
  assert list(net.deblur(iter([]))) == []


@each_mode
def test_an_iterable_is_read_as_far_as_a_batch_needs(mode):
  read = []

  def stream():
    for seed in itertools.count():
      read.append(seed)
      yield noise(16, 16, seed=seed)  # a tile each

  results = restorer(mode=mode, batch=4).deblur(stream())
  for seed in range(9):
    np.testing.assert_array_equal(next(results), noise(16, 16, seed=seed))
    assert len(read) <= seed + 4


@each_mode
def test_raw_outputs_are_neither_clipped_nor_rounded(mode):
  net = restorer(lambda x, _: 3 * x - 1, lambda x, _: x + 0.001, mode=mode)
  blurry, sharp = noise(30, 21), noise(30, 21, seed=1)
  found = net.apply(blurry, sharp)
  assert set(found) == {'deblurred', 'reblurred'}
  np.testing.assert_allclose(found['deblurred'], 3 * (blurry / 255) - 1, rtol=0, atol=3 * FEW)
  np.testing.assert_allclose(found['reblurred'], sharp / 255 + 0.001, rtol=0, atol=3 * FEW)
  assert found['deblurred'].dtype == np.float32
  assert set(net.apply(blurry)) == {'deblurred'}
  batch = net.apply(np.stack([blurry] * 2), np.stack([sharp] * 2), outputs=('reblurred',))
  assert set(batch) == {'reblurred'} and batch['reblurred'].shape == (2, 30, 21, 3)


@each_mode
def test_only_the_generator_that_is_needed_is_built(mode):
  picture = noise(40, 40)
  restorer(reblur=never, mode=mode).deblur(picture)
  restorer(deblur=never, mode=mode).reblur(picture, like=picture)
  with pytest.raises(AssertionError, match='not needed'):
    restorer(deblur=never, mode=mode).deblur(picture)


# --- the degradation map ---


@each_mode
@settings(max_examples=8, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90))
def test_the_map_of_a_whole_picture_is_put_together(mode, height, width):
  picture = noise(height, width)
  found = _mapping(mode).degradation_map(picture)
  assert found.dtype == np.float32
  np.testing.assert_allclose(found, means(picture), rtol=0, atol=MEANS)


@functools.cache
def _mapping(mode):
  return restorer(reblur=spread, mode=mode, tile=32)


@each_mode
@pytest.mark.parametrize('strength', [1, 0, 0.25, 1.5, -1])
def test_strength_moves_the_map_between_those_of_the_blurry_and_the_sharp_picture(mode, strength):
  sharp, blurry = noise(64, 96) // 4 + 96, noise(64, 96, seed=1) // 4 + 96
  found = _mapping(mode).reblur(sharp / 255, like=blurry, strength=strength)
  steered = means(sharp) + strength * (means(blurry) - means(sharp))
  expected = spread(None, steered[None])[0]
  # Tiles that overlap by other than whole squares mix the maps of both.
  inside = np.s_[:20, :20] if mode == 'feathered' else np.s_[:, :]
  # Two maps, of which one counts 1.5 times and the other half as much at most.
  np.testing.assert_allclose(found[inside], expected[inside], rtol=0, atol=2 * 2 * MEANS)


def test_a_partner_of_another_size_is_mirrored_and_cropped():
  sharp = noise(24, 40)
  small, large = noise(16, 9), noise(50, 60)
  mirrored = np.pad(small, ((0, 8), (0, 31), (0, 0)), 'symmetric')
  net = _mapping('full')
  np.testing.assert_array_equal(net.reblur(sharp, small), net.reblur(sharp, mirrored))
  np.testing.assert_array_equal(net.reblur(sharp, large), net.reblur(sharp, large[:24, :40]))


def test_one_blurry_picture_serves_for_many_sharp_ones():
  blurry, sharp = noise(32, 32), [noise(32, 32, seed=1), noise(20, 8, seed=2)]
  net = _mapping('tiles')
  for result, picture in zip(net.reblur(sharp, blurry), sharp, strict=True):
    np.testing.assert_array_equal(result, net.reblur(picture, blurry))
    assert result.shape == picture.shape
  batch = net.reblur(np.stack(sharp[:1] * 2), np.stack([blurry, blurry[::-1]]))
  np.testing.assert_array_equal(batch[1], net.reblur(sharp[0], blurry[::-1]))


def test_tiles_that_are_no_whole_number_of_places_have_no_map():
  model = smoke.get_config().model
  model.encoder, model.depth, model.encoder_stages = 'official_v2', 3, (1, 1, 1, 1, 1)
  model.encoder_input = 256
  module = factory.build_network(model, axis_name=None)
  variables = saved.variables(module, 0, *[(1, 100, 100, 3)] * 2)
  with pytest.raises(UserError, match='tiles of 100 px: a map of 8x8 places needs a multiple of 8'):
    Restorer(module, variables, tile=100).degradation_map(noise(100, 100))
  assert Restorer(module, variables, tile=96).cell == 12


def test_the_encoder_may_see_the_whole_picture_resized():
  net = restorer(reblur=spread, mode='full', encoder='resized')
  picture = noise(48, 80, dtype=np.float32)
  small = jax.image.resize(picture, (16, 16, 3), 'bilinear', antialias=False)
  map_ = np.asarray(small).reshape(2, 8, 2, 8, 3).mean((1, 3))
  found = net.degradation_map(picture)
  assert found.shape == (6, 10, 3)
  np.testing.assert_allclose(
    found, map_[[0] * 3 + [1] * 3][:, [0] * 5 + [1] * 5], rtol=0, atol=2 * MEANS
  )
  np.testing.assert_allclose(
    net.reblur(picture, picture), spread(0, found[None])[0], rtol=0, atol=2 * MEANS
  )


# --- programs, windows, memory ---


@pytest.mark.parametrize(('mode', 'most'), [('tiles', 1), ('feathered', 1), ('full', 4)])
def test_fifty_sizes_share_a_few_programs(mode, most):
  net = restorer(mode=mode)
  draw = np.random.default_rng(3)
  sizes = [tuple(draw.integers(1, 200, 2)) for _ in range(50)]
  assert len(set(sizes)) == 50
  pictures = [noise(*size, seed=i) for i, size in enumerate(sizes)]
  for result, picture in zip(net.deblur(pictures), pictures, strict=True):
    np.testing.assert_array_equal(result, picture)
  assert 0 < net.programs <= most


def averaging(picture, degradation_map):
  """Brightens a tile by its own mean, as norms do: the seams of tiles are seen."""
  return picture + picture.mean((1, 2), keepdims=True)


def test_results_do_not_depend_on_what_was_restored_before():
  pictures = [noise(*size, seed=i) for i, size in enumerate(((30, 200), (9, 9), (70, 60)))]
  forth = list(restorer(averaging, mode='full').deblur(pictures))
  back = list(restorer(averaging, mode='full').deblur(pictures[::-1]))
  for a, b in zip(forth, back[::-1], strict=True):
    np.testing.assert_array_equal(a, b)


def _seams(mode, borders):
  """How much larger than before the steps of a restored photograph are across the columns that
  borders lie at, in what they are across all others; columns are given as (start, end) of tiles."""
  photograph = skimage.data.astronaut()[100:300, :333]
  found = restorer(averaging, mode=mode, tile=64).apply(photograph)['deblurred']
  before, after = (
    np.abs(np.diff(x, axis=1)).mean((0, 2)) for x in (photograph / np.float32(255), found)
  )
  at = sorted({column - 1 for border in borders for column in border if 0 < column < 333})
  growth = after / before  # step i lies before column i + 1
  return growth[at].mean() / np.delete(growth, at).mean()


def test_only_averaged_tiles_have_seams(monkeypatch):
  monkeypatch.setattr(windows, 'SIDES', (2.5,))  # so that the picture takes several windows
  for mode, tile, layout, least, most in (
    ('tiles', 64, tiles.averaged, 2, 9),
    ('feathered', 64, tiles.feathered, 0, 1.1),
    ('full', 160, functools.partial(tiles.feathered, blend=16, context=32, unit=8), 0, 1.1),
  ):
    starts = layout(333, tile).starts
    assert len(starts) > 2
    assert least <= _seams(mode, [(start, start + tile) for start in starts]) <= most


def drawn(module, inputs):
  """Random variables of a module of so many pictures, as NumPy."""
  draw = np.random.default_rng(0)
  picture = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
  shapes = jax.eval_shape(module.init, jax.random.key(0), *[picture] * inputs)
  flat = {
    path: draw.normal(size=x.shape).astype(np.float32) / np.sqrt(np.prod(x.shape[:-1]))
    for path, x in traverse_util.flatten_dict(dict(shapes)).items()
  }
  for path in flat:
    if path[-1] == 'var':
      flat[path] = np.abs(flat[path]) + 0.5
    elif path[-1] == 'v':  # so that sigma is no small number
      kernel = flat['params', *path[1:-1], 'kernel']
      v = kernel.reshape(-1, kernel.shape[-1]) @ flat[*path[:-1], 'u']
      flat[path] = v / np.linalg.norm(v)
  return traverse_util.unflatten_dict(flat)


@pytest.fixture(scope='module')
def hinet():
  """(module, variables, picture of 40x56) of two levels."""
  module = HINet(width=4, depth=2)
  return module, drawn(module, 1), noise(40, 56, dtype=np.float32)


def test_a_whole_picture_is_what_the_net_makes_of_it_in_its_own_size(hinet):
  module, variables, picture = hinet
  outputs = jax.jit(module.apply)(variables, picture[None])
  # Windows of 160 px: what is around the picture must not be seen.
  found = Restorer(module, variables, mode='full', tile=64, window=0).apply(picture)
  for name, expected in zip(('stage_1', 'deblurred'), outputs, strict=True):
    assert np.std(expected - picture) > 0.01
    np.testing.assert_allclose(found[name], expected[0], rtol=0, atol=NETWORK)


def test_sides_of_no_multiple_are_reflected(hinet):
  module, variables, picture = hinet
  net = Restorer(module, variables, mode='full', tile=16, window=0)
  reflected = np.pad(picture[:37, :55], ((0, 1), (0, 1), (0, 0)), 'reflect')
  expected = net.deblur(reflected)[:37, :55]
  np.testing.assert_array_equal(net.deblur(picture[:37, :55]), expected)


def test_the_window_of_the_norms_is_a_flag(hinet):
  module, variables, picture = hinet
  nets = {
    window: Restorer(module, variables, mode='full', tile=16, window=window) for window in (0, None)
  }
  assert nets[None].window == 24
  found = {window: net.deblur(picture) for window, net in nets.items()}
  assert np.abs(found[None] - found[0]).max() > 1e-3


def test_memory_decides_on_the_windows(hinet):
  net = Restorer(*hinet[:2], mode='full', window=0, memory=2**20)
  with pytest.raises(UserError, match=r'memory.*allow') as error:
    net.deblur(noise(9, 9))
  assert net._sides(('deblurred',), None, memory=4 * 2**30) == [640, 1280, 2048]
  least = float(str(error.value).split('allow ')[1].split(',')[0])
  assert net._sides(('deblurred',), None, memory=int((least + 0.01) * 2**30)) == [640]
  assert net.programs == 1


def test_bfloat16_is_near_float32(hinet):
  module, variables, picture = hinet
  found = {
    dtype: Restorer(module, variables, tile=16, dtype=dtype).apply(picture)['deblurred']
    for dtype in ('float32', 'bfloat16')
  }
  difference = np.abs(found['bfloat16'] - found['float32'])
  assert found['bfloat16'].dtype == np.float32
  # Some forty layers of 2^-9, of either sign, are 2^-9 * sqrt(40) = 0.012.
  assert 1e-5 < difference.mean() < 0.02 * found['float32'].std()


def test_a_batch_is_spread_over_the_devices():
  code = """if True:
    import json, numpy as np
    from plain_nets import restorer
    picture = np.random.default_rng(0).integers(0, 256, (90, 70, 3), np.uint8)
    report = []
    for mode in ('tiles', 'feathered', 'full'):
      net = restorer(lambda x, m: 1 - x, mode=mode, batch=8)
      same = bool((net.deblur(picture) == 255 - picture).all())
      shardings = [p.compiled.output_shardings for p in net._programs.values()]
      spread = [len(s.device_set) for tree in shardings for s in (
        tree.values() if isinstance(tree, dict) else [tree])]
      report.append([same, min(spread)])
    print(json.dumps(report))
  """
  assert four_devices.run(code) == [[True, 4]] * 3


# --- checkpoints ---


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A run of the joint stage as training leaves it, but for the optimisers."""
  folder, config = tmp_path_factory.mktemp('run'), tiny_joint.config(eval__tile=32)
  variables = drawn(factory.build_generator(config.model), 2)
  network = {'params': variables.pop('params'), 'statistics': variables}
  with checkpoints.Checkpoints(folder, keep=1) as saved:
    saved.save(7, {'step': np.int32(7), 'generator': network})
  (folder / 'config.json').write_text(json.dumps(config.to_dict()))
  return folder


def test_a_checkpoint_is_all_that_a_restorer_needs(workdir):
  net = Restorer.from_checkpoint(workdir)
  assert net.network == 'joint' and net.tile == 32 and net.programs == 0
  assert net.mode == 'feathered'  # as the commands have it: no seams
  assert net.about['step'] == 7 and net.about['config']['model']['width'] == 2
  assert net.about['checkpoint'] == str(workdir / 'checkpoints' / '7')
  variables = checkpoints.variables(checkpoints.load(workdir))
  count = sum(x.size for x in jax.tree.leaves(variables['params']))
  assert net.about['parameters'] == count
  assert 'spectral' not in net.variables
  blurry, sharp = noise(2, 32, 32, seed=5)
  found = net.apply(blurry, sharp)
  # The module itself, its spectral norms not folded.
  outputs = jax.jit(net.module.apply)(variables, blurry[None] / 255, sharp[None] / 255)
  for name, expected in zip(('deblurred', 'reblurred'), outputs, strict=True):
    np.testing.assert_allclose(found[name], expected[0], rtol=0, atol=NETWORK)
  assert Restorer.from_checkpoint(workdir, tile=64).tile == 64


def test_a_run_from_before_a_field_was_there_restores(workdir, tmp_path):
  (tmp_path / 'checkpoints').symlink_to(workdir / 'checkpoints')
  config = json.loads((workdir / 'config.json').read_text())
  del config['model']['without_map']
  (tmp_path / 'config.json').write_text(json.dumps(config))
  assert Restorer.from_checkpoint(tmp_path).module == Restorer.from_checkpoint(workdir).module


def test_of_a_checkpoint_only_the_network_is_read(workdir, tmp_path):
  saved = checkpoints.load(workdir)
  network = saved['generator'] | {'opt_state': {'mu': np.ones(3)}}
  with checkpoints.Checkpoints(tmp_path, keep=1) as there:
    there.save(7, saved | {'generator': network, 'discriminator': {'params': np.ones(2)}})
  assert set(checkpoints.load(tmp_path)) == {'step', 'generator', 'discriminator'}
  found = checkpoints.load_network(tmp_path)
  assert not differing(found, saved)
  assert all(isinstance(x, np.ndarray) for x in jax.tree.leaves(found))


def test_spectral_vectors_must_be_in_a_checkpoint(workdir, tmp_path):
  saved = checkpoints.load(workdir)
  saved['generator']['statistics'].pop('spectral')
  with checkpoints.Checkpoints(tmp_path, keep=1) as there:
    there.save(7, saved)
  (tmp_path / 'config.json').write_text((workdir / 'config.json').read_text())
  with pytest.raises(UserError, match='spectral/'):
    Restorer.from_checkpoint(tmp_path)


@pytest.fixture(scope='module')
def converted(golden, tmp_path_factory):
  """Folders of `degrep convert` by kind, and the HINet's module and variables."""
  folder = tmp_path_factory.mktemp('converted')
  for kind, figures in (
    ('hinet', reference.load(golden, 8, 'hinet')),
    ('encoder_v1', reference.load(golden, 8)),
  ):
    tensors = {key: torch.from_numpy(x) for key, x in figures.state_dict(kind).items()}
    torch.save(tensors, folder / f'{kind}.pth')
    convert.convert_file(kind, folder / f'{kind}.pth', folder / kind)
  return folder


def test_converted_weights_restore(converted):
  net = Restorer.from_checkpoint(converted / 'hinet')
  assert (net.network, net.tile, net.about['step']) == ('hinet', 256, 0)
  assert net.about['parameters'] == sum(x.size for x in jax.tree.leaves(net.variables))


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda there, folder: Restorer.from_checkpoint(folder / 'nothing'), 'holds no checkpoint'),
    (lambda there, _: Restorer.from_checkpoint(there / 'hinet', step=3), 'no checkpoint of step 3'),
    (lambda there, _: Restorer.from_checkpoint(there / 'encoder_v1'), 'parts of a network alone'),
    (lambda there, _: Restorer.from_checkpoint(there / 'hinet', mode='whole'), 'choose one of'),
    (lambda there, _: Restorer.from_checkpoint(there / 'hinet', tile=40), 'multiple of 16'),
    (lambda there, _: Restorer.from_checkpoint(there / 'hinet', dtype='int8'), 'choose one of'),
    (lambda there, _: Restorer.from_checkpoint(there / 'hinet', batch=0), 'positive multiple'),
    (lambda there, _: Restorer.from_checkpoint(there / 'hinet', window=-1), 'not be negative'),
    (lambda there, _: Restorer.from_checkpoint(there / 'hinet', encoder='resized'), 'tiles alone'),
  ],
)
def test_what_cannot_be_loaded_is_refused(converted, tmp_path, call, message):
  with pytest.raises(UserError, match=message):
    call(converted, tmp_path)


@pytest.mark.parametrize('text', [None, '{', '[]', '{"model": {"network": "hinet"}}'])
def test_a_damaged_config_is_refused(converted, tmp_path, text):
  (tmp_path / 'checkpoints').symlink_to(converted / 'hinet' / 'checkpoints')
  if text is not None:
    (tmp_path / 'config.json').write_text(text)
  with pytest.raises(UserError, match=r'config\.json'):
    Restorer.from_checkpoint(tmp_path)


PICTURE = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
  ('call', 'message'),
  [
    (lambda net: net.deblur('photo.jpg'), 'str is no picture'),
    (lambda net: net.deblur(3), 'int is no picture'),
    (lambda net: next(net.deblur(['photo.jpg'])), 'str is no picture'),
    (lambda net: net.deblur(PICTURE[..., 0]), r'\(4, 4\) is no picture'),
    (lambda net: net.deblur(np.zeros((4, 4, 4), np.uint8)), 'is no picture'),
    (lambda net: net.deblur(np.zeros((0, 4, 3), np.uint8)), 'one pixel'),
    (lambda net: net.deblur(np.zeros((0, 4, 4, 3), np.uint8)), 'no picture'),
    (lambda net: net.deblur(PICTURE.astype(np.int32)), 'int32'),
    (lambda net: net.deblur(PICTURE > 0), 'bool'),
    (lambda net: net.deblur(PICTURE + 200.0), r'scale to \[0, 1\]'),
    (lambda net: net.deblur(np.full((4, 4, 3), np.nan)), r'scale to \[0, 1\]'),
    (lambda net: net.reblur(PICTURE, like=None), 'like'),
    (lambda net: list(net.reblur([PICTURE] * 2, like=[PICTURE])), 'as many'),
    (lambda net: net.reblur(PICTURE, PICTURE, strength=float('nan')), 'strength'),
    (lambda net: net.apply(PICTURE, sharp=PICTURE[:2]), 'sizes must agree'),
    (lambda net: net.apply(PICTURE, outputs=('reblurred',)), 'no output'),
  ],
)
def test_what_is_no_picture_is_refused(call, message):
  with pytest.raises(UserError, match=message) as error:
    call(restorer())
  assert str(error.value).endswith('.') and '\n' not in str(error.value)


def test_a_hinet_has_no_map_and_does_not_reblur(hinet):
  net = Restorer(*hinet[:2], tile=16)
  with pytest.raises(UserError, match='no degradation map'):
    net.degradation_map(PICTURE)
  with pytest.raises(UserError, match='cannot reblur'):
    net.reblur(PICTURE, PICTURE)


def test_a_module_of_another_kind_is_refused():
  with pytest.raises(UserError, match='no restorer'):
    Restorer(joint().encoder, {'params': {}})


# --- processes ---


def _process(code, **environment):
  root = str(pathlib.Path(__file__).parents[2])
  environment = child.environment(quick.XLA_FLAGS, PYTHONPATH=root, **environment)
  environment.pop('JAX_COMPILATION_CACHE_DIR', None)
  done = subprocess.run(
    [sys.executable, '-c', code], env=environment, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  return done.stdout.splitlines()[-1]


def test_restoring_loads_no_tensorflow_and_keeps_its_programs(workdir, tmp_path):
  code = f"""if True:
    import sys
    import degrep_jax
    assert 'jax' not in sys.modules
    import numpy as np
    from degrep_jax.runtime import compilation_cache
    folder = compilation_cache.enable()
    net = degrep_jax.Restorer.from_checkpoint({str(workdir)!r})
    result = net.deblur(np.zeros((40, 33, 3), np.uint8))
    assert result.shape == (40, 33, 3)
    assert not [m for m in sys.modules if m.split('.')[0] in ('tensorflow', 'torch', 'clu')]
    print(folder)
  """
  # Whatever it takes to compile: a program near a bound would be kept one time and not the other.
  places = {
    'XDG_CACHE_HOME': str(tmp_path),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0',
  }
  folder = pathlib.Path(_process(code, **places))
  assert folder.is_relative_to(tmp_path)
  kept = sorted(folder.glob('*-cache'))
  assert kept
  _process(code, **places)
  assert sorted(folder.glob('*-cache')) == kept  # nothing was compiled anew
