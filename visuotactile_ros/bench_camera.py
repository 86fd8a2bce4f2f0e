"""Cameras for `make bench-sensors`: they stand in for cv2.VideoCapture of a GelSight Mini and send real frames.

The frames are brought to the size of the camera's pictures and compressed as it does.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

WIDTH_PX, HEIGHT_PX, BORDER_FRACTION = 3280, 2464, 0.15
# With this noise and quality a picture has as many bytes as an isochronous endpoint of USB 2 carries in a 25th of a
# second (3 x 1024 in each of 8000 microframes a second: 983 kB), so that no such stream is harder to decode.
NOISE_LEVELS, JPEG_QUALITY = 2.9, 90
BUFFERS_OF_OPENCV = 4


class EndlessCamera:
    """Stands in for cv2.VideoCapture of a GelSight Mini: the next picture is always there.

    Args:
        jpegs: What the camera sends, again and again.
    """

    def __init__(self, jpegs: Sequence[bytes], *_: Any):
        self._jpegs = jpegs
        self._slot = -1
        self._properties = {cv2.CAP_PROP_CONVERT_RGB: 1.0, cv2.CAP_PROP_BUFFERSIZE: float(BUFFERS_OF_OPENCV)}

    def isOpened(self) -> bool:  # noqa: N802
        """Say that the camera is there."""
        return True

    def set(self, number: int, value: float) -> bool:
        """Accept every setting."""
        self._properties[number] = value
        return True

    def get(self, number: int) -> float:
        """Return a setting as it was set."""
        return self._properties[number]

    def grab(self) -> bool:
        """Take the next picture."""
        self._slot += 1
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        """Return what was grabbed: decoded whole, as OpenCV does, unless it was told to give the bytes."""
        jpeg = np.frombuffer(self._jpegs[self._slot % len(self._jpegs)], np.uint8)
        if self._properties[cv2.CAP_PROP_CONVERT_RGB] == 0.0:
            return True, jpeg[None].copy()
        return True, cv2.imdecode(jpeg, cv2.IMREAD_COLOR)

    def release(self) -> None:
        """Do nothing: there is no device."""


class PacedCamera(EndlessCamera):
    """As above, at a rate and with the buffers of V4L2: a picture for which no buffer is free is lost.

    Args:
        jpegs: What the camera sends, again and again.
        period_s: Seconds from picture to picture.
        first_s: When the first picture is there, on the monotonic clock.

    Attributes:
        ages_when_grabbed_ms: How long each picture had lain in its buffer.
    """

    def __init__(self, jpegs: Sequence[bytes], period_s: float, first_s: float, *_: Any):
        super().__init__(jpegs)
        self._period_s, self._first_s = period_s, first_s
        self._next_slot, self._holds_buffer = 0, False
        self._waiting: deque[int] = deque()
        self.ages_when_grabbed_ms: list[float] = []

    def _receive(self) -> None:
        """Put into free buffers what has come since the last call."""
        free = int(self._properties[cv2.CAP_PROP_BUFFERSIZE]) - self._holds_buffer
        while self._first_s + self._next_slot * self._period_s <= time.monotonic():
            if len(self._waiting) < free:
                self._waiting.append(self._next_slot)
            self._next_slot += 1

    def grab(self) -> bool:
        """Wait for the oldest picture that lies in a buffer."""
        self._holds_buffer = False
        self._receive()
        while not self._waiting:
            time.sleep(max(0.0, self._first_s + self._next_slot * self._period_s - time.monotonic()))
            self._receive()
        self._slot, self._holds_buffer = self._waiting.popleft(), True
        self.ages_when_grabbed_ms.append(1e3 * (time.monotonic() - self._first_s - self._slot * self._period_s))
        return True

    def retrieve(self) -> tuple[bool, np.ndarray]:
        """Return what was grabbed; its buffer is free again after that."""
        result = super().retrieve()
        self._receive()
        self._holds_buffer = False
        return result


def real_frames(folder: Path, count: int) -> list[np.ndarray]:
    """Read frames of a GelSight Mini.

    Args:
        folder: Folder with gelsight_mini_00.jpg and so on.
        count: How many.

    Returns:
        uint8 [240, 320, 3] BGR each.
    """
    return [cv2.imread(str(file)) for file in sorted(folder.glob('gelsight_mini_[0-9]*.jpg'))[:count]]


def picture_of_camera(frame_bgr: np.ndarray, seed: int) -> bytes:
    """Make the picture of which a published frame was the middle, with the noise of a camera.

    Args:
        frame_bgr: uint8 [240, 320, 3], BGR.
        seed: Of the noise.

    Returns:
        JPEG of WIDTH_PX x HEIGHT_PX with half the colours across, as cameras send them.
    """
    columns, rows = int(BORDER_FRACTION * WIDTH_PX), int(BORDER_FRACTION * HEIGHT_PX)
    kept = cv2.resize(frame_bgr, (WIDTH_PX - 2 * columns, HEIGHT_PX - 2 * rows), interpolation=cv2.INTER_CUBIC)
    picture = cv2.copyMakeBorder(kept, rows, rows, columns, columns, cv2.BORDER_REFLECT_101)
    noise = np.empty(picture.shape, np.int16)
    cv2.setRNGSeed(seed)
    cv2.randn(noise, (0,) * 3, (NOISE_LEVELS,) * 3)
    _, jpeg = cv2.imencode('.jpg', cv2.add(picture, noise, dtype=cv2.CV_8U), [
        cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422])
    return jpeg.tobytes()
