"""The watchdog over the age of the last command."""

import threading

import pytest

from visuotactile_ros.robot.watchdog import Watchdog, WatchdogThread


@pytest.fixture
def clock():
    return [0.0]


@pytest.fixture
def expiries():
    return []


@pytest.fixture
def watchdog(clock, expiries):
    return Watchdog(0.5, expiries.append, lambda: clock[0])


def test_it_waits_to_be_started(watchdog, clock, expiries):
    clock[0] = 100.0
    assert not watchdog.check()
    assert expiries == []


def test_it_expires_once_and_latches(watchdog, clock, expiries):
    watchdog.start()
    clock[0] = 0.5
    assert not watchdog.check()
    clock[0] = 0.6
    assert watchdog.check() and watchdog.check()
    assert expiries == [pytest.approx(0.6)]
    watchdog.feed()
    clock[0] = 0.61
    assert watchdog.check(), 'feeding revived it'


def test_feeding_keeps_it_quiet(watchdog, clock, expiries):
    watchdog.start()
    for _ in range(10):
        clock[0] += 0.4
        watchdog.feed()
        assert not watchdog.check()
    assert expiries == []


def test_pausing_and_starting_again(watchdog, clock, expiries):
    watchdog.start()
    watchdog.pause()
    clock[0] = 5.0
    assert not watchdog.check()
    watchdog.feed()
    assert not watchdog.check()
    watchdog.start()
    clock[0] = 5.4
    assert not watchdog.check()
    clock[0] = 5.6
    assert watchdog.check()
    watchdog.start()
    assert not watchdog.expired


def test_the_callback_may_use_the_watchdog(clock):
    watchdog = Watchdog(0.5, lambda _: watchdog.pause(), lambda: clock[0])
    watchdog.start()
    clock[0] = 1.0
    assert watchdog.check()
    assert watchdog.expired


def test_the_thread_notices_a_silent_owner():
    expired = threading.Event()
    watchdog = Watchdog(0.02, lambda _: expired.set())
    thread = WatchdogThread(watchdog, period_s=0.01)
    thread.start()
    watchdog.start()
    assert expired.wait(5.0)
    thread.stop()


def test_the_callback_may_stop_the_thread():
    stopped = threading.Event()

    def stop(_):
        thread.stop()
        stopped.set()

    watchdog = Watchdog(0.01, stop)
    thread = WatchdogThread(watchdog, period_s=0.01)
    thread.start()
    watchdog.start()
    assert stopped.wait(5.0)
