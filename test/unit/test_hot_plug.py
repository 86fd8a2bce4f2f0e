"""What users report of sensors, one test each: a camera that misbehaves on the USB, read through the true driver.

The cases are those of the vendors' libraries (gsrobotics 2025-06-25, digit-interface 0.2.1) and of the issues in their
repositories that the tests name.
"""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from simulated_clock import SimulatedClock
from usb_cameras import UsbBus, UsbCamera

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.parameters.definition import load_parameter_yaml
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors.frame_grabber import LATE_AFTER_PERIODS, LONGEST_REOPEN_PAUSE_S, FrameGrabber
from visuotactile_ros.sensors.sources import recorded_or_device_source

ROOT = Path(__file__).resolve().parents[2]
RATE_HZ = 10.0
SETTINGS = {'source': 'device', 'kind': 'digit', 'serial': 'D20001', 'capture_width_px': 64, 'capture_height_px': 48,
            'capture_rate_hz': RATE_HZ, 'width_px': 64, 'height_px': 48, 'warm_up_frames': 2}


class Bench:
    """A USB, the node's reading loop without ROS, and what it published and reported."""

    def __init__(self, dev, monkeypatch):
        self.clock = SimulatedClock()
        self.bus = UsbBus(dev, self.clock)
        self.bus.install(monkeypatch)
        self.published, self.repeats_allowed = [], 0

    def camera(self, serial='D20001', product='DIGIT', **look):
        return UsbCamera(product, serial, self.clock, rate_hz=RATE_HZ, **look)

    def read(self, **settings):
        parameters = SensorParameters(**(SETTINGS | settings))
        self.grabber = FrameGrabber(recorded_or_device_source(parameters), parameters, self.clock)
        return self

    def run(self, periods):
        """Let time pass; gives the texts of all faults and warnings on the way, each once."""
        texts, end_s = [], self.clock.now_s + periods / RATE_HZ
        while self.clock.now_s < end_s:
            self.grabber.step()
            frame = self.grabber.wait_for_newer(self.published[-1].sequence if self.published else -1, 0.0)
            if frame is not None:
                self.published.append(frame)
            statistics = self.grabber.statistics()
            texts += [text for text in (statistics.fault, statistics.warning) if text and text not in texts]
        return texts

    def run_until_frames(self):
        """Let time pass until a frame is published; fails when that takes longer than the longest pause."""
        before, end_s = len(self.published), self.clock.now_s + LONGEST_REOPEN_PAUSE_S + 5.0
        while len(self.published) == before:
            self.run(1)
            assert self.clock.now_s < end_s, self.grabber.statistics().fault
        assert self.grabber.statistics().fault == ''

    def check_published(self):
        pairs = list(zip(self.published, self.published[1:]))
        assert all(a.stamp_ns < b.stamp_ns and a.sequence < b.sequence for a, b in pairs)
        assert sum(np.array_equal(a.image_hwc, b.image_hwc) for a, b in pairs) <= self.repeats_allowed


@pytest.fixture
def bench(tmp_path, monkeypatch):
    bench = Bench(tmp_path, monkeypatch)
    yield bench
    bench.check_published()
    assert sum(not capture.released for capture in bench.bus.captures) <= 1


def only(texts, *words):
    return [text for text in texts if all(word in text for word in words)]


# Finding the sensor (github.com/gelsightinc/gsrobotics/issues/5 and 26).


@pytest.mark.parametrize('metadata_first', [False, True])
def test_webcams_and_metadata_nodes_are_never_opened(bench, metadata_first):
    bench.bus.plug(bench.camera('', 'Webcam C270'), metadata_first)
    bench.bus.plug(bench.camera('D20002'), metadata_first)
    camera = bench.bus.plug(bench.camera(), metadata_first)
    assert bench.read().run(20) == []
    assert [capture.camera for capture in bench.bus.captures] == [camera]
    assert bench.published[-1].sensor.serial == 'D20001'


