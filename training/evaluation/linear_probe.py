"""Linear probes of frozen embeddings, and balanced accuracy."""

from __future__ import annotations

import numpy as np

RIDGE_STRENGTHS = tuple(10.0 ** power for power in range(-4, 4))


class RidgeClassifier:
    """One-hot ridge regression in closed form: nothing to tune but the ridge, which validation samples choose.

    Args:
        embeddings: float32 [N, D] to fit on.
        labels: int64 [N], 0 ≤ label < classes.
        classes: Number of classes.
        strength: Ridge in units of the mean variance of an axis.

    Source: the closed-form probe is that of few-shot evaluation in big_vision.
    """

    def __init__(self, embeddings: np.ndarray, labels: np.ndarray, classes: int, strength: float):
        targets = np.eye(classes)[labels]
        # Every class counts the same, as in the balanced accuracy.
        weights = (1.0 / np.maximum(targets.sum(axis=0), 1.0))[labels][:, None]
        weights /= weights.sum()
        self._mean = (weights * embeddings).sum(axis=0, dtype=np.float64)
        self._bias = (weights * targets).sum(axis=0)
        centred = embeddings - self._mean
        covariance = centred.T @ (weights * centred)
        ridge = strength * np.trace(covariance) / len(covariance)
        self._weights = np.linalg.solve(covariance + ridge * np.eye(len(covariance)),
                                        centred.T @ (weights * (targets - self._bias)))

    def predict(self, embeddings: np.ndarray) -> np.ndarray:
        """Give the likeliest class of embeddings float32 [M, D]: int64 [M]."""
        return ((embeddings - self._mean) @ self._weights + self._bias).argmax(axis=1)


def fit_probe(embeddings: np.ndarray, labels: np.ndarray, classes: int, rng: np.random.Generator) -> RidgeClassifier:
    """Fit a probe whose ridge is chosen on a fifth of the samples, then on all of them.

    Args:
        embeddings: float32 [N, D].
        labels: int64 [N].
        classes: Number of classes.
        rng: Chooses the fifth.
    """
    order = rng.permutation(len(labels))
    chosen, rest = order[:len(order) // 5], order[len(order) // 5:]
    scores = [balanced_accuracy(RidgeClassifier(embeddings[rest], labels[rest], classes, strength)
                                .predict(embeddings[chosen]), labels[chosen]) for strength in RIDGE_STRENGTHS]
    return RidgeClassifier(embeddings, labels, classes, RIDGE_STRENGTHS[int(np.argmax(scores))])


def balanced_accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur of the share of their samples that is recognised, 0..1."""
    return float(np.mean([(predicted[labels == label] == label).mean() for label in np.unique(labels)]))


def interval_95(values: np.ndarray) -> tuple[float, float]:
    """Range that holds 95 % of resampled values [N]: (low, high)."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)
