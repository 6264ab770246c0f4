"""The deblurring stage on GoPro: MSDI-Net on the frozen degradation map of the joint stage.

python -m degrep_jax.main --config=configs/gopro_deblur.py --workdir=runs/gopro_deblur \
  --config.data.root=GOPRO_Large --config.train.init_from=runs/gopro_joint

The authors' E instead: degrep convert encoder_v1 net_Encoder.pth runs/official_e, degrep convert
upsampler_v1 prior_upsampling.pth runs/official_p, then --config.model.encoder=official_v1
--config.train.init_from=runs/official_e,runs/official_p.

Machine: 8 GPUs or a TPU slice of 8; the batch of 64 is that of all devices together.
Expect: unmeasured here; the paper reports 33.28 dB / 0.964 on GoPro's test pictures.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
  """The defaults with the loss, rate and length of the released MSDINet-Train.yml."""
  config = default.get_config()
  config.model.network = 'msdi_net'
  loss = config.loss
  loss.gan = loss.reblur_l1 = loss.deblur_l1 = 0.0
  loss.psnr = 0.5
  loss.encoder_features = 1.0
  config.optimizer.learning_rate = 3e-4
  config.optimizer.schedule_steps = 400_000
  config.train.steps = 400_000
  config.train.batch_size = 64
  return config
