"""The grabber thread: newest frame only, faults told, recovery, clean stop."""

import queue
import threading
import time

import numpy as np
import pytest

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors import frame_grabber
from visuotactile_ros.sensors.frame_grabber import FrameGrabber

SENSOR = SensorIdentity('left', 'digit')
LONG_AGE_MS = 60_000.0


class ScriptedSource:
    """A frame source that does what the test puts into its script, one item a grab."""

    def __init__(self, period_s=10.0):
        self.sensor = SENSOR
        self.nominal_period_s = period_s
        self.script = queue.Queue()
        self.opened = self.closed = 0
        self.open_error = self.grab_error = None

    def open(self):
        if self.open_error is not None:
            raise self.open_error
        self.opened += 1

    def grab(self):
        if self.grab_error is not None:
            raise self.grab_error
        item = self.script.get(timeout=10)
        if isinstance(item, Exception):
            raise item
        return item

    def close(self):
        self.closed += 1


def frame(sequence, level=100, age_s=0.0, seed=None):
    image = np.full((16, 16, 3), level, np.uint8)
    image[0, 0, 0] = sequence % 256 if seed is None else seed
    return Frame(image, time.time_ns() - int(age_s * 1e9), SENSOR, sequence)


def wait_until(condition):
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, 'what the test waits for did not happen'
        time.sleep(0.002)


@pytest.fixture
def start(monkeypatch):
    monkeypatch.setattr(frame_grabber, 'FIRST_REOPEN_PAUSE_S', 0.005)
    running = []

    def run(source, **settings):
        grabber = FrameGrabber(source, SensorParameters(**settings))
        running.append((grabber, source))
        grabber.start()
        return grabber
    yield run
    for grabber, source in running:
        source.script.put(None)
        grabber.stop()


def feed(grabber, source, *items):
    """Let the grabber take items and wait until it has taken all of them."""
    for item in items:
        source.script.put(item)
    done = sum(not isinstance(item, Exception) for item in items)
    failed = len(items) - done
    before = grabber.statistics()
    wait_until(lambda: source.script.empty() and grabber.statistics().grabbed_frames >= done
               and grabber.statistics().failed_grabs >= failed)
    return before


def test_newest_frame_is_read_and_may_be_read_again(start):
    source = ScriptedSource()
    grabber = start(source)
    frames = [frame(sequence) for sequence in range(5)]
    feed(grabber, source, *frames)
    assert grabber.read_latest(LONG_AGE_MS) is frames[-1]
    assert grabber.read_latest(LONG_AGE_MS) is frames[-1]
    assert grabber.statistics().grabbed_frames == 5


def test_reading_before_the_first_frame_says_so(start):
    grabber = start(ScriptedSource())
    with pytest.raises(SensorError, match='left has given no frame yet'):
        grabber.read_latest(LONG_AGE_MS)
    assert grabber.statistics().frame_age_ms == float('inf')


def test_stale_frame_is_refused(start):
    source = ScriptedSource()
    grabber = start(source)
    feed(grabber, source, frame(0, age_s=3.0))
    with pytest.raises(SensorError, match='the limit is 200 ms'):
        grabber.read_latest(200.0)
    assert grabber.read_latest(LONG_AGE_MS).sequence == 0


def test_waiting_returns_only_newer_frames(start):
    source = ScriptedSource()
    grabber = start(source)
    assert grabber.wait_for_newer(-1, 0.001) is None
    feed(grabber, source, frame(0), frame(1))
    assert grabber.wait_for_newer(-1, 5.0).sequence == 1
    assert grabber.wait_for_newer(1, 0.001) is None
    threading.Timer(0.02, source.script.put, [frame(2)]).start()
    assert grabber.wait_for_newer(1, 5.0).sequence == 2


def test_skipped_sequence_numbers_count_as_dropped(start):
    source = ScriptedSource()
    grabber = start(source)
    feed(grabber, source, frame(0), frame(3), frame(4), frame(10))
    assert grabber.statistics().dropped_frames == 7


def test_source_that_blocks_for_ever_is_dead_to_its_readers(start):
    source = ScriptedSource(period_s=0.001)
    grabber = start(source, dead_after_periods=3)
    source.script.put(frame(0))
    wait_until(lambda: 'dead' in grabber.statistics().fault)
    with pytest.raises(SensorError, match='left is dead: no frame for'):
        grabber.read_latest(LONG_AGE_MS)
    assert grabber.statistics().rate_hz == 0.0


def test_single_failed_grab_does_not_reopen(start):
    source = ScriptedSource(period_s=0.05)
    grabber = start(source, dead_after_periods=1000)
    feed(grabber, source, frame(0), SensorError('left: no frame', 'Check cable'), frame(2))
    assert grabber.read_latest(LONG_AGE_MS).sequence == 2
    statistics = grabber.statistics()
    assert (statistics.failed_grabs, statistics.reopened, statistics.fault) == (1, 0, '')
    assert source.opened == 1


@pytest.mark.parametrize('error', [SensorError('left: no frame', 'Check cable'), OSError('device gone'),
                                   ValueError('odd bytes')])
