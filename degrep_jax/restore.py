"""`Restorer`: whole pictures of any size through a trained network, the one path of inference.

Evaluation, the command line and the web page all come through here. Importing this module loads no
TensorFlow; nothing is compiled before the first picture.
"""

import copy
import functools
import itertools
import json
import os
import pathlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from degrep_jax import checkpoints, tiles
from degrep_jax.config import FILE
from degrep_jax.errors import UserError
from degrep_jax.models import factory, spectral_norm
from degrep_jax.models.hinet import HINet
from degrep_jax.models.joint import JointNet
from degrep_jax.models.msdi_net import MSDINet
from degrep_jax.state import count_parameters

MODES = ('tiles', 'feathered')
DTYPES = ('float32', 'bfloat16')
TILE = 256  # px, where no config says otherwise
MEMORY = 4 * 2**30  # bytes
_BATCH_PIXELS = 2**18  # of the tiles that a device takes at a time by default
_NETWORKS: dict[type, str] = {JointNet: 'joint', MSDINet: 'msdi_net', HINet: 'hinet'}

Pictures = tuple[np.ndarray, ...]


class Restorer:
  """A network that takes pictures of any size.

  Pictures are arrays `(H, W, 3)` RGB: uint8, uint16, or floats in [0, 1]. Every method takes one
  picture, a batch `(B, H, W, 3)`, or any iterable of pictures, of which it then makes a generator
  that reads no further ahead than one batch of tiles.

  Modes:
    'tiles': the released protocol. As few tiles as cover the picture, each through the whole net,
      overlaps averaged.
    'feathered': tiles overlap by a quarter at least and fade into each other, which leaves no
      seams.

  Attributes:
    module: the Flax module.
    network: 'joint', 'msdi_net' or 'hinet'.
    variables: of the module, on the devices, spectral norms folded into the kernels.
    about: what is known of the network: 'step' and 'config' (dict) of the training, 'parameters'
      (their number), 'checkpoint' (path), 'multiple' (of which the sides of what it is given must
      be) and 'tile' (px, of its training and evaluation); None what is not known.
    mode, tile, dtype, batch: as given, or the defaults.
  """

  def __init__(
    self,
    network: nn.Module,
    variables: dict[str, Any] | None,
    *,
    mode: str = 'tiles',
    tile: int = TILE,
    window: int | None = None,
    dtype: str = 'float32',
    memory: int = MEMORY,
    batch: int | None = None,
    about: dict[str, Any] | None = None,
  ):
    """A restorer of a module; `from_checkpoint` is the usual way.

    Args:
      network: `JointNet`, `MSDINet` or `HINet`.
      variables: of the network; None where `with_variables` is to bring them.
      mode: one of `MODES`.
      tile: side of the tiles, px, and in all modes of what E sees.
      dtype: 'bfloat16' computes in it, but for E and all statistics; results stay float32.
      memory: bytes that restoring may take.
      batch: tiles at a time, a multiple of the devices.
      about: as the attribute, if there is more to tell than the module does.

    Raises:
      UserError: an argument that has no such value.
    """
    self.module, self.mode, self.tile, self.dtype = network, mode, tile, dtype
    self.network = next((n for kind, n in _NETWORKS.items() if isinstance(network, kind)), '')
    _require(self.network, f'no restorer for a {type(network).__name__}')
    _require(mode in MODES, f'there is no mode {mode!r}: choose one of {", ".join(MODES)}')
    _require(dtype in DTYPES, f'there is no dtype {dtype!r}: choose one of {", ".join(DTYPES)}')
    unet = network if self.network == 'hinet' else network.deblurrer
    multiple = _multiple(network, unet.depth)
    _require(
      tile >= 2 * multiple and tile % multiple == 0,
      f'tiles of {tile} px: this network needs a multiple of {multiple}, {2 * multiple} at least',
    )
    devices = jax.local_devices()
    default = len(devices) * max(1, _BATCH_PIXELS // tile**2)
    self.batch = default if batch is None else batch
    _require(
      self.batch > 0 and self.batch % len(devices) == 0,
      f'a batch of {batch} tiles: it must be a positive multiple of the {len(devices)} devices',
    )
    mesh = jax.sharding.Mesh(np.array(devices), ('batch',))
    self._split, self._everywhere = (
      jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))
      for axes in (('batch',), ())
    )
    self._programs: dict[Any, Any] = {}
    self._compiling = threading.Lock()
    self.about = {'step': None, 'config': None, 'checkpoint': None, 'tile': tile}
    self.about |= {'parameters': None, 'multiple': multiple} | (about or {})
    self._prepare = jax.jit(
      functools.partial(_prepared, dtype=dtype), out_shardings=self._everywhere
    )
    self.variables: dict[str, Any] = {}
    if variables is not None:
      self.about['parameters'] = count_parameters(variables['params'])
      self.variables = self._placed(variables)

  @classmethod
  def from_checkpoint(
    cls,
    directory: str | os.PathLike[str],
    *,
    step: int | None = None,
    config: ml_collections.ConfigDict | None = None,
    tile: int | None = None,
    **options: Any,
  ) -> 'Restorer':
    """The restorer of a workdir of ours, trained or made by `degrep convert`.

    Args:
      directory: the workdir.
      step: of the checkpoint; None takes the newest.
      config: of the run; None reads the one beside the checkpoint.
      tile: None takes that of the run's evaluation, for converted weights 256.
      **options: as for the class.

    Raises:
      UserError: no checkpoint, none of that step, one of other networks than the config beside it
        or of parts of a network alone, or an argument that has no such value.
    """
    directory = pathlib.Path(directory)
    saved = checkpoints.load(directory, step)
    config = _config(directory) if config is None else config
    native = config.get('eval', {}).get('tile', TILE)
    try:
      network = factory.build_network(config.model, axis_name=None)
    except AttributeError as error:
      raise UserError(f'{directory / FILE} does not describe a network: {error}.') from None
    variables = checkpoints.variables(saved)
    picture = jax.ShapeDtypeStruct((1, native, native, 3), jnp.float32)
    pictures = [picture] * (2 if isinstance(network, JointNet) else 1)
    expected = jax.eval_shape(network.init, jax.random.key(0), *pictures)
    checkpoints.require_same_shapes(directory, variables, expected)
    about = {
      'step': int(saved['step']),
      'config': config.to_dict(),
      'checkpoint': str(directory / checkpoints.FOLDER / str(int(saved['step']))),
      'tile': native,
    }
    return cls(network, variables, tile=tile or native, about=about, **options)

  @property
  def programs(self) -> int:
    """How many programs have been compiled so far."""
    return len(self._programs)

  def with_variables(self, variables: dict[str, Any]) -> 'Restorer':
    """The same restorer, its programs too, with other variables of the same network."""
    other = copy.copy(self)
    other.about = self.about | {'parameters': count_parameters(variables['params'])}
    other.variables = self._placed(variables)
    return other

  def deblur(self, x: Any) -> Any:
    """Restored pictures.

    Args:
      x: one blurry picture, a batch, or an iterable of pictures.

    Returns:
      As `x`, in its dtype: clipped to [0, 1], integers rounded. A generator for an iterable.

    Raises:
      UserError: something that is no picture (of an iterable when it is reached).
    """

    def stream(pictures: Iterable[Any]) -> Iterator[np.ndarray]:
      examples = ((_picture(picture),) for picture in pictures)
      for result in self._restore(examples, ('deblurred',), finish=_finish):
        yield result['deblurred']

    return _in_the_form_of(x, stream)

  def reblur(self, sharp: Any, like: Any, strength: float = 1.0) -> Any:
    """Sharp pictures, blurred as others are.

    Args:
      sharp: one picture, a batch, or an iterable of pictures.
      like: blurry pictures in the same form, or one for all. One of another size is mirrored and
        cropped to that of its partner.
      strength: of the blur: 1 takes the blurry picture's degradation map, 0 the sharp one's own;
        values between, below and above lie on the line through both.

    Returns:
      As `deblur`.

    Raises:
      UserError: a network that has no Gr, something that is no picture, or pictures without a
        partner.
    """
    _require(
      self.network == 'joint',
      f'a {self.network} cannot reblur: that takes a network of the joint stage',
    )
    _require(np.isfinite(strength), f'a strength of {strength}: it must be a number')

    def examples(pictures: Iterable[Any]) -> Iterator[Pictures]:
      for picture, other in _pairs(pictures, like, 'like'):
        picture, other = _picture(picture), _picture(other)
        yield _fitted(other, picture.shape), picture

    def stream(pictures: Iterable[Any]) -> Iterator[np.ndarray]:
      results = self._restore(
        examples(pictures), ('reblurred',), strength=float(strength), finish=_finish
      )
      for result in results:
        yield result['reblurred']

    return _in_the_form_of(sharp, stream)

  def degradation_map(self, x: Any) -> Any:
    """What E reads from pictures: the map of the whole, put together from that of E's tiles.

    Args:
      x: one picture, a batch, or an iterable of pictures.

    Returns:
      float32 `(h, w, C)`, a batch or a generator of them; a pixel of the map stands for a square of
      the picture, which is mirrored up to whole ones.

    Raises:
      UserError: a network that has no E, or something that is no picture.
    """
    _require(self.network != 'hinet', 'a hinet has no degradation map: it has no encoder')
    return _in_the_form_of(
      x, lambda pictures: self._maps((_picture(picture),) for picture in pictures)
    )

  def apply(self, x: Any, sharp: Any = None, *, outputs: tuple[str, ...] | None = None) -> Any:
    """All that the network makes of pictures, as it comes: float32, not clipped.

    Args:
      x: one blurry picture, a batch, or an iterable of pictures.
      sharp: the same of sharp ones of the same sizes, which a joint net blurs again by the map of
        their blurry partners.
      outputs: what is wanted of the result; nothing else is computed then.

    Returns:
      {'deblurred': `(H, W, 3)`}, of the two-stage nets also 'stage_1', of sharp pictures also
      'reblurred'; for a batch {name: batch}, for an iterable a generator.

    Raises:
      UserError: no such output, something that is no picture, or pictures without a partner.
    """
    there: tuple[str, ...] = ('deblurred',) if self.network == 'joint' else ('deblurred', 'stage_1')
    if sharp is not None and self.network == 'joint':
      there += ('reblurred',)
    wanted = there if outputs is None else tuple(outputs)
    unknown = [name for name in wanted if name not in there]
    _require(not unknown, f'there is no output {unknown}: there are {", ".join(there)}')

    def examples(pictures: Iterable[Any]) -> Iterator[Pictures]:
      if 'reblurred' not in wanted:
        yield from ((_picture(picture),) for picture in pictures)
        return
      for picture, partner in _pairs(pictures, sharp, 'sharp'):
        picture, partner = _picture(picture), _picture(partner)
        _require(
          picture.shape == partner.shape,
          f'a blurry picture {picture.shape} with a sharp one {partner.shape}: sizes must agree',
        )
        yield picture, partner

    return _in_the_form_of(x, lambda pictures: self._restore(examples(pictures), wanted))

  def _restore(
    self,
    examples: Iterable[Pictures],
    outputs: tuple[str, ...],
    *,
    strength: float = 1.0,
    finish: tiles.Finish = tiles.as_it_is,
  ) -> Iterator[dict[str, np.ndarray]]:
    """{output: whole picture} of every example: (blurry,) or (blurry, sharp)."""
    steered = strength != 1

    def run(variables, strengths, *pictures):
      seen = functools.partial(_see, outputs=outputs, strengths=strengths if steered else None)
      return self.module.apply(variables, *pictures, method=seen)

    def predict(*stacks):
      strengths = np.full((self.batch, 1, 1, 1), strength, np.float32)
      return self._run((outputs, steered), run, strengths, *stacks)

    return tiles.restore_many(
      predict,
      examples,
      tile=self.tile,
      batch=self.batch,
      layout=tiles.averaged if self.mode == 'tiles' else tiles.feathered,
      finish=finish,
    )

  @functools.cached_property
  def _map_side(self) -> int:
    """Side of the degradation map of a tile."""
    tile = jax.ShapeDtypeStruct((1, self.tile, self.tile, 3), jnp.float32)
    encode = functools.partial(self.module.apply, method='degradation_map')
    return jax.eval_shape(encode, self.variables, tile).shape[1]

  def _maps(self, examples: Iterable[Pictures]) -> Iterator[np.ndarray]:
    """The whole degradation map of every example's picture."""

    def run(variables, pictures):
      return self.module.apply(variables, pictures, method='degradation_map').astype(jnp.float32)

    feathered = functools.partial(tiles.feathered, blend=self._map_side // 2)
    return tiles.restore_many(
      lambda stack: self._run('degradation_map', run, stack),
      examples,
      tile=self.tile,
      batch=self.batch,
      layout=tiles.averaged if self.mode == 'tiles' else feathered,
      cell=self.tile // self._map_side,
    )

  def _run(self, key: Any, function: Callable, *stacks: np.ndarray) -> Any:
    """function(variables, *stacks), compiled at the first call with this key."""
    placed = [jax.device_put(stack, self._split) for stack in stacks]
    with self._compiling:
      if key not in self._programs:
        jitted = jax.jit(function, out_shardings=self._split)
        self._programs[key] = jitted.lower(self.variables, *placed).compile()
    return self._programs[key](self.variables, *placed)

  def _placed(self, variables: dict[str, Any]) -> dict[str, Any]:
    """Variables as the programs take them: folded, cast, a copy on every device."""

    if all(isinstance(x, np.ndarray) for x in jax.tree.leaves(variables)):
      # By NumPy: there is nothing to compile.
      return jax.device_put(_prepared(variables, self.dtype), self._everywhere)
    return self._prepare(variables)


def _require(condition: Any, complaint: str) -> None:
  if not condition:
    raise UserError(f'{complaint}.')


def _config(directory: pathlib.Path) -> ml_collections.ConfigDict:
  """The config beside a checkpoint; of converted weights it has the model's fields alone."""
  path = directory / FILE
  try:
    config = ml_collections.ConfigDict(json.loads(path.read_text()))
  except OSError as error:
    raise UserError(f'{path} cannot be read: {error.strerror}.') from None
  except (ValueError, TypeError):
    raise UserError(f'{path} is damaged: restore it, or name another folder.') from None
  if 'network' not in config.get('model', {}):
    raise UserError(
      f'{directory} holds parts of a network alone: name the folder of a joint, msdi_net or hinet.'
    )
  return config


def _multiple(network: Any, depth: int) -> int:
  """Of which the sides of a tile must be."""
  multiple = 2 ** (depth - 1)
  encoder = getattr(network, 'encoder', None)
  if encoder is not None and encoder.input_size is None:
    halvings = len(encoder.stages) + (encoder.variant != 'official_v2')
    multiple = max(multiple, 2**halvings)
  return multiple


def _prepared(variables: dict[str, Any], dtype: str) -> dict[str, Any]:
  """Variables with spectral norms folded in and the parameters, but for those of E, cast."""
  variables = spectral_norm.folded(variables)
  params = {
    # The map is small, and all else depends on it.
    part: tree if part == 'encoder' else jax.tree.map(lambda x: x.astype(dtype), tree)
    for part, tree in variables['params'].items()
  }
  return variables | {'params': params}


def _see(net, blurry, sharp=None, degradation_map=None, *, outputs, strengths=None):
  """What a bound network makes of stacks: {output: stack}, by E's map or a given one."""
  if degradation_map is None and not isinstance(net, HINet):
    degradation_map = net.degradation_map(blurry)
    if strengths is not None:
      own = net.degradation_map(sharp)
      degradation_map = own + strengths * (degradation_map - own)
  seen = {}
  if outputs != ('reblurred',):
    seen |= net.deblur(blurry, degradation_map)
  if 'reblurred' in outputs:
    seen |= net.reblur(sharp, degradation_map)
  return {name: seen[name].astype(jnp.float32) for name in outputs}


def _finish(rows: np.ndarray, dtype: np.dtype) -> np.ndarray:
  """Floats as a picture of a dtype: clipped to [0, 1], integers rounded over their range."""
  rows = np.clip(rows, 0, 1)
  if dtype.kind == 'u':
    rows = np.rint(rows * np.float32(np.iinfo(dtype).max))
  return rows.astype(dtype)


def _picture(x: Any) -> np.ndarray:
  """A picture that can be restored, as NumPy.

  Raises:
    UserError: it is none.
  """
  _require(hasattr(x, 'ndim'), f'a {type(x).__name__} is no picture: give arrays (H, W, 3)')
  x = np.asarray(x)
  _require(
    x.ndim == 3 and x.shape[2] == 3 and x.size,
    f'an array {x.shape} is no picture: it must be (H, W, 3), RGB, of one pixel at least',
  )
  _require(
    x.dtype in (np.uint8, np.uint16) or x.dtype.kind == 'f',
    f'a picture of {x.dtype}: it must be uint8, uint16, or floats in [0, 1]',
  )
  if x.dtype.kind == 'f':
    # Some room for what a resampling filter leaves.
    low, high = x.min(), x.max()
    _require(
      low >= -0.5 and high <= 1.5, f'a picture of floats in [{low:g}, {high:g}]: scale to [0, 1]'
    )
  return x


def _in_the_form_of(x: Any, stream: Callable[[Iterable[Any]], Iterator[Any]]) -> Any:
  """`stream` of the pictures in `x`: for one picture its result, for a batch a batch (of every
  output), for an iterable a generator."""
  if hasattr(x, 'ndim'):
    if x.ndim != 4:
      return next(stream([x]))
    _require(len(x), f'an array {x.shape} holds no picture')
    return jax.tree.map(lambda *results: np.stack(results), *stream(x))
  _require(
    isinstance(x, Iterable) and not isinstance(x, str | bytes | dict),
    f'a {type(x).__name__} is no picture: give an array (H, W, 3), a batch, or an iterable of them',
  )
  return stream(x)


def _pairs(pictures: Iterable[Any], partners: Any, name: str) -> Iterator[tuple[Any, Any]]:
  """Every picture and its partner, of which there may be one for all."""
  if getattr(partners, 'ndim', 4) == 3:
    yield from ((picture, partners) for picture in pictures)
    return
  _require(isinstance(partners, Iterable), f'{name} is a {type(partners).__name__}: give pictures')
  nothing = object()
  for picture, partner in itertools.zip_longest(pictures, partners, fillvalue=nothing):
    _require(
      picture is not nothing and partner is not nothing,
      f'there must be as many pictures in {name} as there are beside it',
    )
    yield picture, partner


def _fitted(picture: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
  """A picture mirrored and cropped to the height and width of `shape`."""
  missing = [(0, max(0, wanted - side)) for wanted, side in zip(shape, picture.shape, strict=True)]
  return np.pad(picture, missing, mode='symmetric')[: shape[0], : shape[1]]
