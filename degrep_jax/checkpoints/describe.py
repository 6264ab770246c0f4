"""What a workdir holds, told without reading its weights: networks, steps, config, scores."""

import json
import os
import pathlib
import re
from typing import Any

import numpy as np
from flax import traverse_util

from degrep_jax import checkpoints
from degrep_jax import run_config as configs
from degrep_jax.checkpoints import exported
from degrep_jax.common import shipped_configs
from degrep_jax.common.errors import UserError
from degrep_jax.common.files import plain
from degrep_jax.models.factory import NETWORKS
from degrep_jax.models.variables import FROZEN

PARTS = ('encoder', 'pyramid', 'reblurrer', 'deblurrer')
EVALUATION = 'evaluation.json'  # of --mode=eval; the run's own are evaluations/step_N.json
_STEP = re.compile(r'step_(\d+)\.json')
METRICS = ('_psnr', '_ssim_3d', '_ssim_2d')  # end the names of means there


def describe(workdir: str | os.PathLike[str], step: int | None = None) -> dict[str, Any]:
  """A run, a folder of converted weights, or a file of `degrep export`, as plain values for JSON.

  Args:
    workdir: of the run; or the file.
    step: of the checkpoint; None takes the newest.

  Returns:
    'workdir'; 'network', its name, None of parts alone; 'parts', name to number of
    parameters; 'frozen', the names of those that were not trained there; 'parameters', of all that
    restores pictures, the discriminator not among them; 'step'; 'trained_steps', how many the run
    is to have; 'checkpoints', step to the scores it was saved with or None; 'best', the step with
    the best of them or None; 'config', {'group.field': value}; 'scores', file to the means of an
    evaluation: the run's last one and that of --mode=eval. Of a file also 'notes',
    what its metadata say besides, and 'bytes', its size.

  Raises:
    UserError: no checkpoint, none of that step, or a damaged one.
  """
  workdir = pathlib.Path(workdir)
  if exported.is_one(workdir):
    return _describe_file(workdir, step)
  taken, shapes = checkpoints.shapes(workdir, step)
  config = configs.read(workdir / configs.FILE) if (workdir / configs.FILE).exists() else {}
  parts, frozen = count_parts(shapes)
  steps = checkpoints.saved_steps(workdir)
  scored = checkpoints.saved_scores(workdir)
  return {
    'workdir': str(workdir),
    'network': config.get('model.network'),
    'parts': parts,
    'frozen': frozen,
    'parameters': sum(count for part, count in parts.items() if part != 'discriminator'),
    'step': taken,
    'trained_steps': config.get('train.steps'),
    'checkpoints': {of: _finite(scored[of]) if of in scored else None for of in steps},
    'best': checkpoints.best_step(scored),
    'config': config,
    'scores': _evaluations(workdir),
  }


def _describe_file(path: pathlib.Path, step: int | None) -> dict[str, Any]:
  if step is not None:
    raise UserError(f'{path} is a file, which has no steps: leave out the step.')
  found = exported.describe(path)
  config = configs.flat(found.config.to_dict())
  parts, _ = count_parts({'generator': found.shapes})
  network = config['model.network']
  return {
    'workdir': str(path),
    'network': network,
    'parts': parts,
    'frozen': sorted(FROZEN) if NETWORKS[network].frozen else [],
    'parameters': sum(parts.values()),
    'step': found.step,
    'trained_steps': config.get('train.steps'),
    'checkpoints': {found.step: None},
    'best': None,
    'config': config,
    'scores': {},
    'notes': found.notes,
    'bytes': path.stat().st_size,
  }


def count_parts(shapes: dict[str, Any]) -> tuple[dict[str, int], list[str]]:
  """({part: parameters}, the frozen ones) of the arrays of a saved state."""
  trees: dict[str, dict] = {}
  frozen = shapes.get('frozen', {}).get('params', {})
  trained = shapes.get('generator', {}).get('params', {})
  for tree in (frozen, trained):
    inside = {part: tree[part] for part in PARTS if part in tree}
    trees |= inside or ({'network': tree} if tree else {})  # a net without parts
  if shapes.get('discriminator'):
    trees['discriminator'] = shapes['discriminator']['params']
  return {part: _count(tree) for part, tree in trees.items()}, sorted(frozen)


def _count(tree: dict[str, Any]) -> int:
  return sum(int(np.prod(x.shape)) for x in traverse_util.flatten_dict(tree).values())


def _finite(scores: dict[str, float]) -> dict[str, Any]:
  """With 'inf' as a text, which JSON has no number for, as in the files of an evaluation."""
  return {name: value if np.isfinite(value) else str(value) for name, value in scores.items()}


def _evaluations(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
  """The means of the run's last evaluation and of --mode=eval, by the names of their files."""
  found = workdir.glob('evaluations/step_*.json')
  own = {int(match[1]): path for path in found if (match := _STEP.fullmatch(path.name))}
  paths = [own[max(own)]] if own else []
  if (workdir / EVALUATION).exists():
    paths.append(workdir / EVALUATION)
  return {str(path.relative_to(workdir)): _means(path) for path in paths}


def _means(path: pathlib.Path) -> dict[str, Any]:
  """The numbers of an evaluation's file, and what they leave out; UserError where it is damaged."""
  try:
    found = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise UserError(f'{path} cannot be read: {error}. Remove it, or evaluate again.') from None
  means = {key: x for key, x in found.items() if key.endswith(METRICS)}
  left_out = {key: found[key] for key in ('identical', 'without_ssim') if found.get(key)}
  return {'count': found['count']} | means | left_out


def defaults() -> dict[str, Any]:
  """The fields of configs/default.py as `describe` gives a config."""
  return configs.flat(plain(shipped_configs.default().to_dict()))
