"""Checkpoints of a workdir, by Orbax: `<workdir>/checkpoints/<step>`."""

import dataclasses
import datetime
import difflib
import os
import pathlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.serialization
import flax.traverse_util
import jax
import numpy as np
import orbax.checkpoint as ocp

from degrep_jax.checkpoints import damage
from degrep_jax.checkpoints.damage import PROGRESS, Damaged, Read
from degrep_jax.common.console import say
from degrep_jax.common.errors import UserError
from degrep_jax.models.variables import merged, split

FOLDER = 'checkpoints'
ASIDE = 'damaged'  # folder of a workdir where a training puts checkpoints that cannot be read
BEST = 'deblurred_psnr'  # the score by which the best checkpoint is kept
_STATE, _SCORES = 'default', 'metrics'  # items of a checkpoint, folders in it, besides PROGRESS


def best_step(scored: Mapping[int, Mapping[str, float]]) -> int | None:
  """The step with the best scores, of equal ones the latest; None where there are none."""
  return max(scored, key=lambda step: (scored[step][BEST], step), default=None)


@dataclasses.dataclass
class _Kept(ocp.checkpoint_managers.PreservationPolicy):
  """The newest `keep` checkpoints of a workdir and the best evaluated one."""

  workdir: str | os.PathLike[str]
  keep: int

  def of(self, steps: Sequence[int]) -> set[int]:
    """Those of rising steps that are kept."""
    scored = saved_scores(self.workdir)
    best = best_step({step: scored[step] for step in steps if step in scored})
    return {*steps[-self.keep :], *(() if best is None else (best,))}

  def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
    """As Orbax asks."""
    del context
    kept = self.of([about.step for about in checkpoints])
    return [about.step in kept for about in checkpoints]


class Checkpoints:
  """Saves asynchronously; keeps the newest `keep` checkpoints and the best evaluated one.

  Use as a context manager: leaving it waits for the last save.
  """

  def __init__(self, workdir: str | os.PathLike[str], keep: int):
    self._workdir, self._kept = workdir, _Kept(workdir, keep)
    options = ocp.CheckpointManagerOptions(
      preservation_policy=self._kept, cleanup_tmp_directories=True
    )
    self._manager = ocp.CheckpointManager(
      _folder(workdir), item_names=(_STATE, PROGRESS), options=options
    )

  def __enter__(self) -> 'Checkpoints':
    return self

  def __exit__(self, *_) -> None:
    self._manager.close()

  def has(self, step: int) -> bool:
    """Whether a step is saved already."""
    return step in self._manager.all_steps()

  def has_scores(self, step: int) -> bool:
    """Whether a saved step was evaluated."""
    return step in saved_scores(self._workdir)

  def save(self, step: int, state: Any, progress: dict[str, Any] | None = None) -> None:
    """Saves a state of host arrays.

    Args:
      step: optimiser steps done; a step that is saved already is left as it is.
      state: a pytree that `flax.serialization` knows, not replicated.
      progress: what else a run continues from, as JSON knows it (`load_progress`).
    """
    if not self.has(step):
      tree = _without_none(flax.serialization.to_state_dict(state))
      about = {'checksums': damage.checksums(tree), 'progress': progress or {}}
      items = {_STATE: ocp.args.StandardSave(tree), PROGRESS: ocp.args.JsonSave(about)}
      self._manager.save(step, args=ocp.args.Composite(**items))

  def check(self) -> None:
    """Raises what a save met in its own thread, where it has ended."""
    if not self._manager.is_saving_in_progress():
      self._manager.wait_until_finished()  # its `check_for_errors` has lost it by then

  def add_scores(
    self,
    step: int,
    scores: dict[str, float],
    by: Callable[[Callable[[], None]], None] = lambda write: write(),
  ) -> None:
    """Gives a saved checkpoint its scores, and lets go of the one that was the best before it, as a
    save would; one that has scores keeps them.

    Args:
      step: of the checkpoint.
      scores: means of an evaluation, with the key `BEST`.
      by: does the writing; of several processes, which all call this, one writes.
    """
    self._manager.wait_until_finished()

    def write() -> None:
      folder = _folder(self._workdir) / str(step)
      if (folder / _SCORES).exists():
        return
      partial = folder / f'.{_SCORES}.part'
      partial.mkdir(exist_ok=True)
      ocp.JsonCheckpointHandler(_SCORES).save(partial, args=ocp.args.JsonSave(scores))
      partial.rename(folder / _SCORES)
      steps = saved_steps(self._workdir)
      for old in sorted({*steps} - self._kept.of(steps)):
        shutil.rmtree(folder.with_name(str(old)))

    by(write)
    self._manager.reload()


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
  # By the names that a manager takes: others, such as best_10, are nobody's steps.
  return sorted(found.step for found in ocp.path.step.standard_name_format().find_all(folder))


