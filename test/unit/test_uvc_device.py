"""The driver of USB cameras, against a class that stands in for cv2.VideoCapture: the device is the only fake."""

import dataclasses
import errno
import os
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import SensorIdentity
from visuotactile_ros.parameters.definition import build_parameters, load_parameter_yaml
from visuotactile_ros.parameters.sensor import SensorParameters
from visuotactile_ros.sensors import uvc_device
from visuotactile_ros.sensors.discovery import VideoDevice
from visuotactile_ros.sensors.frame_grabber import is_device_lost
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.jpeg_decoding import JpegDecoder
from visuotactile_ros.sensors.led_control import led_controls
from visuotactile_ros.sensors.sources import recorded_or_device_source
from visuotactile_ros.sensors.uvc_device import CaptureMode, UvcDevice, parse_camera_controls

CONFIG_FOLDER = Path(__file__).parents[2] / 'config'
REAL_FRAME = Path(__file__).parents[1] / 'data' / 'real_frames' / 'gelsight_mini_05.jpg'
SERIAL = '2BNN4ZE7'
SENSOR = SensorIdentity('left', 'gelsight_mini')
YUYV, MJPG = (float(cv2.VideoWriter.fourcc(*name)) for name in ('YUYV', 'MJPG'))


def encode(image_bgr):
    return cv2.imencode('.jpg', image_bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].ravel()


class FakeCamera:
    """What cv2.VideoCapture is to the driver; the attributes of the class say how the next camera misbehaves.

    As with V4L2, a width takes effect only when a height follows it, and MJPG comes decoded until CONVERT_RGB is off.
    """

    present = True
    refused_property = None
    ignored_property = None
    picture_shape = (48, 64, 3)
    picture = None
    frames_before_unplug = 10**9
    undecodable = False
    cut_after_byte = None
    least_buffers = 1
    made = []

    def __init__(self, path, backend):
        self.path, self.backend, self.calls = path, backend, []
        self.properties = {cv2.CAP_PROP_FOURCC: YUYV, cv2.CAP_PROP_CONVERT_RGB: 1.0}
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
        value = self.properties.get(number, -1.0)
        return max(value, self.least_buffers) if number == cv2.CAP_PROP_BUFFERSIZE else value

    def grab(self):
        self.grabbed += 1
        return self.grabbed <= self.frames_before_unplug

    def retrieve(self):
        if self.undecodable:
            return False, None
        picture = self.picture
        if picture is None:
            picture = np.zeros(self.picture_shape, np.uint8)
            picture[..., 0], picture[..., 2] = 200, self.grabbed % 256
        if self.properties[cv2.CAP_PROP_FOURCC] != MJPG or self.properties[cv2.CAP_PROP_CONVERT_RGB] == 1.0:
            return True, picture
        return True, encode(picture)[None, :self.cut_after_byte]

    def release(self):
        self.released = True


@pytest.fixture
def camera(monkeypatch):
    class Camera(FakeCamera):
        pass
    FakeCamera.made = []
    monkeypatch.setattr('visuotactile_ros.sensors.uvc_device.cv2.VideoCapture', Camera)
    return Camera


class Bus:
    """What is plugged in where, as discovery tells it; paths by serial number."""

    def __init__(self):
        self.path_of, self.others = {SERIAL: '/dev/video2'}, []

    def list(self):
        return [VideoDevice(path, serial, 'gelsight_mini', '0c45:636d', 'GelSight Mini R0B', '1-2', True)
                for serial, path in self.path_of.items()] + self.others


@pytest.fixture
def bus(monkeypatch):
    bus = Bus()
    monkeypatch.setattr(uvc_device, 'list_video_devices', bus.list)
    return bus


