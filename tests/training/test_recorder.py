"""What a run writes down, on a clock that the test moves."""

import json
import types

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from degrep_jax.runtime import devices
from degrep_jax.training import clock as training_clock
from degrep_jax.training.finite import NotFinite
from degrep_jax.training.recorder import Recorder


class Clock:
  """Seconds that pass when the test says so."""

  def __init__(self):
    self.now = 1000.0

  def __call__(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(training_clock, 'time', types.SimpleNamespace(monotonic=clock))
  return clock


def open_recorder(workdir, first=0, last=10, **options):
  """The learning rate falls from 1 by 0.1 with every step done."""
  return Recorder(workdir, first, last, 8, lambda done: 1 - done / 10, **options)


def train(recorder, clock, steps, seconds=0.5, **counts):
  """Steps whose GAN loss is the number of the step and whose deblurring loss is its square."""
  for step in steps:
    clock.now += seconds
    losses = {'l_gan': np.float32(step), 'l_deblur': np.float32(step**2)}
    recorder.add(step, devices.replicate(losses) | counts)


def read(workdir):
  """The lines of the file, by a reader that takes what JSON allows and nothing else."""

  def refuse(constant):
    raise AssertionError(f'{constant} is not JSON')

  text = (workdir / 'metrics.jsonl').read_text()
  assert text.endswith('\n')
  return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def write_lines(workdir, *lines):
  (workdir / 'metrics.jsonl').write_text(''.join(f'{json.dumps(line)}\n' for line in lines))


def test_means_over_the_steps_since_the_last_line(tmp_path, clock):
  with open_recorder(tmp_path) as recorder:
    train(recorder, clock, [1, 2, 3, 4])
    recorder.write(4)
    train(recorder, clock, [5, 6], seconds=2)
    recorder.write(6)
  first, second = read(tmp_path)
  assert first == {
    'step': 4,
    'l_gan': 2.5,
    'l_deblur': 7.5,
    'learning_rate': pytest.approx(0.7),
    'pictures_per_second': 16,
    'step_seconds': 0.5,
    'input_wait': 0,
    'train_seconds': 2,
    'compile_seconds': 0,
  }
  assert second == {
    'step': 6,
    'l_gan': 5.5,
    'l_deblur': 30.5,
    'learning_rate': pytest.approx(0.5),
    'pictures_per_second': 4,
    'step_seconds': 2,
    'input_wait': 0,
    'train_seconds': 6,
    'compile_seconds': 0,
  }


def test_the_learning_rate_is_the_one_the_step_used(tmp_path, clock):
  with open_recorder(tmp_path) as recorder:
    for step in (1, 2):
      train(recorder, clock, [step])
      recorder.write(step)
  assert [line['learning_rate'] for line in read(tmp_path)] == [1, 0.9]


def test_the_line_for_people(tmp_path, clock, capsys):
  with open_recorder(tmp_path) as recorder:
    train(recorder, clock, [1, 2])
    recorder.write(2)
  line = 'step  2/10  deblur L1 2.5000  GAN 1.5000  16.0 pictures/s  0:04 left\n'
  assert capsys.readouterr().err == line


def test_the_line_for_people_tells_what_went_wrong(tmp_path, clock, capsys):
  with open_recorder(tmp_path, nan_skips=2) as recorder:
    skip(recorder, 1)
    skip(recorder, 2)
    train(recorder, clock, [3, 4], replaced=1)
    recorder.write(4)
  expected = '  2 steps skipped  2 damaged pictures replaced  '
  assert expected in capsys.readouterr().err


def test_pauses_do_not_count(tmp_path, clock):
  with open_recorder(tmp_path) as recorder:
    clock.now += 3
    with recorder.clock.paused({}):
      assert recorder.clock.train_seconds == 3
      clock.now += 100
      recorder.files.write_scores(2, {'deblurred_psnr': 30.0})
    train(recorder, clock, [1, 2])
    recorder.write(2)
  assert recorder.clock.train_seconds == 4
  assert read(tmp_path)[-1]['train_seconds'] == 4


def test_a_pause_waits_for_the_steps_under_way(tmp_path, clock):
  class Step:
    """An array that takes 7 seconds to be ready."""

    def block_until_ready(self):
      clock.now += 7

  with open_recorder(tmp_path) as recorder:
    with recorder.clock.paused(Step()):
      clock.now += 100
    assert recorder.clock.train_seconds == 7


def test_a_continued_run_drops_what_came_after_its_step(tmp_path, clock):
  with open_recorder(tmp_path) as recorder:
    for step in (2, 4, 6):
      train(recorder, clock, [step - 1, step])
      recorder.write(step)
  before = read(tmp_path)
  with open_recorder(tmp_path, first=4) as recorder:
    assert read(tmp_path) == before[:2]
    assert recorder.clock.train_seconds == 2
    clock.now += 0.25
    train(recorder, clock, [5, 6])
    recorder.write(6)
  lines = read(tmp_path)
  assert [line['step'] for line in lines] == [2, 4, 6]
  assert lines[:2] == before[:2]
  assert lines[2]['train_seconds'] == 3.25
  assert lines[2]['pictures_per_second'] == pytest.approx(8 / 0.625)


def test_a_new_run_in_an_old_folder_starts_anew(tmp_path, clock):
  write_lines(tmp_path, {'step': 2, 'train_seconds': 9.0})
  with open_recorder(tmp_path) as recorder:
    assert recorder.clock.train_seconds == 0
  assert (tmp_path / 'metrics.jsonl').read_text() == ''


def test_training_time_goes_on_after_an_evaluation(tmp_path, clock):
  write_lines(tmp_path, {'step': 4, 'train_seconds': 9.0}, {'step': 4, 'eval_blurry_psnr': 25.0})
  with open_recorder(tmp_path, first=4) as recorder:
    assert recorder.clock.train_seconds == 9


def test_a_line_that_was_cut_off_is_dropped(tmp_path, clock):
  write_lines(tmp_path, {'step': 2, 'train_seconds': 9.0})
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"step": 3, "l_g')
  with open_recorder(tmp_path, first=2) as recorder:
    assert recorder.clock.train_seconds == 9
  assert read(tmp_path) == [{'step': 2, 'train_seconds': 9.0}]


@pytest.mark.parametrize('value', [np.nan, np.inf])
@pytest.mark.parametrize('method', ['write', 'require_finite', 'progress'])
def test_what_is_not_finite_is_named(tmp_path, clock, value, method):
  with open_recorder(tmp_path) as recorder:
    train(recorder, clock, [1])
    recorder.add(2, devices.replicate({'l_gan': np.float32(value), 'l_deblur': np.float32(1)}))
    train(recorder, clock, [3])
    with pytest.raises(NotFinite, match=r'^l_gan is not finite at step 2$') as caught:
      getattr(recorder, method)(*[3] * (method == 'write'))
  assert (caught.value.step, caught.value.names) == (2, ('l_gan',))
  assert (tmp_path / 'metrics.jsonl').read_text() == ''


def skip(recorder, step):
  losses = {'l_gan': np.float32(np.nan), 'l_deblur': np.float32(1), 'skipped': np.float32(1)}
  recorder.add(step, devices.replicate(losses))


def test_skipped_steps_are_counted_and_their_losses_left_out(tmp_path, clock):
  with open_recorder(tmp_path, nan_skips=2) as recorder:
    train(recorder, clock, [1])
    skip(recorder, 2)
    skip(recorder, 3)
    train(recorder, clock, [4])
    skip(recorder, 5)
    recorder.write(5)
    skip(recorder, 6)
    clock.now += 1
    recorder.write(6)
    with pytest.raises(NotFinite, match='l_gan is not finite at step 7 after 2 steps in a row'):
      skip(recorder, 7)
      recorder.require_finite()
  first, second = read(tmp_path)
  assert (first['skipped'], first['l_gan']) == (3, 2.5)
  assert second['skipped'] == 1 and 'l_gan' not in second


def test_skips_in_a_row_are_counted_across_restarts(tmp_path, clock):
  with open_recorder(tmp_path, nan_skips=2) as recorder:
    skip(recorder, 1)
    skip(recorder, 2)
    kept = json.loads(json.dumps(recorder.progress()))
  with open_recorder(tmp_path, first=2, progress=kept, nan_skips=2) as recorder:
    skip(recorder, 3)
    with pytest.raises(NotFinite, match='step 3'):
      recorder.require_finite()


def test_the_learning_rate_is_that_of_an_optimiser_that_counts_no_skipped_steps(tmp_path, clock):
  with open_recorder(tmp_path, nan_skips=2) as recorder:
    train(recorder, clock, [1])
    skip(recorder, 2)
    train(recorder, clock, [3])
    recorder.write(3)
  with open_recorder(tmp_path, first=3, nan_skips=2) as recorder:
    skip(recorder, 4)
    train(recorder, clock, [5])
    recorder.write(5)
  # The second and third time that it moves anything.
  assert [line['learning_rate'] for line in read(tmp_path)] == pytest.approx([0.9, 0.8])


def test_what_a_checkpoint_was_given_stays_as_it_was(tmp_path, clock):
  """It is written in another thread."""
  with open_recorder(tmp_path) as recorder:
    train(recorder, clock, [1, 2])
    kept = recorder.progress()
    train(recorder, clock, [3])
    recorder.require_finite()
  assert [row['l_gan'] for row in kept['metrics']] == [1, 2]


def test_means_go_on_where_a_checkpoint_lay_between_two_lines(tmp_path, clock):
  losses = [0.1, 0.7, 1 / 3, 1e-3, 2.2]

  def step(recorder, number):
    clock.now += 0.5
    value = {'l_gan': np.float32(losses[number - 1])}
    recorder.add(number, devices.replicate(value) | {'replaced': number})

  with open_recorder(tmp_path / 'whole') as recorder:
    for number in (1, 2, 3, 4, 5):
      step(recorder, number)
    recorder.write(5)
  with open_recorder(tmp_path / 'parted') as recorder:
    recorder.clock.compile_seconds += 7
    step(recorder, 1)
    with recorder.clock.waiting():
      clock.now += 0.25
    step(recorder, 2)
    kept = json.loads(json.dumps(recorder.progress()))
    step(recorder, 3)  # lost
  with open_recorder(tmp_path / 'parted', first=2, progress=kept) as recorder:
    for number in (3, 4, 5):
      step(recorder, number)
    recorder.write(5)
  (whole,), (parted,) = read(tmp_path / 'whole'), read(tmp_path / 'parted')
  assert parted['l_gan'] == whole['l_gan'] == np.mean([float(np.float32(x)) for x in losses])
  assert parted['replaced'] == whole['replaced'] == 15
  assert (whole['train_seconds'], parted['train_seconds']) == (2.5, 2.75)
  assert parted['input_wait'] == pytest.approx(0.25 / 2.75)
  assert parted['compile_seconds'] == 7


def test_the_wait_for_batches_is_a_share_of_the_time(tmp_path, clock):
  with open_recorder(tmp_path) as recorder:
    for step, seconds in ((1, 0.5), (2, 0.25)):
      with recorder.clock.waiting():
        clock.now += seconds
      train(recorder, clock, [step], seconds=0.25)
    recorder.write(2)
  (line,) = read(tmp_path)
  assert line['input_wait'] == 0.6  # 0.75 of 1.25 s
  assert (line['step_seconds'], line['pictures_per_second']) == (0.625, 12.8)


def test_a_score_is_written_once_also_after_a_restart(tmp_path, clock):
  with open_recorder(tmp_path) as recorder:
    recorder.files.write_scores(4, {'deblurred_psnr': 30.5})
  with open_recorder(tmp_path, first=4) as recorder:
    recorder.files.write_scores(4, {'deblurred_psnr': 30.5})
  assert read(tmp_path) == [{'step': 4, 'eval_deblurred_psnr': 30.5}]


def tensorboard(workdir, name):
  """[(step, value)] of a scalar."""
  events = EventAccumulator(str(workdir), size_guidance={'tensors': 0})
  events.Reload()
  return [(of.step, float(make_ndarray(of.tensor_proto))) for of in events.Tensors(name)]


@pytest.mark.parametrize('killed', ['before the line', 'after the line'])
def test_a_made_up_score_is_in_tensorboard_once(tmp_path, clock, killed):
  recorder = open_recorder(tmp_path)
  recorder.files.write_scores(2, {'deblurred_psnr': 20.5})
  recorder.files.write_scores(4, {'deblurred_psnr': 30.5})
  if killed == 'before the line':
    write_lines(tmp_path, *read(tmp_path)[:1])
  with open_recorder(tmp_path, first=4) as restarted:
    restarted.files.write_scores(4, {'deblurred_psnr': 30.5})
  assert [line['step'] for line in read(tmp_path)] == [2, 4]
  assert tensorboard(tmp_path, 'eval_deblurred_psnr') == [(2, 20.5), (4, 30.5)]
  recorder.__exit__()


def test_tensorboard_forgets_what_a_restart_trains_again(tmp_path, clock):
  def write(recorder, step, value):
    clock.now += 1
    recorder.add(step, devices.replicate({'l_gan': np.float32(value)}))
    recorder.write(step)

  with open_recorder(tmp_path) as recorder:
    for step in (1, 2, 3, 4):
      write(recorder, step, step)
  with open_recorder(tmp_path, first=2) as recorder:
    write(recorder, 3, 30)
  assert tensorboard(tmp_path, 'l_gan') == [(1, 1), (2, 2), (3, 30)]


def test_tensorboards_file_is_read_as_far_as_a_kill_let_it_be_written(tmp_path, clock):
  with open_recorder(tmp_path) as recorder:
    for step in (2, 4, 6):
      recorder.files.write_scores(step, {'deblurred_psnr': step})
  (path,) = tmp_path.glob('events.out.tfevents.*')
  path.write_bytes(path.read_bytes()[:-3])  # of the scores of step 6
  write_lines(tmp_path, *read(tmp_path)[:1])
  with open_recorder(tmp_path, first=3):
    pass
  assert tensorboard(tmp_path, 'eval_deblurred_psnr') == [(2, 2)]
  assert not [of for of in tmp_path.iterdir() if of.is_dir()]


def test_scores_are_written_under_names_of_their_own(tmp_path, clock):
  with open_recorder(tmp_path) as recorder:
    recorder.files.write_scores(4, {'count': 3, 'deblurred_psnr': 30.5})
  assert read(tmp_path) == [{'step': 4, 'eval_count': 3, 'eval_deblurred_psnr': 30.5}]


def test_infinite_scores_are_json(tmp_path, clock):
  with open_recorder(tmp_path) as recorder:
    recorder.files.write_scores(4, {'blurry_psnr': float('inf')})
  assert float(read(tmp_path)[0]['eval_blurry_psnr']) == float('inf')


def test_tensorboard_shows_scalars_and_pictures(tmp_path, clock):
  pictures = {
    name: np.full((6, 5, 3), level, np.uint8)
    for level, name in enumerate(('sharp', 'blurry', 'reblurred', 'deblurred'))
  }
  with open_recorder(tmp_path) as recorder:
    train(recorder, clock, [1, 2])
    recorder.write(2)
    recorder.files.write_scores(2, {'deblurred_psnr': 30.5})
    recorder.files.write_pictures(2, [{'name': 'coffee/0', **pictures}])
  assert len(list(tmp_path.glob('events.out.tfevents.*'))) == 1
  events = EventAccumulator(str(tmp_path), size_guidance={'tensors': 0})
  events.Reload()
  assert set(events.Tags()['tensors']) == {
    'l_gan',
    'l_deblur',
    'learning_rate',
    'pictures_per_second',
    'step_seconds',
    'input_wait',
    'train_seconds',
    'compile_seconds',
    'eval_deblurred_psnr',
    'coffee/0',
  }
  (scalar,) = events.Tensors('l_deblur')
  assert (scalar.step, make_ndarray(scalar.tensor_proto)) == (2, 2.5)
  (strip,) = events.Tensors('coffee/0')
  assert strip.tensor_proto.string_val[:2] == [b'20', b'6']  # width and height of four pictures


def test_other_processes_write_nothing(tmp_path, clock, monkeypatch):
  write_lines(tmp_path, {'step': 2, 'train_seconds': 9.0}, {'step': 4, 'train_seconds': 10.0})
  before = (tmp_path / 'metrics.jsonl').read_text()
  monkeypatch.setattr(jax, 'process_index', lambda: 1)
  with open_recorder(tmp_path, first=2) as recorder:
    assert recorder.clock.train_seconds == 9
    recorder.files.write_scores(4, {'deblurred_psnr': 30.5})
  assert (tmp_path / 'metrics.jsonl').read_text() == before
  assert [path.name for path in tmp_path.iterdir()] == ['metrics.jsonl']
