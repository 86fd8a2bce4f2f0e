"""What the doctor finds about cameras, permissions and the USB, on fabricated machines."""

import dataclasses
import grp
import struct
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.doctor_checks import permissions, sensors, usb_bandwidth, usb_tree
from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding, Request
from visuotactile_ros.sensors.discovery import VideoDevice

MINI = VideoDevice('/dev/video0', '2BNN4ZE7', 'gelsight_mini', '0c45:636d', 'GelSight Mini R0B 2BNN-4ZE7', '1-1', True)
DIGIT = VideoDevice('/dev/video2', 'D20001', 'digit', '2833:0209', 'DIGIT', '1-2.3', True)
WEBCAM = VideoDevice('/dev/video4', '', 'uvc', '046d:0825', 'Webcam C270', '1-4', True)


def found(check, *cameras, **request):
    return list(check(Request(cameras, **request)))


def marks(findings):
    return [finding.mark for finding in findings]


@pytest.fixture
def usb(tmp_path, monkeypatch):
    """Give a function that plugs a device into an empty USB."""
    monkeypatch.setattr(usb_tree, 'USB_DEVICES', tmp_path)

    def plug(usb_path, usb_id='0c45:636d', product='GelSight Mini R0B 2BNN-4ZE7', speed='480', descriptors=b''):
        folder = tmp_path / usb_path
        folder.mkdir()
        vendor, number = usb_id.split(':')
        for name, text in {'idVendor': vendor, 'idProduct': number, 'product': product, 'speed': speed}.items():
            if text:
                (folder / name).write_text(f'{text}\n')
        (folder / 'descriptors').write_bytes(descriptors)
    return plug


def test_cameras_are_listed(usb):
    finding, other = found(sensors.check, MINI, WEBCAM)
    assert finding == Finding(
        OK, 'sensors', 'gelsight_mini 2BNN4ZE7 at /dev/video0: GelSight Mini R0B 2BNN-4ZE7, USB 1-1')
    assert 'uvc without serial at /dev/video4: Webcam C270' in other.finding


def test_no_camera_is_a_note_unless_one_is_expected(usb):
    assert marks(found(sensors.check)) == [NOTE]
    finding, = found(sensors.check, expected=(('digit', 'D20001'),))
    assert finding.mark == BROKEN and 'no digit with serial D20001, but no camera at all' in finding.finding


def test_expected_sensor_that_is_there_is_fine_and_another_serial_is_not(usb):
    assert marks(found(sensors.check, DIGIT, expected=(('digit', 'D20001'),))) == [OK]
    assert marks(found(sensors.check, DIGIT, expected=(('digit', 'D20002'),))) == [OK, BROKEN]


@pytest.fixture
def twins(tmp_path):
    """Two cameras without a serial number, and their links by path."""
    cameras, links = [], []
    for port in (3, 4):
        node, link = tmp_path / f'video{port}', tmp_path / f'pci-usb-0:{port}:1.0-video-index0'
        node.touch()
        link.symlink_to(node)
        cameras.append(VideoDevice(str(node), '', 'uvc', '046d:0825', 'ViTacTip', f'1-{port}', True))
        links.append(str(link))
    return cameras, links


def test_sensors_without_a_serial_number_are_named_by_path(usb, twins):
    cameras, links = twins
    expected = tuple(('vitactip', link) for link in links)
    assert marks(found(sensors.check, *cameras, expected=expected)) == [OK, OK]
    assert Request(tuple(cameras), expected).sensors() == [('vitactip', camera) for camera in cameras]
    assert Request(tuple(cameras), expected[1:]).sensors() == [('vitactip', cameras[1])]


def test_sensor_that_is_not_named_well_enough_is_told_with_the_way_out(usb, twins, tmp_path):
    cameras, _ = twins
    *_, unnamed = found(sensors.check, *cameras, expected=(('vitactip', ''),))
    assert unnamed.mark == BROKEN and 'there are 2 times uvc' in unnamed.finding
    assert 'under /dev/v4l/by-path' in unnamed.remedy and '--sensor vitactip=<serial number or path>' in unnamed.remedy
    *_, absent = found(sensors.check, *cameras, expected=(('vitactip', str(tmp_path / 'gone')),))
    assert absent.mark == BROKEN and 'gone is no camera' in absent.finding and 'video-index0' in absent.remedy


