"""`small`, or a network of yours like it, trained further: on your own pairs, or on more scales.

python -m degrep_jax.main --config=configs/small_finetune.py --workdir=runs/small_finetune \
  --config.data.parts.gopro.root=GOPRO_Large --config.data.parts.pairs.root=PAIRS \
  --config.data.parts.photos.root=PHOTOS

The sources are those of small_joint.py; what is not there gets a weight of 0, as in
--config.data.parts.pairs.weight=0. --config.train.start_from=runs/small_deblur
--config.model.encoder=structure begins with a network of today's small_deblur.py. Half of the crops
of GoPro and three quarters of those of the pairs are cut from pictures scaled down, so that it learns
blurs of a few pixels, too.
"""

import ml_collections

from configs import small_deblur


def get_config() -> ml_collections.ConfigDict:
  """small_deblur.py from trained weights, at two fifths of its learning rate."""
  config = small_deblur.get_config()
  config.model.encoder = 'local'  # of the `small` that ships
  config.train.start_from = 'small'
  config.optimizer.learning_rate = 4e-4
  config.optimizer.schedule_steps = config.train.steps = 5_500
  with config.data.parts.unlocked():
    config.data.parts.gopro.shrink = 2
    config.data.parts.pairs.shrink = 4
  return config
