"""`Restorer`: whole pictures of any size through a trained network, the one path of inference.

Evaluation, the command line and the web page all come through here. Importing this module loads no
TensorFlow; nothing is compiled before the first picture.
"""

import copy
import functools
import itertools
import numbers
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import cv2
import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from degrep_jax import shipped
from degrep_jax.common.pixels import finished, in_floats
from degrep_jax.inference import engines, saved_networks, tiles
from degrep_jax.inference.ensemble import SIZES, together
from degrep_jax.inference.pictures import as_picture, in_the_form_of, mirrored_to, pairs, require
from degrep_jax.inference.saved_networks import TILE
from degrep_jax.inference.scales import factors
from degrep_jax.inference.windows import Windows
from degrep_jax.models import factory, local_norm, spectral_norm
from degrep_jax.models.variables import DTYPES, cast, count_parameters

MODES = ('tiles', 'feathered', 'full')
ENCODERS = ('tiles', 'resized')
MEMORY = 4 * 2**30  # bytes
_BATCH_PIXELS = 2**18  # of the tiles that a device takes at a time by default

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
    'full': the whole picture at once, or where `memory` does not allow that in few large windows
      that overlap and fade into each other. Windows are squares of at most three sizes; what a
      picture lacks of one is mirrored and hidden from the norms. E sees tiles of the picture, and
      the pyramid the part of the whole map that lies in the window.

  Attributes:
    module: the Flax module.
    network: its name in `factory.NETWORKS`.
    title: what people call it.
    has_map: whether it has an E, and with that a degradation map.
    can_reblur: whether it has a Gr.
    variables: of the module, where the engine has them, spectral norms folded into the kernels.
    about: what is known of the network: 'step' and 'config' (dict) of the training, 'parameters'
      (their number), 'checkpoint' (path), 'multiple' (of which the sides of its tiles must be) and
      'tile' (px, of its training and evaluation); None what is not known.
    mode, tile, window, dtype, memory, batch, ensemble, strength, scales: as given, or the defaults.
  """

  def __init__(
    self,
    module: nn.Module,
    variables: dict[str, Any] | None,
    *,
    mode: str = 'feathered',
    tile: int = TILE,
    window: int | None = None,
    dtype: str = 'float32',
    memory: int = MEMORY,
    batch: int | None = None,
    encoder: str = 'tiles',
    engine: str = 'jax',
    ensemble: int = 1,
    strength: float = 1.0,
    scales: int = 0,
    about: dict[str, Any] | None = None,
  ):
    """A restorer of a module; `from_checkpoint` is the usual way.

    Args:
      module: of a network of `factory.NETWORKS`.
      variables: of the module; None where `with_variables` is to bring them.
      mode: one of `MODES`; evaluations by the released protocol ask for 'tiles'.
      tile: side of the tiles, px, and in all modes of what E sees.
      window: px around a pixel that instance norms see in the mode 'full' (TLC, see
        `models.local_norm`); 0: the whole picture, or the window of it that is restored at a time;
        None: 1.5 tiles, 384 px by default. Other modes ignore it: there a tile is the window.
      dtype: 'bfloat16' computes in it, but for E and all statistics; results stay float32.
      memory: bytes that the mode 'full' may take besides the pictures, on each device. It decides
        on the size of the windows and with that, a little, on the result. What the other modes
        take depends on the batch alone. In all modes a strength takes some 30 bytes more for every
        pixel of a picture, scales 50 for every pixel of the largest, an ensemble 15 besides.
      batch: tiles at a time, a multiple of the devices; None: as many as make 512x512 px on each.
      encoder: what E sees in the mode 'full': 'tiles' of the picture, whose maps are put together,
        or the whole picture 'resized' to one tile, whose map is spread over it.
      engine: 'onnx' computes by ONNX Runtime on the CPU, which is quicker there than JAX, in all
        modes but 'full'; results differ by rounding.
      ensemble: of so many views of a picture (mirrored, turned) `deblur` gives the mean, 1, 2, 4 or
        8, for as many times the time; the other methods see the picture alone.
      strength: of what `deblur` changes, 0 to 2: 0 leaves the picture as it is (floats become
        float32, clipped to [0, 1]), 1 gives what the network makes of it, others lie on the line
        through both.
      scales: pixels, 0 or more. 0: `deblur` sees a picture as it is. Otherwise it sees it at
        several sizes, in steps of the root of 2: smaller ones down to a quarter of its sides or a
        tile, larger ones up to four times its sides or so many pixels. The changes are averaged as
        `inference.scales` says. Takes up to twice the time of the largest.
      about: as the attribute, if there is more to tell than the module does.

    Raises:
      UserError: an argument that has no such value.
    """
    self.network = factory.name_of(module) or ''
    require(self.network, f'no restorer for a {type(module).__name__}')
    row = factory.NETWORKS[self.network]
    self.title, self.has_map, self.can_reblur = row.title, row.has_map, row.can_reblur
    self._outputs = row.outputs
    self.module: Any = module
    for name, value, choices in (
      ('mode', mode, MODES),
      ('dtype', dtype, DTYPES),
      ('encoder', encoder, ENCODERS),
      ('engine', engine, engines.ENGINES),
      ('ensemble', ensemble, SIZES),
    ):
      require(value in choices, f'{name} {value!r}: choose one of {", ".join(map(str, choices))}')
    require(encoder == 'tiles' or mode == 'full', f'in the mode {mode} E sees tiles alone')
    require(engine == 'jax' or mode != 'full', 'the mode full takes the engine jax')
    require(engine == 'jax' or dtype == 'float32', f'{dtype} takes the engine jax')
    require(window is None or window >= 0, f'a window of {window} px: it must not be negative')
    # Of the U-Nets alone; a tile must suit E too.
    self._multiple = self.module.multiple
    multiple = max(self._multiple, self.module.encoder.multiple if self.has_map else 1)
    require(
      tile >= 2 * multiple and tile % multiple == 0,
      f'tiles of {tile} px: this network needs a multiple of {multiple}, {2 * multiple} at least',
    )
    self._engine: Any = engines.Xla() if engine == 'jax' else engines.OnnxRuntime()
    devices = self._engine.devices
    default = devices * max(1, _BATCH_PIXELS // tile**2)
    self.batch = default if batch is None else batch
    require(
      self.batch > 0 and self.batch % devices == 0,
      f'a batch of {batch} tiles: it must be a positive multiple of the {devices} devices',
    )
    self.mode, self.tile, self.dtype, self.memory = mode, tile, dtype, memory
    _require_number(strength)
    require(0 <= strength <= 2, f'a strength of {strength}: choose between 0 and 2')
    require(
      isinstance(scales, numbers.Integral) and scales >= 0,
      f'scales of {scales!r}: it must be 0, for one size, or a number of pixels, as 1_000_000',
    )
    self.ensemble, self.strength, self.scales = int(ensemble), float(strength), int(scales)
    self.window = 3 * tile // 2 if window is None else window
    self._encoder = encoder
    self._programs: dict[Any, Any] = {}
    self._compiling = threading.Lock()
    self.about: dict[str, Any] = {'step': None, 'config': None, 'checkpoint': None, 'tile': tile}
    self.about |= {'parameters': None, 'multiple': multiple} | (about or {})
    self.variables: dict[str, Any] = {}
    if variables is not None:
      self._take(variables)

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
      directory: the workdir; or a safetensors file that `degrep export` wrote.
      step: of the checkpoint; None takes the newest. A file has no others.
      config: of the run; None reads the one beside the checkpoint.
      tile: None takes that of the run's evaluation, for converted weights 256.
      **options: as for the class.

    Raises:
      UserError: no checkpoint, none of that step, one of other networks than the config beside it
        or of parts of a network alone, or an argument that has no such value.
    """
    saved = saved_networks.load(directory, step, config)
    tile = saved.about['tile'] if tile is None else tile
    return cls(saved.module, saved.variables, tile=tile, about=saved.about, **options)

  @classmethod
  def pretrained(cls, name: str | None = None, **options: Any) -> 'Restorer':
    """The restorer of a network that ships with the package.

    Args:
      name: 'small' for instance; `degrep info` lists them. None takes the best that deblurs.
      **options: as for `from_checkpoint`; those of `shipped.SETTINGS`, a strength of 0.9 and
        scales of a million pixels, hold unless others are given.

    Raises:
      UserError: no network of that name ships, or an argument that has no such value.
    """
    place = shipped.path(name or shipped.best('deblur'))
    return cls.from_checkpoint(place, **(shipped.SETTINGS | options))

  @property
  def programs(self) -> int:
    """How many programs have been compiled so far."""
    return len(self._programs)

  def with_variables(self, variables: dict[str, Any]) -> 'Restorer':
    """The same restorer, its programs too, with other variables of the same network."""
    other = copy.copy(self)
    if not self._engine.shares_programs:
      other._programs = {}
    other._take(variables)
    return other

  def deblur(self, x: Any, progress: tiles.Progress | None = None) -> Any:
    """Restored pictures.

    Args:
      x: one blurry picture, a batch, or an iterable of pictures.
      progress: called with the share of a picture that is done whenever a tile, or a window of the
        mode 'full', is; of several pictures one after the other.

    Returns:
      As `x`, in its dtype: clipped to [0, 1], integers rounded. A generator for an iterable.

    Raises:
      UserError: something that is no picture (of an iterable when it is reached).
    """

    def restored(
      pictures: Iterable[np.ndarray],
      progress: tiles.Progress | None,
      finish: tiles.Finish = tiles.as_it_is,
    ) -> Iterator[np.ndarray]:
      each = ((x,) for x in pictures)
      for result in self._restored(each, ('deblurred',), finish=finish, progress=progress):
        yield result['deblurred']

    def stream(pictures: Iterable[Any]) -> Iterator[np.ndarray]:
      pictures = map(as_picture, pictures)
      if self.ensemble == self.strength == 1 and not self.scales:
        return restored(pictures, progress, finished)
      return together(
        pictures,
        restored,
        size=self.ensemble,
        strength=self.strength,
        factors=functools.partial(factors, most=self.scales, least=self.tile)
        if self.scales
        else None,
        progress=progress,
      )

    return in_the_form_of(x, stream)

  def reblur(
    self, sharp: Any, like: Any, strength: float = 1.0, progress: tiles.Progress | None = None
  ) -> Any:
    """Sharp pictures, blurred as others are.

    Args:
      sharp: one picture, a batch, or an iterable of pictures.
      like: blurry pictures in the same form, or one for all. One of another size is mirrored and
        cropped to that of its partner.
      strength: of the blur: 1 takes the blurry picture's degradation map, 0 the sharp one's own;
        values between, below and above lie on the line through both.
      progress: as for `deblur`.

    Returns:
      As `deblur`.

    Raises:
      UserError: a network that has no Gr, something that is no picture, or pictures without a
        partner.
    """
    require(
      self.can_reblur,
      f'the network {self.network} cannot reblur: name one of the joint stage, as small_joint',
    )
    _require_number(strength)

    def examples(pictures: Iterable[Any]) -> Iterator[Pictures]:
      for one, other in pairs(pictures, like, 'like'):
        one, other = as_picture(one), as_picture(other)
        yield mirrored_to(other, one.shape), one

    def stream(pictures: Iterable[Any]) -> Iterator[np.ndarray]:
      for result in self._restored(
        examples(pictures),
        ('reblurred',),
        strength=float(strength),
        finish=finished,
        progress=progress,
      ):
        yield result['reblurred']

    return in_the_form_of(sharp, stream)

  def degradation_map(self, x: Any) -> Any:
    """What E reads from pictures: the map of the whole, put together from those of E's tiles.

    Args:
      x: one picture, a batch, or an iterable of pictures.

    Returns:
      float32 `(h, w, C)`, a batch or a generator of them; a pixel of the map stands for a square of
      the picture, which is mirrored up to whole ones.

    Raises:
      UserError: a network that has no E, or something that is no picture.
    """
    require(self.has_map, f'the network {self.network} has no degradation map: it has no encoder')
    return in_the_form_of(x, lambda pictures: self._maps(map(as_picture, pictures)))

  def apply(self, x: Any, sharp: Any = None, *, outputs: tuple[str, ...] | None = None) -> Any:
    """All that the network makes of pictures, as it comes: float32, not clipped.

    Args:
      x: one blurry picture, a batch, or an iterable of pictures.
      sharp: the same of sharp ones of the same sizes, which a joint net blurs again by the maps of
        their blurry partners; other nets do not look at them.
      outputs: what is wanted of the result; nothing else is computed then.

    Returns:
      {'deblurred': `(H, W, 3)`}, of the two-stage nets also 'stage_1', of sharp pictures also
      'reblurred'; for a batch {name: batch}, for an iterable a generator.

    Raises:
      UserError: no such output, something that is no picture, or pictures without a partner.
    """
    there = self._outputs
    if sharp is not None and self.can_reblur:
      there += ('reblurred',)
    wanted = there if outputs is None else tuple(outputs)
    unknown = [name for name in wanted if name not in there]
    require(not unknown, f'there is no output {unknown}: there are {", ".join(there)}')

    def examples(pictures: Iterable[Any]) -> Iterator[Pictures]:
      if 'reblurred' not in wanted:
        yield from ((as_picture(picture),) for picture in pictures)
        return
      for one, other in pairs(pictures, sharp, 'sharp'):
        one, other = as_picture(one), as_picture(other)
        require(
          one.shape == other.shape,
          f'a blurry picture {one.shape} with a sharp one {other.shape}: sizes must agree',
        )
        yield one, other

    return in_the_form_of(x, lambda pictures: self._restored(examples(pictures), wanted))

  def _restored(
    self,
    examples: Iterable[Pictures],
    outputs: tuple[str, ...],
    *,
    strength: float = 1.0,
    finish: tiles.Finish = tiles.as_it_is,
    progress: tiles.Progress | None = None,
  ) -> Iterator[dict[str, np.ndarray]]:
    """{output: whole picture} of every example: (blurry,) or (blurry, sharp)."""
    if self.mode == 'full':
      return self._in_windows(examples, outputs, strength, finish, progress)
    steered = strength != 1
    strengths = np.full((self.batch, 1, 1, 1), strength, np.float32)

    def run(variables, strengths, *pictures):
      see = functools.partial(_see, outputs=outputs, strengths=strengths if steered else None)
      return self.module.apply(variables, pictures, method=see)

    return tiles.restore_many(
      lambda *stacks: self._run((outputs, steered), run, strengths, *stacks),
      examples,
      tile=self.tile,
      batch=self.batch,
      layout=tiles.averaged if self.mode == 'tiles' else tiles.feathered,
      finish=finish,
      progress=progress,
    )

  def _in_windows(self, examples, outputs, strength, finish, progress):
    """As `_restored`, by maps that are made before."""
    for pictures, degradation_map in self._with_maps(examples, strength):
      size, dtype = pictures[0].shape[:2], pictures[-1].dtype
      if outputs == ('reblurred',):
        pictures = pictures[1:]  # of its partner there is only the map
      sides = self._sides(outputs, degradation_map, self.memory)
      side, rows, columns = self._windows.arranged(size, sides)
      program = functools.partial(self._run, (outputs, side), self._whole(outputs, side))
      cut = self._windows.cut(pictures, degradation_map, side, rows, columns)
      answers = tiles.predict_each(program, cut, self._engine.devices)
      yield tiles.joined(answers, rows, columns, size, finish, dtype, progress)

  def _with_maps(self, examples, strength):
    """(example, its whole degradation map or None); E's batches are filled across pictures."""
    if not self.has_map:
      return ((pictures, None) for pictures in examples)
    examples, blurry = itertools.tee(examples)
    maps = self._maps(pictures[0] for pictures in blurry)
    if strength != 1:
      examples, sharp = itertools.tee(examples)
      own = self._maps(pictures[1] for pictures in sharp)
      maps = (b + np.float32(strength) * (a - b) for a, b in zip(maps, own, strict=True))
    return zip(examples, maps, strict=True)

  def _whole(self, outputs: tuple[str, ...], side: int) -> Callable:
    """(variables, extents, pictures ..., maps) to outputs, for windows of one size."""
    count = _count(outputs)

    def run(variables, extents, *stacks):
      see = functools.partial(_see, outputs=outputs, maps=stacks[count:])
      with local_norm.converted(side, extents, self.window):
        return self.module.apply(variables, stacks[:count], method=see)

    return run

  def _sides(self, outputs, degradation_map, memory: int) -> list[int]:
    """The sides of windows that fit into a memory; compiles the program of the smallest."""
    windows = self._windows
    program = self._whole(outputs, windows.sides[0])
    arguments = windows.blank(_count(outputs), degradation_map)
    devices = self._engine.devices
    stacks = [np.stack([x] * devices) for x in arguments]
    found = self._compiled((outputs, windows.sides[0]), program, stacks).compiled.memory_analysis()
    weights = sum(x.nbytes for x in jax.tree.leaves(self.variables))
    inputs = sum(x.nbytes for x in arguments)
    needed = found.temp_size_in_bytes + found.output_size_in_bytes + inputs
    return windows.fitting(memory, weights, needed)

  @functools.cached_property
  def _map_side(self) -> int:
    """Side of the degradation map of a tile."""
    tile = jax.ShapeDtypeStruct((1, self.tile, self.tile, 3), jnp.float32)
    encode = functools.partial(self.module.apply, method='degradation_map')
    return jax.eval_shape(encode, self.variables, tile).shape[1]

  @property
  def cell(self) -> int:
    """Side of the square of a picture that a pixel of its degradation map stands for, px; 1 where
    there is no map. Raises UserError where it is no whole number."""
    if not self.has_map:
      return 1
    side = self._map_side
    require(
      self.tile % side == 0,
      f'tiles of {self.tile} px: a map of {side}x{side} places needs a multiple of {side}',
    )
    return self.tile // side

  @property
  def _windows(self) -> Windows:
    return Windows(self.tile, self.cell, self._multiple)

  def _maps(self, pictures: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """The whole degradation map of every picture."""

    def run(variables, stack):
      return self.module.apply(variables, stack, method='degradation_map').astype(jnp.float32)

    side = self._map_side
    feathered = functools.partial(tiles.feathered, blend=max(1, side // 4), context=side // 8)
    restore = functools.partial(
      tiles.restore_many,
      lambda stack: self._run('degradation_map', run, stack),
      tile=self.tile,
      batch=self.batch,
      layout=tiles.averaged if self.mode == 'tiles' else feathered,
      cell=self.cell,
    )
    if self._encoder == 'tiles':
      return restore((picture,) for picture in pictures)
    pictures, seen = itertools.tee(pictures)
    maps = restore((_resized(picture, self.tile),) for picture in seen)
    return (
      _spread(degradation_map, [-(-n // self.cell) for n in picture.shape[:2]])
      for picture, degradation_map in zip(pictures, maps, strict=True)
    )

  def _run(self, key: Any, function: Callable, *stacks: np.ndarray) -> Any:
    """function(variables, *stacks), compiled at the first call with this key."""
    return self._compiled(key, function, stacks)(self.variables, *stacks)

  def _compiled(self, key: Any, function: Callable, stacks: Sequence[np.ndarray]) -> Any:
    with self._compiling:
      if key not in self._programs:
        self._programs[key] = self._engine.program(function, self.variables, stacks)
      return self._programs[key]

  def _take(self, variables: dict[str, Any]) -> None:
    """Places variables as the programs take them: folded and cast."""
    self.about = self.about | {'parameters': count_parameters(variables['params'])}
    # By NumPy: there is nothing to compile, and a checkpoint gives to the bit what the state that
    # it was saved from gives.
    prepared = _prepared(jax.device_get(variables), self.dtype)
    self.variables = self._engine.place(prepared)


def _prepared(variables: dict[str, Any], dtype: str) -> dict[str, Any]:
  """Variables with spectral norms folded in and the parameters, but for those of E, cast."""
  variables = spectral_norm.folded(variables)
  return variables | {'params': cast(variables['params'], dtype)}


def _require_number(strength: Any) -> None:
  most = float(np.finfo(np.float32).max)
  number = isinstance(strength, numbers.Real) and abs(float(strength)) <= most
  require(number, f'a strength of {strength!r}: it must be a number')


def _count(outputs: tuple[str, ...]) -> int:
  """Of the pictures that a window's program needs: blurry, sharp, or both."""
  return 2 if 'reblurred' in outputs and len(outputs) > 1 else 1


def _see(net, pictures, *, outputs, strengths=None, maps=()):
  """What a bound network makes of stacks: {output: stack}.

  Args:
    pictures: (blurry, sharp), or what of it the outputs need.
    outputs: their names.
    strengths: of reblurring, see `Restorer.reblur`; None: 1.
    maps: (degradation maps,), where they are not to be E's of these pictures.
  """
  blurry, sharp = pictures[0], pictures[-1]
  degradation_map = maps[0] if maps else None
  if not maps and hasattr(net, 'degradation_map'):
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


def _resized(picture: np.ndarray, side: int) -> np.ndarray:
  """A picture as one tile, as E itself resizes: bilinear, half-pixel centres, no antialiasing."""
  return cv2.resize(in_floats(picture), (side, side), interpolation=cv2.INTER_LINEAR)


def _spread(degradation_map: np.ndarray, size: list[int]) -> np.ndarray:
  """A map by nearest neighbours in another size, as the maps of the pyramid are resized."""
  rows, columns = (
    np.arange(wanted) * n // wanted for wanted, n in zip(size, degradation_map.shape, strict=False)
  )
  return degradation_map[rows[:, None], columns]
