"""Which cameras are there, whether the expected ones are among them, and which the kernel has no driver for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding, Request
from visuotactile_ros.doctor_checks.usb_tree import usb_devices
from visuotactile_ros.errors import SensorError
from visuotactile_ros.sensors.discovery import describe, known_kind

SUBJECT = 'sensors'


def check(request: Request) -> Iterator[Finding]:
    """List the cameras and find what is missing."""
    for camera in request.cameras:
        yield Finding(OK, SUBJECT, f'{describe(camera)}: {camera.product}, USB {camera.usb_path or "no"}')
    for kind, serial_or_path in request.expected:
        try:
            request.camera_of(kind, serial_or_path)
        except SensorError as error:
            yield Finding(BROKEN, SUBJECT, error.problem,
                          f'{error.remedy}; the doctor is told by --sensor {kind}=<serial number or path>')
    if not request.cameras and not request.expected:
        yield Finding(NOTE, SUBJECT, 'no camera is plugged in',
                      'Nothing for simulation and replay; otherwise check the cable: dmesg tells what the kernel saw')
    shared = Counter((camera.kind, camera.serial) for camera in request.cameras if camera.serial)
    for (kind, serial), number in shared.items():
        if number > 1:
            yield Finding(NOTE, SUBJECT, f'{number} times {kind} have the serial number {serial}',
                          'Tell them apart by port: set device_path to their paths under /dev/v4l/by-path')
    with_node = {camera.usb_path for camera in request.cameras}
    for device in usb_devices():
        kind = known_kind(device.usb_id, device.product)
        if kind is not None and device.usb_path not in with_node:
            yield Finding(BROKEN, SUBJECT, f'a {kind} is on USB {device.usb_path}, but has no node that gives pictures',
                          'Load the driver: sudo modprobe uvcvideo; in a virtual machine hand the USB device through')
