"""XLA told to make machine code in a hurry: compiling takes longer than running a few steps.

Unoptimised, by the older of its two emitters and in one piece, a training step of the tiny nets
takes half of the processor's time. An option that the installed jaxlib does not know is left out.

As a program it prints the flags: `tests/conftest.py` needs them before JAX is imported.
"""

from degrep_jax.runtime import compiling

_WANTED = {
  'xla_backend_optimization_level': '0',
  'xla_cpu_use_fusion_emitters': False,
  'xla_cpu_parallel_codegen_split_count': '1',
}
# For `Lowered.compile`, and for the environment of a process.
COMPILER = {name: value for name, value in _WANTED.items() if compiling.is_known(name, value)}
XLA_FLAGS = ' '.join(f'--{name}={value}'.lower() for name, value in COMPILER.items())

if __name__ == '__main__':
  print(XLA_FLAGS)
