"""Exit statuses, and what is told of errors."""

import asyncio
import sys

import jax.numpy as jnp
import pytest

from degrep_jax.runtime import exits


def test_an_error_that_nobody_expected_has_a_status_of_its_own(capsys):
  def work():
    return {}['mine']

  assert exits.status_of(work) == 1
  assert capsys.readouterr().err.endswith("KeyError: 'mine'\n")


@pytest.mark.parametrize(
  'error', [MemoryError(), RuntimeError('RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes.')]
)
def test_too_little_memory_is_a_sentence(capsys, error):
  def work():
    raise error

  assert exits.status_of(work) == 2
  said = capsys.readouterr().err
  assert said.startswith('degrep_jax: the memory does not suffice (') and said.count('\n') == 1
  assert '(MemoryError)' in said or '(RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes)' in said
  assert 'train.accumulate_steps' in said


def test_what_xla_says_of_too_little_memory_is_told_as_such(capsys):
  def work():
    jnp.zeros(2**50).block_until_ready()

  assert exits.status_of(work) == 2
  assert 'the memory does not suffice (' in capsys.readouterr().err


def test_a_disk_that_is_exhausted_is_not_told_as_memory(capsys):
  def work():
    raise ValueError('RESOURCE_EXHAUSTED: Error writing "x": No space left on device')

  assert exits.status_of(work) == 1
  assert 'memory' not in capsys.readouterr().err


class _Late:
  def __init__(self, work):
    self.work = work

  def __del__(self):
    self.work()  # what it raises Python cannot raise where this object is let go of


def test_what_threads_meet_after_a_failed_save_is_not_told(monkeypatch, capsys):
  monkeypatch.setattr(sys, 'unraisablehook', sys.unraisablehook)  # put back afterwards
  assert exits.status_of(lambda: None) == 0
  loop = asyncio.new_event_loop()
  loop.close()
  _Late(lambda: loop.call_soon(print))
  assert not capsys.readouterr().err
  _Late(lambda: {}['another'])
  assert capsys.readouterr().err.endswith("KeyError: 'another'\n")
