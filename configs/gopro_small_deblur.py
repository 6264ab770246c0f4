"""The deblurring stage on the map of `gopro_small.py`, for a single small machine.

python -m degrep_jax.main --config=configs/gopro_small_deblur.py --workdir=runs/gopro_small_deblur \
  --config.data.root=GOPRO_Large --config.train.init_from=runs/gopro_small

Machine: one GPU of 8 GB, or 2 CPU cores with patience. Expect: unmeasured here.
"""

import ml_collections

from configs import gopro_deblur, gopro_small


def get_config() -> ml_collections.ConfigDict:
  """The networks, crops and length of gopro_small.py, the losses and rate of gopro_deblur.py."""
  config, full = gopro_small.get_config(), gopro_deblur.get_config()
  config.model.network = full.model.network
  config.loss.update(full.loss)
  config.optimizer.learning_rate = full.optimizer.learning_rate
  return config
