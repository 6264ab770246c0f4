"""When TensorFlow is imported, and what it is told then."""

import subprocess
import sys

import child

STUB = """
import sys, types
tensorflow = types.ModuleType('tensorflow')
tensorflow.config = types.SimpleNamespace(set_visible_devices=lambda *told: print(told))
tensorflow.float32 = 'float32'
sys.modules['tensorflow'] = tensorflow
from degrep_jax.common.tensorflow import tf
print('imported')
print(tf.float32)
"""


def _printed(program):
  command = sys.executable, '-c', program
  result = subprocess.run(command, env=child.environment(), capture_output=True, text=True)
  assert result.returncode == 0, result.stderr
  return result.stdout.splitlines()


def test_the_training_command_starts_without_tensorflow_and_clu():
  program = "import sys, degrep_jax.main; print(sorted({'clu', 'tensorflow'} & sys.modules.keys()))"
  assert _printed(program) == ['[]']


def test_gpus_are_left_to_jax_as_soon_as_tensorflow_is_there():
  assert _printed(STUB) == ['imported', "([], 'GPU')", 'float32']
