"""Readers of recordings: an image folder, a video file, a rosbag2 or MCAP bag.

Each reader yields pictures that decode themselves, in order, so that a damaged picture fails alone and the reader goes
on with the next; it opens its files when the first picture is asked for. Nothing here knows rates.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from visuotactile_ros.errors import SensorError
from visuotactile_ros.sensors.recorded_bags import (
    BAG_SUFFIXES,
    COMPRESSED_IMAGE_TYPE,
    BagMessage,
    common_types,
    image_messages,
    is_bag,
)

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp')
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v')
# Encoding: (bytes a pixel, how OpenCV makes BGR of it). Source: sensor_msgs/image_encodings.hpp.
ENCODINGS = {'bgr8': (3, None), 'rgb8': (3, cv2.COLOR_RGB2BGR), 'rgba8': (4, cv2.COLOR_RGBA2BGR),
             'bgra8': (4, cv2.COLOR_BGRA2BGR), 'mono8': (1, cv2.COLOR_GRAY2BGR),
             'yuv422': (2, cv2.COLOR_YUV2BGR_UYVY), 'uyvy': (2, cv2.COLOR_YUV2BGR_UYVY),
             'yuv422_yuy2': (2, cv2.COLOR_YUV2BGR_YUY2), 'yuyv': (2, cv2.COLOR_YUV2BGR_YUY2)}
YUV_PIXEL_BYTES = 2
JPEG_BEGIN, JPEG_END = b'\xff\xd8\xff', b'\xff\xd9'


class Picture(NamedTuple):
    """One picture of a recording.

    Attributes:
        decode: Gives it as uint8 [H, W, 3] BGR; raises SensorError where it is damaged.
        time_ns: When it was recorded, on a clock of the recording's own, nanoseconds; None where nobody noted it.
    """

    decode: Callable[[], np.ndarray]
    time_ns: int | None


def open_recording(path: Path, topic: str) -> Generator[Picture, None, None]:
    """Read a recording from its beginning; the errors below may come with the first picture.

    Args:
        path: Image folder (searched recursively, natural order), one image, video file, bag file or bag folder.
        topic: Image topic of a bag; '' takes the only one.

    Raises:
        SensorError: There is nothing at the path that can be replayed.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise SensorError(f'the replay path {path} does not exist', 'Check replay_path')
    if is_bag(path):
        return (Picture(partial(_decode_message, message), message.received_ns)
                for message in image_messages(path, topic))
    if path.is_dir():
        files = sorted((file for file in path.rglob('*') if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()),
                       key=lambda file: _natural_order(file.relative_to(path)))
        if not files:
            raise SensorError(f'the folder {path} holds no frames', f'Name a folder with {", ".join(IMAGE_SUFFIXES)} '
                              'files, a video file or a bag')
        return (Picture(partial(read_image, file), None) for file in files)
    if suffix in IMAGE_SUFFIXES:
        return (Picture(partial(read_image, file), None) for file in [path])
    if suffix in VIDEO_SUFFIXES:
        return _pictures_of_video(path)
    raise SensorError(f'{path} is neither an image, a video nor a bag',
                      f'Use one of {", ".join(IMAGE_SUFFIXES + VIDEO_SUFFIXES + BAG_SUFFIXES)}')


def _natural_order(path: Path) -> list[list[tuple[bool, int, str]]]:
    """Order in which frame_2 comes before frame_10."""
    return [[(not part.isdigit(), int(part) if part.isdigit() else 0, part.lower())
             for part in re.split('([0-9]+)', name) if part] for name in path.parts]


def read_image(file: Path) -> np.ndarray:
    """Read one image file as uint8 [H, W, 3] BGR.

    Raises:
        SensorError: The file cannot be read or is not an image.
    """
    try:
        content = np.frombuffer(file.read_bytes(), np.uint8)
    except OSError as error:
        raise SensorError(f'{file} cannot be read: {error.strerror}', 'Check the file') from error
    return _decode(content, str(file))


def _decode(content: np.ndarray, origin: str) -> np.ndarray:
    try:
        image_bgr = cv2.imdecode(content, cv2.IMREAD_COLOR) if content.size > 0 else None
    except cv2.error:
        image_bgr = None
    if image_bgr is None:
        raise SensorError(f'{origin} is not a readable image', 'Remove or replace it')
    return image_bgr


def _pictures_of_video(path: Path) -> Generator[Picture, None, None]:
    capture = cv2.VideoCapture(str(path))
    try:
        if not capture.isOpened():
            raise SensorError(f'{path} is not a readable video', 'Convert it to H.264 mp4 or MJPG avi')
        while True:
            usable, image_bgr = capture.read()
            if not usable:
                return
            time_ns = int(capture.get(cv2.CAP_PROP_POS_MSEC) * 1_000_000)
            yield Picture(partial(np.asarray, image_bgr), time_ns)
    finally:
        capture.release()


def _decode_message(message: BagMessage) -> np.ndarray:
    origin = f'a message of {message.topic}'
    try:
        image = common_types().deserialize_cdr(message.content, message.type_name)
    except Exception as error:  # damaged bytes surface as struct, index and value errors
        raise SensorError(f'{origin} cannot be decoded: {error}', 'Record the bag again') from error
    data = np.asarray(image.data, np.uint8)
    if message.type_name == COMPRESSED_IMAGE_TYPE:
        return _decode_compressed_image(image.format, data, origin)
    return decode_raw_image(image.encoding, image.height, image.width, image.step, data, origin)


def _decode_compressed_image(image_format: str, data: np.ndarray, origin: str) -> np.ndarray:
    content = data.tobytes()
    # OpenCV fills up what is missing of a JPEG. Drivers may leave zeros behind one.
    if content.startswith(JPEG_BEGIN) and not content.rstrip(b'\0').endswith(JPEG_END):
        raise SensorError(f'{origin} is cut off', 'Record the bag again')
    image = _decode(data, origin)
    # Pictures that are "compressed rgb8" were written with red and blue exchanged. Source: compressed_image_transport.
    return image[:, :, ::-1] if 'compressed rgb' in image_format else image


def decode_raw_image(encoding: str, height: int, width: int, step: int, data: np.ndarray, origin: str) -> np.ndarray:
    """Decode the fields of a sensor_msgs/Image of a bag.

    Args:
        encoding: One of ENCODINGS.
        height: Rows.
        width: Columns.
        step: Bytes a row, padding included.
        data: uint8 [height * step].
        origin: Where the message comes from, for the error text.

    Returns:
        uint8 [height, width, 3], BGR.

    Raises:
        SensorError: The encoding is another one, or size, step and data do not agree.
    """
    if encoding not in ENCODINGS:
        raise SensorError(f'{origin} is encoded {encoding!r}', f'Record one of {", ".join(ENCODINGS)}')
    pixel_bytes, to_bgr = ENCODINGS[encoding]
    row_bytes = width * pixel_bytes
    is_half_pair = pixel_bytes == YUV_PIXEL_BYTES and width % 2 != 0
    if row_bytes == 0 or step < row_bytes or data.size != height * step or data.size == 0 or is_half_pair:
        raise SensorError(f'{origin} has {data.size} bytes and step {step} for {width}x{height} {encoding}',
                          'Record the bag again')
    pixels = np.ascontiguousarray(data.reshape(height, step)[:, :row_bytes]).reshape(height, width, pixel_bytes)
    return pixels if to_bgr is None else cv2.cvtColor(pixels, to_bgr)
