"""BagWriter: bags as `ros2 bag record -s mcap` writes them, without a ROS distribution; imports no ROS.

Source of the format: rosbag2 0.26.5 (Jazzy), yaml.hpp and qos.cpp of rosbag2_storage, mcap_storage.cpp of
rosbag2_storage_mcap.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from visuotactile_ros.errors import ConfigurationError, VisuotactileError
from visuotactile_ros.ros_interface.message_definitions import message_definition

METADATA_VERSION = 9
# What ros2 bag writes where there is no message yet.
NO_TIME_NS = 2**63 - 1


def qos_description(profile: Any) -> dict[str, Any]:
    """The quality of service that a publisher offers, as ros2 bag writes it.

    Args:
        profile: rclpy.qos.QoSProfile, for example of `get_publishers_info_by_topic`.
    """
    def duration(value: Any) -> dict[str, int]:
        seconds, nanoseconds = divmod(value.nanoseconds, 1_000_000_000)
        return {'sec': seconds, 'nsec': nanoseconds}
    return {'history': profile.history.short_key, 'depth': profile.depth,
            'reliability': profile.reliability.short_key, 'durability': profile.durability.short_key,
            'deadline': duration(profile.deadline), 'lifespan': duration(profile.lifespan),
            'liveliness': profile.liveliness.short_key,
            'liveliness_lease_duration': duration(profile.liveliness_lease_duration),
            'avoid_ros_namespace_conventions': profile.avoid_ros_namespace_conventions}


class _PlainDumper(yaml.SafeDumper):
    """Writes a value out as often as it comes, instead of a reference to the first time."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _yaml_text(content: Any) -> str:
    return yaml.dump(content, Dumper=_PlainDumper, sort_keys=False, allow_unicode=True)