def test_serial_that_is_not_there_is_told_with_those_that_are_and_waited_for(bench):
    bench.bus.plug(bench.camera('D20002'))
    texts = bench.read().run(100)
    assert only(texts, 'D20001', 'D20002') == texts != []
    assert bench.published == []
    bench.bus.plug(bench.camera())
    bench.run_until_frames()


def test_without_a_serial_the_only_sensor_of_the_kind_is_read_and_two_are_refused(bench):
    bench.bus.plug(bench.camera('', 'Webcam C270'))
    first, second = bench.bus.plug(bench.camera('D20001')), bench.bus.plug(bench.camera('D20002'))
    texts = bench.read(serial='').run(50)
    assert only(texts, 'D20001', 'D20002', 'Set serial') and bench.published == []
    bench.bus.unplug(second)
    bench.run_until_frames()
    assert bench.published[-1].sensor.serial == 'D20001'
    # From then on it is that one, and no other takes its place.
    bench.bus.unplug(first)
    bench.bus.plug(second)
    count = len(bench.published)
    assert only(bench.run(200), 'D20001') and len(bench.published) == count


# Opening it.


def test_device_that_cannot_be_opened_is_told_and_tried_again(bench):
    camera = bench.bus.plug(bench.camera())
    camera.fault = 'in use'
    assert only(bench.read().run(50), camera.path, 'cannot be opened') and bench.published == []
    camera.fault = ''
    bench.run_until_frames()


@pytest.mark.parametrize('ignored', ['FRAME_WIDTH', 'FRAME_HEIGHT', 'FPS'])
def test_mode_that_is_not_honoured_is_told_and_never_published(bench, ignored):
    camera = bench.bus.plug(bench.camera())
    camera.ignores = (getattr(cv2, f'CAP_PROP_{ignored}'),)
    assert only(bench.read().run(50), f'has {ignored}') and bench.published == []


def test_size_that_changes_later_is_refused(bench):
    camera = bench.bus.plug(bench.camera())
    bench.read().run(10)
    camera.width_px, camera.height_px, count = 128, 96, len(bench.published)
    assert only(bench.run(LATE_AFTER_PERIODS + 1), '(96, 128, 3)') and len(bench.published) == count
    camera.width_px, camera.height_px = 64, 48
    bench.run_until_frames()


def test_bus_without_room_is_told_and_the_sensor_comes_when_there_is_some(bench):
    """github.com/XenseRobotics-AI/xense-taccap-lerobot/pull/17."""
    camera = bench.bus.plug(bench.camera())
    camera.bandwidth = False
    assert only(bench.read().run(100), 'gave no frame', 'USB bandwidth') and bench.published == []
    camera.bandwidth = True
    bench.run_until_frames()


def test_light_of_a_digit_is_set_at_every_opening(bench):
    """digit-interface turns the light off where it takes the firmware for an old one."""
    camera = bench.bus.plug(bench.camera())
    bench.read().run(5)
    assert camera.controls[cv2.CAP_PROP_ZOOM] == 4095
    bench.bus.unplug(camera)
    bench.run(20)
    bench.bus.plug(camera)
    assert camera.controls == {}
    bench.run_until_frames()
    assert camera.controls[cv2.CAP_PROP_ZOOM] == 4095


def test_presets_avoid_the_modes_that_are_known_to_fail():
    """github.com/facebookresearch/digit-interface/issues/10 (torn VGA frames of DIGIT) and the USB budget above."""
    digit = load_parameter_yaml(ROOT / 'config' / 'digit.yaml')
    assert (digit['capture_width_px'], digit['capture_height_px']) == (320, 240)
    assert load_parameter_yaml(ROOT / 'config' / 'wrist_camera.yaml')['capture_fourcc'] == 'MJPG'


# Losing it and finding it again.


