"""What a step takes, before it is taken: the analysis, what follows from it, and the command."""

import re

import jax
import numpy as np
import pytest
import tiny_deblur
import tiny_joint
from command import refused, run, succeeded
from quick import COMPILER

from degrep_jax.common.errors import UserError
from degrep_jax.models.variables import count_parameters
from degrep_jax.runtime import compiling
from degrep_jax.training import plan, stages

GIB = 2**30
HINET = tiny_deblur.config(model__network='hinet', loss__encoder_features=0.0, train__batch_size=16)


FEW, MANY = (2, 4), (8, 12)  # of the programs that are compiled on a CPU


def _line(fixed, each, state=2.0, later=0.0):
  """A line of `fixed` GiB of gradients, one more with two micro-batches, and `each` GiB of
  activations per pair, from eight pairs on `later` more."""

  def of(count, parts):
    assert count in (*FEW, *MANY) and parts in (1, 2)
    activations = count * (each + later * (count >= MANY[0]))
    gradients = fixed + (parts - 1)
    flops = (10.0 + count) / parts  # XLA counts those of a loop once
    return plan.Needs(GIB * state, 0, GIB * (gradients + activations), flops)

  return plan.Line(of, example_bytes=2**20)


def test_needs_follow_from_two_programs():
  line = _line(fixed=1, each=0.5)
  assert line.at(6) == pytest.approx((2 * GIB, 0, 4 * GIB, 16))
  assert line.at(16) == pytest.approx((2 * GIB, 0, 9 * GIB, 26))
  assert line.at(8).memory == 7 * GIB
  # Activations of 2 pairs, one gradient more, the pictures of the last 4 in the batch and by twos.
  expected = (2 * GIB + 4 * 2**20, 0, 3 * GIB + 4 * 2**20, 18)
  assert line.at(8, 4) == pytest.approx(expected)
  assert [line.largest(int(size * GIB)) for size in (3, 3.49, 3.5, 7, 7.25)] == [0, 0, 1, 8, 8]


def test_convolutions_that_take_more_from_eight_pictures_on():
  line = _line(fixed=1, each=0.5, later=0.25)
  assert [line.at(count).memory / GIB for count in (1, 7, 8, 16)] == [3.5, 6.5, 9, 15]
  # Between 6.5 GiB and 9 there is no batch.
  sizes = {2.9: 0, 3.5: 1, 6.4: 6, 6.5: 7, 8.9: 7, 9: 8, 9.7: 8, 9.75: 9, 15: 16}
  assert {size: line.largest(int(size * GIB)) for size in sizes} == sizes


def test_only_what_the_answer_needs_is_compiled():
  asked = set()

  def of(count, parts):
    asked.add((count, parts))
    return plan.Needs(GIB, 0, GIB * count * parts, 1)

  line = plan.Line(of, example_bytes=0)
  assert line.largest(21 * GIB) == 20 and asked == {(8, 1), (12, 1)}
  assert line.largest(4 * GIB) == 3 and asked == {(8, 1), (12, 1), (2, 1), (4, 1)}
  lines, train = {('float32', False): line}, tiny_joint.config(train__batch_size=8).train
  assert not list(plan.nearest(lines, train, 8, GIB)) and len(asked) == 4
  assert list(plan.nearest(lines, train, 8, 5 * GIB)) and (2, 2) in asked


def test_one_form_of_convolutions_is_told_by_two_programs(monkeypatch):
  monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
  line = _line(fixed=1, each=0.5, later=0.25)
  assert line.at(16).memory == 11 * GIB and line.largest(11 * GIB) == 16


def test_no_largest_batch_where_pictures_take_no_memory():
  with pytest.raises(UserError, match=r'a step of 12 pictures takes no more memory than one of 8'):
    _line(fixed=1, each=0).largest(7 * GIB)


def test_the_nearest_settings_keep_the_batch():
  train = tiny_joint.config(train__batch_size=8).train
  lines = {
    ('float32', False): _line(1, 2),
    ('float32', True): _line(1, 1),
    ('bfloat16', False): _line(1, 1.5),
    ('bfloat16', True): _line(1, 0.4),
  }
  found = [(fields, needs.memory / GIB) for fields, needs in plan.nearest(lines, train, 8, 7 * GIB)]
  # State and gradient are 3 GiB, the sum of gradients is one more, pairs after two micro-batches
  # take 2 MiB each.
  assert [fields for fields, _ in found] == [
    {'accumulate_steps': 8},
    {'remat': True, 'accumulate_steps': 4},
    {'dtype': 'bfloat16', 'accumulate_steps': 8},
    {'dtype': 'bfloat16', 'remat': True},
  ]
  assert [memory for _, memory in found] == pytest.approx(
    [6 + 12 / 1024, 6 + 8 / 1024, 5.5 + 12 / 1024, 6.2], abs=0.001
  )
  assert not list(plan.nearest(lines, train, 8, 3 * GIB))


