"""The true classes of digit-interface, through its own discovery, on pictures in files in place of the device."""

import runpy
import sys
import time

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from visuotactile_ros.errors import ConfigurationError, SensorError
from visuotactile_ros.frame import SensorIdentity
from visuotactile_ros.sensors import digit_interface_adapter
from visuotactile_ros.sensors.digit_interface_adapter import DigitInterfaceSource
from visuotactile_ros.sensors.frame_grabber import is_device_lost
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.uvc_device import CaptureMode

SENSOR = SensorIdentity('left', 'digit', 'D20001')
QVGA = CaptureMode(320, 240, 30.0, '', (('ZOOM', 4095.0),))
AS_TAKEN = ImageGeometry(0.0, 0, False, 320, 240)
PICTURES = 4
OpenCVCapture = cv2.VideoCapture


@pytest.fixture
def library():
    return pytest.importorskip('digit_interface', reason='needs pip install --no-deps digit-interface (CC BY-NC 4.0)')


class Camera:
    """The true cv2.VideoCapture, and what it was told."""

    made = []

    def __init__(self, path):
        self.capture, self.told, self.released = OpenCVCapture(path), [], False
        Camera.made.append(self)

    def __getattr__(self, name):
        return getattr(self.capture, name)

    def set(self, number, value):
        self.told.append((number, value))
        return self.capture.set(number, value)

    def release(self):
        self.released = True
        self.capture.release()


@pytest.fixture
def udev(monkeypatch, library):
    """What udev knows: the list of devices to fill."""
    devices = []

    class Context:
        def list_devices(self, subsystem, ID_MODEL):  # noqa: N803
            return [device for device in devices if (subsystem, ID_MODEL) == ('video4linux', device['ID_MODEL'])]

    Camera.made = []
    monkeypatch.setattr('pyudev.Context', Context)
    monkeypatch.setattr('cv2.VideoCapture', Camera)
    return devices


def node(path, serial='D20001', revision='0200'):
    return {'DEVNAME': str(path), 'ID_VENDOR': 'Facebook', 'ID_MODEL': 'DIGIT', 'ID_REVISION': revision,
            'ID_SERIAL_SHORT': serial}


@pytest.fixture
def film(tmp_path):
    """Give a function that writes random pictures, kept without loss, and returns them (BGR) with their path."""
    def write(height=240, width=320, seed=0):
        folder = tmp_path / f'{seed}_{width}'
        folder.mkdir()
        pictures = np.random.default_rng(seed).integers(0, 256, (PICTURES, height, width, 3), dtype=np.uint8)
        for number, picture in enumerate(pictures):
            cv2.imwrite(str(folder / f'{number}.png'), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        return pictures, folder / '%d.png'
    return write


@pytest.fixture
def digit(udev, film):
    """One DIGIT D20001 on a film; gives its pictures."""
    pictures, path = film()
    udev.append(node(path))
    return pictures


def source(mode=QVGA, geometry=AS_TAKEN, sensor=SENSOR):
    return DigitInterfaceSource(sensor, mode, geometry)


def read_all(opened):
    return np.stack([opened.grab().image_hwc for _ in range(PICTURES)])


def test_frames_are_rgb_as_the_chip_gives_them_stamped_and_counted(digit):
    opened = source()
    opened.open()
    before_ns = time.time_ns()
    frames = [opened.grab() for _ in range(PICTURES)]
    stamps = [before_ns, *(frame.stamp_ns for frame in frames), time.time_ns()]
    assert stamps == sorted(stamps)
    assert [frame.sequence for frame in frames] == list(range(PICTURES))
    assert all(frame.sensor == SENSOR for frame in frames)
    assert opened.nominal_period_s == pytest.approx(1 / 30)
    np.testing.assert_array_equal([frame.image_hwc for frame in frames], digit[..., ::-1])


def test_turned_back_our_frame_is_the_library_s_bit_for_bit(digit, library):
    turned = source(geometry=ImageGeometry(0.0, 3, False, 240, 320))
    turned.open()
    theirs = library.Digit('D20001')
    theirs.connect()
    for picture in digit:
        expected = cv2.cvtColor(theirs.get_frame(), cv2.COLOR_BGR2RGB)
        np.testing.assert_array_equal(turned.grab().image_hwc, expected)
        np.testing.assert_array_equal(ImageGeometry(0.0, 3, False, 240, 320).apply(picture), expected)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.builds(ImageGeometry, st.floats(0.0, 0.45), st.integers(0, 3), st.booleans(), st.integers(16, 100),
                 st.integers(16, 100)))