def load(workdir: str | os.PathLike[str], step: int | None = None) -> dict[str, Any]:
  """A saved state as nested dictionaries of NumPy arrays; no config is needed.

  Args:
    workdir: of the run.
    step: of the checkpoint; None takes the newest.

  Returns:
    The fields of `degrep_jax.training.state.TrainState`: 'step', 'generator' and 'discriminator',
    the latter two with 'params', 'statistics' and 'opt_state' (E's weights, for instance, lie in
    `['generator']['params']['encoder']`); of the deblurring stage those of `DeblurState`, with E
    in `['frozen']['params']['encoder']`. 'ema' is there where a moving average is.

  Raises:
    UserError: no checkpoint, none of that step, or `Damaged`, where `step` names a damaged one or
      all are.
  """
  return _read(workdir, step, _load)


def _load(folder: pathlib.Path) -> dict[str, Any]:
  found = _arrays(folder)
  damage.verify(folder, found)
  return found


def _arrays(folder: pathlib.Path) -> dict[str, Any]:
  # By the handler: a checkpointer waits for all processes, and the first may read alone.
  return ocp.StandardCheckpointHandler().restore(folder / _STATE, args=ocp.args.StandardRestore())


def load_network(workdir: str | os.PathLike[str], step: int | None = None) -> dict[str, Any]:
  """As `load`, without what training alone reads, which is most of it: optimisers, D, and of
  averaged networks the parameters that are not averaged."""
  return _read(workdir, step, _load_network)


def _load_network(folder: pathlib.Path) -> dict[str, Any]:
  handler = ocp.PyTreeCheckpointHandler()
  wanted = _without(handler.metadata(folder / _STATE).tree, ('opt_state', 'discriminator'))
  if 'ema' in wanted:
    wanted['generator'] = _without(wanted['generator'], ('params',))
  as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
  partly = ocp.args.PyTreeRestore(item=wanted, restore_args=as_numpy, partial_restore=True)
  found = handler.restore(folder / _STATE, args=partly)
  damage.verify(folder, found, whole=False)
  return found