def device(fourcc='MJPG', controls='', width_px=64, height_px=48, device_path='/dev/v4l/by-id/gel',
           serial='', reduction=2, geometry=None, kind=SENSOR.kind):
    sensor = SensorIdentity(SENSOR.name, kind, serial)
    mode = CaptureMode(width_px, height_px, 25.0, fourcc, parse_camera_controls(controls))
    return UvcDevice(sensor, device_path, mode, JpegDecoder(width_px, height_px, reduction, False),
                     geometry or ImageGeometry(0.0, 0, False, 32, 24))


def vendors_picture(image_bgr):
    """What GelSight's own software shows of a picture of its camera, written out step by step."""
    rgb = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
    rows, columns = int(0.15 * rgb.shape[0]), int(0.15 * rgb.shape[1])
    return cv2.resize(rgb[rows:rgb.shape[0] - rows, columns:rgb.shape[1] - columns], (320, 240))


def test_frames_are_rgb_stamped_counted_and_in_the_promised_size(camera):
    source = device(fourcc='')
    source.open()
    before_ns = time.time_ns()
    first, second = source.grab(), source.grab()
    assert before_ns <= first.stamp_ns <= second.stamp_ns <= time.time_ns()
    assert (first.sequence, second.sequence) == (0, 1)
    assert first.image_hwc.shape == (24, 32, 3)
    assert first.sensor == SENSOR
    assert tuple(first.image_hwc[0, 0]) == (1, 0, 200)  # the first picture


@pytest.mark.parametrize('reduction', [1, 2])
def test_mjpg_is_taken_compressed_and_decoded_at_the_reduced_size(camera, reduction):
    camera.picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    source = device(reduction=reduction)
    source.open()
    flag = {1: cv2.IMREAD_COLOR, 2: cv2.IMREAD_REDUCED_COLOR_2}[reduction]
    expected = ImageGeometry(0.0, 0, False, 32, 24).apply(cv2.imdecode(encode(camera.picture), flag))
    np.testing.assert_array_equal(source.grab().image_hwc, expected)
    assert FakeCamera.made[0].calls[-1] == cv2.CAP_PROP_CONVERT_RGB


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(width=st.integers(64, 700), height=st.integers(64, 500), seed=st.integers(0, 99))
def test_decoded_whole_the_picture_is_the_vendors_bit_for_bit(camera, width, height, seed):
    camera.picture = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    source = device(width_px=width, height_px=height, reduction=1, geometry=ImageGeometry(0.15, 0, False, 320, 240))
    source.open()
    np.testing.assert_array_equal(source.grab().image_hwc,
                                  vendors_picture(cv2.imdecode(encode(camera.picture), cv2.IMREAD_COLOR)))


def test_the_preset_of_the_gelsight_mini_shows_the_vendors_picture(camera, bus):
    camera.picture = cv2.resize(cv2.imread(str(REAL_FRAME)), (3280, 2464), interpolation=cv2.INTER_CUBIC)
    values = load_parameter_yaml(CONFIG_FOLDER / 'gelsight_mini.yaml')
    expected = vendors_picture(cv2.imdecode(encode(camera.picture), cv2.IMREAD_COLOR))
    for full_decode, largest_difference_levels in ((True, 0.0), (False, 0.5)):
        parameters = build_parameters(SensorParameters, {**values, 'source': 'device', 'full_decode': full_decode}, '')
        source = recorded_or_device_source(parameters)
        source.open()
        difference = cv2.absdiff(source.grab().image_hwc, expected).mean()
        assert difference <= largest_difference_levels
        assert (difference == 0.0) == full_decode


def test_the_stamp_is_taken_before_the_picture_is_decoded(camera, monkeypatch):
    decoded_ns = []

    def decode(_, jpeg, origin):
        decoded_ns.append(time.time_ns())
        return np.zeros((24, 32, 3), np.uint8)
    monkeypatch.setattr(JpegDecoder, 'decode', decode)
    source = device()
    source.open()
    assert source.grab().stamp_ns < decoded_ns[0]


