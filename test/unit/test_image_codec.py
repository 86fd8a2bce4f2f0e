"""image_codec against a slow reading of the message's definition, byte by byte."""

import array
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from visuotactile_ros.errors import MessageError
from visuotactile_ros.ros_interface.image_codec import (
    decode_compressed_image,
    decode_image,
    decode_vector,
    encode_floats,
    encode_image,
)

CHANNEL_NAMES = {'rgb8': 'rgb', 'bgr8': 'bgr', 'rgba8': 'rgba', 'bgra8': 'bgra', 'mono8': 'm'}
# Place of each sample in the four bytes of two pixels. Source: linuxtv.org, V4L2_PIX_FMT_UYVY and V4L2_PIX_FMT_YUYV.
PAIR_NAMES = {'yuv422': 'uyvY', 'uyvy': 'uyvY', 'yuv422_yuy2': 'yuYv', 'yuyv': 'yuYv'}


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


def rgb_of_yuv(y, u, v):
    """BT.601 with the limited range of video. (Source: ITU-R BT.601-7, 2.5.)"""
    luma = 255 / 219 * (y - 16)
    blue, red = 255 / 224 * (u - 128), 255 / 224 * (v - 128)
    return luma + 1.402 * red, luma - (0.114 * 1.772 * blue + 0.299 * 1.402 * red) / 0.587, luma + 1.772 * blue


@given(encoding=st.sampled_from(sorted(PAIR_NAMES)), height=st.integers(1, 4), pairs=st.integers(1, 3),
       padding=st.integers(0, 7), is_bigendian=st.integers(0, 1), data=st.data())
def test_every_pair_of_yuv_pixels_is_where_and_what_the_definition_says(encoding, height, pairs, padding,
                                                                        is_bigendian, data):
    names, step = PAIR_NAMES[encoding], 4 * pairs + padding
    content = data.draw(st.binary(min_size=step * height, max_size=step * height))
    decoded = decode_image(a_message(encoding, height, 2 * pairs, step, content, is_bigendian))
    assert decoded.dtype == np.uint8 and decoded.shape == (height, 2 * pairs, 3) and decoded.flags.c_contiguous
    for row in range(height):
        for pair in range(pairs):
            start = row * step + 4 * pair
            sample = {name: content[start + names.index(name)] for name in 'yYuv'}
            for column, luma in ((2 * pair, 'y'), (2 * pair + 1, 'Y')):
                expected = np.clip(rgb_of_yuv(sample[luma], sample['u'], sample['v']), 0, 255)
                # Darker than black is no colour; OpenCV takes it for black before it adds the colour.
                if sample[luma] >= 16:
                    np.testing.assert_allclose(decoded[row, column], expected, atol=1.5)


@given(message=st.builds(
    a_message, st.sampled_from([*CHANNEL_NAMES, *PAIR_NAMES, '32FC1', 'bayer_rggb8', '']), st.integers(0, 9),
    st.integers(0, 9), st.integers(0, 40), st.binary(max_size=200), st.integers(0, 1)))
def test_whatever_comes_is_a_picture_of_the_size_that_it_says_or_one_error(message):
    try:
        decoded = decode_image(message)
    except MessageError as error:
        assert '\n' not in str(error)
    else:
        assert decoded.shape == (message.height, message.width, 3)
        assert message.step * message.height == len(message.data)


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
    encode_floats(message, vector[None, :, None])
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
    (a_message('mono16', 2, 2, 4, bytes(8)), "'mono16' is not supported. Publish one of rgb8, bgr8, .*, yuyv"),
    (a_message('', 2, 2, 6, bytes(12)), 'not supported'),
    (a_message('uyvy', 2, 3, 6, bytes(12)), 'come in pairs'),
    (a_message('yuyv', 2, 2, 3, bytes(6)), 'rows of at least 4 bytes'),
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


