"""What the doctor finds about pictures: colours, modes, rates and light."""

import errno
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from visuotactile_ros.doctor_checks import capture, colour_order, sensor_colours
from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding, Request
from visuotactile_ros.errors import SensorError
from visuotactile_ros.frame import Frame, SensorIdentity
from visuotactile_ros.parameters.sensor import SENSOR_KINDS
from visuotactile_ros.sensors.discovery import KNOWN_CAMERAS, VideoDevice

MINI = VideoDevice('/dev/video0', '2BNN4ZE7', 'gelsight_mini', '0c45:636d', 'GelSight Mini R0B 2BNN-4ZE7', '1-1', True)
DIGIT = VideoDevice('/dev/video2', 'D20001', 'digit', '2833:0209', 'DIGIT', '1-2.3', True)
WEBCAM = VideoDevice('/dev/video4', '', 'uvc', '046d:0825', 'Webcam C270', '1-4', True)
REAL_FRAMES = Path(__file__).resolve().parents[1] / 'data/real_frames'
PROCESSES_USING = capture.processes_using


def found(check, *cameras, **request):
    return list(check(Request(cameras, **request)))


def marks(findings):
    return [finding.mark for finding in findings]


def test_this_package_keeps_its_colours():
    assert marks(found(colour_order.check)) == [OK, OK, OK]


