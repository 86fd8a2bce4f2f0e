"""ReplaySource: a recording as a sensor."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.pacing import MACHINE_CLOCK, Clock, Pacer
from visuotactile_ros.sensors.recorded_images import Picture, open_recording

REPLAY_TIMINGS = ('steady', 'recorded', 'fastest', 'lockstep')
# A grab has to return in time for a sensor to be stopped.
LONGEST_GAP_S = 2.0
ANSWER_TIMEOUT_S = 2.0


class RecordedPacer:
    """Waits as long between two pictures as passed between them when they were recorded.

    Gaps longer than LONGEST_GAP_S are cut to it. A caller who is late gets the pictures that are due without a wait,
    so that a replay takes as long as its recording did; what he is late by more than LONGEST_GAP_S is forgotten.

    Args:
        first_gap_s: Wait before the first picture, seconds.
        clock: The time that passes.
    """

    def __init__(self, first_gap_s: float, clock: Clock):
        self._first_gap_s, self._clock = first_gap_s, clock
        self._due_s = clock.monotonic_s()
        self._last_ns: int | None = None

    def begin_again(self) -> None:
        """Expect the first picture next."""
        self._last_ns = None

    def wait(self, time_ns: int) -> None:
        """Wait until the picture that was recorded at a time is due."""
        gap_s = self._first_gap_s if self._last_ns is None else (time_ns - self._last_ns) / 1e9
        now_s = self._clock.monotonic_s()
        self._last_ns = time_ns
        self._due_s = max(self._due_s + min(max(gap_s, 0.0), LONGEST_GAP_S), now_s - LONGEST_GAP_S)
        self._clock.sleep(max(0.0, self._due_s - now_s))


class ReplaySource:
    """Plays a recording and loses no frame of it: every run gives the same pictures in the same order.

    A frame's stamp is the time of its grab, as if a device had taken it now: the limits on the age of a frame then hold
    for a replay as they do for a device. When the next frame comes is one of REPLAY_TIMINGS:
      * `steady`: at `rate_hz`, whatever the recording says;
      * `recorded`: as the times in a bag or video say, see `RecordedPacer`;
      * `fastest`: as soon as it is asked for, for a caller who uses every frame he grabs;
      * `lockstep`: as soon as somebody called `answered` for the one before, for a caller who keeps the newest frame
        only, so that nothing is skipped however slow the consumer behind him is.

    Args:
        sensor: Identity that every frame carries.
        path: Image folder, image, video file or bag; see `open_recording`.
        topic: Image topic of a bag; '' takes the only one.
        rate_hz: Frames a second; for the other timings, the rate that the consumer is told to expect.
        loop: Whether the recording starts again at its end.
        geometry: Shape of the frames and the way there.
        timing: One of REPLAY_TIMINGS.
        clock: The time that passes.
        accepts_padding: For the compressed pictures of a bag, see JpegDecoder.

    Raises:
        ConfigurationError: There is no such timing.
    """

    def __init__(self, sensor: SensorIdentity, path: Path, topic: str, rate_hz: float, loop: bool,
                 geometry: ImageGeometry, timing: str = 'steady', clock: Clock = MACHINE_CLOCK,
                 accepts_padding: bool = False):
        if timing not in REPLAY_TIMINGS:
            raise ConfigurationError(f'the timing of a replay is {timing!r}',
                                     f'Choose one of {", ".join(REPLAY_TIMINGS)}')
        self.sensor = sensor
        self.nominal_period_s = 1.0 / rate_hz
        self._path, self._topic, self._loop, self._geometry = path, topic, loop, geometry
        self._timing, self._clock, self._accepts_padding = timing, clock, accepts_padding
        self._pictures: Generator[Picture, None, None] | None = None
        self._first_picture: Picture | None = None
        self._begin_pacing()
        self._sequence = 0
        self._changed = threading.Condition()
        self._unanswered_stamp_ns: int | None = None

    def open(self) -> None:
        """Open the recording at its first picture; does nothing where it is open.

        Raises:
            SensorError: There is no picture to replay, or `recorded` is asked of pictures without times.
        """
        if self._pictures is None:
            self._rewind()
            self._begin_pacing()

    def _begin_pacing(self) -> None:
        self._pacer = Pacer(self.nominal_period_s, clock=self._clock)
        self._recorded_pacer = RecordedPacer(self.nominal_period_s, self._clock)
        self._unanswered_stamp_ns = None

    def _rewind(self) -> None:
        self._pictures = open_recording(self._path, self._topic, self._accepts_padding)
        try:
            self._first_picture = next(self._pictures, None)
            if self._first_picture is None:
                raise SensorError(f'{self._path} holds no frames', 'Check replay_path')
            if self._timing == 'recorded' and self._first_picture.time_ns is None:
                raise SensorError(f'{self._path} does not say when its frames were taken',
                                  'Replay it at a steady rate')
        except SensorError:
            self._pictures = None
            raise
        self._recorded_pacer.begin_again()

    def _read_on(self) -> Picture | None:
        picture, self._first_picture = self._first_picture, None
        return next(self._pictures, None) if picture is None else picture

    def grab(self) -> Frame | None:
        """Wait until the next picture is due and return it as a frame.

        Returns:
            The frame, or None at the end of a recording that does not loop.

        Raises:
            SensorError: The picture is damaged, and the next grab goes on with the one after it; or the recording is,
                and the next grab finds its end; or nobody answered the last frame in `lockstep`, and the next grab goes
                on without.
        """
        if self._pictures is None:
            raise SensorError(f'{self.sensor.name} is not open', 'Call open() first')
        if self._timing == 'lockstep':
            self._wait_for_answer()
        picture = self._read_on()
        if picture is None and self._loop:
            self._rewind()
            picture = self._read_on()
        if picture is None:
            return None
        self._wait_until_due(picture)
        stamp_ns = self._clock.wall_ns()
        sequence, self._sequence = self._sequence, self._sequence + 1
        frame = Frame(self._geometry.apply(picture.decode()), stamp_ns, self.sensor, sequence)
        with self._changed:
            self._unanswered_stamp_ns = stamp_ns
        return frame

    def _wait_until_due(self, picture: Picture) -> None:
        if self._timing == 'steady':
            self._pacer.wait()
        elif self._timing == 'recorded':
            self._recorded_pacer.wait(picture.time_ns)

    def _wait_for_answer(self) -> None:
        with self._changed:
            is_answered = self._changed.wait_for(lambda: self._unanswered_stamp_ns is None, ANSWER_TIMEOUT_S)
            self._unanswered_stamp_ns = None
        if not is_answered:
            raise SensorError(f'nobody answered frame {self._sequence - 1} of {self.sensor.name} in '
                              f'{ANSWER_TIMEOUT_S:g} s', 'Check that its consumer runs')

    def answered(self, stamp_ns: int) -> None:
        """Tell from any thread that the consumer is done with a frame and with all before it.

        Args:
            stamp_ns: Stamp of the frame.
        """
        with self._changed:
            if self._unanswered_stamp_ns is not None and stamp_ns >= self._unanswered_stamp_ns:
                self._unanswered_stamp_ns = None
                self._changed.notify()

    def close(self) -> None:
        """Close the recording; does nothing where it is closed. The next open starts at the beginning."""
        if self._pictures is not None:
            self._pictures.close()
        self._pictures = self._first_picture = None
