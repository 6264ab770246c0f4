"""Which files a command reads and writes, settled before it starts."""

import collections
import glob
import mimetypes
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from degrep_jax.common.errors import UserError
from degrep_jax.photos import kinds
from degrep_jax.photos.photo import FORMAT_OF, FORMATS

_OF_SYSTEMS = ('desktop.ini', 'thumbs.db', 'ehthumbs.db')  # files that nobody put there
STREAM = '-'  # standard input among the paths, standard output as output


@dataclass(frozen=True)
class Job:
  """One picture: from where, to where, and where before and after stand side by side.

  None are the standard streams, and `compare` is None where nobody asked.
  """

  source: Path | None
  target: Path | None
  compare: Path | None = None

  @property
  def name(self) -> str:
    """Of the source, for messages."""
    return 'standard input' if self.source is None else str(self.source)


@dataclass
class Plan:
  """What there is to do.

  Attributes:
    jobs: in the order of the arguments, sorted within folders.
    existing: jobs left out because their target is there.
    unreadable: a sentence for every folder that cannot be listed.
    passed: files that were found and are not of a kind that is read, by their names.
    beside: whether results go beside their pictures, or beside the folders of these, because no
      output was named.
  """

  jobs: list[Job] = field(default_factory=list)
  existing: list[Job] = field(default_factory=list)
  unreadable: list[str] = field(default_factory=list)
  passed: set[Path] = field(default_factory=set)
  beside: bool = False

  @property
  def passed_over(self) -> str:
    """For example '16 passed over: 9 .mov, 5 .nef (raw: develop them first), 2 without ending'; ''
    where there are none."""
    counts = collections.Counter(_of_ending(path.suffix.lower()) for path in self.passed)
    rows = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    listed = ', '.join(f'{count} {ending}' for ending, count in rows)
    return f'{len(self.passed)} passed over: {listed}' if rows else ''


def _of_ending(ending: str) -> str:
  """What files with an ending are called that are passed over."""
  if ending in kinds.RAW_SUFFIXES:
    return f'{ending} (raw: develop them first)'
  return ending or 'without ending'


@dataclass(frozen=True)
class _Found:
  """A picture and where its result goes.

  Attributes:
    source: the picture.
    root: the folder below which the result goes.
    inside: its place there.
    infix: what its name gets before the ending, '' for nothing.
  """

  source: Path
  root: Path
  inside: Path
  infix: str = ''

  def job(self, format: str | None, compare: bool, *, whole: bool = False) -> Job:
    """What there is to do.

    Args:
      format, compare: as in `plan`.
      whole: whether an ending that is replaced stays in the name: photo.heic.jpg.
    """
    old = self.inside.suffix if self.inside.suffix.lower() in kinds.SUFFIXES else ''
    new = old
    if format is None and old:
      new = kinds.target_suffix(self.source)
    elif format is not None and FORMAT_OF.get(old.lower()) != format:
      new = FORMATS[format][0]
    stem = self.inside.name if whole else self.inside.name.removesuffix(old)
    stem += f'.{self.infix}' if self.infix else ''
    target = self.root / self.inside.with_name(stem + new)
    return Job(self.source, target, _beside(target) if compare else None)


