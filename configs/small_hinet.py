"""What the map of the small net is worth: HINet on the same examples as `small_deblur.py`.

python -m degrep_jax.main --config=configs/small_hinet.py --workdir=runs/small_hinet \
  --config.data.parts.gopro.root=GOPRO_Large --config.data.parts.pairs.root=PAIRS \
  --config.data.parts.photos.root=PHOTOS

Machine: 2 CPU cores and 2 GB: 0.24 s of both cores a step (AMD Zen 5), some 65 minutes. Expect: not
measured yet.
"""

import ml_collections

from configs import small_deblur


def get_config() -> ml_collections.ConfigDict:
  """As small_deblur.py, but for the network."""
  config = small_deblur.get_config()
  config.model.network = 'hinet'
  return config
