"""Whether this user may open the cameras."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding, Request
from visuotactile_ros.sensors.discovery import VideoDevice, describe

SUBJECT = 'permissions'
GROUP_MAY_READ_AND_WRITE = 0o060


def check(request: Request) -> Iterator[Finding]:
    """Find the cameras that cannot be opened, and why."""
    sensors = [camera for _, camera in request.sensors()]
    for camera in request.cameras:
        name, node = describe(camera), Path(camera.path)
        # Some other camera, as that of a laptop, is no concern of ours.
        mark = BROKEN if camera in sensors else NOTE
        if not node.exists():
            yield Finding(mark, SUBJECT, f'{name}: the kernel has the camera, but {camera.path} is not here',
                          f'In a container start it with --device {camera.path}, or replug the camera')
        elif may_open(camera):
            yield Finding(OK, SUBJECT, f'{name} may be opened')
        else:
            user = _user() or f'user {os.getuid()}'
            yield Finding(mark, SUBJECT, f'{name} may not be opened by {user}', _remedy(node))


def may_open(camera: VideoDevice) -> bool:
    """Whether the node of a camera is here and this user may read and write it."""
    return os.access(camera.path, os.R_OK | os.W_OK)


def _user() -> str:
    """Name of this user; '' for one who has a number only, as in a container that was started for another one."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ''


def _remedy(node: Path) -> str:
    status = node.stat()
    if status.st_gid == 0 or status.st_mode & GROUP_MAY_READ_AND_WRITE != GROUP_MAY_READ_AND_WRITE:
        return 'Install the udev rules: ros2 run visuotactile_ros udev_rules'
    try:
        group = grp.getgrgid(status.st_gid)
    except KeyError:  # in a container the group may have a number only
        group = None
    user = _user()
    if group is None or user == '':
        return f'Start the container with --group-add {status.st_gid}'
    if user in group.gr_mem:
        return f'{user} has joined the group {group.gr_name} after this login: log out and in again'
    return f'Run sudo usermod -aG {group.gr_name} {user}, then log out and in again'
