"""The driver of USB cameras, against a class that stands in for cv2.VideoCapture: the device is the only fake."""

import os
import time

import cv2
import numpy as np
import pytest

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import SensorIdentity
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.uvc_device import CaptureMode, UvcDevice, parse_camera_controls

SENSOR = SensorIdentity('left', 'gelsight_mini', '2BNN4ZE7')


class FakeCamera:
    """What cv2.VideoCapture is to the driver; the attributes of the class say how the next camera misbehaves.

    As with V4L2, a width takes effect only when a height follows it.
    """

    present = True
    refused_property = None
    ignored_property = None
    picture_shape = (48, 64, 3)
    frames_before_unplug = 10**9
    undecodable = False
    made = []

    def __init__(self, path, backend):
        self.path, self.backend, self.properties, self.calls = path, backend, {}, []
        self.grabbed, self.released, self.coming_width = 0, False, 640.0
        FakeCamera.made.append(self)

    def isOpened(self):  # noqa: N802
        return self.present

    def set(self, number, value):
        self.calls.append(number)
        if number == self.refused_property:
            return False
        if number == cv2.CAP_PROP_FRAME_WIDTH:
            self.coming_width = value
        elif number != self.ignored_property:
            self.properties[number] = value
        if number == cv2.CAP_PROP_FRAME_HEIGHT and self.ignored_property != cv2.CAP_PROP_FRAME_WIDTH:
            self.properties[cv2.CAP_PROP_FRAME_WIDTH] = self.coming_width
        return True

    def get(self, number):
        return self.properties.get(number, -1.0)

    def grab(self):
        self.grabbed += 1
        return self.grabbed <= self.frames_before_unplug

    def retrieve(self):
        if self.undecodable:
            return False, None
        picture = np.zeros(self.picture_shape, np.uint8)
        picture[..., 0], picture[..., 2] = 200, self.grabbed % 256
        return True, picture

    def release(self):
        self.released = True


@pytest.fixture
def camera(monkeypatch):
    class Camera(FakeCamera):
        pass
    FakeCamera.made = []
    monkeypatch.setattr('visuotactile_ros.sensors.uvc_device.cv2.VideoCapture', Camera)
    return Camera


def device(fourcc='MJPG', controls='', warm_up_frames=3, width_px=64, height_px=48):
    return UvcDevice(SENSOR, '/dev/v4l/by-id/gel', CaptureMode(width_px, height_px, 25.0, fourcc, controls),
                     warm_up_frames, ImageGeometry(0.0, 0, False, 32, 24))


def test_frames_are_rgb_stamped_counted_and_in_the_promised_size(camera):
    source = device()
    source.open()
    before_ns = time.time_ns()
    first, second = source.grab(), source.grab()
    assert before_ns <= first.stamp_ns <= second.stamp_ns <= time.time_ns()
    assert (first.sequence, second.sequence) == (0, 1)
    assert first.image_hwc.shape == (24, 32, 3)
    assert first.sensor is SENSOR
    assert tuple(first.image_hwc[0, 0]) == (4, 0, 200)  # the fourth picture, after three of warm-up


def test_device_is_opened_by_path_with_v4l2_and_set_up_in_order(camera):
    device(controls='AUTO_WB=0, WB_TEMPERATURE=4500').open()
    made = FakeCamera.made[0]
    assert (made.path, made.backend) == ('/dev/v4l/by-id/gel', cv2.CAP_V4L2)
    assert made.properties[cv2.CAP_PROP_BUFFERSIZE] == 2
    assert made.calls[1:] == [cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT,
                              cv2.CAP_PROP_FPS, cv2.CAP_PROP_AUTO_WB, cv2.CAP_PROP_WB_TEMPERATURE]
    assert 0 < int(os.environ['OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT']) < 10


def test_empty_fourcc_leaves_the_format_alone(camera):
    device(fourcc='').open()
    assert cv2.CAP_PROP_FOURCC not in FakeCamera.made[0].calls


def test_opening_twice_uses_one_camera_and_closing_twice_is_allowed(camera):
    source = device()
    source.open()
    source.open()
    assert len(FakeCamera.made) == 1
    source.close()
    source.close()
    assert FakeCamera.made[0].released
    with pytest.raises(SensorError, match='not open'):
        source.grab()


@pytest.mark.parametrize('name', ['FRAME_WIDTH', 'FRAME_HEIGHT', 'FPS', 'FOURCC', 'EXPOSURE'])
@pytest.mark.parametrize('way', ['refused_property', 'ignored_property'])
def test_setting_that_is_not_honoured_is_refused_and_the_camera_released(camera, name, way):
    setattr(camera, way, getattr(cv2, f'CAP_PROP_{name}'))
    source = device(controls='EXPOSURE=180')
    with pytest.raises(SensorError, match=f'left: .* has {name} .* not ' if name != 'FRAME_HEIGHT' else
                       'left: .* has FRAME_.* not ') as caught:
        source.open()
    assert 'v4l2-ctl' in str(caught.value)
    assert FakeCamera.made[0].released
    setattr(camera, way, None)
    source.open()  # the same source works once the camera does
    assert source.grab().sequence == 0


def test_missing_camera_is_refused(camera):
    camera.present = False
    with pytest.raises(SensorError, match='cannot be opened. Check cable, device_path'):
        device().open()
    assert FakeCamera.made[0].released


def test_camera_without_frames_is_refused_at_opening(camera):
    camera.frames_before_unplug = 2
    with pytest.raises(SensorError, match='gives no frame'):
        device(warm_up_frames=3).open()
    assert FakeCamera.made[0].released


def test_unplugged_camera_gives_an_error_and_never_an_invented_frame(camera):
    camera.frames_before_unplug = 4
    source = device(warm_up_frames=3)
    source.open()
    assert source.grab().sequence == 0
    for _ in range(2):
        with pytest.raises(SensorError, match='gave no frame'):
            source.grab()


def test_picture_of_another_size_is_refused(camera):
    camera.picture_shape = (24, 32, 3)
    source = device()
    source.open()
    with pytest.raises(SensorError, match=r'\(24, 32, 3\), not \(48, 64, 3\)'):
        source.grab()


def test_picture_that_cannot_be_decoded_is_refused(camera):
    camera.undecodable = True
    source = device()
    source.open()
    with pytest.raises(SensorError, match='gave no frame'):
        source.grab()


def test_real_opencv_refuses_a_device_that_does_not_exist():
    source = UvcDevice(SENSOR, '/dev/video_that_does_not_exist', CaptureMode(64, 48, 30.0, '', ''), 0,
                       ImageGeometry(0.0, 0, False, 32, 24))
    with pytest.raises(SensorError, match='cannot be opened'):
        source.open()


def test_controls_are_read_in_order():
    assert parse_camera_controls(' AUTO_WB=0,WB_TEMPERATURE = 4500,') == [('AUTO_WB', 0.0), ('WB_TEMPERATURE', 4500.0)]
    assert parse_camera_controls('') == []


@pytest.mark.parametrize(('text', 'match'), [
    ('EXPOSUR=1', "Did you mean 'EXPOSURE'"), ('EXPOSURE', "has 'EXPOSURE'"), ('EXPOSURE=high', 'EXPOSURE=1'),
    ('EXPOSURE=nan', 'EXPOSURE=1')])
def test_bad_controls_are_refused(text, match):
    with pytest.raises(ConfigurationError, match=match):
        parse_camera_controls(text)
