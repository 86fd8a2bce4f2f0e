"""Where the samples that are being encoded lie in the batch of their step.

A batch may be split over processes and chunks. What is drawn for a sample must not depend on that: every part draws for
the whole batch from the same seed and keeps its own rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from training.interface import Batch


@dataclass(frozen=True)
class Rows:
    """Rows of some tensor over the whole batch of a step.

    Attributes:
        first: Where the rows at hand begin.
        count: How many rows are at hand.
        total: How many rows the whole batch has.
    """

    first: int
    count: int
    total: int

    def up_to(self, limit: int) -> Rows:
        """Keep the rows that are among the first `limit` of the whole batch."""
        first = min(self.first, limit)
        return Rows(first, min(self.first + self.count, limit) - first, min(self.total, limit))

    def times(self, repeats: int) -> Rows:
        """Give the rows of a tensor that has `repeats` consecutive rows for each of these."""
        return Rows(self.first * repeats, self.count * repeats, self.total * repeats)

    def rand(self, *shape: int, device: torch.device | None = None) -> Tensor:
        """Draw as `torch.rand(count, *shape)`: float32 [count, *shape], 0 ≤ value < 1, the same however it is split."""
        generator = None if _encoding is None else _encoding.generator(device)
        drawn = torch.rand(self.total, *shape, device=device, generator=generator)
        return drawn[self.first:self.first + self.count]


@dataclass(frozen=True)
class BatchPart:
    """Samples of a step that are encoded together.

    Attributes:
        batch: The samples, frames and all.
        rows: Where they lie in the batch of the step.
        labels: Everything of the whole batch but its frames, on the CPU.
    """

    batch: Batch
    rows: Rows
    labels: Batch


@dataclass
class _Encoding:
    part: BatchPart
    seed: int
    generators: dict[str, torch.Generator] = field(default_factory=dict)

    @property
    def is_whole(self) -> bool:
        return self.part.rows.count == self.part.rows.total

    def generator(self, device: torch.device | None) -> torch.Generator | None:
        """Give the source of numbers for whole batches; None, torch's own, where nothing is split."""
        if self.is_whole:
            return None
        name = str(device or 'cpu')
        if name not in self.generators:
            self.generators[name] = torch.Generator(name).manual_seed(self.seed)
        return self.generators[name]


_encoding: _Encoding | None = None


@contextmanager
def encoding(part: BatchPart, seed: int) -> Iterator[None]:
    """Seed everything random of a part; within, `batch_rows` and `labelled_rows` know where it lies.

    Entered twice with the same arguments, the same numbers are drawn. What a network draws by itself, such as dropout,
    comes from torch's own generator, which every part seeds differently.
    """
    global _encoding
    _encoding = _Encoding(part, seed)
    torch.manual_seed(seed if _encoding.is_whole else
                      int(np.random.SeedSequence([seed, part.rows.first]).generate_state(1, np.uint64)[0]))
    try:
        yield
    finally:
        _encoding = None


def batch_rows(count: int) -> Rows:
    """Give the rows of the samples that are being encoded; outside of a training step, all `count` are the batch.

    Raises:
        ValueError: Another number of samples is being encoded.
    """
    if _encoding is None:
        return Rows(0, count, count)
    rows = _encoding.part.rows
    if count != rows.count:
        raise ValueError(f'{rows.count} samples are being encoded, not {count}')
    return rows


def labelled_rows(batch: Batch, name: str) -> Rows:
    """Give the rows of a tensor that exists only for samples whose label `name` (bool [B]) is true."""
    if _encoding is None:
        count = int(batch[name].sum())
        return Rows(0, count, count)
    rows, label = _encoding.part.rows, _encoding.part.labels[name]
    first, count = int(label[:rows.first].sum()), int(label[rows.first:rows.first + rows.count].sum())
    return Rows(first, count, int(label.sum()))
