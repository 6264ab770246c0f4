"""What the page does with photographs, without a browser."""

import io

import imagecodecs
import numpy as np
import pytest
import saved
import tiny_joint
from PIL import Image
from skimage import data

from degrep_jax.app import studio
from degrep_jax.common.errors import UserError
from degrep_jax.inference.restorer import Restorer

PHOTOGRAPH = data.chelsea()[60:120, 100:180]


@pytest.fixture(scope='module')
def restorer(tmp_path_factory):
  path = tmp_path_factory.mktemp('runs')
  saved.workdir(path, tiny_joint.config(eval__tile=32), {3: None})
  return Restorer.from_checkpoint(path, mode='feathered')


@pytest.fixture
def page(restorer, tmp_path):
  return studio.Studio(restorer, tmp_path, max_pixels=10_000)


def photo(page, pixels, tmp_path, suffix='.png', **options):
  """A picture as it comes from a file."""
  path = tmp_path / f'upload{suffix}'
  Image.fromarray(pixels).save(path, **options)
  return page.read(path, path.name)


def test_a_photograph_is_restored(page, restorer, tmp_path):
  seen = page.deblur(photo(page, PHOTOGRAPH, tmp_path), 'holiday.png')
  np.testing.assert_array_equal(seen.before, PHOTOGRAPH)
  np.testing.assert_array_equal(seen.after, restorer.deblur(PHOTOGRAPH))
  assert (seen.after != seen.before).mean() > 0.5
  assert seen.map.shape == PHOTOGRAPH.shape
  assert seen.file.name == 'holiday_deblurred.png'
  np.testing.assert_array_equal(np.asarray(Image.open(seen.file)), seen.after)
  assert seen.text.startswith('80 × 60 pixels restored in ')


def test_a_long_strip_and_a_long_name(page, tmp_path):
  strip = np.resize(PHOTOGRAPH, (1, 5000, 3))
  seen = page.deblur(photo(page, strip, tmp_path), 'é' * 150 + '.png')
  assert seen.before.shape == seen.after.shape == seen.map.shape == (1, studio.SHOWN, 3)
  assert seen.file.name == 'é' * 100 + '_deblurred.png'
  with Image.open(seen.file) as file:
    assert file.size == (5000, 1)


def test_a_file_to_save_replaces_the_one_before(page, tmp_path):
  first = page.deblur(photo(page, PHOTOGRAPH, tmp_path), 'a.png').file
  exif = Image.Exif()
  exif[0x010F] = 'maker'
  second = page.deblur(photo(page, PHOTOGRAPH, tmp_path, '.jpg', exif=exif), 'b.jpeg').file
  assert second.name == 'b_deblurred.jpg' and not first.exists()
  with Image.open(second) as file:
    assert (file.format, file.getexif()[0x010F]) == ('JPEG', 'maker')


def test_large_and_deep_pictures_are_shown_reduced_and_saved_whole(page, tmp_path, monkeypatch):
  monkeypatch.setattr(studio, 'SHOWN', 40)
  deep = np.uint16(257) * PHOTOGRAPH[..., 0]  # grey, 16 bits
  seen = page.deblur(photo(page, deep, tmp_path), 'deep.png')
  assert seen.before.shape == seen.after.shape == seen.map.shape == (30, 40, 3)
  blocks = PHOTOGRAPH[..., 0].reshape(30, 2, 40, 2).mean((1, 3))
  assert np.abs(seen.before - blocks[..., None]).max() <= 0.5
  assert 'Shown reduced to 40 pixels' in seen.text
  with Image.open(seen.file) as file:
    assert file.mode.startswith('I;16') and file.size == (80, 60)


def test_another_picture_is_blurred_alike(page, restorer, tmp_path):
  other = data.coffee()[:50, :70]
  sharp, like = photo(page, other, tmp_path), photo(page, PHOTOGRAPH, tmp_path)
  before, after = page.reblur(sharp, like, 0.5)
  np.testing.assert_array_equal(before, other)
  np.testing.assert_array_equal(after, restorer.reblur(other, like=PHOTOGRAPH, strength=0.5))


def test_examples_are_photographs_before_and_after_they_were_blurred(page):
  examples = page.examples()
  assert [path.name for path, _ in examples] == [
    'chelsea_blurry.png',
    'coffee_blurry.png',
    'camera_blurry.png',
  ]
  blurry, sharp = (np.asarray(Image.open(path)).astype(int) for path in examples[0])
  assert np.abs(sharp - data.chelsea()).max() <= 1
  assert np.abs(np.diff(blurry, axis=0)).mean() < 0.8 * np.abs(np.diff(sharp, axis=0)).mean()


def test_what_cannot_be_read_is_named_as_it_was_called(page, tmp_path):
  path = tmp_path / 'upload'
  path.write_text('not a picture')
  with pytest.raises(UserError, match=r'holiday\.png is not a picture'):
    page.read(path, 'holiday.png')
  file = io.BytesIO()
  Image.new('RGB', (101, 100)).save(file, 'PNG')
  path.write_bytes(file.getvalue())
  with pytest.raises(UserError, match=r'holiday\.png claims 101x100 pixels, more than the 10,000'):
    page.read(path, 'holiday.png')


def test_a_damaged_file_is_not_advised_a_flag_that_the_page_has_not(page, tmp_path):
  file = io.BytesIO()
  Image.fromarray(PHOTOGRAPH).save(file, 'PNG')
  (tmp_path / 'upload').write_bytes(file.getvalue()[:-300])
  with pytest.raises(UserError, match=r'^a\.png is damaged and cannot be decoded \([^-]*\)\.$'):
    page.read(tmp_path / 'upload', 'a.png')


def test_a_net_without_a_map_shows_none(tmp_path):
  class HINet:
    has_map = can_reblur = False

    def deblur(self, picture):
      return 255 - picture

  page = studio.Studio(HINet(), tmp_path, max_pixels=10_000)
  seen = page.deblur(photo(page, PHOTOGRAPH, tmp_path), 'x.png')
  assert seen.map is None
  np.testing.assert_array_equal(seen.after, 255 - PHOTOGRAPH)


def test_another_network_blurs_where_the_first_cannot(restorer, tmp_path):
  class Deblurrer:
    can_reblur = False

  assert studio.Studio(Deblurrer(), tmp_path, 10_000).reblurrer is None
  both = studio.Studio(Deblurrer(), tmp_path, 10_000, reblurrer=restorer)
  assert both.reblurrer is restorer
  assert studio.Studio(restorer, tmp_path, 10_000).reblurrer is restorer


@pytest.mark.parametrize(
  ('error', 'sentence'),
  [
    (OSError('broken data stream'), r'a\.png cannot be written as PNG \(broken data stream\)\.'),
    (MemoryError(), r'a\.png takes more memory to write than there is\.'),
  ],
)
def test_what_cannot_be_written_is_named_as_it_was_called(
  page, tmp_path, monkeypatch, error, sentence
):
  upload = photo(page, PHOTOGRAPH, tmp_path)

  def stumbling(pixels):
    raise error

  monkeypatch.setattr(imagecodecs, 'png_encode', stumbling)
  with pytest.raises(UserError, match=f'^{sentence}$'):
    page.deblur(upload, 'a.png')
