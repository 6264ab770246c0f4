"""The deblurring stage of the small net: MSDI-Net on the frozen map of `small_joint.py`.

python -m degrep_jax.main --config=configs/small_deblur.py --workdir=runs/small_deblur \
  --config.train.init_from=runs/small_joint --config.data.parts.gopro.root=GOPRO_Large \
  --config.data.parts.pairs.root=PAIRS --config.data.parts.photos.root=PHOTOS

Machine: 2 CPU cores and 3.5 GB: 0.49 s of both cores a step (AMD Zen 5), 2.2 hours if nothing else
runs. Expect, from the E of an earlier small_joint.py (`model.encoder=local`, 4,275 steps): 25.19 dB
on six later frames of the GoPro sequence (23.81 blurry; tiles), 27.17 dB on the 24 held-out ones
(26.48).
"""

import ml_collections

from configs import small_joint


def get_config() -> ml_collections.ConfigDict:
  """The networks and data of small_joint.py, and L1 alone.

  PSNR as a loss weighs a picture by 1 / MSE: flat and sharp crops would outweigh the blurred ones.
  """
  config = small_joint.get_config()
  config.model.network = 'msdi_net'
  loss = config.loss
  loss.gan = loss.reblur_l1 = loss.blur_field = 0.0
  loss.gan_warmup_steps = 0
  loss.deblur_l1 = 1.0
  config.data.reference_share = 0.0  # Gr's alone
  config.optimizer.schedule_steps = config.train.steps = 16_000
  config.log.evaluate_every_steps = 2_500
  return config
