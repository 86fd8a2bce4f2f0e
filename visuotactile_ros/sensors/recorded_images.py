"""Readers of recordings: an image folder, a video file, a rosbag2 or MCAP bag.

Each reader yields functions that decode one picture, in order, so that a damaged picture fails alone and the reader
goes on with the next; it opens its files when the first picture is asked for. Nothing here knows rates or stamps.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from visuotactile_ros.errors import SensorError

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.interfaces import Connection

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp')
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mkv', '.mov', '.webm', '.m4v')
BAG_SUFFIXES = ('.mcap', '.db3')
COMPRESSED_IMAGE_TYPE = 'sensor_msgs/msg/CompressedImage'
IMAGE_TYPES = ('sensor_msgs/msg/Image', COMPRESSED_IMAGE_TYPE)
CHANNELS = {'rgb8': 3, 'bgr8': 3, 'rgba8': 4, 'bgra8': 4, 'mono8': 1}
TO_BGR = {'rgb8': cv2.COLOR_RGB2BGR, 'rgba8': cv2.COLOR_RGBA2BGR, 'bgra8': cv2.COLOR_BGRA2BGR,
          'mono8': cv2.COLOR_GRAY2BGR}

Picture = Callable[[], np.ndarray]
"""Decodes one picture to uint8 [H, W, 3] BGR; raises SensorError where it is damaged."""


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
    if path.is_dir():
        if (path / 'metadata.yaml').is_file():
            return _pictures_of_bag(path, topic)
        files = sorted((file for file in path.rglob('*') if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file()),
                       key=lambda file: _natural_order(file.relative_to(path)))
        if not files:
            raise SensorError(f'the folder {path} holds no frames', f'Name a folder with {", ".join(IMAGE_SUFFIXES)} '
                              'files, a video file or a bag')
        return (partial(read_image, file) for file in files)
    if suffix in IMAGE_SUFFIXES:
        return (partial(read_image, file) for file in [path])
    if suffix in BAG_SUFFIXES:
        return _pictures_of_bag(path, topic)
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
            yield partial(np.asarray, image_bgr)
    finally:
        capture.release()


def _pictures_of_bag(path: Path, topic: str) -> Generator[Picture, None, None]:
    # Imported here: a robot that replays no bag needs no bag reader.
    try:
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    except ImportError as error:
        raise SensorError(f'{path} is a bag, which needs the package rosbags', 'Run pip install rosbags') from error
    with ExitStack() as resources:
        try:
            reader = resources.enter_context(AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)))
        except Exception as error:  # rosbags lets errors of YAML, sqlite and struct through
            raise SensorError(f'{path} is not a readable bag: {" ".join(str(error).split())}',
                              'Check that the recording was ended cleanly, or run ros2 bag reindex') from error
        found = {name for name, info in reader.topics.items() if info.msgtype in IMAGE_TYPES}
        chosen = {topic} & found if topic else found
        if len(chosen) != 1:
            raise SensorError(f'the image topics of {path} are {", ".join(sorted(found)) or "none"}; '
                              f'asked for {topic or "the only one"}', 'Set replay_topic to one of them')
        connections = [connection for connection in reader.connections if connection.topic in chosen]
        messages = reader.messages(connections=connections)
        while True:
            try:
                connection, _, content = next(messages)
            except StopIteration:
                return
            except Exception as error:  # as above
                raise SensorError(f'{path} is damaged: {" ".join(str(error).split())}',
                                  'Replay a copy repaired with ros2 bag reindex') from error
            yield partial(_decode_message, reader, content, connection)


def _decode_message(reader: AnyReader, content: bytes, connection: Connection) -> np.ndarray:
    origin = f'a message of {connection.topic}'
    try:
        message = reader.deserialize(content, connection.msgtype)
    except Exception as error:  # damaged bytes surface as struct, index and value errors
        raise SensorError(f'{origin} cannot be decoded: {error}', 'Record the bag again') from error
    if connection.msgtype == COMPRESSED_IMAGE_TYPE:
        return _decode(np.asarray(message.data, np.uint8), origin)
    return decode_raw_image(message.encoding, message.height, message.width, message.step,
                            np.asarray(message.data, np.uint8), origin)


def decode_raw_image(encoding: str, height: int, width: int, step: int, data: np.ndarray, origin: str) -> np.ndarray:
    """Decode the fields of a sensor_msgs/Image of a bag.

    Args:
        encoding: One of CHANNELS.
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
    if encoding not in CHANNELS:
        raise SensorError(f'{origin} is encoded {encoding!r}', f'Record one of {", ".join(CHANNELS)}')
    row_bytes = width * CHANNELS[encoding]
    if row_bytes == 0 or step < row_bytes or data.size != height * step:
        raise SensorError(f'{origin} has {data.size} bytes and step {step} for {width}x{height} {encoding}',
                          'Record the bag again')
    image = data.reshape(height, step)[:, :row_bytes].reshape(height, width, CHANNELS[encoding])
    if encoding in TO_BGR:
        return cv2.cvtColor(np.ascontiguousarray(image), TO_BGR[encoding])
    return image
