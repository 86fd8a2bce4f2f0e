"""Cameras on a USB that is not there: what pyudev lists and what cv2.VideoCapture opens, on a simulated clock."""

import re
from types import SimpleNamespace

import cv2
import numpy as np

from visuotactile_ros.sensors import uvc_device

SELECT_TIMEOUT_S = 1.0
USB_IDS = {'GelSight Mini': ('0c45', '636d'), 'DIGIT': ('2833', '0209')}


class UsbCamera:
    """A camera with two nodes, as uvcvideo makes them; its attributes say what it does and how it misbehaves.

    Attributes:
        picture: Gives the next picture, BGR or the bytes of a JPEG, as the reader sees it.
        fault: '' or `in use` (cannot be opened), `stalled` (select() runs into its time limit), `raises` (the driver
            raises `error`).
        bandwidth: Whether the bus has room for its stream.
        controls: Every setting that was written since it was plugged in; what is in `ignores` is not heeded.
    """

    def __init__(self, product, serial, clock, size_px=(64, 48), rate_hz=10.0):
        self.product, self.serial, self.clock, self.rate_hz = product, serial, clock, rate_hz
        vendor, model = next((ids for name, ids in USB_IDS.items() if product.startswith(name)), ('046d', '0825'))
        self.attributes = {'idVendor': vendor, 'idProduct': model, 'product': product, 'serial': serial}
        self.width_px, self.height_px = size_px
        self.fault, self.bandwidth, self.ignores, self.error = '', True, (), RuntimeError('driver fault')
        self.is_plugged, self.controls, self.path, self.last_stamp_ns = False, {}, None, None
        self.noise = np.random.default_rng(0)
        self.picture = self.noisy_picture

    def noisy_picture(self, low=60, high=200):
        return self.noise.integers(low, high, (self.height_px, self.width_px, 3), np.uint8)


class UdevDevice:
    """As much of pyudev.Device as tells a node and what it hangs on."""

    def __init__(self, sys_path, attributes, parent=None, device_node=None, capabilities=''):
        self.sys_path, self.sys_name, self.parent, self.device_node = sys_path, sys_path[-3:], parent, device_node
        self.attributes = {name: value.encode() for name, value in attributes.items()}
        self.properties = {'ID_V4L_CAPABILITIES': capabilities}

    def find_parent(self, subsystem, device_type):
        assert (subsystem, device_type) == ('usb', 'usb_device')
        return self.parent.parent


class UsbBus:
    """What is plugged in; stands in for pyudev.Context() and for cv2.VideoCapture.

    Args:
        dev: Folder in which the nodes appear.
        clock: Passes while a capture waits for a picture.
    """

    def __init__(self, dev, clock):
        self.dev, self.clock = dev, clock
        self.nodes = {}  # number: camera, index of the node in its camera
        self.captures = []

    def install(self, monkeypatch):
        monkeypatch.setattr('pyudev.Context', lambda: self)
        monkeypatch.setattr(cv2, 'VideoCapture', self.capture)
        monkeypatch.setattr(uvc_device, 'time', SimpleNamespace(time_ns=self.clock.wall_ns))

    def plug(self, camera, metadata_first=False):
        """Plug a camera in; it gets the lowest free numbers, as from the kernel."""
        free = [number for number in range(len(self.nodes) + 2) if number not in self.nodes][:2]
        for number, index in zip(free, (1, 0) if metadata_first else (0, 1)):
            self.nodes[number] = camera, index
            (self.dev / f'video{number}').touch()
            if index == 0:
                camera.path = str(self.dev / f'video{number}')
        camera.is_plugged, camera.controls = True, {}
        return camera

    def unplug(self, camera):
        # The kernel takes the nodes away even while somebody holds them open.
        for number in [number for number, (owner, _) in self.nodes.items() if owner is camera]:
            del self.nodes[number]
            (self.dev / f'video{number}').unlink()
        camera.is_plugged = False

    def list_devices(self, subsystem):
        assert subsystem == 'video4linux'
        for number, (camera, index) in self.nodes.items():
            usb = UdevDevice(f'/sys/{id(camera)}/1-1', camera.attributes)
            interface = UdevDevice(f'{usb.sys_path}/1.0', {}, usb)
            yield UdevDevice(f'{interface.sys_path}/video{number}', {'index': str(index), 'name': camera.product},
                             interface, str(self.dev / f'video{number}'), ':' if index else ':capture:')

    def capture(self, path, backend):
        assert backend == cv2.CAP_V4L2
        number = int(re.fullmatch(r'.*video(\d+)', path)[1])
        camera, index = self.nodes.get(number, (None, 0))
        self.captures = [capture for capture in self.captures if not capture.released]
        self.captures.append(Capture(camera if index == 0 else None, self.clock))
        return self.captures[-1]


class Capture:
    """cv2.VideoCapture on V4L2: once its camera is unplugged it never gives a picture again."""

    def __init__(self, camera, clock):
        self.camera, self.clock, self.lost, self.released = camera, clock, False, False
        self.taken = None

    def isOpened(self):  # noqa: N802
        return self.camera is not None and self.camera.fault != 'in use'

    def set(self, number, value):
        self.camera.controls[number] = value
        return number not in self.camera.ignores

    def get(self, number):
        if number in self.camera.ignores or number not in self.camera.controls:
            return {cv2.CAP_PROP_FRAME_WIDTH: 640.0, cv2.CAP_PROP_FRAME_HEIGHT: 480.0,
                    cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*'YUYV'))}.get(number, -1.0)
        return self.camera.controls[number]

    def grab(self):
        camera, self.taken = self.camera, None
        self.lost = self.lost or not camera.is_plugged
        if self.lost:
            return False
        if camera.fault == 'raises':
            raise camera.error
        if camera.fault == 'stalled' or not camera.bandwidth:
            self.clock.now_s += SELECT_TIMEOUT_S
            return False
        self.clock.now_s += 1.0 / camera.rate_hz
        self.taken = camera.picture()
        camera.last_stamp_ns = self.clock.wall_ns()
        return True

    def retrieve(self):
        if self.taken is None:
            return False, None
        if isinstance(self.taken, bytes):
            return True, np.frombuffer(self.taken, np.uint8)[None]
        return True, self.taken

    def release(self):
        self.released = True
