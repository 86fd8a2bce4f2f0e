"""Pacer: the clock of a source that has none of its own."""

from __future__ import annotations

import math
import time


class Pacer:
    """Waits for the slots of a rate; slots lie on the monotonic clock, which all processes of a machine share.

    Args:
        period_s: Seconds between slots.
        phase_fraction: Part of a period by which the slots are late, so that sources in several processes can take
            turns.
    """

    def __init__(self, period_s: float, phase_fraction: float = 0.0):
        self._period_s = period_s
        self._phase_s = phase_fraction * period_s
        self._last_slot = self._slot_now()

    def _slot_now(self) -> int:
        return math.floor((time.monotonic() - self._phase_s) / self._period_s)

    def wait(self) -> int:
        """Sleep until the next slot that is not yet past.

        Returns:
            How many slots have begun since the last call; above 1, the caller was too slow for the rate.
        """
        slot = self._last_slot + 1
        if self._slot_now() < slot:
            time.sleep(max(0.0, slot * self._period_s + self._phase_s - time.monotonic()))
        slot = max(slot, self._slot_now())
        begun = slot - self._last_slot
        self._last_slot = slot
        return begun
