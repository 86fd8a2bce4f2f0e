"""Batches of a run: who encodes which samples, loaded ahead in one thread of its own."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from training.batch_rows import BatchPart, Rows
from training.distributed import Processes, join_batches
from training.interface import Batch, Samples, to_device
from training.recipe import TrainerRecipe

_STEPS_AHEAD = 2


@dataclass(frozen=True)
class StepBatch:
    """The samples of one step, as one process sees them.

    Attributes:
        parts: What this process encodes, in chunks.
        labels: Everything of the whole batch but its frames, on the device.
    """

    parts: tuple[BatchPart, ...]
    labels: Batch


class BatchLoader:
    """Loads what this process needs of every step.

    Args:
        samples: Where the samples come from.
        recipe: Batch size, chunk size and seed.
        processes: The processes that share a batch.
    """

    def __init__(self, samples: Samples, recipe: TrainerRecipe, processes: Processes):
        self.samples, self.recipe, self.processes = samples, recipe, processes

    def batches(self, first_step: int, last_step: int) -> Iterator[StepBatch]:
        """Give the batches of the steps [first_step, last_step) on the device, while the next ones are being loaded."""
        executor, waiting = ThreadPoolExecutor(1, 'batches'), deque[Future]()
        try:
            for step in range(first_step, last_step + _STEPS_AHEAD):
                if step < last_step:
                    waiting.append(executor.submit(self._load, step))
                if step >= first_step + _STEPS_AHEAD:
                    yield self._moved(waiting.popleft().result())
        finally:
            executor.shutdown(wait=False, cancel_futures=True)

    def _load(self, step: int) -> StepBatch:
        order = sample_indices(step, len(self.samples), self.recipe)
        share = self.processes.share(len(order))
        chunk = self.recipe.gradient_cache_chunk or len(order)
        firsts = range(share.start, share.stop, chunk)
        chunks = [order[first:min(first + chunk, share.stop)] for first in firsts]
        batches = [{**self.samples.batch(indices), 'step': torch.full((len(indices),), step)} for indices in chunks]
        own_labels = [{name: tensor for name, tensor in batch.items() if tensor.dtype != torch.uint8}
                      for batch in batches]
        labels = self.processes.gather_labels(join_batches(own_labels))
        parts = tuple(BatchPart(self._pinned(batch), Rows(first, len(indices), len(order)), labels)
                      for first, indices, batch in zip(firsts, chunks, batches))
        return StepBatch(parts, self._pinned(labels))

    def _pinned(self, batch: Batch) -> Batch:
        if self.processes.device.type != 'cuda':
            return batch
        return {name: tensor.pin_memory() for name, tensor in batch.items()}

    def _moved(self, step: StepBatch) -> StepBatch:
        device = self.processes.device
        return StepBatch(tuple(BatchPart(to_device(part.batch, device), part.rows, part.labels)
                               for part in step.parts), to_device(step.labels, device))


def sample_indices(step: int, samples: int, recipe: TrainerRecipe) -> np.ndarray:
    """Return the samples int64 [batch_size] of a step: every epoch its own permutation, the remainder left out."""
    steps_per_epoch = samples // recipe.batch_size
    epoch, position = divmod(step, steps_per_epoch)
    order = np.random.default_rng([recipe.seed, epoch]).permutation(samples)
    return order[position * recipe.batch_size:(position + 1) * recipe.batch_size]
