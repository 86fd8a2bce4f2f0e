"""What the kernel says about the devices on the USB: names, speed, and what their endpoints can reserve."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

USB_DEVICES = Path('/sys/bus/usb/devices')
# Descriptors: byte 0 is the length, byte 1 the type. Source: USB 2.0 specification, tables 9-12 and 9-13.
INTERFACE_DESCRIPTOR, INTERFACE_BYTES, ENDPOINT_DESCRIPTOR, ENDPOINT_BYTES = 4, 9, 5, 7
VIDEO_CLASS, STREAMING_SUBCLASS = 14, 2
ISOCHRONOUS, INPUT = 1, 0x80
# Bus bytes around the payload of each isochronous transaction at 480 Mb/s. Source: USB 2.0 specification, table 5-5.
TRANSACTION_OVERHEAD_BYTES = 38


@dataclass(frozen=True)
class UsbDevice:
    """One device.

    Attributes:
        usb_path: Bus and ports on the way to it, as in `1-2.3`.
        usb_id: Vendor and product number as in `0c45:636d`.
        product: Product string.
        speed_mbit_s: Speed of its connection, Mb/s.
        descriptors: Its device and configuration descriptors as they came over the wire.
    """

    usb_path: str
    usb_id: str
    product: str
    speed_mbit_s: float
    descriptors: bytes


def usb_devices() -> list[UsbDevice]:
    """List the devices that are plugged in; one that goes away meanwhile is left out."""
    devices = []
    for folder in sorted(USB_DEVICES.glob('*')):
        try:
            product = folder / 'product'
            name = product.read_text(errors='replace').strip() if product.is_file() else ''
            devices.append(UsbDevice(
                folder.name, f'{_text(folder / "idVendor")}:{_text(folder / "idProduct")}', name,
                float(_text(folder / 'speed')), (folder / 'descriptors').read_bytes()))
        except (OSError, ValueError):
            continue  # an interface, which has none of these files, or a device that has gone
    return devices


def largest_reservation_bytes(descriptors: bytes) -> int:
    """Return what the video streams of a high-speed device can reserve at most.

    Args:
        descriptors: As in `UsbDevice`.

    Returns:
        Bytes of bus time in every microframe, 0 for a camera that reserves nothing (it sends in bulk).
    """
    largest: dict[int, int] = {}
    interface, is_video = -1, False
    for descriptor in _split(descriptors):
        if descriptor[1] == INTERFACE_DESCRIPTOR and len(descriptor) >= INTERFACE_BYTES:
            interface = descriptor[2]
            is_video = tuple(descriptor[5:7]) == (VIDEO_CLASS, STREAMING_SUBCLASS)
        elif descriptor[1] == ENDPOINT_DESCRIPTOR and len(descriptor) >= ENDPOINT_BYTES and is_video \
                and descriptor[2] & INPUT and descriptor[3] & 3 == ISOCHRONOUS:
            packet = int.from_bytes(descriptor[4:6], 'little')
            transactions = 1 + (packet >> 11 & 3)
            reserved = transactions * ((packet & 0x7FF) + TRANSACTION_OVERHEAD_BYTES)
            largest[interface] = max(reserved, largest.get(interface, 0))
    return sum(largest.values())


def _split(descriptors: bytes) -> Iterator[bytes]:
    while len(descriptors) >= 2 and descriptors[0] >= 2:
        yield descriptors[:descriptors[0]]
        descriptors = descriptors[descriptors[0]:]


def _text(path: Path) -> str:
    return path.read_text().strip()
