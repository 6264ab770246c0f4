"""Which pairs a tree of a released dataset holds, and which it lacks."""

import re
from pathlib import Path

import pytest

from degrep_jax.common.errors import UserError
from degrep_jax.data.released.layouts import (
  DATASETS,
  SEQUENCES,
  Item,
  Layout,
  count_warnings,
  read_layout,
  told_by_names,
)
from degrep_jax.data.released.trees import Tree

GOPRO = DATASETS['gopro']


def tree(*paths, **texts):
  """A tree of these paths; `texts` are the files that can be read."""
  contents = {f'{name}.txt': text.encode() for name, text in texts.items()}
  return Tree(Path('src'), contents.__getitem__, tuple(sorted((*paths, *contents))))


def gopro(*frames, root=''):
  return [
    f'{root}{split}/{sequence}/{kind}/{number:06}.png'
    for split, sequence, number in frames
    for kind in ('blur', 'blur_gamma', 'sharp')
  ]


FRAMES = (('train', 'GOPR0374_11_00', 5), ('train', 'GOPR0372_07_00', 47), ('test', 'A B é', 1))


@pytest.mark.parametrize('root', ['', 'GOPRO_Large/', 'a/b/'])
def test_gopro(root):
  layout = read_layout(GOPRO, tree(*gopro(*FRAMES, root=root), f'{root}README.txt'))
  assert [item.name for item in layout.splits['train']] == [
    'GOPR0372_07_00/000047',
    'GOPR0374_11_00/000005',
  ]
  (held_out,) = layout.splits['test']
  assert held_out.blurry == f'{root}test/A B é/blur/000001.png'
  assert held_out.sharp == f'{root}test/A B é/sharp/000001.png'
  assert layout.extra == (f'{root}README.txt',)


@pytest.mark.parametrize(
  ('frames', 'named'),
  [
    ([47, 48, 50, 53], 'GOPR0372_07_00/000049'),
    ([48, 49], 'GOPR0372_07_00/000047'),
    ([47, 48], 'GOPR0372_07_00/000049'),  # a download that ended there
    (range(47, 147), 'GOPR0372_07_01'),  # the next sequence as a whole
  ],
)
def test_gopro_names_the_first_that_is_missing(frames, named):
  paths = gopro(*(('train', 'GOPR0372_07_00', number) for number in frames))
  train, test = count_warnings(GOPRO, read_layout(GOPRO, tree(*paths)))
  assert train == (
    f'GoPro: train has {len(frames)} of 2,103 pairs: {2103 - len(frames):,} are missing, the first '
    f'is {named}.'
  )
  assert test == (
    'GoPro: test has 0 of 1,111 pairs: 1,111 are missing, the first is GOPR0384_11_00.'
  )


def test_missing_names_have_the_digits_of_those_that_are_there():
  paths = [f'train/GOPR0372_07_00/{kind}/{n}.png' for kind in ('blur', 'sharp') for n in (47, 49)]
  train, _ = count_warnings(GOPRO, read_layout(GOPRO, tree(*paths)))
  assert train.endswith('the first is GOPR0372_07_00/48.')


def test_the_frames_of_all_sequences_are_as_many_as_released():
  frames = {
    split: [
      f'{sequence}-{number:06}'
      for sequence, (first, last) in SEQUENCES[split].items()
      for number in range(first, last + 1)
    ]
    for split in SEQUENCES
  }
  assert {split: len(names) for split, names in frames.items()} == GOPRO.counts
  assert not [*told_by_names(frames['test'], 'test')]
  (told,) = told_by_names(frames['test'][:-1], 'test')
  assert told.endswith(': 1 are missing, the first is GOPR0881_11_01-000300.')


def test_the_released_counts_need_no_warning():
  items = tuple(Item(str(number), '', '') for number in range(2103))
  counts = {'train': items, 'test': items[:1111]}
  assert not list(count_warnings(GOPRO, Layout(counts)))
  (more,) = count_warnings(GOPRO, Layout(counts | {'test': items[:1112]}))
  assert more == 'GoPro: test has 1,112 of 1,111 pairs, 1 more than released.'


