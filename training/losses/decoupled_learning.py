"""Tactile-irrelevant decoupled learning: features that do not tell which sensor took them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from training.losses.gradient_reversal import reverse_gradient

_IGNORED = -100


def sensor_log_probabilities(features: Tensor, centroids: Tensor, temperature: float) -> Tensor:
    """Compare features with the centroid of every sensor.

    Args:
        features: float32 [N, d], tactile features h.
        centroids: float32 [S, d], one learnable centroid a sensor.
        temperature: tau, divides the cosine similarities.

    Returns:
        float32 [N, S], log p(s | h).

    Source: TLV-CoRe, section 3.1, eq. 2.
    """
    cosine = functional.normalize(features, dim=-1) @ functional.normalize(centroids, dim=-1).T
    return functional.log_softmax(cosine / temperature, dim=-1)


def decoupled_learning(features: Tensor, sensor_id: Tensor, centroids: Tensor, temperature: float,
                       known: Tensor | None = None, reverse: bool = True) -> Tensor:
    """Train the centroids to recognise the sensor and the features to hide it.

    Args:
        features: float32 [N, d], tactile features h.
        sensor_id: int64 [N], 0 ≤ id < S where known.
        centroids: float32 [S, d].
        temperature: tau of eq. 2.
        known: bool [N], True where a sample has touch by a sensor that has a centroid; None means all. The others are
            left out of the mean.
        reverse: False leaves the gradient reversal out, as the published code does: the features then learn to show
            the sensor.

    Returns:
        Scalar: the negative log-likelihood of the true sensor, 0 where none is known. Its gradient is reversed for
        `features` only.

    Source: TLV-CoRe, section 3.1, eq. 3 and the text below it.
    """
    scores = sensor_log_probabilities(reverse_gradient(features) if reverse else features, centroids, temperature)
    if known is None:
        return functional.nll_loss(scores, sensor_id)
    own_sensor = sensor_id.masked_fill(~known, _IGNORED)
    return functional.nll_loss(scores, own_sensor, ignore_index=_IGNORED, reduction='sum') / known.sum().clamp(min=1)
