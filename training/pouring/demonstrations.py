"""Demonstrations: what the fingers felt, what the operator did and what the scale said; embeddings, not images."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.datasets.sampled_contacts import motion_values
from training.networks.tlv_core import MOTION_QUANTITIES
from training.pouring.operator import ScriptedOperator
from training.pouring.simulated_episode import Encode, RenderedTouch, Touch, simulate_pour
from visuotactile_ros.errors import ConfigurationError
from visuotactile_ros.frame import Frame
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.observation import SENSORS, PouringObservation
from visuotactile_ros.policy.pouring_policy import LONGEST_PAUSE, GripReference, Policy, PouringDecision, policy_context
from visuotactile_ros.simulation.world import PouringWorld


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One episode as one encoder felt it; T decisions in the pour.

    Attributes:
        seed: Seed of the episode.
        embeddings: float32 [T, 2, D], left and right.
        references: float32 [2, 2, D]: finger, then upright and tilted.
        context: float32 [T, 5], see `policy_context`.
        labels: int64 [T], what the operator meant to do, index into ACTIONS.
        masses_g: float32 [T], poured mass on the scale, grams.
        final_mass_g: Poured mass in the end, grams.
    """

    seed: int
    embeddings: np.ndarray
    references: np.ndarray
    context: np.ndarray
    labels: np.ndarray
    masses_g: np.ndarray
    final_mass_g: float


class RecordingPolicy:
    """Passes on what the operator decides and keeps everything a demonstration needs.

    Args:
        operator: Decides and labels.

    Attributes:
        operator: The same.
    """

    def __init__(self, operator: ScriptedOperator):
        self.operator = operator
        self.observations: list[PouringObservation] = []
        self.contexts: list[np.ndarray] = []
        self.reference: GripReference | None = None
        self._since_pour = LONGEST_PAUSE

    def reset(self, reference: GripReference) -> None:
        """Start an episode."""
        self.reference = reference
        self.operator.reset(reference)

    def decide(self, observation: PouringObservation) -> PouringDecision:
        """Record and decide."""
        self.observations.append(observation)
        self.contexts.append(policy_context(observation.tilt_deg, self.reference.tilted_deg, self._since_pour)[0])
        decision = self.operator.decide(observation)
        self._since_pour = 0 if decision.action == 'pour' else min(self._since_pour + 1, LONGEST_PAUSE)
        return decision


class SeveralEncoders:
    """Encodes the same frames with several encoders; the embeddings are laid end to end and split afterwards."""

    def __init__(self, encoders: Sequence[Encode]):
        self._encoders = encoders
        self.sizes: list[int] = []

    def __call__(self, frames: Sequence[Frame]) -> list[np.ndarray]:
        """One float32 vector a frame, the encoders' embeddings one after another."""
        parts = [encode(frames) for encode in self._encoders]
        self.sizes = [part[0].size for part in parts]
        return [np.concatenate(of_one_frame) for of_one_frame in zip(*parts, strict=True)]


def record_demonstration(seed: int, encoders: Mapping[str, Encode], task: PouringTaskParameters,
                         touch: Touch | None = None) -> dict[str, Demonstration]:
    """Record one episode, rendered once and felt by every encoder.

    Half of the operator's demonstrations stop at a wrong mass and a few keys are pressed wrongly, while the labels stay
    right: what the operator does after a mistake must be shown too (Laskey et al., DART, 2017).

    Args:
        seed: Seed of world, sensors and operator.
        encoders: Encoders by name.
        task: What is poured, and by which steps.
        touch: Replaces rendering and encoding, with one encoder named in `encoders`.

    Returns:
        The demonstration of every encoder, by its name.

    Raises:
        ConfigurationError: The motion limits of the arm refuse the task.
    """
    target_g = task.target_mass_g
    generator = np.random.default_rng([seed, 3])
    stop_g = target_g if generator.random() < 0.5 else generator.uniform(target_g - 15.0, target_g + 20.0)
    several = SeveralEncoders(list(encoders.values()))
    policies: list[RecordingPolicy] = []

    def make_policy(world: PouringWorld) -> Policy:
        operator = ScriptedOperator(seed, lambda: world.poured_mass_g, target_g, stop_g, slip_probability=0.05)
        policies.append(RecordingPolicy(operator))
        return policies[0]

    trace = simulate_pour(seed, make_policy, touch or RenderedTouch(seed, several), task_parameters=task)
    if trace.limit_violations:
        raise ConfigurationError(f'the operator broke a motion limit of the arm: {trace.limit_violations[0]}',
                                 'Give the recipe a task within the limits')
    recorded, = policies
    operator = recorded.operator
    sizes = several.sizes or [recorded.observations[0].embeddings[SENSORS[0]].size]
    ends = np.cumsum([0, *sizes])
    embeddings = np.stack([[observation.embeddings[sensor] for sensor in SENSORS]
                           for observation in recorded.observations]).astype(np.float32)
    reference = recorded.reference
    references = np.stack([[reference.upright[sensor], reference.tilted[sensor]] for sensor in SENSORS])
    return {
        name: Demonstration(seed, embeddings[..., first:last], references[..., first:last].astype(np.float32),
                            np.stack(recorded.contexts), np.array(operator.labels, np.int64),
                            np.array(operator.masses_g, np.float32), trace.final_mass_g)
        for name, first, last in zip(encoders, ends[:-1], ends[1:], strict=True)}


class OracleTouch:
    """Stands in for renderer and encoder: the true motion of the gels with noise, mixed into a vector of unit length.

    Args:
        seed: Seed of the noise.
        noise: Standard deviation of every motion quantity, relative to its typical size.
    """

    def __init__(self, seed: int, noise: float = 0.01):
        self._generator, self._noise = np.random.default_rng([seed, 4]), noise
        self._mixing = np.random.default_rng(0).normal(0.0, 0.1, (len(MOTION_QUANTITIES), 16))
        self._offset = np.random.default_rng(1).normal(0.0, 1.0, 16)

    def __call__(self, world: PouringWorld, stamp_ns: int) -> Mapping[str, np.ndarray]:
        """Embeddings float32 [16] by sensor."""
        embeddings = {}
        for sensor in SENSORS:
            values = np.array(motion_values(world.contact(sensor))) / (0.2, 0.2, 3.0)
            mixed = self._offset + (values + self._generator.normal(0.0, self._noise, 3)) @ self._mixing
            embeddings[sensor] = (mixed / math.sqrt(np.sum(mixed ** 2))).astype(np.float32)
        return embeddings