def test_unplugged_sensor_is_told_in_time_and_gives_nothing(bench):
    camera = bench.bus.plug(bench.camera())
    bench.read().run(20)
    bench.bus.unplug(camera)
    count = len(bench.published)
    assert only(bench.run(1), camera.path, 'is gone') and bench.grabber.statistics().fault != ''
    assert only(bench.run(300), 'there is no digit with serial D20001', 'no camera at all')
    assert len(bench.published) == count


def test_sensor_is_found_again_at_another_node_number_and_goes_on_counting(bench):
    camera = bench.bus.plug(bench.camera())
    bench.read().run(20)
    first_path, last = camera.path, bench.published[-1]
    bench.bus.unplug(camera)
    bench.run(30)
    bench.bus.plug(bench.camera('', 'Webcam C270'))
    bench.bus.plug(camera)
    bench.run_until_frames()
    assert camera.path != first_path
    assert bench.published[-1].sequence > last.sequence
    assert bench.grabber.statistics().reopened == 1
    assert bench.run(20) == []


def test_another_sensor_in_its_place_is_refused_until_the_right_one_is_back(bench):
    camera, other = bench.bus.plug(bench.camera()), bench.camera('D20002')
    bench.read().run(20)
    path, count = camera.path, len(bench.published)
    bench.bus.unplug(camera)
    bench.bus.plug(other)
    assert other.path == path
    assert only(bench.run(300), 'D20001', 'D20002') and len(bench.published) == count
    bench.bus.unplug(other)
    bench.bus.plug(camera)
    bench.run_until_frames()
    assert {frame.sensor.serial for frame in bench.published} == {'D20001'}


@pytest.mark.parametrize('settings', [{}, {'device_path': 'video0'}])
def test_webcam_in_place_of_a_sensor_without_serial_is_refused_until_the_sensor_is_back(bench, settings):
    camera, webcam = bench.bus.plug(bench.camera('', 'USB Camera')), bench.camera('AB12', 'Webcam C270')
    settings = {name: str(bench.bus.dev / path) for name, path in settings.items()}
    bench.read(kind='vitactip', serial='', **settings).run(20)
    count = len(bench.published)
    bench.bus.unplug(camera)
    bench.bus.plug(webcam)
    assert only(bench.run(300), 'AB12', 'Plug the first one in') and len(bench.published) == count
    bench.bus.unplug(webcam)
    bench.bus.plug(camera)
    bench.run_until_frames()
    assert {frame.sensor.serial for frame in bench.published} == {''}


def test_another_sensor_at_a_fixed_path_is_refused(bench):
    camera, other = bench.bus.plug(bench.camera()), bench.camera('D20002')
    bench.read(device_path=camera.path).run(20)
    count = len(bench.published)
    bench.bus.unplug(camera)
    bench.bus.plug(other)
    assert only(bench.run(300), 'D20001', 'D20002') and len(bench.published) == count


def test_quick_replug_at_the_same_number_is_no_longer_the_open_device(bench):
    camera = bench.bus.plug(bench.camera())
    bench.read().run(20)
    capture = bench.bus.captures[0]
    bench.bus.unplug(camera)
    bench.run(1)
    bench.bus.plug(camera)
    bench.run_until_frames()
    assert capture.released


def test_select_timeouts_end_with_the_device_opened_again(bench):
    """github.com/gelsightinc/gsrobotics/issues/16, github.com/facebookresearch/digit-interface/issues/17."""
    assert float(os.environ['OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT']) < 10.0
    camera = bench.bus.plug(bench.camera())
    bench.read().run(20)
    camera.fault, count = 'stalled', len(bench.published)
    assert only(bench.run(60), 'gave no frame') and len(bench.published) == count
    camera.fault = ''
    bench.run_until_frames()
    assert bench.grabber.statistics().reopened >= 1


@pytest.mark.parametrize('error', [RuntimeError('driver fault'), cv2.error('VIDIOC_DQBUF'), OSError(5, 'EIO'),
                                   SystemExit(-1), AttributeError("'NoneType' object has no attribute 'read'")])