@pytest.mark.parametrize(
  ('left_out', 'message'),
  [
    ('sharp/000001.png', r'src/train/S/blur/000001\.png has no sharp partner; 1 of 2 blurry'),
    ('blur/000001.png', r'src/train/S/sharp/000001\.png has no blurry partner; 1 sharp'),
  ],
)
def test_gopro_halves_of_pairs(left_out, message):
  paths = gopro(('train', 'S', 1), ('train', 'S', 2))
  with pytest.raises(UserError, match=message):
    read_layout(GOPRO, tree(*(path for path in paths if not path.endswith(left_out))))


def test_two_copies_of_a_dataset():
  paths = gopro(FRAMES[0]) + gopro(FRAMES[0], root='copy/')
  with pytest.raises(UserError, match='there twice, in src and in src/copy: name one'):
    read_layout(GOPRO, tree(*paths))


@pytest.mark.parametrize('name', DATASETS)
def test_another_tree(name):
  with pytest.raises(UserError, match=r'No pairs of .* in src: it needs'):
    read_layout(DATASETS[name], tree('blur/1.png', 'sharp/1.png', 'README.txt'))


FLAT = ('GOPR0384_11_00-000001', 'GOPR0384_11_00-000003')


def flat(*names, folders=('input', 'target'), top='test/'):
  return [f'{top}{folder}/{name}.png' for folder in folders for name in names]


@pytest.mark.parametrize('top', ['test/', 'GoPro/test/', 'Datasets/test/GoPro/', 'a/gopro/test/'])
def test_gopro_as_most_programs_ask_for_it(top):
  others = flat('1fromGOPR1', top='Datasets/test/HIDE/') + flat('a-000001', top='RealBlur_J/test/')
  layout = read_layout(GOPRO, tree(*flat(*FLAT, top=top), *others, f'{top}notes.txt'))
  assert [item.name for item in layout.splits['test']] == [*FLAT]
  assert layout.splits['test'][0].sharp == f'{top}target/{FLAT[0]}.png'
  # 98 of the sequence's hundred, and the next sequence as a whole.
  first, second, *_, last, following = layout.missing['test'][:99]
  assert (first, second) == ('GOPR0384_11_00-000002', 'GOPR0384_11_00-000004')
  assert (last, following) == ('GOPR0384_11_00-000100', 'GOPR0384_11_05')
  assert layout.extra == tuple(sorted((*others, f'{top}notes.txt')))


def test_sub_pictures_count_as_the_pictures_that_they_are_of():
  names = [f'GOPR0372_07_00-{number:06}_s{part:03}' for number in (47, 48) for part in range(1, 9)]
  paths = flat(*names, folders=('blur_crops', 'sharp_crops'), top='train/')
  layout = read_layout(GOPRO, tree(*paths))
  assert [item.name for item in layout.splits['train']] == names and layout.is_cut
  train, _ = count_warnings(GOPRO, layout)
  assert train == (
    'GoPro: train has 2 of 2,103 pairs: 2,101 are missing, the first is GOPR0372_07_00-000049.'
  )
  whole = flat('GOPR0372_07_00-000047', top='train/')
  assert not read_layout(GOPRO, tree(*paths, *whole)).is_cut


@pytest.mark.parametrize('name', ['hide', 'realblur_j'])
@pytest.mark.parametrize(
  ('top', 'split'), [('', 'test'), ('test/', 'test'), ('train/', 'train'), ('{}/', 'test')]
)
def test_copies_of_other_datasets(name, top, split):
  folder = {'hide': 'HIDE', 'realblur_j': 'RealBlur_J'}[name]
  names = ('1fromGOPR0950', '2fromGOPR1096.MP4')
  paths = flat(*names, top=top.format(folder))
  place = Tree(Path('/data', folder), {}.__getitem__, tuple(sorted(paths)))
  layout = read_layout(DATASETS[name], place)
  assert {of: [item.name for item in items] for of, items in layout.splits.items()} == {
    split: [*names]
  }


