"""The HINet baseline on GoPro (Chen et al., CVPRW 2021): no degradation map, no other stage.

python -m degrep_jax.main --config=configs/gopro_hinet.py --workdir=runs/gopro_hinet \
  --config.data.root=GOPRO_Large

Machine: 8 GPUs or a TPU slice of 8; the batch of 64 is that of all devices together.
Expect: unmeasured here; HINet's authors report 32.71 dB / 0.959 on GoPro's test pictures.
"""

import ml_collections

from configs import gopro_deblur


def get_config() -> ml_collections.ConfigDict:
  """As the deblurring stage, with HINet's own loss and rate."""
  config = gopro_deblur.get_config()
  config.model.network = 'hinet'
  config.loss.encoder_features = 0.0
  config.optimizer.learning_rate = 2e-4
  return config
