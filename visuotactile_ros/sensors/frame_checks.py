"""FrameOrder and FrameChecks: whether the frames that a source gives can be what its sensor sees now."""

from __future__ import annotations

import dataclasses

import numpy as np

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame
from visuotactile_ros.parameters.sensor import SensorParameters

# Recordings at a higher rate than their camera hold each picture twice, and may be dark for a moment, which says
# nothing about a sensor.
SUSPECT_IDENTICAL_RECORDED_FRAMES = 3
SUSPECT_BLACK_RECORDED_FRAMES = 2
BLACK_REMEDY, FROZEN_REMEDY = 'Check its light, exposure and cover', 'Replug the sensor'


class FrameOrder:
    """Lets frames pass whose stamps and sequence numbers grow, whatever their source and the wall clock do.

    Args:
        sensor_name: Name in the faults.

    Attributes:
        dropped_frames: Frames that the source skipped, by its sequence numbers.
        refused_frames: Frames that did not pass.
    """

    def __init__(self, sensor_name: str):
        self.dropped_frames = self.refused_frames = 0
        self._name = sensor_name
        self._last: Frame | None = None
        self._sequence_shift = 0
        self._is_first_since_opening = True

    def source_opened(self) -> None:
        """Expect that the source may count from 0 again."""
        self._is_first_since_opening = True

    def admit(self, frame: Frame) -> Frame:
        """Return a frame that follows the last one, its sequence number continued over openings of the source.

        Raises:
            SensorError: The frame is not newer than the last one, so nobody may see it.
        """
        last, is_first_since_opening = self._last, self._is_first_since_opening
        self._is_first_since_opening = False
        if last is not None:
            if is_first_since_opening and frame.sequence + self._sequence_shift <= last.sequence:
                self._sequence_shift = last.sequence + 1 - frame.sequence
            if self._sequence_shift != 0:
                frame = dataclasses.replace(frame, sequence=frame.sequence + self._sequence_shift)
            refusal = self._refusal(frame, last)
            if refusal is not None:
                self.refused_frames += 1
                raise refusal
            self.dropped_frames += frame.sequence - last.sequence - 1
        self._last = frame
        return frame

    def _refusal(self, frame: Frame, last: Frame) -> SensorError | None:
        if frame.sequence <= last.sequence:
            return SensorError(f'{self._name} gave frame {frame.sequence} after frame {last.sequence}',
                               'Stop and start the sensor')
        if frame.stamp_ns <= last.stamp_ns:
            back_s = (last.stamp_ns - frame.stamp_ns) / 1e9
            return SensorError(f'{self._name}: the clock of the machine stands {back_s:.3f} s before the last stamp',
                               'Wait for as long, or stop and start the sensor')
        return None


class FrameChecks:
    """Counts the frames in a row that are black, or identical to the one before.

    A camera has noise: two of its frames are never identical unless its driver hands out old ones.

    Args:
        sensor_name: Name in the faults.
        parameters: From how many frames on a source counts as frozen or black, how dark black is, and whether the
            source is a device: of a device not even one such frame is believed.
    """

    def __init__(self, sensor_name: str, parameters: SensorParameters):
        self._name, self._limits = sensor_name, parameters
        self._is_device = parameters.source == 'device'
        self._suspect_identical = 2 if self._is_device else SUSPECT_IDENTICAL_RECORDED_FRAMES
        self._suspect_black = 1 if self._is_device else SUSPECT_BLACK_RECORDED_FRAMES
        self._last_image: np.ndarray | None = None
        self._identical = self._black = 0

    def add(self, image_hwc: np.ndarray) -> None:
        """Look at the next frame.

        Args:
            image_hwc: uint8 [H, W, 3], RGB; kept until the next one comes.
        """
        is_identical = self._last_image is not None and np.array_equal(image_hwc, self._last_image)
        # Every eighth pixel of every eighth row is enough to tell black from lit.
        is_black = image_hwc[::8, ::8].mean() < self._limits.black_below_level
        self._identical = self._identical + 1 if is_identical else 1
        self._black = self._black + 1 if is_black else 0
        self._last_image = image_hwc

    @property
    def is_frozen(self) -> bool:
        """Whether the source gives the same picture again and again."""
        return self._identical >= self._limits.frozen_after_frames

    def is_believable(self) -> bool:
        """Whether the newest frame may be used."""
        return self.fault() is None and not (self._is_device and self.suspicion() is not None)

    def fault(self) -> SensorError | None:
        """Why the source is not to be believed, None when it is."""
        # Black first: a sensor without light may well give identical frames, and its light is what to look at.
        if self._black >= self._limits.black_after_frames:
            return SensorError(f'{self._name} is black: {self._black} frames below '
                               f'{self._limits.black_below_level:g} grey levels', BLACK_REMEDY)
        if self.is_frozen:
            return SensorError(f'{self._name} is frozen: the last {self._identical} frames are identical',
                               FROZEN_REMEDY)
        return None

    def suspicion(self) -> SensorError | None:
        """What is not yet a fault but will be if it goes on, or None."""
        if self._black >= self._suspect_black:
            frames = 'frame is' if self._black == 1 else f'{self._black} frames are'
            return SensorError(f'{self._name} may be black: the last {frames} black', BLACK_REMEDY)
        if self._identical >= self._suspect_identical:
            return SensorError(f'{self._name} may be frozen: the last {self._identical} frames are identical',
                               FROZEN_REMEDY)
        return None
