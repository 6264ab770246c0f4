"""The networks that ship with the package.

Each is a file of `degrep export` in this folder, `<name>.safetensors`, with its config, step, date
and what it was trained on inside; `scores.json` beside them is what `experiments/model_scores.py`
measured. No weights are read here: `Restorer.pretrained` does.
"""

from degrep_jax.shipped.networks import (
  FOLDER,
  NETWORKS,
  SCORES,
  SETTINGS,
  TASKS,
  Shipped,
  best,
  default,
  located,
  names,
  path,
  scores,
  sha256,
)

__all__ = [
  'FOLDER',
  'NETWORKS',
  'SCORES',
  'SETTINGS',
  'TASKS',
  'Shipped',
  'best',
  'default',
  'located',
  'names',
  'path',
  'scores',
  'sha256',
]
