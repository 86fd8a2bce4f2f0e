"""What a check is asked, and what it answers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from visuotactile_ros.errors import SensorError

if TYPE_CHECKING:
    from visuotactile_ros.sensors.discovery import VideoDevice

OK, NOTE, BROKEN = 'ok', 'note', 'broken'


@dataclass(frozen=True)
class Finding:
    """One thing that was found.

    Attributes:
        mark: `ok`, `note` (works, or was not tried) or `broken`.
        subject: What was looked at, in a word or two.
        finding: What was found, as one sentence without a full stop.
        remedy: What to do about it, '' for nothing; whatever is broken has one.
    """

    mark: str
    subject: str
    finding: str
    remedy: str = ''

    def __post_init__(self):
        if self.mark == BROKEN and not self.remedy:
            raise ValueError(f'{self.finding}: a broken thing needs a remedy')

    def lines(self) -> str:
        """Mark and finding as one line, the remedy on a second one."""
        remedy = f'\n        {"do:":>8} {self.remedy}' if self.remedy else ''
        return f'{self.mark:6}  {self.subject}: {self.finding}{remedy}'


@dataclass(frozen=True)
class Request:
    """What is examined; every check gets all of it.

    Attributes:
        cameras: The cameras that are plugged in.
        expected: Kind of each sensor that must be there, and its serial number, or the path of its node (as under
            /dev/v4l/by-path, where it has no serial number), or '' for the only one of its kind.
        capture: Whether cameras may be opened.
        arm_address: IPv4 address of the arm, '' for none.
        arm_port: TCP port of its control connection.
    """

    cameras: tuple[VideoDevice, ...] = ()
    expected: tuple[tuple[str, str], ...] = ()
    capture: bool = True
    arm_address: str = ''
    arm_port: int = 502

    def sensors(self) -> list[tuple[str, VideoDevice]]:
        """Kind and camera of every tactile sensor: those known by their USB id, and those expected by kind."""
        # Late, so that a missing pyudev is one finding and not the end of the doctor.
        from visuotactile_ros.sensors.discovery import KNOWN_CAMERAS
        known = {kind for kind, _, _ in KNOWN_CAMERAS}
        sensors = {camera.path: (camera.kind, camera) for camera in self.cameras if camera.kind in known}
        for kind, serial_or_path in self.expected:
            try:
                camera = self.camera_of(kind, serial_or_path)
            except SensorError:
                continue  # the check of the sensors tells
            sensors[camera.path] = (kind, camera)
        return list(sensors.values())

    def camera_of(self, kind: str, serial_or_path: str) -> VideoDevice:
        """Find the camera of an expected sensor.

        Raises:
            SensorError: There is none, or more than one.
        """
        from visuotactile_ros.sensors.discovery import choose_video_device
        if not serial_or_path.startswith('/'):
            return choose_video_device(self.cameras, serial_or_path, kind)
        for camera in self.cameras:
            if camera.path == os.path.realpath(serial_or_path):
                return camera
        raise SensorError(f'{serial_or_path} is no camera that gives pictures',
                          'Name one that ends in video-index0: ls -l /dev/v4l/by-path shows them')
