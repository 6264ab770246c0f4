"""Means over pictures, against figures worked out by hand."""

import math

import pytest

from degrep_jax.evaluation import means

INF = math.inf


def rows(**columns):
  count = len(next(iter(columns.values())))
  return [
    {'name': f'p{number}'} | {name: values[number] for name, values in columns.items()}
    for number in range(count)
  ]


PERFECT_ONCE = rows(
  blurry_psnr=[20.0, INF, 30.0], ours_psnr=[26.0, 45.0, 32.0], ours_ssim_3d=[0.5, 1.0, 0.9]
)


def test_an_infinite_psnr_is_in_no_mean_of_any_method():
  assert means.mean(PERFECT_ONCE, 'blurry_psnr') == 25
  assert means.mean(PERFECT_ONCE, 'ours_psnr') == 29  # not (26 + 45 + 32) / 3: over the same two
  assert means.mean(PERFECT_ONCE, 'ours_ssim_3d') == pytest.approx(0.8)  # which is finite always
  assert means.identical(PERFECT_ONCE) == {'p1': ['blurry']}
  (sentence,) = means.remarks(PERFECT_ONCE)
  assert sentence.startswith('PSNR is infinite on 1 of 3 pictures')
  assert sentence.endswith('no mean PSNR is over them: p1 (blurry).')


def test_a_method_that_is_always_perfect():
  table = rows(blurry_psnr=[20.0, 30.0], copy_psnr=[INF, INF])
  assert means.mean(table, 'copy_psnr') == INF
  assert means.mean(table, 'blurry_psnr') == 25
  (sentence,) = means.remarks(table)
  assert 'on 2 of 2 pictures' in sentence and 'every mean PSNR is over those' in sentence


def test_every_picture_is_perfect_by_some_method():
  table = rows(a_psnr=[INF, 30.0], b_psnr=[20.0, INF])
  assert means.mean(table, 'a_psnr') == 30
  assert means.mean(table, 'b_psnr') == 20


def test_what_has_no_score_is_in_no_mean():
  table = rows(a_psnr=[10.0, None, 30.0], a_ssim_2d=[None, None, 0.5], b_psnr=[None, None, None])
  assert means.mean(table, 'a_psnr') == 20
  assert means.mean(table, 'a_ssim_2d') == 0.5
  assert means.mean(table, 'b_psnr') is None


def test_a_method_may_be_called_by_a_loss():
  table = rows(net_ssim_loss_psnr=[None, 30.0], net_ssim_loss_ssim_2d=[None, None])
  assert means.without_ssim(table) == ['p1']


def test_pictures_without_ssim_are_told_from_those_without_any_score():
  table = rows(a_psnr=[10.0, None, 30.0], a_ssim_2d=[None, None, 0.5], a_ssim_3d=[None, None, 0.5])
  assert means.without_ssim(table) == ['p0']
  (sentence,) = means.remarks(table)
  assert sentence == (
    '1 of 3 pictures are smaller than the window of SSIM, 11 px, and scored by PSNR alone: p0.'
  )


def test_many_pictures_are_not_all_named():
  (sentence,) = means.remarks(rows(a_psnr=[INF] * 9 + [20.0]))
  assert sentence.endswith('p0 (a), p1 (a), p2 (a) and 6 more.')


def test_nothing_to_remark():
  assert not [*means.remarks(rows(a_psnr=[0.0, 30.0], a_ssim_2d=[-0.1, 1.0]))]


def test_a_score_that_is_not_a_number_is_not_hidden():
  assert math.isnan(means.mean(rows(a_psnr=[math.nan, 30.0]), 'a_psnr'))
