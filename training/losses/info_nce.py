"""Symmetric InfoNCE between two modalities."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

# Of a learned temperature, and the upper limit of 1 / temperature. Source: CLIP, section 2.5.
START_TEMPERATURE = 0.07
LARGEST_SCALE = 100.0
_IGNORED = -100


def learned_temperature(log_scale: Tensor, largest_scale: float = LARGEST_SCALE) -> Tensor:
    """Give the temperature of a parameter.

    Args:
        log_scale: Logarithm of 1 / temperature, a scalar; it is brought back to its limit here, so that a gradient can
            lower it again.
        largest_scale: Upper limit of 1 / temperature; infinity for none.
    """
    with torch.no_grad():
        log_scale.clamp_(max=math.log(largest_scale))
    return (-log_scale).exp()


def symmetric_info_nce(first: Tensor, second: Tensor, temperature: float | Tensor,
                       both: Tensor | None = None) -> Tensor:
    """Pull row i of both modalities together and push it from every other row of the other modality.

    Args:
        first: float32 [N, D], unit length, one modality.
        second: float32 [N, D], unit length, the other modality; row i belongs to row i of `first`.
        temperature: tau, divides the cosine similarities.
        both: bool [N], True where a sample has both modalities; None means all. Other rows are neither pairs nor
            negatives: the loss is that of the batch without them. They are masked, not cut out, so that no shape
            depends on the data and an accelerator never waits for the host.

    Returns:
        Scalar, the mean of both directions; 0 where fewer than two samples have both.

    Source: TLV-CoRe, section 3.3, eq. 5.
    """
    similarity = first @ second.T / temperature
    own_row = torch.arange(len(first), device=first.device)
    if both is None:
        return (functional.cross_entropy(similarity, own_row) + functional.cross_entropy(similarity.T, own_row)) / 2
    # The lowest finite number and not -inf: rows without any pair have a softmax too, no NaN on the way.
    similarity = similarity.masked_fill(~(both[:, None] & both), torch.finfo(similarity.dtype).min)
    own_row = own_row.masked_fill(~both, _IGNORED)
    total = sum(functional.cross_entropy(scores, own_row, ignore_index=_IGNORED, reduction='sum')
                for scores in (similarity, similarity.T))
    return total / (2 * both.sum().clamp(min=1))
