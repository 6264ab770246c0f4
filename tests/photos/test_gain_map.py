"""Ultra HDR: what a viewer sees of it, by the format's own library (libultrahdr), before and after
the picture is written again."""

import io
import re

import imagecodecs
import numpy as np
import photo_files as files
import pytest
from PIL import Image

from degrep_jax.photos import reading, writing
from degrep_jax.photos.photo import fitted

MAKERS = {'ISO 21496-1': files.ultra_hdr, 'Android': files.android_ultra_hdr}


def again(data, format='JPEG'):
  """The file that an identity makes of a file, and its notes."""
  photo = fitted(reading.read(data, 'it'), format)
  return writing.encode(photo), photo.notes


def seen(data):
  """(H, W, 3) of light, 1 is white."""
  return imagecodecs.ultrahdr_decode(data)[..., :3].astype(np.float32)


@pytest.mark.parametrize('maker', MAKERS)
@pytest.mark.parametrize('orientation', [1, 3, 6, 8])
def test_the_light_is_kept_and_turned_with_the_picture(maker, orientation):
  data = MAKERS[maker](orientation=orientation)
  turns = {1: 0, 3: 2, 6: -1, 8: 1}[orientation]
  expected = np.rot90(seen(data), turns)
  assert expected.max() > 1.4  # brighter than white
  written, _ = again(data)
  difference = np.abs(seen(written) - expected)
  # Both pictures are compressed once more, the gain map where it had to be turned.
  assert difference.mean() < 0.01 and difference.max() < 0.5
  assert np.abs(np.rot90(expected, 2) - expected).mean() > 0.2  # as it would be unturned


@pytest.mark.parametrize('maker', MAKERS)
def test_a_gain_map_that_need_not_be_turned_is_kept_to_the_bit(maker):
  data = MAKERS[maker]()
  gain_map = data[data.index(b'\xff\xd8', 2) :]
  assert again(data)[0].endswith(gain_map)


def test_what_the_packet_promises_is_there():
  data = files.android_ultra_hdr(orientation=6)
  written, notes = again(data)
  assert notes == ('motion video left out',)
  packet = Image.open(io.BytesIO(written)).info['xmp']
  assert b'MotionPhoto' not in packet and b'GCamera:BurstID="7"' in packet
  assert b'xmp:Rating="5"' in packet and packet.startswith(b'<?xpacket begin')
  assert re.findall(rb'Item:Semantic="(\w+)"', packet) == [b'Primary', b'GainMap']
  (length,) = re.findall(rb'Item:Length="(\d+)"', packet)
  assert written[-int(length) :].startswith(b'\xff\xd8\xff')
  # ... and a second time.
  twice = Image.open(io.BytesIO(again(written)[0])).info['xmp']
  assert re.findall(rb'Item:Length="(\d+)"', twice) == [length]
  assert twice.count(b'hdrgm:Version') == 1


def test_a_motion_video_behind_the_gain_map_is_left_out():
  without, video = files.android_ultra_hdr(), b'\0\0\0\x18ftypmp42' + bytes(5000)
  written, notes = again(files.android_ultra_hdr(video=video))
  assert notes == ('motion video left out',)
  assert b'ftypmp42' not in written
  assert written.endswith(without[without.index(b'\xff\xd8', 2) :])
  (length,) = re.findall(rb'Item:Length="(\d+)"', Image.open(io.BytesIO(written)).info['xmp'])
  assert int(length) == len(without) - without.index(b'\xff\xd8', 2)


def test_the_index_of_pictures_says_where_they_are():
  written, _ = again(files.ultra_hdr())
  with Image.open(io.BytesIO(written)) as picture:
    first, second = picture.mpinfo[0xB002]
    assert first['Attribute']['MPType'] == 'Baseline MP Primary Image'
    assert (first['DataOffset'], first['Size'] + second['Size']) == (0, len(written))
    picture.seek(1)  # by the offset
    assert picture.size == (128, 96)


@pytest.mark.parametrize('maker', MAKERS)
@pytest.mark.parametrize('format', ['PNG', 'WEBP', 'TIFF', 'AVIF'])
def test_other_formats_lose_it_and_the_promise(maker, format):
  written, notes = again(MAKERS[maker](), format)
  assert any(note.startswith('HDR gain map') for note in notes)
  assert b'hdrgm:Version' not in written and b'GainMap' not in written


@pytest.mark.parametrize('maker', MAKERS)
@pytest.mark.parametrize('missing', ['part', 'whole'])
def test_a_gain_map_that_is_cut_off_is_not_promised(maker, missing):
  data = MAKERS[maker]()
  data = data[:-10] if missing == 'part' else data[: data.index(b'\xff\xd8', 2)]
  written, notes = again(data)
  assert 'HDR gain map, which is damaged, left out' in notes
  for promise in (b'hdrgm:Version', b'GainMap', b'MPF', b'21496'):
    assert promise not in written


@pytest.mark.parametrize('filling', [b'', b'\0', b' \n\0\0'])
def test_extended_packets_are_not_promised(filling):
  packet = files.XMP.replace(
    b'tiff:Orientation="6"',
    b'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="0123"',
  )
  data = files.pillow(files.gradient(8, 8, 3), 'JPEG', xmp=packet + filling)
  written, notes = again(data)
  assert notes == ('extended XMP left out',)
  assert b'HasExtendedXMP' not in written


def test_a_packet_that_cannot_be_read_stays_as_it_is():
  packet = b'<x:xmpmeta http://ns.adobe.com/hdr-gain-map/1.0/ & no XML'
  written, _ = again(files.pillow(files.gradient(8, 8, 3), 'JPEG', xmp=packet))
  assert packet in written
