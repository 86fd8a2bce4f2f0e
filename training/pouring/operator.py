"""ScriptedOperator: a person at a keyboard who sees the scale, a moment late, and teaches the policy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from visuotactile_ros.policy.observation import PouringObservation
from visuotactile_ros.policy.pouring_policy import ACTIONS, LONGEST_PAUSE, GripReference, PouringDecision
from visuotactile_ros.policy.torque_weight_controller import choose_by_missing_mass

_FLOW_WINDOW_S = 0.6


class ScriptedOperator:
    """Pours steadily, slows down near the target, and retracts in anticipation of what is still to come.

    The reaction delay of a person to a seen event is about 0.25 s; it is drawn once an episode and jitters.

    Args:
        seed: Seed of the delays.
        read_scale_g: Gives the scale's present reading, grams.
        target_mass_g: Mass to pour, grams.
        disturbed_target_mass_g: Mass at which the hand really stops, grams; None is the target. The labels stay those
            of the target, so that a demonstration also shows what to do before and after the right moment.
        slip_probability: Probability that the hand presses another key than the one meant.

    Attributes:
        labels: What the operator meant to do, one index into ACTIONS a decision.
        masses_g: True scale reading at each decision, grams.
    """

    def __init__(self, seed: int, read_scale_g: Callable[[], float], target_mass_g: float,
                 disturbed_target_mass_g: float | None = None, slip_probability: float = 0.0):
        self._generator = np.random.default_rng([seed, 2])
        self._read_scale_g, self._target_mass_g = read_scale_g, target_mass_g
        self._stop_mass_g = target_mass_g if disturbed_target_mass_g is None else disturbed_target_mass_g
        self._slip_probability = slip_probability
        self._delay_s = self._generator.uniform(0.2, 0.3)
        self.labels: list[int] = []
        self.masses_g: list[float] = []
        self._times_s: list[float] = []
        self._since_pour = LONGEST_PAUSE

    def reset(self, reference: GripReference) -> None:
        """Start an episode."""

    def decide(self, observation: PouringObservation) -> PouringDecision:
        """Look at the scale and press a key."""
        self._times_s.append(observation.stamp_ns * 1e-9)
        self.masses_g.append(self._read_scale_g())
        expected_g = self._expected_mass_g()
        self.labels.append(self._choose(self._target_mass_g, expected_g))
        pressed = self._choose(self._stop_mass_g, expected_g)
        if pressed != ACTIONS.index('retract') and self._generator.random() < self._slip_probability:
            pressed = int(self._generator.integers(2))
        self._since_pour = 0 if ACTIONS[pressed] == 'pour' else min(self._since_pour + 1, LONGEST_PAUSE)
        return PouringDecision(ACTIONS[pressed], np.eye(len(ACTIONS), dtype=np.float32)[pressed], math.nan)

    def _expected_mass_g(self) -> float:
        """Reading seen a reaction time ago, carried on to now by the flow seen then."""
        delay_s = self._delay_s + self._generator.normal(0.0, 0.02)
        seen_s = self._times_s[-1] - delay_s
        seen_g = float(np.interp(seen_s, self._times_s, self.masses_g))
        earlier_g = float(np.interp(seen_s - _FLOW_WINDOW_S, self._times_s, self.masses_g))
        return seen_g + (seen_g - earlier_g) / _FLOW_WINDOW_S * delay_s

    def _choose(self, stop_mass_g: float, expected_g: float) -> int:
        return ACTIONS.index(choose_by_missing_mass(stop_mass_g - expected_g, self._since_pour))
