"""Steps of several ways, timed in turns, so that whatever slows the machine slows all of them."""

from __future__ import annotations

import gc
import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from training.evaluation.linear_probe import interval_95
from training.evaluation.training_step.utilisation import wait_for
from training.evaluation.training_step.ways import Way

_FEWEST_ROUNDS = 5
_RESAMPLINGS = 2000


def warm_up(way: Way, device: torch.device, steps: int) -> int | None:
    """Take the first steps, which compile and fill caches; give the bytes of one more at its peak, None on a CPU."""
    for _ in range(steps):
        way.step()
    wait_for(device)
    if device.type != 'cuda':
        return None
    torch.cuda.reset_peak_memory_stats(device)
    way.step()
    wait_for(device)
    return torch.cuda.max_memory_allocated(device)


def free_memory(device: torch.device) -> None:
    """Give back what a way that failed had taken."""
    gc.collect()
    if device.type == 'cuda':
        torch.cuda.empty_cache()


def time_in_turns(ways: Mapping[str, Way], device: torch.device, seconds: float,
                  steps: int) -> tuple[dict[str, list[float]], dict[str, str]]:
    """Let the ways take turns until the time is over.

    Args:
        ways: They are warm.
        device: What they compute on.
        seconds: Time for all of them; a few rounds are always made.
        steps: Steps of one turn, at whose end the device is waited for.

    Returns:
        Seconds of a step, one number a turn, as many for every way; and of ways that failed, why.
    """
    turns: dict[str, list[float]] = {name: [] for name in ways}
    failed: dict[str, str] = {}
    end, rounds = time.monotonic() + seconds, 0
    while turns and (rounds < _FEWEST_ROUNDS or time.monotonic() < end):
        for name in list(turns):
            try:
                turns[name].append(_seconds_of_a_step(ways[name], device, steps))
            except RuntimeError as error:   # most likely too little memory beside the others
                failed[name] = reason(error)
                del turns[name]
        rounds += 1
    return turns, failed


def _seconds_of_a_step(way: Way, device: torch.device, steps: int) -> float:
    wait_for(device)
    start = time.perf_counter()
    for _ in range(steps):
        way.step()
    wait_for(device)
    return (time.perf_counter() - start) / steps


def reason(error: Exception) -> str:
    """Tell in one line why a way was not measured."""
    kind = 'out of memory' if isinstance(error, torch.OutOfMemoryError) else type(error).__name__
    return f'{kind}: {(str(error).strip().splitlines() or [""])[0][:200]}'


def median_with_interval(values: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Give the median of some turns and its 95 % interval, from turns drawn with replacement."""
    return float(np.median(values)), interval_95(np.median(np.array(values)[_resampled(len(values))], axis=1))


def ratio_with_interval(slow: Sequence[float], fast: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Give how many times as long one way takes, by medians, and its 95 % interval; rounds are drawn as a whole."""
    rows = _resampled(len(slow))
    medians = [np.median(np.array(values)[rows], axis=1) for values in (slow, fast)]
    return float(np.median(slow) / np.median(fast)), interval_95(medians[0] / medians[1])


def first_host_synchronisation(way: Way, device: torch.device) -> int | str | None:
    """Take a step in which the host may not wait for the device.

    Returns:
        0 where it never does, else torch's complaint about the first time; None on a CPU. After a complaint the way may
        be in the middle of a step: take no more of them.
    """
    if device.type != 'cuda':
        return None
    wait_for(device)
    torch.cuda.set_sync_debug_mode('error')
    try:
        way.step()
    except RuntimeError as error:
        return reason(error)
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return 0


def _resampled(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(count, size=(_RESAMPLINGS, count))
