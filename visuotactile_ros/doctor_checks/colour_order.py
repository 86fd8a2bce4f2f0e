"""Whether red stays red: known colours go the ways that pictures go, and must come out as they are."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import cv2
import numpy as np

from visuotactile_ros.doctor_checks.examination import BROKEN, OK, Finding, Request
from visuotactile_ros.ros_interface.image_codec import decode_image, encode_image
from visuotactile_ros.sensors.image_geometry import ImageGeometry
from visuotactile_ros.sensors.jpeg_decoding import JpegDecoder

SUBJECT = 'colour order'
REMEDY = 'Install the package again and run its tests; report what this line says'
# Quadrants of different colours, none of which looks right with channels exchanged.
COLOURS_RGB = np.uint8([[[200, 40, 60], [50, 180, 90]], [[30, 70, 210], [220, 160, 20]]])
WIDTH_PX, HEIGHT_PX = 320, 240
JPEG_QUALITY, JPEG_REDUCTION = 95, 4


def check(request: Request) -> Iterator[Finding]:
    """Send the known picture through the drivers' way and through the messages' way."""
    for name, image_hwc in ways(known_image()):
        if right_colours(image_hwc):
            yield Finding(OK, SUBJECT, f'{name} keep red, green and blue')
        else:
            yield Finding(BROKEN, SUBJECT, f'{name} exchange red, green and blue', REMEDY)


def known_image() -> np.ndarray:
    """Return the known picture: uint8 [240, 320, 3], RGB."""
    return COLOURS_RGB.repeat(HEIGHT_PX // 2, axis=0).repeat(WIDTH_PX // 2, axis=1)


def ways(image_hwc: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Send a picture every way that pictures go in this package.

    Args:
        image_hwc: uint8 [240, 320, 3], RGB.

    Yields:
        Name of the way, and what came out: uint8 [240, 320, 3], RGB if all is well.
    """
    keep = ImageGeometry(0.0, 0, False, WIDTH_PX, HEIGHT_PX)
    picture_bgr = np.ascontiguousarray(image_hwc[:, :, ::-1])  # as OpenCV's cameras give it
    yield 'raw pictures of a camera', keep.apply(picture_bgr)
    message = SimpleNamespace(data=_Bytes())
    encode_image(message, image_hwc)
    yield 'messages', decode_image(message)
    large_bgr = cv2.resize(picture_bgr, None, fx=JPEG_REDUCTION, fy=JPEG_REDUCTION, interpolation=cv2.INTER_NEAREST)
    jpeg = cv2.imencode('.jpg', large_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    decoder = JpegDecoder(WIDTH_PX * JPEG_REDUCTION, HEIGHT_PX * JPEG_REDUCTION, JPEG_REDUCTION, False)
    yield 'MJPG pictures of a camera', keep.apply(decoder.decode(jpeg, 'the known picture'))


def right_colours(image_hwc: np.ndarray) -> bool:
    """Whether each quadrant of a picture is nearer to its own colour than to itself with channels exchanged."""
    measured = cv2.resize(image_hwc, (2, 2), interpolation=cv2.INTER_AREA).astype(int)
    orders = ([0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0])
    distances = [np.abs(measured - COLOURS_RGB[:, :, order]).sum(axis=2) for order in orders]
    return bool((np.argmin(distances, axis=0) == 0).all())


class _Bytes(bytearray):
    """The one method of array.array by which messages are filled."""

    def frombytes(self, content: np.ndarray) -> None:
        self.extend(content.tobytes())
