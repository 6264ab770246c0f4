"""The experiments on the degradation map: their measures on arrays with known answers, their
commands at the smallest size."""

import argparse
import csv
import json
import sys

import command
import jax
import numpy as np
import optax
import photo_folder
import pytest
import saved
from command import ROOT
from flax import linen as nn
from PIL import Image

sys.path.append(str(ROOT / 'experiments'))

import blur_mixing
import blur_transfer
import content_leakage
import degradation_space
import fields
import leakage_probe
import place_probe
import study

from degrep_jax import run_config
from degrep_jax.common.errors import UserError
from degrep_jax.data.source import open_source
from degrep_jax.data.synthetic.exposure import BlurExample
from degrep_jax.data.synthetic.pairs import PHOTOGRAPHS as PHOTOGRAPH_FILES
from degrep_jax.data.synthetic.photographs import held_back, scene_of
from degrep_jax.models import factory
from degrep_jax.training.state import create_state

ARGS = argparse.Namespace(
  smoke=True, quick=False, seed=0, steps=None, scenes=2, photos=None, checkpoint=None, net=None,
  nets=None,
)  # fmt: skip
NET = '2-D map'
ONE = f'--net={NET}'


def axes(*degrees):
  """(cos 2a, sin 2a) of axes in degrees."""
  twice = np.deg2rad(2 * np.array(degrees, float))
  return np.stack([np.cos(twice), np.sin(twice)], -1)


# Fields on pictures


def test_a_field_is_the_same_on_every_picture_and_grows_with_its_strength():
  whole, half = (fields.fields(ARGS, 'test', 2, strength) for strength in (1.0, 0.5))
  pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
  scenes = fields.put_on(whole, [3, 3], pictures)
  np.testing.assert_array_equal(scenes.sharp, pictures)
  np.testing.assert_array_equal(scenes.extent[0], scenes.extent[1])
  np.testing.assert_allclose(half.example(3).extent.max(), scenes.extent[0].max() / 2, rtol=0.02)
  np.testing.assert_allclose(whole.example(3).extent, scenes.extent[0])
  still = fields.fields(ARGS, 'test', 2, 0.0, noise=False).example(3, pictures[0])
  np.testing.assert_array_equal(still.blurry, pictures[0])


def test_fields_are_carried_to_scenes_of_other_photographs():
  data = blur_transfer.draw_transfer(ARGS)
  photographs = fields.photographs(fields.fields(ARGS, 'test', 2))
  assert len(data.items) == 12
  assert (photographs[data.items] != photographs[data.receivers]).all()
  assert len(set(zip(data.items, data.receivers, strict=True))) == 12
  scenes = fields.all_scenes(fields.fields(ARGS, 'test', 2, noise=False))
  np.testing.assert_array_equal(data.truth.extent, scenes.extent[data.items])
  np.testing.assert_array_equal(data.truth.sharp, scenes.sharp[data.receivers])
  # Maps are read off pictures without noise.
  np.testing.assert_array_equal(data.seen[blur_transfer.TRANSFER], scenes.blurry[data.items])
  for name in (blur_transfer.WRONG, blur_transfer.LIKE):
    differ = (data.seen[name] != scenes.blurry[data.items]).any((1, 2, 3))
    assert differ.all() or (name == blur_transfer.LIKE and differ.any())
  noise = data.truth.blurry.astype(float) - data.seen[blur_transfer.ANSWER]
  assert 0 < noise.std() < 8 and abs(noise.mean()) < 0.5


def test_scenes_of_one_photograph_are_no_others():
  source = fields.fields(ARGS, 'test', 2)
  source.scenes = tuple(np.repeat(['a', 'a', 'b'], 2))  # the first two show the same
  assert fields.of_others(fields.photographs(source), 2).tolist() == [4, 5, 4, 5, 0, 1]
  source.scenes = ('a',) * 6
  with pytest.raises(UserError, match='two are needed'):
    fields.of_others(fields.photographs(source), 2)


def test_the_field_of_like_extent_is_the_next_in_order():
  assert blur_transfer.likest(np.array([3.0, 1, 9, 4])).tolist() == [3, 0, 3, 2]


