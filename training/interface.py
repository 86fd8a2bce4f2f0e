"""What the trainer and the papers agree on: batches, loss terms, objectives and samples."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

# Name → tensor whose first dimension runs over the samples, or over some of them in the same order. Frames are uint8.
Batch = Mapping[str, Tensor]


@dataclass(frozen=True)
class LossTerm:
    """One part of the loss.

    Attributes:
        value: Scalar tensor, not weighted.
        weight: What it is multiplied by.
    """

    value: Tensor
    weight: float


class Objective(Protocol):
    """What is trained: one file a paper.

    The two halves let the trainer spread a batch over processes and chunks: towers see a part of the samples, losses
    see all of them.

    Attributes:
        model: Everything that is trained, on the device of the run.
    """

    model: nn.Module

    def encode(self, batch: Batch) -> dict[str, Tensor]:
        """Run the towers over some samples.

        Args:
            batch: What `Samples.batch` gave for them, and step: int64 [B], the number of the step, from 0.

        Returns:
            Tensors whose row i belongs to sample i: embeddings, and any value that compares no samples. The losses see
            them as float32.
        """

    def loss_terms(self, encoded: Mapping[str, Tensor], batch: Batch) -> dict[str, LossTerm]:
        """Compare the samples of a whole step; cheap, every process does all of it.

        Args:
            encoded: What `encode` returned for all of them.
            batch: Everything of the batch but the frames (uint8).
        """

    def validate(self) -> dict[str, float]:
        """Return the metrics on the validation data; only one process calls it."""


class Samples(Protocol):
    """Training data with random access."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def batch(self, indices: np.ndarray) -> Batch:
        """Return the samples int64 [N] as one batch on the CPU.

        Called from a thread that runs ahead of the training: draws nothing at random. A step may be put together from
        several calls: all give the same names, the same shapes behind the first dimension, and labels that mean the
        same in every call, so a number that is counted within a call is none.
        """


def to_device(batch: Batch, device: torch.device) -> dict[str, Tensor]:
    """Copy a batch to a device; from pinned memory without waiting."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