def test_device_is_opened_by_path_with_v4l2_and_set_up_in_order(camera):
    device(controls='AUTO_WB=0, WB_TEMPERATURE=4500').open()
    made = FakeCamera.made[0]
    assert (made.path, made.backend) == ('/dev/v4l/by-id/gel', cv2.CAP_V4L2)
    assert made.properties[cv2.CAP_PROP_BUFFERSIZE] == 2
    assert made.calls[1:] == [cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT,
                              cv2.CAP_PROP_FPS, cv2.CAP_PROP_AUTO_WB, cv2.CAP_PROP_WB_TEMPERATURE,
                              cv2.CAP_PROP_CONVERT_RGB]
    assert 0 < int(os.environ['OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT']) < 10


def test_empty_fourcc_leaves_the_format_alone(camera):
    device(fourcc='').open()
    assert {cv2.CAP_PROP_FOURCC, cv2.CAP_PROP_CONVERT_RGB}.isdisjoint(FakeCamera.made[0].calls)


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


def test_the_device_is_found_by_serial_at_every_opening(camera, bus):
    source = device(device_path='', serial=SERIAL)
    source.open()
    source.close()
    bus.path_of = {'2AAAAAA1': '/dev/video2', SERIAL: '/dev/video6'}
    source.open()
    assert [made.path for made in FakeCamera.made] == ['/dev/video2', '/dev/video6']
    assert source.grab().sensor == SensorIdentity('left', 'gelsight_mini', SERIAL)


def test_without_a_serial_the_only_device_is_taken_and_no_other_afterwards(camera, bus):
    source = device(device_path='')
    source.open()
    assert source.grab().sensor.serial == SERIAL
    source.close()
    bus.path_of = {'2AAAAAA1': '/dev/video2'}
    with pytest.raises(SensorError, match=f'no gelsight_mini with serial {SERIAL}'):
        source.open()


WEBCAM = VideoDevice('/dev/video2', 'AB-12', 'uvc', '046d:0825', 'Webcam C270', '1-3', True)
NAMELESS = VideoDevice('/dev/video2', '', 'uvc', '0c45:6366', 'USB Camera', '1-4', True)
ANOTHER = r'left: /dev/video2 is uvc AB-12 \(Webcam C270\), not the uvc without serial \(USB Camera\) .* Plug the first'


@pytest.mark.parametrize('device_path', ['', '/dev/video2'])
def test_without_any_serial_the_first_camera_is_told_by_its_id_and_product(camera, bus, device_path):
    bus.path_of, bus.others = {}, [NAMELESS]
    source = device(device_path=device_path, kind='vitactip')
    source.open()
    source.close()
    for others in ([WEBCAM], [dataclasses.replace(WEBCAM, serial='')]):
        bus.others = others
        with pytest.raises(SensorError, match=ANOTHER if others == [WEBCAM] else 'clean up and configure'):
            source.open()
    bus.others = [dataclasses.replace(WEBCAM, path='/dev/video6'), NAMELESS]  # both: the first one is known
    source.open()
    assert source.grab().sensor.serial == '' and FakeCamera.made[-1].path == '/dev/video2'


def test_the_serial_at_a_fixed_path_is_taken_over_and_no_other_afterwards(camera, bus):
    bus.others, bus.path_of = [WEBCAM], {}
    source = device(device_path='/dev/video2', kind='wrist_camera')
    source.open()
    assert source.grab().sensor.serial == 'AB12'
    source.close()
    for others, shown in (([dataclasses.replace(WEBCAM, serial='AB13')], 'uvc AB13'), ([], 'no camera that is known')):
        bus.others = others
        with pytest.raises(SensorError, match=f'/dev/video2 is {shown}.*, not the uvc AB-12'):
            source.open()
        assert FakeCamera.made[-1].released


def test_a_device_that_could_not_be_opened_is_not_held_on_to(camera, bus):
    camera.present = False
    source = device(device_path='')
    with pytest.raises(SensorError, match='cannot be opened'):
        source.open()
    assert source.sensor.serial == ''


