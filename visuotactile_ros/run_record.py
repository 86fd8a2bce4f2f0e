"""RunRecord: what was seen of one run, and the figures that follow from it. Knows no ROS and draws nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

ACTIONS = ('pour', 'wait', 'retract')
NANOSECONDS = 1e9


@dataclass(frozen=True)
class PourSample:
    """One decision period of a pour.

    Attributes:
        stamp_ns: Wall-clock nanoseconds since the epoch.
        phase: Phase of the task.
        action: What was decided: one of ACTIONS, or '' in a period without a decision.
        tilt_deg: Measured tilt, degrees.
        poured_g: Mass on the scale, grams; None where there is no scale.
    """

    stamp_ns: int
    phase: str
    action: str
    tilt_deg: float
    poured_g: float | None


@dataclass(frozen=True, eq=False)
class FrameSample:
    """One tactile image kept for the report: `image_hwc` is uint8 [H, W, 3] RGB."""

    stamp_ns: int
    sensor: str
    image_hwc: np.ndarray


@dataclass
class RunRecord:
    """Everything a report is made of; filled by one thread, read by another.

    Attributes:
        simulated: Whether sensors, vessel and arm are simulated.
        target_g: Mass that was asked for, grams.
        seed: Seed of the simulation; None where there is none.
        started_ns: Wall-clock nanoseconds since the epoch.
        samples: The pour, one entry a decision period.
        image_stamps_ns: Stamps of the images of every sensor, by sensor.
        embedding_times_ns: (frame stamp, time of publishing) of every embedding, by sensor.
        decision_stamps_ns: Stamps of the policy's decisions.
        frames: Tactile images kept for the strip.
        faults: Every distinct fault seen, in order.
        missed_deadlines: Decision periods that the pouring node reported as late.
        limit_violations: Commands that broke a motion limit, as the pouring node reported; they were not carried out.
    """

    simulated: bool
    target_g: float
    seed: int | None = None
    started_ns: int = field(default_factory=time.time_ns)
    samples: list[PourSample] = field(default_factory=list)
    image_stamps_ns: dict[str, list[int]] = field(default_factory=dict)
    embedding_times_ns: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    decision_stamps_ns: list[int] = field(default_factory=list)
    frames: list[FrameSample] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    missed_deadlines: int = 0
    limit_violations: int = 0

    @property
    def poured_g(self) -> float | None:
        """The last reading of the scale, grams; None where there is no scale."""
        return next((sample.poured_g for sample in reversed(self.samples) if sample.poured_g is not None), None)

    @property
    def error_g(self) -> float | None:
        """Poured minus asked-for mass, grams; None where there is no scale."""
        return None if self.poured_g is None else self.poured_g - self.target_g

    def seconds(self, stamp_ns: int | Sequence[int] | np.ndarray) -> np.ndarray:
        """Return seconds since the start of the run, float64 of the shape given."""
        return (np.asarray(stamp_ns, np.int64) - self.started_ns) / NANOSECONDS

    def latencies_ms(self) -> np.ndarray:
        """Return the time from a frame's stamp to the publishing of its embedding, float64 [N], milliseconds."""
        pairs = [pair for times in self.embedding_times_ns.values() for pair in list(times)]
        times = np.asarray(pairs, np.int64).reshape(-1, 2)
        return (times[:, 1] - times[:, 0]) / 1e6


def rate_hz(stamps_ns: Sequence[int]) -> float:
    """Return the mean rate of a stream from its first to its last stamp, Hz; 0 for fewer than two stamps."""
    if len(stamps_ns) < 2 or stamps_ns[-1] == stamps_ns[0]:
        return 0.0
    return (len(stamps_ns) - 1) * NANOSECONDS / (stamps_ns[-1] - stamps_ns[0])


def rate_over_time(times_s: np.ndarray, window_s: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the rate of a stream in consecutive windows.

    Args:
        times_s: float64 [N], ascending, seconds.
        window_s: Length of a window, seconds.

    Returns:
        Centres of the full windows, float64 [M] seconds, and the rate in each, float64 [M] Hz.
    """
    if len(times_s) == 0 or times_s[-1] - times_s[0] < window_s:
        return np.empty(0), np.empty(0)
    edges = np.arange(times_s[0], times_s[-1] + 1e-9, window_s)
    counts, _ = np.histogram(times_s, edges)
    return (edges[:-1] + edges[1:]) / 2, counts / window_s


def percentiles_ms(values_ms: np.ndarray) -> dict[str, float | None]:
    """Return `{p50, p95, p99}` in milliseconds; None for each where there is no value."""
    if len(values_ms) == 0:
        return {'p50': None, 'p95': None, 'p99': None}
    return {f'p{rank}': round(float(np.percentile(values_ms, rank)), 3) for rank in (50, 95, 99)}


def summarise(record: RunRecord) -> dict:
    """Return the figures of a run as JSON-ready values, under the names the real-time benchmark uses too."""
    counts = {action: sum(sample.action == action for sample in record.samples) for action in ACTIONS}
    return {
        'simulated': record.simulated,
        'seed': record.seed,
        'target_g': record.target_g,
        'poured_g': None if record.poured_g is None else round(record.poured_g, 3),
        'error_g': None if record.error_g is None else round(record.error_g, 3),
        'duration_s': round(float(record.seconds(record.samples[-1].stamp_ns)), 3) if record.samples else 0.0,
        'largest_tilt_deg': round(max((sample.tilt_deg for sample in record.samples), default=0.0), 3),
        'actions': counts,
        'streams_hz': {name: round(rate_hz(stamps), 3) for name, stamps in sorted(record.image_stamps_ns.items())},
        'embeddings_hz': {name: round(rate_hz([stamp for stamp, _ in times]), 3)
                          for name, times in sorted(record.embedding_times_ns.items())},
        'policy_hz': round(rate_hz(record.decision_stamps_ns), 3),
        'missed_deadlines': record.missed_deadlines,
        'limit_violations': record.limit_violations,
        'stamp_to_published_ms': percentiles_ms(record.latencies_ms()),
        'faults': list(record.faults),
    }
