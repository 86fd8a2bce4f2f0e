"""The grabber: newest frame only, faults told, reconnection, recovery; step by step on a simulated clock."""

import errno
import threading
import time
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_clock import SimulatedClock

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors import frame_grabber
from visuotactile_ros.sensors.frame_grabber import FrameGrabber, is_device_lost

SENSOR = SensorIdentity('left', 'digit')
PERIOD_S = 0.125  # exact in binary
LONG_AGE_MS = 60_000.0
NO_FRAME = SensorError('left: no frame', 'Check cable')


class ScriptedSource:
    """A frame source that does what the test puts into its scripts; each grab takes one period."""

    def __init__(self):
        self.sensor = SENSOR
        self.nominal_period_s = PERIOD_S
        self.clock = SimulatedClock()
        self.script, self.open_script = deque(), deque()
        self.grab_duration_s = PERIOD_S
        self.opened_s, self.closed_s = [], []

    def open(self):
        self.opened_s.append(self.clock.now_s)
        if self.open_script and (error := self.open_script.popleft()) is not None:
            raise error

    def grab(self):
        self.clock.now_s += self.grab_duration_s
        item = self.script.popleft()
        if isinstance(item, Exception):
            raise item
        return item() if callable(item) else item

    def close(self):
        self.closed_s.append(self.clock.now_s)

    def frame(self, sequence, level=100, back_s=0.0, seed=None):
        """Make a frame that is stamped when it is grabbed, or `back_s` earlier."""
        image = np.full((16, 16, 3), level, np.uint8)
        image[0, 0, 0] = sequence % 256 if seed is None else seed
        return lambda: Frame(image, self.clock.wall_ns() - round(back_s * 1e9), SENSOR, sequence)

    def frames(self, *sequences, **look):
        return [self.frame(sequence, **look) for sequence in sequences]


@pytest.fixture
def source():
    return ScriptedSource()


def grabber_of(source, *items, **settings):
    """Make a grabber whose source is open, and let it take the items."""
    grabber = FrameGrabber(source, SensorParameters(source='device', **settings), source.clock)
    assert grabber.step()
    take(grabber, source, *items)
    return grabber


def take(grabber, source, *items):
    """Let the grabber take items, one a step, opening the source before where that is closed."""
    for item in items:
        source.script.append(item)
        while source.script:
            grabber.step()


def test_newest_frame_is_read_and_may_be_read_again(source):
    grabber = grabber_of(source, *source.frames(0, 1, 2, 3, 4))
    assert grabber.read_latest(LONG_AGE_MS).sequence == 4
    assert grabber.read_latest(LONG_AGE_MS) is grabber.read_latest(LONG_AGE_MS)
    statistics = grabber.statistics()
    assert (statistics.grabbed_frames, statistics.fault, statistics.warning) == (5, '', '')
    assert statistics.rate_hz == pytest.approx(1.0 / PERIOD_S)
    assert statistics.frame_age_ms == pytest.approx(0.0, abs=1e-3)


def test_reading_before_the_first_frame_says_so(source):
    grabber = grabber_of(source)
    with pytest.raises(SensorError, match='left has given no frame yet'):
        grabber.read_latest(LONG_AGE_MS)
    assert grabber.statistics().frame_age_ms == float('inf')
    assert grabber.statistics().fault == ''


def test_stale_frame_is_refused(source):
    grabber = grabber_of(source, source.frame(0, back_s=3.0))
    with pytest.raises(SensorError, match='the limit is 200 ms'):
        grabber.read_latest(200.0)
    assert grabber.read_latest(LONG_AGE_MS).sequence == 0


def test_skipped_sequence_numbers_count_as_dropped(source):
    grabber = grabber_of(source, *source.frames(0, 3, 4, 10))
    assert grabber.statistics().dropped_frames == 7


