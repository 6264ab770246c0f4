"""The joint stage on GoPro, or any folder of pairs, for a single small machine.

python -m degrep_jax.main --config=configs/gopro_small.py --workdir=runs/gopro_small \
  --config.data.root=GOPRO_Large

Machine: one GPU of 8 GB, or 2 CPU cores with patience. Expect: unmeasured here.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
  """A quarter of the width, one scale less, crops of 128, 8x8 maps of them."""
  config = default.get_config()
  model = config.model
  model.width = model.encoder_width = model.discriminator_width = 16
  model.depth = 4
  model.encoder_stages = (1, 2, 4)
  model.encoder_input = 0
  model.modulation_hidden = 16
  config.loss.gan = 0.1
  config.optimizer.learning_rate = 1e-3
  config.optimizer.schedule_steps = 20_000
  config.train.steps = 20_000
  config.train.batch_size = 4
  config.data.crop = 128
  config.eval.tile = 128
  config.log.every_steps = 50
  config.log.pictures_every_steps = 1_000
  config.log.checkpoint_every_steps = 500
  config.log.evaluate_every_steps = 2_000
  return config
