"""Which restored file belongs to which pair."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degrep_jax.common.errors import UserError
from degrep_jax.evaluation.restored_folder import find_pictures, match_pictures

NAMES = ('GOPR01/000001', 'GOPR01/000002', 'GOPR02/000001')


def lay(root, *files):
  for file in files:
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'')
  return root


@pytest.mark.parametrize(
  'form',
  [
    '{}/{}.png',
    '{}/{}.jpg',
    '{}/{}.PNG',
    'test/{}/{}.png',
    '{}/blur/{}.png',
    'results/test/{}/sharp/{}.jpeg',
    '{}_{}.png',
    '{}-{}.png',
    'test/{}_{}.png',
  ],
)
def test_layouts_of_other_programs_are_read(tmp_path, form):
  files = [form.format(*name.split('/')) for name in NAMES]
  lay(tmp_path, *files, 'readme.txt', 'other/000009.png', '.hidden.png')
  assert match_pictures(tmp_path, NAMES) == [tmp_path / file for file in files]


@pytest.mark.parametrize(
  'form', ['{}-{}.png', '{}/{}.png', 'target/{}-{}.png', 'x/{}/input/{}.jpg']
)
def test_pairs_with_flat_names(tmp_path, form):
  """Of the copies that most programs ask for, restored from either layout."""
  files = [form.format(*name.split('/')) for name in NAMES]
  lay(tmp_path, *files, 'other/000009.png')
  flat = [name.replace('/', '-') for name in NAMES]
  assert match_pictures(tmp_path, flat) == [tmp_path / file for file in files]


def test_two_files_for_one_flat_name_are_refused(tmp_path):
  lay(tmp_path, 'GOPR01/000001.png', 'GOPR01-000001.png')
  refused(tmp_path, ['GOPR01-000001'], 'GOPR01/000001.png', 'GOPR01-000001.png', 'keep one')


FOLDER = st.text('abAB019', min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(
  names=st.sets(st.tuples(FOLDER, FOLDER), min_size=1, max_size=6),
  own=st.sampled_from('/-_'),
  theirs=st.sampled_from('/-_'),
  above=st.sampled_from(('', 'results/', 'test/input/')),
)
def test_every_picture_is_found_whatever_joins_its_names(names, own, theirs, above):
  names = sorted(names)
  with tempfile.TemporaryDirectory() as root:
    files = [f'{above}{theirs.join(name)}.png' for name in names]
    lay(Path(root), *files)
    if own == theirs or '/' in (own, theirs):
      found = match_pictures(root, [own.join(name) for name in names])
      assert found == [Path(root, file) for file in files]
    else:  # - and _ are two names
      with pytest.raises(UserError, match='lacks'):
        match_pictures(root, [own.join(name) for name in names])


def test_stems_do_where_they_are_of_one_pair(tmp_path):
  lay(tmp_path, '000002.png', '000001.png')
  found = match_pictures(tmp_path, NAMES[:2])
  assert found == [tmp_path / '000001.png', tmp_path / '000002.png']


def test_part_of_a_long_path_will_do(tmp_path):
  names = ('RealBlur-J/scene001/blur_1', 'RealBlur-J/scene002/blur_1')
  files = ['scene001_blur_1.png', 'scene002/blur_1.png']
  lay(tmp_path, *files)
  assert match_pictures(tmp_path, names) == [tmp_path / file for file in files]


def test_the_longest_path_decides(tmp_path):
  lay(tmp_path, '000001.png', 'GOPR01/000001.png', 'test/GOPR01/000002.png', '000002.png')
  found = match_pictures(tmp_path, NAMES[:2])
  assert found == [tmp_path / 'GOPR01/000001.png', tmp_path / 'test/GOPR01/000002.png']


def test_names_with_spaces_and_other_letters(tmp_path):
  names = ('été 1/où est.le chat', 'été 2/où est.le chat')
  lay(tmp_path, *(f'{name}.png' for name in names))
  assert match_pictures(tmp_path, names) == [tmp_path / f'{name}.png' for name in names]


def refused(root, names, *words):
  with pytest.raises(UserError) as caught:
    match_pictures(root, names)
  for word in words:
    assert word in str(caught.value)


def test_missing_pictures_are_named(tmp_path):
  lay(tmp_path, 'GOPR01/000001.png')
  refused(tmp_path, NAMES, 'lacks 2 of 3', 'GOPR01/000002', 'GOPR02/000001')
  many = [f'a/{number}' for number in range(9)]
  refused(tmp_path, many, 'lacks 9 of 9', 'a/0, a/1, a/2 and 6 more')


def test_another_sequences_pictures_are_not_taken(tmp_path):
  lay(tmp_path, 'GOPR03/000001.png', 'GOPR03/000002.png')
  refused(tmp_path, NAMES[:2], 'lacks 2 of 2')


def test_two_files_for_one_pair_are_refused(tmp_path):
  lay(tmp_path, 'GOPR01/000001.png', 'GOPR01/000001.jpg')
  refused(tmp_path, NAMES[:1], 'GOPR01/000001.jpg', 'GOPR01/000001.png', 'keep one')


def test_one_file_for_two_pairs_is_refused(tmp_path):
  lay(tmp_path, '000001.png', '000002.png')
  refused(tmp_path, NAMES, '000001.png fits several pairs', f'{tmp_path}/GOPR01/000001.png')


def test_nothing_to_score(tmp_path):
  refused(tmp_path, NAMES, 'holds no pictures')
  refused(tmp_path / 'no', NAMES, f'no folder {tmp_path / "no"}')


def test_pictures_are_found_in_order(tmp_path):
  elsewhere = tmp_path / 'elsewhere'
  lay(elsewhere, 'd.png')
  tmp_path = tmp_path / 'root'
  lay(tmp_path, 'b.png', 'a/z.webp', 'a/b/c.tif', 'a/b/notes.txt', '.thumbnails/b.png', '.c.png')
  (tmp_path / 'up').symlink_to(tmp_path)
  found = [path.relative_to(tmp_path) for path in find_pictures(tmp_path)]
  assert found == [Path('a/b/c.tif'), Path('a/z.webp'), Path('b.png')]
  (tmp_path / 'linked').symlink_to(elsewhere)
  assert find_pictures(tmp_path)[-1] == tmp_path / 'linked/d.png'
