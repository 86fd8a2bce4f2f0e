"""FrameSource: what every sensor is to the rest of the package, real, replayed or simulated."""

from __future__ import annotations

from typing import Protocol

from visuotactile_ros.frame import Frame, SensorIdentity


class FrameSource(Protocol):
    """A device or file that yields frames in order.

    Attributes:
        sensor: Identity that every frame of this source carries.
        nominal_period_s: Seconds between frames at the source's own rate.
    """

    sensor: SensorIdentity
    nominal_period_s: float

    def open(self) -> None:
        """Open the device; calling it on an open source does nothing.

        Raises:
            SensorError: The device or file cannot be used.
        """

    def grab(self) -> Frame | None:
        """Wait for the next frame, at most a few periods, and return it, stamped right after the grab.

        Returns:
            The frame, or None when a replayed source has come to its end.

        Raises:
            SensorError: The device gave no usable frame. The source stays open; the caller decides. A device that is
                gone is told by an error whose cause is an OSError ENODEV, ENXIO or ENOENT: the reader then closes the
                source and opens it again at once.
        """

    def close(self) -> None:
        """Release the device; calling it on a closed source does nothing."""
