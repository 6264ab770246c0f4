"""The deblurring stage trained on RealBlur-R's own training pairs (Rim et al., ECCV 2020).

python -m degrep_jax.main --config=configs/realblur_r.py --workdir=runs/realblur_r \
  --config.data.root=RealBlur --config.train.init_from=runs/gopro_joint

The root holds RealBlur_R_train_list.txt and RealBlur_R_test_list.txt beside the folders that
their lines name. E and the pyramid stay those of the joint stage, learned on GoPro.

Machine: 8 GPUs or a TPU slice of 8; the batch of 64 is that of all devices together.
Expect: unmeasured here. While it trains, PSNR is taken without RealBlur's alignment and reads lower
than published figures.
"""

import ml_collections

from configs import realblur_j


def get_config() -> ml_collections.ConfigDict:
  """As RealBlur-J, from the other lists."""
  config = realblur_j.get_config()
  config.data.list_name = 'RealBlur_R'
  config.data.name = 'realblur_r'
  return config
