"""Frames of videos by their number."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from visuotactile_ros.errors import SensorError

_OPEN_VIDEOS = 4
# The frames of a record, and a reference that many of them share, which would else be decoded again for each.
_KEPT_FRAMES = 8


class VideoReader:
    """Reads frames by number; quick where the numbers of a video ascend, or one of the last few frames comes again.

    Frames are counted, never sought: where a container has no exact index, seeking lands on another frame.
    """

    def __init__(self):
        self._open: OrderedDict[Path, tuple[cv2.VideoCapture, int]] = OrderedDict()
        self._kept = lru_cache(_KEPT_FRAMES)(self._decode)

    def read(self, path: Path, index: int) -> np.ndarray:
        """Give frame `index`, counted from 0, as read-only uint8 [H, W, 3] RGB.

        Raises:
            SensorError: The video cannot be read or is shorter.
        """
        return self._kept(path, index)

    def _decode(self, path: Path, index: int) -> np.ndarray:
        capture, position = self._open.pop(path, (None, 0))
        if capture is None or position > index:
            capture, position = cv2.VideoCapture(str(path)), 0
        while position < index and capture.grab():
            position += 1
        usable, image_bgr = capture.read()
        if not usable:
            raise SensorError(f'{path} has no frame {index}', 'Download it again')
        self._open[path] = capture, index + 1
        if len(self._open) > _OPEN_VIDEOS:
            self._open.popitem(last=False)
        image = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
        image.setflags(write=False)
        return image


def frames_of(path: Path) -> Iterator[np.ndarray]:
    """Give every frame of a video as uint8 [H, W, 3] BGR; none where it cannot be read."""
    capture = cv2.VideoCapture(str(path))
    while True:
        usable, image_bgr = capture.read()
        if not usable:
            return
        yield image_bgr


def frame_count(path: Path) -> int:
    """Give the number of frames that a video's header states; 0 where it cannot be read."""
    return max(0, int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT)))
