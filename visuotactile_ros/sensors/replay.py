"""ReplaySource: a recording as a sensor."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.pacing import Pacer
from visuotactile_ros.sensors.recorded_images import Picture, open_recording


class ReplaySource:
    """Plays a recording at a steady rate and loses no frame of it.

    A frame's stamp is the time of its grab, as if a device had taken it now: the limits on the age of a frame then hold
    for a replay as they do for a device. The stamps and the rate inside a bag or video are not used.

    Args:
        sensor: Identity that every frame carries.
        path: Image folder, image, video file or bag; see `open_recording`.
        topic: Image topic of a bag; '' takes the only one.
        rate_hz: Frames a second.
        loop: Whether the recording starts again at its end.
        geometry: Shape of the frames and the way there.
    """

    def __init__(self, sensor: SensorIdentity, path: Path, topic: str, rate_hz: float, loop: bool,
                 geometry: ImageGeometry):
        self.sensor = sensor
        self.nominal_period_s = 1.0 / rate_hz
        self._path, self._topic, self._loop, self._geometry = path, topic, loop, geometry
        self._pictures: Generator[Picture, None, None] | None = None
        self._first_picture: Picture | None = None
        self._pacer = Pacer(self.nominal_period_s)
        self._sequence = 0

    def open(self) -> None:
        """Open the recording at its first picture; does nothing where it is open.

        Raises:
            SensorError: There is no picture to replay.
        """
        if self._pictures is None:
            self._rewind()
            self._pacer = Pacer(self.nominal_period_s)

    def _rewind(self) -> None:
        self._pictures = open_recording(self._path, self._topic)
        try:
            self._first_picture = next(self._pictures, None)
            if self._first_picture is None:
                raise SensorError(f'{self._path} holds no frames', 'Check replay_path')
        except SensorError:
            self._pictures = None
            raise

    def _read_on(self) -> Picture | None:
        picture, self._first_picture = self._first_picture, None
        return next(self._pictures, None) if picture is None else picture

    def grab(self) -> Frame | None:
        """Wait for the next slot of the rate and return the next picture as a frame.

        Returns:
            The frame, or None at the end of a recording that does not loop.

        Raises:
            SensorError: The picture is damaged; the next grab goes on with the one after it.
        """
        if self._pictures is None:
            raise SensorError(f'{self.sensor.name} is not open', 'Call open() first')
        picture = self._read_on()
        if picture is None and self._loop:
            self._rewind()
            picture = self._read_on()
        if picture is None:
            return None
        self._pacer.wait()
        stamp_ns = time.time_ns()
        sequence, self._sequence = self._sequence, self._sequence + 1
        return Frame(self._geometry.apply(picture()), stamp_ns, self.sensor, sequence)

    def close(self) -> None:
        """Close the recording; does nothing where it is closed. The next open starts at the beginning."""
        if self._pictures is not None:
            self._pictures.close()
        self._pictures = self._first_picture = None