def test_shared_serial_is_noted(usb):
    twin = VideoDevice('/dev/video6', 'D20001', 'digit', '2833:0209', 'DIGIT', '1-3', True)
    *_, note = found(sensors.check, DIGIT, twin)
    assert note.mark == NOTE and '2 times digit have the serial number D20001' in note.finding


def test_sensor_on_the_usb_without_a_node_is_broken(usb):
    usb('1-1')
    usb('1-4', '046d:0825', 'Webcam C270')
    usb('1-5', product='')
    assert marks(found(sensors.check, MINI)) == [OK]
    note, finding = found(sensors.check)
    assert finding.mark == BROKEN and 'a gelsight_mini is on USB 1-1' in finding.finding
    assert 'modprobe uvcvideo' in finding.remedy


@pytest.fixture
def closed_node(tmp_path, monkeypatch):
    """Give a function that makes a camera with a node that may not be opened: mode, group number, group's members."""
    def make(mode, group_number, members=()):
        node = tmp_path / 'video0'
        node.touch()

        class Node(type(node)):
            def stat(self):
                return SimpleNamespace(st_mode=0o20000 | mode, st_gid=group_number)

            def exists(self):
                return True
        monkeypatch.setattr(permissions, 'Path', Node)
        monkeypatch.setattr(permissions.os, 'access', lambda path, how: False)
        monkeypatch.setattr(permissions.pwd, 'getpwuid', lambda number: SimpleNamespace(pw_name='ada'))

        def group(number):
            if number == 999:
                raise KeyError(number)
            return grp.struct_group(('video', 'x', number, list(members)))
        monkeypatch.setattr(permissions.grp, 'getgrgid', group)
        return VideoDevice(str(node), 'D20001', 'digit', '2833:0209', 'DIGIT', '1-1', True)
    return make


@pytest.mark.parametrize(('mode', 'group_number', 'members', 'remedy'), [
    (0o660, 44, (), 'Run sudo usermod -aG video ada, then log out and in again'),
    (0o660, 44, ('ada',), 'ada has joined the group video after this login: log out and in again'),
    (0o600, 44, ('ada',), 'Install the udev rules: ros2 run visuotactile_ros udev_rules'),
    (0o660, 0, (), 'Install the udev rules: ros2 run visuotactile_ros udev_rules'),
    (0o660, 999, (), 'Start the container with --group-add 999'),
])
def test_closed_node_is_broken_with_the_remedy_that_fits(closed_node, mode, group_number, members, remedy):
    finding, = found(permissions.check, closed_node(mode, group_number, members))
    assert (finding.mark, finding.remedy) == (BROKEN, remedy)


def test_user_without_a_name_is_told_the_number_of_the_group(closed_node, monkeypatch):
    camera = closed_node(0o660, 44)

    def getpwuid(number):
        raise KeyError(f'getpwuid(): uid not found: {number}')
    monkeypatch.setattr(permissions.pwd, 'getpwuid', getpwuid)
    monkeypatch.setattr(permissions.os, 'getuid', lambda: 1000)
    finding, = found(permissions.check, camera)
    assert finding.finding.endswith('may not be opened by user 1000')
    assert finding.remedy == 'Start the container with --group-add 44'


def test_open_node_is_fine_and_missing_node_is_broken(tmp_path):
    node = tmp_path / 'video0'
    camera = VideoDevice(str(node), 'D20001', 'digit', '2833:0209', 'DIGIT', '1-1', True)
    finding, = found(permissions.check, camera)
    assert finding.mark == BROKEN and f'--device {node}' in finding.remedy
    node.touch()
    assert marks(found(permissions.check, camera)) == [OK]


def test_closed_camera_that_is_no_sensor_is_a_note(closed_node):
    webcam = dataclasses.replace(closed_node(0o660, 44), kind='uvc')
    assert marks(found(permissions.check, webcam)) == [NOTE]
    assert marks(found(permissions.check, webcam, expected=(('vitactip', ''),))) == [BROKEN]


