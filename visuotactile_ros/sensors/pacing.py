"""Clock and Pacer: the time that sensors go by, and the rate of a source that has none of its own."""

from __future__ import annotations

import math
import threading
import time


class Clock:
    """Time as the machine has it; a test puts a simulated one in its place."""

    def monotonic_s(self) -> float:
        """Seconds that never go back; all processes of a machine share them."""
        return time.monotonic()

    def wall_ns(self) -> int:
        """Nanoseconds since the epoch, which stamps count in; somebody may set them back."""
        return time.time_ns()

    def sleep(self, duration_s: float, wake: threading.Event | None = None) -> None:
        """Do nothing for a while.

        Args:
            duration_s: How long, seconds, from 0.
            wake: Ends the sleep as soon as it is set.
        """
        if wake is None:
            time.sleep(duration_s)
        else:
            wake.wait(duration_s)


MACHINE_CLOCK = Clock()


class Pacer:
    """Waits for the slots of a rate; slots lie on the monotonic clock, so that sources in several processes agree.

    Args:
        period_s: Seconds between slots.
        phase_fraction: Part of a period by which the slots are late, so that sources in several processes can take
            turns.
        clock: The time that passes.
    """

    def __init__(self, period_s: float, phase_fraction: float = 0.0, clock: Clock = MACHINE_CLOCK):
        self._period_s = period_s
        self._phase_s = phase_fraction * period_s
        self._clock = clock
        self._last_slot = self._slot_now()

    def _slot_now(self) -> int:
        return math.floor((self._clock.monotonic_s() - self._phase_s) / self._period_s)

    def wait(self) -> int:
        """Sleep until the next slot that is not yet past.

        Returns:
            How many slots have begun since the last call; above 1, the caller was too slow for the rate.
        """
        slot = self._last_slot + 1
        if self._slot_now() < slot:
            self._clock.sleep(max(0.0, slot * self._period_s + self._phase_s - self._clock.monotonic_s()))
        slot = max(slot, self._slot_now())
        begun = slot - self._last_slot
        self._last_slot = slot
        return begun