@pytest.mark.parametrize(('there', 'shown'), [({'2AAAAAA1': '/dev/video2'}, '2AAAAAA1'), ({}, r'\(none\)')])
def test_another_sensor_in_its_place_is_refused(camera, bus, monkeypatch, there, shown):
    found, bus.path_of = bus.list(), there
    listings = iter([found, bus.list()])  # before and after opening
    monkeypatch.setattr(uvc_device, 'list_video_devices', lambda: next(listings))
    with pytest.raises(SensorError, match=f'/dev/video2 has the serial number {shown}, not {SERIAL}. Plug in'):
        device(device_path='', serial=SERIAL).open()
    assert FakeCamera.made[0].released


def test_a_path_is_taken_as_it_is_and_its_serial_is_checked_behind_links(camera, bus, tmp_path):
    link = tmp_path / 'by-path'
    link.symlink_to('/dev/video2')
    source = device(device_path=str(link), serial='2bnn-4ze7')
    source.open()
    assert FakeCamera.made[0].path == str(link) and source.grab().sensor.serial == SERIAL
    with pytest.raises(SensorError, match=f'by-path has the serial number {SERIAL}, not 2AAAAAA1'):
        device(device_path=str(link), serial='2AAAAAA1').open()


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


def test_opencv_that_gives_no_compressed_pictures_is_refused(camera):
    camera.refused_property = cv2.CAP_PROP_CONVERT_RGB
    with pytest.raises(SensorError, match='does not give its pictures compressed. Install opencv'):
        device().open()


def test_missing_camera_is_refused(camera):
    camera.present = False
    with pytest.raises(SensorError, match='cannot be opened. Check cable, device_path'):
        device().open()
    assert FakeCamera.made[0].released


def test_silent_camera_gives_an_error_and_never_an_invented_frame(camera, tmp_path):
    node = tmp_path / 'video0'
    node.touch()
    camera.frames_before_unplug = 1
    source = device(device_path=str(node))
    source.open()
    assert source.grab().sequence == 0
    for _ in range(2):
        with pytest.raises(SensorError, match='gave no frame') as caught:
            source.grab()
        assert not is_device_lost(caught.value)


def test_unplugged_camera_is_told_from_a_silent_one(camera, tmp_path):
    node = tmp_path / 'video0'
    node.touch()
    camera.frames_before_unplug = 0
    source = device(device_path=str(node))
    source.open()
    node.unlink()
    with pytest.raises(SensorError, match='video0 is gone: No such file or directory. Check the cable') as caught:
        source.grab()
    assert is_device_lost(caught.value)


@pytest.mark.parametrize(('number', 'remedy'), [(errno.EACCES, 'Let this user'), (errno.EPERM, 'Let this user'),
                                                (errno.EMFILE, 'ulimit -n'), (errno.EIO, 'dmesg')])
def test_camera_that_is_there_but_not_to_be_opened_is_not_called_gone(camera, monkeypatch, number, remedy):
    monkeypatch.setattr(uvc_device, 'lost_device_error', lambda path: OSError(number, 'why'))
    camera.frames_before_unplug = 0
    source = device()
    source.open()
    with pytest.raises(SensorError, match=f'left: /dev/v4l/by-id/gel cannot be opened: why. .*{remedy}') as caught:
        source.grab()
    assert not is_device_lost(caught.value)


@pytest.mark.parametrize(('fourcc', 'text'), [('', r'\(24, 32, 3\), not \(48, 64, 3\)'), ('MJPG', '32x24, not 64x48')])
def test_picture_of_another_size_is_refused(camera, fourcc, text):
    camera.picture_shape = (24, 32, 3)
    source = device(fourcc=fourcc)
    source.open()
    with pytest.raises(SensorError, match=text):
        source.grab()


