"""A frame source that does what a test says, and a grabber that reads it step by step on a simulated clock."""

import time
from collections import deque

import numpy as np
from simulated_clock import SimulatedClock

from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.frame_grabber import FrameGrabber

SENSOR = SensorIdentity('left', 'digit')
PERIOD_S = 0.125  # exact in binary
NO_FRAME = SensorError('left: no frame', 'Check cable')


def os_error(code, text='gone'):
    return OSError(code, text)


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


def grabber_of(source, *items, warm_up_frames=0, **settings):
    """Make a grabber of a device that is open, and let it take the items."""
    settings |= {'source': 'device', 'warm_up_frames': warm_up_frames}
    grabber = FrameGrabber(source, SensorParameters(**settings), source.clock)
    assert grabber.step()
    take(grabber, source, *items)
    return grabber


def take(grabber, source, *items):
    """Let the grabber take items, one a step, opening the source before where that is closed."""
    for item in items:
        source.script.append(item)
        while source.script:
            grabber.step()


def newest(grabber):
    """The newest frame that a grabber lets out."""
    return grabber.wait_for_newer(-1, 0.0)


def wait_until(condition):
    deadline = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < deadline, 'what the test waits for did not happen'
        time.sleep(0.002)