def test_source_that_blocks_for_ever_is_dead_to_its_readers(source):
    grabber = grabber_of(source, source.frame(0), dead_after_periods=3)
    source.clock.now_s += 2.9 * PERIOD_S
    assert grabber.statistics().fault == ''
    source.clock.now_s += 0.2 * PERIOD_S
    with pytest.raises(SensorError, match='left is dead: no frame for 0.4 s'):
        grabber.read_latest(LONG_AGE_MS)
    assert grabber.statistics().rate_hz == 0.0


def test_source_that_takes_long_to_open_is_no_fault_and_one_that_never_opens_is():
    source = ScriptedSource()
    grabber = FrameGrabber(source, SensorParameters(), source.clock)
    grabber._reset()  # as a thread that has just begun
    source.clock.now_s += frame_grabber.DRIVER_TIMEOUT_S - 0.1
    assert grabber.statistics().fault == ''
    source.clock.now_s += 0.2
    assert 'left is dead: no frame for 5.1 s' in grabber.statistics().fault


def test_cause_is_told_until_the_first_frame_unless_the_source_hangs_after_it_was_opened_again(source):
    grabber = grabber_of(source, source.frame(0), os_error(errno.ENODEV), dead_after_periods=3)
    source.open_script.extend([NO_FRAME, None])
    for _ in range(2):
        grabber.step()
        assert grabber.statistics().fault == str(NO_FRAME)
    assert grabber.statistics().reopened == 1
    source.clock.now_s += 3.1 * PERIOD_S
    assert 'left is dead: no frame for' in grabber.statistics().fault
    take(grabber, source, source.frame(1))
    assert grabber.statistics().fault == ''


def test_source_that_is_there_only_later_has_a_fault_until_its_first_frame():
    source = ScriptedSource()
    source.open_script.extend([NO_FRAME, None])
    grabber = FrameGrabber(source, SensorParameters(), source.clock)
    for _ in range(2):
        grabber.step()
        assert grabber.statistics().fault == str(NO_FRAME)
    take(grabber, source, source.frame(0))
    assert grabber.statistics().fault == ''


def test_single_failed_grab_is_a_warning_and_does_not_reopen(source):
    grabber = grabber_of(source, source.frame(0), NO_FRAME)
    assert (grabber.statistics().fault, grabber.statistics().warning) == ('', str(NO_FRAME))
    assert grabber.read_latest(LONG_AGE_MS).sequence == 0
    take(grabber, source, source.frame(2))
    statistics = grabber.statistics()
    assert (statistics.failed_grabs, statistics.reopened, statistics.fault, statistics.warning) == (1, 0, '', '')
    assert len(source.opened_s) == 1 and not source.closed_s


def test_cause_is_the_fault_after_two_periods_long_before_the_source_is_dead(source):
    grabber = grabber_of(source, source.frame(0), NO_FRAME, NO_FRAME, dead_after_periods=1000)
    assert grabber.statistics().fault == ''
    take(grabber, source, NO_FRAME)
    assert grabber.statistics().fault == str(NO_FRAME)
    assert not source.closed_s


def test_failing_driver_is_never_asked_faster_than_the_rate_and_a_slow_one_not_slower(source):
    grabber = grabber_of(source, source.frame(0), dead_after_periods=1000)
    source.grab_duration_s = 0.25 * PERIOD_S
    take(grabber, source, NO_FRAME)
    assert source.clock.sleeps_s[1:] == pytest.approx([0.75 * PERIOD_S])
    source.grab_duration_s = 1.5 * PERIOD_S
    take(grabber, source, NO_FRAME)
    assert source.clock.sleeps_s[2:] == [0.0]