def test_nets_take_any_number_of_pictures_in_batches_of_one_size():
  class Double(nn.Module):
    def degradation_map(self, pictures):
      shapes.append(pictures.shape)
      return 2 * pictures

  for count in (1, 16, 17, 33):
    shapes = []
    pictures = np.random.default_rng(0).integers(0, 256, (count, 2, 2, 3), np.uint8)
    maps = study.Trained(Double(), {}).maps(pictures)
    np.testing.assert_allclose(maps, pictures / 127.5, rtol=1e-6)
    assert set(shapes) <= {(16, 2, 2, 3)}


def test_an_untrained_net_has_the_weights_that_training_begins_from():
  config = study.settings(ARGS)
  module = factory.build_generator(config.model, None)
  state = create_state(module, None, optax.sgd(1.0), ARGS.seed, config.data.crop)
  drawn = fields.untrained(ARGS).variables
  jax.tree.map(np.testing.assert_array_equal, drawn, dict(state.generator.variables))


def test_the_crossing_is_balanced():
  data = content_leakage.cross(ARGS)
  assert data.blurry.shape == (6, 5, 32, 32, 3)
  # The first five fields that can be seen, each on every picture.
  source = fields.fields(ARGS, 'test', 4, noise=False)
  seen = [i for i in range(12) if source.example(i).extent.mean() >= content_leakage.VISIBLE][:5]
  assert len(seen) == 5
  for p, b in ((0, 0), (3, 2), (5, 4)):
    expected = source.example(seen[b], data.sharp[p])
    np.testing.assert_array_equal(data.blurry[p, b], expected.blurry)
    np.testing.assert_array_equal(data.sharp[p], expected.sharp)
  np.testing.assert_array_equal(data.photographs, [0, 0, 1, 1, 2, 2])


# Mixing


def test_mixed_maps_run_from_one_to_the_other():
  a, b = np.full((2, 2, 3), 4, np.float32), np.full((2, 2, 3), 12, np.float32)
  mixed = blur_mixing.mix(a, b, np.array([0, 0.25, 1]))
  assert [m.mean() for m in mixed] == [4, 6, 12]
  assert mixed.shape == (3, 2, 2, 3)


def test_the_nearest_rendering_and_the_way_between_two_pictures():
  pictures = np.stack([np.full((4, 4, 3), level, np.uint8) for level in (0, 100, 200)])
  known = blur_mixing.Renderings(pictures, np.array([0, 1, 2]), np.array([0, 5, 10]))
  sought = np.stack([np.full((4, 4, 3), level, np.uint8) for level in (51, 49, 255)])
  assert known.nearest(sought).tolist() == [1, 0, 2]
  at = blur_mixing.position(sought, pictures[0], pictures[1])
  np.testing.assert_allclose(at, [0.51, 0.49, 2.55])
  # What is at right angles to the way does not count.
  sideways = np.full((1, 4, 4, 3), 50, np.uint8)
  sideways[0, ::2] += 20
  sideways[0, 1::2] -= 20
  np.testing.assert_allclose(blur_mixing.position(sideways, pictures[0], pictures[1]), 0.5)


def test_the_course_over_the_weights():
  weights = np.array([0, 0.5, 1])
  course = blur_mixing.course(np.array([[0, 1, 2], [2, 0, 4], [3.0, 3, 3]]), weights)
  assert course['mean'] == pytest.approx([5 / 3, 4 / 3, 3])
  # Ranks 2 1 3: 1 - 6 (1 + 1 + 0) / (3 * 8); a constant counts as 0.
  assert course['spearman_mean'] == pytest.approx((1 + 0.5 + 0) / 3)
  assert course['spearman_of_mean'] == pytest.approx(0.5)
  assert course['never_falls'] == pytest.approx(2 / 3)


def test_scores_of_a_field_are_means_over_its_pictures():
  def rows(*levels):
    return [{'whole': x, 'moving': x, 'still': None} for x in levels]

  scored = {name: rows(20, 30, 22, 32) for name in blur_transfer.METHODS}
  scored[blur_transfer.TRANSFER] = rows(21, 33, 23, 35)
  summary = blur_transfer.transfer_summary(scored, np.array([0, 1, 0, 1]))
  assert summary['psnr'][blur_transfer.TRANSFER] == {'whole': 28, 'moving': 28, 'still': None}
  less = summary['transfer_less'][blur_transfer.SHARP]
  assert less['still'] is None
  assert less['whole'] == {'mean': 2, 'low': 1, 'high': 3, 'pictures': 2}


# Leakage

PHOTOGRAPHS = np.array([0, 0, 1, 1, 2, 2])


