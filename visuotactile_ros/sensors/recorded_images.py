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

from visuotactile_ros.errors import MessageError, SensorError
from visuotactile_ros.sensors.message_decoding import decode_compressed_image, decode_image, decode_picture
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


class Picture(NamedTuple):
    """One picture of a recording.

    Attributes:
        decode: Gives it as uint8 [H, W, 3] BGR; raises SensorError where it is damaged.
        time_ns: When it was recorded, on a clock of the recording's own, nanoseconds; None where nobody noted it.
    """

    decode: Callable[[], np.ndarray]
    time_ns: int | None


def open_recording(path: Path, topic: str, accepts_padding: bool = False) -> Generator[Picture, None, None]:
    """Read a recording from its beginning; the errors below may come with the first picture.

    Args:
        path: Image folder (searched recursively, natural order), one image, video file, bag file or bag folder.
        topic: Image topic of a bag; '' takes the only one.
        accepts_padding: For the compressed pictures of a bag, see JpegDecoder.

    Raises:
        SensorError: There is nothing at the path that can be replayed.
    """
    suffix = path.suffix.lower()
    if not path.exists():
        raise SensorError(f'the replay path {path} does not exist', 'Check replay_path')
    if is_bag(path):
        return (Picture(partial(_decode_message, message, accepts_padding), message.received_ns)
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


def count_pictures(path: Path, topic: str) -> tuple[int, str]:
    """Count the pictures of a recording, damaged ones too; only those of a video are decoded for it.

    Args:
        path: As in `open_recording`.
        topic: As in `open_recording`.

    Returns:
        How many there are, and why there are no more, one line, or '' where that is the end of the recording.

    Raises:
        SensorError: There is none.
    """
    count, problem = 0, ''
    try:
        for _ in open_recording(path, topic):
            count += 1
    except SensorError as error:
        if count == 0:
            raise
        problem = str(error)
    if count == 0:
        raise SensorError(f'{path} holds no frames', 'Name a folder of images, a video file or a bag')
    return count, problem


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
        content = file.read_bytes()
    except OSError as error:
        raise SensorError(f'{file} cannot be read: {error.strerror}', 'Check the file') from error
    try:
        return decode_picture(content, str(file))
    except MessageError as error:
        raise SensorError(f'{file} is not a readable image', 'Remove or replace it') from error


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


def _decode_message(message: BagMessage, accepts_padding: bool) -> np.ndarray:
    origin = f'a message of {message.topic}'
    try:
        image = common_types().deserialize_cdr(message.content, message.type_name)
    except Exception as error:  # damaged bytes surface as struct, index and value errors
        raise SensorError(f'{origin} cannot be decoded: {error}', 'Record the bag again') from error
    try:
        image_rgb = decode_compressed_image(image, accepts_padding) if message.type_name == COMPRESSED_IMAGE_TYPE \
            else decode_image(image)
    except MessageError as error:
        raise SensorError(f'{origin}: {error.problem}', f'{error.remedy}, and record the bag again') from error
    return image_rgb[:, :, ::-1]
