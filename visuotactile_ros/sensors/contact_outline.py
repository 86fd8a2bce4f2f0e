"""ContactOutline: where something may touch a gel with markers, as a few nested outlines to choose from."""

from __future__ import annotations

import cv2
import numpy as np

# The outlines enclose what has changed by more than these shares of the strongest change of the image.
CHANGE_SHARES = (0.1, 0.2, 0.35, 0.5, 0.7)
# Change of brightness below which nothing touches, share of the gel's own brightness. Noise makes up to 0.020 on
# simulated sensors, the faintest contact (a flat object) 0.037.
LEAST_CHANGE = 0.025
# Sum over RGB that counts as brightness of darker places, where noise would be a large share of it.
DARKEST_LEVEL = 150.0
# Regions smaller than this share of the largest one belong to no outline: glare, dust.
LEAST_REGION_SHARE = 0.1
# Markers are wiped away by a square of one and a half diameters.
WIPE_DIAMETERS = 1.5
COARSE = 4


class ContactOutline:
    """Compares frames with the gel without contact, at a quarter of their size and with the markers wiped away.

    Args:
        reference_hwc: uint8 [H, W, 3], RGB, the gel without contact.
        marker_radius_px: Radius of a marker, pixels.
        is_dark: Whether markers are darker than the gel.
    """

    def __init__(self, reference_hwc: np.ndarray, marker_radius_px: float, is_dark: bool):
        self._wiping = cv2.MORPH_CLOSE if is_dark else cv2.MORPH_OPEN
        self._square = np.ones((2 * int(np.ceil(0.5 * WIPE_DIAMETERS * marker_radius_px)) + 1,) * 2, np.uint8)
        self._reference = self._wiped(reference_hwc)
        brightness = cv2.GaussianBlur(_halved(self._reference).astype(np.float32).sum(axis=2), (0, 0), 4.0)
        self._brightness = np.maximum(brightness, DARKEST_LEVEL)

    def outlines_px(self, image_hwc: np.ndarray) -> list[np.ndarray]:
        """Convex outlines of what has changed, the widest first; none when nothing touches the gel.

        Args:
            image_hwc: uint8 [H, W, 3], RGB, of the size of the reference.

        Returns:
            float32 [corners, 2] each (x, y), pixels of the image, clockwise in the image.
        """
        change = _halved(cv2.absdiff(self._wiped(image_hwc), self._reference)).astype(np.float32).sum(axis=2)
        change = cv2.GaussianBlur(change / self._brightness, (0, 0), 2.0)
        strongest = float(change.max())
        if strongest < LEAST_CHANGE:
            return []
        outlines = []
        for share in CHANGE_SHARES:
            changed = (change > max(share * strongest, LEAST_CHANGE)).astype(np.uint8)
            regions = cv2.findContours(changed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
            areas = np.array([cv2.contourArea(region) for region in regions])
            if areas.max() > 0.0:
                large = [region for region, area in zip(regions, areas) if area >= LEAST_REGION_SHARE * areas.max()]
                outlines.append(cv2.convexHull(np.vstack(large), clockwise=False)[:, 0].astype(np.float32))
        return [(outline + 0.5) * COARSE - 0.5 for outline in outlines]

    def _wiped(self, image_hwc):
        return cv2.morphologyEx(_halved(image_hwc), self._wiping, self._square)


def _halved(image):
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
