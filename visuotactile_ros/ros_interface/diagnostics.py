"""What a node says about its health, and the small statistics behind it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

OK, WARN, ERROR, STALE = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR, DiagnosticStatus.STALE


@dataclass(frozen=True)
class Health:
    """One report of a node.

    Attributes:
        level: OK, WARN, ERROR or STALE.
        summary: One line.
        values: Names (with units) and numbers or texts.
    """

    level: bytes = OK
    summary: str = 'running'
    values: Mapping[str, Any] = field(default_factory=dict)


def diagnostic_message(node_name: str, hardware_id: str, health: Health, stamp: Time) -> DiagnosticArray:
    """The report as the standard message for `/diagnostics`."""
    values = [KeyValue(key=key, value=f'{value:.4g}' if isinstance(value, float) else str(value))
              for key, value in health.values.items()]
    message = DiagnosticArray()
    message.header.stamp = stamp
    message.status = [DiagnosticStatus(level=health.level, name=node_name, hardware_id=hardware_id,
                                       message=health.summary, values=values)]
    return message


class RecentEvents:
    """Rate and size of the events of the last seconds; safe to use from several threads.

    Args:
        window_s: How long an event counts, seconds.
        clock: Seconds that never go back.
    """

    def __init__(self, window_s: float = 5.0, clock: Callable[[], float] = time.monotonic):
        self.window_s = window_s
        self._clock = clock
        self._events: deque[tuple[float, float]] = deque()
        self._lock = threading.Lock()
        self._first_s: float | None = None

    def add(self, value: float = 0.0) -> None:
        """Count one event now, with a number that belongs to it (a latency, a flag)."""
        now_s = self._clock()
        with self._lock:
            if self._first_s is None:
                self._first_s = now_s
            self._events.append((now_s, value))
            self._drop_old(now_s)

    def _drop_old(self, now_s: float) -> None:
        while self._events and now_s - self._events[0][0] > self.window_s:
            self._events.popleft()

    def rate_hz(self) -> float:
        """Events a second over the window, or over the time since the first event where that is shorter."""
        now_s = self._clock()
        with self._lock:
            self._drop_old(now_s)
            if self._first_s is None or not self._events:
                return 0.0
            return len(self._events) / max(min(self.window_s, now_s - self._first_s), 1e-3)

    def percentiles(self, *percents: float) -> tuple[float, ...]:
        """Percentiles of the numbers in the window; NaN each where there was no event."""
        with self._lock:
            self._drop_old(self._clock())
            values = [value for _, value in self._events]
        return tuple(float(value) for value in np.percentile(values, percents)) if values \
            else (float('nan'),) * len(percents)

    def mean(self) -> float:
        """Mean of the numbers in the window; NaN where there was no event."""
        with self._lock:
            self._drop_old(self._clock())
            return sum(value for _, value in self._events) / len(self._events) if self._events else float('nan')
