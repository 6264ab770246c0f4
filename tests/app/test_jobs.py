"""Which pictures are found, and where their results go."""

import os
import pathlib

import pytest

from degrep_jax.app import jobs
from degrep_jax.common.errors import UserError


@pytest.fixture
def tree(tmp_path, monkeypatch):
  """Makes files in a folder that becomes the current one; names with a / at the end are folders."""
  monkeypatch.chdir(tmp_path)

  def make(*names):
    for name in names:
      path = pathlib.Path(name)
      (path if name.endswith('/') else path.parent).mkdir(parents=True, exist_ok=True)
      if not name.endswith('/'):
        path.write_bytes(b'')
    return tmp_path

  return make


def pairs(paths, output='out', **options):
  """[(source, target)] of the jobs."""
  plan = jobs.plan(paths, output, **options)
  return [(str(job.source), str(job.target)) for job in plan.jobs]


def test_files_go_straight_into_the_output(tree):
  tree('in/deep/a.jpg', 'b.PNG')
  assert pairs(['in/deep/a.jpg', 'b.PNG']) == [
    ('in/deep/a.jpg', 'out/a.jpg'),
    ('b.PNG', 'out/b.PNG'),
  ]


def test_folders_keep_their_structure(tree):
  tree('in/b.tif', 'in/a.jpeg', 'in/x/y/c.webp', 'in/x/d.bmp', 'in/e/', 'in/notes.txt', 'in/.f.png')
  tree('in/.hidden/g.png', 'in/h.jpg.part')
  expected = ['a.jpeg', 'b.tif', 'x/d.bmp', 'x/y/c.webp']
  assert pairs(['in']) == [(f'in/{name}', f'out/{name}') for name in expected]
  assert pairs(['in/']) == pairs(['in'])
  assert [target for _, target in pairs(['.'], '../out')] == [
    f'../out/in/{name}' for name in expected
  ]


def test_patterns_keep_what_is_below_their_fixed_part(tree):
  tree('in/a.jpg', 'in/x/b.jpg', 'in/x/c.png', 'in/x/y/d.jpg', 'in/x/y/e.txt')
  assert pairs(['in/*.jpg']) == [('in/a.jpg', 'out/a.jpg')]
  assert pairs(['in/**/*.jpg']) == [
    ('in/a.jpg', 'out/a.jpg'),
    ('in/x/b.jpg', 'out/x/b.jpg'),
    ('in/x/y/d.jpg', 'out/x/y/d.jpg'),
  ]
  assert pairs(['*/x/?.png']) == [('in/x/c.png', 'out/in/x/c.png')]
  # A folder that matches is taken whole.
  assert pairs(['in/x*']) == [
    ('in/x/b.jpg', 'out/x/b.jpg'),
    ('in/x/c.png', 'out/x/c.png'),
    ('in/x/y/d.jpg', 'out/x/y/d.jpg'),
  ]
  assert pairs(['in/x/y/*']) == [('in/x/y/d.jpg', 'out/d.jpg')]


def test_a_file_that_looks_like_a_pattern_is_a_file(tree):
  tree('a[1].jpg', 'a1.jpg')
  assert pairs(['a[1].jpg']) == [('a[1].jpg', 'out/a[1].jpg')]


def test_links_are_followed_once(tree):
  tree('in/a.jpg', 'other/b.jpg')
  os.symlink('../other', 'in/linked')
  os.symlink('..', 'in/x')
  assert ('in/linked/b.jpg', 'out/linked/b.jpg') in pairs(['in'])
  sources = [os.path.realpath(source) for source, _ in pairs(['in'])]
  assert len(sources) == len(set(sources)) == 2


def test_the_output_is_not_read_again(tree):
  tree('in/a.jpg', 'in/out/a.jpg', 'in/out/x/b.jpg')
  assert pairs(['in'], 'in/out', overwrite=True) == [('in/a.jpg', 'in/out/a.jpg')]
  assert pairs(['in/**/*.jpg'], 'in/out', overwrite=True) == [('in/a.jpg', 'in/out/a.jpg')]


def test_an_output_above_the_pictures_hides_none(tree):
  tree('in/a.jpg')
  assert pairs(['in'], '.') == [('in/a.jpg', 'a.jpg')]
  assert pairs(['in/*.jpg'], '.') == [('in/a.jpg', 'a.jpg')]
  assert pairs(['in'], 'in', format='PNG') == [('in/a.jpg', 'in/a.png')]


