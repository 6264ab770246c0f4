"""What every test shares: the CPU backend, quiet TensorFlow, the reference figures' folder and the
parity table."""

import math
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

# jax and tensorflow read these when first imported; pytest loads this file before any test module.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# Jobs in the background ignore it, and so would the commands that are tested: they inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

QUICK = pathlib.Path(__file__).parent / 'support' / 'quick.py'
PARITY = 'parity'  # property of a test's report: differences that it compared
COMPILED = pytest.StashKey[str]()
PROCESS = pathlib.Path('/proc/self')
LARGE, MANY_MAPS = 2 * 2**30, 20_000  # bytes; Linux grants a process 65,530 memory maps


def pytest_configure(config):
  """Programs are compiled once: whatever a test compiles, in pytest's process or in one that it
  starts, is kept in a folder and found there by the tests that come after it.

  Each worker has a folder of its own, which ends with it: JAX does not write its files at one
  stroke, and another worker would take one that is half written for a damaged one.

  The ordinary suite has all its programs made in a hurry, which is most of its time; of the slow
  tests and those for --parity single ones ask for that (tests/support/quick.py).
  """
  ordinary = config.option.markexpr == 'not slow' and not config.option.parity
  if ordinary and not hasattr(config, 'workerinput'):
    found = subprocess.run([sys.executable, QUICK], stdout=subprocess.PIPE, text=True, check=True)
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {found.stdout.strip()}'.strip()
  config.stash[COMPILED] = os.environ['JAX_COMPILATION_CACHE_DIR'] = tempfile.mkdtemp()
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'


def pytest_unconfigure(config):
  shutil.rmtree(config.stash[COMPILED], ignore_errors=True)


def pytest_collection_modifyitems(items):
  """What takes longest comes first, so that no worker is left with it alone at the end."""
  items.sort(key=lambda item: item.path.parent.name != 'training')


def pytest_addoption(parser):
  parser.addoption(
    '--parity', action='store_true', help='end with the worst differences from reference figures'
  )


@pytest.fixture(scope='session')
def golden():
  """The folder of reference figures: $DEGREP_GOLDEN, or else the copy in tests/golden."""
  default = pathlib.Path(__file__).parent / 'golden'
  return pathlib.Path(os.environ.get('DEGREP_GOLDEN') or default)


def _is_large():
  """Whether this process has come to much memory or many memory maps. Only Linux tells."""
  if not (PROCESS / 'maps').exists():
    return True
  pages = int((PROCESS / 'statm').read_text().split()[1])
  maps = (PROCESS / 'maps').read_bytes().count(b'\n')
  return pages * resource.getpagesize() > LARGE or maps > MANY_MAPS


@pytest.fixture(scope='module', autouse=True)
def _few_programs_in_memory():
  """Each takes memory maps, a large one thousands, and XLA crashes where none is left."""
  yield
  if 'jax' in sys.modules and _is_large():
    sys.modules['jax'].clear_caches()


@pytest.fixture
def agrees(record_property):
  """Asserts that a difference from a reference figure is within its tolerance.

  The parity table has one line per figure and width, for the worst of its differences.
  """

  def check(figure: str, width: int, difference: float, tolerance: float):
    record_property(PARITY, (figure, width, float(difference), float(tolerance)))
    assert difference <= tolerance, figure

  return check


def _worst(reports):
  """{(figure, width): the (difference, tolerance) that is nearest to failing or fails}."""
  worst = {}
  for report in reports:
    for name, value in getattr(report, 'user_properties', ()):
      if name == PARITY:
        figure, width, *found = value
        # A NaN ranks above everything.
        worst[figure, width] = max(worst.get((figure, width), found), found, key=_rank)
  return worst


def _rank(found):
  difference, tolerance = found
  return math.isnan(difference), difference / tolerance


def pytest_terminal_summary(terminalreporter, config):
  """The memory of the largest process; under `--parity` a line per reference figure, from every
  process that ran tests."""
  users = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
  largest = max(resource.getrusage(user).ru_maxrss for user in users)
  terminalreporter.line(f'largest process: {largest / 2**20:.1f} GiB')
  if not config.getoption('--parity'):
    return
  reports = [report for of in terminalreporter.stats.values() for report in of]
  terminalreporter.section('differences from the released code')
  terminalreporter.line(f'{"figure":<44}{"width":>6}{"worst":>11}{"tolerance":>11}{"of it":>8}')
  for (figure, width), (difference, tolerance) in _worst(reports).items():
    of_it = f'{difference / tolerance:.1%}'
    terminalreporter.line(f'{figure:<44}{width:>6}{difference:>11.1e}{tolerance:>11.1e}{of_it:>8}')
