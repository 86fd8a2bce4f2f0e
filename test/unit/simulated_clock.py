"""Time that passes only when somebody sleeps or works in it."""

from visuotactile_ros.sensors.pacing import Clock


class SimulatedClock(Clock):
    """A clock whose hands a test moves; the wall clock can be set without the other noticing."""

    def __init__(self):
        self.now_s = 1000.0
        self.wall_ahead_s = 1.7e9
        self.sleeps_s = []

    def monotonic_s(self):
        return self.now_s

    def wall_ns(self):
        return int(self.wall_ahead_s * 1e9) + int(self.now_s * 1e9)

    def sleep(self, duration_s, wake=None):
        assert duration_s >= 0.0
        self.sleeps_s.append(duration_s)
        if wake is None or not wake.is_set():
            self.now_s += duration_s
