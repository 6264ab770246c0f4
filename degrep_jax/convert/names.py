"""The released networks' state dicts: which of their modules holds the weights of which of ours.

One table per network pairs a module path of ours with the released module's name; a tuple of names
are filters that lie side by side in one convolution of ours. Facts of the authors' files (archs/
`encoder1.py`, `encoder2.py`, `msdi_arch.py`, `msdi2e_arch.py`, `generator.py`, `discriminator.py`)
and of HINet's `hinet_arch.py`.
"""

from collections.abc import Iterator, Mapping

Names = dict[str, str | tuple[str, ...]]

DEPTH = 5  # levels of every released U-Net

# Stored in released files and read by nothing there: (end of the key, end of the key beside it that
# has the same shape or None for a scalar, the value that a new network has there). Where the same
# key is read, it is in the table of its network.
UNREAD: tuple[tuple[str, str, bool, int], ...] = (
  ('conv_02.weight', 'conv_01.weight', True, 0),
  ('conv_02.bias', 'conv_01.bias', True, 0),
  ('conv_4.weight', 'conv_3.weight', True, 0),
  ('norm_0.param_free_norm.running_mean', 'norm_0.mlp_gamma.bias', True, 0),
  ('norm_0.param_free_norm.running_var', 'norm_0.mlp_gamma.bias', True, 1),
  ('norm_0.param_free_norm.num_batches_tracked', 'norm_0.mlp_gamma.bias', False, 0),
)


def unread_keys(shapes: Mapping[str, tuple[int, ...]]) -> Iterator[tuple[str, tuple, int]]:
  """(key, shape, new network's value) of what a released file holds besides the keys that are read,
  given those and their shapes."""
  for ending, beside, same_shape, value in UNREAD:
    for key, shape in shapes.items():
      unread = key.removesuffix(beside) + ending
      if key.endswith(beside) and unread not in shapes:
        yield unread, tuple(shape) if same_shape else (), value


def under(ours: str, theirs: str, names: Names) -> Names:
  """The table of a part, for the whole that holds it."""

  def prefixed(name):
    return tuple(map(prefixed, name)) if isinstance(name, tuple) else f'{theirs}.{name}'

  return {f'{ours}/{key}': prefixed(name) for key, name in names.items()}


def _same(*names: str) -> Names:
  return {name: name for name in names}


def encoder_names(version: int) -> Names:
  """`Encoder`, released `encoder1.py` or `encoder2.py`."""
  names: Names = {f'down_{i}/conv': f'layer{i + 1}.0' for i in range(5)}
  names['conv_7x7'] = 'conv_7x7'
  for i in range(5 if version == 1 else 3):
    names[f'residual_{i}/conv_0'] = f'res_{i}.conv_block.1'
    names[f'residual_{i}/conv_1'] = f'res_{i}.conv_block.4'
  if version == 1:
    return names | {'conv_body/conv': 'layer6.0', 'conv_out/conv': 'out.0'}
  return names | {f'conv_out_{i}/conv': f'out.{3 * i + 1}.0' for i in range(3)}


def pyramid_names(version: int) -> Names:
  """`MapPyramid`, released `prior_upsampling`."""
  stages = [f'conv_latent_up{i}' for i in range(2, 7)]
  if version == 1:
    stages.insert(0, 'conv_latent_init')
  names: Names = {}
  for i, stage in enumerate(stages):
    names |= under(f'block_{i}', stage, {'conv_0': 'conv_block.1', 'conv_1': 'conv_block.5'})
  return names


def _modulation_names(shared: Names) -> Names:
  gamma_beta = ('norm_0.mlp_gamma', 'norm_0.mlp_beta')
  return shared | {'conv': 'conv_0', 'gamma_beta': gamma_beta}


