"""The smallest run that goes through everything; tests use it.

python -m degrep_jax.main --config=configs/smoke.py --workdir=runs/smoke

Machine: anything. Expect: about a minute on 2 CPU cores, and pictures worse than the blurry ones,
since six steps teach nothing.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
  """Two-level networks of width 4 on 32-pixel crops."""
  config = default.get_config()
  model = config.model
  model.width = model.encoder_width = model.discriminator_width = 4
  model.depth = 2
  model.encoder_stages = (1, 2)
  model.encoder_input = 0
  model.modulation_hidden = 8
  config.data.source = 'synthetic'
  config.data.crop = 32
  config.data.eval_variants = 1
  config.train.steps = 6
  config.train.batch_size = 4
  config.eval.tile = 128
  config.log.every_steps = 2
  config.log.pictures_every_steps = 3
  config.log.checkpoint_every_steps = 2
  config.log.evaluate_every_steps = 4
  return config
