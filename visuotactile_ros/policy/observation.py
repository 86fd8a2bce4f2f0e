"""PouringObservation: what the policy may see, and whether it is fresh enough to act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

SENSORS = ('left', 'right')
"""The fingers, in the order in which the policy's network takes them."""


@dataclass(frozen=True, eq=False)
class PouringObservation:
    """Newest embeddings of the fingers and the measured tilt at one decision.

    Attributes:
        stamp_ns: Time of the decision, wall-clock nanoseconds since the epoch.
        embeddings: float32 [D] by sensor; a sensor that has not been heard yet is missing.
        embedding_stamps_ns: Stamp of the frame behind each embedding, by sensor.
        tilt_deg: Measured tilt of the vessel, degrees, positive towards pouring.
    """

    stamp_ns: int
    embeddings: Mapping[str, np.ndarray]
    embedding_stamps_ns: Mapping[str, int]
    tilt_deg: float


def observation_problem(observation: PouringObservation, maximum_age_s: float, maximum_skew_s: float) -> str:
    """Say why an observation must not be acted on.

    Args:
        observation: What is known.
        maximum_age_s: Oldest embedding allowed, seconds; one from the future by more than this is refused too.
        maximum_skew_s: Largest difference between the stamps of the fingers, seconds.

    Returns:
        '' when it can be used, otherwise one clause that names the sensor and the number.
    """
    for sensor in SENSORS:
        if sensor not in observation.embeddings or sensor not in observation.embedding_stamps_ns:
            return f'{sensor} has sent no embedding yet'
        age_s = (observation.stamp_ns - observation.embedding_stamps_ns[sensor]) * 1e-9
        if abs(age_s) > maximum_age_s:
            return f'the embedding of {sensor} is {age_s:.2f} s old, more than {maximum_age_s:.2f} s'
        if not np.isfinite(observation.embeddings[sensor]).all():
            return f'the embedding of {sensor} is not finite'
    skew_s = abs(observation.embedding_stamps_ns[SENSORS[0]] - observation.embedding_stamps_ns[SENSORS[1]]) * 1e-9
    if skew_s > maximum_skew_s:
        return f'the embeddings of the fingers are {skew_s:.2f} s apart, more than {maximum_skew_s:.2f} s'
    if not np.isfinite(observation.tilt_deg):
        return f'the measured tilt is {observation.tilt_deg}'
    return ''
