"""Results in order, however the threads finish, and only some items ahead."""

import threading

import pytest

from degrep_jax.common.threads import map_ahead


def test_results_come_in_order_whichever_is_done_first():
  second = threading.Event()

  def double(number):
    if number == 0:
      assert second.wait(10)
    elif number == 1:
      second.set()
    return 2 * number

  assert list(map_ahead(double, range(5), workers=2, ahead=2)) == [0, 2, 4, 6, 8]


def test_items_are_taken_only_some_ahead():
  taken = []

  def items():
    for number in range(9):
      taken.append(number)
      yield number

  results = map_ahead(lambda number: (number, len(taken)), items(), workers=1, ahead=3)
  for number, result in enumerate(results):
    assert result[0] == number
    assert len(taken) == min(number + 4, 9)


@pytest.mark.parametrize('closed', [False, True])
def test_what_has_not_begun_never_does(closed):
  done, first = [], threading.Event()

  def work(number):
    if number == 1:
      assert first.wait(10)  # until the end is known
    done.append(number)
    if number == 0 and not closed:
      raise KeyError(number)

  results = map_ahead(work, range(9), workers=1, ahead=8)
  threading.Timer(0.2, first.set).start()
  if closed:
    next(results)
    results.close()
  else:
    with pytest.raises(KeyError):
      next(results)
  assert done in ([0], [0, 1])
