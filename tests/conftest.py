"""What every test shares: the CPU backend, quiet TensorFlow, the reference figures' folder and the
parity table."""

import math
import os
import pathlib
import resource
import signal
import sys

import pytest

# jax and tensorflow read these when first imported; pytest loads this file before any test module.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
# Jobs in the background ignore it, and so would the commands that are tested: they inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

PARITY = 'parity'  # property of a test's report: differences that it compared


def pytest_addoption(parser):
  parser.addoption(
    '--parity', action='store_true', help='end with the worst differences from reference figures'
  )


@pytest.fixture(scope='session')
def golden():
  """The folder of reference figures: $DEGREP_GOLDEN, or else the copy in tests/golden."""
  default = pathlib.Path(__file__).parent / 'golden'
  return pathlib.Path(os.environ.get('DEGREP_GOLDEN') or default)


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  """A folder for compiled programs, which the runs of a module share."""
  return tmp_path_factory.mktemp('compiled')


@pytest.fixture(scope='module', autouse=True)
def _programs_do_not_outlive_their_module():
  """Each takes thousands of the memory maps that Linux grants a process: XLA crashes without."""
  yield
  if 'jax' in sys.modules:
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
