"""Kills a small training again and again, at moments drawn at random, and compares what it ends in
with a run that nobody disturbed: parameters, optimisers and logs, to the bit.

python experiments/chaos.py --kills=30 --signal=KILL
python experiments/chaos.py --kills=30 --signal=TERM --seed=7

The moments: while the process starts, restores and compiles; while it trains; while it writes a
checkpoint; while it evaluates. A run that comes to its end before all kills are spent is compared,
and another one takes the rest.
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

import numpy as np
from flax import traverse_util

from degrep_jax import checkpoints
from degrep_jax.logs import CLOCKS

ROOT = pathlib.Path(__file__).parents[1]
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


def start(workdir: pathlib.Path, cache: pathlib.Path) -> subprocess.Popen:
  """The real command, which shares its compiled programs with the others."""
  environment = os.environ | {
    'JAX_PLATFORMS': 'cpu',
    'JAX_COMPILATION_CACHE_DIR': str(cache),
    'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0.1',
    'XLA_FLAGS': '--xla_backend_optimization_level=0',
  }
  command = [sys.executable, '-m', 'degrep_jax.main', *FLAGS, f'--workdir={workdir}']
  with (workdir.parent / f'{workdir.name}.log').open('a') as log:
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


def differences(one: pathlib.Path, other: pathlib.Path) -> list[str]:
  """What is not equal in the last checkpoints and logs of two runs."""
  states = [traverse_util.flatten_dict(checkpoints.load(of), sep='/') for of in (one, other)]
  found = [
    name
    for name in states[0].keys() | states[1].keys()
    if not np.array_equal(states[0].get(name), states[1].get(name))
  ]
  plain = [
    [{k: v for k, v in line.items() if k not in CLOCKS} for line in lines(of)]
    for of in (one, other)
  ]
  return found + ['metrics.jsonl'] * (plain[0] != plain[1])


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
    # Python itself, not yet at our command, ends by the signal.
    expected = {-number, 128 + number} if hit else set()
    if status == 0:
      return spent
    if status not in expected:
      raise SystemExit(f'the run failed: see {workdir}.log')


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
  if start(folder / 'undisturbed', folder / 'cache').wait():
    raise SystemExit(f'the undisturbed run failed: see {folder}/undisturbed.log')
  total: collections.Counter = collections.Counter()
  runs = 0
  while sum(total.values()) < args.kills:
    workdir = folder / f'disturbed_{runs}'
    total += chain(workdir, folder / 'cache', rng, number, args.kills - sum(total.values()))
    runs += 1
    if found := differences(folder / 'undisturbed', workdir):
      raise SystemExit(f'seed {seed}: {workdir} differs in {found[:5]}')
  phases = ', '.join(f'{count} {phase}' for phase, count in total.items())
  print(f'{sum(total.values())} restarts ({phases}), {runs} runs: all equal to the bit')


if __name__ == '__main__':
  main()
