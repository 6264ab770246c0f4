"""Every field of a run, with the values of the paper's joint stage: full width, GAN + L1, Table 1
encoder.

The other files of this folder are this one with a few fields changed. Sources: [S] the paper's
supplementary material, [C] the authors' released code, "ours" where both are silent.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
  """The config, its fields locked: an unknown name is an error."""
  config = ml_collections.ConfigDict()
  config.seed = 0  # initial weights, order of the data, crops and augmentation

  config.model = model = ml_collections.ConfigDict()
  model.network = 'joint'  # E, pyramid, Gr, Gd; then msdi_net on their map; hinet: the baseline
  model.width = 64  # channels of the finest level of the U-Nets and of the pyramid
  model.depth = 5  # levels of the U-Nets
  # Side of the squares of pixels that the U-Nets see as one pixel of as many channels: 1, 2 or 4.
  # With 4 a net of 64 channels costs what one of 16 does with 1, and sees four times as far. Ours
  model.unshuffle = 1
  model.encoder = 'table1'  # [S]; or official_v1, official_v2 [C], or local, structure, ours
  model.encoder_width = 64
  model.encoder_stages = (1, 2, 4, 8, 8)  # channels of the stride-2 convolutions / encoder_width
  model.encoder_input = 256  # side to which E resizes other pictures [C]; 0: takes them as they are
  model.encoder_gain = 1.0  # times that the map is enlarged; see docs/findings.md. Ours
  model.global_code = False  # one-dimensional ablation "Gr w/ 1D" [S]
  model.without_map = False  # control of that ablation: a map of zeros, ours
  model.modulation = 'spade'  # [C]; sam: the paper's figure
  model.modulation_hidden = 128  # channels between map and modulation
  model.discriminator_width = 64

  config.loss = loss = ml_collections.ConfigDict()
  loss.gan = 1.0  # hinge GAN on the reblurred picture
  # Steps without it and without loss.feature_matching, that come first; D waits as well. Ours
  loss.gan_warmup_steps = 0
  loss.reblur_l1 = 10.0  # L1 (reblurred, blurry); the weight is ours
  loss.deblur_l1 = 10.0  # L1 (deblurred, sharp); of msdi_net and hinet over both outputs, ours
  # L1 between the map's first three channels and the blur, where it is known (data.source=photos):
  # how far and in which direction every place moved, see data/blur_field.py. Ours
  loss.blur_field = 0.0
  loss.feature_matching = 0.0  # L1 over the discriminator's features
  loss.vgg = 0.0  # VGG19 perceptual loss (reblurred, blurry)
  loss.vgg_path = ''  # torchvision's vgg19-*.pth, where loss.vgg is not 0
  # Of msdi_net and of hinet, which has the first alone; none of the above but deblur_l1 is theirs
  loss.psnr = 0.0  # -PSNR of both outputs
  loss.encoder_features = 0.0  # L1 over E's first five convolutions (deblurred, sharp)

  config.optimizer = optimizer = ml_collections.ConfigDict()
  optimizer.learning_rate = 2e-4  # Adam, of generators and discriminator
  optimizer.final_learning_rate = 1e-7  # cosine, reached after schedule_steps
  optimizer.schedule_steps = 250_000
  optimizer.warmup_steps = 0  # over which the rate rises to the cosine first; ours
  optimizer.beta1 = 0.9
  optimizer.beta2 = 0.99
  optimizer.clip_norm = 0.01  # global norm of the gradient of either network

  config.train = train = ml_collections.ConfigDict()
  train.steps = 240_000
  train.batch_size = 32  # over all devices
  # Parts of a device's share that are computed one after the other, for less memory; the step stays
  # that of the whole batch, but for batch norm, which sees a part (of all devices)
  train.accumulate_steps = 1
  # True: blocks keep their inputs alone and compute the rest again for the gradients: the same step
  # in less memory and more time
  train.remat = False
  # bfloat16: what the networks but E compute in; parameters, statistics and losses stay float32
  train.dtype = 'float32'
  # Of the moving average of the generators' parameters, which is what is evaluated; 0: none
  train.ema_decay = 0.0
  # msdi_net: workdirs that hold E and the pyramid (newest checkpoint), with commas between them
  train.init_from = ''
  # A network like this one whose weights the training begins with: a workdir (newest checkpoint), a
  # file of degrep export, or the name of one that ships
  train.start_from = ''
  # stop: where a loss or gradient is not finite the run ends and keeps its last checkpoint; skip:
  # such a step changes nothing, up to nan_skips of them in a row
  train.nan_policy = 'stop'
  train.nan_skips = 10
  train.official_order = False  # True: D learns from a second pass of the updated generators [C]

  config.data = data = ml_collections.ConfigDict()
  # folder: blur/ and sharp/ folders, or input/ and target/; list: pairs named by text files; tfds:
  # what degrep prepare wrote; photos: sharp photographs, blurred on the fly; synthetic: those
  # inside scikit-image, likewise; mixture: several of these
  data.source = 'folder'
  # mixture: its parts by name, each a dict of fields of `data`, in place of those here, and of
  # `weight` (1; shares of the examples are proportional) and `evaluate` (True: its held-out pairs
  # are scored). On the command line: --config.data.parts.NAME.weight=2
  data.parts = ml_collections.ConfigDict()
  # folder: GoPro's tree, HIDE's, or any of such folders; list: RealBlur's; tfds: the
  # --data_dir; photos: pictures at any depth, or train/ and test/ with such
  data.root = ''
  data.list_name = ''  # list: its lines, 'sharp blurry', are in <root>/<list_name>_train_list.txt
  data.name = 'gopro'  # tfds: or hide, realblur_j, realblur_r
  # tfds, folder: what crops are cut from; sub512: sub-pictures, as released [C] (folder: those in
  # blur_crops/ and sharp_crops/, or input_crops/ and target_crops/)
  data.pictures = 'full'
  data.eval_root = ''  # where the evaluation pairs lie; empty: data.root
  data.crop = 256  # side of the training crops, pixels
  # folder, list, tfds: training crops are cut from pictures scaled down by 1, 2 .. up to this
  # number, each as often
  data.shrink = 1
  # stop: a damaged training picture ends the run; skip: others take its place, counted in the log
  data.on_error = 'stop'
  data.augment = True  # flips and transposition
  # photos, synthetic: largest path of the camera over the exposure, pixels; lengths are log-uniform
  # for photos
  data.shake = 14.0
  data.rotation = 1.0  # photos, synthetic: largest rotation over the exposure, degrees
  data.object_motion = 16.0  # photos, synthetic: largest path of a foreground region, pixels
  data.sub_frames = 17  # synthetic: sharp frames averaged into a blurry one; photos: at most
  # synthetic: standard deviation of the sensor's noise, 8-bit units; photos: the largest
  data.noise = 1.0
  data.rest = 0.0  # photos, synthetic: share of the exposures whose camera is at rest
  # photos: share of the exposures whose frames are averaged as they are displayed, as GoPro's blur;
  # the others are averaged in light, where highlights leave streaks
  data.display_share = 0.7
  data.sharp_share = 0.05  # photos: share of the crops left as they are
  data.flat_share = 0.03  # photos: share of the crops that show a smooth surface
  # photos, joint stage: share of the crops whose blur E reads off another photograph under the very
  # same exposure, so that Gr learns from the blur in a map alone
  data.reference_share = 0.0
  data.kernels = ''  # photos: .npz of real kernels, as Levin's, which blur a tenth of the exposures
  # photos: share of the scenes that is held out, by a hash of their names: always the same ones. A
  # photograph in the root is a scene of its own, a folder below it is one scene
  data.held_out_share = 0.1
  data.held_out_list = ''  # photos: a text file of the scenes held out, a line each, instead
  # synthetic: a folder of photographs in place of those inside scikit-image, held out as for photos
  data.photographs = ''
  # photos, synthetic: side of the held-out scenes, cut from photographs; 0: whole photographs. Of
  # synthetic data crops are cut from such scenes too, from resized photographs, and motions drawn
  # for them
  data.scene = 0
  data.eval_variants = 4  # photos, synthetic: blurs per held-out photograph

  config.eval = evaluation = ml_collections.ConfigDict()
  evaluation.tile = 256  # side of the tiles of whole pictures [C]
  evaluation.batch_size = 8  # tiles per forward pass, over the devices of the first process

  config.log = log = ml_collections.ConfigDict()
  log.every_steps = 100  # scalars
  log.pictures_every_steps = 2_000  # samples to TensorBoard
  log.checkpoint_every_steps = 5_000
  log.keep_checkpoints = 3  # the newest; the best by deblurred PSNR is kept as well
  log.evaluate_every_steps = 20_000
  log.profile_first_step = 0  # of the steps that are traced for TensorBoard or Perfetto; 0: none
  log.profile_steps = 5  # how many
  return config.lock()
