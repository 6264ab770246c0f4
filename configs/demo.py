"""The joint stage on photographs that ship with scikit-image: learns in minutes on 2 CPU cores.

make demo, or: python -m degrep_jax.main --config=configs/demo.py --workdir=runs/demo

Machine: 2 CPU cores, 4 to 6 minutes (training: 190 s on an AMD Zen 5, 300 s on a Zen 4). Expect,
on the 12 held-out pictures, from 27.3 dB of both: deblurred about 27.8 dB, reblurred 32.2 to 32.4
dB, as on two processors (AVX2 and AVX-512), which round differently; on one it is the same every
time. The GAN's weight is a tenth of the default: with so few steps it costs PSNR.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
  """The networks narrow and two scales shallower, on small crops.

  So few steps teach Table 1's encoder next to nothing: all its convolutions are spectral-normalised
  and no norm follows, so that its map hardly varies. The released encoder's second version with the
  figure's modulation (a short path from the map to the features) is used within 300 steps.
  """
  config = default.get_config()
  model = config.model
  model.width = model.discriminator_width = 16
  model.depth = 3
  model.encoder = 'official_v2'
  model.encoder_width = 4
  model.encoder_stages = (2, 4, 8)
  model.encoder_input = 0
  model.modulation = 'sam'
  model.modulation_hidden = 16
  config.loss.gan = 0.1
  # At 1e-3 the map becomes constant: before it says anything it is noise to the generators.
  config.optimizer.learning_rate = 6e-4
  config.optimizer.schedule_steps = 500
  # Adam's first steps are all of one size, noise's too: without this, runs on one device and on two
  # part within 5 steps.
  config.optimizer.warmup_steps = 50
  config.data.source = 'synthetic'
  config.data.crop = 64
  config.data.shake = 12.0
  config.data.rotation = 0.8
  config.data.object_motion = 12.0
  config.data.sub_frames = 11
  config.data.eval_variants = 4
  config.train.steps = 500
  config.train.batch_size = 16
  config.eval.tile = 64
  config.eval.batch_size = 32
  config.log.every_steps = 25
  config.log.pictures_every_steps = 250
  config.log.checkpoint_every_steps = 250
  config.log.evaluate_every_steps = 250
  return config
