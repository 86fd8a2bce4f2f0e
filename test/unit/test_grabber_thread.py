"""The thread of a grabber: its readers are woken, it ends when it is told to, and it leaves nothing behind."""

import errno
import threading
import time

import pytest
from scripted_source import NO_FRAME, ScriptedSource, os_error, wait_until

from visuotactile_ros.errors import SensorError
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors import frame_grabber
from visuotactile_ros.sensors.frame_grabber import FrameGrabber


class QueuedSource(ScriptedSource):
    """A scripted source in true time: a grab waits for the test."""

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
    assert grabber.statistics().ended and 'replay has ended' in grabber.statistics().fault


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
        assert 'left is not running' in grabber.statistics().fault
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


def test_a_new_start_forgets_a_wall_clock_that_was_far_ahead():
    source = ScriptedSource()
    grabber = FrameGrabber(source, SensorParameters(), source.clock)
    for ahead_s in (3600.0, 0.0):
        source.script.extend([source.frame(0, back_s=-ahead_s), None])
        grabber.start()
        wait_until(lambda: grabber.statistics().ended)
        assert grabber.statistics().grabbed_frames == 1
        grabber.stop()
