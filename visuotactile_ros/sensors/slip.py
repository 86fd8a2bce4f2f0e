"""SlipMonitor: incipient slip, seen as the part of a contact that stops following the rest.

Before an object slides, the rim of its contact slides already while the middle still holds. As the load grows, markers
in the middle go on moving with the object, those at the rim stay behind.

The measure. The motion of the gel is cut into steps: a step is over when the markers that move most have moved by
`STEP_PX` since it began. The first step tells which markers lie in the contact: those that follow its motion by at
least `FOLLOWING_SHARE`. In every later step the motion of the object is that of the leading quarter of them, taken as
one rigid piece, and a marker lags where its own motion along it is less than `LAGGING_SHARE` of it. The slipping share
is the part of the followers that lag. It is held while nothing moves, since then nothing can be told.

Once all of a contact slides, its markers rest while the object goes on: that can no longer be seen in markers, and the
share of the last step is held.
"""

from __future__ import annotations

import numpy as np

from visuotactile_ros.sensors.gel_motion import GelMotion
from visuotactile_ros.sensors.marker_tracking import DisplacementField

# Twenty times the error of a marker's place.
STEP_PX = 1.5
FOLLOWING_SHARE, LAGGING_SHARE = 0.7, 0.5
LEADING_QUANTILE, LEADING_ROUNDS = 0.75, 4
# A step is over when this share of the followers has moved by less than STEP_PX, the others by more.
MOST_MOVED_QUANTILE = 0.95
FEWEST_FOLLOWERS = 6
# Keeps few leading markers from turning about each other: square pixels, against their squared lever arms.
LEAST_LEVER_PX2 = 200.0
SLIP_ON_SHARE, SLIP_OFF_SHARE = 0.25, 0.1


class SlipMonitor:
    """Watches one contact.

    Attributes:
        slipping_share: Part of the contact that lags behind the rest, 0..1.
        is_slipping: Whether the share has exceeded SLIP_ON_SHARE and not fallen below SLIP_OFF_SHARE since.
    """

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        """Nothing touches the gel: forget the contact."""
        self.slipping_share, self.is_slipping = 0.0, False
        self._start: tuple[DisplacementField, GelMotion] | None = None
        self._follows: np.ndarray | None = None

    def update(self, field: DisplacementField, motion: GelMotion) -> None:
        """Take in the next frame of a contact.

        Args:
            field: Displacement of the markers.
            motion: Shear and twist that were fitted to it.
        """
        if self._start is None:
            self._start = field, motion
            return
        start_field, start_motion = self._start
        moved_px = field.moved_px - start_field.moved_px
        is_seen = field.is_seen & start_field.is_seen
        watched = is_seen if self._follows is None else is_seen & self._follows
        if watched.sum() < FEWEST_FOLLOWERS:
            self._start, self._follows = (field, motion), None
            return
        if np.quantile(np.linalg.norm(moved_px[watched], axis=1), MOST_MOVED_QUANTILE) < STEP_PX:
            return
        if self._follows is None:
            rigid_px = motion.rigid_px - start_motion.rigid_px
        else:
            rigid_px = _leading_motion_px(start_field.rest_px, moved_px, watched)
        share, is_telling = _following(moved_px, rigid_px)
        follows = is_seen & is_telling & (share >= FOLLOWING_SHARE)
        if self._follows is None:
            self._follows = follows
        else:
            watched &= is_telling
            if watched.sum() >= FEWEST_FOLLOWERS:
                self.slipping_share = float((share[watched] < LAGGING_SHARE).mean())
                limit = SLIP_OFF_SHARE if self.is_slipping else SLIP_ON_SHARE
                self.is_slipping = self.slipping_share > limit
            self._follows = self._follows | follows
        self._start = field, motion


def _following(moved_px, rigid_px):
    """Share [N] of a rigid motion by which markers follow it, and whether that is large enough to tell [N]."""
    squared = np.square(rigid_px).sum(axis=1)
    return (moved_px * rigid_px).sum(axis=1) / np.maximum(squared, 1e-9), squared >= (0.5 * STEP_PX) ** 2


def _leading_motion_px(rest_px, moved_px, watched):
    """Rigid motion [N, 2] of those of the watched markers that follow it most."""
    leads = watched
    for _ in range(LEADING_ROUNDS):
        lever = rest_px - rest_px[leads].mean(axis=0)
        shift_px = moved_px[leads].mean(axis=0)
        across = np.stack([-lever[:, 1], lever[:, 0]], axis=1)
        turn = (across * moved_px)[leads].sum() / (np.square(lever[leads]).sum() + LEAST_LEVER_PX2 * leads.sum())
        rigid_px = shift_px + turn * across
        share, _ = _following(moved_px, rigid_px)
        leads = watched & (share >= np.quantile(share[watched], LEADING_QUANTILE))
    return rigid_px
