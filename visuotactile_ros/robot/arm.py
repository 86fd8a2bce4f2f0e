"""Arm: the interface through which a policy moves the vessel, whatever arm holds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class ArmState:
    """One measured state of the arm.

    Attributes:
        stamp_ns: Wall-clock nanoseconds since the epoch at which the pose was read.
        pose_mm_deg: float64 [6], measured tool pose in the base frame: x, y, z in mm, roll, pitch, yaw in degrees.
        tilt_deg: Measured tilt of the vessel from upright, degrees, positive towards pouring.
        joint_torque_nm: float64 [7], estimated joint torques, newton metres.
        armed: Whether motion commands are accepted.
        fault: Text of the latched fault, or '' when there is none.
    """

    stamp_ns: int
    pose_mm_deg: np.ndarray
    tilt_deg: float
    joint_torque_nm: np.ndarray
    armed: bool
    fault: str


class Arm(Protocol):
    """An arm that rotates a held vessel about its lip.

    Every method that reads or moves raises ArmError. A fault of the arm latches until `arm` is called, and until then
    nothing moves. A command that breaks a limit, or before which an answer came late, is refused without a latch: the
    arm is healthy and can still retract.
    """

    def connect(self) -> None:
        """Connect, set payload and limits; the arm stays disarmed."""

    def arm(self) -> None:
        """Clear latched faults, enable motion and take the measured pose as target. Always explicit."""

    def read_state(self) -> ArmState:
        """Measure the arm now (never a cached report)."""

    def approach_tilt(self, tilt_deg: float) -> None:
        """Tilt to `tilt_deg` (at most the approach limit) at the approach speed; blocks until there."""

    def command_tilt_step(self, step_deg: float) -> None:
        """Turn the vessel by `step_deg` from the MEASURED tilt, degrees; returns without waiting."""

    def retract(self) -> None:
        """Fail-safe and normal end: return to upright at the limited rate; blocks until upright."""

    def fail_safe(self, reason: str) -> None:
        """Retract because of `reason`, stop where that is impossible, and latch the reason as a fault; never raises."""

    def grasp(self) -> None:
        """Close the gripper on the vessel; blocks until it holds."""

    def release(self) -> None:
        """Open the gripper; blocks until it is open."""

    def stop(self) -> None:
        """Stop at once on a path that no hung command can block, and latch a fault."""

    def close(self) -> None:
        """Stop motion, leave the arm disarmed and disconnect."""
