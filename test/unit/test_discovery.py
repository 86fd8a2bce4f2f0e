"""Cameras found by serial number, in fabricated /sys trees: read by stand-ins everywhere, and by true pyudev."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visuotactile_ros.errors import SensorError
from visuotactile_ros.sensors import discovery
from visuotactile_ros.sensors.discovery import (
    VideoDevice,
    cameras_among,
    choose_video_device,
    is_same_camera,
    list_video_devices,
)

MINI = {'idVendor': '0c45', 'idProduct': '636d', 'product': 'GelSight Mini R0B 2BNN-4ZE7', 'serial': '2BNN4ZE7'}
DIGIT = {'idVendor': '2833', 'idProduct': '0209', 'product': 'DIGIT', 'serial': 'D20001'}
WEBCAM = {'idVendor': '046d', 'idProduct': '0825', 'product': 'Webcam C270'}
PCI = 'devices/pci0000:00/0000:00:14.0/usb1'
ROOT = Path(__file__).resolve().parents[2]


class Machine:
    """Writes /sys and the database of udev as the kernel and udev do, for cameras that are not there."""

    def __init__(self, folder):
        self.sys, self.run = folder / 'sys', folder / 'run'
        self.nodes = 0
        for path in (self.sys / 'class/video4linux', self.sys / 'bus/usb', self.run / 'udev/data'):
            path.mkdir(parents=True)

    def plug(self, usb_path, attributes, capabilities=(':capture:', ':'), interface='1.0'):
        """Plug in a USB camera whose nodes have these capabilities in the eyes of udev; None: no udev runs."""
        usb = self.sys / PCI / usb_path
        self._device(usb, 'usb', 'DEVTYPE=usb_device\n', attributes)
        parent = usb / f'{usb_path}:{interface}'
        self._device(parent, 'usb', 'DEVTYPE=usb_interface\n', {})
        for index, capability in enumerate(capabilities):
            self.add_node(parent, {'index': str(index), 'name': attributes['product']}, capability)

    def add_node(self, parent, attributes, capability):
        """Add one node under a device."""
        number, self.nodes = self.nodes, self.nodes + 1
        node = parent / f'video4linux/video{number}'
        self._device(node, 'video4linux', f'MAJOR=81\nMINOR={number}\nDEVNAME=video{number}\n', attributes)
        classes = self.sys / 'class/video4linux'
        (classes / node.name).symlink_to(os.path.relpath(node, classes))
        if capability is not None:
            (self.run / f'udev/data/c81:{number}').write_text(f'I:1\nE:ID_V4L_CAPABILITIES={capability}\nV:1\n')

    def _device(self, folder, subsystem, uevent, attributes):
        folder.mkdir(parents=True, exist_ok=True)
        place = self.sys / ('bus/usb' if subsystem == 'usb' else f'class/{subsystem}')
        link = folder / 'subsystem'
        if not link.is_symlink():
            link.symlink_to(os.path.relpath(place, folder))
        (folder / 'uevent').write_text(uevent)
        for name, value in attributes.items():
            (folder / name).write_text(value + '\n')

    def devices(self):
        """What pyudev would yield, read by stand-ins that know no libudev."""
        return [StandIn(path.resolve(), self) for path in sorted((self.sys / 'class/video4linux').iterdir())]


class StandIn:
    """As much of pyudev.Device as discovery uses, read from the fabricated folders."""

    def __init__(self, path, machine):
        self._path, self._machine = path, machine
        self.sys_path, self.sys_name, self.attributes = str(path), path.name, self
        self._uevent = dict(line.split('=', 1) for line in (path / 'uevent').read_text().split())
        self.device_node = f'/dev/{self._uevent["DEVNAME"]}' if 'DEVNAME' in self._uevent else None

    def get(self, name):
        path = self._path / name
        return path.read_bytes() if path.is_file() else None

    @property
    def properties(self):
        path = self._machine.run / f'udev/data/c81:{self._uevent["MINOR"]}'
        lines = path.read_text().splitlines() if path.is_file() else ()
        return dict(line[2:].split('=', 1) for line in lines if line.startswith('E:'))

    @property
    def parent(self):
        above = next((path for path in self._path.parents if (path / 'uevent').is_file()), None)
        return None if above is None else StandIn(above, self._machine)

    def find_parent(self, subsystem, device_type):
        above = self.parent
        if above is None or above._uevent.get('DEVTYPE') == device_type:
            return above
        return above.find_parent(subsystem, device_type)


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


@pytest.fixture(scope='module')
def lab_machine(tmp_path_factory):
    """Two GelSight Minis, a DIGIT, a webcam without serial, and a virtual camera; tests only read it."""
    machine = Machine(tmp_path_factory.mktemp('lab'))
    machine.plug('1-4', WEBCAM)
    machine.plug('1-2.3', DIGIT)
    machine.plug('1-1', MINI)
    machine.plug('1-2.1', MINI | {'product': 'GelSight Mini R0B 28XA-T1CP', 'serial': '28XAT1CP'})
    virtual = machine.sys / 'devices/virtual'
    virtual.mkdir(parents=True)
    machine.add_node(virtual, {'index': '0', 'name': 'Loopback'}, ':capture:video_output:')
    return machine


@pytest.fixture
def lab(lab_machine, monkeypatch):
    monkeypatch.setattr(discovery, '_video_nodes', lab_machine.devices)
    return lab_machine


EXPECTED_LAB = [
    ('/dev/video0', '', 'uvc', '046d:0825', 'Webcam C270', '1-4'),
    ('/dev/video8', '', 'v4l2', '', 'Loopback', ''),
    ('/dev/video6', '28XAT1CP', 'gelsight_mini', '0c45:636d', 'GelSight Mini R0B 28XA-T1CP', '1-2.1'),
    ('/dev/video4', '2BNN4ZE7', 'gelsight_mini', '0c45:636d', 'GelSight Mini R0B 2BNN-4ZE7', '1-1'),
    ('/dev/video2', 'D20001', 'digit', '2833:0209', 'DIGIT', '1-2.3'),
]


def listed(devices):
    return [(one.path, one.serial, one.kind, one.usb_id, one.product, one.usb_path) for one in devices]


def test_one_capture_node_for_each_camera_sorted_by_serial(lab):
    devices = list_video_devices()
    assert listed(devices) == EXPECTED_LAB
    assert all(device.is_capture for device in devices)


def test_true_pyudev_reads_the_same_from_the_fabricated_sysfs(lab, tmp_path):
    """The whole way: libudev reads /sys and /run of a mount namespace of its own, in which they are the fabricated."""
    namespace = ['unshare', '--map-root-user', '--mount', 'sh', '-ec']
    mounts = f'mount --bind {lab.sys} /sys; mount --bind {lab.run} /run'
    if shutil.which('unshare') is None or subprocess.run([*namespace, mounts], capture_output=True).returncode != 0:
        pytest.skip('needs a mount namespace: allow user namespaces, or run as root; the stand-ins were tested instead')
    program = ('import json; from dataclasses import asdict; from visuotactile_ros.sensors.discovery import *; '
               'print(json.dumps([asdict(device) for device in list_video_devices()]))')
    # libudev would see that this is no true sysfs.
    done = subprocess.run([*namespace, f'{mounts}; exec "$0" -c "$1"', sys.executable, program], text=True, cwd=ROOT,
                          capture_output=True, env={**os.environ, 'SYSTEMD_DEVICE_VERIFY_SYSFS': '0'}, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [asdict(device) for device in list_video_devices()]


def test_true_pyudev_lists_what_this_machine_has():
    nodes = {f'/dev/{path.name}' for path in Path('/sys/class/video4linux').glob('*')}
    devices = list_video_devices()
    assert {device.path for device in devices} <= nodes
    assert devices == sorted(devices, key=lambda device: (device.serial, len(device.path), device.path))


def test_without_udev_the_first_node_of_a_camera_captures(machine):
    machine.plug('1-1', MINI, capabilities=(None, None))
    assert [device.path for device in cameras_among(machine.devices())] == ['/dev/video0']


def test_where_udev_calls_both_nodes_capture_capable_the_first_is_taken(machine):
    machine.plug('1-1', MINI, capabilities=(':capture:', ':capture:'))
    assert [device.path for device in cameras_among(reversed(machine.devices()))] == ['/dev/video0']


def test_camera_whose_second_node_captures_is_found_there(machine):
    machine.plug('1-1', MINI, capabilities=(':', ':capture:'))
    assert [device.path for device in cameras_among(machine.devices())] == ['/dev/video1']


def test_two_cameras_in_one_usb_device_are_two(machine):
    machine.plug('1-1', WEBCAM, interface='1.0')
    machine.plug('1-1', WEBCAM, interface='1.3')
    assert [device.path for device in cameras_among(machine.devices())] == ['/dev/video0', '/dev/video2']


def test_camera_without_any_capture_node_is_none(machine):
    machine.plug('1-1', WEBCAM, capabilities=(':', ':video_output:'))
    assert cameras_among(machine.devices()) == []


@pytest.mark.parametrize(('attributes', 'kind', 'serial'), [
    (MINI | {'product': 'USB 2.0 Camera'}, 'uvc', '2BNN4ZE7'),  # the same module in another housing
    (MINI | {'idProduct': '636b'}, 'uvc', '2BNN4ZE7'),
    (MINI | {'serial': ''}, 'gelsight_mini', '2BNN4ZE7'),
    (MINI | {'serial': '', 'product': 'GelSight Mini'}, 'gelsight_mini', ''),
    (DIGIT | {'idVendor': '2833'.upper(), 'serial': ' D20001 '}, 'digit', 'D20001'),
    (WEBCAM | {'serial': 'J\ufffd\u00e9'}, 'uvc', 'J\ufffd\u00e9'),
])
def test_kind_and_serial_come_from_usb_id_and_product(machine, attributes, kind, serial):
    machine.plug('1-1', attributes)
    device, = cameras_among(machine.devices())
    assert (device.kind, device.serial) == (kind, serial)


@pytest.mark.parametrize(('serial', 'kind', 'path'), [
    ('2BNN4ZE7', '', '/dev/video4'), ('2BNN-4ZE7', 'gelsight_mini', '/dev/video4'),
    ('2bnn4ze7', 'gelsight_mini_markers', '/dev/video4'), ('D20001', 'digit', '/dev/video2'),
    ('', 'digit', '/dev/video2'), ('', 'vitactip', '/dev/video0'), ('', 'wrist_camera', '/dev/video0')])
def test_camera_is_found(lab, serial, kind, path):
    assert choose_video_device(list_video_devices(), serial, kind).path == path


@pytest.mark.parametrize(('serial', 'kind', 'match'), [
    ('XXXX', '', r'no camera with serial XXXX, but .*gelsight_mini 2BNN4ZE7 at /dev/video4.*\. Set serial to one'),
    ('D20001', 'gelsight_mini', 'no gelsight_mini with serial D20001, but .*digit D20001 at /dev/video2.*'
                                r'\. Correct kind or serial: that serial number is that of a digit\.'),
    ('2bnn-4ze7', 'vitactip', 'no uvc with serial 2bnn-4ze7, but .*Correct kind or serial: .* of a gelsight_mini'),
    ('', 'gelsight_mini', '2 times gelsight_mini: gelsight_mini 28XAT1CP at /dev/video6; .* Set serial to the one'),
    ('', '', '5 times camera: uvc without serial at /dev/video0; .*device_path.*/dev/v4l/by-path'),
    ('', 'nonsense', 'no nonsense, but .*Check its cable'),
])
def test_refusal_says_what_is_there_and_what_to_do(lab, serial, kind, match):
    with pytest.raises(SensorError, match=match):
        choose_video_device(list_video_devices(), serial, kind)


def test_two_cameras_of_one_serial_are_told_apart_by_port_only(machine):
    machine.plug('1-3', DIGIT)
    machine.plug('1-4', DIGIT)
    with pytest.raises(SensorError, match='2 times digit with serial D20001: .*video0; .*video2.*/dev/v4l/by-path'):
        choose_video_device(cameras_among(machine.devices()), 'D20001', 'digit')


def test_serial_of_another_kind_is_no_matter_of_the_cable_where_nothing_of_the_kind_is_there(machine):
    machine.plug('1-1', MINI)
    with pytest.raises(SensorError, match='gelsight_mini 2BNN4ZE7 at /dev/video0. Correct kind or serial'):
        choose_video_device(cameras_among(machine.devices()), '2BNN4ZE7', 'digit')


def test_nothing_plugged_in_is_said():
    with pytest.raises(SensorError, match='no digit, but no camera at all. Check its cable'):
        choose_video_device([], '', 'digit')


def test_a_camera_is_the_same_at_another_node_and_port_and_no_other_is(lab):
    devices = list_video_devices()
    for device in devices:
        moved = replace(device, path='/dev/video70', usb_path='1-7')
        assert [is_same_camera(moved, other) for other in devices] == [other is device for other in devices]


def test_missing_libudev_is_said(monkeypatch):
    def context():
        raise ImportError('No library named udev')
    monkeypatch.setattr(discovery.pyudev, 'Context', context)
    with pytest.raises(SensorError, match='No library named udev. Install it'):
        list_video_devices()


def test_node_that_vanished_meanwhile_is_left_out(machine):
    machine.plug('1-1', MINI)
    nodes = machine.devices()
    nodes[0].device_node = None
    assert cameras_among(nodes) == []


SERIALS = st.text('ABC123', min_size=1, max_size=4)


@given(serials=st.lists(SERIALS, max_size=6), wanted=SERIALS)
def test_a_camera_of_another_serial_is_never_taken(serials, wanted):
    present = [VideoDevice(f'/dev/video{number}', serial, 'digit', '2833:0209', 'DIGIT', f'1-{number}', True)
               for number, serial in enumerate(serials)]
    if serials.count(wanted) == 1:
        assert choose_video_device(present, wanted, 'digit') == present[serials.index(wanted)]
    else:
        with pytest.raises(SensorError, match='no digit' if wanted not in serials else 'times digit'):
            choose_video_device(present, wanted, 'digit')
