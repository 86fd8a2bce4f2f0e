"""MarkerTracker: how far every marker of a gel has moved since nothing touched it, to a tenth of a pixel.

A marker is looked for around where it was last: the best match of its look at half size, then twice a least-squares
fit of that look on a background that may be sloped, which gives its place to a fraction of a pixel and tells at the
same time whether there is a marker at all. Nothing accumulates: every frame is measured against the reference.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from visuotactile_ros.errors import SensorError

FEWEST_MARKERS = 12
# A patch around a marker reaches this many radii from its centre, so that it holds background all around.
PATCH_RADII = 1.6
BLUR_PX = 1.0
# Share of the pitch that a marker may move from one frame to the next; half a pitch leads to its neighbour.
SEARCH_SHARE = 0.4
# A marker is believed where its look explains this share of what a sloped background leaves unexplained, with this
# share of the contrast that it has in the reference.
LEAST_EXPLAINED, LEAST_CONTRAST = 0.5, 0.12
# In the reference: least correlation with a disc, and least contrast as a share of the median marker's.
LEAST_MATCH, LEAST_TYPICAL_CONTRAST = 0.6, 0.3
# Something else is taken for a marker where it has moved this much beyond what its nearest neighbours let expect.
NEIGHBOURS, BEYOND_NEIGHBOURS_PX = 6, 1.5
FIT_STEPS = 2


@dataclass(frozen=True, eq=False)
class DisplacementField:
    """How far the markers of a gel have moved.

    Attributes:
        rest_px: float64 [N, 2], where each marker is when nothing touches the gel (x, y), pixels.
        moved_px: float64 [N, 2], how far each has moved from there (x, y), pixels; that of its neighbours where it is
            not seen.
        is_seen: bool [N], whether the marker was found in this frame.
    """

    rest_px: np.ndarray
    moved_px: np.ndarray
    is_seen: np.ndarray


class MarkerTracker:
    """Follows the markers of one gel.

    Args:
        reference_hwc: uint8 [H, W, 3], RGB, the gel without contact.
        radius_px: Radius of a marker, pixels.
        is_dark: Whether markers are darker than the gel.

    Raises:
        SensorError: The reference shows no grid of markers.
    """

    def __init__(self, reference_hwc: np.ndarray, radius_px: float, is_dark: bool):
        self._radius_px = radius_px
        self._reach = int(np.ceil(PATCH_RADII * radius_px))
        grey = _blurred_grey(reference_hwc)
        look = _soft_disc(radius_px, self._reach) * np.float32(-1.0 if is_dark else 1.0)
        self._half_look = cv2.resize(look, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        self._fit = _LookFit(look)
        places, contrast, explained = self._refine(grey, _peaks(grey, look))
        is_marker = explained > LEAST_EXPLAINED
        if is_marker.any():
            is_marker &= contrast > LEAST_TYPICAL_CONTRAST * np.median(contrast[is_marker])
        self._rest_px, self._contrast = places[is_marker], contrast[is_marker]
        if len(self._rest_px) < FEWEST_MARKERS:
            raise SensorError(f'the reference shows {len(self._rest_px)} markers, at least {FEWEST_MARKERS} are needed',
                              'Set kind to that of a gel without markers, or take the reference anew')
        distance_px = np.linalg.norm(self._rest_px[:, None] - self._rest_px[None], axis=2)
        np.fill_diagonal(distance_px, np.inf)
        self.pitch_px = float(np.median(distance_px.min(axis=1)))
        self._neighbours = distance_px.argsort(axis=1)[:, :NEIGHBOURS]
        self._nearness = np.exp(-0.5 * (distance_px / self.pitch_px) ** 2)
        self._moved_px = np.zeros_like(self._rest_px)

    def restart(self) -> None:
        """Look for every marker where it rests: nothing touches the gel."""
        self._moved_px = np.zeros_like(self._rest_px)

    def update(self, image_hwc: np.ndarray) -> DisplacementField:
        """Find the markers in the next frame.

        Args:
            image_hwc: uint8 [H, W, 3], RGB, of the size of the reference.
        """
        grey = _blurred_grey(image_hwc)
        height, width = grey.shape
        start_px = self._best_matches(grey, self._rest_px + self._moved_px)
        found_px, contrast, explained = self._refine(grey, start_px)
        is_seen = ((explained > LEAST_EXPLAINED) & (contrast > LEAST_CONTRAST * self._contrast)
                   & (np.abs(found_px - start_px).max(axis=1) < 0.75 * self._radius_px)
                   & (found_px > 0.5 * self._radius_px).all(axis=1)
                   & (found_px < np.array([width, height]) - 1 - 0.5 * self._radius_px).all(axis=1))
        is_seen &= self._fits_neighbours(found_px - self._rest_px, is_seen)
        moved_px = np.where(is_seen[:, None], found_px - self._rest_px, 0.0)
        nearness = self._nearness[~is_seen][:, is_seen]
        moved_px[~is_seen] = nearness @ moved_px[is_seen] / np.maximum(nearness.sum(axis=1, keepdims=True), 1e-12)
        self._moved_px = moved_px
        return DisplacementField(self._rest_px, moved_px, is_seen)

    def _fits_neighbours(self, moved_px, is_seen):
        """Whether motions [N, 2] lie among those of their neighbours, or beyond by no more than these differ."""
        around, unseen = moved_px[self._neighbours], ~is_seen[self._neighbours][..., None]
        least = np.where(unseen, np.inf, around).min(axis=1)
        most = np.where(unseen, -np.inf, around).max(axis=1)
        allowed_px = most - least + BEYOND_NEIGHBOURS_PX
        return ((moved_px > least - allowed_px) & (moved_px < most + allowed_px)).all(axis=1)

    def _best_matches(self, grey, expected_px):
        """Places [N, 2] near the expected ones that look most like a marker, to two pixels."""
        half = cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        match = cv2.matchTemplate(half, self._half_look, cv2.TM_CCOEFF_NORMED)
        search = int(SEARCH_SHARE * self.pitch_px / 2)
        border = self._half_look.shape[0] // 2 + search
        padded = cv2.copyMakeBorder(match, border, border, border, border, cv2.BORDER_CONSTANT, value=-1.0)
        middle = _whole_pixels((expected_px + 0.5) / 2 - 0.5, half.shape)
        windows = padded.ravel()[_window_indices(middle + search, search, padded.shape[1])]
        down, right = np.divmod(windows.argmax(axis=1), 2 * search + 1)
        return 2.0 * (middle + np.stack([right, down], axis=1) - search) + 0.5

    def _refine(self, grey, places_px):
        """Places [N, 2], contrast [N] and explained share [N] of the markers near given places."""
        border = self._reach
        padded = cv2.copyMakeBorder(grey, border, border, border, border, cv2.BORDER_REPLICATE)
        for _ in range(FIT_STEPS):
            middle = _whole_pixels(places_px, grey.shape)
            patches = padded.ravel()[_window_indices(middle + border, self._reach, padded.shape[1])]
            shift_px, contrast, explained = self._fit(patches)
            places_px = middle + np.clip(shift_px, -0.6 * self._radius_px, 0.6 * self._radius_px)
        return places_px, contrast, explained


class _LookFit:
    """Least-squares fit of a look, its shift and a sloped background to patches, all at once by one product."""

    def __init__(self, look: np.ndarray):
        reach = look.shape[0] // 2
        x, y = np.meshgrid(np.arange(-reach, reach + 1.0) / reach, np.arange(-reach, reach + 1.0) / reach)
        change_y, change_x = np.gradient(look)
        # The background comes first: what it explains is taken away before the look is fitted.
        terms = np.stack([np.ones_like(x), x, y, look, change_x, change_y], axis=-1).reshape(-1, 6)
        orthogonal, triangle = np.linalg.qr(terms)
        self._orthogonal, self._to_terms = orthogonal.astype(np.float32), np.linalg.inv(triangle)[3:, 3:].T

    def __call__(self, patches: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Shift (x, y) [N, 2] in pixels, contrast [N] in grey levels and explained share [N] of patches [N, P]."""
        patches = patches - patches.mean(axis=1, keepdims=True)
        shares = patches @ self._orthogonal
        beside_background = np.square(patches).sum(axis=1) - np.square(shares[:, :3]).sum(axis=1)
        explained = np.square(shares[:, 3:]).sum(axis=1) / np.maximum(beside_background, 1e-3)
        contrast, along_x, along_y = (shares[:, 3:] @ self._to_terms).T
        steady = np.where(np.abs(contrast) > 1e-3, contrast, 1e-3)
        return np.stack([-along_x / steady, -along_y / steady], axis=1), contrast, explained


