"""FrameGrabber: the one thread that reads a source, keeps the newest frame, and says when it is not to be believed."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.discovery import LOST_DEVICE_ERRNOS
from visuotactile_ros.sensors.frame_checks import FrameChecks, FrameOrder
from visuotactile_ros.sensors.interface import FrameSource
from visuotactile_ros.sensors.pacing import MACHINE_CLOCK, Clock

LATE_AFTER_PERIODS = 2
FIRST_REOPEN_PAUSE_S = 0.5
LONGEST_REOPEN_PAUSE_S = 8.0
# Longest that opening a device takes, or a grab that a stopping grabber waits for.
DRIVER_TIMEOUT_S = 5.0
RATE_WINDOW_FRAMES = 60
# Whatever a driver raises: a reader that dies quietly is a dead sensor. (GelSight's marker tracker calls exit().)
DRIVER_ERRORS = (Exception, SystemExit)


@dataclass(frozen=True)
class GrabberStatistics:
    """What a grabber has seen since its start.

    Attributes:
        rate_hz: Rate over the last frames; 0 before the second frame and for a dead source.
        frame_age_ms: Time since the stamp of the newest frame that was handed out; infinite before the first.
        grabbed_frames: Frames that came, without those of a warm-up.
        dropped_frames: Frames that the source skipped, by its sequence numbers.
        refused_frames: Frames thrown away because their stamp or sequence number was not above the last one.
        failed_grabs: Grabs, and attempts to open the source, that ended in an error.
        last_failure: The error of the last of them, one line, or ''.
        reopened: How often the source was opened again.
        starting: Whether no frame has come since the last opening, but for those of a warm-up.
        ended: Whether a replay has come to its end.
        fault: Why no frame can be believed now, one line, or '' when all is well.
        warning: What went wrong without being a fault yet, one line, or ''.
    """

    rate_hz: float
    frame_age_ms: float
    grabbed_frames: int
    dropped_frames: int
    refused_frames: int
    failed_grabs: int
    last_failure: str
    reopened: int
    starting: bool
    ended: bool
    fault: str
    warning: str


def is_device_lost(error: BaseException | None) -> bool:
    """Whether an error, or one that led to it, is the system's word that a device is no longer there."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in LOST_DEVICE_ERRNOS:
            return True
        error = error.__cause__ or error.__context__
    return False


