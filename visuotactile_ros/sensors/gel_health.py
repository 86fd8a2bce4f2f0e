"""How worn a gel is: its no-contact reference of today against the first one of the same gel.

Light is told from surface by its width: what a median over a quarter of the picture leaves is light, the rest surface.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from visuotactile_ros.errors import SensorError
from visuotactile_ros.sensors.reference_frame import NoContactStatistics, mean_difference
from visuotactile_ros.sensors.reference_store import StoredReference

# All lengths below are pixels of a picture of this width.
WIDTH_PX = 320
LIGHT_BLOCK_PX = 16
# Keeps the ratio of two dark pixels near 1, grey levels.
DARK_LEVEL = 8.0
# A picture that has moved by so much has not changed.
MOVED_PX = 0.5
NOISE_FACTOR = 5.0
WIDEST_SCRATCH_PX = 9
SHORTEST_SCRATCH_PX = 10


@dataclass(frozen=True)
class GelChange:
    """What differs between two references, as measured.

    Attributes:
        scratches: Share of the picture that lies on new thin lines, 0..1.
        bubbles: Share of the picture that lies in new patches, 0..1.
        lost_light: Largest share of its light that a colour has lost anywhere, apart from `colour_shift`; below 0 where
            it has become brighter everywhere.
        colour_shift: Largest deviation of a colour's gain from the mean gain, ≥ 0; 0.1 is ten percent.
    """

    scratches: float
    bubbles: float
    lost_light: float
    colour_shift: float


@dataclass(frozen=True)
class GelHealthLimits:
    """All thresholds of the health score, in the units of `GelChange`; the only place where they stand.

    `training/evaluation/calibrate_gel_health.py` proposes them: `as_new` is what 99.5 % of undamaged simulated sessions
    stay below (and a thousandth of the picture, for dust), `worn_out` is the median of the full simulated damage.

    Attributes:
        smallest_contrast_level: Change of a pixel below which its surface is as before, grey levels.
        as_new: Up to here a part is 0.
        worn_out: From here a part is 1.
        worn_below_score: Score below which the gel should be looked at.
    """

    smallest_contrast_level: float = 6.0
    as_new: GelChange = GelChange(scratches=0.001, bubbles=0.001, lost_light=0.12, colour_shift=0.019)
    worn_out: GelChange = GelChange(scratches=0.06, bubbles=0.065, lost_light=0.25, colour_shift=0.23)
    worn_below_score: float = 0.5


# What to do about the damage, as the end of a sentence about the gel.
REMEDIES = {
    'scratches': 'clean it with isopropyl alcohol and a soft cloth, or change it',
    'bubbles': 'clean it, as something may stick to it; press a bubble out, or change it',
    'lost_light': 'check LEDs, cable and exposure lock',
    'colour_shift': 'lock the white balance, or change a gel that has aged',
}


@dataclass(frozen=True)
class GelHealth:
    """Damage by kind, 0 as new … 1 worn out.

    Attributes:
        scratches: New thin lines.
        bubbles: New patches: bubbles under the coat, or something that stuck to the gel.
        lost_light: Light that is missing somewhere.
        colour_shift: Colours that have shifted everywhere.
    """

    scratches: float
    bubbles: float
    lost_light: float
    colour_shift: float

    @property
    def score(self) -> float:
        """Health, 1 as new … 0 worn out: the worst damage decides."""
        return 1.0 - max(dataclasses.astuple(self))

    @property
    def worst_part(self) -> str:
        """Name of the worst damage, a key of `REMEDIES`."""
        return max(REMEDIES, key=lambda part: getattr(self, part))


def gel_health(reference_hwc: np.ndarray, first_reference_hwc: np.ndarray, statistics: NoContactStatistics,
               limits: GelHealthLimits = GelHealthLimits()) -> GelHealth:
    """Score a gel.

    Args:
        reference_hwc: uint8 [H, W, 3], RGB, the reference of today.
        first_reference_hwc: uint8 [H, W, 3], RGB, the first reference of this gel.
        statistics: Of the frames of today's reference.
        limits: The thresholds.

    Raises:
        SensorError: The references have different sizes.
    """
    return score_change(gel_change(reference_hwc, first_reference_hwc, statistics, limits.smallest_contrast_level),
                        limits)


def score_change(change: GelChange, limits: GelHealthLimits) -> GelHealth:
    """Bring measured changes to 0..1, in a straight line from `as_new` to `worn_out`."""
    parts = {}
    for field in dataclasses.fields(GelHealth):
        as_new, worn_out = getattr(limits.as_new, field.name), getattr(limits.worn_out, field.name)
        parts[field.name] = float(np.clip((getattr(change, field.name) - as_new) / (worn_out - as_new), 0.0, 1.0))
    return GelHealth(**parts)


@dataclass(frozen=True)
class SessionDrift:
    """How one stored session differs from the first one of its gel.

    Attributes:
        captured_ns: When its reference was taken, nanoseconds since the epoch.
        difference_level: `mean_difference` from the first reference, grey levels.
        health: Health of the gel in that session.
    """

    captured_ns: int
    difference_level: float
    health: GelHealth


def drift_over_sessions(sessions: Sequence[StoredReference],
                        limits: GelHealthLimits = GelHealthLimits()) -> list[SessionDrift]:
    """Compare the sessions of one sensor with the first of them.

    Args:
        sessions: `ReferenceHistory.sessions`, oldest first.
        limits: The thresholds.

    Returns:
        One entry a session, the first included.

    Raises:
        SensorError: The references have different sizes.
    """
    return [SessionDrift(session.captured_ns, mean_difference(session.image_hwc, sessions[0].image_hwc),
                         gel_health(session.image_hwc, sessions[0].image_hwc, session.statistics, limits))
            for session in sessions]


def gel_change(reference_hwc: np.ndarray, first_reference_hwc: np.ndarray, statistics: NoContactStatistics,
               smallest_contrast_level: float) -> GelChange:
    """Measure what `gel_health` scores; the arguments are the same."""
    if reference_hwc.shape != first_reference_hwc.shape:
        raise SensorError(f'references of {reference_hwc.shape} and {first_reference_hwc.shape} cannot be compared',
                          'Keep the size of a sensor, or remove its stored references')
    now, first = _to_width(reference_hwc), _to_width(first_reference_hwc)
    light = _light_ratio(now, first)
    gains = np.quantile(light, 0.9, axis=(0, 1))
    # A dead LED darkens a part of one colour: the part that it leaves alone tells the gain of the colour.
    lost_light = 1.0 - float(np.quantile(light / (gains / gains.mean()), 0.02))
    colour_shift = float(np.abs(gains / gains.mean() - 1.0).max())
    scratched, bubbled = _surface_change(now, first, light, max(
        smallest_contrast_level, NOISE_FACTOR * statistics.noise_level * np.sqrt(2.0 / statistics.frames)))
    return GelChange(scratched, bubbled, lost_light, colour_shift)


def _to_width(image_hwc):
    height = max(1, round(image_hwc.shape[0] * WIDTH_PX / image_hwc.shape[1]))
    return cv2.resize(image_hwc, (WIDTH_PX, height), interpolation=cv2.INTER_AREA).astype(np.float32)


def _light_ratio(now, first):
    """Light of now over light of before on blocks, without what is smaller than a quarter of the picture."""
    size = WIDTH_PX // LIGHT_BLOCK_PX, max(1, now.shape[0] // LIGHT_BLOCK_PX)
    blocks = [cv2.resize(image, size, interpolation=cv2.INTER_AREA) + DARK_LEVEL for image in (now, first)]
    return cv2.medianBlur(blocks[0] / blocks[1], 5)


def _surface_change(now, first, light, contrast_level):
    """Shares of the picture in thin lines and in patches that are new."""
    size = now.shape[1], now.shape[0]
    equalised = (now + DARK_LEVEL) / cv2.resize(light, size, interpolation=cv2.INTER_CUBIC) - DARK_LEVEL
    contrast = _strongest_colour(cv2.GaussianBlur(equalised - first, (0, 0), 1.0))
    smooth = cv2.GaussianBlur(first, (0, 0), 1.0)
    slope = np.maximum(_strongest_colour(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=0.5)),
                       _strongest_colour(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=0.5)))
    changed = (contrast > contrast_level + MOVED_PX * slope).astype(np.uint8)
    changed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (WIDEST_SCRATCH_PX, WIDEST_SCRATCH_PX))
    patches = cv2.morphologyEx(changed, cv2.MORPH_OPEN, disc)
    thin = changed & ~cv2.dilate(patches, disc)
    _, _, boxes, _ = cv2.connectedComponentsWithStats(thin)
    # The first component is the background.
    is_line = np.hypot(boxes[1:, cv2.CC_STAT_WIDTH], boxes[1:, cv2.CC_STAT_HEIGHT]) >= SHORTEST_SCRATCH_PX
    lines_px = int(boxes[1:, cv2.CC_STAT_AREA][is_line].sum())
    return lines_px / changed.size, int(patches.sum()) / changed.size


def _strongest_colour(image):
    red, green, blue = cv2.split(np.abs(image))
    return np.maximum(np.maximum(red, green), blue)
