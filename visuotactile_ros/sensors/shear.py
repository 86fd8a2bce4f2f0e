"""ShearEstimator: shear, twist and incipient slip of a gel, from its markers or from the imprint on it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from visuotactile_ros.errors import SensorError
from visuotactile_ros.sensors.contact_outline import ContactOutline
from visuotactile_ros.sensors.gel_kinds import gel_kind
from visuotactile_ros.sensors.gel_motion import fit_motion
from visuotactile_ros.sensors.marker_tracking import DisplacementField, MarkerTracker
from visuotactile_ros.sensors.optical_flow import ImprintFlow
from visuotactile_ros.sensors.slip import SlipMonitor

FEWEST_SEEN_MARKERS = 8


@dataclass(frozen=True)
class ShearEstimate:
    """What one frame tells about shear.

    Attributes:
        shear_px: Displacement of the gel at the centre of the contact (x right, y down), pixels of the frame. With
            markers since nothing touched the gel, without since the contact settled.
        twist_deg: Rotation of the gel about that centre, degrees, positive clockwise in the image.
        markers: How far each marker has moved; None on a gel without.
        is_slipping: Whether part of the contact has stopped following the rest; None on a gel without markers, where
            an imprint looks the same whether the gel follows the object or not.
    """

    shear_px: tuple[float, float]
    twist_deg: float
    markers: DisplacementField | None
    is_slipping: bool | None


class ShearEstimator:
    """Measures the shear of one sensor, frame by frame.

    Args:
        kind: Device kind, a key of GEL_KINDS.
        reference_hwc: uint8 [H, W, 3], RGB, the gel without contact; a new reference needs a new estimator.

    Raises:
        ConfigurationError: The kind has no gel.
        SensorError: The reference shows no markers though the kind has some.
    """

    def __init__(self, kind: str, reference_hwc: np.ndarray):
        gel = gel_kind(kind)
        self._shape = reference_hwc.shape
        self._mm_per_px = gel.width_mm / reference_hwc.shape[1]
        if gel.markers is None:
            self._imprint, self._tracker = ImprintFlow(reference_hwc), None
        else:
            radius_px = gel.markers.radius_mm / self._mm_per_px
            self._tracker = MarkerTracker(reference_hwc, radius_px, gel.markers.is_dark)
            self._outline = ContactOutline(reference_hwc, radius_px, gel.markers.is_dark)
            self._slip = SlipMonitor()

    def update(self, image_hwc: np.ndarray) -> ShearEstimate:
        """Take in the next frame.

        Args:
            image_hwc: uint8 [H, W, 3], RGB, of the size of the reference.

        Raises:
            SensorError: The frame has another size, or too few markers are to be seen; the next frame may be better.
        """
        if image_hwc.shape != self._shape:
            raise SensorError(f'a frame is {image_hwc.shape}, the reference of its shear {self._shape}',
                              'Take the reference anew')
        if self._tracker is None:
            self._imprint.update(image_hwc)
            return ShearEstimate(tuple(self._imprint.shear_px.tolist()), self._imprint.twist_deg, None, None)
        outlines_px = self._outline.outlines_px(image_hwc)
        if not outlines_px:
            self._tracker.restart()
            self._slip.restart()
        field = self._tracker.update(image_hwc)
        markers_seen = int(field.is_seen.sum())
        if markers_seen < FEWEST_SEEN_MARKERS:
            raise SensorError(f'{markers_seen} of {len(field.is_seen)} markers are to be seen, '
                              f'{FEWEST_SEEN_MARKERS} are needed', 'Clean the gel and check its light')
        motion = fit_motion(field, outlines_px, (self._shape[1], self._shape[0]), self._mm_per_px)
        if outlines_px:
            self._slip.update(field, motion)
        return ShearEstimate(tuple(motion.shear_px.tolist()), motion.twist_deg, field, self._slip.is_slipping)
