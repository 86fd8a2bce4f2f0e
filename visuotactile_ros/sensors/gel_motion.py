"""fit_motion: shear and twist of a contact from the displacement of markers, most of which lie outside the contact.

Inside the contact a gel moves with the object, as one piece; outside it follows less and less with the distance. The
fall-off is known, so every marker counts, and a few of them are enough for a small contact. Where the contact ends is
not known well: an image shows what presses, not what touches. Therefore several outlines are tried, and the one under
which the displacement is explained best is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visuotactile_ros.sensors.marker_tracking import DisplacementField

# Widths of the Gaussian fall-off outside a contact. Source: FOTS, lambda 0.00021 and 0.00038 per square pixel.
SHEAR_FALLOFF_MM, TWIST_FALLOFF_MM = 2.5, 1.9
# The skin bends around what presses: a contact ends this far inside the outline of the change.
MARGINS_MM = (0.25, 0.75)
# Displacements count in full up to this difference from the fit, and less beyond.
TOLERANCE_PX, TOLERANCE_SHARE = 0.3, 0.1
LARGEST_COUNTED_ERROR_PX = 6.0
ROUNDS = 4
# Keeps a contact with fewer than two markers from turning: square pixels, against the lever arms of the markers.
LEAST_LEVER_PX2 = 1.0


@dataclass(frozen=True, eq=False)
class GelMotion:
    """What a contact does to a gel.

    Attributes:
        shear_px: float64 [2], displacement of the gel at the centre of the contact (x, y), pixels.
        twist_deg: Rotation about that centre, degrees, positive clockwise in the image.
        rigid_px: float64 [N, 2], how far each marker would have moved if it followed in full (x, y), pixels.
        error_px: Root mean square of what the fit leaves unexplained, pixels.
    """

    shear_px: np.ndarray
    twist_deg: float
    rigid_px: np.ndarray
    error_px: float


def fit_motion(field: DisplacementField, outlines_px: Sequence[np.ndarray], size_px: tuple[int, int],
               mm_per_px: float) -> GelMotion:
    """Fit shear and twist to a displacement field.

    Args:
        field: Displacement of the markers.
        outlines_px: Where the contact may be, see `ContactOutline.outlines_px`; all of the image is tried besides.
        size_px: Width and height of the image, pixels.
        mm_per_px: Side of a pixel on the gel, millimetres.
    """
    rest_px, moved_px = field.rest_px, field.moved_px
    outside_px, centres_px = _candidates(rest_px + moved_px, outlines_px, size_px, mm_per_px)
    outside_mm = outside_px * mm_per_px
    shear_share = np.exp(-0.5 * (outside_mm / SHEAR_FALLOFF_MM) ** 2)
    twist_share = np.exp(-0.5 * (outside_mm / TWIST_FALLOFF_MM) ** 2)
    prior = np.maximum(shear_share, 1e-3) * field.is_seen
    weights, shear_px = prior, np.zeros_like(centres_px)
    tolerance_px = TOLERANCE_PX + TOLERANCE_SHARE * np.linalg.norm(moved_px, axis=1)
    damping = np.diag([1e-6, 1e-6, LEAST_LEVER_PX2, LEAST_LEVER_PX2])
    for _ in range(ROUNDS):
        # The outlines are seen where the gel has gone; the lever arms are those at rest.
        lever = rest_px - (centres_px - shear_px)[:, None, :]
        levers = twist_share[..., None] * lever
        along_x = np.stack([shear_share, np.zeros_like(shear_share), levers[..., 0], -levers[..., 1]], axis=-1)
        along_y = np.stack([np.zeros_like(shear_share), shear_share, levers[..., 1], levers[..., 0]], axis=-1)
        terms = np.concatenate([along_x, along_y], axis=1)
        weighted = (terms * np.tile(weights ** 2, 2)[..., None]).swapaxes(1, 2)
        motion = np.linalg.solve(weighted @ terms + damping, weighted @ moved_px.T.reshape(-1, 1))
        fitted = (terms @ motion)[..., 0]
        error_px = np.hypot(fitted[:, :len(rest_px)] - moved_px[:, 0], fitted[:, len(rest_px):] - moved_px[:, 1])
        weights = prior / np.maximum(error_px / tolerance_px, 1.0)
        shear_px = motion[:, :2, 0]
    counted = np.minimum(error_px, LARGEST_COUNTED_ERROR_PX)[:, field.is_seen]
    unexplained_px = np.sqrt(np.square(counted).mean(axis=1))
    best = int(unexplained_px.argmin())
    stretch, turn = motion[best, 2:, 0]
    rigid_px = shear_px[best] + lever[best] @ np.array([[stretch, turn], [-turn, stretch]])
    return GelMotion(shear_px[best], float(np.rad2deg(np.arctan2(turn, 1.0 + stretch))), rigid_px,
                     float(unexplained_px[best]))


def _candidates(places_px, outlines_px, size_px, mm_per_px):
    """Distance of places from contacts that are tried [K, N], 0 inside, and centres of these contacts [K, 2]."""
    everywhere = np.zeros((1, len(places_px)))
    middle = (np.array(size_px, float) - 1.0) / 2.0
    if not outlines_px:
        return everywhere, middle[None]
    margins_px = np.array(MARGINS_MM) / mm_per_px
    distances = [np.maximum(_signed_distance_px(places_px, outline) + margins_px[:, None], 0.0)
                 for outline in outlines_px]
    centres = [[_centroid(outline)] * len(margins_px) for outline in outlines_px]
    return np.vstack([*distances, everywhere]), np.vstack([*centres, middle[None]])


def _signed_distance_px(places_px, outline_px):
    """Distance of places from the straight lines along a convex outline, negative inside: [N]."""
    edge = np.roll(outline_px, -1, axis=0) - outline_px
    outward = np.stack([edge[:, 1], -edge[:, 0]], axis=1) / np.maximum(np.linalg.norm(edge, axis=1), 1e-9)[:, None]
    return (places_px @ outward.T - (outline_px * outward).sum(axis=1)).max(axis=1)


def _centroid(outline_px):
    x, y = outline_px.T
    next_x, next_y = np.roll(x, -1), np.roll(y, -1)
    cross = x * next_y - next_x * y
    return np.array([((x + next_x) * cross).sum(), ((y + next_y) * cross).sum()]) / (3.0 * cross.sum())