@pytest.mark.parametrize('order', [(0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_exchanged_channels_are_noticed(order, monkeypatch):
    known = colour_order.known_image()
    assert colour_order.right_colours(known)
    assert not colour_order.right_colours(np.ascontiguousarray(known[:, :, order]))
    monkeypatch.setattr(colour_order, 'decode_image', lambda message: np.ascontiguousarray(known[:, :, order]))
    assert marks(found(colour_order.check)) == [OK, BROKEN, OK]


def real_frames():
    return sorted(REAL_FRAMES.glob('gelsight_mini_*.jpg'))


def test_every_real_frame_is_told_from_its_exchanged_twin():
    assert len(real_frames()) == 26
    for path in real_frames():
        image_hwc = cv2.imread(str(path))[:, :, ::-1]
        right, = sensor_colours.judge_picture('left', 'gelsight_mini', image_hwc)
        wrong, = sensor_colours.judge_picture('left', 'gelsight_mini_markers', image_hwc[:, :, ::-1])
        levels = [int(word) for word in right.finding.split() if word.isdigit()]
        assert (right.mark, wrong.mark) == (OK, NOTE) and levels[0] < 5 and levels[1] > 20, path.name


def test_kinds_without_a_fitted_background_are_not_judged():
    assert list(sensor_colours.judge_picture('left', 'vitactip', colour_order.known_image())) == []


@pytest.mark.parametrize(('shown_channel', 'mark'), [
    (lambda lit: lit, OK), (lambda lit: 2 - lit, BROKEN), (lambda lit: 1, NOTE), (lambda lit: 0, NOTE)])
def test_lights_of_a_digit_are_seen_in_their_colours(shown_channel, mark):
    def picture_under(levels):
        picture = np.full((4, 4, 3), 20, np.uint8)
        picture[..., shown_channel(int(np.argmax(levels)))] = 90
        return picture
    finding, = sensor_colours.judge_lights('left', picture_under)
    assert finding.mark == mark


class FakeSensor:
    """A frame source by its settings; `behave` may raise, and gives the picture."""

    def __init__(self, parameters, rate_hz, behave):
        self.parameters, self.behave, self.grabs = parameters, behave, 0
        self.sensor = SensorIdentity('left', parameters.kind, parameters.serial)
        self.period_ns = round(1e9 / rate_hz)
        self.closed = False

    def open(self):
        self.behave(self)

    def grab(self):
        self.grabs += 1
        picture = self.behave(self)
        return Frame(picture, 1_700_000_000_000_000_000 + self.grabs * self.period_ns, self.sensor, self.grabs)

    def close(self):
        self.closed = True


def grey(sensor):
    red, _, blue = sensor.parameters.led_levels
    return np.full((24, 32, 3), (20 + 4 * red, 30, 20 + 4 * blue), np.uint8)


@pytest.fixture
def attach(monkeypatch):
    """Give a function that says what the sensors are; it returns the list of those made."""
    made = []
    monkeypatch.setattr(capture, 'CAPTURE_S', 0.02)
    monkeypatch.setattr(capture, 'processes_using', lambda path: '')
    monkeypatch.setattr(capture, 'may_open', lambda camera: True)

    def use(behave=grey, rate_share=1.0):
        def make(parameters):
            made.append(FakeSensor(parameters, rate_share * parameters.capture_rate_hz, behave))
            return made[-1]
        monkeypatch.setattr(capture, 'recorded_or_device_source', make)
        return made
    return use


def test_sensor_that_keeps_to_its_preset_is_fine(attach):
    made = attach()
    lights, finding = found(capture.check, DIGIT)
    assert lights == Finding(OK, 'colour order',
                             'digit D20001 at /dev/video2 is red under its red light and blue under its blue light')
    assert finding.mark == OK
    assert 'digit D20001 at /dev/video2 reads back 320 x 240' in finding.finding
    assert '30.0 frames/s came, 1 streaming' in finding.finding
    assert [sensor.parameters.led_levels for sensor in made] == [(15, 0, 0), (0, 0, 15), (15, 15, 15)]
    assert all(sensor.closed for sensor in made)
    assert {(sensor.parameters.serial, sensor.parameters.device_path) for sensor in made} == {('D20001', '/dev/video2')}


def test_all_sensors_stream_before_the_first_is_read(attach):
    opened = set()

    def behave(sensor):
        if sensor.grabs == 0:
            opened.add(sensor)
        assert sensor.grabs == 0 or len(opened) == 2
        return grey(sensor)
    attach(behave)
    other = VideoDevice('/dev/video6', 'XXXXYYYY', 'gelsight_mini', '0c45:636d', 'GelSight Mini', '1-3', True)
    texts = [finding.finding for finding in found(capture.check, MINI, other) if finding.subject == 'capture']
    assert len(texts) == 2 and all('2 streaming' in text for text in texts)


def test_slow_sensor_is_broken(attach):
    attach(rate_share=0.7)
    finding = found(capture.check, MINI)[0]
    assert finding.mark == BROKEN and 'at 25 Hz; 17.5 frames/s came' in finding.finding


def test_black_sensor_is_broken(attach):
    attach(lambda sensor: np.zeros((24, 32, 3), np.uint8))
    *_, finding = found(capture.check, MINI)
    assert finding.mark == BROKEN and 'is black' in finding.finding


def test_sensor_that_refuses_its_mode_is_broken_with_the_words_of_its_driver(attach):
    def behave(sensor):
        raise SensorError('left: /dev/video2 has FPS 15, not 30', 'Ask for what v4l2-ctl lists')
    attach(behave)
    assert found(capture.check, DIGIT) == [
        Finding(BROKEN, 'capture', 'left: /dev/video2 has FPS 15, not 30', 'Ask for what v4l2-ctl lists')]


def test_failed_grabs_are_noted_and_no_frame_at_all_is_broken(attach):
    def every_third(sensor):
        if sensor.grabs % 3 == 2:
            raise SensorError('a damaged JPEG', 'Check the cable')
        return grey(sensor)

    def none(sensor):
        if sensor.grabs > 0:
            raise SensorError('it gave no frame', 'Check the cable')
    attach(every_third)
    note = next(finding for finding in found(capture.check, MINI) if 'grabs failed' in finding.finding)
    assert note.mark == NOTE and 'because a damaged JPEG' in note.finding
    made = attach(none)
    assert marks(found(capture.check, MINI)) == [BROKEN] and made[-1].closed


def test_sensor_that_is_unplugged_meanwhile_is_broken(attach):
    def behave(sensor):
        if sensor.grabs == 3:
            raise SensorError('left is gone', 'Plug it in') from OSError(errno.ENODEV, 'No such device')
        return grey(sensor)
    made = attach(behave)
    assert found(capture.check, MINI) == [Finding(BROKEN, 'capture', 'left is gone', 'Plug it in')]
    assert made[0].grabs == 3 and made[0].closed


def test_camera_in_use_is_not_opened(attach, tmp_path, monkeypatch):
    made = attach()
    node = tmp_path / 'video0'
    with node.open('w'):
        monkeypatch.setattr(capture, 'processes_using', PROCESSES_USING)
        camera = VideoDevice(str(node), 'D20001', 'digit', '2833:0209', 'DIGIT', '1-1', True)
        finding, = found(capture.check, camera)
    assert finding.mark == NOTE and 'is in use by ' in finding.finding and not made
    assert PROCESSES_USING(str(node)) == ''


def test_processes_and_files_that_go_meanwhile_are_left_out(tmp_path, monkeypatch):
    for number, files in (('11', ()), ('12', (3, 4)), ('13', (5,))):
        (tmp_path / number / 'fd').mkdir(parents=True)
        (tmp_path / number / 'comm').write_text(f'process{number}\n')
        for file in files:
            (tmp_path / number / 'fd' / str(file)).symlink_to('/dev/video0' if file == 4 else '/dev/null')
    (tmp_path / '12' / 'fd' / '3').unlink()
    (tmp_path / '12' / 'fd' / '3').touch()  # no link any more
    ended = str(tmp_path / '11' / 'fd')

    def without_the_ended(list_folder):
        def listing(folder):
            if str(folder) == ended:
                raise FileNotFoundError(errno.ENOENT, 'No such file or directory', ended)
            return list_folder(folder)
        return listing
    for name in ('listdir', 'scandir'):
        monkeypatch.setattr(os, name, without_the_ended(getattr(os, name)))
    monkeypatch.setattr(capture, 'PROCESSES', tmp_path)
    assert PROCESSES_USING('/dev/video0') == 'process12 (12)'


def test_camera_that_may_not_be_opened_is_left_to_the_check_of_permissions(attach, monkeypatch):
    made = attach()
    monkeypatch.setattr(capture, 'may_open', lambda camera: camera == MINI)
    assert {finding.subject for finding in found(capture.check, MINI, DIGIT)} == {'capture', 'colour order'}
    assert [sensor.parameters.serial for sensor in made] == ['2BNN4ZE7']


def test_no_camera_is_opened_without_leave_nor_one_of_unknown_kind(attach):
    made = attach()
    assert marks(found(capture.check, MINI, capture=False)) == [NOTE]
    assert found(capture.check, WEBCAM) == [] and found(capture.check, capture=False) == []
    assert not made
    found(capture.check, WEBCAM, expected=(('vitactip', ''),))
    assert [sensor.parameters.kind for sensor in made] == ['vitactip']


@pytest.mark.parametrize('kind', [kind for kind in SENSOR_KINDS if kind != 'gelsight'])
def test_every_kind_has_settings(kind):
    parameters = capture.sensor_parameters(kind, MINI)
    assert (parameters.kind, parameters.source, parameters.serial, parameters.device_path) == \
        (kind, 'device', '2BNN4ZE7', '/dev/video0')


def test_known_sensors_are_examined_without_being_named():
    assert Request((MINI, WEBCAM, DIGIT)).sensors() == [('gelsight_mini', MINI), ('digit', DIGIT)]
    assert {kind for kind, _, _ in KNOWN_CAMERAS} <= set(SENSOR_KINDS)
    named = Request((MINI,), (('gelsight_mini_markers', '2BNN-4ZE7'), ('digit', 'none'))).sensors()
    assert named == [('gelsight_mini_markers', MINI)]