def _without(tree: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
  return {
    key: _without(value, names) if isinstance(value, dict) else value
    for key, value in tree.items()
    if key not in names
  }


def _near(workdir: pathlib.Path) -> pathlib.Path | None:
  """A workdir with checkpoints around a name that has none: the folder that it lies in, one that is
  called almost so, or the only one inside it."""
  above = next((folder for folder in workdir.parents if saved_steps(folder)), None)
  if above:
    return above
  beside = [path.name for path in _folders(workdir.parent) if saved_steps(path)]
  if names := difflib.get_close_matches(workdir.name, beside, n=1, cutoff=0.7):
    return workdir.with_name(names[0])
  inside = [path for path in _folders(workdir) if saved_steps(path)]
  return inside[0] if len(inside) == 1 else None


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
  try:
    return sorted(path for path in folder.iterdir() if path.is_dir())
  except OSError:
    return []


def _chosen(workdir: str | os.PathLike[str], step: int | None) -> list[pathlib.Path]:
  """Folders of the checkpoints that will do, the best choice first: that of `step`, or all."""
  steps = saved_steps(workdir)
  if not steps:
    near = _near(pathlib.Path(workdir))
    if not near and os.path.isfile(workdir):
      raise UserError(
        f'{workdir} is a file, not a workdir. Of the files of degrep export only safetensors are '
        'read again; degrep convert makes a workdir of weights of PyTorch.'
      )
    if near:
      what = f'is {near} meant?'
    elif os.path.exists(workdir):
      what = 'train there first, or name another workdir.'
    else:
      what = 'there is no such folder.'
    raise UserError(f'{workdir} holds no checkpoint: {what}')
  if step is not None and step not in steps:
    have = ', '.join(map(str, steps))
    raise UserError(f'{workdir} holds no checkpoint of step {step}: it has {have}.')
  chosen = steps[::-1] if step is None else [step]
  return [_folder(workdir) / str(step) for step in chosen]


def _read(
  workdir: str | os.PathLike[str], step: int | None, read: Callable[[pathlib.Path], Read]
) -> Read:
  """What `read` makes of the folder of a step, or of the newest that is not damaged."""
  folders = _chosen(workdir, step)
  for folder, before in zip(folders, [*folders[1:], None], strict=True):
    try:
      return damage.sound(folder, read)
    except Damaged as damaged:
      if before is None:
        raise
      say(f'{damaged} Taking the one before it, of step {before.name}.')
  raise AssertionError('there is a folder at least')


def saved_on(workdir: str | os.PathLike[str], step: int) -> str:
  """The day, in UTC, when a step was saved, as 2026-11-29; '' where that is not known."""
  saved = ocp.metadata.get_step_metadata(_folder(workdir) / str(step)).commit_timestamp_nsecs
  if not saved:
    return ''
  return datetime.datetime.fromtimestamp(saved // 10**9, datetime.UTC).date().isoformat()


def load_progress(workdir: str | os.PathLike[str], step: int) -> dict[str, Any]:
  """The `progress` that a step was saved with."""
  return damage.sound(_folder(workdir) / str(step), damage.about).get('progress', {})


def shapes(workdir: str | os.PathLike[str], step: int | None = None) -> tuple[int, dict[str, Any]]:
  """A step and the arrays of its state by their `shape` and `dtype` alone, nested as `load` gives
  them; nothing of their size is read. Without `step`, of the newest that is not damaged.

  Raises:
    UserError: as `load`.
  """

  def read(folder: pathlib.Path) -> tuple[int, dict[str, Any]]:
    return int(folder.name), ocp.StandardCheckpointHandler().metadata(folder / _STATE).tree

  return _read(workdir, step, read)


def saved_scores(workdir: str | os.PathLike[str]) -> dict[int, dict[str, float]]:
  """Scores of the checkpoints that were evaluated, by step, rising.

  Raises:
    UserError: a file of scores that cannot be read.
  """
  folders = {step: _folder(workdir) / str(step) for step in saved_steps(workdir)}
  try:
    found = {step: _scores_of(folder) for step, folder in folders.items()}
  except (OSError, ValueError) as error:
    raise UserError(f'the scores of the checkpoints in {workdir} are damaged: {error}.') from error
  return {step: scores for step, scores in found.items() if scores is not None}


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


def set_damaged_aside(workdir: str | os.PathLike[str]) -> int | None:
  """Moves the checkpoints of a workdir that a training cannot use into `<workdir>/damaged`: the
  newest ones, up to the first that is sound. Scores of the others that cannot be read are removed,
  as if these were not evaluated yet. For the process alone that trains there.

  Returns:
    The newest step that is left; None where there was no checkpoint.

  Raises:
    UserError: all are damaged, or one that a training would need cannot be read; none is moved,
      and no scores are removed.
  """
  steps, newest = saved_steps(workdir), None
  aside: list[tuple[pathlib.Path, Damaged]] = []
  unscored: list[pathlib.Path] = []
  for step in reversed(steps):
    folder = _folder(workdir) / str(step)
    try:
      if newest is None:
        damage.sound(folder, _load)
        newest = step
      damage.sound(folder, _scores_of)
    except Damaged as damaged:
      if newest is None:
        aside.append((folder, damaged))
      else:
        unscored.append(folder)
  if steps and newest is None:
    raise UserError(f'all checkpoints of {workdir} are damaged: start again in another --workdir.')
  for folder, why in aside:
    place = pathlib.Path(workdir) / ASIDE / folder.name
    while place.exists():
      place = place.with_name(f'{place.name}_again')
    place.parent.mkdir(exist_ok=True)
    folder.rename(place)
    say(f'{why} It is now {place}.')
  for folder in unscored:
    shutil.rmtree(folder / _SCORES)
    say(f'the scores of the checkpoint {folder} were damaged and are removed.')
  return newest


def _scores_of(folder: pathlib.Path) -> dict[str, float] | None:
  """The scores of a checkpoint's folder, None where it was not evaluated."""
  path = folder / _SCORES
  return ocp.JsonCheckpointHandler(_SCORES).restore(path) if path.is_dir() else None


def restore(
  workdir: str | os.PathLike[str], state: Any, step: int | None = None, verified: bool = False
) -> Any:
  """A saved state in the structure of `state`.

  Args:
    workdir, step: as `load`.
    state: arrays or their shapes.
    verified: whether its checksums were compared already (`set_damaged_aside`).

  Raises:
    UserError: as `load`, or a checkpoint of other networks.
  """
  saved = _read(workdir, step, _arrays if verified else _load)
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