@pytest.mark.parametrize('metric', content_leakage.DISTANCES)
def test_retrieval_tells_maps_of_blurs_from_maps_of_pictures(metric):
  rng = np.random.default_rng(0)
  picture, blur = rng.normal(size=(6, 1, 40)), rng.normal(size=(1, 5, 40))
  noise = 0.1 * rng.normal(size=(6, 5, 40))
  blurs = content_leakage.retrieval(blur + 0.1 * picture + noise, PHOTOGRAPHS, metric)
  pictures = content_leakage.retrieval(picture + 0.1 * blur + noise, PHOTOGRAPHS, metric)
  assert (blurs['blur'], blurs['same_blur'], blurs['same_picture']) == (1, 1, 0)
  assert (pictures['blur'], pictures['same_blur'], pictures['same_picture']) == (0, 0, 1)
  # 4 pictures of other photographs, 4 other blurs: 4 + 4 + 16 maps.
  assert blurs['blur_chance'] == 0.5
  assert blurs['same_blur_chance'] == blurs['same_picture_chance'] == pytest.approx(4 / 24)


def test_retrieval_of_noise_is_at_chance():
  maps = np.random.default_rng(1).normal(size=(36, 25, 4))
  rates = content_leakage.retrieval(maps, np.repeat(range(3), 12), 'euclidean')
  assert rates['blur'] == pytest.approx(0.5, abs=0.06)
  assert rates['same_blur'] == pytest.approx(rates['same_blur_chance'], abs=0.03)


def test_retrieval_leaves_out_pictures_of_the_same_photograph():
  photograph = np.array([0, 0, 10, 10, 20, 20.0])[:, None, None]
  # Maps that are the same within a photograph, and nearest to those of another blur.
  maps = photograph + np.arange(5)[None, :, None] * [[[0.01]]]
  rates = content_leakage.retrieval(maps, PHOTOGRAPHS, 'euclidean')
  assert rates['blur'] == 0
  assert rates['same_picture'] == 1


def test_pictures_that_a_blur_leaves_as_they_are_have_a_score():
  """Two sharp pictures under a blur of nothing and one that is 10 levels off; Gr does nothing."""
  sharp = np.full((2, 8, 8, 3), 100, np.uint8)
  data = content_leakage.Crossed(
    sharp, np.stack([sharp, sharp + 10], 1), np.arange(2), np.array([1, 0]), ('a', 'b')
  )

  class Nothing:
    def maps(self, pictures):
      return np.zeros((len(pictures), 1, 1, 1), np.float32)

    def reblur(self, pictures, maps):
      return pictures

  gap = content_leakage.transfer_gap(Nothing(), np.zeros((2, 2, 1, 1, 1), np.float32), data)
  rounding = 10 * np.log10(255**2 * 12)  # of errors as rounding makes them
  for scores in gap.values():
    np.testing.assert_allclose(scores, [[rounding, 20 * np.log10(25.5)]] * 2)


def test_other_maps_are_those_of_another_photograph_or_blur():
  numbers = np.stack(np.meshgrid(np.arange(6), np.arange(5), indexing='ij'), -1)
  given = content_leakage.given_maps(numbers, -numbers[:, 0], np.array([2, 3, 4, 5, 0, 1]))
  np.testing.assert_array_equal(given['sharp'], -numbers[:, :1].repeat(5, 1))
  pictures, blurs = numbers[..., 0], numbers[..., 1]
  for name, other_picture, other_blur in (
    ('right', False, False),
    ('other_picture', True, False),
    ('other_blur', False, True),
    ('other_both', True, True),
  ):
    of = given[name]
    assert ((PHOTOGRAPHS[of[..., 0]] != PHOTOGRAPHS[pictures]) == other_picture).all()
    assert ((of[..., 1] != blurs) == other_blur).all()