def test_crop_turn_and_size_are_those_of_our_own_driver(digit, geometry):
    opened = source(geometry=geometry)
    opened.open()
    np.testing.assert_array_equal(opened.grab().image_hwc, geometry.apply(digit[0]))
    opened.close()


def test_device_is_chosen_by_its_serial_and_its_node_without_pictures_passed_over(udev, film, tmp_path):
    udev += [node(film(seed=1)[1], 'D20002'), node(tmp_path / 'metadata')]
    pictures, path = film(seed=2)
    udev.append(node(path))
    for serial in ('D20001', 'd2-0001'):
        opened = source(sensor=SensorIdentity('left', 'digit', serial))
        opened.open()
        assert opened.sensor == SENSOR
        np.testing.assert_array_equal(read_all(opened), pictures[..., ::-1])


@pytest.mark.parametrize(('serial', 'others', 'match'), [
    ('D20001', (), "serial 'D20001' fits 0 DIGITs; found: none. Check cable"),
    ('D20001', ('D3', 'D20002', 'D3'), "serial 'D20001' fits 0 DIGITs; found: D20002, D3. Check cable"),
    ('', ('D3', 'D20002', 'D3'), "serial '' fits 2 DIGITs; found: D20002, D3. Check cable"),
    ('', (), "serial '' fits 0 DIGITs; found: none. Check cable")])
def test_serial_that_names_no_single_device_is_told_with_those_that_are_there(udev, serial, others, match):
    udev += [node('/dev/video0', other) for other in others]
    with pytest.raises(SensorError, match=match):
        source(sensor=SensorIdentity('left', 'digit', serial)).open()
    assert Camera.made == []


def test_without_a_serial_the_only_device_is_taken_and_then_no_other(udev, digit):
    opened = source(sensor=SensorIdentity('left', 'digit'))
    opened.open()
    assert opened.grab().sensor == SENSOR
    opened.close()
    udev[:] = [{**udev[0], 'ID_SERIAL_SHORT': 'D20002'}]
    with pytest.raises(SensorError, match="serial 'D20001' fits 0 DIGITs; found: D20002"):
        opened.open()


def test_device_that_cannot_be_opened_is_told_with_every_node(udev):
    udev += [node('/nowhere/video0'), node('/nowhere/video1')]
    with pytest.raises(SensorError, match=r'left: DIGIT D20001 .*/nowhere/video0.*; .*/nowhere/video1.*permissions'):
        source().open()


def test_device_that_goes_between_listing_and_opening_is_told(udev, library, monkeypatch):
    udev.append(node('/dev/video0'))
    monkeypatch.setattr(library.DigitHandler, 'find_digit', lambda _: None)
    with pytest.raises(SensorError, match='cannot be opened .*Cannot find DIGIT with serial D20001'):
        source().open()


def test_udev_record_that_the_library_cannot_read_is_told(udev):
    udev.append({'ID_MODEL': 'DIGIT'})
    with pytest.raises(SensorError, match='cannot be opened .*KeyError'):
        source().open()


@pytest.mark.filterwarnings('ignore:The .warn. method is deprecated')
def test_firmware_that_the_library_leaves_dark_is_refused(udev, film, library):
    udev.append(node(film()[1], revision='0199'))
    with pytest.raises(SensorError, match='firmware 199, .*light off. Update its firmware'):
        source().open()
    library.Digit('D20001').connect()  # and this is why
    assert Camera.made[-1].told[-1] == (cv2.CAP_PROP_ZOOM, 0)


@pytest.mark.parametrize(('controls', 'light'), [((), 4095), ((('ZOOM', 2768.0),), 0xAD0),
                                                 ((('ZOOM', 3.0),), 3), ((('ZOOM', 0.0),), 0)])