def test_a_picture_named_twice_is_done_once(tree):
  tree('in/a.jpg')
  assert pairs(['in', 'in/a.jpg', 'in/*.jpg']) == [('in/a.jpg', 'out/a.jpg')]


def test_a_format_changes_the_names(tree):
  tree('in/a.jpg', 'in/b.JPEG', 'in/c.png', 'raw')
  assert [target for _, target in pairs(['in', 'raw'], format='JPEG')] == [
    'out/a.jpg',
    'out/b.JPEG',
    'out/c.jpg',
    'out/raw.jpg',
  ]


def test_comparisons_stand_beside(tree):
  tree('in/x/a.jpg')
  (job,) = jobs.plan(['in'], 'out', format='PNG', compare=True).jobs
  assert str(job.compare) == 'out/x/a.compare.png'


def test_what_is_there_is_left_out(tree):
  tree('in/a.jpg', 'in/b.jpg', 'out/a.jpg')
  plan = jobs.plan(['in'], 'out')
  assert [job.name for job in plan.jobs] == ['in/b.jpg']
  assert [job.name for job in plan.existing] == ['in/a.jpg']
  assert len(pairs(['in'], overwrite=True)) == 2


def test_one_picture_may_get_a_name(tree):
  tree('in/a.jpg', 'in/b.jpg', 'dir.png/')
  assert pairs(['in/a.jpg'], 'out/c.png') == [('in/a.jpg', 'out/c.png')]
  assert pairs(['in/a.jpg'], 'dir.png') == [('in/a.jpg', 'dir.png/a.jpg')]
  with pytest.raises(UserError, match=r'out\.png is the name of one picture, but there are 2'):
    pairs(['in'], 'out.png')


def test_standard_streams(tree):
  tree('a.jpg')
  for paths, output, job in (
    (['-'], '-', jobs.Job(None, None)),
    (['a.jpg'], '-', jobs.Job(pathlib.Path('a.jpg'), None)),
    (['-'], 'out.png', jobs.Job(None, pathlib.Path('out.png'))),
  ):
    assert jobs.plan(paths, output).jobs == [job]
  for paths, output, words in (
    (['-', 'a.jpg'], '-', 'take one picture'),
    (['-'], 'out', 'has no name for the folder out'),
    (['.'], '-', 'is not a file'),
    (['no.jpg'], '-', 'no.jpg is not a file'),
  ):
    with pytest.raises(UserError, match=words):
      jobs.plan(paths, output)
  with pytest.raises(UserError, match='leave out --compare'):
    jobs.plan(['-'], '-', compare=True)


def test_a_stream_does_not_replace_a_file(tree):
  tree('out.png')
  assert jobs.plan(['-'], 'out.png').existing and not jobs.plan(['-'], 'out.png').jobs
  assert jobs.plan(['-'], 'out.png', overwrite=True).jobs


@pytest.mark.parametrize(
  ('paths', 'output', 'options', 'words'),
  [
    (['no.jpg'], 'out', {}, r'no\.jpg cannot be opened: No such file'),
    (['in/*.gif'], 'out', {}, r'in/\*\.gif matches no file'),
    (['empty'], 'out', {}, r'No pictures in empty: names end with \.jpg, '),
    (['in', 'in2'], 'out', {}, r'in/a\.jpg and in2/a\.jpg would both be written to out/a\.jpg'),
    (
      ['in'],
      'out',
      {'format': 'PNG'},
      r'in/a\.jpg and in/a\.tif would both be written to out/a\.png',
    ),
    (['odd'], 'out', {'compare': True}, r'would both be written to out/a\.compare\.jpg'),
    (['in'], 'in', {}, r'in/a\.jpg is itself one of the pictures'),
    (['in'], 'in', {'overwrite': True}, r'in/a\.jpg is itself one of the pictures'),
    (['in/a.jpg', 'odd/a.compare.jpg'], 'odd', {}, 'is itself one of the pictures'),
    (['in/a.jpg'], 'b.png', {'format': 'JPEG'}, r'b\.png is .* a PNG file, and JPEG is .*\.jpg'),
    (['in/a.jpg'], 'b.heic', {}, r'b\.heic is the name of a picture of a kind that is not written'),
    (['-'], 'b.tif', {'format': 'PNG'}, r'b\.tif is .* a TIFF file, and PNG is .* with \.png'),
  ],
)
def test_what_cannot_be_planned(tree, paths, output, options, words):
  tree('in/a.jpg', 'in/a.tif', 'in2/a.jpg', 'empty/', 'odd/a.jpg', 'odd/a.compare.jpg')
  with pytest.raises(UserError, match=words):
    jobs.plan(paths, output, **options)
