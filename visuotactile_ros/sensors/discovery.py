"""Which cameras are plugged in, by serial number: node numbers change with every replug, serial numbers do not."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyudev

from visuotactile_ros.errors import SensorError

# Kind, USB id, and how the product string begins; a further kind of sensor is one more line. The id alone tells too
# little: that of the GelSight Mini belongs to a camera module which others sell too.
# Source: github.com/xiaoxiaoxh/reactive_diffusion_policy/issues/13 (GelSight Mini), digit-interface 0.2.1 (DIGIT).
KNOWN_CAMERAS = (
    ('gelsight_mini', '0c45:636d', 'GelSight Mini'),
    ('digit', '2833:0209', 'DIGIT'),
)
ANY_USB_CAMERA, OTHER_CAMERA = 'uvc', 'v4l2'
# What a kind of sensor, as the encoder knows it, is on the USB where that is called otherwise.
CAMERA_OF_SENSOR_KIND = {'gelsight_mini_markers': 'gelsight_mini', 'gelsight': ANY_USB_CAMERA,
                         'vitactip': ANY_USB_CAMERA, 'wrist_camera': ANY_USB_CAMERA}
# A GelSight Mini carries its serial number in its product string as well, there with a dash.
SERIAL_IN_PRODUCT = re.compile(r'^GelSight Mini \S+ (\w{4}-\w{4})$')
# The system's words for a device that is no longer there.
LOST_DEVICE_ERRNOS = (errno.ENODEV, errno.ENXIO, errno.ENOENT)
# OpenCV waits ten seconds for a camera that has stalled, unless told otherwise before its first wait. All drivers read
# with OpenCV and import this module.
os.environ.setdefault('OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT', '1')


@dataclass(frozen=True)
class VideoDevice:
    """One V4L2 node.

    Attributes:
        path: Device node, as in `/dev/video2`; holds until the next replug.
        serial: Serial number as the device gives it over USB, '' where it has none.
        kind: `gelsight_mini`, `digit`, `uvc` for any other USB camera, `v4l2` for what is not on the USB.
        usb_id: Vendor and product number as in `0c45:636d`, '' off the USB.
        product: Product string of the device.
        usb_path: Bus and ports on the way to the device as in `1-2.3`, '' off the USB.
        is_capture: Whether pictures come from this node; every USB camera has a second one that yields metadata only.
    """

    path: str
    serial: str
    kind: str
    usb_id: str
    product: str
    usb_path: str
    is_capture: bool


def list_video_devices() -> list[VideoDevice]:
    """List the node of every camera that pictures come from, one for each camera, sorted by serial number.

    Raises:
        SensorError: libudev is not there.
    """
    return cameras_among(_video_nodes())


def choose_video_device(present: Sequence[VideoDevice], serial: str, kind: str = '') -> VideoDevice:
    """Choose one camera by its serial number.

    Args:
        present: Cameras to choose among, as `list_video_devices` gives them.
        serial: Serial number, with or without dashes; '' takes the only camera there is.
        kind: Kind of sensor or of camera that it must be; '' takes any.

    Raises:
        SensorError: No camera matches, or more than one; the text lists those that are there.
    """
    wanted_kind = CAMERA_OF_SENSOR_KIND.get(kind, kind)
    of_kind = [device for device in present if wanted_kind in ('', device.kind)]
    found = [device for device in of_kind if serial == '' or same_serial(device.serial, serial)]
    if len(found) == 1:
        return found[0]
    wanted = f'{wanted_kind or "camera"} with serial {serial}' if serial else wanted_kind or 'camera'
    there = '; '.join(map(describe, found or present)) or 'no camera at all'
    if not found:
        remedy = 'Set serial to one of those' if serial and of_kind else \
            'Check its cable and port, and see what dmesg and ros2 run visuotactile_ros doctor say'
        for device in present:
            if serial and same_serial(device.serial, serial):
                remedy = f'Correct kind or serial: that serial number is that of a {device.kind}'
        raise SensorError(f'there is no {wanted}, but {there}', remedy)
    remedy = 'Set device_path to the one meant under /dev/v4l/by-path' if serial or not all(
        device.serial for device in found) else 'Set serial to the one meant'
    raise SensorError(f'there are {len(found)} times {wanted}: {there}', remedy)


def describe(device: VideoDevice) -> str:
    """Say in a few words which camera it is and where."""
    return f'{device.kind} {device.serial or "without serial"} at {device.path}'


def known_kind(usb_id: str, product: str) -> str | None:
    """Return the kind of tactile sensor that a USB device is, None for any other device."""
    return next((kind for kind, known_id, beginning in KNOWN_CAMERAS
                 if usb_id == known_id and product.startswith(beginning)), None)


def cameras_among(nodes: Iterable[pyudev.Device]) -> list[VideoDevice]:
    """Keep one capture node for each camera, sorted by serial number.

    Args:
        nodes: Devices of the subsystem video4linux.
    """
    cameras: dict[str, tuple[int, VideoDevice]] = {}
    for node in nodes:
        device = _video_device(node)
        if device is None or not device.is_capture:
            continue
        # All nodes of a camera hang on one interface of its USB device; the first is the one that is meant. (An old
        # udev calls the metadata node capture-capable too.)
        interface = node.parent.sys_path if node.parent is not None else node.sys_path
        index = int(_attribute(node, 'index') or 0)
        if interface not in cameras or index < cameras[interface][0]:
            cameras[interface] = (index, device)
    return sorted((device for _, device in cameras.values()),
                  key=lambda device: (device.serial, len(device.path), device.path))


def _video_nodes() -> list[pyudev.Device]:
    try:
        return list(pyudev.Context().list_devices(subsystem='video4linux'))
    except (ImportError, OSError) as error:
        raise SensorError(f'libudev cannot be used: {error}', 'Install it: apt install libudev1') from error


def _video_device(node: pyudev.Device) -> VideoDevice | None:
    """Read one node, None for one without a file under /dev (it went away meanwhile)."""
    if not node.device_node:
        return None
    # udev says what a node can do; where no udev runs (a container), the first node of a camera captures.
    capabilities = node.properties.get('ID_V4L_CAPABILITIES')
    is_capture = _attribute(node, 'index') in ('0', '') if capabilities is None else ':capture:' in capabilities
    usb = node.find_parent('usb', 'usb_device')
    if usb is None:
        return VideoDevice(node.device_node, '', OTHER_CAMERA, '', _attribute(node, 'name'), '', is_capture)
    usb_id = f'{_attribute(usb, "idVendor")}:{_attribute(usb, "idProduct")}'.lower()
    product = _attribute(usb, 'product')
    in_product = SERIAL_IN_PRODUCT.match(product)
    serial = _attribute(usb, 'serial') or (in_product[1].replace('-', '') if in_product else '')
    kind = known_kind(usb_id, product) or ANY_USB_CAMERA
    return VideoDevice(node.device_node, serial, kind, usb_id, product, usb.sys_name, is_capture)


def canonical_serial(serial: str) -> str:
    """Write a serial number as frames carry it, in upper case without dashes: makers print dashes, USB has none."""
    return serial.replace('-', '').upper()


def same_serial(serial: str, other: str) -> bool:
    """Tell whether two serial numbers are the same, however they are written."""
    return canonical_serial(serial) == canonical_serial(other)


def is_same_camera(device: VideoDevice, other: VideoDevice) -> bool:
    """Tell whether two nodes, seen at different times, are of one camera; twins without serial numbers pass for one."""
    return same_serial(device.serial, other.serial) and (device.usb_id, device.product) == (other.usb_id, other.product)


def lost_device_error(path: str) -> OSError | None:
    """Ask the system for a device node: many drivers give no frame, whether the device is silent or gone.

    Returns:
        The error with which it cannot be opened; None where it can.
    """
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
    except OSError as error:
        return error
    return None


def _attribute(device: pyudev.Device, name: str) -> str:
    value = device.attributes.get(name)
    return '' if value is None else value.decode('utf-8', 'replace').strip()