@pytest.mark.parametrize(
  ('picture', 'blur', 'use'),
  [  # dB that another picture's map costs, and the unblurred picture's own
    (0, 0, 'uses nothing in it that is certain'),
    (0, 0.001, 'uses nothing in it that is certain'),
    (2, 0, 'uses the picture in it, not certainly the blur'),
    (0, 2, 'uses the blur in it, not certainly the picture'),
    (3, 1, 'the picture more'),
    (1, 3, 'the blur more'),
    (2, 2, 'neither certainly more'),
  ],
)
def test_the_answer_is_that_of_the_costs(picture, blur, use):
  levels = {'right': 30, 'other_picture': 30 - picture, 'sharp': 30 - blur}
  # 24 pictures, 5 blurs; of each map half of the pictures are a little better, half a little worse.
  # The unblurred picture's map is better or worse than the right one by the same in all.
  wave = [np.resize(pattern, 24) for pattern in ([0.1, -0.1], [0.1, 0.1, -0.1, -0.1], [0.1, -0.1])]
  scores = {
    name: level + np.repeat(x[:, None], 5, 1)
    for (name, level), x in zip(levels.items(), wave, strict=True)
  }
  gap = content_leakage.gap_summary(scores)
  assert gap['psnr'] == pytest.approx(levels)
  assert gap['content_less_blur']['mean'] == pytest.approx(picture - blur)
  faint, some, more = (
    {'probe': {'decoder': {'correlation': x}}, 'transfer': gap} for x in (0.01, 0.3, 0.5)
  )
  assert use in content_leakage.answer(some, more)
  assert 'something of the picture, less than an' in content_leakage.answer(some, more)
  assert 'something of the picture, as much as an' in content_leakage.answer(more, more)
  assert 'hardly anything of the picture, less than' in content_leakage.answer(faint, some)


def test_correlation_of_grey_pictures():
  a = np.random.default_rng(0).integers(0, 100, (2, 8, 8, 3), np.uint8)
  assert leakage_probe.correlation(a, 2 * a + 5) == pytest.approx(1)
  assert leakage_probe.correlation(a, 255 - a) == pytest.approx(-1)
  assert leakage_probe.correlation(np.full_like(a, 7), a) == 0


def test_thumbnails_keep_the_means_of_places():
  pictures = np.zeros((1, 8, 8, 3), np.uint8)
  pictures[:, :, 4:] = 200
  assert (leakage_probe.thumbnails(pictures, (1, 1)) == 100).all()
  fine = leakage_probe.thumbnails(pictures, (8, 8))
  np.testing.assert_array_equal(fine, pictures)


def test_the_probe_rebuilds_pictures_from_their_maps():
  rng = np.random.default_rng(0)
  small = rng.integers(0, 256, (200, 2, 2, 3), np.uint8)
  pictures = small.repeat(4, 1).repeat(4, 2)
  maps = leakage_probe.Scale.of(small)(small)
  decode = leakage_probe.train_decoder(maps[:160], pictures[:160], 60, seed=0)
  own, others = (
    leakage_probe.rebuilt(decode(given), pictures[160:]) for given in (maps[160:], maps[:40])
  )
  assert own['correlation'] > 0.8
  assert abs(others['correlation']) < 0.2
  assert own['psnr'] > others['psnr'] + 3


def test_maps_are_standardised_by_place_and_channel():
  place = np.random.default_rng(1).normal(size=(4, 4, 3))
  maps = place + np.random.default_rng(0).normal(0, (2, 5, 0), (50, 4, 4, 3))
  standard = leakage_probe.Scale.of(maps)(maps)
  np.testing.assert_allclose(standard.mean(0), 0, atol=1e-5)
  np.testing.assert_allclose(standard.std((0, 1, 2)), (1, 1, 0), atol=1e-5)


def test_the_variance_of_maps_is_that_of_pictures_blurs_and_both():
  picture = np.array([-1.0, 1])[:, None, None]
  blur = 2 * np.array([-1.0, 0, 1])[None, :, None]
  both = 3 * picture * np.array([1, -2, 1])[None, :, None]
  shares = content_leakage.variance_shares(5 + picture + blur + both)
  # Mean squares: 1, 4 * 2 / 3, 9 * 6 / 3.
  total = 1 + 8 / 3 + 18
  assert shares == pytest.approx({'picture': 1 / total, 'blur': 8 / 3 / total, 'both': 18 / total})
  assert set(content_leakage.variance_shares(np.ones((2, 3, 4))).values()) == {0}


# Space


def test_angles_between_axes():
  predicted, true = axes(0, 0, 10, 89, 30), axes(90, 45, -20, -89, 30)
  error = place_probe.axis_error(3 * predicted, true)
  np.testing.assert_allclose(error, [90, 45, 30, 2, 0], atol=1e-5)


