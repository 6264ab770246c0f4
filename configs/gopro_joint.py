"""The joint stage on GoPro after the supplementary material: GAN + L1, Table 1 encoder, full width.

python -m degrep_jax.main --config=configs/gopro_joint.py --workdir=runs/gopro_joint \
  --config.data.root=GOPRO_Large

Machine: 8 GPUs or a TPU slice of 8; the batch of 32 is that of all devices together.
Expect: unmeasured here; the joint stage's own PSNR is not published.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
  """The defaults are this run."""
  return default.get_config()
