"""python -m degrep_jax.main --config=configs/X.py --workdir=DIR [--mode=train|eval]."""

import os
import pathlib
import sys

# Before TensorFlow is imported: it only reads pictures here, and tells of itself at every start.
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
os.environ.setdefault('TF_ENABLE_ONEDNN_OPTS', '0')

from absl import app, flags, logging
from ml_collections import config_flags

from degrep_jax.errors import UserError
from degrep_jax.evaluate import evaluate_run
from degrep_jax.train import train

_CONFIG = config_flags.DEFINE_config_file(
  'config', None, 'Config file; any field of it: --config.field=value.', lock_config=True
)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; an existing run is continued.')
_MODE = flags.DEFINE_enum(
  'mode', 'train', ['train', 'eval'], 'eval: score the newest checkpoint of the workdir.'
)
flags.mark_flags_as_required(['config', 'workdir'])


def _parse(argv: list[str]) -> list[str]:
  """Flags as absl reads them, but a bad one costs a sentence instead of a trace or the help."""
  try:
    return flags.FLAGS(argv)
  except (flags.Error, KeyError, AttributeError, TypeError, ValueError, OSError) as error:
    text = str(error.args[0] if error.args else error).strip().splitlines()
    raise SystemExit(_fail(' '.join(text))) from None


def _fail(sentence: str) -> int:
  print(f'degrep_jax: {sentence}', file=sys.stderr)
  return 2


def main(argv: list[str]) -> int:
  """Runs the chosen mode; status 0, or 2 with one sentence on stderr."""
  del argv
  logging.set_verbosity(logging.ERROR)
  logging.set_stderrthreshold(logging.ERROR)
  run = train if _MODE.value == 'train' else evaluate_run
  try:
    run(_CONFIG.value, pathlib.Path(str(_WORKDIR.value)))
  except UserError as error:
    return _fail(str(error))
  return 0


if __name__ == '__main__':
  app.run(main, flags_parser=_parse)