class BagWriter:
    """One bag: `<folder>/<name>_0.mcap` and, once it is closed, `<folder>/metadata.yaml`.

    Its chunks carry checksums. What was flushed can be read however the process ends.

    Args:
        folder: The bag; it must not be there yet.
        compression: `none`, `lz4` or `zstd`.

    The folder may be moved on its disk meanwhile: the bag is finished where it is then.

    Attributes:
        folder: The bag, where it was made.
        message_counts: Messages written, by topic.
        unflushed_messages: Those written since the last flush: as many may be lost when the disk fails.

    Raises:
        ConfigurationError: The bag is there already or cannot be made, or the package mcap is missing.
    """

    def __init__(self, folder: Path, compression: str = 'none'):
        try:
            from mcap.writer import CompressionType, Writer
        except ImportError as error:
            raise ConfigurationError('recording needs the package mcap', 'Run pip install mcap') from error
        self.folder = folder
        self.message_counts: dict[str, int] = {}
        self.unflushed_messages = 0
        self._file = folder / f'{folder.name}_0.mcap'
        self._topics: dict[str, dict[str, Any]] = {}
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._first_ns, self._last_ns = NO_TIME_NS, 0
        self._is_cut_off = False
        try:
            folder.mkdir(parents=True)
            self._folder_number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            self._stream = self._file.open('xb')
        except FileExistsError as error:
            raise ConfigurationError(f'{folder} exists already', 'Give the bag another name') from error
        except OSError as error:
            raise ConfigurationError(f'{folder} cannot be made: {error.strerror}', 'Record elsewhere') from error
        self._mcap = Writer(self._stream, compression=CompressionType[compression.upper()])
        self._to_disk(self._begin)

    def _begin(self) -> None:
        self._mcap.start('ros2')
        # Tells a reader of a bag that was never closed how the rest is written.
        self._mcap.add_metadata('rosbag2', {'serialized_metadata': _yaml_text(self._metadata({}))})

    def add_topic(self, name: str, type_name: str, qos_profiles: Sequence[Mapping[str, Any]] = ()) -> None:
        """Announce a topic before its first message.

        Args:
            name: Topic, not added before.
            type_name: As in `sensor_msgs/msg/Image`.
            qos_profiles: What its publishers offer, see `qos_description`.

        Raises:
            ConfigurationError: Nobody here knows the type.
        """
        definition, type_hash = message_definition(type_name)
        if type_name not in self._schemas:
            self._schemas[type_name] = self._mcap.register_schema(type_name, 'ros2msg', definition.encode())
        offered = [dict(profile) for profile in qos_profiles]
        self._channels[name] = self._mcap.register_channel(
            name, 'cdr', self._schemas[type_name],
            {'offered_qos_profiles': _yaml_text(offered), 'topic_type_hash': type_hash})
        self._topics[name] = {'name': name, 'type': type_name, 'serialization_format': 'cdr',
                              'offered_qos_profiles': offered, 'type_description_hash': type_hash}
        self.message_counts[name] = 0

    def write(self, topic: str, content: bytes, received_ns: int, published_ns: int, sequence: int = 0) -> None:
        """Add a message.

        Args:
            topic: One that was added.
            content: The message as it was on the wire (CDR); the stamp in its header stays as it is.
            received_ns: When it arrived, nanoseconds since the epoch; bags are played back by this time.
            published_ns: When its publisher sent it.
            sequence: Number that the publisher gave it, 0 where it gave none.

        Raises:
            VisuotactileError: The disk does not take it.
        """
        self._to_disk(lambda: self._mcap.add_message(self._channels[topic], received_ns, content, published_ns,
                                                     sequence))
        self.message_counts[topic] += 1
        self.unflushed_messages += 1
        self._first_ns, self._last_ns = min(self._first_ns, received_ns), max(self._last_ns, received_ns)

    def flush(self) -> None:
        """Hand everything to the operating system: the end of the process, however it comes, then loses none of it.

        Raises:
            VisuotactileError: The disk does not take it.
        """
        self._to_disk(self._mcap.flush)
        self.unflushed_messages = 0

    def free_bytes(self) -> int:
        """Room on the disk of the bag.

        Raises:
            VisuotactileError: The bag was removed, or its disk does not answer.
        """
        self._to_disk(self._refuse_removed)
        room = self._to_disk(lambda: os.fstatvfs(self._stream.fileno()))
        return room.f_bavail * room.f_frsize

    def close(self, custom_data: Mapping[str, str] | None = None) -> None:
        """Write the index and metadata.yaml; does nothing on a closed bag.

        Args:
            custom_data: Notes for the metadata.

        Raises:
            VisuotactileError: The disk does not take it; what was flushed before can still be read.
        """
        if self._stream.closed:
            return
        try:
            # An index behind a gap would lead readers astray; without one they read up to the gap.
            if not self._is_cut_off:
                self._to_disk(lambda: self._finish(self._metadata(custom_data or {})))
        finally:
            with suppress(OSError):
                self._stream.close()
            os.close(self._folder_number)

    def _refuse_removed(self) -> None:
        if os.fstat(self._stream.fileno()).st_nlink == 0:
            self._is_cut_off = True
            raise VisuotactileError(f'{self._file} was removed, or moved to another disk, while it was being written',
                                    'Start a new recording, and move it only when that is over')

    def _to_disk(self, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except OSError as error:
            self._is_cut_off = True
            raise VisuotactileError(f'{self._file} cannot be written: {error.strerror}',
                                    'Make room on the disk and start a new recording') from error

    def _finish(self, metadata: Mapping[str, Any]) -> None:
        self._refuse_removed()
        self._mcap.add_metadata('rosbag2', {'serialized_metadata': _yaml_text(metadata)})
        self._mcap.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self.unflushed_messages = 0
        # In one step: a metadata.yaml that is there is whole. By the number of the folder, which may have been moved.
        with open('.metadata.yaml', 'w', encoding='utf-8',
                  opener=partial(os.open, mode=0o666, dir_fd=self._folder_number)) as unfinished:
            unfinished.write(_yaml_text({'rosbag2_bagfile_information': metadata}))
        os.replace('.metadata.yaml', 'metadata.yaml', src_dir_fd=self._folder_number,
                   dst_dir_fd=self._folder_number)

    def _metadata(self, custom_data: Mapping[str, str]) -> dict[str, Any]:
        return {
            'version': METADATA_VERSION, 'storage_identifier': 'mcap', **self._span(),
            'topics_with_message_count': [{'topic_metadata': topic, 'message_count': self.message_counts[name]}
                                          for name, topic in self._topics.items()],
            # Of the whole file; that of the chunks stands in the chunks.
            'compression_format': '', 'compression_mode': '',
            'relative_file_paths': [self._file.name], 'files': [{'path': self._file.name, **self._span()}],
            'custom_data': dict(custom_data), 'ros_distro': os.environ.get('ROS_DISTRO', '')}

    def _span(self) -> dict[str, Any]:
        return {'duration': {'nanoseconds': max(0, self._last_ns - self._first_ns)},
                'starting_time': {'nanoseconds_since_epoch': self._first_ns},
                'message_count': sum(self.message_counts.values())}
