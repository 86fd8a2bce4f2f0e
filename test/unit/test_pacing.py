"""The clock of replayed and simulated sources, on a fake time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.sensors import pacing
from visuotactile_ros.sensors.pacing import Pacer

PERIOD_S = 0.04


class FakeTime:
    """Time that passes only by sleeping and working."""

    def __init__(self, now_s=1000.0):
        self.now_s = now_s

    def monotonic(self):
        return self.now_s

    def sleep(self, seconds):
        assert seconds >= 0.0
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch):
    fake = FakeTime()
    monkeypatch.setattr(pacing, 'time', fake)
    return fake


def test_a_quick_caller_gets_every_slot_one_period_apart(clock):
    pacer = Pacer(PERIOD_S)
    pacer.wait()
    start_s = clock.now_s
    for index in range(1, 50):
        clock.now_s += 0.01
        assert pacer.wait() == 1
        assert clock.now_s - start_s == pytest.approx(index * PERIOD_S, abs=1e-6)


def test_a_slow_caller_misses_slots_and_is_told_how_many(clock):
    pacer = Pacer(PERIOD_S)
    pacer.wait()
    clock.now_s += 2.5 * PERIOD_S
    assert pacer.wait() == 2
    assert pacer.wait() == 1


def test_phase_shifts_the_slots(clock):
    starts_s = []
    for phase in (0.0, 0.25):
        clock.now_s = 1000.001
        Pacer(PERIOD_S, phase).wait()
        starts_s.append(clock.now_s)
    assert (starts_s[1] - starts_s[0]) % PERIOD_S == pytest.approx(0.25 * PERIOD_S, abs=1e-6)


@given(st.lists(st.floats(0.0, 0.3), max_size=30), st.floats(0.0, 1.0), st.floats(0.004, 1.0), st.floats(0.0, 1e6))
def test_slots_are_counted_without_drift(work_s, phase, period_s, start_s):
    clock = FakeTime(start_s)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pacing, 'time', clock)
        pacer = Pacer(period_s, phase)
        slots = 0
        for seconds in work_s:
            clock.now_s += seconds
            begun = pacer.wait()
            assert begun >= 1
            slots += begun
    assert slots * period_s <= clock.now_s - start_s + period_s * (1.0 + 1e-3) + 1e-6
    assert (slots + 1) * period_s >= clock.now_s - start_s - period_s * 1e-3 - 1e-6
