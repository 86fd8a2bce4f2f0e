"""Two hours of simulated time with a fault every few seconds: frames only go forward, and nothing is left behind."""

import gc
import os
import threading
import time

import cv2
import numpy as np
import psutil
import pytest
from simulated_clock import SimulatedClock
from usb_cameras import SELECT_TIMEOUT_S, UsbBus, UsbCamera

from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.frame_grabber import LONGEST_REOPEN_PAUSE_S, FrameGrabber
from visuotactile_ros.sensors.pacing import Pacer
from visuotactile_ros.sensors.sources import recorded_or_device_source

RATE_HZ = 5.0
HOURS = 2
PARAMETERS = SensorParameters(
    source='device', kind='gelsight_mini', serial='2BNN4ZE7', capture_width_px=32, capture_height_px=24,
    capture_fourcc='MJPG', capture_rate_hz=RATE_HZ, width_px=32, height_px=24, warm_up_frames=2, frozen_after_frames=5)
MEAN_TIME_BETWEEN_FAULTS_S, LONGEST_FAULT_S = 10.0, 15.0
WALL_CLOCK_STEP_S = 2.0
# The longest way back: a pause that has just begun, a select() that has just begun, warm-up, and the wall clock.
RECOVERY_S = LONGEST_REOPEN_PAUSE_S + SELECT_TIMEOUT_S + 10 / RATE_HZ
# What the interpreter and psutil make anew now and then.
STRAY_OBJECTS = 500


class FaultyLab:
    """A sensor on a USB where something is wrong from time to time; all randomness comes from a seed."""

    def __init__(self, dev, seed):
        self.rng = np.random.default_rng(seed)
        self.clock = SimulatedClock()
        self.bus = UsbBus(dev, self.clock)
        self.camera = UsbCamera('GelSight Mini R0B 2BNN-4ZE7', '2BNN4ZE7', self.clock, (32, 24), RATE_HZ)
        self.other = UsbCamera('GelSight Mini R0B 28XA-T1CP', '28XAT1CP', self.clock, (32, 24), RATE_HZ)
        self.webcam = UsbCamera('Webcam C270', '', self.clock)
        self.jpegs = [self.encode(self.camera.noisy_picture()) for _ in range(64)]
        self.black = [self.encode(self.camera.noisy_picture(0, 4)) for _ in range(64)]
        self.pictures = 0
        for camera in (self.camera, self.other):
            camera.picture = self.next_picture
        self.bus.plug(self.camera)
        self.fault, self.kinds = None, set()
        self.well_since_s = self.next_change_s = self.clock.now_s
        self.latest_wall_ns = 0

    @staticmethod
    def encode(image_bgr):
        return cv2.imencode('.jpg', image_bgr)[1].tobytes()

    def next_picture(self):
        self.pictures += 1
        if self.fault == 'frozen':
            return self.jpegs[0]
        if self.fault == 'half a JPEG' and self.rng.random() < 0.5:
            return self.jpegs[self.pictures % 64][:int(self.rng.integers(1, 600))]
        return (self.black if self.fault == 'black' else self.jpegs)[self.pictures % 64]

    def go_on(self):
        """Begin or end a fault where one is due."""
        if self.clock.now_s < self.next_change_s:
            return
        if self.fault is not None:
            self.end_fault()
        else:
            self.fault = str(self.rng.choice(['unplugged', 'swapped', 'stalled', 'frozen', 'black', 'half a JPEG',
                                              'raises', 'in use', 'no bandwidth', 'wall clock']))
            self.kinds.add(self.fault)
            self.begin_fault()
        longest_s = LONGEST_FAULT_S if self.fault is not None else 2.0 * MEAN_TIME_BETWEEN_FAULTS_S
        self.next_change_s = self.clock.now_s + self.rng.uniform(0.0, longest_s)

    def begin_fault(self):
        if self.fault in ('unplugged', 'swapped', 'in use'):
            self.bus.unplug(self.camera)
            if self.fault == 'swapped':
                self.bus.plug(self.other)
            elif self.fault == 'in use':
                self.bus.plug(self.camera)
                self.camera.fault = 'in use'
        elif self.fault == 'wall clock':
            self.clock.wall_ahead_s += self.rng.uniform(-WALL_CLOCK_STEP_S, WALL_CLOCK_STEP_S)
        elif self.fault == 'no bandwidth':
            self.camera.bandwidth = False
        else:
            self.camera.fault = self.fault
            self.camera.error = self.rng.choice([RuntimeError('driver'), OSError(19, 'ENODEV'), SystemExit(-1),
                                                 ValueError('two\nlines'), cv2.error('VIDIOC_DQBUF')])

    def end_fault(self):
        if self.fault == 'swapped':
            self.bus.unplug(self.other)
        if not self.camera.is_plugged:
            if self.webcam.is_plugged:
                self.bus.unplug(self.webcam)
            elif self.rng.random() < 0.5:
                self.bus.plug(self.webcam)  # and the sensor comes back under another number
            self.bus.plug(self.camera)
        self.camera.fault, self.camera.bandwidth, self.fault = '', True, None
        self.well_since_s = self.clock.now_s


