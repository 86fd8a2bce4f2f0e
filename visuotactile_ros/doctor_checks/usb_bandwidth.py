"""Whether the cameras of a USB bus fit on it together."""

from __future__ import annotations

from collections.abc import Iterator

from visuotactile_ros.doctor_checks.examination import BROKEN, NOTE, OK, Finding, Request
from visuotactile_ros.doctor_checks.usb_tree import largest_reservation_bytes, usb_devices
from visuotactile_ros.sensors.discovery import describe

SUBJECT = 'USB bandwidth'
HIGH_SPEED_MBIT_S = 480.0
# A microframe lasts 125 microseconds; at most 80 % of it can be reserved. Source: USB 2.0 specification, 5.6.4.
MICROFRAME_BYTES = 7500
BUDGET_BYTES = MICROFRAME_BYTES * 8 // 10


def check(request: Request) -> Iterator[Finding]:
    """Compare what the cameras of each bus can reserve with what there is."""
    devices = {device.usb_path: device for device in usb_devices()}
    buses: dict[str, list[tuple[str, int]]] = {}
    for camera in request.cameras:
        device = devices.get(camera.usb_path)
        if device is None:
            continue
        if device.speed_mbit_s < HIGH_SPEED_MBIT_S:
            yield Finding(BROKEN, SUBJECT, f'{describe(camera)} runs at {device.speed_mbit_s:g} Mb/s, not '
                          f'{HIGH_SPEED_MBIT_S:g}', 'Use another cable and port, and no hub of USB 1')
        elif device.speed_mbit_s == HIGH_SPEED_MBIT_S:
            bus = camera.usb_path.partition('-')[0]
            buses.setdefault(bus, []).append((describe(camera), largest_reservation_bytes(device.descriptors)))
        else:
            yield Finding(OK, SUBJECT, f'{describe(camera)} runs at {device.speed_mbit_s:g} Mb/s')
    for bus, cameras in sorted(buses.items()):
        total = sum(reserved for _, reserved in cameras)
        shares = ', '.join(f'{name} {reserved}' for name, reserved in cameras)
        finding = f'the cameras on bus {bus} can reserve {total} of {BUDGET_BYTES} bytes a microframe: {shares}'
        if total <= BUDGET_BYTES:
            yield Finding(OK, SUBJECT, finding)
        else:
            yield Finding(NOTE, SUBJECT, f'{finding}; they may not stream all at once',
                          'If one fails with "No space left on device", plug it into a port of another USB controller '
                          '(lsusb -t shows the buses), or ask it for MJPG, a smaller picture or a lower rate')
