"""The PNGs that training sub-pictures are stored as, and windows of them."""

import io
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from degrep_jax.data.builders import sub_pictures
from degrep_jax.photos import png


def noise(height, width, seed=0):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@st.composite
def windows(draw):
  """(height, width, window within)."""
  sides, window = [], []
  for _ in range(2):
    side = draw(st.integers(1, 40))
    start = draw(st.integers(0, side - 1))
    sides.append(side)
    window.append(slice(start, draw(st.integers(start + 1, side))))
  return *sides, tuple(window)


@settings(deadline=None, max_examples=60)
@given(windows())
def test_a_window_is_that_of_the_picture(case):
  height, width, window = case
  picture = noise(height, width)
  data = sub_pictures.encode(picture)
  np.testing.assert_array_equal(sub_pictures.crop(data, window), picture[window])
  np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), picture)


def test_what_lies_below_the_window_is_not_inflated(monkeypatch):
  data = sub_pictures.encode(noise(100, 30))
  inflater, inflated = zlib.decompressobj(), []

  class Inflater:
    def decompress(self, stream, limit):
      inflated.append(limit)
      return inflater.decompress(stream, limit)

  monkeypatch.setattr(sub_pictures.zlib, 'decompressobj', Inflater)
  assert sub_pictures.crop(data, (slice(3, 10), slice(0, 5))) is not None
  assert inflated == [10 * (1 + 3 * 30)]


def saved(picture, **options):
  file = io.BytesIO()
  picture.save(file, 'PNG', **options)
  return file.getvalue()


@pytest.mark.parametrize(
  'data',
  [
    saved(Image.fromarray(noise(20, 20))),  # other filters
    saved(Image.fromarray(noise(20, 20)).convert('L')),
    saved(Image.fromarray(noise(20, 20)).convert('RGBA')),
    saved(Image.fromarray(noise(20, 20)).convert('P')),
    b'',
    b'no picture',
    png.SIGNATURE,
    sub_pictures.encode(noise(20, 20))[:200],
    sub_pictures.encode(noise(5, 20)),  # fewer rows than the window reaches
  ],
)
def test_what_it_cannot_read_is_left_to_a_whole_decoder(data):
  assert sub_pictures.crop(data, (slice(2, 9), slice(2, 9))) is None
