"""python -m degrep_jax.main --config=X --workdir=DIR [--mode=train|eval|plan]: X is the name of a
config that comes with the package, or a file."""

import os
import pathlib
import re
import sys
import time

# Before TensorFlow is imported: it only reads pictures here, and tells of itself at every start.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')
# OpenCV would report damaged pictures as well as we do, after our sentence.
os.environ.setdefault('OPENCV_LOG_LEVEL', 'ERROR')

import jax
from absl import app, flags
from ml_collections import config_flags

from degrep_jax.common import shipped_configs
from degrep_jax.common.errors import fail
from degrep_jax.evaluation.held_out import evaluate_run
from degrep_jax.runtime import exits, processes
from degrep_jax.training.loop import train
from degrep_jax.training.plan import amount, plan

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config file; any field of it: --config.field=value.', lock_config=True
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; an existing run is continued.')
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'eval', 'plan'],
  'eval: score a checkpoint of the workdir. plan: tell what a step would take, without workdir and '
  'data.',
)
_STEP = flags.DEFINE_integer('step', None, 'eval: of the checkpoint; by default the newest.')
_MULTIHOST = flags.DEFINE_bool(
  'multihost', False, 'One of several processes; TPU pods and SLURM tell the rest.'
)
_COORDINATOR = flags.DEFINE_string('coordinator', None, 'multihost: address:port of process 0.')
_NUM_PROCESSES = flags.DEFINE_integer('num_processes', None, 'multihost: how many.')
_PROCESS_ID = flags.DEFINE_integer('process_id', None, 'multihost: of this one, from 0.')
_MEMORY = flags.DEFINE_list('memory', [], 'plan: of a device, as 16GiB; several with commas.')
_DEVICES = flags.DEFINE_integer('devices', None, 'plan: of the training; by default those here.')

_HELP = ('help', 'helpshort', 'helpfull', 'helpxml', '?')  # flags of absl's


@flags.validator('config', message='name a config, as --config=demo or --config=configs/demo.py.')
def _has_config(path) -> bool:
  return path is not None


@flags.multi_flags_validator(['mode', 'workdir'], message='--workdir must name a folder.')
def _has_workdir(values) -> bool:
  return values['mode'] == 'plan' or bool(values['workdir'])


@flags.multi_flags_validator(['mode', 'step'], message='--step goes with --mode=eval.')
def _is_evaluated(values) -> bool:
  return values['mode'] == 'eval' or values['step'] is None


@flags.multi_flags_validator(
  ['mode', 'devices', 'memory'], message='--devices and --memory go with --mode=plan.'
)
def _is_planned(values) -> bool:
  return values['mode'] == 'plan' or (values['devices'] is None and not values['memory'])


@flags.multi_flags_validator(
  ['multihost', 'coordinator', 'num_processes', 'process_id'],
  message='--coordinator, --num_processes and --process_id go with --multihost.',
)
def _are_several(values) -> bool:
  told = values['coordinator'], values['num_processes'], values['process_id']
  return values['multihost'] or told == (None, None, None)


def _config_file(name: str) -> str:
  """The path of a config, which may import others as `from configs import default`."""
  shipped = shipped_configs.find(name)
  path = shipped or pathlib.Path(name).absolute()
  if not path.is_file():
    known = ', '.join(shipped_configs.names())
    sentence = f'there is no config file {path}: mend --config, or name one of {known}.'
    raise SystemExit(fail(sentence))
  if not shipped:
    sys.path.append(str(path.parent.parent))
  shipped_configs.offer(alone=bool(shipped))
  return str(path)


def _parse(argv: list[str]) -> list[str]:
  """Flags as absl reads them, but a bad one costs a sentence instead of a trace or the help."""
  argv = [*argv]
  for i, argument in enumerate(argv):
    if argument in ('--config', '-config') and argv[i + 1 :]:
      argv[i + 1] = _config_file(argv[i + 1])
    elif argument.startswith(('--config=', '-config=')):
      flag, _, name = argument.partition('=')
      argv[i] = f'{flag}={_config_file(name)}'
  try:
    return flags.FLAGS(argv)
  except flags.Error as error:
    raise SystemExit(fail(_in_words(str(error)))) from None
  except SystemExit as end:
    if any(argument.lstrip('-') in _HELP for argument in argv):  # which absl calls a failure
      raise SystemExit(0) from None
    raise SystemExit(
      fail(f'the config ended the program: {end.code or "it says no more"}')
    ) from None
  except Exception as error:  # a config is Python: its own code may raise anything
    text = str(error.args[0] if error.args else error).replace('\\n', ' ').replace("\\'", '')
    text = ' '.join(text.strip('\'"').split())
    text = re.sub(r'^(\w+)\W? Did you mean "(\w+)".*', r'there is no field \1 (is \2 meant?)', text)
    if text.isidentifier():  # all that an error of a missing name says
      text = f'there is no {text}'
    raise SystemExit(fail(f'--config or a field of it is wrong: {text}')) from None


def _in_words(error: str) -> str:
  """What absl says of a flag, without what is for programmers."""
  text = re.sub(r'flags? [^:]*=None: ', '', ' '.join(error.split()))
  for pythons, ours in (
    (r'\(?.?Non-boolean argument.*', 'choose true or false.'),
    (r'invalid literal for int\(\).*', 'it must be a whole number.'),
    (r'could not convert string to float.*', 'it must be a number.'),
  ):
    text = re.sub(pythons, ours, text)
  return text


def main(argv: list[str]) -> int:
  """Runs the chosen mode; its exit status, as `exits.status_of` says."""
  if len(argv) > 1:
    return fail(f'{argv[1]!r} is not understood: flags start with --.')
  return exits.status_of(_run_mode)


def _run_mode() -> None:
  workdir = pathlib.Path(str(_WORKDIR.value))
  if _MULTIHOST.value:
    processes.initialize(_COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value)
  if _MODE.value == 'train':
    train(_CONFIG.value, workdir)
  elif _MODE.value == 'plan':
    plan(_CONFIG.value, [amount(text) for text in _MEMORY.value], _DEVICES.value)
  else:
    evaluate_run(_CONFIG.value, workdir, _STEP.value)
  jax.distributed.shutdown()  # waits for all: the first to be gone would end the others


def _main_and_leave(argv: list[str]) -> None:
  status = main(argv)
  if status and jax.distributed.is_initialized() and processes.is_first():
    time.sleep(5)  # others that end for the same reason say so before they are ended
  exits.leave(status)


def run() -> None:
  """Parses the flags and runs `main`."""
  app.run(_main_and_leave, flags_parser=_parse)


if __name__ == '__main__':
  run()
