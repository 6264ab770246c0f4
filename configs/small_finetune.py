"""`small`, or a network of yours like it, trained further: on your own pairs, or on more scales.

python -m degrep_jax.main --config=configs/small_finetune.py --workdir=runs/small_finetune \
  --config.data.parts.gopro.root=GOPRO_Large --config.data.parts.pairs.root=PAIRS \
  --config.data.parts.photos.root=PHOTOS

The sources are those of small_joint.py; what is not there gets a weight of 0, as in
--config.data.parts.pairs.weight=0. Half of the crops of GoPro and three quarters of those of the
pairs are cut from pictures scaled down, so that it learns blurs of a few pixels, too. To begin with
a network of today's small_deblur.py, add --config.model.encoder=structure and
--config.train.start_from=runs/small_deblur.

Machine: 2 CPU cores and 3.6 GB: 0.85 s of both cores a step (AMD EPYC), 1.3 hours if nothing else
runs. Expect, from small_deblur.py's 16,000 steps: 27.19 dB on the 24 held-out pictures (26.48
blurry; 27.17 before), and four times the gain on pictures scaled down. The `small` that ships has
had these steps and this config's.
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
  config.data.parts.gopro.shrink = 2
  config.data.parts.pairs.shrink = 4
  return config
