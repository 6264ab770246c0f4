"""Checkpoints of a workdir: written and read by Orbax (store.py), checked against damage
(damage.py), told to people (describe.py)."""

from degrep_jax.checkpoints.store import (
  BEST,
  FOLDER,
  Checkpoints,
  Damaged,
  best_step,
  load,
  load_network,
  load_parts,
  load_progress,
  require_same_shapes,
  restore,
  saved_on,
  saved_scores,
  saved_steps,
  set_damaged_aside,
  shapes,
  variables,
)

__all__ = [
  'BEST',
  'FOLDER',
  'Checkpoints',
  'Damaged',
  'best_step',
  'load',
  'load_network',
  'load_parts',
  'load_progress',
  'require_same_shapes',
  'restore',
  'saved_on',
  'saved_scores',
  'saved_steps',
  'set_damaged_aside',
  'shapes',
  'variables',
]