@pytest.fixture
def lab(tmp_path, monkeypatch):
    lab = FaultyLab(tmp_path, seed=3)
    lab.bus.install(monkeypatch)
    return lab


def test_two_hours_of_faults(lab):
    grabber = FrameGrabber(recorded_or_device_source(PARAMETERS), PARAMETERS, lab.clock)
    process, threads = psutil.Process(os.getpid()), threading.active_count()
    begin_s, dead_after_s = lab.clock.now_s, PARAMETERS.dead_after_periods / RATE_HZ
    published, last = 0, None
    last_published_s = begin_s
    bytes_in_minute, objects_in_minute = {10: [], 60 * HOURS: []}, {}
    while lab.clock.now_s < begin_s + 3600 * HOURS:
        lab.go_on()
        assert grabber.step()
        frame = grabber.wait_for_newer(-1 if last is None else last.sequence, 0.0)
        now_s = lab.clock.now_s
        if frame is not None:
            assert frame.stamp_ns == lab.camera.last_stamp_ns and frame.sensor.serial == '2BNN4ZE7'
            assert last is None or (frame.stamp_ns > last.stamp_ns and frame.sequence > last.sequence)
            last, last_published_s, published = frame, now_s, published + 1
        elif now_s - last_published_s > dead_after_s:
            statistics = grabber.statistics()
            is_told = statistics.starting or statistics.fault + statistics.warning != ''
            assert is_told, f'silence without a word during {lab.fault}'
            behind_s = 0.0 if last is None else max(0.0, (last.stamp_ns - lab.clock.wall_ns()) / 1e9)
            assert lab.fault is not None or now_s - lab.well_since_s < RECOVERY_S + behind_s
        assert sum(not capture.released for capture in lab.bus.captures) <= 1
        minute = int((now_s - begin_s) / 60) + 1
        if minute in bytes_in_minute:
            if minute not in objects_in_minute:
                gc.collect()
                objects_in_minute[minute] = len(gc.get_objects())
            bytes_in_minute[minute].append(process.memory_info().rss)
    grabber.stop()
    early_bytes, late_bytes = map(np.mean, bytes_in_minute.values())
    early_objects, late_objects = objects_in_minute.values()
    statistics = grabber.statistics()
    print(f'{published} frames, {statistics.failed_grabs} failed grabs, {statistics.reopened} times reopened, '
          f'{early_bytes / 2**20:.1f} to {late_bytes / 2**20:.1f} MiB, {late_objects - early_objects:.0f} new objects')
    assert late_bytes == pytest.approx(early_bytes, rel=0.05)
    assert late_objects - early_objects < STRAY_OBJECTS
    assert threading.active_count() == threads
    assert all(capture.released for capture in lab.bus.captures)
    assert len(lab.kinds) == 10 and statistics.reopened > 100 and statistics.refused_frames > 10
    assert published > 0.3 * 3600 * HOURS * RATE_HZ


def test_starting_and_stopping_amid_faults_leaves_no_thread_no_file_and_no_open_device(lab):
    grabber = FrameGrabber(recorded_or_device_source(PARAMETERS), PARAMETERS, lab.clock)
    process, threads = psutil.Process(os.getpid()), threading.active_count()
    files = process.num_fds()
    for _ in range(50):
        lab.go_on()
        grabber.start()
        deadline_s = time.monotonic() + 5.0
        while grabber.statistics().grabbed_frames + grabber.statistics().failed_grabs < 3:
            assert time.monotonic() < deadline_s
            time.sleep(0.001)
        grabber.stop()
        assert threading.active_count() == threads
        assert all(capture.released for capture in lab.bus.captures)
    assert process.num_fds() == files


def test_a_pacer_keeps_its_rate_for_two_hours():
    clock = SimulatedClock()
    pacer, begin_s = Pacer(1.0 / RATE_HZ, clock=clock), clock.now_s
    slots = 0
    while clock.now_s < begin_s + 3600 * HOURS:
        slots += pacer.wait()
    assert slots == pytest.approx(3600 * HOURS * RATE_HZ, abs=1)