@pytest.mark.parametrize('error', [NO_FRAME, OSError('odd'), ValueError('odd\nbytes'), KeyError('gain')])
def test_silent_source_is_opened_again_until_it_works_whatever_its_driver_raises(source, error):
    grabber = grabber_of(source, source.frame(0), *[error] * 3, dead_after_periods=2)
    assert len(source.closed_s) == 1
    assert str(error).split('\n')[0] in grabber.statistics().fault
    assert '\n' not in grabber.statistics().fault
    source.open_script.extend([SensorError('left: cannot be opened', 'Check cable'), error])
    grabber.step()
    assert 'cannot be opened' in grabber.statistics().fault
    with pytest.raises(SensorError, match='cannot be opened'):
        grabber.read_latest(LONG_AGE_MS)
    take(grabber, source, source.frame(7))
    statistics = grabber.statistics()
    assert (statistics.grabbed_frames, statistics.reopened, statistics.fault) == (2, 1, '')


def os_error(code, text='gone'):
    return OSError(code, text)


def sensor_error_from(cause):
    error = SensorError('left: gave no frame', 'Check cable')
    error.__cause__ = cause
    return error


@pytest.mark.parametrize('error', [
    os_error(errno.ENODEV), os_error(errno.ENXIO), sensor_error_from(os_error(errno.ENODEV)),
    sensor_error_from(sensor_error_from(FileNotFoundError(errno.ENOENT, 'no /dev/video0')))])
def test_lost_device_is_a_fault_at_once_closed_at_once_and_opened_at_once(source, error):
    grabber = grabber_of(source, source.frame(0), dead_after_periods=1000)
    source.grab_duration_s = 0.0
    unplugged_s = source.clock.now_s
    take(grabber, source, error)
    assert grabber.statistics().fault != ''
    assert source.closed_s == [unplugged_s]
    grabber.step()
    assert source.opened_s[1:] == [unplugged_s]


@pytest.mark.parametrize('error', [None, NO_FRAME, os_error(errno.EIO), OSError('no number'),
                                   sensor_error_from(TimeoutError(errno.ETIMEDOUT, 'select'))])
def test_other_errors_do_not_say_that_a_device_is_lost(error):
    assert not is_device_lost(error)


def test_reopening_backs_off_until_a_good_frame_and_begins_anew_after_it(source):
    lost = os_error(errno.ENODEV)
    grabber = grabber_of(source, source.frame(0), lost, dead_after_periods=1000)
    source.open_script.extend([NO_FRAME] * 8)
    source.script.append(lost)  # it opens, and is gone before its first frame
    for _ in range(12):
        grabber.step()
        if not source.script:
            break
    take(grabber, source, source.frame(1))
    pauses_s = np.diff([source.closed_s[0], *source.opened_s[1:]])
    # The last is longer by the grab that found the device gone again.
    assert pauses_s == pytest.approx([0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0, 8.0, 8.0 + PERIOD_S])
    take(grabber, source, lost)
    assert len(source.opened_s) == 11
    grabber.step()
    assert source.opened_s[11] == source.closed_s[-1]


def test_a_source_that_cannot_be_closed_is_opened_again_all_the_same(source, monkeypatch):
    def broken_close():
        raise OSError('close fails')
    monkeypatch.setattr(source, 'close', broken_close)
    grabber = grabber_of(source, source.frame(0), os_error(errno.ENODEV))
    assert 'close fails' in grabber.statistics().fault
    take(grabber, source, source.frame(1))
    assert grabber.read_latest(LONG_AGE_MS).sequence == 1


def test_rate_is_that_since_the_last_opening(source):
    grabber = grabber_of(source, *source.frames(0, 1), os_error(errno.ENODEV))
    source.clock.now_s += 30.0
    take(grabber, source, *source.frames(2, 3, 4))
    assert grabber.statistics().rate_hz == pytest.approx(1.0 / PERIOD_S)


def test_sequence_numbers_go_on_when_a_driver_counts_from_0_after_reopening(source):
    lost = os_error(errno.ENODEV)
    grabber = grabber_of(source)
    seen = []
    for sequence, item in [(0, None), (1, None), (0, lost), (0, None), (2, None), (0, lost), (9, None), (0, lost),
                           (0, None), (1, None)]:
        take(grabber, source, source.frame(sequence) if item is None else item)
        if item is None:
            seen.append(grabber.read_latest(LONG_AGE_MS).sequence)
    assert seen == [0, 1, 2, 4, 11, 12, 13]
    assert grabber.statistics().dropped_frames == 7


