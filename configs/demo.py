"""The joint stage on photographs that ship with scikit-image: learns in minutes on 2 CPU cores.

make demo, or: python -m degrep_jax.main --config=configs/demo.py --workdir=runs/demo

Machine: 2 CPU cores, 8 minutes (measured: 22 s compiling, 385 s training, the rest initialising
and scoring). Expect, measured on the 12 held-out pictures: deblurred 29.97 dB from 29.15, reblurred
33.33 dB from 29.15. The GAN's weight is a tenth of the default: with so few steps it costs PSNR.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
  """The paper's networks and losses, narrow and one scale shallower, on small crops."""
  config = default.get_config()
  model = config.model
  model.width = model.encoder_width = model.discriminator_width = 16
  model.depth = 3
  model.encoder_stages = (1, 2, 4)
  model.encoder_input = 0
  model.modulation_hidden = 16
  config.loss.gan = 0.1
  config.optimizer.learning_rate = 1e-3
  config.optimizer.schedule_steps = 1000
  config.data.source = 'synthetic'
  config.data.crop = 64
  config.data.shake = 8.0
  config.data.rotation = 0.8
  config.data.object_motion = 10.0
  config.data.sub_frames = 11
  config.data.eval_variants = 4
  config.train.steps = 1000
  config.train.batch_size = 8
  config.eval.tile = 64
  config.eval.batch_size = 32
  config.log.every_steps = 50
  config.log.pictures_every_steps = 500
  config.log.checkpoint_every_steps = 250
  config.log.evaluate_every_steps = 500
  return config
