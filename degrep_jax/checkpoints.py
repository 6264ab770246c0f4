"""Checkpoints of a workdir, by Orbax: `<workdir>/checkpoints/<step>`."""

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from degrep_jax.errors import UserError
from degrep_jax.state import merged, split

FOLDER = 'checkpoints'
BEST = 'deblurred_psnr'  # the score by which the best checkpoint is kept


def _score(metrics: dict[str, float]) -> float:
  return metrics[BEST]


class Checkpoints:
  """Saves asynchronously; keeps the newest `keep` checkpoints and the best evaluated one.

  Use as a context manager: leaving it waits for the last save.
  """

  def __init__(self, workdir: str | os.PathLike[str], keep: int):
    policies = ocp.checkpoint_managers
    preservation = policies.AnyPreservationPolicy(
      [
        policies.LatestN(keep),
        policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False),
      ]
    )
    options = ocp.CheckpointManagerOptions(best_fn=_score, preservation_policy=preservation)
    self._manager = ocp.CheckpointManager(_folder(workdir), options=options)

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *_) -> None:
    self._manager.close()

  def has(self, step: int) -> bool:
    """Whether a step is saved already."""
    return step in self._manager.all_steps()

  def save(self, step: int, state: Any, scores: dict[str, float] | None) -> None:
    """Saves a state of host arrays, with its scores where it was evaluated.

    Args:
      step: optimiser steps done; a step that is saved already is left as it is.
      state: a pytree that `flax.serialization` knows, not replicated.
      scores: means of an evaluation, with the key `BEST`.
    """
    if not self.has(step):
      tree = _without_none(flax.serialization.to_state_dict(state))
      self._manager.save(step, args=ocp.args.StandardSave(tree), metrics=scores)


def _without_none(tree: dict[str, Any]) -> dict[str, Any]:
  """A saved state has no moving average rather than None: as before there was such a thing."""
  return {name: x for name, x in tree.items() if name != 'ema' or x is not None}


def _folder(workdir: str | os.PathLike[str]) -> pathlib.Path:
  return pathlib.Path(workdir).absolute() / FOLDER


def saved_steps(workdir: str | os.PathLike[str]) -> list[int]:
  """Steps of the checkpoints in a workdir, rising; empty where there are none."""
  folder = _folder(workdir)
  if not folder.is_dir():
    return []
  return sorted(ocp.path.step.checkpoint_steps(folder))


def load(workdir: str | os.PathLike[str], step: int | None = None) -> dict[str, Any]:
  """A saved state as nested dictionaries of NumPy arrays; no config is needed.

  Args:
    workdir: of the run.
    step: of the checkpoint; None takes the newest.

  Returns:
    The fields of `degrep_jax.state.TrainState`: 'step', 'generator' and 'discriminator', the latter
    two with 'params', 'statistics' and 'opt_state' (E's weights, for instance, lie in
    `['generator']['params']['encoder']`); of the deblurring stage those of `DeblurState`, with E
    in `['frozen']['params']['encoder']`. 'ema' is there where a moving average is.

  Raises:
    UserError: no checkpoint, or none of that step.
  """
  folder = _chosen(workdir, step)
  with _told_if_damaged(folder), ocp.StandardCheckpointer() as checkpointer:
    return checkpointer.restore(folder / 'default')


def load_network(workdir: str | os.PathLike[str], step: int | None = None) -> dict[str, Any]:
  """As `load`, without what training alone reads, which is most of it: optimisers, D, and of
  averaged networks the parameters that are not averaged."""
  folder = _chosen(workdir, step)
  with _told_if_damaged(folder), ocp.PyTreeCheckpointer() as checkpointer:
    # Asked of the handler: the checkpointer warns that training saves no metadata of the item.
    saved = ocp.PyTreeCheckpointHandler().metadata(folder / 'default').tree
    wanted = _without(saved, ('opt_state', 'discriminator'))
    if 'ema' in wanted:
      wanted['generator'] = _without(wanted['generator'], ('params',))
    as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
    partly = ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True)
    return checkpointer.restore(folder / 'default', args=partly)