@pytest.mark.parametrize('again', [3, 0])
def test_a_frame_that_comes_again_is_refused(source, again):
    grabber = grabber_of(source, *source.frames(2, 3), source.frame(again))
    assert grabber.wait_for_newer(3, 0.0) is None
    assert f'left gave frame {again} after frame 3' in grabber.statistics().warning
    assert (grabber.statistics().refused_frames, grabber.statistics().grabbed_frames) == (1, 2)
    take(grabber, source, source.frame(4))
    assert grabber.wait_for_newer(3, 0.0).sequence == 4


def test_the_last_frame_handed_out_again_after_reopening_is_refused(source):
    grabber = grabber_of(source, source.frame(0))
    old = grabber.read_latest(LONG_AGE_MS)
    take(grabber, source, os_error(errno.ENODEV), old)
    assert grabber.wait_for_newer(0, 0.0) is None
    assert grabber.statistics().refused_frames == 1


def test_frames_are_refused_while_the_wall_clock_is_set_back_and_the_source_is_not_called_dead(source):
    grabber = grabber_of(source, *source.frames(0, 1), dead_after_periods=2)
    source.clock.wall_ahead_s -= 9.25 * PERIOD_S
    for sequence in range(2, 11):
        take(grabber, source, source.frame(sequence))
        assert grabber.wait_for_newer(1, 0.0) is None
    assert 'left: the clock of the machine stands 0.031 s before the last stamp' in grabber.statistics().fault
    assert not source.closed_s
    take(grabber, source, source.frame(11))
    statistics = grabber.statistics()
    assert (statistics.fault, statistics.refused_frames, statistics.dropped_frames) == ('', 9, 9)


def test_a_new_start_forgets_a_wall_clock_that_was_far_ahead():
    source = ScriptedSource()
    grabber = FrameGrabber(source, SensorParameters(), source.clock)
    for ahead_s in (3600.0, 0.0):
        source.script.extend([source.frame(0, back_s=-ahead_s), None])
        grabber.start()
        wait_until(lambda: grabber.statistics().ended)
        assert grabber.statistics().grabbed_frames == 1
        grabber.stop()


def test_frozen_device_is_refused_opened_again_with_back_off_and_comes_back(source):
    grabber = grabber_of(source, *source.frames(0, 1, 2, seed=1), frozen_after_frames=4)
    assert grabber.read_latest(LONG_AGE_MS).sequence == 2
    assert 'the last 3 frames are identical' in grabber.statistics().warning
    take(grabber, source, source.frame(3, seed=1))
    for number in range(4):
        with pytest.raises(SensorError, match=f'left is frozen: the last {4 + number} frames are identical'):
            grabber.read_latest(LONG_AGE_MS)
        assert grabber.wait_for_newer(0, 0.0) is None
        assert len(source.closed_s) == 1 + number
        take(grabber, source, source.frame(4 + number, seed=1))
    pauses_s = [opened_s - closed_s for opened_s, closed_s in zip(source.opened_s[1:], source.closed_s)]
    assert pauses_s == pytest.approx([0.0, 0.5, 1.0, 2.0])
    take(grabber, source, source.frame(8, seed=2))
    assert grabber.read_latest(LONG_AGE_MS).sequence == 8


@pytest.mark.parametrize('fault', [NO_FRAME, os_error(errno.ENOENT), 'frozen'])
def test_replay_never_begins_anew(fault):
    source = ScriptedSource()
    grabber = FrameGrabber(source, SensorParameters(source='replay', replay_path='x', frozen_after_frames=2,
                                                    dead_after_periods=2), source.clock)
    grabber.step()
    take(grabber, source, source.frame(0),
         *(source.frames(1, 2, 3, seed=0) if fault == 'frozen' else [fault] * 5))
    assert grabber.statistics().fault != ''
    take(grabber, source, source.frame(4))
    assert grabber.statistics().fault == ''
    assert len(source.opened_s) == 1 and not source.closed_s


