"""MotionLimits: measured state + command → allowed command, or what it breaks; pure, so a benchmark holds them too."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from visuotactile_ros.errors import ArmError
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.robot.vessel_geometry import lip_position_mm, pose_at_tilt, rotation_off_axis_deg, tilt_from_pose

# A pose reads back through float32 radians; a step that is over its limit by less than this is rounding.
ROUNDING_DEG = 1e-6


class MotionLimitError(ArmError):
    """A command that breaks a limit; nothing was written, and the arm is healthy."""


@dataclass(frozen=True)
class MotionLimits:
    """The limits of a pour: what a step, a tilt and a pose may be.

    `*_violations` return every broken limit as text (empty when allowed), for counting; `allow_*` raise the first one.

    Attributes:
        parameters: Where every number comes from.
    """

    parameters: ArmParameters

    def step_violations(self, measured_tilt_deg: float, step_deg: float, seconds_since_last_step: float,
                        forward_travel_deg: float = 0.0) -> tuple[str, ...]:
        """Limits that a tilt step would break.

        Args:
            measured_tilt_deg: Tilt measured just now, degrees.
            step_deg: Step asked for, degrees, positive towards pouring.
            seconds_since_last_step: Time since the step before; `math.inf` for the first one.
            forward_travel_deg: Sum of all forward steps since the vessel was upright, without this one.
        """
        p = self.parameters
        if not math.isfinite(measured_tilt_deg) or not math.isfinite(step_deg) or math.isnan(seconds_since_last_step):
            return (f'the step {step_deg} from the tilt {measured_tilt_deg} degrees is not finite',)
        broken = []
        if abs(step_deg) > p.step_limit_deg + ROUNDING_DEG:
            broken.append(f'the step of {step_deg:.3f} degrees is over the limit of {p.step_limit_deg} degrees')
        if abs(step_deg) > p.rate_limit_deg_s * max(seconds_since_last_step, 0.0) + ROUNDING_DEG:
            broken.append(f'the step of {step_deg:.3f} degrees {seconds_since_last_step:.3f} s after the last one is '
                          f'over the limit of {p.rate_limit_deg_s} degrees per second')
        if max(step_deg, 0.0) + forward_travel_deg > p.forward_travel_limit_deg + ROUNDING_DEG:
            broken.append(f'the forward steps add up to {forward_travel_deg + step_deg:.2f} degrees, over the budget '
                          f'of {p.forward_travel_limit_deg} degrees')
        return (*broken, *self.tilt_violations(measured_tilt_deg + step_deg, towards=step_deg))

    def tilt_violations(self, tilt_deg: float, towards: float = 0.0) -> tuple[str, ...]:
        """Limits that a tilt breaks.

        Args:
            tilt_deg: Tilt, degrees.
            towards: Sign of the motion that leads there; a step back into the range is allowed from outside it.
        """
        p = self.parameters
        if not math.isfinite(tilt_deg):
            return (f'the tilt {tilt_deg} degrees is not finite',)
        if (tilt_deg > p.maximum_tilt_deg + ROUNDING_DEG and towards >= 0.0) \
                or (tilt_deg < p.minimum_tilt_deg - ROUNDING_DEG and towards <= 0.0):
            return (f'the tilt of {tilt_deg:.2f} degrees is outside {p.minimum_tilt_deg} to {p.maximum_tilt_deg} '
                    'degrees',)
        return ()

    def pose_violations(self, pose_mm_deg: Sequence[float]) -> tuple[str, ...]:
        """Limits that a tool pose [6] in the base frame (mm, degrees) breaks: the box that the tool never leaves."""
        if len(pose_mm_deg) != 6 or not all(math.isfinite(number) for number in pose_mm_deg):
            return ('the pose of the tool is not finite',)
        box = self.parameters.tcp_box_mm
        return tuple(f'the tool at {axis} = {value:.1f} mm is outside {low} to {high} mm'
                     for axis, value, low, high in zip('xyz', pose_mm_deg, box[::2], box[1::2])
                     if not low <= value <= high)

    def path_violations(self, pose_mm_deg: Sequence[float]) -> tuple[str, ...]:
        """Limits that a measured pose [6] (mm, degrees) breaks: the box, the tilt axis and the place of the lip."""
        p = self.parameters
        broken = list(self.pose_violations(pose_mm_deg))
        if len(pose_mm_deg) != 6 or not all(math.isfinite(number) for number in pose_mm_deg):
            return tuple(broken)
        off_axis = rotation_off_axis_deg(p.upright_pose_mm_deg, pose_mm_deg)
        if off_axis > p.off_axis_limit_deg:
            broken.append(f'the tool is turned {off_axis:.1f} degrees off the tilt axis, over {p.off_axis_limit_deg} '
                          'degrees')
        wanted = lip_position_mm(p.upright_pose_mm_deg, p.lip_in_tool_mm)
        drift = math.dist(wanted, lip_position_mm(pose_mm_deg, p.lip_in_tool_mm))
        if drift > p.lip_drift_limit_mm:
            broken.append(f'the lip is {drift:.1f} mm from its place, over {p.lip_drift_limit_mm} mm')
        return tuple(broken)

    def allow_step(self, pose_mm_deg: Sequence[float], step_deg: float, seconds_since_last_step: float,
                   forward_travel_deg: float = 0.0) -> tuple[float, list[float]]:
        """Turn a step into the target it means.

        Args:
            pose_mm_deg: Tool pose [6] measured just now, mm and degrees.
            step_deg: As in `step_violations`.
            seconds_since_last_step: As in `step_violations`.
            forward_travel_deg: As in `step_violations`.

        Returns:
            Target tilt in degrees and target pose [6], mm and degrees.

        Raises:
            MotionLimitError: A limit would be broken; nothing may be written.
        """
        _refuse(self.path_violations(pose_mm_deg))
        measured_tilt_deg = tilt_from_pose(self.parameters.upright_pose_mm_deg, pose_mm_deg)
        _refuse(self.step_violations(measured_tilt_deg, step_deg, seconds_since_last_step, forward_travel_deg))
        return self.allow_tilt(measured_tilt_deg + step_deg, towards=step_deg)

    def allow_tilt(self, tilt_deg: float, towards: float = 0.0) -> tuple[float, list[float]]:
        """Turn a tilt into its pose: tilt in degrees and pose [6] in mm and degrees.

        Raises:
            MotionLimitError: The tilt or its pose is outside the limits.
        """
        _refuse(self.tilt_violations(tilt_deg, towards))
        pose = [float(number) for number in pose_at_tilt(self.parameters.upright_pose_mm_deg,
                                                         self.parameters.lip_in_tool_mm, tilt_deg)]
        _refuse(self.pose_violations(pose))
        return tilt_deg, pose


def _refuse(violations: Sequence[str]) -> None:
    if violations:
        raise MotionLimitError(violations[0], 'Nothing was written; check the policy and the settings of the arm')
