"""Image messages of a rosbag2 or MCAP bag in the order of their arrival, up to where the bag is damaged."""

from __future__ import annotations

from collections.abc import Collection, Generator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from visuotactile_ros.errors import SensorError

if TYPE_CHECKING:
    from rosbags.highlevel import AnyReader
    from rosbags.typesys.store import Typestore

BAG_SUFFIXES = ('.mcap', '.db3')
COMPRESSED_IMAGE_TYPE = 'sensor_msgs/msg/CompressedImage'
IMAGE_TYPES = ('sensor_msgs/msg/Image', COMPRESSED_IMAGE_TYPE)
# A length in a damaged file may be anything. No record of a bag of images comes near this one.
LARGEST_RECORD_BYTES = 2**28


@dataclass(frozen=True)
class BagMessage:
    """One message as it stands in a bag.

    Attributes:
        topic: Where it was published.
        type_name: One of IMAGE_TYPES.
        content: The message as it was on the wire (CDR).
        received_ns: When the recorder got it, nanoseconds since the epoch.
    """

    topic: str
    type_name: str
    content: bytes
    received_ns: int


@lru_cache
def common_types() -> Typestore:
    """The message types of ROS, for bags that say nothing about theirs; those of images are alike in every one."""
    from rosbags.typesys import Stores, get_typestore
    return get_typestore(Stores.ROS2_JAZZY)


def is_bag(path: Path) -> bool:
    """Whether a file or folder is a bag by its names; a recorder that crashed leaves no metadata.yaml."""
    if path.is_dir():
        return (path / 'metadata.yaml').is_file() or any(path.glob('*.mcap'))
    return path.suffix.lower() in BAG_SUFFIXES


def image_messages(path: Path, topic: str) -> Generator[BagMessage, None, None]:
    """Read the image messages of one topic.

    Args:
        path: Bag folder or file.
        topic: Image topic; '' takes the only one.

    Raises:
        SensorError: This is no bag, has no such topic or several, or is damaged: then after the last message before
            the damage.
    """
    # Imported here: a robot that replays no bag needs no bag reader.
    try:
        from rosbags.highlevel import AnyReader
    except ImportError as error:
        raise SensorError(f'{path} is a bag, which needs the package rosbags', 'Run pip install rosbags') from error
    with ExitStack() as resources:
        try:
            reader = resources.enter_context(AnyReader([path], default_typestore=common_types()))
        except Exception as error:  # rosbags lets errors of YAML, sqlite and struct through
            problem = error
        else:
            yield from _messages_by_index(reader, path, topic)
            return
    yield from _messages_without_index(path, topic, problem)


def _choose_topic(path: Path, topic: str, found: Collection[str]) -> str:
    chosen = [name for name in found if topic in ('', name)]
    if len(chosen) != 1:
        raise SensorError(f'the image topics of {path} are {", ".join(sorted(found)) or "none"}; asked for '
                          f'{topic or "the only one"}', 'Set replay_topic to one of them')
    return chosen[0]


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split()) or type(error).__name__


def _damaged(path: Path, count: int, error: Exception) -> SensorError:
    return SensorError(f'{path} is damaged after {count} images: {_one_line(error)}',
                       'Mend a copy with mcap recover or ros2 bag reindex, or replay what there is')


def _messages_by_index(reader: AnyReader, path: Path, topic: str) -> Generator[BagMessage, None, None]:
    chosen = _choose_topic(path, topic, {name for name, info in reader.topics.items() if info.msgtype in IMAGE_TYPES})
    connections = [connection for connection in reader.connections if connection.topic == chosen]
    messages, count, last_ns = reader.messages(connections=connections), 0, 0
    while True:
        try:
            connection, received_ns, content = next(messages)
        except StopIteration:
            break
        except Exception as error:  # as above
            raise _damaged(path, count, error) from error
        # Its reader does not check the index itself.
        if received_ns < last_ns:
            raise _damaged(path, count, ValueError('its index has another order than its messages'))
        count, last_ns = count + 1, received_ns
        yield BagMessage(chosen, connection.msgtype, content, received_ns)
    expected = sum(connection.msgcount for connection in connections)
    if count != expected:
        raise _damaged(path, count, ValueError(f'its index tells of {expected}'))


def _messages_without_index(path: Path, topic: str, problem: Exception) -> Generator[BagMessage, None, None]:
    """Read what was written before a recorder crashed, or before a file was cut off.

    Args:
        path: As in `image_messages`.
        topic: As in `image_messages`.
        problem: Why the bag cannot be read by its index.
    """
    if topic == '':
        # Known before the first message goes out: half a recording of one of two cameras helps nobody.
        topic = _only_topic(path, problem)
    messages, count, found = _messages_in_file_order(path, problem), 0, set()
    while True:
        try:
            message = next(messages)
        except StopIteration:
            break
        except Exception as error:  # mcap lets errors of struct and of its decompressors through
            if found:
                raise _damaged(path, count, error) from error
            raise SensorError(f'{path} is not a readable bag: {_one_line(problem)}',
                              'Check that it is a recording of images, or run ros2 bag reindex on a copy') from error
        found.add(message.topic)
        if message.topic == topic:
            count += 1
            yield message
    _choose_topic(path, topic, found)


def _only_topic(path: Path, problem: Exception) -> str:
    """Name the only topic with images before the damage; '' where there is none."""
    found: set[str] = set()
    # What is damaged is told by the second reading, which comes to the same place.
    with suppress(Exception):
        found.update(message.topic for message in _messages_in_file_order(path, problem))
    return _choose_topic(path, '', found) if found else ''


def _messages_in_file_order(path: Path, problem: Exception) -> Generator[BagMessage, None, None]:
    from mcap.records import Channel, Message, Schema, Statistics
    from mcap.stream_reader import StreamReader
    files = path.glob('*.mcap') if path.is_dir() else [path] if path.suffix.lower() == '.mcap' else []
    # Bag_9 comes before bag_10.
    files = sorted(files, key=lambda file: (len(file.name), file.name))
    if not files:
        raise problem
    for file in files:
        types: dict[int, str] = {}
        channels: dict[int, tuple[str, str]] = {}
        count = 0
        with file.open('rb') as stream:
            reader = StreamReader(stream, validate_crcs=True, record_size_limit=LARGEST_RECORD_BYTES)
            for record in reader.records:
                if isinstance(record, Schema):
                    types[record.id] = record.name
                elif isinstance(record, Channel):
                    channels[record.id] = record.topic, types.get(record.schema_id, '')
                elif isinstance(record, Message):
                    count += 1
                    if channels[record.channel_id][1] in IMAGE_TYPES:
                        yield BagMessage(*channels[record.channel_id], record.data, record.log_time)
                elif isinstance(record, Statistics) and record.message_count != count:
                    # Records of a kind that a reader does not know are skipped, damaged ones among them.
                    raise ValueError(f'{file.name} tells of {record.message_count} messages and holds {count}')
