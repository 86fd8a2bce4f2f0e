"""Retrieval of one modality by another, a metric of validations."""

from __future__ import annotations

import torch
from torch import Tensor


def retrieval(name: str, similarity: Tensor) -> dict[str, float]:
    """Give `<name>_top1` and `_top5`: how often column i is the first, or among the first five, of row i [N, N]."""
    own = torch.arange(len(similarity), device=similarity.device)[:, None]
    found = similarity.topk(min(5, len(similarity))).indices == own
    return {f'{name}_top1': found[:, 0].float().mean().item(), f'{name}_top5': found.any(dim=1).float().mean().item()}
