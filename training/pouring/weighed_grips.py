"""Weighed grips: a few moments of many pours, each with another vessel, gel and load, and the scale beside them.

A demonstration shows one vessel two hundred times. What a network needs to weigh a vessel it never saw is many
vessels, a few times each.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from training.pouring.demonstrations import UNLABELLED, Demonstration, SeveralEncoders
from training.pouring.simulated_episode import Encode, RenderedTouch, Touch
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.observation import SENSORS
from visuotactile_ros.policy.pouring_policy import LONGEST_PAUSE, policy_context
from visuotactile_ros.simulation.world import PouringWorld

MOMENTS = 6
_REFERENCE_FRAMES = 2
_TILT_STEP_DEG = 0.25
_LARGEST_POUR_G = 85.0


def record_weighed_grip(seed: int, encoders: Mapping[str, Encode],
                        touch: Touch | None = None) -> dict[str, Demonstration]:
    """Pour one vessel and feel it at a few random moments.

    Args:
        seed: Seed of world and sensors.
        encoders: Encoders by name.
        touch: Replaces rendering and encoding, with one encoder named in `encoders`.

    Returns:
        By encoder: a Demonstration whose decisions are the moments, in order, without labels.
    """
    generator, world = np.random.default_rng([seed, 5]), PouringWorld(seed)
    several = SeveralEncoders(list(encoders.values()))
    feel = touch or RenderedTouch(seed, several)
    world.grasp()
    period_s = 1.0 / PouringTaskParameters().policy_rate_hz

    def embeddings() -> np.ndarray:
        by_sensor = feel(world, round(world.time_s * 1e9))
        return np.stack([by_sensor[sensor] for sensor in SENSORS]).astype(np.float32)

    def reference(tilt_deg: float) -> np.ndarray:
        world.advance(2.0, tilt_deg)
        return np.mean([embeddings() for _ in range(_REFERENCE_FRAMES)], axis=0, dtype=np.float32)

    approach_deg = PouringTaskParameters().approach_tilt_deg
    references = np.stack([reference(0.0), reference(approach_deg)], axis=1)
    # Half of the moments are at a random tilt, where nothing may have flowed yet, half at a random mass.
    next_tilts_deg = sorted(generator.uniform(approach_deg, 100.0, MOMENTS // 2), reverse=True)
    next_masses_g = sorted(generator.uniform(1.0, _LARGEST_POUR_G, MOMENTS - MOMENTS // 2), reverse=True)
    felt, contexts, masses_g, contacts = [], [], [], []
    tilt_deg = approach_deg
    while (next_tilts_deg or next_masses_g) and tilt_deg < PouringTaskParameters().maximum_tilt_deg:
        tilt_deg += _TILT_STEP_DEG
        world.advance(period_s, tilt_deg)
        for waiting, value in ((next_tilts_deg, tilt_deg), (next_masses_g, world.poured_mass_g)):
            if waiting and value >= waiting[-1]:
                waiting.pop()
                felt.append(embeddings())
                contexts.append(policy_context(tilt_deg, approach_deg, LONGEST_PAUSE)[0])
                masses_g.append(world.poured_mass_g)
                states = [world.contact(sensor) for sensor in SENSORS]
                contacts.append([[*state.shear_mm, state.twist_deg, state.normal_force_n] for state in states])
    every = np.stack(felt)
    ends = np.cumsum([0, *(several.sizes or [every.shape[-1]])])
    return {name: Demonstration(seed, every[..., first:last], references[..., first:last], np.stack(contexts),
                                np.full(len(felt), UNLABELLED), np.array(masses_g, np.float32),
                                np.array(contacts, np.float32), world.poured_mass_g)
            for name, first, last in zip(encoders, ends[:-1], ends[1:], strict=True)}
