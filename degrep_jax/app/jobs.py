"""Which files a command reads and writes, settled before it starts."""

import glob
import mimetypes
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from degrep_jax.common.errors import UserError
from degrep_jax.photos.photo import FORMAT_OF, FORMATS

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
  """

  jobs: list[Job] = field(default_factory=list)
  existing: list[Job] = field(default_factory=list)
  unreadable: list[str] = field(default_factory=list)


def plan(
  paths: Sequence[str],
  output: str,
  *,
  format: str | None = None,
  overwrite: bool = False,
  compare: bool = False,
) -> Plan:
  """Finds the pictures and where each goes.

  Files go straight into `output`; what is found in a folder, or by a pattern, keeps its place below
  the folder, or below the part of the pattern that has no wildcards. In folders, names that end as
  those of pictures count; hidden ones and the output folder itself do not.

  Args:
    paths: files, folders, patterns with *, ? and ** (a file called so comes first), or `STREAM`.
    output: a folder; for one picture also a file's name, with an ending of `FORMATS`, or `STREAM`.
    format: a key of `FORMATS` that all outputs are to have; None keeps the names.
    overwrite: targets that are there are written again instead of left alone.
    compare: whether `<name>.compare.<ending>` is written too.

  Raises:
    UserError: no such path, nothing found, an output called after a format that is not written, two
      pictures with one target, or a target that is one of the pictures.
  """
  found = Plan()
  if STREAM in paths or output == STREAM:
    return _sorted_out([_stream_job(paths, output, format, compare)], overwrite, found)
  root = Path(output)
  sources = dict.fromkeys(
    pair for path in paths for pair in _pictures(path, root, found.unreadable)
  )
  if not sources:
    if found.unreadable:
      raise UserError(found.unreadable[0])
    raise UserError(f'No pictures in {", ".join(paths)}: names end with {", ".join(FORMAT_OF)}.')
  jobs = [_job(source, inside, root, format, compare) for source, inside in sources]
  if root.suffix.lower() in FORMAT_OF and not root.is_dir():
    if len(jobs) > 1:
      raise UserError(
        f'{output} is the name of one picture, but there are {len(jobs)}: name a folder.'
      )
    _check_ending(root, format)
    jobs = [_job(jobs[0].source, Path(root.name), root.parent, format, compare)]
  elif (mimetypes.guess_type(root.name)[0] or '').startswith('image/') and not root.is_dir():
    raise UserError(
      f'{output} is the name of a picture of a kind that is not written: end it with one of '
      f'{", ".join(FORMAT_OF)}.'
    )
  _check_targets(jobs)
  return _sorted_out(jobs, overwrite, found)


def _sorted_out(jobs: Sequence[Job], overwrite: bool, plan: Plan) -> Plan:
  """The plan with the jobs, those apart that are not needed."""
  for job in jobs:
    there = not overwrite and job.target is not None and job.target.exists()
    (plan.existing if there else plan.jobs).append(job)
  return plan


def _stream_job(paths: Sequence[str], output: str, format: str | None, compare: bool) -> Job:
  if len(paths) > 1:
    raise UserError('The standard streams take one picture: name one path.')
  if compare:
    raise UserError('The standard output takes one picture: leave out --compare.')
  source = None if paths[0] == STREAM else Path(paths[0])
  if source is not None and not source.is_file():
    raise UserError(f'{source} is not a file, and the standard output takes one picture.')
  if output == STREAM:
    return Job(source, None)
  target = Path(output)
  if target.suffix.lower() not in FORMAT_OF or target.is_dir():
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


def _job(source: Path | None, inside: Path, root: Path, format: str | None, compare: bool) -> Job:
  """The job for a picture and its place below the output folder."""
  if format is not None and FORMAT_OF.get(inside.suffix.lower()) != format:
    known = inside.suffix.lower() in FORMAT_OF
    inside = inside.with_name((inside.stem if known else inside.name) + FORMATS[format][0])
  target = root / inside
  beside = target.with_name(f'{target.stem}.compare{target.suffix}')
  return Job(source, target, beside if compare else None)


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


def _pictures(argument: str, output: Path, unreadable: list[str]) -> Iterator[tuple[Path, Path]]:
  """Yields (file, its place below the output) of one argument."""
  try:
    is_folder = stat.S_ISDIR(os.stat(argument).st_mode)
  except OSError as error:
    if not glob.has_magic(argument):
      raise UserError(f'{argument} cannot be opened: {error.strerror}.') from error
    yield from _matches(argument, output, unreadable)
    return
  if is_folder:
    for path in _walk(Path(argument), output, unreadable):
      yield path, path.relative_to(argument)
  else:
    yield Path(argument), Path(Path(argument).name)


def _matches(pattern: str, output: Path, unreadable: list[str]) -> Iterator[tuple[Path, Path]]:
  parts = Path(pattern).parts
  fixed = next(number for number, part in enumerate(parts) if glob.has_magic(part))
  base = Path(*parts[:fixed])
  excluded = _inner(output, base)
  matches = sorted(glob.glob(pattern, recursive=True))
  if not matches:
    raise UserError(f'{pattern} matches no file.')
  for match in map(Path, matches):
    paths = _walk(match, output, unreadable) if match.is_dir() else [match]
    for path in paths:
      outside = excluded is None or not Path(os.path.realpath(path)).is_relative_to(excluded)
      if path.suffix.lower() in FORMAT_OF and outside:
        yield path, path.relative_to(base)


def _walk(folder: Path, output: Path, unreadable: list[str]) -> Iterator[Path]:
  """Yields the pictures below a folder, links followed once."""

  def failed(error: OSError) -> None:
    unreadable.append(f'{error.filename} cannot be listed: {error.strerror}.')

  seen = {_inner(output, folder)}
  for place, folders, files in os.walk(folder, onerror=failed, followlinks=True):
    if os.path.realpath(place) in seen:
      folders.clear()
      continue
    seen.add(os.path.realpath(place))
    folders[:] = sorted(name for name in folders if not name.startswith('.'))
    for name in sorted(files):
      if Path(name).suffix.lower() in FORMAT_OF and not name.startswith('.'):
        yield Path(place, name)


def _inner(output: Path, folder: Path) -> str | None:
  """The real path of the output folder if it lies below another folder, else None."""
  inner, outer = os.path.realpath(output), os.path.realpath(folder)
  return inner if outer in map(str, Path(inner).parents) else None
