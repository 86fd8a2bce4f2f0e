"""From the encoder's raw outputs to probabilities that mean what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visuotactile_ros.inference.model_card import OutOfDistribution


def calibrated_probabilities(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of logits / temperature.

    Args:
        logits: float32 [..., classes], finite.
        temperature: Above zero; fitted on validation data, kept in the model card.

    Returns:
        float32 [..., classes], each row sums to one.

    Source: Guo et al., On Calibration of Modern Neural Networks, 2017, §4.2.
    """
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))   # the largest exponent is 0: no overflow
    return (exponentials / exponentials.sum(axis=-1, keepdims=True)).astype(np.float32)


def most_likely(classes: Sequence[str], probabilities: np.ndarray) -> tuple[str, float]:
    """Name the likeliest class.

    Args:
        classes: Class names.
        probabilities: float32 [classes].

    Returns:
        Its name and its probability, 0..1.
    """
    index = int(np.argmax(probabilities))
    return classes[index], float(probabilities[index])


def out_of_distribution_distance(embeddings: np.ndarray, statistics: OutOfDistribution) -> np.ndarray:
    """Root mean square of the standard scores of an embedding: about 1 for data like the validation data.

    It is the Mahalanobis distance of a diagonal covariance divided by √D, so that it reads the same for every D.

    Args:
        embeddings: float32 [..., D].
        statistics: From the model card.

    Returns:
        float64 [...].
    """
    scores = (np.asarray(embeddings, dtype=np.float64) - statistics.mean) / statistics.standard_deviation
    return np.sqrt(np.mean(scores ** 2, axis=-1))


def fit_out_of_distribution(embeddings: np.ndarray, quantile: float = 0.995) -> OutOfDistribution:
    """Fit the statistics at export.

    Args:
        embeddings: float32 [N, D] of validation frames, N at least 2.
        quantile: Share of the validation frames that must lie below the threshold, 0..1.

    Returns:
        The statistics for the model card.
    """
    embeddings = np.asarray(embeddings, dtype=np.float64)
    # An axis that never moved would turn any later movement into an infinite score.
    smallest = 1e-6
    statistics = OutOfDistribution(_rounded(embeddings.mean(axis=0)),
                                   _rounded(np.maximum(embeddings.std(axis=0), smallest)), threshold=1.0)
    threshold = float(np.quantile(out_of_distribution_distance(embeddings, statistics), quantile))
    return OutOfDistribution(statistics.mean, statistics.standard_deviation, threshold)


def _rounded(values: np.ndarray) -> tuple[float, ...]:
    """Six significant digits keep the card readable."""
    return tuple(float(f'{value:.6g}') for value in values)
