"""Weighed grips: a few moments of many pours, each with another vessel, gel and load, and the scale beside them.

A demonstration shows one vessel two hundred times. What a network needs to weigh a vessel it never saw is many
vessels, a few times each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.datasets.sampled_contacts import motion_values
from training.pouring.demonstrations import SeveralEncoders
from training.pouring.simulated_episode import Encode, RenderedTouch, Touch
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.observation import SENSORS
from visuotactile_ros.policy.pouring_policy import LONGEST_PAUSE, policy_context
from visuotactile_ros.simulation.world import PouringWorld

MOMENTS = 6
_REFERENCE_FRAMES = 2
_BEYOND_TARGET_G = 25.0


@dataclass(frozen=True, eq=False)
class WeighedGrip:
    """A few moments of one pour as one encoder felt it, with what scale and simulation know of them.

    Attributes:
        seed: Seed of the episode.
        embeddings: float32 [MOMENTS, 2, D], left and right, in order of time.
        references: float32 [2, 2, D]: finger, then upright and tilted.
        context: float32 [MOMENTS, 5], see `policy_context`.
        masses_g: float32 [MOMENTS], poured mass on the scale, grams.
        motions: float32 [MOMENTS, 2, 3], MOTION_QUANTITIES of both gels.
        reference_motions: float32 [2, 2, 3], the same of the references: finger, then upright and tilted.
    """

    seed: int
    embeddings: np.ndarray
    references: np.ndarray
    context: np.ndarray
    masses_g: np.ndarray
    motions: np.ndarray
    reference_motions: np.ndarray


def record_weighed_grip(seed: int, encoders: Mapping[str, Encode], task: PouringTaskParameters,
                        touch: Touch | None = None) -> dict[str, WeighedGrip]:
    """Pour one vessel and feel it at a few random moments.

    Args:
        seed: Seed of world and sensors.
        encoders: Encoders by name.
        task: How much is poured, and by which steps.
        touch: Replaces rendering and encoding, with one encoder named in `encoders`.

    Returns:
        The weighed grip of every encoder, by its name.
    """
    generator, world = np.random.default_rng([seed, 5]), PouringWorld(seed)
    several = SeveralEncoders(list(encoders.values()))
    feel = touch or RenderedTouch(seed, several)
    world.grasp()
    period_s = 1.0 / task.policy_rate_hz

    def embeddings() -> np.ndarray:
        by_sensor = feel(world, round(world.time_s * 1e9))
        return np.stack([by_sensor[sensor] for sensor in SENSORS]).astype(np.float32)

    def gel_motions() -> np.ndarray:
        return np.array([motion_values(world.contact(sensor)) for sensor in SENSORS], np.float32)

    def reference(tilt_deg: float) -> tuple[np.ndarray, np.ndarray]:
        world.advance(2.0, tilt_deg)
        frames = [embeddings() for _ in range(_REFERENCE_FRAMES)]
        return np.mean(frames, axis=0, dtype=np.float32), gel_motions()

    approach_deg = task.approach_tilt_deg
    references, reference_motions = (np.stack(both, axis=1)
                                     for both in zip(reference(0.0), reference(approach_deg), strict=True))
    # Half of the moments are at a random tilt, where nothing may have flowed yet, half at a random mass.
    next_tilts_deg = sorted(generator.uniform(approach_deg, 100.0, MOMENTS // 2), reverse=True)
    largest_g = task.target_mass_g + _BEYOND_TARGET_G
    next_masses_g = sorted(generator.uniform(1.0, largest_g, MOMENTS - MOMENTS // 2), reverse=True)
    felt, contexts, masses_g, motions = [], [], [], []
    tilt_deg = approach_deg
    while (next_tilts_deg or next_masses_g) and tilt_deg < task.maximum_tilt_deg:
        tilt_deg += task.step_deg
        world.advance(period_s, tilt_deg)
        for waiting, value in ((next_tilts_deg, tilt_deg), (next_masses_g, world.poured_mass_g)):
            if waiting and value >= waiting[-1]:
                waiting.pop()
                felt.append(embeddings())
                contexts.append(policy_context(tilt_deg, approach_deg, LONGEST_PAUSE)[0])
                masses_g.append(world.poured_mass_g)
                motions.append(gel_motions())
    every = np.stack(felt)
    ends = np.cumsum([0, *(several.sizes or [every.shape[-1]])])
    return {name: WeighedGrip(seed, _padded(every[..., first:last]), references[..., first:last],
                              _padded(np.stack(contexts)), _padded(np.array(masses_g, np.float32)),
                              _padded(np.stack(motions)), reference_motions)
            for name, first, last in zip(encoders, ends[:-1], ends[1:], strict=True)}


def _padded(values: np.ndarray) -> np.ndarray:
    """Repeat the last moment where the largest tilt came before the last mass."""
    return np.pad(values, [(0, MOMENTS - len(values))] + [(0, 0)] * (values.ndim - 1), mode='edge')