def plan(
  paths: Sequence[str],
  output: str | None,
  *,
  format: str | None = None,
  overwrite: bool = False,
  compare: bool = False,
  infix: str = 'restored',
) -> Plan:
  """Finds the pictures and where each goes.

  Files go straight into `output`; what is found in a folder, or by a pattern, keeps its place below
  the folder, or below the part of the pattern that has no wildcards. In folders, names that end as
  those of pictures count; hidden ones and the output folder itself do not. The name of a file of a
  kind that is not written ends as what is written instead.

  Args:
    paths: files, folders, patterns with *, ? and ** (a file called so comes first), or `STREAM`.
    output: a folder; for one picture also a file's name, with an ending of `FORMATS`, or `STREAM`;
      None writes beside the pictures, photo.<infix>.jpg for photo.jpg, and beside folders, into
      <folder>.<infix>.
    format: a key of `FORMATS` that all outputs are to have; None keeps the names.
    overwrite: targets that are there are written again instead of left alone.
    compare: whether `<name>.compare.<ending>` is written too.
    infix: for names where no output is given.

  Raises:
    UserError: no such path, nothing found, an output called after a format that is not written, two
      pictures with one target, or a target that is one of the pictures.
  """
  if STREAM in paths or output == STREAM:
    job = _stream_job(paths, STREAM if output is None else output, format, compare)
    return _sorted_out([job], overwrite, Plan())
  made = Plan(beside=output is None)
  root = None if output is None else Path(output)
  found = [*dict.fromkeys(each for path in paths for each in _pictures(path, root, infix, made))]
  if root is None:
    found = _without_results(found, infix)
  if not found:
    raise UserError(_nothing(paths, made))
  jobs = [each.job(format, compare) for each in found]
  if root is not None and root.suffix.lower() in FORMAT_OF and not os.path.isdir(root):
    if len(jobs) > 1:
      raise UserError(
        f'{output} is the name of one picture, but there are {len(jobs)}: name a folder.'
      )
    _check_ending(root, format)
    jobs = [Job(jobs[0].source, root, _beside(root) if compare else None)]
  elif root is not None and _is_named_as_a_picture(root) and not os.path.isdir(root):
    raise UserError(
      f'{output} is the name of a picture of a kind that is not written: end it with one of '
      f'{", ".join(FORMAT_OF)}.'
    )
  else:
    taken = collections.Counter(job.target for job in jobs)
    jobs = [
      each.job(format, compare, whole=taken[job.target] > 1 and _is_converted(job))
      for each, job in zip(found, jobs, strict=True)
    ]
  _check_targets(jobs)
  return _sorted_out(jobs, overwrite, made)


def _nothing(paths: Sequence[str], plan: Plan) -> str:
  """A sentence on why nothing was found."""
  if plan.unreadable:
    return plan.unreadable[0]
  endings = ', '.join(suffixes[0] for suffixes in (FORMATS | kinds.READ_ONLY).values())
  passed = f' ({plan.passed_over})' if plan.passed else ''
  return f'No pictures in {", ".join(paths)}{passed}: names end with {endings}.'


def _is_named_as_a_picture(path: Path) -> bool:
  guess = mimetypes.guess_type(path.name)[0] or ''
  return path.suffix.lower() in kinds.SUFFIXES or guess.startswith('image/')


def _is_converted(job: Job) -> bool:
  """Whether a target's name ends otherwise than its picture's does."""
  return job.target is not None and job.target.suffix != Path(job.name).suffix


def _beside(target: Path) -> Path:
  """Where before and after stand side by side."""
  return target.with_name(f'{target.stem}.compare{target.suffix}')


def _without_results(found: Sequence[_Found], infix: str) -> list[_Found]:
  """The pictures without those that an earlier call made of others among them."""
  originals = {
    (each.source.parent, name) for each in found for name in (each.source.name, each.source.stem)
  }
  searched = {folder for each in found for folder in each.source.parents}
  ending = f'.{infix}'

  def is_result(path: Path) -> bool:
    stem = path.stem.removesuffix('.compare')
    if stem.endswith(ending) and (path.parent, stem.removesuffix(ending)) in originals:
      return True
    return any(
      folder.name.endswith(ending)
      and folder.name != ending
      and folder.with_name(folder.name.removesuffix(ending)) in searched
      for folder in path.parents
    )

  return [each for each in found if not is_result(each.source)]


def _sorted_out(jobs: Sequence[Job], overwrite: bool, plan: Plan) -> Plan:
  """The plan with the jobs, those apart that are not needed."""
  for job in jobs:
    there = not overwrite and job.target is not None and os.path.exists(job.target)
    (plan.existing if there else plan.jobs).append(job)
  return plan


def _stream_job(paths: Sequence[str], output: str, format: str | None, compare: bool) -> Job:
  if len(paths) > 1:
    raise UserError('The standard streams take one picture: name one path.')
  if compare:
    raise UserError('The standard output takes one picture: leave out --compare.')
  source = None if paths[0] == STREAM else Path(paths[0])
  try:
    is_file = source is None or stat.S_ISREG(os.stat(source).st_mode)
  except FileNotFoundError:
    is_file = False
  except OSError as error:
    raise UserError(f'{source} cannot be opened: {error.strerror}.') from error
  if not is_file:
    raise UserError(f'{source} is not a file, and the standard output takes one picture.')
  if output == STREAM:
    return Job(source, None)
  target = Path(output)
  if target.suffix.lower() not in FORMAT_OF or os.path.isdir(target):
    raise UserError(
      f'What comes from the standard input has no name for the folder {output}: add '
      'one, or write --output -.'
    )
  _check_ending(target, format)
  return Job(source, target)


