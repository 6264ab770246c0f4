"""Kills a small training again and again, at moments drawn at random, and compares what it ends in
with a run that nobody disturbed: the newest and the best checkpoint, its scores, the log and the
scalars of TensorBoard, to the bit.

python experiments/chaos.py --kills=30 --signal=KILL
python experiments/chaos.py --kills=30 --signal=TERM --seed=7

The moments: while the process starts, restores and compiles; while it trains; while it writes a
checkpoint; while it evaluates. A run that comes to its end before all kills are spent is compared,
and another one takes the rest. After a signal that can be heard, the run must say what it saved.
"""

import argparse
import collections
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile
import time

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

sys.path.append(str(pathlib.Path(__file__).parents[1] / 'tests' / 'support'))

from command import ROOT, differing, timeless

from degrep_jax import checkpoints
from degrep_jax.training.recorder import CLOCKS

PHASES = ('starting', 'training', 'saving', 'evaluating')
EVALUATE, STEPS = 12, 48
FLAGS = (
  '--config=configs/smoke.py',
  f'--config.train.steps={STEPS}',
  '--config.log.every_steps=2',
  '--config.log.pictures_every_steps=30',
  # No multiple of the line's: some means began before the checkpoint that a run continues from.
  '--config.log.checkpoint_every_steps=3',
  f'--config.log.evaluate_every_steps={EVALUATE}',
)


def log_of(workdir: pathlib.Path) -> pathlib.Path:
  """What the starts of a run printed."""
  return workdir.with_name(f'{workdir.name}.log')


def start(workdir: pathlib.Path, cache: pathlib.Path) -> subprocess.Popen:
  """The real command, which shares its compiled programs with the others."""
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'JAX_COMPILATION_CACHE_DIR': str(cache),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
    'XLA_FLAGS': f'{os.environ.get("XLA_FLAGS", "")} --xla_backend_optimization_level=0',
  }
  command = [sys.executable, '-m', 'degrep_jax.main', *FLAGS, f'--workdir={workdir}']
  with log_of(workdir).open('a') as log:
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)


def lines(workdir: pathlib.Path) -> list[dict]:
  """What a run has logged so far, but for a line that is being written."""
  path = workdir / 'metrics.jsonl'
  text = path.read_text() if path.exists() else ''
  return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith('\n')]


def is_in(phase: str, workdir: pathlib.Path, logged: int) -> bool:
  """Whether a run that began with so many lines is in a phase now."""
  found = lines(workdir)
  if len(found) <= logged:
    return False
  if phase == 'saving':
    return any((workdir / 'checkpoints').glob('*tmp*'))
  # The line of a step that is to be evaluated is there, its scores are not.
  return phase == 'training' or (found[-1]['step'] % EVALUATE == 0 and 'l_g' in found[-1])


def disturb(
  process: subprocess.Popen, phase: str, rng: random.Random, workdir: pathlib.Path, number: int
) -> bool:
  """Waits for a phase and sends the signal; False where the run ended before."""
  logged = len(lines(workdir))
  if phase == 'starting':
    time.sleep(rng.uniform(0.5, 15))
  else:
    while process.poll() is None and not is_in(phase, workdir, logged):
      time.sleep(0.002)
    time.sleep(rng.uniform(0, {'training': 2, 'saving': 0.1, 'evaluating': 3}[phase]))
  if process.poll() is not None:
    return False
  process.send_signal(number)
  return True


def tensorboard(workdir: pathlib.Path) -> dict[str, list[tuple[int, float]]]:
  """The scalars that TensorBoard shows, but clocks: (step, value) by name."""
  events = EventAccumulator(str(workdir), size_guidance={'tensors': 0})
  events.Reload()
  found = {name: events.Tensors(name) for name in events.Tags()['tensors'] if name not in CLOCKS}
  arrays = {
    name: [(event.step, make_ndarray(event.tensor_proto)) for event in of]
    for name, of in found.items()
  }
  return {
    name: [(step, float(array)) for step, array in of]
    for name, of in arrays.items()
    if of[0][1].dtype.kind == 'f'  # no pictures
  }


def best(workdir: pathlib.Path) -> tuple[int, dict[str, float]]:
  """(step, scores) of the best checkpoint."""
  scores = checkpoints.saved_scores(workdir)
  return max(scores.items(), key=lambda of: of[1][checkpoints.BEST])


def differences(one: pathlib.Path, other: pathlib.Path) -> list[str]:
  """What is not equal in two runs. (A signal leaves a checkpoint at a step of its own, so that not
  all need be the same.)"""
  logs = {'metrics.jsonl': timeless, 'TensorBoard': tensorboard, 'best checkpoint': best}
  found = [name for name, read in logs.items() if read(one) != read(other)]
  for step in () if found else (None, best(one)[0]):
    found += differing(*(checkpoints.load(of, step) for of in (one, other)))
  return found


def as_it_should(workdir: pathlib.Path, phase: str, number: int, status: int) -> bool:
  """Whether a run ended by a signal as it says that it does."""
  if number == signal.SIGKILL:
    return status == -number
  # Before our command hears signals, and after all is done, Python itself ends by them.
  if phase == 'starting' or (workdir / 'report.json').exists():
    return status in (-number, 128 + number)
  last = log_of(workdir).read_text().splitlines()[-1]
  return status == 128 + number and f'step {checkpoints.saved_steps(workdir)[-1]} is saved' in last


def chain(
  workdir: pathlib.Path, cache: pathlib.Path, rng: random.Random, number: int, kills: int
) -> collections.Counter:
  """Runs to the end, disturbed at most so many times; how often in which phase."""
  spent: collections.Counter = collections.Counter()
  while True:
    process = start(workdir, cache)
    phase = rng.choice(PHASES)
    hit = sum(spent.values()) < kills and disturb(process, phase, rng, workdir, number)
    status = process.wait()
    if hit and status:
      spent[phase] += 1
      steps = checkpoints.saved_steps(workdir)
      print(f'{sum(spent.values()):3} {phase:10} status {status:4}  saved {steps}', flush=True)
    if status == 0:
      return spent
    if not (hit and as_it_should(workdir, phase, number, status)):
      raise SystemExit(f'the run did not end as it should: see {log_of(workdir)}')


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.partition('\n\n')[0])
  parser.add_argument('--kills', type=int, default=30)
  parser.add_argument('--signal', choices=['KILL', 'TERM', 'INT'], default='KILL')
  parser.add_argument('--seed', type=int, default=None)
  args = parser.parse_args()
  seed = random.SystemRandom().randrange(2**32) if args.seed is None else args.seed
  number, rng = getattr(signal, f'SIG{args.signal}'), random.Random(seed)
  folder = pathlib.Path(tempfile.mkdtemp(prefix='chaos_'))
  print(f'seed {seed}, {args.kills} times SIG{args.signal}, in {folder}', flush=True)
  undisturbed = folder / 'undisturbed'
  if start(undisturbed, folder / 'cache').wait():
    raise SystemExit(f'the undisturbed run failed: see {log_of(undisturbed)}')
  total: collections.Counter = collections.Counter()
  runs = 0
  while sum(total.values()) < args.kills:
    workdir = folder / f'disturbed_{runs}'
    total += chain(workdir, folder / 'cache', rng, number, args.kills - sum(total.values()))
    runs += 1
    if found := differences(undisturbed, workdir):
      raise SystemExit(f'seed {seed}: {workdir} differs in {found[:5]}')
  phases = ', '.join(f'{count} {phase}' for phase, count in total.items())
  print(f'{sum(total.values())} restarts ({phases}), {runs} runs: all equal to the bit')


if __name__ == '__main__':
  main()