def interface(number, alternate, video_class=14, subclass=2):
    return struct.pack('9B', 9, 4, number, alternate, 1, video_class, subclass, 0, 0)


def endpoint(packet_bytes, transactions=1, address=0x81, attributes=5):
    return struct.pack('<4BHB', 7, 5, address, attributes, packet_bytes | (transactions - 1) << 11, 1)


FULL_CAMERA = interface(0, 0, subclass=1) + interface(1, 0) + b''.join(
    interface(1, alternate + 1) + endpoint(1024, transactions) for alternate, transactions in enumerate((1, 3, 2)))


@pytest.mark.parametrize(('descriptors', 'reserved'), [
    (FULL_CAMERA, 3 * (1024 + 38)), (b'', 0), (b'\x02\x04', 0), (b'\x02\x05', 0), (FULL_CAMERA[:-1], 3186),
    (interface(1, 1) + endpoint(512, attributes=2), 0),                  # bulk
    (interface(1, 1) + endpoint(512, address=0x01), 0),                  # to the device
    (interface(1, 1, video_class=1) + endpoint(512), 0),                 # its microphone
    (interface(1, 1) + endpoint(192) + interface(2, 1) + endpoint(384), 192 + 38 + 384 + 38),
    (bytes([18, 1]) + bytes(16) + interface(1, 1) + endpoint(192), 192 + 38),
])
def test_reservation_is_read_from_the_descriptors(descriptors, reserved):
    assert usb_tree.largest_reservation_bytes(descriptors) == reserved


@given(st.lists(st.tuples(st.integers(2, 9), st.sampled_from([1, 4, 5, 36]), st.binary(max_size=9))).map(
    lambda parts: b''.join(bytes([length, kind]) + rest for length, kind, rest in parts)))
def test_no_descriptors_are_too_broken_to_read(descriptors):
    assert usb_tree.largest_reservation_bytes(descriptors) >= 0


@given(st.lists(st.tuples(st.integers(1, 1024), st.integers(1, 3)), min_size=1, max_size=8))
def test_largest_alternate_setting_counts(settings):
    descriptors = b''.join(interface(1, number) + endpoint(*one) for number, one in enumerate(settings))
    assert usb_tree.largest_reservation_bytes(descriptors) == max(count * (size + 38) for size, count in settings)


def test_cameras_that_fit_on_their_buses_are_fine(usb):
    usb('1-1', descriptors=FULL_CAMERA)
    usb('1-4', descriptors=interface(1, 1) + endpoint(1024))
    usb('2-1', descriptors=FULL_CAMERA)
    elsewhere = VideoDevice('/dev/video8', '', 'uvc', '', '', '2-1', True)
    first, second = found(usb_bandwidth.check, MINI, WEBCAM, elsewhere)
    assert first.mark == second.mark == OK
    assert 'bus 1 can reserve 4248 of 6000 bytes a microframe: gelsight_mini 2BNN4ZE7 at /dev/video0 3186' in \
        first.finding


def test_cameras_that_may_not_fit_are_noted_with_the_way_out(usb):
    for path in ('1-1', '1-2.3'):
        usb(path, descriptors=FULL_CAMERA)
    finding, = found(usb_bandwidth.check, MINI, DIGIT)
    assert finding.mark == NOTE and 'reserve 6372 of 6000' in finding.finding and 'MJPG' in finding.remedy


@pytest.mark.parametrize(('speed', 'mark'), [('12', BROKEN), ('480', OK), ('5000', OK)])
def test_speed_of_the_connection_is_checked(usb, speed, mark):
    usb('1-1', speed=speed, descriptors=FULL_CAMERA)
    finding, = found(usb_bandwidth.check, MINI)
    assert finding.mark == mark


def test_camera_without_a_place_on_the_usb_is_left_out(usb):
    (usb_tree.USB_DEVICES / '1-1:1.0').mkdir()
    assert found(usb_bandwidth.check, MINI) == []
