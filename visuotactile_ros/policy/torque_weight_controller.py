"""TorqueWeightController: pours by the weight that the wrist joint feels; no learning and no touch, for comparison."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from visuotactile_ros.policy.observation import PouringObservation
from visuotactile_ros.policy.pouring_policy import ACTIONS, LONGEST_PAUSE, GripReference, PouringDecision

GRAVITY_M_S2 = 9.81
_READINGS = 20
_SMOOTHING = 0.2
_SLOW_ZONE_G = 8.0
_SLOW_PAUSE = 2
_STOP_EARLY_G = 0.3


def choose_by_missing_mass(missing_g: float, since_pour: int) -> str:
    """Pour steadily, slowly near the target, and stop a little early, for something is still falling.

    Args:
        missing_g: Mass that is still to be poured, grams.
        since_pour: Decisions since the last pour.

    Returns:
        One of ACTIONS.
    """
    if missing_g <= _STOP_EARLY_G:
        return 'retract'
    return 'wait' if missing_g < _SLOW_ZONE_G and since_pour < _SLOW_PAUSE else 'pour'


class TorqueWeightController:
    """Compares the torque of the payload with that of the full vessel, both divided by their lever.

    A decision averages 20 readings (100 Hz over its period) and smooths over about a second.

    Args:
        read_torque_nm: Estimated torque of the wrist joint that carries the vessel, newton metres.
        lever_m: Horizontal distance of the vessel from that joint's axis at a tilt in degrees, metres.
        target_mass_g: Mass to pour, grams.
    """

    def __init__(self, read_torque_nm: Callable[[], float], lever_m: Callable[[float], float], target_mass_g: float):
        self._read_torque_nm, self._lever_m, self._target_mass_g = read_torque_nm, lever_m, target_mass_g
        self._full_n = self._smoothed_g = 0.0
        self._since_pour = LONGEST_PAUSE

    def reset(self, reference: GripReference) -> None:
        """Weigh the full vessel."""
        self._full_n, self._smoothed_g, self._since_pour = self._weigh_n(reference.tilted_deg), 0.0, LONGEST_PAUSE

    def decide(self, observation: PouringObservation) -> PouringDecision:
        """Weigh what is left and choose as the scripted operator does."""
        poured_g = (self._full_n - self._weigh_n(observation.tilt_deg)) / GRAVITY_M_S2 * 1e3
        self._smoothed_g += _SMOOTHING * (poured_g - self._smoothed_g)
        action = choose_by_missing_mass(self._target_mass_g - self._smoothed_g, self._since_pour)
        self._since_pour = 0 if action == 'pour' else min(self._since_pour + 1, LONGEST_PAUSE)
        return PouringDecision(action, np.eye(len(ACTIONS), dtype=np.float32)[ACTIONS.index(action)], self._smoothed_g)

    def _weigh_n(self, tilt_deg: float) -> float:
        return float(np.mean([self._read_torque_nm() for _ in range(_READINGS)])) / self._lever_m(tilt_deg)