def test_picture_that_cannot_be_decoded_is_refused(camera, tmp_path):
    camera.undecodable = True
    source = device(device_path=str(tmp_path))
    source.open()
    with pytest.raises(SensorError, match='gave no frame'):
        source.grab()


@pytest.mark.parametrize('cut_after_byte', [0, 1, 100, -200, -1])
def test_half_decoded_jpeg_is_refused_and_the_next_frame_comes(camera, cut_after_byte):
    source = device()
    source.open()
    camera.cut_after_byte = cut_after_byte
    with pytest.raises(SensorError, match='left: /dev/v4l/by-id/gel gave a damaged JPEG'):
        source.grab()
    camera.cut_after_byte = None
    assert source.grab().sequence == 1


def grab_rows(camera, source, pictures):
    """Read such pictures; gives for each whether it was refused for its missing end."""
    refused = []
    for camera.picture in pictures:
        try:
            source.grab()
            refused.append(False)
        except SensorError as error:
            assert str(error) == ('left: /dev/v4l/by-id/gel gave a picture without its end. '
                                  'Check cable and USB bandwidth.')
            refused.append(True)
    return refused


@given(arrived=st.lists(st.one_of(st.just(48), st.integers(0, 47)), max_size=12), buffers=st.integers(2, 5))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_raw_picture_whose_end_did_not_arrive_is_refused(camera, arrived, buffers):
    """Below the rows that arrived a buffer still holds the picture before, as with the true OpenCV."""
    camera.least_buffers = buffers
    rng, held, pictures = np.random.default_rng(0), [np.zeros((48, 64, 3), np.uint8)] * buffers, []
    arrived = [48] * buffers + arrived
    for number, rows in enumerate(arrived):
        held[number % buffers] = np.concatenate([rng.integers(0, 256, (rows, 64, 3), np.uint8),
                                                 held[number % buffers][rows:]])
        pictures.append(held[number % buffers])
    source = device(fourcc='')
    source.open()
    assert grab_rows(camera, source, pictures) == [rows < 48 for rows in arrived]


def test_raw_pictures_with_an_even_edge_and_frozen_ones_are_taken(camera):
    pictures = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3), np.uint8)
    pictures[:, -1] = 16
    source = device(fourcc='')
    source.open()
    assert not any(grab_rows(camera, source, [*pictures, *pictures[-1:].repeat(6, axis=0)]))


def test_real_opencv_refuses_a_device_that_does_not_exist():
    with pytest.raises(SensorError, match='cannot be opened'):
        device(device_path='/dev/video_that_does_not_exist').open()


def test_controls_are_read_in_order():
    assert parse_camera_controls(' AUTO_WB=0,WB_TEMPERATURE = 4500,') == (('AUTO_WB', 0.0), ('WB_TEMPERATURE', 4500.0))
    assert parse_camera_controls('') == ()


@pytest.mark.parametrize(('text', 'match'), [
    ('EXPOSUR=1', "Did you mean 'EXPOSURE'"), ('EXPOSURE', "has 'EXPOSURE'"), ('EXPOSURE=high', 'EXPOSURE=1'),
    ('EXPOSURE=nan', 'EXPOSURE=1')])
def test_bad_controls_are_refused(text, match):
    with pytest.raises(ConfigurationError, match=match):
        parse_camera_controls(text)


@pytest.mark.parametrize(('levels', 'zoom'), [((15, 15, 15), 4095.0), ((0, 0, 0), 0.0), ((15, 0, 0), 3840.0),
                                              ((1, 2, 3), 291.0)])
def test_the_light_of_a_digit_is_its_zoom(camera, bus, levels, zoom):
    values = {'kind': 'digit', 'source': 'device', 'device_path': '/dev/video2', 'led_levels': levels}
    source = recorded_or_device_source(build_parameters(SensorParameters, values, ''))
    source.open()
    assert FakeCamera.made[0].properties[cv2.CAP_PROP_ZOOM] == zoom
    assert led_controls('vitactip', levels) == ()
