"""The joint stage as the released code trains it: its encoder, losses and order of updates.

python -m degrep_jax.main --config=configs/gopro_joint_official.py --workdir=runs/joint_official \
  --config.data.root=GOPRO_Large --config.loss.vgg_path=vgg19-dcbb9e9d.pth

The weights of VGG19 are torchvision's (reading them needs the extra `convert`). Unlike the released
code, the generators' learning rate follows the cosine as well as the discriminator's.

Machine: 8 GPUs or a TPU slice of 8. Expect: unmeasured here; without VGG19's term the steps equal
the released code's (tests/training/test_reference_training.py), and that term is tested by itself
(tests/models/test_vgg.py).
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
  """Wide encoder, feature matching and VGG19 instead of L1 on the reblurred picture."""
  config = default.get_config()
  config.model.encoder = 'official_v2'
  config.model.encoder_stages = (1, 2, 4, 8, 16)
  config.loss.reblur_l1 = 0.0
  config.loss.feature_matching = 10.0
  config.loss.vgg = 30.0
  config.train.official_order = True
  return config
