"""Every loss on arrays small enough for NumPy and a sheet of paper."""

import float64
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from float64 import CLOSE

from degrep_jax.training import losses


def _outputs(*logits):
  """Two scales: features that the logits' losses must ignore, then the logits."""
  return [[np.float32([100.0]), np.float32(scale)] for scale in logits]


# Scale 0 has four logits, scale 1 two: scales weigh the same.
LOGITS = _outputs([[-3.0, -0.5], [0.5, 2.0]], [[1.0, 4.0]])


def test_l1_is_the_mean_absolute_difference():
  a, b = np.float32([[1, -2], [0, 4]]), np.float32([[0, 2], [0, 1]])
  assert losses.l1(a, b) == pytest.approx((1 + 4 + 0 + 3) / 4)


def test_the_first_channels_of_a_map_learn_the_blur_where_it_is_known():
  maps = np.zeros((4, 2, 2, 5), np.float32)  # of two pictures, then of their references
  maps[..., :3] = 1.0
  maps[..., 3:] = 100.0  # what else a map holds
  maps[3, 0, 0, 1] = 5.0
  field = np.zeros((2, 4, 4, 4), np.float32)
  field[1, ..., :3] = 3.0
  field[1, ..., 3] = 1.0
  # Of the second picture 3 channels of 4 places are 2 apart, of its reference as well: 5 and 3 are.
  assert losses.field_l1(maps, field) == pytest.approx(2 * 3 * 4 * 2 / (4 * 2 * 2 * 3))
  assert losses.field_l1(maps[:2], 0 * field) == 0


def test_a_map_learns_the_blur_of_its_places():
  field = np.zeros((1, 8, 8, 4), np.float32)
  field[:, :, 4:, 0], field[..., 3] = 4.0, 1.0
  maps = np.zeros((1, 2, 2, 3), np.float32)
  maps[:, :, 1, 0] = 4.0
  assert losses.field_l1(maps, field) == 0
  # One channel of three is 4 off, everywhere.
  assert losses.field_l1(maps[:, :, ::-1], field) == pytest.approx(4 / 3)
  # A place that holds a part of both halves has the mean of its points.
  assert losses.field_l1(0 * maps[:, :1, :1], field) == pytest.approx(2 / 3)


def test_a_map_of_other_places_than_the_field_has_points_learns_too():
  field = np.full((1, 9, 9, 4), 2.0, np.float32)
  field[..., 3] = 1.0
  for side in (2, 4, 12):
    assert losses.field_l1(np.zeros((1, side, side, 3), np.float32), field) == pytest.approx(2)


def test_hinge_of_the_generator():
  assert losses.hinge_generator(LOGITS) == pytest.approx((0.25 + -2.5) / 2)


def test_hinge_of_the_discriminator_on_reblurred_pictures():
  first, second = (0 + 0.5 + 1.5 + 3) / 4, (2 + 5) / 2
  assert losses.hinge_discriminator_fake(LOGITS) == pytest.approx((first + second) / 2)


def test_hinge_of_the_discriminator_on_blurry_pictures():
  first, second = (4 + 1.5 + 0.5 + 0) / 4, (0 + 0) / 2
  assert losses.hinge_discriminator_real(LOGITS) == pytest.approx((first + second) / 2)


def _features(seed, scales=2, layers=3):
  draw = np.random.default_rng(seed).normal
  return [
    [draw(size=(2, 4 >> i, 4 >> i, 1 + layer)).astype(np.float32) for layer in range(layers)]
    for i in range(scales)
  ]


def test_feature_matching_sums_layers_but_the_logits_and_averages_scales():
  fake, real = _features(0), _features(1)
  scales = [
    sum(np.abs(f.astype(np.float64) - r).mean() for f, r in zip(fs[:2], rs[:2], strict=True))
    for fs, rs in zip(fake, real, strict=True)
  ]
  found = float64.jit(losses.feature_matching)(fake, real)
  assert found == pytest.approx(np.mean(scales), rel=CLOSE)


def test_perceptual_weighs_the_deeper_features_more():
  fake, real = (_features(seed, scales=1, layers=5)[0] for seed in (0, 1))
  expected = sum(
    weight * np.abs(f.astype(np.float64) - r).mean()
    for weight, f, r in zip((1 / 32, 1 / 16, 1 / 8, 1 / 4, 1), fake, real, strict=True)
  )
  assert float64.jit(losses.perceptual)(fake, real) == pytest.approx(expected, rel=CLOSE)


@pytest.mark.parametrize(
  ('loss', 'fake', 'real'),
  [
    (losses.feature_matching, _features(0), _features(1)),
    (losses.perceptual, *(_features(seed, scales=1, layers=5)[0] for seed in (0, 1))),
  ],
)
def test_the_real_pictures_features_are_constant(loss, fake, real):
  of_fake, of_real = jax.grad(loss, argnums=(0, 1))(*jax.tree.map(jnp.asarray, (fake, real)))
  assert not any(np.any(leaf) for leaf in jax.tree.leaves(of_real))
  assert any(np.any(leaf) for leaf in jax.tree.leaves(of_fake))


def test_psnr_loss_is_minus_the_mean_of_the_pictures_psnrs():
  restored, sharp = np.random.default_rng(0).random((2, 3, 4, 5, 3), np.float32)
  restored[0] = sharp[0] + np.float32([0.1, 0, 0])
  errors = [np.square(np.float64(r) - s).mean() for r, s in zip(restored, sharp, strict=True)]
  assert errors[0] == pytest.approx(0.01 / 3)
  expected = np.mean([10 * np.log10(error + 1e-8) for error in errors])
  assert float64.jit(losses.psnr_loss)(restored, sharp) == pytest.approx(expected, rel=CLOSE)
  # Equal pictures: 80 dB, and a gradient.
  value, slope = jax.value_and_grad(losses.psnr_loss)(jnp.asarray(sharp), sharp)
  assert value == pytest.approx(-80)
  assert np.isfinite(slope).all()


def test_features_l1_sums_over_the_features():
  restored, sharp = (_features(seed, scales=1, layers=5)[0] for seed in (0, 1))
  expected = sum(np.abs(np.float64(r) - s).mean() for r, s in zip(restored, sharp, strict=True))
  assert float64.jit(losses.features_l1)(restored, sharp) == pytest.approx(expected, rel=CLOSE)


def test_losses_of_networks_of_another_depth_are_refused():
  with pytest.raises(ValueError, match='zip'):
    losses.feature_matching(_features(0), _features(1, layers=2))
  with pytest.raises(ValueError, match='zip'):
    losses.perceptual(_features(0)[0], _features(1)[0])
  with pytest.raises(ValueError, match='zip'):
    losses.features_l1(_features(0)[0], _features(1, layers=2)[0])
