"""Tactile-irrelevant decoupled learning: features that do not tell which sensor took them."""

from torch import Tensor
from torch.nn import functional

from training.losses.gradient_reversal import reverse_gradient


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


def decoupled_learning(features: Tensor, sensor_id: Tensor, centroids: Tensor, temperature: float) -> Tensor:
    """Train the centroids to recognise the sensor and the features to hide it.

    Args:
        features: float32 [N, d], tactile features h.
        sensor_id: int64 [N], 0 ≤ id < S.
        centroids: float32 [S, d].
        temperature: tau of eq. 2.

    Returns:
        Scalar: the negative log-likelihood of the true sensor. Its gradient is reversed for `features` only.

    Source: TLV-CoRe, section 3.1, eq. 3 and the text below it.
    """
    return functional.nll_loss(sensor_log_probabilities(reverse_gradient(features), centroids, temperature), sensor_id)