def a_picture(height, width, seed=0):
    """A smooth coloured picture, uint8 [height, width, 3] RGB, which a JPEG keeps."""
    coarse = np.random.default_rng(seed).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def a_compressed_message(image_rgb, suffix, format_text, trailing=b''):
    encoded, content = cv2.imencode(suffix, image_rgb[:, :, ::-1])
    assert encoded
    return SimpleNamespace(format=format_text, data=array.array('B', content.tobytes() + trailing))


@given(height=st.integers(1, 40), width=st.integers(1, 40), seed=st.integers(0, 99), zeros=st.integers(0, 3),
       format_text=st.sampled_from(['png', 'rgb8; png compressed bgr8', 'jpeg']))
def test_a_compressed_png_comes_back_as_it_was(height, width, seed, zeros, format_text):
    image = a_picture(height, width, seed)
    decoded = decode_compressed_image(a_compressed_message(image, '.png', format_text, bytes(zeros)))
    assert decoded.dtype == np.uint8 and decoded.flags.c_contiguous
    np.testing.assert_array_equal(decoded, image)


@given(height=st.integers(1, 40), width=st.integers(1, 40), colour=st.tuples(*[st.integers(0, 255)] * 3),
       zeros=st.integers(0, 3), format_text=st.sampled_from(['jpeg', 'bgr8; jpeg compressed bgr8']))
def test_a_compressed_jpeg_keeps_its_size_and_its_colour(height, width, colour, zeros, format_text):
    image = np.full((height, width, 3), colour, np.uint8)
    decoded = decode_compressed_image(a_compressed_message(image, '.jpg', format_text, bytes(zeros)))
    assert decoded.dtype == np.uint8 and decoded.shape == image.shape and decoded.flags.c_contiguous
    np.testing.assert_allclose(decoded, image.astype(float), atol=4)


def test_grey_and_transparent_pictures_become_rgb():
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    message = SimpleNamespace(format='mono8; png compressed ', data=cv2.imencode('.png', grey)[1])
    np.testing.assert_array_equal(decode_compressed_image(message), np.stack([grey] * 3, axis=-1))
    bgra = np.full((6, 8, 4), (10, 20, 30, 40), np.uint8)
    message = SimpleNamespace(format='png', data=cv2.imencode('.png', bgra)[1])
    np.testing.assert_array_equal(decode_compressed_image(message)[0, 0], (30, 20, 10))


def test_a_picture_that_says_it_was_compressed_as_rgb_has_red_and_blue_exchanged():
    image = a_picture(8, 8)
    message = a_compressed_message(image, '.png', 'rgb8; png compressed rgb8')
    np.testing.assert_array_equal(decode_compressed_image(message), image[:, :, ::-1])


def test_the_orientation_noted_in_a_jpeg_does_not_turn_it():
    # An EXIF block with the one entry Orientation = 6, a quarter turn. (Source: CIPA DC-008, Exif 2.32, 4.6.)
    exif = (b'Exif\0\0MM\0\x2a\0\0\0\x08\0\x01' + b'\x01\x12\0\x03\0\0\0\x01\0\x06\0\0' + bytes(4))
    content = a_compressed_message(a_picture(8, 16), '.jpg', 'jpeg').data.tobytes()
    turned = content[:2] + b'\xff\xe1' + (len(exif) + 2).to_bytes(2, 'big') + exif + content[2:]
    assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_COLOR).shape == (16, 8, 3)
    message = SimpleNamespace(format='jpeg', data=turned)
    assert decode_compressed_image(message).shape == (8, 16, 3)


