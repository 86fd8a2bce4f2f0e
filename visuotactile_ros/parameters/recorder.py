"""Settings of the recorder: what is recorded, where to, and what it may take of memory and disk."""

from __future__ import annotations

from dataclasses import dataclass

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import check_settings, setting

COMPRESSIONS = ('none', 'lz4', 'zstd')


@dataclass(frozen=True)
class RecorderParameters:
    """Settings of the `recorder` node.

    Raises:
        ConfigurationError: A setting is outside its definition, or a name cannot be one of ROS or of a folder.
    """

    folder: str = setting('recordings', 'Folder that gets a new bag at each start')
    bag_name: str = setting('', 'Name of the bag in that folder; empty takes date and time: 2026-01-31_14-05-09')
    topics: tuple[str, ...] = setting(
        (), 'Topics to record; empty takes every topic of the namespaces and every image of the graph')
    namespaces: tuple[str, ...] = setting(
        ('/tactile', '/wrist_camera', '/pouring', '/diagnostics'),
        'Namespaces, or single topics, to record where topics is empty')
    compression: str = setting('none', 'How MCAP packs its chunks; lz4 and zstd cost CPU time', choices=COMPRESSIONS)
    queue_mib: float = setting(
        256.0, 'Messages may wait for the disk up to this size; what comes beyond it is dropped and counted',
        unit='MiB', minimum=1.0, maximum=65536.0)
    flush_period_s: float = setting(
        0.5, 'Time after which a message is in the file, so that a crash of the recorder leaves it there', unit='s',
        minimum=0.01, maximum=60.0)
    keep_free_mib: float = setting(
        1024.0, 'The recording ends cleanly when the disk has less free than this', unit='MiB', minimum=0.0)

    def __post_init__(self):
        check_settings(self)
        for name in (*self.topics, *self.namespaces):
            if not isinstance(name, str) or not name.startswith('/') or name.endswith('/'):
                raise ConfigurationError(f'{name!r} cannot be a topic or namespace to record',
                                         'Write it in full, as in /tactile/left/image_raw')
        if self.bag_name in ('.', '..') or '/' in self.bag_name:
            raise ConfigurationError(f'bag_name is {self.bag_name!r}, which is no name of a folder',
                                     'Name the place in folder and the bag alone in bag_name')
