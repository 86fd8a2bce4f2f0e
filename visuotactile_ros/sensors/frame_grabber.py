"""FrameGrabber: the one thread that reads a source, keeps the newest frame, and says when it is not to be believed."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

import numpy as np

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.interface import FrameSource

FIRST_REOPEN_PAUSE_S = 0.5
LONGEST_REOPEN_PAUSE_S = 8.0
STOP_TIMEOUT_S = 5.0
RATE_WINDOW_FRAMES = 60


@dataclass(frozen=True)
class GrabberStatistics:
    """What a grabber has seen since its start.

    Attributes:
        rate_hz: Rate over the last frames; 0 before the second frame and for a dead source.
        frame_age_ms: Time since the stamp of the newest frame; infinite before the first.
        grabbed_frames: Frames that came.
        dropped_frames: Frames that the source skipped, by its sequence numbers.
        failed_grabs: Grabs that ended in an error.
        reopened: How often the source was opened again.
        ended: Whether a replay has come to its end.
        fault: Why no frame can be read now, one line, or '' when all is well.
    """

    rate_hz: float
    frame_age_ms: float
    grabbed_frames: int
    dropped_frames: int
    failed_grabs: int
    reopened: int
    ended: bool
    fault: str


class FrameGrabber:
    """Drains a source without pause, so that no buffer ever holds an old frame.

    Args:
        source: What to read; the grabber opens and closes it.
        parameters: When the source counts as dead, frozen or black.
    """

    def __init__(self, source: FrameSource, parameters: SensorParameters):
        self._source, self._parameters = source, parameters
        self._dead_after_s = parameters.dead_after_periods * source.nominal_period_s
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._reset()

    def _reset(self) -> None:
        self._latest: Frame | None = None
        self._error: SensorError | None = None
        self._last_frame_s = time.monotonic()
        self._arrivals_s: deque[float] = deque(maxlen=RATE_WINDOW_FRAMES)
        self._grabbed = self._dropped = self._failed = self._reopened = 0
        self._identical = self._black = 0
        self._ended = False
        self._reopen_pause_s = FIRST_REOPEN_PAUSE_S

    def start(self) -> None:
        """Open the source and start to read; does nothing on a running grabber.

        Raises:
            SensorError: The source cannot be opened.
        """
        if self._thread is not None:
            return
        self._source.open()
        self._reset()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f'grab {self._source.sensor.name}', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and close the source; does nothing on a stopped grabber.

        Raises:
            SensorError: The driver of the source holds the thread and does not return.
        """
        if self._thread is None:
            return
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)
        if self._thread.is_alive():
            # Closing a device under a thread that is reading it can crash the process.
            raise SensorError(f'{self._source.sensor.name} does not return from its driver', 'Unplug it and restart')
        self._thread = None
        self._source.close()

    def read_latest(self, max_frame_age_ms: float) -> Frame:
        """Return the newest frame at once.

        Args:
            max_frame_age_ms: Oldest age of the stamp that is accepted, milliseconds.

        Raises:
            SensorError: There is no frame yet, it is too old, or the source is dead, frozen or black.
        """
        with self._changed:
            fault = self._fault()
            if fault is not None:
                raise fault
            frame, age_ms = self._latest, self._age_ms()
        if age_ms > max_frame_age_ms:
            raise SensorError(f'{frame.sensor.name}: the newest frame is {age_ms:.0f} ms old, the limit is '
                              f'{max_frame_age_ms:g} ms', 'Check the rate of the source and the load of the machine')
        return frame

    def wait_for_newer(self, sequence: int, timeout_s: float) -> Frame | None:
        """Wait for a frame that the caller has not had.

        Args:
            sequence: Sequence number of the last frame the caller had; -1 where there was none.
            timeout_s: Longest wait, seconds.

        Returns:
            The newest frame, or None when none came in time, the source is frozen or black, or a replay ended.
        """
        def ready() -> bool:
            return self._ended or (self._latest is not None and self._latest.sequence > sequence
                                   and self._image_fault() is None)
        with self._changed:
            self._changed.wait_for(ready, timeout_s)
            newer = self._latest is not None and self._latest.sequence > sequence and self._image_fault() is None
            return self._latest if newer else None

    def statistics(self) -> GrabberStatistics:
        """Summarise what the grabber has seen since its start."""
        with self._changed:
            fault, arrivals = self._fault(), self._arrivals_s
            alive = len(arrivals) > 1 and time.monotonic() - self._last_frame_s <= self._dead_after_s
            rate_hz = (len(arrivals) - 1) / max(arrivals[-1] - arrivals[0], 1e-9) if alive else 0.0
            return GrabberStatistics(rate_hz, self._age_ms(), self._grabbed, self._dropped, self._failed,
                                     self._reopened, self._ended, '' if fault is None else str(fault))

    def _age_ms(self) -> float:
        return float('inf') if self._latest is None else (time.time_ns() - self._latest.stamp_ns) / 1e6

    def _fault(self) -> SensorError | None:
        name = self._source.sensor.name
        if self._thread is None:
            return SensorError(f'{name} is not running', 'Start the sensor')
        if self._ended:
            return SensorError(f'{name}: the replay has ended', 'Start it again, or set replay_loop')
        silent_s = time.monotonic() - self._last_frame_s
        if silent_s > self._dead_after_s:
            if self._error is not None:
                return self._error
            return SensorError(f'{name} is dead: no frame for {silent_s:.1f} s', 'Check cable and power')
        if self._latest is None:
            return self._error or SensorError(f'{name} has given no frame yet', 'Wait for the first frame')
        return self._image_fault()

    def _image_fault(self) -> SensorError | None:
        name, limits = self._source.sensor.name, self._parameters
        if self._identical >= limits.frozen_after_frames:
            return SensorError(f'{name} is frozen: the last {self._identical} frames are identical',
                               'Replug the sensor')
        if self._black >= limits.black_after_frames:
            return SensorError(f'{name} is black: {self._black} frames below {limits.black_below_level:g} grey levels',
                               'Check its light, exposure and cover')
        return None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                frame = self._source.grab()
            except Exception as error:  # whatever a driver raises, a reader that dies quietly is a dead sensor
                self._note_failure(error)
                if time.monotonic() - self._last_frame_s > self._dead_after_s:
                    self._reopen()
                else:
                    self._stopping.wait(self._source.nominal_period_s)
                continue
            if frame is None:
                with self._changed:
                    self._ended = True
                    self._changed.notify_all()
                return
            self._accept(frame)

    def _note_failure(self, error: Exception) -> None:
        if not isinstance(error, SensorError):
            error = SensorError(f'{self._source.sensor.name}: {type(error).__name__} {error}', 'Replug the sensor')
        with self._changed:
            self._failed += 1
            self._error = error

    def _reopen(self) -> None:
        """Close and open the source, ever more seldom, until it opens or the grabber stops."""
        while not self._stopping.wait(self._reopen_pause_s):
            self._reopen_pause_s = min(2.0 * self._reopen_pause_s, LONGEST_REOPEN_PAUSE_S)
            try:
                self._source.close()
                self._source.open()
            except Exception as error:  # as in _run
                self._note_failure(error)
                continue
            with self._changed:
                self._reopened += 1
                self._arrivals_s.clear()
            return

    def _accept(self, frame: Frame) -> None:
        image, before = frame.image_hwc, self._latest
        identical = before is not None and np.array_equal(image, before.image_hwc)
        # Every eighth pixel of every eighth row is enough to tell black from lit.
        black = image[::8, ::8].mean() < self._parameters.black_below_level
        now_s = time.monotonic()
        with self._changed:
            self._identical = self._identical + 1 if identical else 1
            self._black = self._black + 1 if black else 0
            if before is not None:
                self._dropped += max(0, frame.sequence - before.sequence - 1)
            self._grabbed += 1
            self._error = None
            self._reopen_pause_s = FIRST_REOPEN_PAUSE_S
            self._last_frame_s = now_s
            self._arrivals_s.append(now_s)
            self._latest = frame
            self._changed.notify_all()
