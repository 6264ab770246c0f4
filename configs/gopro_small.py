"""The joint stage on GoPro, or any folder of pairs, for a single small machine.

python -m degrep_jax.main --config=configs/gopro_small.py --workdir=runs/gopro_small \
  --config.data.root=GOPRO_Large

Machine: one GPU of 8 GB, or 2 CPU cores with patience. Expect: see the README's results.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
  """A quarter of the width and crops of 128, E's geometry kept: 4x4 maps."""
  config = default.get_config()
  model = config.model
  model.width = model.encoder_width = model.discriminator_width = 16
  model.encoder_stages = (1, 2, 4, 8)
  model.encoder_input = 0
  model.modulation_hidden = 32
  config.optimizer.learning_rate = 5e-4
  config.optimizer.schedule_steps = 100_000
  config.train.steps = 100_000
  config.train.batch_size = 4
  config.data.crop = 128
  config.eval.tile = 128
  config.log.every_steps = 50
  config.log.pictures_every_steps = 1_000
  config.log.checkpoint_every_steps = 500
  config.log.evaluate_every_steps = 2_000
  return config