def _without(tree: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
  return {
    key: _without(value, names) if isinstance(value, dict) else value
    for key, value in tree.items()
    if key not in names
  }


def _chosen(workdir: str | os.PathLike[str], step: int | None) -> pathlib.Path:
  """Folder of the checkpoint of a step, or of the newest."""
  steps = saved_steps(workdir)
  if not steps:
    raise UserError(f'{workdir} holds no checkpoint: train there first, or name another workdir.')
  if step is not None and step not in steps:
    have = ', '.join(map(str, steps))
    raise UserError(f'{workdir} holds no checkpoint of step {step}: it has {have}.')
  return _folder(workdir) / str(steps[-1] if step is None else step)


@contextlib.contextmanager
def _told_if_damaged(folder: pathlib.Path) -> Iterator[None]:
  try:
    yield
  except (OSError, ValueError, KeyError) as error:
    raise UserError(
      f'the checkpoint {folder} is damaged: delete that folder to use the one before it.'
    ) from error


def shapes(workdir: str | os.PathLike[str], step: int | None = None) -> dict[str, Any]:
  """The arrays of a saved state by their `shape` and `dtype` alone, nested as `load` gives them;
  nothing of their size is read.

  Raises:
    UserError: as `load`.
  """
  folder = _chosen(workdir, step)
  with _told_if_damaged(folder):
    return ocp.StandardCheckpointHandler().metadata(folder / 'default').tree


def saved_scores(workdir: str | os.PathLike[str]) -> dict[int, dict[str, float]]:
  """Scores of the checkpoints that were evaluated, by step, rising.

  Raises:
    UserError: a file of scores that cannot be read.
  """
  folders = {step: _folder(workdir) / str(step) / 'metrics' for step in saved_steps(workdir)}
  handler = ocp.JsonCheckpointHandler('metrics')
  try:
    return {step: handler.restore(of) for step, of in folders.items() if of.is_dir()}
  except (OSError, ValueError) as error:
    raise UserError(f'the scores of the checkpoints in {workdir} are damaged: {error}.') from error


def _shapes(tree: dict[str, Any]) -> dict[str, tuple[int, ...]]:
  """Path of every array of a nested dictionary to its shape; flax compares the names alone."""
  leaves = flax.traverse_util.flatten_dict(tree, sep='/')
  return {name: np.shape(leaf) for name, leaf in leaves.items() if leaf is not None}


def variables(saved: dict[str, Any]) -> dict[str, Any]:
  """What the network's `apply` takes where it is evaluated, from a state that `load` gave; of
  converted parts theirs.

  Parameters are the moving average where there is one, as in `TrainState.variables`; running
  statistics and the vectors of spectral norms are the trained net's.
  """
  network = saved.get('generator', {'params': {}, 'statistics': {}})
  params = saved['ema'] if 'ema' in saved else network['params']
  return merged(saved.get('frozen', {}), {'params': params, **network['statistics']})


def load_parts(workdir: str | os.PathLike[str], names: tuple[str, ...]) -> dict[str, Any]:
  """Variables {collection: {part: ...}} of the parts `names` of the newest checkpoint, as far as it
  has them; the deblurring stage takes E and the pyramid so: as they are evaluated, averaged ones.

  Raises:
    UserError: as `load`, or none of the parts is there.
  """
  parts, _ = split(variables(load(workdir)), names)
  if not parts:
    raise UserError(f'the checkpoint in {workdir} holds no {" or ".join(names)}.')
  return parts


def restore(workdir: str | os.PathLike[str], state: Any, step: int | None = None) -> Any:
  """A saved state in the structure of `state`.

  Raises:
    UserError: as `load`, or a checkpoint of other networks.
  """
  saved = load(workdir, step)
  expected = flax.serialization.to_state_dict(state)
  require_same_shapes(workdir, saved, expected)
  absent = {name: None for name, x in expected.items() if x is None}
  return flax.serialization.from_state_dict(state, absent | saved)


def require_same_shapes(
  workdir: str | os.PathLike[str], saved: dict[str, Any], expected: dict[str, Any]
) -> None:
  """Raises UserError naming the first array of a saved state that is not as `expected`."""
  there, here = _shapes(saved), _shapes(expected)
  differing = sorted(
    name for name in there.keys() | here.keys() if there.get(name) != here.get(name)
  )
  if differing:
    name = differing[0]
    raise UserError(
      f'the checkpoint in {workdir} is of other networks than the config: {name} is '
      f'{there.get(name, "missing")} there and {here.get(name, "missing")} here.'
    )