def test_the_blur_of_a_place_is_the_mean_of_its_pixels_weighted_by_extent():
  extent, direction = np.zeros((1, 4, 4), np.float32), np.zeros((1, 4, 4), np.float32)
  extent[0, :2, :2], direction[0, :2, :2] = 3, np.pi / 4  # one place, all alike
  extent[0, 2:, 0], extent[0, 2:, 1] = 4, 2  # one place: 4 px along x beside 2 px along y
  direction[0, 2:, 1] = np.pi / 2
  nothing = np.zeros((1, 4, 4, 3), np.uint8)
  blur = place_probe.places(
    BlurExample(nothing, nothing, extent, direction, extent > 0, extent > 0), (2, 2)
  )
  np.testing.assert_allclose(blur.extent[0], [[3, 0], [3, 0]])
  np.testing.assert_allclose(blur.axis[0, :, 0], axes(45, 0), atol=1e-6)
  np.testing.assert_array_equal(blur.axis[0, :, 1], 0)


def _data(rng, count):
  degrees = rng.uniform(-90, 90, (count, 4, 4))
  blur = place_probe.Places(rng.uniform(0, 6, (count, 4, 4)), axes(*degrees.ravel()))
  blur = blur._replace(axis=blur.axis.reshape(count, 4, 4, 2))
  return place_probe.Data(None, np.arange(count) % 5, blur)


def test_probes_read_what_is_there_and_nothing_else():
  rng = np.random.default_rng(0)
  known, held_out = _data(rng, 40), _data(rng, 20)
  mixing = rng.normal(size=(3, 8))
  features = [
    np.concatenate([d.blur.extent[..., None], d.blur.axis], -1) for d in (known, held_out)
  ]
  score, guess = place_probe.probe(*(x @ mixing + 5 for x in features), known, held_out)
  assert score['extent_r2'] > 0.999
  assert score['extent_r2_within_scenes'] > 0.999
  assert score['direction_degrees'] < 0.5
  assert guess['axis'].shape == (20, 4, 4, 2)
  assert score['places_with_direction'] == (held_out.blur.extent >= 2).sum()
  noise = [rng.normal(size=x.shape) for x in features]
  score, _ = place_probe.probe(*noise, known, held_out)
  assert abs(score['extent_r2']) < 0.05
  assert score['direction_degrees'] == pytest.approx(45, abs=7)
  # The product of two features is the extent: only the probe with products sees it.
  factors = [np.stack([d.blur.extent * s, s], -1) for d in (known, held_out)
             for s in [rng.choice([-1.0, 1.0], d.blur.extent.shape)]]  # fmt: skip
  assert place_probe.probe(*factors, known, held_out)[0]['extent_r2'] < 0.05
  assert place_probe.probe(*factors, known, held_out, products=True)[0]['extent_r2'] > 0.99


def test_what_scenes_have_in_common_explains_nothing_within_them():
  held_out = _data(np.random.default_rng(0), 12)
  scenes = held_out.blur.extent.mean((1, 2), keepdims=True)
  extent = 0 * held_out.blur.extent + scenes
  guess = {'extent': extent, 'within': extent, 'axis': held_out.blur.axis}
  score = place_probe.scores(guess, held_out.blur)
  assert score['extent_r2'] > 0.02
  assert score['extent_r2_within_scenes'] == pytest.approx(0, abs=1e-9)
  assert (score['direction_low'], score['direction_high']) == pytest.approx((0, 0), abs=1e-4)


def test_what_differs_within_scenes_is_read_whatever_scenes_add():
  rng = np.random.default_rng(0)
  known, held_out = _data(rng, 40), _data(rng, 20)
  # A map of the extent, and of a number of the scene's own that says nothing of it.
  features = [
    (d.blur.extent + rng.normal(0, 50, (len(d.blur.extent), 1, 1)))[..., None]
    for d in (known, held_out)
  ]
  score, _ = place_probe.probe(*features, known, held_out)
  assert score['extent_r2'] < 0.1
  assert score['extent_r2_within_scenes'] > 0.999


def test_an_interval_is_over_scenes():
  # Ten scenes, each with one error in all its places: as uncertain as ten numbers.
  errors = [np.full(500, error) for error in np.linspace(0, 90, 10)]
  low, high = place_probe.interval(errors)
  assert low < 25 and high > 65
  assert place_probe.interval(errors[:1]) == (None, None)


def test_photographs_of_one_scene_have_one_number():
  numbers = fields.photographs(fields.fields(ARGS, 'train', 2))
  files = [file for file in PHOTOGRAPH_FILES['train'] for _ in range(2)]
  left, right = (files.index(f'motorcycle_{side}.png') for side in ('left', 'right'))
  assert numbers[left] == numbers[right]
  assert len(set(numbers.tolist())) == len(PHOTOGRAPH_FILES['train']) - 1


