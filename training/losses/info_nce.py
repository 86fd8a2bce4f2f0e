"""Symmetric InfoNCE between two modalities."""

import torch
from torch import Tensor
from torch.nn import functional


def symmetric_info_nce(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Pull row i of both modalities together and push it from every other row of the other modality.

    Args:
        first: float32 [N, D], unit length, one modality.
        second: float32 [N, D], unit length, the other modality; row i belongs to row i of `first`.
        temperature: tau, divides the cosine similarities.

    Returns:
        Scalar, the mean of both directions.

    Source: TLV-CoRe, section 3.3, eq. 5.
    """
    similarity = first @ second.T / temperature
    own_row = torch.arange(len(first), device=first.device)
    return (functional.cross_entropy(similarity, own_row) + functional.cross_entropy(similarity.T, own_row)) / 2
