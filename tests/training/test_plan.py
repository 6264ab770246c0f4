"""What a step takes, before it is taken: the analysis, what follows from it, and the command."""

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


def _line(fixed, each, state=2.0):
  """A line of `fixed` GiB of gradients and `each` GiB of activations per pair."""
  two = [
    plan.Needs(GIB * state, 0, GIB * (fixed + count * each), 10.0 + count)
    for count in plan.COMPILED
  ]
  return plan.Line(tuple(two), pictures=2**20, gradients=GIB)


def test_needs_follow_from_two_programs():
  line = _line(fixed=1, each=0.5)
  assert line.at(8) == pytest.approx((2 * GIB, 0, 5 * GIB, 18))
  assert line.at(8).memory == 7 * GIB
  # Activations of 2 pairs, one gradient more, the pictures of the other 6 in the batch and by twos.
  expected = (2 * GIB + 6 * 2**20, 0, 3 * GIB + 6 * 2**20, 18)
  assert line.at(8, 4) == pytest.approx(expected)
  assert [line.largest(int(size * GIB)) for size in (3, 3.49, 3.5, 7, 7.25)] == [0, 0, 1, 8, 8]


def test_no_largest_batch_where_pictures_take_no_memory():
  with pytest.raises(UserError, match=r'a step of 4 pictures takes no more memory than one of 2'):
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
  # State and gradient are 3 GiB, the sum of gradients is one more, later pairs 2 MiB each.
  assert [fields for fields, _ in found] == [
    {'accumulate_steps': 8},
    {'remat': True, 'accumulate_steps': 4},
    {'dtype': 'bfloat16', 'accumulate_steps': 8},
    {'dtype': 'bfloat16', 'remat': True},
  ]
  assert [memory for _, memory in found] == pytest.approx(
    [6 + 14 / 1024, 6 + 12 / 1024, 5.5 + 14 / 1024, 6.2], abs=0.001
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
  for count, needs in zip(plan.COMPILED, hinet.two, strict=True):
    assert needs.arguments == pytest.approx(size + count * pair, abs=64)
    assert needs.outputs < 0.1 * size  # the new state takes the place of the old one
    assert needs.temporaries > count * pair
  assert hinet.gradients == 4 * count_parameters(state.generator.params)
  assert hinet.pictures == pair


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
  each = (hinet.two[1].flops - hinet.two[0].flops) / (plan.COMPILED[1] - plan.COMPILED[0])
  assert 0.7 < each / (6 * macs) < 1.5


def test_a_plan_is_printed(monkeypatch, capsys, hinet):
  monkeypatch.setattr(plan, 'line', lambda config: hinet)
  needed = hinet.at(8).memory
  plan.plan(HINET, [int(2 * needed), int(0.9 * needed), 1000], devices=2)
  printed, told = capsys.readouterr()
  assert '8 programs' in told  # 2 batches, 2 types, with and without rematerialisation
  parameters = count_parameters(jax.eval_shape(stages.open_stage(HINET).create).generator.params)
  assert f'{parameters:,}' in printed
  assert 'a step of 16 pairs of 32 px: 8 on each of 2 devices, float32' in printed
  assert f'{needed / 2**20:.1f} MiB' in printed
  fits, nearest, *flags, nothing = [x for x in printed.splitlines() if 'config' in x]
  assert 'this config fits' in fits and 'nearest settings' in nearest
  assert 'this config does not fit; take more devices' in nothing
  assert '--config.train.accumulate_steps=' in flags[0]


def test_what_cannot_be_planned_is_refused():
  with pytest.raises(UserError, match='--devices is 0'):
    plan.plan(HINET, [], devices=0)
  with pytest.raises(UserError, match=r'train\.batch_size is 16.*3 devices'):
    plan.plan(HINET, [], devices=3)
  with pytest.raises(UserError, match="--memory: 'much' is no amount"):
    plan.amount('much')
  assert plan.amount('16GiB') == 16 * GIB


@pytest.mark.slow
@pytest.mark.parametrize('network', ['joint', 'hinet'])
def test_other_batches_and_micro_batches_are_as_predicted(network):
  config = HINET if network == 'hinet' else tiny_joint.config()
  found = plan.line(config)
  for share, parts in ((8, 1), (8, 4)):
    config.train.accumulate_steps = parts
    expected, actual = found.at(share, parts), plan.needs(config, share)
    assert actual.arguments == pytest.approx(expected.arguments, abs=64)
    assert actual.memory == pytest.approx(expected.memory, rel=0.1)
  config.train.accumulate_steps = 1


@pytest.mark.slow
def test_the_command_needs_neither_data_nor_workdir(tmp_path):
  flags = ('--mode=plan', '--memory=1GiB,100KiB', '--devices=2', '--config.data.source=folder')
  workdir = tmp_path / 'run'
  result = succeeded(run(workdir, *flags))
  assert 'fits' in result.stdout and 'rematerialised' in result.stdout
  refused(run(workdir, '--mode=plan', '--memory=some'), '--memory', 'some')
  assert not workdir.exists()
