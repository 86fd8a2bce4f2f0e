"""Decoding of MJPG: OpenCV's picture bit for bit at every size, and never a damaged one."""

import re
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.errors import SensorError
from visuotactile_ros.sensors.jpeg_decoding import JpegDecoder

REAL_FRAMES = sorted((Path(__file__).parents[1] / 'data' / 'real_frames').glob('gelsight_mini_*.jpg'))
OF_OPENCV = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4,
             8: cv2.IMREAD_REDUCED_COLOR_8}
SAMPLINGS = [getattr(cv2, f'IMWRITE_JPEG_SAMPLING_FACTOR_{name}') for name in ('411', '420', '422', '440', '444')]
REDUCTIONS = st.sampled_from(sorted(OF_OPENCV))
USB_PACKET_BYTES = 512


def encode(image_bgr, sampling=cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422, quality=90, blocks_a_section=0):
    _, jpeg = cv2.imencode('.jpg', image_bgr, [
        cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling,
        cv2.IMWRITE_JPEG_RST_INTERVAL, blocks_a_section])
    return jpeg.tobytes()


def of_opencv(jpeg, reduction=1):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), OF_OPENCV[reduction])


def decoder(width_px=320, height_px=240, reduction=1, accepts_padding=False):
    return JpegDecoder(width_px, height_px, reduction, accepts_padding)


def start_of_data(jpeg):
    header = jpeg.find(b'\xff\xda') + 2
    return header + int.from_bytes(jpeg[header:header + 2], 'big')


def padded(jpeg, padding=b'\x11' * 9):
    """What a Logitech C910 sends: needless bytes at the end of each section."""
    begin = start_of_data(jpeg)
    return jpeg[:begin] + re.sub(b'\xff[\xd0-\xd7\xd9]', lambda end: padding + end[0], jpeg[begin:])


def without_huffman_tables(jpeg):
    """What many cameras send: the tables of the standard are meant."""
    while (table := jpeg.find(b'\xff\xc4')) >= 0:
        jpeg = jpeg[:table] + jpeg[table + 2 + int.from_bytes(jpeg[table + 2:table + 4], 'big'):]
    return jpeg


REAL_JPEG = encode(cv2.imread(str(REAL_FRAMES[0])))
SECTIONED_JPEG = encode(cv2.imread(str(REAL_FRAMES[1])), blocks_a_section=20)
SMALL_JPEG = encode(cv2.resize(cv2.imread(str(REAL_FRAMES[2])), (64, 48)))


@given(st.integers(16, 70), st.integers(16, 70), REDUCTIONS, st.sampled_from(SAMPLINGS), st.integers(1, 100),
       st.integers(0, 9), st.integers(0, 2**32 - 1))
def test_every_picture_equals_that_of_opencv(width, height, reduction, sampling, quality, blocks_a_section, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    jpeg = encode(image, sampling, quality, blocks_a_section)
    result = decoder(width, height, reduction).decode(jpeg, 'left')
    assert result.shape == (-(-height // reduction), -(-width // reduction), 3) and result.dtype == np.uint8
    np.testing.assert_array_equal(result, of_opencv(jpeg, reduction))


def test_a_grey_jpeg_gives_a_picture_of_three_equal_colours():
    grey = np.random.default_rng(0).integers(0, 256, (48, 64), dtype=np.uint8)
    result = decoder(64, 48).decode(encode(grey), 'left')
    np.testing.assert_array_equal(result, of_opencv(encode(grey)))


@given(st.integers(0, len(SMALL_JPEG) - 1), REDUCTIONS)
def test_a_jpeg_that_ends_too_early_is_refused_or_whole(length, reduction):
    try:
        result = decoder(64, 48, reduction).decode(SMALL_JPEG[:length], 'left')
    except SensorError as error:
        assert 'damaged JPEG' in str(error) and 'USB bandwidth' in str(error)
    else:
        np.testing.assert_array_equal(result, of_opencv(SMALL_JPEG, reduction))


def test_half_a_jpeg_is_refused():
    with pytest.raises(SensorError, match='left: /dev/video0 gave a damaged JPEG'):
        decoder().decode(REAL_JPEG[:len(REAL_JPEG) // 2], 'left: /dev/video0')


@pytest.mark.parametrize('jpeg', [REAL_JPEG, SECTIONED_JPEG], ids=['one section', 'sections'])
@given(st.data())
def test_a_jpeg_that_has_lost_a_usb_packet_is_refused(jpeg, data):
    begin = data.draw(st.integers(start_of_data(jpeg), len(jpeg) - USB_PACKET_BYTES - 2))
    with pytest.raises(SensorError, match='damaged JPEG'):
        decoder(reduction=data.draw(REDUCTIONS)).decode(jpeg[:begin] + jpeg[begin + USB_PACKET_BYTES:], 'left')


def test_two_pictures_run_into_one_are_refused():
    with pytest.raises(SensorError, match='damaged JPEG'):
        decoder().decode(REAL_JPEG[:4000] + SECTIONED_JPEG, 'left')


@given(st.binary(max_size=200), st.booleans())
def test_anything_but_a_jpeg_is_refused(noise, accepts_padding):
    for jpeg in (noise, b'\xff\xd8' + noise, b'\xff\xd8' + noise + b'\xff\xd9'):
        with pytest.raises(SensorError):
            decoder(accepts_padding=accepts_padding).decode(jpeg, 'left')


@given(st.binary(max_size=64))
def test_bytes_after_the_end_do_not_matter(rest):
    np.testing.assert_array_equal(decoder().decode(REAL_JPEG + rest, 'left'), of_opencv(REAL_JPEG))


def test_a_camera_may_leave_out_the_huffman_tables():
    bare = without_huffman_tables(REAL_JPEG)
    assert len(bare) < len(REAL_JPEG)
    np.testing.assert_array_equal(decoder().decode(bare, 'left'), of_opencv(REAL_JPEG))


def test_a_picture_of_another_size_is_refused():
    with pytest.raises(SensorError, match='left gave a picture of 64x48, not 320x240. Ask for a mode'):
        decoder().decode(SMALL_JPEG, 'left')


@pytest.mark.parametrize('jpeg', [REAL_JPEG, SECTIONED_JPEG], ids=['one section', 'sections'])
def test_padding_is_refused_with_its_remedy_and_accepted_where_it_is_expected(jpeg):
    with pytest.raises(SensorError, match='extraneous bytes.*set padded_jpeg'):
        decoder().decode(padded(jpeg), 'left')
    np.testing.assert_array_equal(decoder(accepts_padding=True).decode(padded(jpeg), 'left'), of_opencv(jpeg))


def test_a_padded_jpeg_that_has_lost_sections_is_refused():
    jpeg = padded(SECTIONED_JPEG)
    ends = [end.start() for end in re.finditer(b'\xff[\xd0-\xd7\xd9]', jpeg)]
    expecting = decoder(accepts_padding=True)
    with pytest.raises(SensorError, match='damaged JPEG'):  # eight sections fewer: the markers are still in order
        expecting.decode(jpeg[:ends[4]] + jpeg[ends[12]:], 'left')
    for end in ends:
        with pytest.raises(SensorError, match='damaged JPEG'):
            expecting.decode(jpeg[:end], 'left')


def test_a_missing_decoder_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'simplejpeg', None)
    with pytest.raises(SensorError, match='needs the package simplejpeg. Run pip install simplejpeg'):
        decoder().decode(REAL_JPEG, 'left')