def test_black_source_is_refused_and_comes_back(source):
    grabber = grabber_of(source, source.frame(0), *source.frames(1, 2, level=0), black_after_frames=3)
    assert grabber.read_latest(LONG_AGE_MS).sequence == 2
    assert 'the last 2 frames are black' in grabber.statistics().warning
    take(grabber, source, source.frame(3, level=0))
    with pytest.raises(SensorError, match='left is black: 3 frames below 5 grey levels'):
        grabber.read_latest(LONG_AGE_MS)
    assert grabber.wait_for_newer(-1, 0.0) is None
    take(grabber, source, source.frame(4, level=6))
    assert grabber.read_latest(LONG_AGE_MS).sequence == 4
    assert not source.closed_s


def test_a_source_without_light_is_called_black_even_where_its_frames_are_identical(source):
    grabber = grabber_of(source, *source.frames(*range(6), level=0, seed=0), frozen_after_frames=3,
                         black_after_frames=3)
    assert 'left is black' in grabber.statistics().fault


def test_a_fault_that_is_read_often_does_not_grow(source):
    grabber = grabber_of(source, source.frame(0), os_error(errno.ENODEV))
    lengths = []
    for _ in range(5):
        with pytest.raises(SensorError) as caught:
            grabber.read_latest(LONG_AGE_MS)
        lengths.append(len(caught.traceback))
    assert len(set(lengths)) == 1


EVENT = st.one_of(
    st.tuples(st.just('frame'), st.integers(0, 5)),  # and how many are skipped before it
    st.tuples(st.just('clock'), st.floats(-3.0, 3.0)),
    st.tuples(st.sampled_from(['again', 'restart', 'damaged', 'lost', 'driver']), st.just(0)))


@given(st.lists(EVENT, max_size=60))
def test_what_comes_out_only_goes_forward_and_no_grab_is_forgotten(events):
    source = ScriptedSource()
    grabber = grabber_of(source, dead_after_periods=4)
    sequence, came, out = 0, 0, []
    for kind, value in events:
        if kind == 'clock':
            source.clock.wall_ahead_s += value
            continue
        if kind == 'restart':  # a driver that counts from 0 after each opening
            sequence, item = 0, os_error(errno.ENODEV)
        elif kind in ('frame', 'again'):
            sequence += 1 + value if kind == 'frame' else 0
            item, came = source.frame(sequence, seed=came % 256), came + 1
        else:
            item = {'damaged': NO_FRAME, 'lost': os_error(errno.ENODEV), 'driver': ValueError('odd')}[kind]
        take(grabber, source, item)
        frame = grabber.wait_for_newer(out[-1].sequence if out else -1, 0.0)
        if frame is not None:
            assert kind in ('frame', 'again')
            out.append(frame)
    statistics = grabber.statistics()
    assert all(a.stamp_ns < b.stamp_ns and a.sequence < b.sequence for a, b in zip(out, out[1:]))
    assert len(out) == statistics.grabbed_frames == came - statistics.refused_frames


# The thread.


class QueuedSource(ScriptedSource):
    """As above, in true time: a grab waits for the test."""

    def __init__(self):
        super().__init__()
        self.ready = threading.Semaphore(0)

    def grab(self):
        assert self.ready.acquire(timeout=10)
        return super().grab()

    def give(self, *items):
        self.script.extend(items)
        for _ in items:
            self.ready.release()


def wait_until(condition):
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, 'what the test waits for did not happen'
        time.sleep(0.002)


@pytest.fixture
def threaded():
    source = QueuedSource()
    grabber = FrameGrabber(source, SensorParameters(), source.clock)
    grabber.start()
    yield grabber, source
    source.give(None)
    grabber.stop()


