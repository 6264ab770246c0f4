"""Compile options: what this jaxlib does not know is left out, and every program gets the rest."""

import pathlib
import re
import types

import jax
import jax.numpy as jnp
import pytest

import degrep_jax
from degrep_jax.runtime import compiling

PACKAGE = pathlib.Path(degrep_jax.__file__).parent


@pytest.mark.parametrize(
  ('name', 'value', 'kept'),
  [
    ('xla_backend_optimization_level', '0', True),
    ('xla_backend_optimization_level', 'high', False),  # no such value
    ('xla_cpu_no_such_option', 'true', False),
  ],
)
def test_an_option_that_this_jaxlib_does_not_know_is_left_out(monkeypatch, name, value, kept):
  monkeypatch.setattr(compiling, '_OPTIONS', {'cpu': {name: value}})
  assert compiling.options() == ({name: value} if kept else {})
  assert compiling.jit(jnp.square)(3.0) == 9


def test_another_platform_has_no_options_of_cpus(monkeypatch):
  monkeypatch.setattr(compiling.jax, 'default_backend', lambda: 'gpu')
  assert compiling.options(keep_barriers=True) == {}


def test_barriers_are_kept_where_they_are_needed():
  """XLA takes the name of any pass, and of one that is gone without a word. (Without the option
  jaxlib 0.10 drops barriers, and 0.12 keeps them.)"""

  def twice(x):
    return jnp.sin(x) + jnp.sin(jax.lax.optimization_barrier(x))

  options = compiling.options(keep_barriers=True)
  program = jax.jit(twice).lower(jnp.ones(3)).compile(options)
  assert program.as_text().count(' sine(') == 2


def test_the_options_are_of_what_jit_compiles(monkeypatch):
  """Also of what is compiled ahead of time: an option that XLA refuses is refused."""
  monkeypatch.setattr(compiling, 'options', lambda: {'xla_cpu_no_such_option': 'true'})
  with pytest.raises(RuntimeError, match='xla_cpu_no_such_option'):
    compiling.jit(jnp.square).lower(3.0).compile()


@pytest.mark.parametrize('library', [types.SimpleNamespace(), None])
def test_freed_memory_goes_back_where_the_c_library_can(monkeypatch, library):
  """Without glibc's malloc_trim the program is compiled all the same."""
  calls = []
  library = library or types.SimpleNamespace(malloc_trim=calls.append)
  monkeypatch.setattr(compiling.ctypes, 'CDLL', lambda name: library)
  program = compiling.compiled(jax.jit(jnp.square).lower(3.0))
  assert program(3.0) == 9
  assert calls == ([0] if hasattr(library, 'malloc_trim') else [])


def test_nothing_in_the_package_is_compiled_without_them():
  """`jax.jit` stands in this one place and where a program is exported for others to compile, and a
  lowered program is compiled with options or was jitted with them."""
  found = {
    str(path.relative_to(PACKAGE))
    for path in PACKAGE.rglob('*.py')
    if re.search(r'jax\.jit|\.compile\(\)', path.read_text())
  }
  assert found == {'runtime/compiling.py', 'inference/export.py', 'inference/engines.py'}
  engines = (PACKAGE / 'inference/engines.py').read_text()
  assert 'jax.jit' not in engines and 'compiling.jit(' in engines
