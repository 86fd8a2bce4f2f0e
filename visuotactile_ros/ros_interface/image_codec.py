"""sensor_msgs/Image and CompressedImage to and from numpy; works on anything with the attributes, imports no ROS."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from visuotactile_ros.errors import MessageError

# Encoding: (bytes a pixel, how OpenCV makes RGB of it). They are single bytes all of them, so `is_bigendian` says
# nothing about them. yuv422 and yuv422_yuy2 are older names of uyvy and yuyv: two pixels share one colour.
# Source: sensor_msgs/image_encodings.hpp.
_ENCODINGS = {'rgb8': (3, None), 'bgr8': (3, cv2.COLOR_BGR2RGB), 'rgba8': (4, cv2.COLOR_RGBA2RGB),
              'bgra8': (4, cv2.COLOR_BGRA2RGB), 'mono8': (1, cv2.COLOR_GRAY2RGB),
              'yuv422': (2, cv2.COLOR_YUV2RGB_UYVY), 'uyvy': (2, cv2.COLOR_YUV2RGB_UYVY),
              'yuv422_yuy2': (2, cv2.COLOR_YUV2RGB_YUY2), 'yuyv': (2, cv2.COLOR_YUV2RGB_YUY2)}
_YUV_PIXEL_BYTES = 2
# How a file of each format begins and ends.
_JPEG, _PNG = (b'\xff\xd8\xff', b'\xff\xd9'), (b'\x89PNG\r\n\x1a\n', b'IEND\xaeB`\x82')
# Place of the bits a channel in the header of a PNG.
_PNG_DEPTH = slice(24, 25)


def _rows(message: Any, pixel_bytes: int) -> np.ndarray:
    """Bytes of the image without the padding at the end of its rows: uint8 [height, width * pixel_bytes]."""
    height, width, step = message.height, message.width, message.step
    described = f'an image of {width} x {height} {message.encoding} with step {step}'
    if height == 0 or width == 0:
        raise MessageError(f'{described} is empty', 'Check the publisher')
    if step < width * pixel_bytes:
        raise MessageError(f'{described} has rows of at least {width * pixel_bytes} bytes',
                           'Correct the step in the publisher')
    data = np.frombuffer(message.data, dtype=np.uint8)
    if data.size != step * height:
        raise MessageError(f'{described} holds {data.size} bytes, not {step * height}',
                           'Correct the data in the publisher')
    return data.reshape(height, step)[:, :width * pixel_bytes]


def decode_image(message: Any) -> np.ndarray:
    """Image of a message as RGB.

    Args:
        message: sensor_msgs/Image, or an object with its attributes, in rgb8, bgr8, rgba8, bgra8, mono8, or yuv422 in
            either order (BT.601, as cameras send it); rows may be padded.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous; it may share the message's memory, so do not write to it.

    Raises:
        MessageError: The encoding is another one, or size, step and data do not agree.
    """
    if message.encoding not in _ENCODINGS:
        raise MessageError(f'the image encoding {message.encoding!r} is not supported',
                           f'Publish one of {", ".join(_ENCODINGS)}')
    pixel_bytes, to_rgb = _ENCODINGS[message.encoding]
    pixels = _rows(message, pixel_bytes).reshape(message.height, message.width, pixel_bytes)
    if to_rgb is None:
        return np.ascontiguousarray(pixels)
    if pixel_bytes == _YUV_PIXEL_BYTES and message.width % 2 != 0:
        raise MessageError(f'an image {message.encoding} is {message.width} pixels wide, but its pixels come in pairs',
                           'Publish an even width')
    return cv2.cvtColor(pixels, to_rgb)


def decode_compressed_image(message: Any) -> np.ndarray:
    """Image of a compressed message as RGB.

    The content says what it is; `format` is believed in one thing only: pictures that are "compressed rgb8" were
    written with red and blue exchanged. (Source: compressed_image_transport.) A note on the orientation inside the file
    is left aside: the settings of a sensor turn its pictures.

    Args:
        message: sensor_msgs/CompressedImage, or an object with its attributes, holding a JPEG or a PNG of 8 bits.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous.

    Raises:
        MessageError: The content is something else, cut off or damaged. A JPEG has no checksum, so that a wrong byte in
            the middle of one can pass.
    """
    content = bytes(message.data)
    described = f'a compressed image {message.format!r} of {len(content)} bytes'
    beginning, end = _PNG if content.startswith(_PNG[0]) else _JPEG
    if not content.startswith(beginning) or (beginning == _PNG[0] and content[_PNG_DEPTH] == b'\x10'):
        raise MessageError(f'{described} is not supported', 'Publish JPEG, or PNG of 8 bits a channel')
    # OpenCV fills up what is missing, depending on its version. Drivers may leave zeros behind a picture.
    if not content.rstrip(b'\0').endswith(end):
        raise MessageError(f'{described} is cut off', 'Check its publisher and the network')
    try:
        image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        image = None
    if image is None:
        raise MessageError(f'{described} is damaged', 'Check its publisher and the network')
    return image if 'compressed rgb' in message.format else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def encode_image(message: Any, image_hwc: np.ndarray) -> None:
    """Fill a message with an RGB image; its header is left alone.

    Args:
        message: sensor_msgs/Image with empty data.
        image_hwc: uint8 [H, W, 3], RGB, C-contiguous.
    """
    message.height, message.width = image_hwc.shape[:2]
    message.encoding = 'rgb8'
    message.is_bigendian = 0
    message.step = 3 * message.width
    # Assigning a numpy array to `data` goes through a Python loop: 24 ms an image instead of 10 microseconds.
    message.data.frombytes(image_hwc)


def decode_vector(message: Any) -> np.ndarray:
    """Vector that travels as an image of one row.

    Args:
        message: sensor_msgs/Image 32FC1 of height 1, either byte order.

    Returns:
        float32 [D] in native byte order.

    Raises:
        MessageError: Not one row of 32FC1, size, step and data do not agree, or a number is not finite.
    """
    if message.encoding != '32FC1' or message.height != 1:
        raise MessageError(f'a vector came as {message.height} rows of {message.encoding!r}',
                           'Publish one row of 32FC1')
    row = np.ascontiguousarray(_rows(message, 4)).reshape(-1)
    vector = row.view('>f4' if message.is_bigendian else '<f4').astype(np.float32)
    if not np.isfinite(vector).all():
        raise MessageError('a vector holds numbers that are not finite', 'Check the model that made it')
    return vector


def encode_floats(message: Any, values_hwc: np.ndarray) -> None:
    """Fill a message with numbers as 32FC<channels>; its header is left alone.

    Args:
        message: sensor_msgs/Image with empty data.
        values_hwc: float32 [H, W, C].
    """
    little_endian = np.ascontiguousarray(values_hwc, dtype='<f4')
    message.height, message.width, channels = little_endian.shape
    message.encoding = f'32FC{channels}'
    message.is_bigendian = 0
    message.step = 4 * channels * message.width
    message.data.frombytes(little_endian.view(np.uint8))
