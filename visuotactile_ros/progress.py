"""Live progress of a pour: a bar on a terminal, plain lines when the output goes to a file or a pipe."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from typing import TextIO

from visuotactile_ros.run_record import RunRecord, rate_hz

BAR_CELLS = 24
BAR_PERIOD_S = 0.2
LINE_PERIOD_S = 2.0
RATE_WINDOW_S = 3.0


class Progress:
    """Shows how far a run is; call `update` as often as you like.

    Args:
        record: The record that another thread fills.
        stream: Where to write; a terminal gets a bar that is redrawn, anything else a line every LINE_PERIOD_S.
    """

    def __init__(self, record: RunRecord, stream: TextIO):
        self._record = record
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._last_s = -float('inf')
        self._width = 0
        self._lock = threading.Lock()

    def update(self) -> None:
        """Write the state of this moment, unless the last one is still young."""
        now_s = time.monotonic()
        if now_s - self._last_s < (BAR_PERIOD_S if self._is_terminal else LINE_PERIOD_S):
            return
        self._last_s = now_s
        text = describe_progress(self._record, time.time_ns(), with_bar=self._is_terminal)
        if not self._is_terminal:
            self._write(f'{text}\n')
            return
        text = text[:shutil.get_terminal_size().columns - 1]
        self._write(f'\r{text.ljust(self._width)}', width=len(text))

    def say(self, text: str) -> None:
        """Write a line of its own; a bar stays below it."""
        self._write(f'\r{" " * self._width}\r{text}\n' if self._is_terminal else f'{text}\n')

    def finish(self) -> None:
        """Write the last state and leave the line of the bar."""
        self._last_s = -float('inf')
        self.update()
        if self._is_terminal:
            self._write('\n')

    def _write(self, text: str, width: int = 0) -> None:
        # A terminal that was closed must not end a pour: the report is still to be written.
        with self._lock, contextlib.suppress(OSError):
            self._width = width
            self._stream.write(text)
            self._stream.flush()


def describe_progress(record: RunRecord, now_ns: int, with_bar: bool) -> str:
    """Return one line: time, phase, poured grams, tilt, action and the rates of the last RATE_WINDOW_S seconds.

    Args:
        record: What was seen so far.
        now_ns: Wall-clock nanoseconds since the epoch.
        with_bar: Whether a bar of the poured mass comes first.
    """
    parts = [f'{float(record.seconds(now_ns)):5.1f} s']
    poured_g = record.poured_g
    if record.samples:
        sample = record.samples[-1]
        grams = '' if poured_g is None else f'{poured_g:5.1f} / {record.target_g:g} g'
        parts += [f'{sample.phase:<8}', grams, f'tilt {sample.tilt_deg:5.1f}°', f'{sample.action or "–":<7}']
    else:
        parts.append('starting')
    since_ns = now_ns - int(RATE_WINDOW_S * 1e9)
    for sensor, times in sorted(record.embedding_times_ns.items()):
        recent_ns = [published for _, published in times[-200:] if published > since_ns]
        parts.append(f'{sensor} {rate_hz(recent_ns):4.1f} Hz')
    decisions_ns = [stamp for stamp in record.decision_stamps_ns[-50:] if stamp > since_ns]
    if decisions_ns:
        parts.append(f'policy {rate_hz(decisions_ns):3.1f} Hz')
    line = '  '.join(part for part in parts if part)
    return f'{_bar(poured_g, record.target_g)} {line}' if with_bar else line


def _bar(poured_g: float | None, target_g: float) -> str:
    fraction = 0.0 if poured_g is None else min(max(poured_g / target_g, 0.0), 1.0)
    eighths = round(fraction * BAR_CELLS * 8)
    full, rest = divmod(eighths, 8)
    return f'▕{("█" * full + (" ▏▎▍▌▋▊▉"[rest] if rest else "")).ljust(BAR_CELLS)}▏'
