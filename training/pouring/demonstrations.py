"""Demonstrations: what the fingers felt, what the operator did and what the scale said; embeddings, not images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.pouring.operator import ScriptedOperator
from training.pouring.policy_network import CONTACT_QUANTITIES
from training.pouring.simulated_episode import Encode, PourTrace, RenderedTouch, Touch, simulate_pour
from visuotactile_ros.frame import Frame
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.observation import SENSORS, PouringObservation
from visuotactile_ros.policy.pouring_policy import LONGEST_PAUSE, GripReference, Policy, PouringDecision, policy_context
from visuotactile_ros.simulation.world import PouringWorld

UNLABELLED = -100
"""Label of a decision that nobody labelled; torch leaves it out of the cross-entropy."""


@dataclass(frozen=True, eq=False)
class Demonstration:
    """One episode as one encoder felt it; T decisions in the pour.

    Attributes:
        seed: Seed of the episode.
        embeddings: float32 [T, 2, D], left and right.
        references: float32 [2, 2, D]: finger, then upright and tilted.
        context: float32 [T, 5], see `policy_context`.
        labels: int64 [T], what the operator meant to do, index into ACTIONS, or UNLABELLED.
        masses_g: float32 [T], poured mass on the scale, grams.
        contacts: float32 [T, 2, 4], CONTACT_QUANTITIES of both fingers, known to the simulation only.
        final_mass_g: Poured mass in the end, grams.
    """

    seed: int
    embeddings: np.ndarray
    references: np.ndarray
    context: np.ndarray
    labels: np.ndarray
    masses_g: np.ndarray
    contacts: np.ndarray
    final_mass_g: float


class RecordingPolicy:
    """Passes on what another policy decides and keeps everything a demonstration needs.

    Args:
        world: World of the episode, for the contact behind each embedding.
        operator: Whose labels are kept; it decides, unless `driver` does.
        driver: What decides instead, if given.
    """

    def __init__(self, world: PouringWorld, operator: ScriptedOperator, driver: Policy | None = None):
        self._world, self._operator, self._driver = world, operator, driver
        self.observations: list[PouringObservation] = []
        self.contexts: list[np.ndarray] = []
        self.contacts: list[np.ndarray] = []
        self.reference: GripReference | None = None
        self._since_pour = LONGEST_PAUSE

    def reset(self, reference: GripReference) -> None:
        """Start an episode."""
        self.reference = reference
        self._operator.reset(reference)
        if self._driver is not None:
            self._driver.reset(reference)

    def decide(self, observation: PouringObservation) -> PouringDecision:
        """Record and decide."""
        self.observations.append(observation)
        self.contexts.append(policy_context(observation.tilt_deg, self.reference.tilted_deg, self._since_pour)[0])
        contacts = [self._world.contact(sensor) for sensor in SENSORS]
        self.contacts.append(np.array([[*contact.shear_mm, contact.twist_deg, contact.normal_force_n]
                                       for contact in contacts], np.float32))
        if self._driver is None:
            decision = self._operator.decide(observation)
        else:
            self._operator.label(observation, self._since_pour)
            decision = self._driver.decide(observation)
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


def record_demonstration(seed: int, encoders: Mapping[str, Encode],
                         driver: Callable[[], tuple[str, Policy]] | None = None,
                         touch: Touch | None = None) -> tuple[dict[str, Demonstration], PourTrace]:
    """Record one episode, rendered once and felt by every encoder.

    Half of the operator's demonstrations stop at a wrong mass and a few keys are pressed wrongly, while the labels stay
    right: what the operator does after a mistake must be shown too (Laskey et al., DART, 2017).

    Args:
        seed: Seed of world, sensors and operator.
        encoders: Encoders by name.
        driver: Gives (encoder name, policy) that decides while the operator only labels (Ross et al., DAgger, 2011);
            None lets the operator decide.
        touch: Replaces rendering and encoding, with one encoder named in `encoders`.

    Returns:
        The demonstration of every encoder, and what happened.
    """
    target_g = PouringTaskParameters().target_mass_g
    generator = np.random.default_rng([seed, 3])
    stop_g = target_g if generator.random() < 0.5 else generator.uniform(target_g - 15.0, target_g + 20.0)
    several = SeveralEncoders(list(encoders.values()))
    policies: list[RecordingPolicy] = []
    operators: list[ScriptedOperator] = []

    def make_policy(world: PouringWorld) -> Policy:
        operators.append(ScriptedOperator(seed, lambda: world.poured_mass_g, target_g, stop_g, slip_probability=0.05))
        chosen = None
        if driver is not None:
            name, policy = driver()
            chosen = _OneEncoder(policy, several, list(encoders).index(name))
        policies.append(RecordingPolicy(world, operators[0], chosen))
        return policies[0]

    trace = simulate_pour(seed, make_policy, touch or RenderedTouch(seed, several))
    recorded, operator = policies[0], operators[0]
    sizes = several.sizes or [recorded.observations[0].embeddings[SENSORS[0]].size]
    ends = np.cumsum([0, *sizes])
    embeddings = np.stack([[observation.embeddings[sensor] for sensor in SENSORS]
                           for observation in recorded.observations]).astype(np.float32)
    reference = recorded.reference
    references = np.stack([[reference.upright[sensor], reference.tilted[sensor]] for sensor in SENSORS])
    demonstrations = {
        name: Demonstration(seed, embeddings[..., first:last], references[..., first:last].astype(np.float32),
                            np.stack(recorded.contexts), np.array(operator.labels, np.int64),
                            np.array(operator.masses_g, np.float32), np.stack(recorded.contacts), trace.final_mass_g)
        for name, first, last in zip(encoders, ends[:-1], ends[1:], strict=True)}
    return demonstrations, trace


class _OneEncoder:
    """Gives a policy its own encoder's part of every embedding."""

    def __init__(self, policy: Policy, several: SeveralEncoders, index: int):
        self._policy, self._several, self._index = policy, several, index

    def _part(self, embeddings: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        first = sum(self._several.sizes[:self._index])
        return {sensor: values[first:first + self._several.sizes[self._index]] for sensor, values in embeddings.items()}

    def reset(self, reference: GripReference) -> None:
        self._policy.reset(GripReference(self._part(reference.upright), self._part(reference.tilted),
                                         reference.tilted_deg))

    def decide(self, observation: PouringObservation) -> PouringDecision:
        return self._policy.decide(PouringObservation(observation.stamp_ns, self._part(observation.embeddings),
                                                      observation.embedding_stamps_ns, observation.tilt_deg))


def save_demonstrations(path: Path, demonstrations: Sequence[Demonstration]) -> None:
    """Write episodes into one .npz file."""
    arrays = {}
    for index, demonstration in enumerate(demonstrations):
        for name, value in vars(demonstration).items():
            arrays[f'{index}.{name}'] = np.asarray(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **arrays)


def load_demonstrations(path: Path) -> list[Demonstration]:
    """Read what `save_demonstrations` wrote."""
    with np.load(path, allow_pickle=False) as content:
        count = 1 + max(int(name.split('.')[0]) for name in content.files)
        names = [name for name in Demonstration.__dataclass_fields__ if name not in ('seed', 'final_mass_g')]
        return [Demonstration(seed=int(content[f'{index}.seed']), final_mass_g=float(content[f'{index}.final_mass_g']),
                              **{name: content[f'{index}.{name}'] for name in names}) for index in range(count)]


class OracleTouch:
    """Stands in for renderer and encoder: the true contact with noise, mixed into a vector of unit length.

    Args:
        seed: Seed of the noise.
        noise: Standard deviation of every contact quantity, relative to its typical size.
    """

    def __init__(self, seed: int, noise: float = 0.01):
        self._generator, self._noise = np.random.default_rng([seed, 4]), noise
        self._mixing = np.random.default_rng(0).normal(0.0, 0.1, (len(CONTACT_QUANTITIES), 16))
        self._offset = np.random.default_rng(1).normal(0.0, 1.0, 16)

    def __call__(self, world: PouringWorld, stamp_ns: int) -> Mapping[str, np.ndarray]:
        """Embeddings float32 [16] by sensor."""
        embeddings = {}
        for sensor in SENSORS:
            contact = world.contact(sensor)
            values = np.array([*contact.shear_mm, contact.twist_deg, contact.normal_force_n]) / (0.2, 0.2, 3.0, 15.0)
            mixed = self._offset + (values + self._generator.normal(0.0, self._noise, 4)) @ self._mixing
            embeddings[sensor] = (mixed / math.sqrt(np.sum(mixed ** 2))).astype(np.float32)
        return embeddings
