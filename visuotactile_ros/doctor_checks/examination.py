"""What a check is asked, and what it answers."""

from __future__ import annotations

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
        expected: Kind and serial number ('' for any) of sensors that must be there.
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
        from visuotactile_ros.sensors.discovery import KNOWN_CAMERAS, choose_video_device
        known = {kind for kind, _, _ in KNOWN_CAMERAS}
        sensors = {camera.path: (camera.kind, camera) for camera in self.cameras if camera.kind in known}
        for kind, serial in self.expected:
            try:
                camera = choose_video_device(self.cameras, serial, kind)
            except SensorError:
                continue  # the check of the sensors tells
            sensors[camera.path] = (kind, camera)
        return list(sensors.values())
