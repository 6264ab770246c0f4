"""Which paths are pairs, whatever the folders of the two halves are called."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from degrep_jax.common.errors import UserError
from degrep_jax.data.folders import (
  BLURRY,
  CROPS,
  GAMMA,
  ROLES,
  SHARP,
  SUFFIXES,
  Found,
  find_pairs,
  split,
)

quick = settings(max_examples=60, deadline=None)


def located(path):
  return f'root/{path}'.rstrip('/')


def found(*paths, **options):
  return find_pairs(paths, located, **options)


def refused(*paths, **options):
  with pytest.raises(UserError) as refusal:
    found(*paths, **options)
  assert '\n' not in str(refusal.value)
  return str(refusal.value)


# Names that a folder or a file may have and that tell nothing by themselves.
PLAIN = st.text('abcXYZ0189 .é', min_size=1, max_size=6).filter(
  lambda name: name.strip('.') and not name.startswith('.')
)
PARENTS = st.lists(PLAIN, max_size=3).map('/'.join)
WITHIN = st.lists(PLAIN, min_size=1, max_size=2).map('/'.join)


@quick
@given(
  pairs=st.sets(st.tuples(PARENTS, WITHIN), min_size=1, max_size=8),
  blurry=st.sampled_from(BLURRY),
  sharp=st.sampled_from(SHARP),
  cut=st.booleans(),
  suffixes=st.tuples(*[st.sampled_from(SUFFIXES)] * 2),
  seed=st.integers(0, 2**32),
  capital=st.booleans(),
)
def test_pairs_are_found_under_all_names_of_folders_in_any_order(
  pairs, blurry, sharp, cut, suffixes, seed, capital
):
  halves = [name + CROPS * cut for name in (blurry, sharp)]
  if capital:
    halves = [half.upper() for half in halves]
  files = {
    '/'.join(filter(None, (parent, within))): [
      '/'.join(filter(None, (parent, half, within + suffix)))
      for half, suffix in zip(halves, suffixes, strict=True)
    ]
    for parent, within in pairs
  }
  paths = [path for two in files.values() for path in two]
  random.Random(seed).shuffle(paths)
  noise = ['readme.txt', 'a/b/notes.png', f'{halves[0]}/list.txt', f'{GAMMA}/000009.png']
  expected = tuple((name, *files[name]) for name in sorted(files))
  if not cut:
    assert found(*paths) == found(*paths, *noise[:3]) == Found(expected, ())
  assert found(*paths, crops=cut) == Found(expected, ())


@pytest.mark.parametrize('part', ['train', 'val'])
def test_reds_as_it_is_unpacked(part):
  paths = [f'{part}/{part}_{half}/000/00000007.png' for half in ('blur', 'sharp')]
  assert found(*paths, f'{part}/{part}_blur_jpeg/000/00000007.png').pairs == (
    (f'{part}/000/00000007', *paths),
  )
  assert 'train_blur/ and val_blur/, which both stand for blurry' in refused(
    'train_blur/1.png', 'val_blur/1.png', 'train_sharp/1.png', 'val_sharp/1.png'
  )
  assert 'has pictures in train_blur/ but none in sharp/' in refused('train_blur/1.png')


@quick
@given(
  names=st.sets(WITHIN, min_size=1, max_size=8),
  left=st.sampled_from(('sharp', 'blurry')),
  data=st.data(),
)
def test_halves_of_pairs_are_counted_and_the_first_is_named(names, left, data):
  lost = data.draw(st.sets(st.sampled_from(sorted(names)), max_size=len(names) - 1))
  halves = {'blurry': 'input', 'sharp': 'target'}
  paths = [
    f'{folder}/{name}.png'
    for half, folder in halves.items()
    for name in names
    if half != left or name not in lost
  ]
  if not lost:
    assert len(found(*paths).pairs) == len(names)
  elif left == 'blurry':
    there = found(*paths)
    assert there.alone == tuple(sorted(f'target/{name}.png' for name in lost))
    assert len(there.pairs) == len(names) - len(lost)
  else:
    first = sorted(f'input/{name}.png' for name in lost)[0]
    message = refused(*paths)
    assert f'root/{first} has no sharp partner' in message
    assert f'{len(lost)} of {len(names)} blurry pictures' in message


@pytest.mark.parametrize(
  ('layout', 'name'),
  [
    ('GoPro/train/SEQ/{}/000047.png', 'GoPro/train/SEQ/000047'),
    ('train/{}/GOPR0372_07_00-000047.png', 'train/GOPR0372_07_00-000047'),
    ('train/{}/GOPR0372_07_00-000047_s001.png', 'train/GOPR0372_07_00-000047_s001'),
    ('{}/000/00000006.png', '000/00000006'),
    ('{}/1.PNG', '1'),
    ('input/{}/1.png', 'input/1'),  # the folder next to the file tells
  ],
)
def test_layouts(layout, name):
  for blurry, sharp in itertools.product(BLURRY, SHARP):
    files = layout.format(blurry), layout.format(sharp)
    assert found(*files).pairs == ((name, *files),)


@pytest.mark.parametrize(
  ('blurry', 'sharp', 'name'),
  [
    ('scene001/blur/blur_7.png', 'scene001/gt/gt_7.png', 'scene001/blur_7'),  # RealBlur
    ('input/scene2_blur_7.png', 'target/scene2_gt_7.png', 'scene2_blur_7'),
    ('input/1fromGOPR0950.MP4.png', 'target/1fromGOPR0950.png', '1fromGOPR0950.MP4'),  # HIDE
    ('blur/blurred-7.png', 'sharp/blurred-7.jpg', 'blurred-7'),
  ],
)
def test_what_partners_may_differ_in(blurry, sharp, name):
  assert found(blurry, sharp).pairs == ((name, blurry, sharp),)


def test_the_same_name_is_nearer_than_the_same_stem():
  paths = ('blur/1.png', 'blur/2.jpg', 'sharp/1.png', 'sharp/1.jpg', 'sharp/2.png')
  assert found(*paths) == Found(
    (('1', 'blur/1.png', 'sharp/1.png'), ('2', 'blur/2.jpg', 'sharp/2.png')), ('sharp/1.jpg',)
  )


def test_several_partners_are_refused_by_name():
  message = refused('blur/1.bmp', 'sharp/1.jpg', 'sharp/1.png')
  assert (
    'root/blur/1.bmp has several sharp partners, root/sharp/1.jpg and root/sharp/1.png' in message
  )


@pytest.mark.parametrize(
  ('folders', 'named'),
  [
    (('blur', 'input', 'sharp'), ('blur/ and input/', 'blurry')),
    (('blur', 'sharp', 'gt'), ('gt/ and sharp/', 'sharp')),
    (('input', 'target', 'sharp'), ('sharp/ and target/', 'sharp')),
    (('blur', 'sharp', 'input', 'target'), ('blur/ and input/', 'blurry')),
    (('blur', 'GT', 'gt'), ('GT/ and gt/', 'sharp')),
  ],
)
def test_two_candidates_are_refused_by_name(folders, named):
  message = refused(*(f'a/{folder}/1.png' for folder in folders))
  assert f'root/a has {named[0]}, which both stand for {named[1]} pictures' in message


def test_folders_without_pictures_are_no_candidates():
  paths = ('blur/1.png', 'sharp/1.png', 'target/debug/build.rs', 'input/list.txt')
  assert found(*paths).pairs == (('1', *paths[:2]),)


def test_the_other_blur_is_never_taken():
  paths = ('S/blur/1.png', 'S/blur_gamma/1.png', 'S/sharp/1.png')
  assert found(*paths).pairs == (('S/1', paths[0], paths[2]),)
  message = refused(*paths[1:])
  assert 'root/S has blur_gamma/ but no blur/' in message
  assert 'averaged in linear light' in message and 'rename the folder' in message


@pytest.mark.parametrize(
  ('there', 'lacking'), [('blur', 'sharp/ or target/ or gt/'), ('gt', 'blur/ or input/')]
)
def test_half_of_the_folders(there, lacking):
  message = refused('a/blur/1.png', 'a/sharp/1.png', f'b/{there}/1.png')
  assert f'root/b has pictures in {there}/ but none in {lacking} beside it' in message


CUT = ('train/blur_crops/1_s001.png', 'train/sharp_crops/1_s001.png')
WHOLE = ('train/input/1.png', 'train/target/1.png')


def test_sub_pictures_beside_whole_pictures():
  """As the released code's data lie after its gopro.py."""
  assert found(*CUT, *WHOLE).pairs == (('train/1', *WHOLE),)
  assert found(*CUT, *WHOLE, crops=True).pairs == (('train/1_s001', *CUT),)
  assert found(*CUT) == found(*CUT, crops=True)
  assert found(*WHOLE, crops=True).pairs == ()


def test_two_blurry_files_of_one_name():
  assert 'root has two blurry files for 1' in refused('blur/1.png', 'blur/1.bmp', 'sharp/1.png')


def test_paths_of_no_half():
  assert split('a/b.png') is None and split('blur') is None and split('sharp.png') is None
  assert split('a/input/b/c.png') == ('a', 'input', 'b/c.png')
  assert {role.lower() for role in ROLES} == ROLES
  assert found() == found('a/b.png', 'readme') == Found((), ())
