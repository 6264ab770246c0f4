"""What the person who waits sees: times, plain lines in a log, a bar on a terminal."""

import io

import pytest
import rich.console

from degrep_jax.common import console


@pytest.mark.parametrize(
  ('seconds', 'text'),
  [
    (0, '0:00'),
    (9.4, '0:09'),
    (42, '0:42'),
    (59.6, '1:00'),
    (725, '12:05'),
    (3599.4, '59:59'),
    (3599.6, '1:00:00'),
    (3 * 3600 + 7 * 60, '3:07:00'),
    (100 * 3600, '100:00:00'),
  ],
)
def test_durations(seconds, text):
  assert console.duration(seconds) == text


@pytest.fixture
def terminal(monkeypatch):
  """A terminal of 80 columns in place of the error stream."""
  written = io.StringIO()
  terminal = rich.console.Console(file=written, force_terminal=True, width=80, highlight=False)
  monkeypatch.setattr(console, 'console', terminal)
  return written


def test_a_log_gets_plain_text(capsys):
  text = 'l_deblur [bold]0.1[/bold] [3/4] ' + 'long ' * 40 + '/runs/[a]'
  console.say(text)
  printed = capsys.readouterr()
  assert printed.err == text + '\n'
  assert printed.out == ''


def test_names_between_colons_stay_as_they_are(capsys):
  console.say('continuing /runs/:rocket:/x from step 3')
  assert capsys.readouterr().err == 'continuing /runs/:rocket:/x from step 3\n'


def test_all_items_come_in_order_and_a_log_gets_no_bar(capsys):
  assert list(console.track((i * i for i in range(5)), 'squaring', 5)) == [0, 1, 4, 9, 16]
  assert list(console.track([], 'nothing', 0)) == []
  printed = capsys.readouterr()
  assert (printed.out, printed.err) == ('', '')


def test_a_bar_moves_from_its_start_to_the_total(terminal):
  items = console.track('abc', 'training', total=10, start=7)
  assert next(items) == 'a'
  console.say('[a] line above the bar')
  assert list(items) == ['b', 'c']
  shown = terminal.getvalue()
  assert 'training' in shown
  assert '[a] line above the bar' in shown
  assert ' 7/10' in shown
  assert '10/10' in shown


def test_a_bar_moves_by_shares_and_never_backwards(terminal):
  with console.share_of('deblurring', 4) as move:
    for place in (0.5, 2.25, 1.5):
      move(place)
  shown = terminal.getvalue()
  assert shown.rindex('2/4') > shown.rindex('0/4')
  assert '1/4' not in shown


def test_a_bar_inside_a_bar(terminal):
  for _ in console.track('ab', 'training', total=2):
    assert list(console.track('xyz', 'evaluating', total=3)) == ['x', 'y', 'z']
  assert '2/2' in terminal.getvalue()


def test_items_are_asked_for_one_by_one():
  asked = []

  def endless():
    while True:
      asked.append(len(asked))
      yield asked[-1]

  items = console.track(endless(), 'training', total=3)
  assert next(items) == 0
  assert asked == [0]
  items.close()
