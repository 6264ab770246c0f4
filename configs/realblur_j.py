"""The deblurring stage trained on RealBlur-J's own training pairs (Rim et al., ECCV 2020).

python -m degrep_jax.main --config=configs/realblur_j.py --workdir=runs/realblur_j \
  --config.data.root=RealBlur --config.train.init_from=runs/gopro_joint

The root holds RealBlur_J_train_list.txt and RealBlur_J_test_list.txt beside the folders that
their lines name. E and the pyramid stay those of the joint stage, learned on GoPro.

Machine: 8 GPUs or a TPU slice of 8; the batch of 64 is that of all devices together.
Expect: unmeasured here. While it trains, PSNR is taken without RealBlur's alignment and reads lower
than published figures (paper: 32.35 dB / 0.923, aligned).
"""

import ml_collections

from configs import gopro_deblur


def get_config() -> ml_collections.ConfigDict:
  """As on GoPro, from RealBlur's lists of pairs."""
  config = gopro_deblur.get_config()
  config.data.source = 'list'
  config.data.list_name = 'RealBlur_J'
  config.data.name = 'realblur_j'
  return config
