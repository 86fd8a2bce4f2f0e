"""Means of probes with intervals: seeds and tested objects are drawn again, for all methods alike."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from training.evaluation.linear_probe import interval_95

DRAWS = 1000
_DIGITS = 4


class Accuracies:
    """Accuracies of one method: what was measured, and DRAWS of what might have been.

    Every draw takes seeds and, of every test, objects with replacement. One seed less than there are is taken, which
    makes the variance of the mean over seeds right. Objects are drawn alike for all methods, so that differences of
    methods are intervals of pairs.

    Args:
        results: By seed and task name, what `probe_task` found. Every seed has all tasks.
        protocol: One of PROTOCOLS.
        trainings: What names the trainings whose seeds are drawn; those of the same name draw the same seeds.
        tests: By task name, what names its tested samples; tasks with the same draw the same objects.

    Source: Rao and Wu 1988, drawing n - 1 of n.
    """

    def __init__(self, results: Mapping[int, Mapping[str, Any]], protocol: str, trainings: str,
                 tests: Mapping[str, str]):
        self.seeds, self.tasks = sorted(results), list(tests)
        shares, drawn = [], []
        for task, test in tests.items():
            counts = np.array(results[self.seeds[0]][task]['count'])
            correct = np.array([results[seed][task]['protocols'][protocol]['correct'] for seed in self.seeds])
            weights = _object_weights(test, len(counts))
            shares.append(correct.sum(axis=1) / counts.sum())
            drawn.append(weights @ correct.T / (weights @ counts)[:, None])
        # [tasks, seeds] and [tasks, DRAWS, seeds].
        self.by_seed, by_draw = np.array(shares), np.array(drawn)
        rng = np.random.default_rng([1, zlib.crc32(trainings.encode())])
        chosen = rng.integers(len(self.seeds), size=(DRAWS, max(1, len(self.seeds) - 1)))
        self.draws = np.take_along_axis(by_draw, np.broadcast_to(chosen, (len(drawn), *chosen.shape)), 2).mean(axis=2)

    def summary(self) -> dict[str, Any]:
        """Give mean and ci95 over the tasks, and both by task with the value of every seed; shares, 0..1."""
        per_task = {task: {'mean': rounded(values.mean()), 'ci95': _interval(draws), 'seeds': rounded(values)}
                    for task, values, draws in zip(self.tasks, self.by_seed, self.draws)}
        return {'mean': rounded(self.by_seed.mean()), 'ci95': _interval(self.draws.mean(axis=0)),
                'per_task': per_task, 'seeds': self.seeds}


def difference(first: Sequence[Accuracies], second: Sequence[Accuracies]) -> dict[str, Any]:
    """Give mean and ci95 of how much more the first is right than the second, over all tasks of all pairs."""
    values = np.mean([one.by_seed.mean() - other.by_seed.mean() for one, other in zip(first, second, strict=True)])
    draws = np.mean([(one.draws - other.draws).mean(axis=0) for one, other in zip(first, second, strict=True)], axis=0)
    return {'mean': rounded(values), 'ci95': _interval(draws)}


def average(groups: Sequence[Accuracies]) -> dict[str, Any]:
    """Give the summary of a method over several groups; a task counts in every group that has it."""
    per_task = {}
    for task in dict.fromkeys(task for group in groups for task in group.tasks):
        places = [(group, group.tasks.index(task)) for group in groups if task in group.tasks]
        per_task[task] = {'mean': rounded(np.mean([group.by_seed[place].mean() for group, place in places])),
                          'ci95': _interval(np.mean([group.draws[place] for group, place in places], axis=0))}
    return {'mean': rounded(np.mean([group.by_seed.mean() for group in groups])),
            'ci95': _interval(np.mean([group.draws.mean(axis=0) for group in groups], axis=0)), 'per_task': per_task}


def rounded(value: Any) -> Any:
    """Give a number, or numbers, with as many digits as a JSON of results has."""
    return [rounded(item) for item in value] if np.ndim(value) else round(float(value), _DIGITS)


@lru_cache(maxsize=16)
def _object_weights(test: str, objects: int) -> np.ndarray:
    """How often every object is drawn, float32 [DRAWS, objects]."""
    rng = np.random.default_rng([2, zlib.crc32(test.encode())])
    return np.stack([np.bincount(rng.integers(objects, size=objects), minlength=objects)
                     for _ in range(DRAWS)]).astype(np.float32)


def _interval(draws: np.ndarray) -> list[float]:
    return [rounded(value) for value in interval_95(draws)]
