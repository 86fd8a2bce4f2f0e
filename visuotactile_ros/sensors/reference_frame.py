"""The no-contact reference of a gel and what differs from it: contact."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from visuotactile_ros.errors import SensorError

# Averaging over blocks first takes the pixel noise of a camera (1 to 3 grey levels) out of the difference and leaves
# the contact patch, which is many blocks large, in it.
BLOCK_PX = 8


def mean_difference(image_hwc: np.ndarray, reference_hwc: np.ndarray) -> float:
    """Mean absolute difference of two images after averaging over blocks, grey levels 0..255.

    Args:
        image_hwc: uint8 [H, W, 3].
        reference_hwc: uint8 [H, W, 3], in the same colour order.
    """
    return float(np.abs(_blocks(image_hwc) - _blocks(reference_hwc)).mean())


def _blocks(image_hwc: np.ndarray) -> np.ndarray:
    height, width = image_hwc.shape[:2]
    size = (max(1, width // BLOCK_PX), max(1, height // BLOCK_PX))
    return cv2.resize(image_hwc, size, interpolation=cv2.INTER_AREA).astype(np.int16)


def robust_mean(images: Sequence[np.ndarray]) -> np.ndarray:
    """Mean over the middle half of the values of every pixel, so that single disturbed frames do not count.

    Args:
        images: At least three images, uint8 [H, W, 3].

    Returns:
        uint8 [H, W, 3], rounded.
    """
    ordered = np.sort(np.stack(images), axis=0)
    quarter = len(images) // 4
    return np.rint(ordered[quarter:len(images) - quarter].mean(axis=0)).astype(np.uint8)


class ReferenceFrame:
    """Collects the no-contact reference of a sensor and tells contact by the difference from it.

    Args:
        sensor_name: Name for error texts.
        frames: How many frames the reference is taken from.
        disagreement_level: Largest `mean_difference` of one of these frames from the reference, grey levels.
        contact_on_level: `mean_difference` above which contact begins, grey levels.
        contact_off_level: `mean_difference` below which contact ends, grey levels.
    """

    def __init__(self, sensor_name: str, frames: int, disagreement_level: float, contact_on_level: float,
                 contact_off_level: float):
        self._name, self._frames, self._disagreement_level = sensor_name, frames, disagreement_level
        self._on_level, self._off_level = contact_on_level, contact_off_level
        self._collected: list[np.ndarray] | None = []
        self.image_hwc: np.ndarray | None = None
        self.difference_level = 0.0
        self.in_contact = False

    @property
    def is_collecting(self) -> bool:
        """Whether the coming frames go into a new reference."""
        return self._collected is not None

    def request(self) -> None:
        """Take the reference anew from the coming frames; the old one holds until then.

        Raises:
            SensorError: Something touches the gel.
        """
        if self.in_contact:
            raise SensorError(f'{self._name} is touched: {self.difference_level:.1f} grey levels from its reference',
                              'Take the object off the gel and ask again')
        self._collected = []

    def update(self, image_hwc: np.ndarray) -> None:
        """Take in the next frame: it goes into the reference while that is collected, and decides about contact.

        Args:
            image_hwc: uint8 [H, W, 3], RGB.

        Raises:
            SensorError: The frames of a new reference differ from each other, or the size of the frame has changed.
                Collecting has begun anew.
        """
        if self.image_hwc is not None and image_hwc.shape != self.image_hwc.shape:
            self.image_hwc, self._collected, self.in_contact = None, [], False
            raise SensorError(f'{self._name} changed its frames to {image_hwc.shape}', 'Keep the size while it runs')
        if self._collected is not None:
            self._collected.append(image_hwc)
            if len(self._collected) == self._frames:
                self._finish()
        if self.image_hwc is not None:
            self.difference_level = mean_difference(image_hwc, self.image_hwc)
            self.in_contact = self.difference_level > (self._off_level if self.in_contact else self._on_level)

    def _finish(self) -> None:
        collected, self._collected = self._collected, []
        reference = robust_mean(collected)
        worst = max(mean_difference(image, reference) for image in collected)
        if worst > self._disagreement_level:
            raise SensorError(f'{self._name}: the frames of the reference differ by {worst:.1f} grey levels, the limit '
                              f'is {self._disagreement_level:g}', 'Keep the gel free and still for a moment')
        self.image_hwc, self._collected = reference, None