def test_scenes_of_a_folder_of_photographs(tmp_path):
  names = (*map(str, range(20)), 'trip/1', 'trip/2')
  photo_folder.write(tmp_path / 'holiday', names, height=60, width=80)
  args = argparse.Namespace(**vars(ARGS) | {'photos': tmp_path / 'holiday', 'nets': tmp_path})
  sources = {split: fields.fields(args, split, 2) for split in ('train', 'test')}
  shown = {split: {name.rpartition('/')[0] for name in s.names} for split, s in sources.items()}
  # A tenth of the scenes, by their names: always the same ones.
  assert shown['test'] == {name for name in names if held_back(scene_of(name), 0.1)} != set()
  assert shown['train'] == {*names} - shown['test']
  numbers = fields.photographs(sources['train'])
  assert len(numbers) == 2 * len(shown['train']) and (numbers[::2] == numbers[1::2]).all()
  trip = [n for name, n in zip(sources['train'].names, numbers, strict=True) if 'trip' in name]
  assert len(trip) == 4 and len({*trip}) == 1
  # Every field on any picture, as on the embedded photographs.
  pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
  scenes = fields.put_on(sources['test'], [1, 1], pictures)
  np.testing.assert_array_equal(scenes.sharp, pictures)
  assert scenes.extent.max() > 1
  # The nets are trained on the same photographs, and lie apart.
  config = study.settings(args)
  run_config.check(config, jax.device_count())
  blurry, sharp = open_source(config.data, 'train').crop(0, 32, np.random.default_rng(0))
  assert blurry.shape == sharp.shape == (32, 32, 3)
  held_out = {name.rpartition('/')[0] for name in open_source(config.data, 'test').names}
  assert held_out == shown['test']
  assert study.workdir_of(args, NET) == tmp_path / '2-D_map_seed_0_steps_2_holiday'


def test_a_joint_network_takes_the_place_of_those_compared(tmp_path):
  photo_folder.write(tmp_path / 'holiday', map(str, range(20)), height=60, width=80)
  config = study.settings(ARGS)
  config.data.update(source='folder', crop=48, shake=9.0)
  net = tmp_path / 'run.of' / 'mine'
  saved.workdir(net, config, {2: None})
  changed = {'checkpoint': str(net), 'photos': tmp_path / 'holiday', 'smoke': False}
  args = argparse.Namespace(**vars(ARGS) | changed)
  scenes = fields.all_scenes(fields.fields(args, 'test', 2))
  assert scenes.blurry.shape[1:] == (48, 48, 3)  # its training crop
  assert 1 < scenes.extent.max() < 48 / 2
  assert [*fields.nets(args)] == ['mine']
  assert study.setting(args) == {'checkpoint': str(net)}
  assert fields.nets(args)['mine'].maps(scenes.blurry).shape[0] == len(scenes.blurry)
  with pytest.raises(UserError, match='leave out --net, --nets, --steps, --quick, --smoke'):
    fields.nets(argparse.Namespace(**vars(args) | {'steps': 3}))
  with pytest.raises(UserError, match='small is a msdi_net; name a joint network'):
    study.joint('small')
  converted = net.rename(tmp_path / 'converted')
  (converted / 'config.json').write_text(json.dumps({'model': config.model.to_dict()}))
  with pytest.raises(UserError, match='was converted: it says nothing of its training'):
    study.joint(str(converted))


def test_the_mean_explains_nothing():
  known = _data(np.random.default_rng(0), 10)
  score = place_probe.means(known, known)
  assert score['extent_r2'] == pytest.approx(0, abs=1e-12)
  assert score['direction_degrees'] == pytest.approx(45, abs=8)


def test_gradients_of_stripes():
  wave = 100 + 50 * np.sin(np.arange(32) * 2 * np.pi / 8)
  stripes = np.broadcast_to(np.rint(wave)[None, None, :, None], (1, 32, 32, 3)).astype(np.uint8)
  across = place_probe.gradient_features(stripes, (4, 4))
  along = place_probe.gradient_features(stripes.swapaxes(1, 2), (4, 4))
  assert across.shape == (1, 4, 4, 20)
  for start in range(0, 20, 5):
    np.testing.assert_allclose(across[..., start + 1], 1, atol=1e-3)  # the gradient lies along x
    np.testing.assert_allclose(along[..., start + 1], -1, atol=1e-3)
    np.testing.assert_allclose(across[..., start + 3], 1, atol=1e-3)
    np.testing.assert_allclose(across[..., start], along[..., start].swapaxes(1, 2), atol=1e-4)


