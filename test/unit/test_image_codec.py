"""image_codec against a slow reading of the message's definition, byte by byte."""

import array
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.errors import MessageError
from visuotactile_ros.ros_interface.image_codec import decode_image, decode_vector, encode_image, encode_vector

CHANNEL_NAMES = {'rgb8': 'rgb', 'bgr8': 'bgr', 'rgba8': 'rgba', 'bgra8': 'bgra', 'mono8': 'm'}


def a_message(encoding, height, width, step, data, is_bigendian=0):
    return SimpleNamespace(encoding=encoding, height=height, width=width, step=step, is_bigendian=is_bigendian,
                           data=array.array('B', data))


def an_empty_message():
    return a_message('', 0, 0, 0, b'')


@given(encoding=st.sampled_from(sorted(CHANNEL_NAMES)), height=st.integers(1, 5), width=st.integers(1, 5),
       padding=st.integers(0, 7), is_bigendian=st.integers(0, 1), data=st.data())
def test_every_pixel_is_where_and_what_the_definition_says(encoding, height, width, padding, is_bigendian, data):
    names = CHANNEL_NAMES[encoding]
    step = width * len(names) + padding
    content = data.draw(st.binary(min_size=step * height, max_size=step * height))
    decoded = decode_image(a_message(encoding, height, width, step, content, is_bigendian))
    assert decoded.dtype == np.uint8 and decoded.shape == (height, width, 3) and decoded.flags.c_contiguous
    for row in range(height):
        for column in range(width):
            for channel, colour in enumerate('rgb'):
                position = names.index('m' if encoding == 'mono8' else colour)
                assert decoded[row, column, channel] == content[row * step + column * len(names) + position]


@given(height=st.integers(1, 5), width=st.integers(1, 5), seed=st.integers(0, 99))
def test_an_image_survives_the_way_through_a_message(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    message = an_empty_message()
    encode_image(message, image)
    assert (message.encoding, message.step, message.is_bigendian) == ('rgb8', 3 * width, 0)
    np.testing.assert_array_equal(decode_image(message), image)


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=9))
def test_a_vector_survives_the_way_through_a_message(numbers):
    vector = np.array(numbers, dtype=np.float32)
    message = an_empty_message()
    encode_vector(message, vector)
    assert (message.height, message.width, message.step) == (1, len(numbers), 4 * len(numbers))
    decoded = decode_vector(message)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, vector)


def test_a_big_endian_padded_vector_is_read_in_its_byte_order():
    # 1.0 is 3f 80 00 00 and -2.5 is c0 20 00 00, most significant byte first (IEEE 754).
    message = a_message('32FC1', 1, 2, 11, b'\x3f\x80\x00\x00\xc0\x20\x00\x00xyz', is_bigendian=1)
    np.testing.assert_array_equal(decode_vector(message), np.array([1.0, -2.5], dtype=np.float32))


@pytest.mark.parametrize(('message', 'told'), [
    (a_message('rgb8', 2, 2, 6, bytes(11)), 'holds 11 bytes, not 12'),
    (a_message('rgb8', 2, 2, 6, bytes(13)), 'holds 13 bytes, not 12'),
    (a_message('rgb8', 2, 2, 5, bytes(10)), 'rows of at least 6 bytes'),
    (a_message('rgb8', 0, 2, 6, b''), 'empty'),
    (a_message('rgb8', 2, 0, 0, b''), 'empty'),
    (a_message('yuv422_yuy2', 2, 2, 4, bytes(8)), "'yuv422_yuy2' is not supported"),
    (a_message('', 2, 2, 6, bytes(12)), 'not supported'),
])
def test_an_image_that_contradicts_itself_is_refused(message, told):
    with pytest.raises(MessageError, match=told) as refused:
        decode_image(message)
    assert '\n' not in str(refused.value)


@pytest.mark.parametrize(('message', 'told'), [
    (a_message('rgb8', 1, 1, 3, bytes(3)), "1 rows of 'rgb8'"),
    (a_message('32FC1', 2, 1, 4, bytes(8)), '2 rows'),
    (a_message('32FC1', 1, 2, 8, bytes(7)), 'holds 7 bytes, not 8'),
    (a_message('32FC1', 1, 2, 7, bytes(7)), 'rows of at least 8 bytes'),
    (a_message('32FC1', 1, 0, 0, b''), 'empty'),
    (a_message('32FC1', 1, 1, 4, b'\x00\x00\xc0\x7f'), 'not finite'),
    (a_message('32FC1', 1, 1, 4, b'\x00\x00\x80\x7f'), 'not finite'),
])
def test_a_vector_that_cannot_be_used_is_refused(message, told):
    with pytest.raises(MessageError, match=told):
        decode_vector(message)
