"""sensor_msgs/Image and CompressedImage to and from numpy; works on anything with the attributes, imports no ROS.

Pictures are decoded by `sensors/message_decoding.py`, so that a topic and a bag of it give the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from visuotactile_ros.errors import MessageError
from visuotactile_ros.sensors.message_decoding import decode_compressed_image, decode_image, image_rows

__all__ = ['decode_compressed_image', 'decode_image', 'decode_vector', 'encode_floats', 'encode_image']


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
    row = np.ascontiguousarray(image_rows(message, 4)).reshape(-1)
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