@pytest.fixture(scope='module')
def hinet():
  with pytest.MonkeyPatch.context() as patch:
    options = compiling.options()
    # Machine code has no part in the analysis.
    patch.setattr(compiling, 'options', lambda *_: options | COMPILER)
    return plan.line(HINET)


def test_arguments_and_outputs_are_the_state_and_the_pictures(hinet):
  state = jax.eval_shape(stages.open_stage(HINET).create)
  size = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
  pair = 2 * 32 * 32 * 3 * 4
  for count in FEW:
    needs = hinet.of(count, 1)
    assert needs.arguments == pytest.approx(size + count * pair, abs=64)
    assert needs.outputs < 0.1 * size  # the new state takes the place of the old one
    assert needs.temporaries > count * pair
  assert hinet.example_bytes == pair


def test_operations_are_those_of_the_convolutions(hinet):
  """Three times what the way there takes, which for a convolution is 2 k k in out per pixel."""

  def kernels(tree):
    for path, x in tiny_deblur.by_path(tree).items():
      if 'kernel' in path:
        yield path, x.shape

  params = jax.eval_shape(stages.open_stage(HINET).create).generator.params
  macs = 0
  for path, shape in kernels(params):
    coarse = "_1'" in path.split('][')[0] or 'downsample' in path  # of the two levels the second
    macs += np.prod(shape) * (16 * 16 if coarse else 32 * 32)
  few, many = MANY
  each = (hinet.of(many, 1).flops - hinet.of(few, 1).flops) / (many - few)
  assert 0.9 < each / (6 * macs) < 1.2


def test_a_plan_is_printed(monkeypatch, capsys):
  monkeypatch.setattr(plan, 'line', lambda config: _line(fixed=1, each=0.5))
  plan.plan(HINET, [14 * GIB, 6 * GIB, GIB], devices=2)
  printed, told = capsys.readouterr()
  assert 'compiled one after another' in told
  parameters = count_parameters(jax.eval_shape(stages.open_stage(HINET).create).generator.params)
  assert f'{parameters:,}' in printed
  assert 'a step of 16 pairs of 32 px: 8 on each of 2 devices, float32' in printed
  assert re.search(r'together +7\.00 GiB', printed)  # state 2, gradients 1, activations 4
  assert re.search(r'bfloat16, rematerialised +22 +6 +0', printed)
  fits, nearest, *flags, nothing = [x for x in printed.splitlines() if 'config' in x]
  assert 'this config fits' in fits and 'nearest settings' in nearest
  assert 'this config does not fit; take more devices' in nothing
  # Two micro-batches of 4 pairs: a gradient more, activations 2.
  assert flags[0].split() == ['6.00', 'GiB', '--config.train.accumulate_steps=2']


def test_what_cannot_be_planned_is_refused():
  with pytest.raises(UserError, match='--devices is 0'):
    plan.plan(HINET, [], devices=0)
  with pytest.raises(UserError, match=r'train\.batch_size is 16.*3 devices'):
    plan.plan(HINET, [], devices=3)
  with pytest.raises(UserError, match="--memory: 'much' is no amount"):
    plan.amount('much')
  assert plan.amount('16GiB') == 16 * GIB


@pytest.mark.slow
@pytest.mark.parametrize(
  ('config', 'batches'),
  [
    pytest.param(HINET, [(6, 1), (16, 1), (8, 4), (20, 2)], id='hinet'),
    pytest.param(tiny_joint.config(), [(6, 1), (16, 1), (8, 4)], id='joint'),
  ],
)
def test_other_batches_and_micro_batches_are_as_predicted(config, batches):
  found = plan.line(config)
  for share, parts in batches:
    changed = config.copy_and_resolve_references()
    changed.train.accumulate_steps = parts
    expected, actual = found.at(share, parts), plan.needs(changed, share)
    assert actual.arguments == pytest.approx(expected.arguments, abs=64)
    assert actual.memory == pytest.approx(expected.memory, rel=0.1)


@pytest.mark.slow
def test_the_command_needs_neither_data_nor_workdir(tmp_path):
  flags = ('--mode=plan', '--memory=1GiB,100KiB', '--devices=2', '--config.data.source=folder')
  workdir = tmp_path / 'run'
  result = succeeded(run(workdir, *flags))
  assert 'fits' in result.stdout and 'rematerialised' in result.stdout
  refused(run(workdir, '--mode=plan', '--memory=some'), '--memory', 'some')
  assert not workdir.exists()