def generator_names() -> Names:
  """`Generator`, released `generator.HINet`."""
  block = _same('conv_1', 'conv_2', 'identity')
  spade = _modulation_names(
    {'norm': 'norm_0.param_free_norm', 'shared': 'norm_0.mlp_shared.0'},
  )
  names: Names = {'conv_in': 'conv_01', 'conv_out': 'last'}
  for i in range(DEPTH):
    names |= under(f'encode_{i}', f'down_path_1.{i}', block | _same('norm'))
  for i in range(DEPTH - 1):
    names[f'downsample_{i}'] = f'down_path_1.{i}.downsample'
    up = f'up_path_1.{DEPTH - 2 - i}'
    names |= {f'upsample_{i}': f'{up}.up'} | under(f'decode_{i}', f'{up}.conv_block', block)
    names |= under(f'modulation_{i}', f'ad1_list.{i}', spade)
  return names


def joint_names() -> Names:
  """`JointNet`, released `MSDI2E`."""
  return (
    under('encoder', 'net_prior', encoder_names(2))
    | under('pyramid', 'prior_upsampling', pyramid_names(2))
    | under('reblurrer', 'inverse_generator', generator_names())
    | under('deblurrer', 'generator', generator_names())
  )


def _two_stage_names(block: Names) -> Names:
  """Both U-Nets of `TwoStageUNet` but for their skips."""
  names: Names = {
    'conv_in_0': 'conv_01',
    'conv_in_1': 'conv_02',
    'join': 'cat12',
    'conv_out': 'last',
    'attention/features': 'sam12.conv1',
    'attention/picture': 'sam12.conv2',
    'attention/gate': 'sam12.conv3',
  }
  for stage in (0, 1):
    for i in range(DEPTH):
      down = f'down_path_{stage + 1}.{i}'
      names |= under(f'encode_{stage}_{i}', down, block | _same('norm'))
      if i < DEPTH - 1:
        up = f'up_path_{stage + 1}.{DEPTH - 2 - i}'
        names[f'downsample_{stage}_{i}'] = f'{down}.downsample'
        names[f'upsample_{stage}_{i}'] = f'{up}.up'
        names |= under(f'decode_{stage}_{i}', f'{up}.conv_block', block)
        if stage == 1:
          names[f'fuse_encoder_{i}'] = f'{down}.csff_enc'
          names[f'fuse_decoder_{i}'] = f'{down}.csff_dec'
  return names


def hinet_names() -> Names:
  """`HINet`, released `hinet_arch.HINet`."""
  names = _two_stage_names(_same('conv_1', 'conv_2', 'identity'))
  for stage in (0, 1):
    for i in range(DEPTH - 1):
      names[f'skip_{stage}_{i}'] = f'skip_conv_{stage + 1}.{DEPTH - 2 - i}'
  return names


def msdi_net_names() -> Names:
  """`MSDINet`, released `msdi_net`."""
  block = _same('conv_1', 'conv_2', 'conv_3', 'identity')
  shared: Names = {'mix': 'norm_0.mlp_shared.0'}
  shared |= {f'shared_{i}': f'norm_0.mlp_shared.{2 + 2 * i}' for i in range(2)}
  # The number of the released list of blocks, for the blocks of one skip of either stage in order.
  lists = ((1, 3), (2, 4, 5, 6))
  names = _two_stage_names(block)
  for i in range(DEPTH - 1):
    names |= under(f'modulation_{i}', f'ad1_list.{i}', _modulation_names(shared))
    for stage, numbers in enumerate(lists):
      for j, number in enumerate(numbers):
        theirs = f'skip_conv_{number}.{DEPTH - 2 - i}'
        names |= under(f'skip_{stage}_{i}_block_{j}', theirs, block | _same('norm'))
  return (
    {f'deblurrer/{ours}': theirs for ours, theirs in names.items()}
    | under('encoder', 'net_prior', encoder_names(1))
    | under('pyramid', 'prior_upsampling', pyramid_names(1))
  )


def discriminator_names() -> Names:
  """`Discriminator`, released `MultiscaleDiscriminator` of two scales."""
  return {
    f'scale_{s}/conv_{i}': f'discriminator_{s}.model{i}.0' + ('.0' if i in (1, 2, 3) else '')
    for s in range(2)
    for i in range(5)
  }