@pytest.mark.parametrize(('data', 'told'), [
    (b'', 'not supported. Publish JPEG'), (b'no picture', 'not supported'), (b'\xff\xd8\xff', 'damaged'),
    (b'\x89PNG\r\n\x1a\n', 'cut off'), (b'\x89PNG\r\n\x1a\nIEND\xaeB`\x82', 'damaged'),
    (b'\xff\xd8\xff\xe0\xff\xd9', 'damaged'),
    # Depth: 12 bytes of parameters before a PNG, and a PNG of 16 bits.
    (bytes(12) + cv2.imencode('.png', np.zeros((4, 4), np.uint8))[1].tobytes(), 'not supported'),
    (cv2.imencode('.png', np.zeros((4, 4), np.uint16))[1].tobytes(), 'not supported. Publish .* 8 bits'),
    (cv2.imencode('.bmp', np.zeros((4, 4, 3), np.uint8))[1].tobytes(), 'not supported'),
])
def test_content_that_is_no_picture_is_refused(data, told):
    with pytest.raises(MessageError, match=told) as refused:
        decode_compressed_image(SimpleNamespace(format='jpeg\n', data=data))
    assert '\n' not in str(refused.value)


def test_a_jpeg_of_which_a_part_is_missing_is_refused():
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    content = a_compressed_message(noise, '.jpg', 'jpeg').data
    with pytest.raises(MessageError, match='damaged JPEG .* set padded_jpeg'):
        decode_compressed_image(SimpleNamespace(format='jpeg', data=content[:len(content) // 2] + content[-2:]))


def test_padding_in_a_jpeg_is_accepted_only_by_who_expects_it():
    image = a_picture(24, 32)
    message = a_compressed_message(image, '.jpg', 'jpeg')
    message.data = message.data[:-2] + array.array('B', bytes(3)) + message.data[-2:]
    with pytest.raises(MessageError, match='extraneous bytes'):
        decode_compressed_image(message)
    np.testing.assert_array_equal(decode_compressed_image(message, accepts_padding=True),
                                  decode_compressed_image(a_compressed_message(image, '.jpg', 'jpeg')))


def test_a_jpeg_that_claims_more_pixels_than_any_sensor_has_is_refused():
    message = a_compressed_message(a_picture(24, 32), '.jpg', 'jpeg')
    size_at = message.data.tobytes().index(b'\xff\xc0') + 5
    message.data[size_at:size_at + 4] = array.array('B', (60_000).to_bytes(2, 'big') * 2)
    with pytest.raises(MessageError, match='claims to be 60000x60000'):
        decode_compressed_image(message)


@given(suffix=st.sampled_from(['.jpg', '.png']), kept=st.floats(0.0, 1.0, exclude_max=True))
def test_a_picture_that_was_cut_off_is_refused(suffix, kept):
    message = a_compressed_message(a_picture(24, 32), suffix, 'jpeg')
    cut = SimpleNamespace(format='jpeg', data=message.data[:int(kept * len(message.data))])
    with pytest.raises(MessageError, match='cut off|not supported|damaged'):
        decode_compressed_image(cut)


@given(place=st.floats(0.0, 1.0, exclude_max=True), change=st.integers(1, 255))
def test_a_wrong_byte_in_a_png_is_an_error_or_changes_nothing(place, change):
    image = a_picture(24, 32)
    message = a_compressed_message(image, '.png', 'png')
    message.data[int(place * len(message.data))] ^= change
    try:
        np.testing.assert_array_equal(decode_compressed_image(message), image)
    except MessageError:
        pass


@given(place=st.floats(0.0, 1.0, exclude_max=True), change=st.integers(1, 255))
def test_a_wrong_byte_in_a_jpeg_never_ends_in_anything_but_a_picture_or_an_error(place, change):
    message = a_compressed_message(a_picture(24, 32), '.jpg', 'jpeg')
    index = int(place * len(message.data))
    # The four bytes of the size itself: without a checksum nothing in the picture contradicts another size.
    size_at = message.data.tobytes().index(b'\xff\xc0') + 5
    assume(not size_at <= index < size_at + 4)
    message.data[index] ^= change
    try:
        assert decode_compressed_image(message).shape == (24, 32, 3)
    except MessageError:
        pass
