"""The joint stage of the small net: E, the pyramid, Gr and Gd, on real pairs and photographs.

python -m degrep_jax.main --config=configs/small_joint.py --workdir=runs/small_joint \
  --config.data.parts.gopro.root=GOPRO_Large --config.data.parts.pairs.root=PAIRS \
  --config.data.parts.photos.root=PHOTOS

GOPRO_Large has train/ and test/, PAIRS folders blur/ beside sharp/ (of REDS, for instance), PHOTOS
sharp photographs at any depth. What is not there gets a weight of 0, as in
--config.data.parts.pairs.weight=0. Then, on the same data, small_deblur.py; small_hinet.py is its
control.

Machine: 2 CPU cores and 3 GB: 0.9 to 1.3 s of both cores a step (Intel Xeon, AVX-512, other work
beside), 48 minutes. Expect: in the first 300 steps pictures worse than they came, a blur field that
falls below 0.5 from step 400 on, a reblur L1 of 0.027 at the end; then 26.67 dB deblurred (26.48
blurry) and 29.89 reblurred (26.48 sharp as it is) on the 24 held-out pictures.
"""

import ml_collections

from configs import default


def get_config() -> ml_collections.ConfigDict:
  """U-Nets of 48 channels on squares of 4x4 pixels, a map of squares of 16x16."""
  config = default.get_config()
  model = config.model
  model.width = 48
  model.depth = 3
  model.unshuffle = 4
  model.encoder = 'structure'
  model.encoder_width = 16
  model.encoder_stages = (1, 2, 4)
  model.encoder_input = 0
  model.modulation = 'sam'
  model.modulation_hidden = 32
  model.discriminator_width = 16
  config.loss.gan = 0.1
  config.loss.blur_field = 0.5
  # Until Gr reads its map: a GAN that starts before may keep it from ever doing so.
  config.loss.gan_warmup_steps = 1_000
  config.optimizer.learning_rate = 1e-3
  config.optimizer.schedule_steps = config.train.steps = 2_600
  config.optimizer.warmup_steps = 200
  config.train.batch_size = 8
  config.train.ema_decay = 0.999
  data = config.data
  data.source = 'mixture'
  with data.unlocked():
    data.parts = {
      'gopro': {'source': 'folder', 'root': '', 'eval_root': '', 'weight': 0.25, 'shrink': 1},
      # Folders that are not divided: nothing of them is held out.
      'pairs': {'source': 'folder', 'root': '', 'weight': 0.15, 'shrink': 1, 'evaluate': False},
      'photos': {'source': 'photos', 'root': '', 'eval_root': '', 'weight': 0.6},
    }
  data.crop = 160
  data.on_error = 'skip'
  data.shake = 60.0
  data.rotation = 1.5
  data.object_motion = 40.0
  data.sub_frames = 41
  data.noise = 2.0
  data.rest = 0.15
  data.scene = 256
  # A map that blurs another photograph alike holds the blur, and not the picture it was read off.
  data.reference_share = 1.0
  data.eval_variants = 1
  config.eval.batch_size = 4
  config.log.every_steps = 50
  config.log.pictures_every_steps = 1_000
  config.log.checkpoint_every_steps = 500
  config.log.evaluate_every_steps = 1_300
  return config.lock()