def _blurred_grey(image_hwc):
    """float32 [H, W]; blurred, so that a shift by a part of a pixel changes it as the slope of its look says."""
    return cv2.GaussianBlur(cv2.cvtColor(image_hwc, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), BLUR_PX)


def _peaks(grey, look):
    """Places [N, 2], whole pixels, where a reference looks most like a marker."""
    match = cv2.matchTemplate(grey, look, cv2.TM_CCOEFF_NORMED)
    rows, columns = np.nonzero((match == cv2.dilate(match, np.ones(look.shape, np.uint8))) & (match > LEAST_MATCH))
    return np.stack([columns, rows], axis=1) + float(look.shape[0] // 2)


def _soft_disc(radius_px, reach):
    """Disc with a soft edge: float32 [2 reach + 1, 2 reach + 1], 1 inside, 0 outside."""
    along = np.arange(-reach, reach + 1.0)
    distance = np.hypot(along[:, None], along[None, :])
    return (0.5 - 0.5 * np.tanh((distance - radius_px) / BLUR_PX)).astype(np.float32)


def _whole_pixels(places_px, shape):
    """Nearest pixels inside an image: int [N, 2]."""
    return np.clip(np.rint(places_px).astype(int), 0, [shape[1] - 1, shape[0] - 1])


def _window_indices(middle, reach, width):
    """Flat indices of the windows around pixels [N, 2] of an image: int [N, (2 reach + 1)²]."""
    along = np.arange(-reach, reach + 1)
    return (middle[:, 1] * width + middle[:, 0])[:, None] + (along[:, None] * width + along[None, :]).ravel()