def test_dead_source_is_opened_again_until_it_works(start, error):
    source = ScriptedSource(period_s=0.001)
    source.grab_error = error
    grabber = start(source, dead_after_periods=2)
    source.open_error = SensorError('left: cannot be opened', 'Check cable')
    wait_until(lambda: 'cannot be opened' in grabber.statistics().fault)
    with pytest.raises(SensorError, match='cannot be opened'):
        grabber.read_latest(LONG_AGE_MS)
    source.grab_error = source.open_error = None
    source.script.put(frame(7))
    wait_until(lambda: grabber.statistics().grabbed_frames == 1)
    assert grabber.statistics().reopened >= 1
    assert source.closed >= 1


def test_reopening_backs_off(start, monkeypatch):
    pauses = []
    source = ScriptedSource(period_s=0.001)
    grabber = start(source, dead_after_periods=2)

    def no_pause(seconds):
        pauses.append(seconds)
        return len(pauses) > 2000
    monkeypatch.setattr(grabber._stopping, 'wait', no_pause)
    source.grab_error = SensorError('left: no frame', 'Check cable')
    source.script.put(frame(0))
    wait_until(lambda: frame_grabber.LONGEST_REOPEN_PAUSE_S in pauses)
    monkeypatch.undo()
    source.grab_error = None
    reopenings = [pause for pause in pauses if pause != source.nominal_period_s]
    assert reopenings[:4] == [0.005, 0.01, 0.02, 0.04]
    assert max(reopenings) == frame_grabber.LONGEST_REOPEN_PAUSE_S


def test_frozen_source_is_refused_and_comes_back(start):
    source = ScriptedSource()
    grabber = start(source, frozen_after_frames=4)
    feed(grabber, source, *[frame(sequence, seed=1) for sequence in range(3)])
    assert grabber.read_latest(LONG_AGE_MS).sequence == 2
    feed(grabber, source, frame(3, seed=1), frame(4, seed=1))
    wait_until(lambda: grabber.statistics().grabbed_frames == 5)
    with pytest.raises(SensorError, match='left is frozen: the last 5 frames are identical'):
        grabber.read_latest(LONG_AGE_MS)
    assert grabber.wait_for_newer(0, 0.001) is None
    feed(grabber, source, frame(5, seed=2))
    wait_until(lambda: grabber.statistics().grabbed_frames == 6)
    assert grabber.read_latest(LONG_AGE_MS).sequence == 5


def test_black_source_is_refused_and_comes_back(start):
    source = ScriptedSource()
    grabber = start(source, black_after_frames=3, black_below_level=5.0)
    feed(grabber, source, *[frame(sequence, level=0) for sequence in range(3)])
    wait_until(lambda: grabber.statistics().grabbed_frames == 3)
    with pytest.raises(SensorError, match='left is black: 3 frames below 5 grey levels'):
        grabber.read_latest(LONG_AGE_MS)
    assert grabber.wait_for_newer(-1, 0.001) is None
    feed(grabber, source, frame(3, level=6))
    wait_until(lambda: grabber.statistics().grabbed_frames == 4)
    assert grabber.read_latest(LONG_AGE_MS).sequence == 3


def test_end_of_a_replay_ends_the_thread_and_wakes_readers(start):
    source = ScriptedSource()
    grabber = start(source)
    feed(grabber, source, frame(0))
    threading.Timer(0.02, source.script.put, [None]).start()
    assert grabber.wait_for_newer(0, 5.0) is None
    assert grabber.statistics().ended
    with pytest.raises(SensorError, match='replay has ended'):
        grabber.read_latest(LONG_AGE_MS)


def test_source_that_cannot_be_opened_does_not_start_and_can_be_started_later():
    source = ScriptedSource()
    source.open_error = SensorError('left: cannot be opened', 'Check cable')
    grabber = FrameGrabber(source, SensorParameters())
    with pytest.raises(SensorError, match='cannot be opened'):
        grabber.start()
    with pytest.raises(SensorError, match='left is not running'):
        grabber.read_latest(LONG_AGE_MS)
    source.open_error = None
    source.script.put(None)
    grabber.start()
    grabber.stop()
    assert (source.opened, source.closed) == (1, 1)


def test_stop_closes_the_source_leaves_no_thread_and_start_begins_anew():
    source = ScriptedSource()
    grabber = FrameGrabber(source, SensorParameters())
    for _ in range(2):
        grabber.start()
        grabber.start()  # does nothing on a running grabber
        feed(grabber, source, frame(0))
        source.script.put(frame(1))
        source.script.put(None)
        grabber.stop()
        grabber.stop()
        with pytest.raises(SensorError, match='not running'):
            grabber.read_latest(LONG_AGE_MS)
        source.script.queue.clear()
    assert (source.opened, source.closed) == (2, 2)
    assert not [thread for thread in threading.enumerate() if thread.name == 'grab left']


def test_driver_that_never_returns_is_reported_and_not_closed_under_the_thread(monkeypatch):
    monkeypatch.setattr(frame_grabber, 'STOP_TIMEOUT_S', 0.01)
    source = ScriptedSource()
    grabber = FrameGrabber(source, SensorParameters())
    grabber.start()
    with pytest.raises(SensorError, match='does not return from its driver'):
        grabber.stop()
    assert source.closed == 0
    source.script.put(None)
    monkeypatch.setattr(frame_grabber, 'STOP_TIMEOUT_S', 5.0)
    grabber.stop()
    assert source.closed == 1