def test_whatever_a_driver_raises_is_told_and_survived(bench, error):
    camera = bench.bus.plug(bench.camera())
    bench.read().run(20)
    camera.fault, camera.error = 'raises', error
    assert only(bench.run(LATE_AFTER_PERIODS + 1), type(error).__name__)
    bench.run(50)
    camera.fault = ''
    bench.run_until_frames()


# Frames that are not to be believed.


def test_frozen_pictures_are_suspected_refused_and_end_with_the_device_opened_again(bench):
    camera = bench.bus.plug(bench.camera())
    bench.read(frozen_after_frames=5).run(20)
    still, moving = camera.noisy_picture(), camera.picture
    camera.picture = lambda: still
    assert only(bench.run(3), 'the last 3 frames are identical')
    assert only(bench.run(200), 'frozen') and bench.grabber.statistics().reopened >= 1
    bench.repeats_allowed = 3  # those before the fifth
    camera.picture = moving
    bench.run_until_frames()


def test_black_pictures_are_refused_and_the_device_stays_open(bench):
    camera = bench.bus.plug(bench.camera())
    bench.read(black_after_frames=3).run(20)
    lit = camera.picture
    camera.picture = lambda: camera.noisy_picture(0, 4)
    assert only(bench.run(3), 'the last 2 frames are black')
    count = len(bench.published)
    assert only(bench.run(100), 'left is black', 'light') and len(bench.published) == count
    camera.picture = lit
    bench.run_until_frames()
    assert bench.grabber.statistics().reopened == 0


def test_half_a_jpeg_is_told_and_never_published(bench):
    camera = bench.bus.plug(bench.camera())
    jpegs = [cv2.imencode('.jpg', camera.noisy_picture())[1].tobytes() for _ in range(9)]
    turn = iter(range(10**6))
    camera.picture = lambda: jpegs[next(turn) % len(jpegs)]
    bench.read(capture_fourcc='MJPG').run(20)
    whole, count = camera.picture, len(bench.published)
    camera.picture = lambda: whole()[:700]
    assert only(bench.run(1), 'left', 'damaged JPEG') and bench.grabber.statistics().fault == ''
    camera.picture = whole
    bench.run_until_frames()
    assert (bench.grabber.statistics().reopened, bench.grabber.statistics().failed_grabs) == (0, 1)
    assert len(bench.published) == count + 1


def test_raw_picture_whose_end_is_lost_is_told_and_never_published(bench):
    """Linux hands it out; the rest of the buffer is that of the picture before the last."""
    camera = bench.bus.plug(bench.camera())
    held = [camera.noisy_picture(), camera.noisy_picture()]

    def picture():
        rows = camera.height_px - lost_rows
        held.append(np.concatenate([camera.noisy_picture()[:rows], held.pop(0)[rows:]]))
        return held[-1]
    camera.picture, lost_rows = picture, 0
    bench.read().run(20)
    count, lost_rows = len(bench.published), 1
    assert only(bench.run(8), 'left', 'without its end') and len(bench.published) == count
    lost_rows = 0
    bench.run_until_frames()
    assert bench.grabber.statistics().reopened == 0


def test_colours_come_out_as_rgb(bench):
    camera = bench.bus.plug(bench.camera())
    blue_below_red = np.full((48, 64, 3), (200, 100, 50), np.uint8)
    blue_below_red[:24] = (50, 100, 200)
    camera.picture = lambda: blue_below_red + camera.noise.integers(0, 2, (48, 64, 3), np.uint8)
    bench.read().run(5)
    image = bench.published[-1].image_hwc
    assert image[:24, :, 0].min() >= 200 and image[24:, :, 2].min() >= 200


def test_settings_that_can_never_work_are_no_matter_of_waiting():
    with pytest.raises(ConfigurationError, match='camera_controls'):
        recorded_or_device_source(SensorParameters(**SETTINGS, camera_controls='EXPOSUR=1'))
