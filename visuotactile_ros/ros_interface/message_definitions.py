"""Definitions of message types as bags carry them, with or without a ROS distribution; imports no ROS."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from visuotactile_ros.errors import ConfigurationError

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore


@lru_cache
def message_definition(type_name: str) -> tuple[str, str]:
    """Text of a message type and of the types it is made of, and its RIHS01 hash.

    Args:
        type_name: As in `sensor_msgs/msg/Image`.

    Raises:
        ConfigurationError: Nobody here knows the type.
    """
    types = _common_types()
    if type_name not in types.fielddefs:
        try:
            _learn_installed_type(types, type_name)
        except Exception as error:  # no ament, no such package or file, a text that is no definition
            raise ConfigurationError(f'the definition of {type_name} is not known here',
                                     'Source the workspace that has it, or do not record its topics') from error
    return types.generate_msgdef(type_name, ros_version=2)[0], types.hash_rihs01(type_name)


@lru_cache
def _common_types() -> Typestore:
    from rosbags.typesys import Stores, get_typestore
    distribution = os.environ.get('ROS_DISTRO', 'jazzy').upper()
    return get_typestore(Stores.__members__.get(f'ROS2_{distribution}', Stores.ROS2_JAZZY))


def _learn_installed_type(types: Typestore, type_name: str) -> None:
    """Take a definition, and those it is made of, from the packages of a sourced distribution."""
    from ament_index_python.packages import get_package_share_directory
    from rosbags.typesys import get_types_from_msg
    package, _, name = type_name.split('/')
    text = (Path(get_package_share_directory(package)) / 'msg' / f'{name}.msg').read_text(encoding='utf-8')
    learnt = get_types_from_msg(text, type_name)
    _, fields = learnt[type_name]
    for part in (part for _, description in fields for part in _message_types_in(description)):
        if part not in types.fielddefs:
            _learn_installed_type(types, part)
    types.register(learnt)


def _message_types_in(description: tuple) -> list[str]:
    from rosbags.interfaces import Nodetype
    kind, content = description
    if kind == Nodetype.NAME:
        return [content]
    return _message_types_in(content[0]) if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE) else []
