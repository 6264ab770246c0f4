"""The report of a step that was not finite."""

import json
import shlex
import sys

import pytest

from degrep_jax.training.finite import NotFinite, report


@pytest.mark.parametrize(
  'given', [['--config.log.every_steps=5'], ['-config.log.every_steps', '5']]
)
def test_the_command_that_comes_there_again_gives_every_field_once(tmp_path, monkeypatch, given):
  monkeypatch.setattr(sys, 'argv', ['main.py', '--config=x.py', *given, '--workdir', 'a b'])
  path = report(tmp_path, NotFinite(3, ['l_g'], 'l_g is not finite'), [(8, 5, 'coffee/0')])
  found = json.loads(path.read_text())
  again = shlex.split(found['again'])
  assert again[-4:] == ['--config=x.py', '--workdir', 'a b', '--config.log.every_steps=1']
  assert not {'5', '--config.log.every_steps=5'} & set(again)
  assert found['batch'] == [{'example': 8, 'item': 5, 'name': 'coffee/0'}]
