"""The no-contact reference of a gel, whether something touched while it was taken, and contact as change from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from visuotactile_ros.errors import SensorError

# Averaging over blocks first takes the pixel noise of a camera (1 to 3 grey levels) out of the difference and leaves
# the contact patch, which is many blocks large, in it.
BLOCK_PX = 8
# An imprint is as wide as these two blurs leave: wider than dust, narrower than light. Blocks, 80 to a picture's width.
IMPRINT_BLOCKS = 80
NARROWEST_IMPRINT_BLOCKS, WIDEST_IMPRINT_BLOCKS = 1.0, 4.0
# An imprint covers more than one hundredth of the picture.
IMPRINT_PERCENTILE = 99.0


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


def imprint_level(image_hwc: np.ndarray) -> float:
    """How strongly the colours of an image change over the width of an imprint, grey levels.

    Under coloured light an imprint is of one colour on one side and of another on the other; an untouched gel changes
    its colours slowly. What changes brightness alone (marks on the gel, dust) does not count, so a gel under white
    light cannot be judged by this.

    Args:
        image_hwc: uint8 [H, W, 3].
    """
    band = _imprint_band(image_hwc)
    return _strength(band - band.mean(axis=2, keepdims=True))


def change_level(image_hwc: np.ndarray, reference_hwc: np.ndarray) -> float:
    """How strongly two images differ over the width of an imprint, grey levels; a change of the light does not count.

    Args:
        image_hwc: uint8 [H, W, 3].
        reference_hwc: uint8 [H, W, 3], in the same colour order.
    """
    return _strength(_imprint_band(image_hwc) - _imprint_band(reference_hwc))


def _imprint_band(image_hwc: np.ndarray) -> np.ndarray:
    height, width = image_hwc.shape[:2]
    size = IMPRINT_BLOCKS, max(1, round(IMPRINT_BLOCKS * height / width))
    blocks = cv2.resize(image_hwc, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    return (cv2.GaussianBlur(blocks, (0, 0), NARROWEST_IMPRINT_BLOCKS)
            - cv2.GaussianBlur(blocks, (0, 0), WIDEST_IMPRINT_BLOCKS))


def _strength(band: np.ndarray) -> float:
    return float(np.percentile(np.linalg.norm(band, axis=2), IMPRINT_PERCENTILE))


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


@dataclass(frozen=True)
class NoContactStatistics:
    """What the frames of a reference say beside their mean.

    Attributes:
        frames: How many there were, at least 2.
        noise_level: Standard deviation of a pixel from frame to frame, grey levels, median over the picture.
    """

    frames: int
    noise_level: float


def no_contact_statistics(images: Sequence[np.ndarray]) -> NoContactStatistics:
    """Measure the noise of the frames of a reference.

    Args:
        images: At least two images, uint8 [H, W, 3].
    """
    # One pixel in sixteen is enough for a median.
    sample = np.stack([image[::4, ::4] for image in images])
    return NoContactStatistics(len(images), float(np.median(sample.std(axis=0, ddof=1))))


class ReferenceFrame:
    """Collects the no-contact reference of a sensor and tells contact by the difference from it.

    A reference that was taken while something touched the gel is refused: it is compared with the one before it (the
    stored one of an earlier session at first), or, where there is none, it must not show an imprint. Whether something
    touches in this sense is another question than contact, which a drift of the light raises too: the new reference is
    what mends that.

    Args:
        sensor_name: Name for error texts.
        frames: How many frames the reference is taken from.
        disagreement_level: Largest `mean_difference` of one of these frames from the reference, grey levels.
        contact_on_level: `mean_difference` above which contact begins, grey levels.
        contact_off_level: `mean_difference` below which contact ends, grey levels.
        earlier_reference_hwc: uint8 [H, W, 3], RGB, the newest stored reference of this sensor; None where there is
            none. One of another size is left aside.
        touched_change_level: `change_level` from the earlier reference above which something touches a new one;
            infinite accepts all.
        touched_imprint_level: `imprint_level` above which something touches a first reference; infinite accepts all.

    Attributes:
        image_hwc: The reference, uint8 [H, W, 3], RGB; None before the first.
        statistics: Of the frames of the reference; None before the first.
        refused: Picture, uint8 [H, W, 3], RGB, and statistics of the newest reference, if that was refused as touched;
            else None.
        difference_level: `mean_difference` of the newest frame from the reference, grey levels.
        in_contact: Whether something touches.
    """

    def __init__(self, sensor_name: str, frames: int, disagreement_level: float, contact_on_level: float,
                 contact_off_level: float, *, earlier_reference_hwc: np.ndarray | None = None,
                 touched_change_level: float = math.inf, touched_imprint_level: float = math.inf):
        self._name, self._frames, self._disagreement_level = sensor_name, frames, disagreement_level
        self._on_level, self._off_level = contact_on_level, contact_off_level
        self._earlier_hwc = earlier_reference_hwc
        self._touched_change_level, self._touched_imprint_level = touched_change_level, touched_imprint_level
        self._collected: list[np.ndarray] | None = []
        self.image_hwc: np.ndarray | None = None
        self.statistics: NoContactStatistics | None = None
        self.refused: tuple[np.ndarray, NoContactStatistics] | None = None
        self.difference_level = 0.0
        self.in_contact = False

    @property
    def is_collecting(self) -> bool:
        """Whether the coming frames go into a new reference."""
        return self._collected is not None

    def request(self) -> None:
        """Take the reference anew from the coming frames; the old one holds until then, and if they are refused."""
        self._collected = []

    def update(self, image_hwc: np.ndarray) -> None:
        """Take in the next frame: it goes into the reference while that is collected, and decides about contact.

        Args:
            image_hwc: uint8 [H, W, 3], RGB.

        Raises:
            SensorError: The frames of a new reference differ from each other, something touches the gel in all of
                them, or the size of the frame has changed. Without a reference, collecting has begun anew.
        """
        if self.image_hwc is not None and image_hwc.shape != self.image_hwc.shape:
            self.image_hwc, self.refused, self._collected, self.in_contact = None, None, [], False
            raise SensorError(f'{self._name} changed its frames to {image_hwc.shape}', 'Keep the size while it runs')
        if self._collected is not None:
            self._collected.append(image_hwc)
            if len(self._collected) == self._frames:
                self._finish()
        if self.image_hwc is not None:
            self.difference_level = mean_difference(image_hwc, self.image_hwc)
            self.in_contact = self.difference_level > (self._off_level if self.in_contact else self._on_level)

    def _finish(self) -> None:
        collected = self._collected
        # Whoever asked for a new one hears of a refusal and may ask again; nobody asks at a start.
        self._collected = [] if self.image_hwc is None else None
        self.refused = None
        reference = robust_mean(collected)
        worst = max(mean_difference(image, reference) for image in collected)
        if worst > self._disagreement_level:
            raise SensorError(f'{self._name}: the frames of the reference differ by {worst:.1f} grey levels, the limit '
                              f'is {self._disagreement_level:g}', 'Keep the gel free and still for a moment')
        statistics = no_contact_statistics(collected)
        self.refused = reference, statistics
        self._refuse_touched(reference)
        self.refused, self.statistics = None, statistics
        self.image_hwc = self._earlier_hwc = reference
        self._collected = None

    def _refuse_touched(self, reference_hwc: np.ndarray) -> None:
        if self._earlier_hwc is not None and self._earlier_hwc.shape == reference_hwc.shape:
            level = change_level(reference_hwc, self._earlier_hwc)
            if level > self._touched_change_level:
                raise SensorError(
                    f'{self._name} is touched: its new reference differs by {level:.1f} grey levels from the one '
                    f'before, the limit is {self._touched_change_level:g}',
                    'Take the object off the gel; if nothing touches it, see docs/hardware/gel_health.md')
            return
        level = imprint_level(reference_hwc)
        if level > self._touched_imprint_level:
            raise SensorError(f'{self._name} is touched: its first reference shows an imprint of {level:.1f} grey '
                              f'levels, the limit is {self._touched_imprint_level:g}', 'Take the object off the gel')