def _check_ending(output: Path, format: str | None) -> None:
  """A file of one format is not called after another."""
  named = FORMAT_OF[output.suffix.lower()]
  if format not in (None, named):
    raise UserError(
      f'{output} is the name of a {named} file, and {format} is to be written: end it with '
      f'{FORMATS[format][0]}.'
    )


def _check_targets(jobs: Sequence[Job]) -> None:
  sources = {os.path.realpath(job.name) for job in jobs}
  taken: dict[Path, Job] = {}
  for job in jobs:
    for target in (job.target, job.compare):
      if target is None:
        continue
      if os.path.realpath(target) in sources:
        raise UserError(f'{target} is itself one of the pictures: choose another --output.')
      if (other := taken.setdefault(target, job)) is not job:
        raise UserError(
          f'{other.name} and {job.name} would both be written to {target}: do them one after the '
          'other, with an --output each.'
        )


def _pictures(argument: str, root: Path | None, infix: str, plan: Plan) -> Iterator[_Found]:
  """Yields what one argument stands for; keeps account in the plan of what it does not."""
  try:
    is_folder = stat.S_ISDIR(os.stat(argument).st_mode)
  except OSError as error:
    if not glob.has_magic(argument):
      raise UserError(f'{argument} cannot be opened: {error.strerror}.') from error
    yield from _matches(argument, root, infix, plan)
    return
  if is_folder:
    yield from _in_folder(Path(argument), root, infix, plan)
  else:
    yield _file(Path(argument), root, infix)


def _file(path: Path, root: Path | None, infix: str) -> _Found:
  if root is None:
    return _Found(path, path.parent, Path(path.name), infix)
  return _Found(path, root, Path(path.name))


def _in_folder(folder: Path, root: Path | None, infix: str, plan: Plan) -> Iterator[_Found]:
  if root is None:
    real = folder if folder.name not in ('', '..') else folder.resolve()
    if not real.name:
      raise UserError(f'{folder} has nothing beside it: name an --output.')
    root = real.with_name(f'{real.name}.{infix}')
  for path in _walk(folder, root, plan):
    yield _Found(path, root, path.relative_to(folder))


def _matches(pattern: str, root: Path | None, infix: str, plan: Plan) -> Iterator[_Found]:
  parts = Path(pattern).parts
  fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
  base = Path(*parts[:fixed])
  excluded = None if root is None else _inner(root, base)
  matches = sorted(glob.glob(pattern, recursive=True))
  if not matches:
    raise UserError(f'{pattern} matches no file.')
  folders = set[Path]()
  for match in map(Path, matches):
    if folders.intersection(match.parents):
      continue  # which was found there
    is_folder = os.path.isdir(match)  # Path's raises where it may not look
    if root is None and is_folder:
      folders.add(match)
      yield from _in_folder(match, None, infix, plan)
      continue
    for path in _walk(match, root or base, plan) if is_folder else [match]:
      if excluded is not None and Path(os.path.realpath(path)).is_relative_to(excluded):
        continue
      if not _is_read(path, plan):
        continue
      yield _file(path, None, infix) if root is None else _Found(path, root, path.relative_to(base))


def _walk(folder: Path, output: Path, plan: Plan) -> Iterator[Path]:
  """Yields the pictures below a folder, links followed once."""

  def failed(error: OSError) -> None:
    plan.unreadable.append(f'{error.filename} cannot be listed: {error.strerror}.')

  seen = {_inner(output, folder)}
  for place, folders, files in os.walk(folder, onerror=failed, followlinks=True):
    if os.path.realpath(place) in seen:
      folders.clear()
      continue
    seen.add(os.path.realpath(place))
    folders[:] = sorted(name for name in folders if not name.startswith('.'))
    for name in sorted(files):
      if _is_read(path := Path(place, name), plan):
        yield path


def _is_read(path: Path, plan: Plan) -> bool:
  """Whether a file is of a kind that is read, by its name; the plan keeps account of others."""
  if path.name.startswith('.') or path.name.lower() in _OF_SYSTEMS:
    return False
  if path.suffix.lower() in kinds.SUFFIXES:
    return True
  plan.passed.add(Path(os.path.realpath(path)))
  return False


def _inner(output: Path, folder: Path) -> str | None:
  """The real path of the output folder if it lies below another folder, else None."""
  inner, outer = os.path.realpath(output), os.path.realpath(folder)
  return inner if outer in map(str, Path(inner).parents) else None