class FrameGrabber:
    """Drains a source without pause, so that no buffer ever holds an old frame, and opens it again when it fails.

    A source is closed as soon as it says that its device is lost, when it has been silent for too long, and when it is
    frozen. It is opened again at once, and ever more seldom until it has given as many good frames as it takes to tell
    that a source is frozen. What `open` finds is the source's business: a device with another serial number is one more
    reason why it cannot be opened. A replay is never opened again: it would begin anew and come to the same place.

    The first frames of a device after every opening are thrown away, until its exposure has settled. The frames that
    come out have stamps and sequence numbers that only grow, whatever the source and the wall clock do; of a device,
    none is black or identical to the one before it.

    Args:
        source: What to read; the grabber opens and closes it.
        parameters: When the source counts as dead, frozen or black, and how long it warms up.
        clock: The time that passes.
    """

    def __init__(self, source: FrameSource, parameters: SensorParameters, clock: Clock = MACHINE_CLOCK):
        self._source, self._parameters, self._clock, self._name = source, parameters, clock, source.sensor.name
        self._late_after_s = LATE_AFTER_PERIODS * source.nominal_period_s
        self._dead_after_s = parameters.dead_after_periods * source.nominal_period_s
        self._may_reopen = parameters.source != 'replay'
        self._warm_up_frames = parameters.warm_up_frames if parameters.source == 'device' else 0
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._changed = threading.Condition()
        self._is_open = False
        self._reset()
        self._error = self._not_running()

    def _reset(self) -> None:
        self._latest: Frame | None = None
        self._order, self._checks = FrameOrder(self._name), FrameChecks(self._name, self._parameters)
        self._error: SensorError | None = None
        self._last_failure = ''
        self._arrivals_s: deque[float] = deque(maxlen=RATE_WINDOW_FRAMES)
        self._grabbed = self._failed = self._times_opened = self._good_since_opening = self._warm_up_left = 0
        self._ended, self._reopen_pause_s = False, 0.0
        self._last_frame_s = self._last_sign_of_life_s = self._error_s = self._clock.monotonic_s()

    def _not_running(self) -> SensorError:
        return SensorError(f'{self._name} is not running', 'Start the sensor')

    def start(self) -> None:
        """Begin to open and read the source in a thread; does nothing on a running grabber.

        Raises:
            SensorError: The driver of the source still holds the thread of the last time.
        """
        if self._thread is not None and not self._stopping.is_set():
            return
        self.stop()
        with self._changed:
            self._reset()
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name=f'grab {self._name}', daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop reading and close the source; does nothing on a stopped grabber.

        Raises:
            SensorError: The driver of the source holds the thread and does not return.
        """
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(DRIVER_TIMEOUT_S)
            if self._thread.is_alive():
                # Closing a device under a thread that is reading it can crash the process.
                raise SensorError(f'{self._name} does not return from its driver', 'Unplug it and restart')
            self._thread = None
        if self._is_open:
            self._close_source()
        with self._changed:
            self._error = self._not_running()

    def _run(self) -> None:
        while not self._stopping.is_set() and self.step():
            pass

    def step(self) -> bool:
        """Open a closed source, or take one frame of an open one: what the thread of a grabber does again and again.

        Returns:
            False when a replay has come to its end.
        """
        if not self._is_open:
            self._open_source()
            return True
        began_s = self._clock.monotonic_s()
        try:
            frame = self._source.grab()
        except DRIVER_ERRORS as error:
            self._note_failure(error)
            now_s = self._clock.monotonic_s()
            is_dead = now_s - self._last_sign_of_life_s > self._dead_after_s
            if self._may_reopen and (is_dead or is_device_lost(error)):
                self._close_source()
            else:
                # Only a grab that failed before its time waits: after a damaged picture the next is already due.
                self._clock.sleep(max(0.0, began_s + self._source.nominal_period_s - now_s), self._stopping)
            return True
        if frame is None:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            return False
        self._accept(frame)
        return True

    def _open_source(self) -> None:
        self._clock.sleep(self._reopen_pause_s, self._stopping)
        if self._stopping.is_set():
            return
        next_pause_s = min(max(FIRST_REOPEN_PAUSE_S, 2.0 * self._reopen_pause_s), LONGEST_REOPEN_PAUSE_S)
        try:
            self._source.open()
        except DRIVER_ERRORS as error:
            self._reopen_pause_s = next_pause_s
            self._note_failure(error)
            self._close_source()
            return
        with self._changed:
            if self._times_opened > 0:
                # Whether it works now is not known yet: some give one good picture after every opening.
                self._reopen_pause_s = next_pause_s
            self._is_open = True
            self._times_opened += 1
            self._good_since_opening, self._warm_up_left = 0, self._warm_up_frames
            self._arrivals_s.clear()
            self._order.source_opened()
            self._last_sign_of_life_s = self._clock.monotonic_s()
            if self._times_opened == 1 and self._failed == 0:
                # A device may take its time to open. One that was not there before has been silent all the time.
                self._last_frame_s, self._error = self._last_sign_of_life_s, None

    def _close_source(self) -> None:
        """Close at once: a device node that is still held cannot be given to the device when it comes back."""
        with self._changed:
            self._is_open = False
        try:
            self._source.close()
        except DRIVER_ERRORS as error:
            self._note_failure(error)

    def _note_failure(self, error: BaseException) -> None:
        if not isinstance(error, SensorError):
            text = ' '.join(f'{type(error).__name__} {error}'.split())  # some fill several lines
            error = SensorError(f'{self._name}: {text}', 'Replug the sensor')
        with self._changed:
            self._failed += 1
            self._last_failure = str(error)
            self._error, self._error_s = error, self._clock.monotonic_s()
            self._changed.notify_all()

    def _accept(self, frame: Frame) -> None:
        now_s = self._clock.monotonic_s()
        with self._changed:
            self._last_sign_of_life_s = now_s
            try:
                frame = self._order.admit(frame)
            except SensorError as error:
                self._error, self._error_s = error, now_s
                return
            if self._warm_up_left > 0:
                self._warm_up_left -= 1
                self._error, self._last_frame_s = None, now_s
                return
            self._checks.add(frame.image_hwc)
            self._grabbed += 1
            self._error = None
            self._last_frame_s = now_s
            self._arrivals_s.append(now_s)
            if self._checks.is_believable():
                self._latest = frame
                self._good_since_opening += 1
            if self._good_since_opening >= self._parameters.frozen_after_frames:
                self._reopen_pause_s = 0.0
            if self._checks.is_frozen and self._may_reopen:
                self._error, self._error_s = self._checks.fault(), now_s
            self._changed.notify_all()
        if self._error is not None:
            self._close_source()

    def wait_for_newer(self, sequence: int, timeout_s: float) -> Frame | None:
        """Wait for a frame that the caller has not had, or for bad news.

        Args:
            sequence: Sequence number of the last frame the caller had; -1 where there was none.
            timeout_s: Longest wait, seconds.

        Returns:
            The newest frame that is to be believed, or None when none came in time, a grab failed meanwhile, or a
            replay ended.
        """
        def is_newer() -> bool:
            return self._latest is not None and self._latest.sequence > sequence
        with self._changed:
            failed = self._failed
            self._changed.wait_for(lambda: self._ended or self._failed > failed or is_newer(), timeout_s)
            return self._latest if is_newer() else None

    def statistics(self) -> GrabberStatistics:
        """Summarise what the grabber has seen since its start."""
        with self._changed:
            fault, arrivals = self._fault(), self._arrivals_s
            alive = len(arrivals) > 1 and self._clock.monotonic_s() - self._last_frame_s <= self._dead_after_s
            rate_hz = (len(arrivals) - 1) / max(arrivals[-1] - arrivals[0], 1e-9) if alive else 0.0
            warning = self._checks.suspicion() if self._error is None else self._error
            age_ms = float('inf') if self._latest is None else (self._clock.wall_ns() - self._latest.stamp_ns) / 1e6
            return GrabberStatistics(
                rate_hz, age_ms, self._grabbed, self._order.dropped_frames, self._order.refused_frames, self._failed,
                self._last_failure, max(0, self._times_opened - 1), not arrivals, self._ended,
                '' if fault is None else str(fault), '' if warning is None else str(warning))

    def _fault(self) -> SensorError | None:
        now_s = self._clock.monotonic_s()
        silent_s = now_s - self._last_frame_s
        if self._ended and self._is_open:
            return SensorError(f'{self._name}: the replay has ended', 'Start it again, or set replay_loop')
        # A source that has been opened since and hangs is no longer silent for the reason of before.
        hangs_since_s = self._last_sign_of_life_s if self._is_open else float('inf')
        is_past = self._error_s < hangs_since_s < now_s - self._dead_after_s
        if self._error is not None and not is_past and (not self._is_open or silent_s > self._late_after_s):
            return self._error
        if silent_s > (self._dead_after_s if self._is_open else max(self._dead_after_s, DRIVER_TIMEOUT_S)):
            return SensorError(f'{self._name} is dead: no frame for {silent_s:.1f} s', 'Check cable and power')
        return self._checks.fault()
