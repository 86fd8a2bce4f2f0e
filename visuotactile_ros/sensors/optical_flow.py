"""ImprintFlow: how the imprint on a gel without markers has moved and turned since the contact was made.

A coat without markers shows no motion of its own; what moves is the imprint of the object. Its motion is the optical
flow of one rigid piece: the shift and turn that make the imprint of a key frame correlate best with the newest one
(enhanced correlation coefficient, Evangelidis and Psarakis 2008, as in OpenCV). The strength of the colour change is
compared, not the colour: a slope that turns under fixed lights changes its colour and keeps its strength.

While the contact is being made its imprint grows, which is no motion of the gel: counting begins when it has settled.
A motion that leaves the imprint as it is cannot be seen: along a smooth edge, or the turn of a smooth ball.
"""

from __future__ import annotations

import cv2
import numpy as np

# Colour change (root of the sum of squares over RGB) of the strongest place below which nothing touches, grey levels.
LEAST_IMPRINT_LEVEL = 4.0
# A contact has settled when its imprint, summed over the image, changes by less than this share from frame to frame.
SETTLED_SHARE = 0.03
# The key frame is the part of the image around what changes by more than this share of the strongest change.
KEY_SHARE, KEY_BORDER_PX = 0.15, 6
SMALLEST_KEY_PX = 12
# Correlation with the key frame below which the newest imprint becomes the key frame, and below which its motion is
# not believed.
KEY_CORRELATION, LEAST_CORRELATION = 0.9, 0.5
CRITERIA = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 12, 1e-4)


class ImprintFlow:
    """Follows the imprint of one contact after the other.

    Args:
        reference_hwc: uint8 [H, W, 3], RGB, the gel without contact.

    Attributes:
        shear_px: float64 [2], displacement of the imprint's centre since the contact settled (x, y), pixels.
        twist_deg: Turn since the contact settled, degrees, positive clockwise in the image.
    """

    def __init__(self, reference_hwc: np.ndarray):
        self._reference = _halved(reference_hwc)
        self._restart()

    def update(self, image_hwc: np.ndarray) -> None:
        """Take in the next frame.

        Args:
            image_hwc: uint8 [H, W, 3], RGB, of the size of the reference.
        """
        change = cv2.GaussianBlur(_halved(image_hwc) - self._reference, (0, 0), 1.0)
        imprint = np.sqrt(np.square(change).sum(axis=2))
        if imprint.max() < LEAST_IMPRINT_LEVEL:
            self._restart()
            return
        if not self._has_settled:
            strength = float(imprint.sum())
            self._has_settled = abs(strength - self._strength) < SETTLED_SHARE * strength
            self._strength = strength
            self._centre = self._set_key(imprint)
            return
        correlation, from_key = self._correlate(imprint)
        if correlation >= LEAST_CORRELATION:
            self._from_key = from_key
            since_start = from_key @ self._key_from_start
            # Both lengths are those of an image of half size.
            self.shear_px = 2.0 * (since_start[:2] @ self._centre - self._centre[:2])
            self.twist_deg = float(np.rad2deg(np.arctan2(since_start[1, 0], since_start[0, 0])))
        if correlation < KEY_CORRELATION:
            self._key_from_start = self._from_key @ self._key_from_start
            self._set_key(imprint)

    def _restart(self):
        self.shear_px, self.twist_deg = np.zeros(2), 0.0
        self._has_settled, self._strength = False, 0.0
        self._key_from_start = np.eye(3)

    def _set_key(self, imprint):
        """Make an imprint the key frame; returns its centre (x, y, 1), pixels of half size."""
        strong = imprint > KEY_SHARE * imprint.max()
        rows, columns = np.nonzero(strong)
        height, width = imprint.shape
        self._corner = np.array([_start(columns, width), _start(rows, height)], float)
        self._key = imprint[_start(rows, height):rows.max() + 1 + KEY_BORDER_PX,
                            _start(columns, width):columns.max() + 1 + KEY_BORDER_PX]
        self._from_key = np.eye(3)
        return np.array([(columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2, 1.0])

    def _correlate(self, imprint):
        """Best correlation with the key frame, and the motion since then as a matrix [3, 3]; -1 where there is none."""
        to_corner = np.eye(3)
        to_corner[:2, 2] = self._corner
        start = (self._from_key @ to_corner)[:2].astype(np.float32)
        try:
            correlation, found = cv2.findTransformECC(self._key, imprint, start, cv2.MOTION_EUCLIDEAN, CRITERIA,
                                                      None, 1)
        except cv2.error:  # It does not converge: the two imprints have nothing in common.
            return -1.0, self._from_key
        from_key = np.vstack([found.astype(float), [0.0, 0.0, 1.0]])
        from_key[:2, 2] -= from_key[:2, :2] @ self._corner
        return correlation, from_key


def _start(places, size):
    """First pixel of the key frame along one axis."""
    return int(np.clip(places.min() - KEY_BORDER_PX, 0, size - SMALLEST_KEY_PX))


def _halved(image_hwc):
    return cv2.resize(image_hwc, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA).astype(np.float32)
