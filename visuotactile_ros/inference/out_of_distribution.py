"""How unlike its model's own data an embedding is, and an alarm when many are, without flicker."""

from __future__ import annotations

import dataclasses
from collections import deque

import numpy as np

from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.inference.model_card import OutOfDistribution

# Usual embeddings of one kind of sensor lie within few directions. Further axes get variances of chance that frames of
# another kind exceed no more than usual ones do.
PRINCIPAL_AXES = 8
SMALLEST_DEVIATION = 1e-6


def strangeness(embeddings: np.ndarray, statistics: OutOfDistribution) -> np.ndarray:
    """Mahalanobis distance of an embedding from those of one kind of sensor, as a multiple of the threshold.

    The covariance is that of a probabilistic principal component analysis: some axes with variances of their own, one
    variance for all that is left.

    Args:
        embeddings: float32 [..., D].
        statistics: From the model card, of the sensor's kind.

    Returns:
        float64 [...]; above 1 is strange.

    Source: Tipping and Bishop, Probabilistic Principal Component Analysis, 1999.
    """
    return _distance(np.asarray(embeddings, dtype=np.float64), statistics) / statistics.threshold


def fit_out_of_distribution(embeddings: np.ndarray, validation: np.ndarray, quantile: float = 0.99,
                            ) -> OutOfDistribution:
    """Fit the statistics of one kind of sensor at export.

    Args:
        embeddings: float32 [N, D] of training frames, N at least 3.
        validation: float32 [M, D] of validation frames, M at least 1; they set the threshold.
        quantile: Share of the validation frames that lies below the threshold, 0..1.

    Returns:
        The statistics for the model card.
    """
    count, size = embeddings.shape
    mean = np.mean(embeddings, axis=0, dtype=np.float64)
    _, spread, axes = np.linalg.svd(embeddings - mean, full_matrices=False)
    deviation = np.maximum(spread / np.sqrt(count), SMALLEST_DEVIATION)
    kept = min(PRINCIPAL_AXES, count - 2, size - 1)
    residual = np.sqrt((deviation[kept:] ** 2).sum() / (size - kept))
    statistics = OutOfDistribution(_rounded(mean), tuple(_rounded(axis) for axis in axes[:kept]),
                                   _rounded(deviation[:kept]), *_rounded(residual), threshold=1.0)
    threshold, = _rounded(np.quantile(_distance(np.asarray(validation, dtype=np.float64), statistics), quantile))
    return dataclasses.replace(statistics, threshold=threshold)


def _distance(embeddings: np.ndarray, statistics: OutOfDistribution) -> np.ndarray:
    difference = embeddings - statistics.mean
    along = difference @ np.transpose(statistics.axes)
    left = np.maximum((difference ** 2).sum(axis=-1) - (along ** 2).sum(axis=-1), 0.0)
    return np.sqrt(((along / statistics.standard_deviation) ** 2).sum(axis=-1)
                   + left / statistics.residual_standard_deviation ** 2)


def _rounded(values: np.ndarray | float) -> tuple[float, ...]:
    """Four significant digits keep the card readable."""
    return tuple(float(f'{value:.4g}') for value in np.atleast_1d(values))


class StrangenessAlarm:
    """Tells when the frames of one sensor have become unlike those that its model was validated on.

    A single strange frame is no news: the threshold of a model card lies at a quantile of its own validation data. The
    alarm begins when a large share of the newest frames is strange, and ends when few are.

    Args:
        window_frames: How many of the newest frames count; before there are so many, the missing ones count as usual.
        on_share: Share of strange frames at which the alarm begins, 0..1.
        off_share: Share of strange frames at which the alarm ends, 0..1, below `on_share`.

    Attributes:
        is_on: Whether the alarm is on.

    Raises:
        ConfigurationError: The window is empty, or the shares are not in order.
    """

    def __init__(self, window_frames: int, on_share: float, off_share: float):
        if window_frames < 1 or not 0.0 <= off_share < on_share <= 1.0:
            raise ConfigurationError(
                f'an alarm over {window_frames} frames begins at a share of {on_share} and ends at {off_share}',
                'Let it end at a lower share than it begins, over one frame or more')
        self._on_share, self._off_share = on_share, off_share
        self._strange: deque[bool] = deque([False] * window_frames, maxlen=window_frames)
        self.is_on = False

    @property
    def strange_share(self) -> float:
        """Share of strange frames in the window, 0..1."""
        return sum(self._strange) / len(self._strange)

    def update(self, strangeness_of_frame: float) -> bool:
        """Take in the next frame.

        Args:
            strangeness_of_frame: From `TactileEncoder.strangeness`. One that is not a number is strange.

        Returns:
            Whether the alarm is on now.
        """
        self._strange.append(not strangeness_of_frame <= 1.0)
        self.is_on = self.strange_share > self._off_share if self.is_on else self.strange_share >= self._on_share
        return self.is_on
