"""sensor_msgs/Image to and from numpy; works on anything with the message's attributes and imports no ROS."""

from __future__ import annotations

from typing import Any

import numpy as np

from visuotactile_ros.errors import MessageError

# Encoding: (channels, which of them are red, green and blue).
_ENCODINGS = {'rgb8': (3, (0, 1, 2)), 'bgr8': (3, (2, 1, 0)), 'rgba8': (4, (0, 1, 2)), 'bgra8': (4, (2, 1, 0)),
              'mono8': (1, (0, 0, 0))}


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
        message: sensor_msgs/Image, or an object with its attributes, in rgb8, bgr8, rgba8, bgra8 or mono8; rows may be
            padded. `is_bigendian` says nothing about single bytes.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous; it may share the message's memory, so do not write to it.

    Raises:
        MessageError: The encoding is another one, or size, step and data do not agree.
    """
    if message.encoding not in _ENCODINGS:
        raise MessageError(f'the image encoding {message.encoding!r} is not supported',
                           f'Publish one of {", ".join(_ENCODINGS)}')
    channels, red_green_blue = _ENCODINGS[message.encoding]
    pixels = _rows(message, channels).reshape(message.height, message.width, channels)
    return pixels if message.encoding == 'rgb8' and pixels.flags.c_contiguous else \
        np.ascontiguousarray(pixels[:, :, red_green_blue])


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


def encode_vector(message: Any, vector: np.ndarray) -> None:
    """Fill a message with a vector as one row of 32FC1; its header is left alone.

    Args:
        message: sensor_msgs/Image with empty data.
        vector: float32 [D].
    """
    little_endian = np.ascontiguousarray(vector, dtype='<f4')
    message.height, message.width = 1, little_endian.size
    message.encoding = '32FC1'
    message.is_bigendian = 0
    message.step = 4 * little_endian.size
    message.data.frombytes(little_endian.view(np.uint8))
