"""Unit length of embeddings, in single precision whatever the towers run in."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def unit_length(embedding: Tensor) -> Tensor:
    """Scale embeddings [B, D] to unit length, float32."""
    return functional.normalize(embedding.float(), dim=-1)
