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
    (['n' * 300], '-', 'nn cannot be opened: File name too long'),
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
    (
      ['text'],
      'out',
      {},
      r'No pictures in text \(2 passed over: 1 \.txt, 1 without ending\): names',
    ),
    (['/'], None, {}, 'has nothing beside it: name an --output'),
    (['empty'], 'out', {}, r'No pictures in empty: names end with \.jpg, '),
    (['in', 'in2'], 'out', {}, r'in/a\.jpg and in2/a\.jpg would both be written to out/a\.jpg'),
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
  tree('text/a.txt', 'text/LICENSE')
  with pytest.raises(UserError, match=words):
    jobs.plan(paths, output, **options)


# --- kinds that are only read --------------------------------------------------------------------


def test_the_names_of_results_end_as_what_is_written(tree):
  tree('in/a.heic', 'in/b.HEIF', 'in/c.mpo', 'in/d.ppm', 'in/e.gif', 'in/f.avif')
  # (They are empty; what is in them, test_kinds.py tries.)
  assert [target for _, target in pairs(['in'])] == [
    'out/a.jpg',
    'out/b.jpg',
    'out/c.jpg',
    'out/d.png',
    'out/e.png',
    'out/f.avif',
  ]
  assert pairs(['in/a.heic'], format='TIFF') == [('in/a.heic', 'out/a.tif')]
  assert pairs(['in/a.heic'], 'out/b.png') == [('in/a.heic', 'out/b.png')]


def test_two_kinds_of_one_name_keep_apart(tree):
  tree('in/a.HEIC', 'in/a.jpg', 'in/b.heic')
  assert pairs(['in']) == [
    ('in/a.HEIC', 'out/a.HEIC.jpg'),
    ('in/a.jpg', 'out/a.jpg'),
    ('in/b.heic', 'out/b.jpg'),
  ]
  assert [target for _, target in pairs(['in'], format='PNG')] == [
    'out/a.HEIC.png',
    'out/a.jpg.png',
    'out/b.png',
  ]


# --- without an output ---------------------------------------------------------------------------


def test_results_go_beside_their_pictures(tree):
  tree('in/a.jpg', 'in/b.HEIC', 'c.png')
  plan = jobs.plan(['in/a.jpg', 'in/b.HEIC', 'c.png'], None, infix='deblurred', compare=True)
  assert plan.beside
  assert [(str(job.target), str(job.compare)) for job in plan.jobs] == [
    ('in/a.deblurred.jpg', 'in/a.deblurred.compare.jpg'),
    ('in/b.deblurred.jpg', 'in/b.deblurred.compare.jpg'),
    ('c.deblurred.png', 'c.deblurred.compare.png'),
  ]
  assert pairs(['-'], None) == [('None', 'None')]


def test_results_of_folders_go_into_folders_beside(tree, monkeypatch):
  tree('in/x/a.jpg', 'in/b.jpg')
  expected = [('in/b.jpg', 'in.restored/b.jpg'), ('in/x/a.jpg', 'in.restored/x/a.jpg')]
  assert pairs(['in'], None) == pairs(['in/'], None) == expected
  monkeypatch.chdir('in')
  ((_, target), _) = pairs(['.'], None)
  assert pathlib.Path(target).parts[-2:] == ('in.restored', 'b.jpg')


def test_results_of_an_earlier_call_are_no_pictures(tree):
  tree('in/a.jpg', 'in/a.restored.jpg', 'in/a.restored.compare.jpg', 'in/b.restored.jpg')
  for paths in (['in/*.jpg'], sorted(map(str, pathlib.Path('in').iterdir()))):
    plan = jobs.plan(paths, None)
    # (The last one is nobody's.)
    assert [job.name for job in plan.jobs] == ['in/b.restored.jpg']
    assert [job.name for job in plan.existing] == ['in/a.jpg']


def test_folders_of_results_are_no_pictures_either(tree):
  tree(
    'in/b.jpg',
    'in/x/a.jpg',
    'in/x.restored/e.jpg',
    'in/x.restored/deep/c.jpg',
    'in/y.restored/d.jpg',
  )
  for paths in (['in'], ['in/*'], sorted(map(str, pathlib.Path('in').iterdir()))):
    names = [name for name, _ in pairs(paths, None)]
    # (y is nobody's.)
    assert sorted(names) == ['in/b.jpg', 'in/x/a.jpg', 'in/y.restored/d.jpg']


def test_what_a_pattern_matches_twice_is_done_once(tree):
  tree('in/x/a.jpg', 'in/x/deep/b.jpg', 'in/c.jpg')
  assert pairs(['in/**'], None) == pairs(['in'], None)
  assert pairs(['in/**/*.jpg'], None)[0] == ('in/c.jpg', 'in/c.restored.jpg')
  assert pairs(['in/*'], None) == [
    ('in/c.jpg', 'in/c.restored.jpg'),
    ('in/x/a.jpg', 'in/x.restored/a.jpg'),
    ('in/x/deep/b.jpg', 'in/x.restored/deep/b.jpg'),
  ]


# --- what is passed over -------------------------------------------------------------------------


def test_files_that_are_not_read_are_counted_by_kind(tree):
  tree('in/a.jpg', 'in/b.mov', 'in/x/c.MOV', 'in/d.txt', 'in/LICENSE')
  tree('in/.DS_Store', 'in/._a.jpg', 'in/Thumbs.db', 'in/x/desktop.ini', 'in/.hidden/e.mov')
  expected = '4 passed over: 2 .mov, 1 .txt, 1 without ending'
  for paths in (['in'], ['in', 'in'], ['in/**'], ['in/**', 'in/*']):
    assert jobs.plan(paths, 'out').passed_over == expected, paths
  assert jobs.plan(['in/a.jpg'], 'out').passed_over == ''


def test_cameras_raw_files_are_called_so(tree):
  tree('in/a.jpg', 'in/b.NEF', 'in/c.cr3', 'in/d.cr3', 'in/e.txt')
  expected = (
    '4 passed over: 2 .cr3 (raw: develop them first), 1 .nef (raw: develop them first), 1 .txt'
  )
  assert jobs.plan(['in'], 'out').passed_over == expected
