"""How the tool moves when the held vessel tilts about its lip, and the tilt that a measured pose means.

The gripper holds the vessel from above: tool z points down, the fingers close along tool y, and the lip over which
the vessel pours lies on the side of tool +x. Tilting turns the tool about the horizontal axis through the lip that is
parallel to tool y, so that the lip stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from visuotactile_ros.errors import ArmError
from visuotactile_ros.robot.xarm_kinematics import (
    roll_pitch_yaw_from_rotation,
    rotation_from_roll_pitch_yaw,
    rotation_from_vector,
    vector_from_rotation,
)

_TOOL_Y = np.array([0.0, 1.0, 0.0])


def pose_at_tilt(upright_pose_mm_deg: Sequence[float], lip_in_tool_mm: Sequence[float], tilt_deg: float) -> np.ndarray:
    """Tool pose in the base frame at which the vessel is tilted by `tilt_deg` about its lip.

    Args:
        upright_pose_mm_deg: Tool pose [6] of the upright vessel: x, y, z in mm; roll, pitch, yaw in degrees.
        lip_in_tool_mm: Lip [3] in the tool frame, mm.
        tilt_deg: Tilt from upright, degrees, positive towards pouring over the lip.

    Returns:
        float64 [6]: x, y, z in mm; roll, pitch, yaw in degrees.

    Raises:
        ArmError: A number is not finite.
    """
    if not np.all(np.isfinite([*upright_pose_mm_deg, *lip_in_tool_mm, tilt_deg])):
        raise ArmError(f'the pose at a tilt of {tilt_deg} degrees is not finite',
                       'Check the pose, the lip and the tilt')
    upright = _rotation(upright_pose_mm_deg)
    tilted = upright @ rotation_from_vector(_TOOL_Y * -math.radians(tilt_deg))
    lip = np.asarray(lip_in_tool_mm, dtype=float)
    position = np.asarray(upright_pose_mm_deg[:3], dtype=float) + (upright - tilted) @ lip
    return np.concatenate([position, np.degrees(roll_pitch_yaw_from_rotation(tilted))])


def tilt_from_pose(upright_pose_mm_deg: Sequence[float], pose_mm_deg: Sequence[float]) -> float:
    """Tilt of the vessel from upright in degrees, -180..180, positive towards pouring.

    Only the rotation about tool y counts; `rotation_off_axis_deg` says how much of another rotation there is.

    Raises:
        ArmError: A number is not finite.
    """
    return -math.degrees(float(_turn(upright_pose_mm_deg, pose_mm_deg)[1]))


def rotation_off_axis_deg(upright_pose_mm_deg: Sequence[float], pose_mm_deg: Sequence[float]) -> float:
    """How far the tool is turned about anything other than the tilt axis, degrees; 0 on the pouring path.

    Raises:
        ArmError: A number is not finite.
    """
    turn = _turn(upright_pose_mm_deg, pose_mm_deg)
    return math.degrees(math.hypot(float(turn[0]), float(turn[2])))


def lip_position_mm(pose_mm_deg: Sequence[float], lip_in_tool_mm: Sequence[float]) -> np.ndarray:
    """Where the lip is in the base frame, float64 [3], mm."""
    return np.asarray(pose_mm_deg[:3], dtype=float) + _rotation(pose_mm_deg) @ np.asarray(lip_in_tool_mm, dtype=float)


def lip_distance_mm(lip_in_tool_mm: Sequence[float]) -> float:
    """Distance of the tool centre point from the tilt axis, mm: one radian of tilt moves it by as much."""
    return math.hypot(lip_in_tool_mm[0], lip_in_tool_mm[2])


def _rotation(pose_mm_deg: Sequence[float]) -> np.ndarray:
    return rotation_from_roll_pitch_yaw(*np.radians(np.asarray(pose_mm_deg[3:6], dtype=float)))


def _turn(upright_pose_mm_deg: Sequence[float], pose_mm_deg: Sequence[float]) -> np.ndarray:
    """Rotation from upright to the pose, as an axis-angle vector [3] in the tool frame, radians."""
    if not np.all(np.isfinite([*upright_pose_mm_deg, *pose_mm_deg])):
        raise ArmError('a pose of the arm is not finite', 'Check the arm and arm it again')
    return vector_from_rotation(_rotation(upright_pose_mm_deg).T @ _rotation(pose_mm_deg))