def test_size_rate_and_light_are_told_to_the_device(digit, controls, light):
    opened = source(CaptureMode(320, 240, 30.0, '', controls))
    opened.open()
    told = dict(Camera.made[-1].told)
    assert told == {cv2.CAP_PROP_FRAME_WIDTH: 320, cv2.CAP_PROP_FRAME_HEIGHT: 240, cv2.CAP_PROP_FPS: 30,
                    cv2.CAP_PROP_ZOOM: light}


def test_pictures_of_another_size_than_the_library_says_are_refused(udev, film):
    pictures, path = film(480, 640)
    udev.append(node(path))
    opened = source()
    opened.open()
    with pytest.raises(SensorError, match=r'\(480, 640, 3\), not \(240, 320, 3\)'):
        opened.grab()
    vga = source(CaptureMode(640, 480, 15.0, '', ()), ImageGeometry(0.0, 0, False, 640, 480))
    vga.open()
    np.testing.assert_array_equal(vga.grab().image_hwc, pictures[0, ..., ::-1])
    told = dict(Camera.made[-1].told)
    assert [told[number] for number in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FPS)] == [
        640, 480, 15]


def test_unplugged_device_gives_an_error_for_ever_and_is_found_again_at_another_node(udev, digit, film):
    opened = source()
    opened.open()
    read_all(opened)
    for _ in range(3):
        with pytest.raises(SensorError, match='left: the DIGIT gave no frame .*Unable to grab') as failure:
            opened.grab()
        assert is_device_lost(failure.value)
    opened.close()
    pictures, path = film(seed=7)
    udev[:] = [node(path)]
    opened.open()
    frame = opened.grab()
    assert frame.sequence == PICTURES + 3
    np.testing.assert_array_equal(frame.image_hwc, pictures[0, ..., ::-1])


def test_device_that_cannot_be_set_up_is_released(digit, library, monkeypatch):
    def fail(_):
        raise RuntimeError('no such rate')

    def connect(opened, connect=library.Digit.connect):
        connect(opened)
        opened.set_fps = fail
    monkeypatch.setattr(library.Digit, 'connect', connect)
    with pytest.raises(SensorError, match='cannot be opened .*no such rate'):
        source().open()
    assert Camera.made[-1].released


def test_opening_and_closing_twice_is_allowed(digit):
    opened = source()
    with pytest.raises(SensorError, match='not open'):
        opened.grab()
    opened.open()
    opened.open()
    assert len(Camera.made) == 1
    opened.close()
    opened.close()
    assert Camera.made[0].released
    with pytest.raises(SensorError, match='not open'):
        opened.grab()


@pytest.mark.parametrize(('mode', 'match'), [
    (CaptureMode(640, 480, 60.0, '', ()), 'no 640x480 at 60 Hz. Choose one of 320x240 at 30, 320x240 at 60, 640x480'),
    (CaptureMode(320, 240, 29.5, '', ()), 'no 320x240 at 29.5 Hz'),
    (CaptureMode(320, 240, 30.0, 'MJPG', ()), "'MJPG', which digit_interface cannot set"),
    (CaptureMode(320, 240, 30.0, '', (('ZOOM', 15.0), ('GAIN', 1.0))), 'has GAIN, which digit_interface cannot set'),
    (CaptureMode(320, 240, 30.0, '', (('ZOOM', 4096.0),)), 'ZOOM=4096, .* Set led_levels'),
    (CaptureMode(320, 240, 30.0, '', (('ZOOM', -1.0),)), 'ZOOM=-1'),
    (CaptureMode(320, 240, 30.0, '', (('ZOOM', 1.5),)), 'ZOOM=1.5'),
])
def test_what_the_library_cannot_do_is_refused_before_anything_is_opened(library, mode, match):
    with pytest.raises(ConfigurationError, match=match):
        source(mode)


def test_missing_library_is_told_with_its_remedy_and_only_who_asks_for_it_needs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'digit_interface', None)
    module = runpy.run_path(digit_interface_adapter.__file__)
    with pytest.raises(ConfigurationError, match=r'cannot be imported .*pip install --no-deps digit-interface'):
        module['DigitInterfaceSource'](SENSOR, QVGA, AS_TAKEN)