def test_waiting_returns_only_newer_frames(threaded):
    grabber, source = threaded
    assert grabber.wait_for_newer(-1, 0.001) is None
    source.give(source.frame(0), source.frame(1))
    wait_until(lambda: grabber.statistics().grabbed_frames == 2)
    assert grabber.wait_for_newer(-1, 5.0).sequence == 1
    assert grabber.wait_for_newer(1, 0.001) is None
    threading.Timer(0.02, source.give, [source.frame(2)]).start()
    assert grabber.wait_for_newer(1, 5.0).sequence == 2


def test_waiting_ends_with_the_first_failed_grab(threaded):
    grabber, source = threaded
    got = []
    threading.Thread(target=lambda: got.append(grabber.wait_for_newer(-1, 60.0)), daemon=True).start()
    time.sleep(0.02)
    source.give(NO_FRAME)
    wait_until(lambda: got == [None])
    assert grabber.statistics().warning == str(NO_FRAME)


def test_end_of_a_replay_ends_the_thread_and_wakes_readers(threaded):
    grabber, source = threaded
    source.give(source.frame(0))
    wait_until(lambda: grabber.statistics().grabbed_frames == 1)
    threading.Timer(0.02, source.give, [None]).start()
    assert grabber.wait_for_newer(0, 5.0) is None
    assert grabber.statistics().ended
    with pytest.raises(SensorError, match='replay has ended'):
        grabber.read_latest(LONG_AGE_MS)


def test_source_that_cannot_be_opened_is_waited_for(threaded):
    grabber, source = threaded
    source.open_script.extend([NO_FRAME] * 3)
    source.give(os_error(errno.ENODEV), source.frame(0))
    wait_until(lambda: grabber.statistics().grabbed_frames == 1)
    assert len(source.opened_s) == 5


def test_stop_closes_the_source_leaves_no_thread_and_start_begins_anew():
    source = QueuedSource()
    grabber = FrameGrabber(source, SensorParameters(), source.clock)
    for _ in range(2):
        with pytest.raises(SensorError, match='left is not running'):
            grabber.read_latest(LONG_AGE_MS)
        grabber.start()
        grabber.start()  # does nothing on a running grabber
        source.give(source.frame(0))
        wait_until(lambda: grabber.statistics().grabbed_frames == 1)
        source.give(None)
        grabber.stop()
        grabber.stop()
    assert (len(source.opened_s), len(source.closed_s)) == (2, 2)
    assert not [thread for thread in threading.enumerate() if thread.name == 'grab left']


def test_stop_does_not_wait_for_the_pause_before_reopening(monkeypatch):
    monkeypatch.setattr(frame_grabber, 'FIRST_REOPEN_PAUSE_S', 60.0)
    monkeypatch.setattr(frame_grabber, 'LONGEST_REOPEN_PAUSE_S', 60.0)
    source = ScriptedSource()
    source.open_script.append(NO_FRAME)
    grabber = FrameGrabber(source, SensorParameters())
    grabber.start()
    wait_until(lambda: grabber.statistics().failed_grabs == 1)
    grabber.stop()  # raises where the thread does not end
    assert len(source.opened_s) == 1


def test_driver_that_never_returns_is_reported_and_not_closed_under_the_thread(monkeypatch):
    monkeypatch.setattr(frame_grabber, 'DRIVER_TIMEOUT_S', 0.01)
    source = QueuedSource()
    grabber = FrameGrabber(source, SensorParameters(), source.clock)
    grabber.start()
    for attempt in (grabber.stop, grabber.start):
        with pytest.raises(SensorError, match='does not return from its driver'):
            attempt()
    assert not source.closed_s
    monkeypatch.setattr(frame_grabber, 'DRIVER_TIMEOUT_S', 5.0)
    source.give(None)
    grabber.start()
    source.give(source.frame(0), None)
    wait_until(lambda: grabber.statistics().grabbed_frames == 1)
    grabber.stop()
    assert len(source.closed_s) == 2