# Commands

SMALL = {
  'blur_transfer': ('--scenes=1',),
  'content_leakage': ('--scenes=1', '--probe_scenes=4', '--probe_steps=3'),
  'degradation_space': ('--scenes=2', '--probe_scenes=2', '--points=20'),
}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Where the nets lie that all commands share: one is there, of weights drawn at random."""
  folder = tmp_path_factory.mktemp('experiments')
  saved.workdir(folder / 'nets' / '2-D_map_seed_0_steps_2', study.settings(ARGS), {2: None})
  return folder


def run(name, folder, output, *flags):
  places = [f'--nets={folder / "nets"}', f'--output={folder / output}']
  flags = ['--smoke', *SMALL[name], *flags, *places]
  result = command.experiment(f'{name}.py', *flags, timeout=1200)
  assert result.returncode == 0, result.stderr[-4000:]
  reports, tables = [], {}
  for path in sorted((folder / output).iterdir()):
    if path.suffix == '.png':
      with Image.open(path) as figure:
        assert min(figure.size) > 300
    elif path.suffix == '.json':
      reports.append(json.loads(path.read_text()))
    else:
      tables[path.name] = list(csv.DictReader(path.read_text().splitlines()))
  (report,) = reports
  for sentence in report['conclusion']:
    assert sentence in result.stdout
  return report, tables, result


def test_blur_transfer(folder):
  report, tables, _ = run('blur_transfer', folder, 'transfer', ONE)
  assert report['fields'] == 3
  rows = tables['transfer.csv']
  assert len(rows) == report['transfers'] * len(blur_transfer.METHODS) == 30
  for method, scores in report['nets'][NET]['transfer']['psnr'].items():
    column = [float(row['whole']) for row in rows if row['method'] == method]
    assert np.mean(column) == pytest.approx(scores['whole'])
  curves = report['nets'][NET]['mixing']['strength']
  for name, curve in curves.items():
    values = [float(row['value']) for row in tables['mixing.csv'] if row['curve'] == name]
    seen = report['mixed']['scenes']
    np.testing.assert_allclose(np.reshape(values, (seen, -1)).mean(0), curve['mean'])
    # The first and the last map are the sharp and the blurry picture's own, mixed or not.
  for end in (0, -1):
    mixed, true = (curves[name]['mean'][end] for name in (blur_mixing.MIXED, blur_mixing.TRUE))
    assert mixed == pytest.approx(true)


def test_content_leakage(folder):
  report, tables, _ = run('content_leakage', folder, 'leakage', ONE)
  assert list(report['nets']) == [NET, f'{NET}, {fields.UNTRAINED}', content_leakage.PIXELS]
  rows = tables['leakage.csv']
  assert len(rows) == report['pictures'] * report['blurs'] == 9
  for name, score in report['nets'][NET]['transfer']['psnr'].items():
    assert np.mean([float(row[name]) for row in rows]) == pytest.approx(score)
  probe = report['nets'][NET]['probe']
  assert probe['thumbnail']['psnr'] > probe['mean']['psnr']
  assert report['nets'][content_leakage.PIXELS]['retrieval']['cosine']['same_picture'] > 0.8


def test_degradation_space(folder):
  report, tables, _ = run('degradation_space', folder, 'space', ONE)
  (grid,) = report['grids'].values()
  assert list(grid) == [
    degradation_space.MEAN,
    degradation_space.BY_HAND,
    degradation_space.PRODUCTS,
    NET,
    f'{NET}, {fields.UNTRAINED}',
  ]
  assert len(tables['space.csv']) == 4 * report['scenes']['test']


@pytest.mark.slow
@pytest.mark.parametrize('name', SMALL)
def test_all_nets_and_the_same_numbers_again(folder, name):
  first, second = (run(name, folder, f'{name}_{time}') for time in (1, 2))
  assert first[:2] == second[:2]
  assert not [line for line in second[2].stderr.splitlines() if line.startswith('training ')]
  for net in fields.MAPS:
    assert any(sentence.startswith(net) for sentence in first[0]['conclusion'])
