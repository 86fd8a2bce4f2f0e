"""From the encoder's raw outputs to probabilities that mean what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


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
