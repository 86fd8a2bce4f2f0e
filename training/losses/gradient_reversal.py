"""Gradient reversal: identity forward, sign change backward."""

import torch
from torch import Tensor


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(context, features: Tensor) -> Tensor:
        return features.view_as(features)

    @staticmethod
    def backward(context, gradient: Tensor) -> Tensor:
        return -gradient


def reverse_gradient(features: Tensor) -> Tensor:
    """Return `features` unchanged; on the way back their gradient changes its sign.

    What is trained after this layer minimises a loss; what lies before it maximises the same loss.

    Args:
        features: Any shape.

    Source: Ganin and Lempitsky 2015, used by TLV-CoRe, section 3.1.
    """
    return _Reversal.apply(features)
