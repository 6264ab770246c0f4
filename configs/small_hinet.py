"""What the map of the small net is worth: HINet on the same examples as `small_deblur.py`.

python -m degrep_jax.main --config=configs/small_hinet.py --workdir=runs/small_hinet \
  --config.data.parts.gopro.root=GOPRO_Large --config.data.parts.pairs.root=PAIRS \
  --config.data.parts.photos.root=PHOTOS

Machine: 2 CPU cores and 3 GB: 0.24 s of both cores a step on an AMD Zen 5, some 65 minutes; 0.48 s
on a Zen 4. Expect: 27.09 dB on the 24 held-out pictures (26.48 blurry), and 25.05 dB on six later
frames of the GoPro sequence (23.81).
"""

import ml_collections

from configs import small_deblur


def get_config() -> ml_collections.ConfigDict:
  """As small_deblur.py, but for the network."""
  config = small_deblur.get_config()
  config.model.network = 'hinet'
  return config