@pytest.mark.parametrize(
  'name', ['RealBlur-J_ECC_IMCORR-scene001', 'RealBlur_J_0001', 'realblur_j']
)
def test_files_that_are_called_by_their_dataset_keep_their_names(name):
  paths = flat(f'{name}-1', f'{name}-2', top='RealBlur_J/test/')
  layout = read_layout(DATASETS['realblur_j'], tree(*paths))
  assert [item.name for item in layout.splits['test']] == [f'{name}-1', f'{name}-2']


@pytest.mark.parametrize('splits', [('test',), ('train', 'test')])
def test_a_copy_of_hide_whose_sharp_folder_is_called_gt(splits):
  names = '1fromGOPR0950', '2fromGOPR1096.MP4'
  paths = [
    f'HIDE/{split}/{kind}/{name}.png'
    for split in splits
    for kind in ('input', 'GT')
    for name in names
  ]
  layout = read_layout(DATASETS['hide'], tree(*paths))
  found = {split: [item.name for item in items] for split, items in layout.splits.items()}
  assert found == {split: [*names] for split in splits}


def test_a_copy_that_is_not_called_by_its_camera_is_not_realblur():
  for place in ('pictures', 'RealBlur_R', 'RealBlur_R.zip'):
    copy = Tree(Path(place), {}.__getitem__, tuple(flat('1', '2')))
    with pytest.raises(UserError, match='No pairs of RealBlur-J in'):
      read_layout(DATASETS['realblur_j'], copy)
  copy = Tree(Path('RealBlur_R.tar.gz'), {}.__getitem__, tuple(flat('1', '2')))
  assert len(read_layout(DATASETS['realblur_r'], copy).splits['test']) == 2


def test_hide_lacks_what_its_sharp_pictures_tell():
  names = ('1fromGOPR0950', '2fromGOPR0950', '3fromGOPR0950')
  paths = flat(*names)
  paths.remove('test/input/2fromGOPR0950.png')
  _, warning = count_warnings(DATASETS['hide'], read_layout(DATASETS['hide'], tree(*paths)))
  assert warning.endswith('2,023 are missing, the first is 2fromGOPR0950.')


@pytest.mark.parametrize(
  ('names', 'split', 'told'),
  [
    (FLAT, 'test', 'GoPro: test has 2 of 1,111 pairs: 1,109 are missing, the first is GOPR.*2.$'),
    (FLAT, 'train', ''),  # no training sequence
    (('a/1fromGOPR0950',), 'test', r'HIDE: test has 1 of 2,025 pairs: .* names cannot be told'),
    ((*FLAT, '1fromGOPR0950'), 'test', ''),
    (('000001',), 'test', ''),
    (FLAT, 'validation', ''),
  ],
)
def test_what_names_tell(names, split, told):
  sentences = [*told_by_names(names, split)]
  assert bool(sentences) == bool(told)
  assert re.match(told, ''.join(sentences))


HIDE = (
  'test/test-long-shot/9fromGOPR1002.png',
  'test/test-close-ups/1fromGOPR1096.MP4.png',
  'GT/9fromGOPR1002.png',
  'GT/1fromGOPR1096.png',
)
HIDE_TRAIN = ('train/7fromGOPR1001.png', 'GT/7fromGOPR1001.png')


@pytest.mark.parametrize('root', ['', 'HIDE_dataset/HIDE_dataset/'])
def test_hide(root):
  paths = [root + path for path in (*HIDE, *HIDE_TRAIN)]
  layout = read_layout(DATASETS['hide'], tree(*paths))
  assert [(item.name, item.sharp) for item in layout.splits['test']] == [
    ('test-close-ups/1fromGOPR1096.MP4', f'{root}GT/1fromGOPR1096.png'),
    ('test-long-shot/9fromGOPR1002', f'{root}GT/9fromGOPR1002.png'),
  ]
  assert [item.name for item in layout.splits['train']] == ['7fromGOPR1001']
  assert not layout.extra


