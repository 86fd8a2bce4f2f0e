"""Watchdog: while something must keep deciding, silence for too long triggers the fail-safe once, and latches."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Watchdog:
    """Age of the last fresh command, with an injectable clock; knows nothing of arms.

    A watchdog starts disarmed. `start` arms it, `feed` resets its age, `pause` disarms it for phases that need no
    decisions. Once expired it stays expired until `start`.

    Args:
        timeout_s: Age in seconds at which it expires.
        on_expired: Called once with the age in seconds when it expires, from whoever calls `check`.
        clock: Seconds that never go back.
    """

    def __init__(self, timeout_s: float, on_expired: Callable[[float], None],
                 clock: Callable[[], float] = time.monotonic):
        self._timeout_s = timeout_s
        self._on_expired = on_expired
        self._clock = clock
        self._lock = threading.Lock()
        self._fed_at: float | None = None
        self._expired = False

    @property
    def expired(self) -> bool:
        """Whether it has expired since the last `start`."""
        return self._expired

    def start(self) -> None:
        """Arm it, count from now and forget an earlier expiry."""
        with self._lock:
            self._fed_at, self._expired = self._clock(), False

    def feed(self) -> None:
        """Say that a fresh command was decided now; does nothing while disarmed or expired."""
        with self._lock:
            if self._fed_at is not None and not self._expired:
                self._fed_at = self._clock()

    def pause(self) -> None:
        """Disarm it: nothing expires until `start`; an earlier expiry stays visible."""
        with self._lock:
            self._fed_at = None

    def check(self) -> bool:
        """Expire if it is time to, and say whether it has expired."""
        with self._lock:
            if self._fed_at is None or self._expired:
                return self._expired
            age_s = self._clock() - self._fed_at
            if age_s <= self._timeout_s:
                return False
            self._expired = True
        self._on_expired(age_s)
        return True


class WatchdogThread:
    """Checks a watchdog from its own thread, so that a blocked owner is noticed too.

    Args:
        watchdog: What to check.
        period_s: Seconds between checks.
    """

    def __init__(self, watchdog: Watchdog, period_s: float = 0.05):
        self._watchdog = watchdog
        self._period_s = period_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name='watchdog', daemon=True)

    def start(self) -> None:
        """Start checking."""
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Stop checking and wait for the thread, at most `timeout_s`."""
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.wait(self._period_s):
            self._watchdog.check()