def test_hide_without_training_pairs():
  assert list(read_layout(DATASETS['hide'], tree(*HIDE)).splits) == ['test']


def test_hide_names_the_first_that_is_missing():
  train = [f'{folder}/{n}fromGOPR1.png' for n in range(6397) for folder in ('train', 'GT')]
  layout = read_layout(DATASETS['hide'], tree(*HIDE, *train, 'GT/b.png', 'GT/a.png'))
  (warning,) = count_warnings(DATASETS['hide'], layout)
  assert warning == 'HIDE: test has 2 of 2,025 pairs: 2,023 are missing, the first is a.'


def test_hide_without_a_sharp_partner():
  with pytest.raises(UserError, match=r'src/test/test-long-shot/9.*\.png has no sharp partner'):
    read_layout(DATASETS['hide'], tree(*(path for path in HIDE if path != HIDE[2])))


def realblur(*scenes, camera='J', root=''):
  pairs = [
    [f'RealBlur-{camera}/scene{scene:03}/{kind}/{kind}_1.png' for kind in ('gt', 'blur')]
    for scene in scenes
  ]
  return [root + path for files in pairs for path in files], '\n'.join(map(' '.join, pairs))


def test_realblur_keeps_the_order_of_its_lists():
  paths, _ = realblur(1, 4, 2)
  texts = {
    'RealBlur_J_train_list': realblur(4, 1)[1],
    'RealBlur_J_test_list': realblur(2)[1],
    'RealBlur_R_test_list': realblur(9, camera='R')[1],
  }
  stray = 'RealBlur-J/scene001/blur/blur_2.png'
  layout = read_layout(DATASETS['realblur_j'], tree(*paths, stray, 'README', **texts))
  assert [item.name for item in layout.splits['train']] == [
    'RealBlur-J/scene004/blur/blur_1',
    'RealBlur-J/scene001/blur/blur_1',
  ]
  (held_out,) = layout.splits['test']
  assert held_out.sharp == 'RealBlur-J/scene002/gt/gt_1.png'
  assert layout.extra == (stray,)


def test_realblur_names_the_first_that_is_missing():
  paths, _ = realblur(1)
  texts = {'RealBlur_R_test_list': realblur(3, 1, 2)[1]}
  paths = [path.replace('-J', '-R') for path in paths]
  texts = {name: text.replace('-J', '-R') for name, text in texts.items()}
  layout = read_layout(DATASETS['realblur_r'], tree(*paths, **texts))
  assert [item.name for item in layout.splits['test']] == ['RealBlur-R/scene001/blur/blur_1']
  train, test = count_warnings(DATASETS['realblur_r'], layout)
  assert 'train has 0 of 3,758 pairs' in train
  assert test == (
    'RealBlur-R: test has 1 of 980 pairs: 979 are missing, the first is '
    'RealBlur-R/scene003/blur/blur_1.'
  )


@pytest.mark.parametrize('half', [0, 1])
def test_realblur_halves_of_pairs(half):
  paths, text = realblur(1)
  with pytest.raises(UserError, match=r'src/RealBlur-J/scene001/.*\.png has no partner src/'):
    read_layout(DATASETS['realblur_j'], tree(paths[half], RealBlur_J_test_list=text))


def test_realblur_lists_beside_their_folders_in_a_folder():
  paths, text = realblur(1, root='RealBlur/')
  contents = {'RealBlur/RealBlur_J_test_list.txt': text.encode()}
  source = Tree(Path('src'), contents.__getitem__, (*sorted(paths), *contents))
  (item,) = read_layout(DATASETS['realblur_j'], source).splits['test']
  assert item.blurry == 'RealBlur/RealBlur-J/scene001/blur/blur_1.png'
  assert item.name == 'RealBlur-J/scene001/blur/blur_1'
