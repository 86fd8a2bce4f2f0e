"""Kinematics of the xArm 6: where the tool is, and which joints put it there.

Source: the vendor's modified Denavit-Hartenberg table of the xArm 6; joint limits of its user manual. At zero the
flange is at (207, 0, 112) mm, roll 180 degrees.
"""

from __future__ import annotations

import math

import numpy as np

from visuotactile_ros.errors import ArmError

AXES = 6
_OFFSET_RAD = math.radians(79.34995)
# One row a joint: distance d along z, twist alpha and length a of the link before it, zero of the angle.
_LINKS = (
    (267.0, 0.0, 0.0, 0.0),
    (0.0, -math.pi / 2, 0.0, -_OFFSET_RAD),
    (0.0, 0.0, 289.48866, _OFFSET_RAD),
    (342.5, -math.pi / 2, 77.5, 0.0),
    (0.0, math.pi / 2, 0.0, 0.0),
    (97.0, -math.pi / 2, 76.0, 0.0),
)
# The narrower of the two ranges the vendor has shipped, so that a pose is reachable on every xArm 6.
JOINT_LIMITS_RAD = np.radians([(-360.0, 360.0), (-117.0, 116.0), (-219.0, 10.0), (-360.0, 360.0), (-97.0, 180.0),
                               (-360.0, 360.0)])


def rotation_from_roll_pitch_yaw(roll_rad: float, pitch_rad: float, yaw_rad: float) -> np.ndarray:
    """Rotation matrix [3, 3] of Rz(yaw) · Ry(pitch) · Rx(roll), the vendor's convention."""
    cr, sr, cp, sp = math.cos(roll_rad), math.sin(roll_rad), math.cos(pitch_rad), math.sin(pitch_rad)
    cy, sy = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.array([[cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                     [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                     [-sp, cp * sr, cp * cr]])


def roll_pitch_yaw_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Roll, pitch, yaw in radians of a rotation matrix; yaw is 0 where pitch is ±90 degrees."""
    pitch = math.atan2(-rotation[2, 0], math.hypot(rotation[0, 0], rotation[1, 0]))
    if abs(math.cos(pitch)) < 1e-9:
        return np.array([math.copysign(1.0, pitch) * math.atan2(rotation[0, 1], rotation[1, 1]), pitch, 0.0])
    return np.array([math.atan2(rotation[2, 1], rotation[2, 2]), pitch, math.atan2(rotation[1, 0], rotation[0, 0])])


def rotation_from_vector(vector_rad: np.ndarray) -> np.ndarray:
    """Rotation matrix [3, 3] of an axis-angle vector [3] in radians (Rodrigues)."""
    angle = math.sqrt(float(vector_rad @ vector_rad))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = vector_rad / angle
    sine, versine = math.sin(angle), 1.0 - math.cos(angle)
    return np.array([[1 - versine * (y * y + z * z), versine * x * y - sine * z, versine * x * z + sine * y],
                     [versine * x * y + sine * z, 1 - versine * (x * x + z * z), versine * y * z - sine * x],
                     [versine * x * z - sine * y, versine * y * z + sine * x, 1 - versine * (x * x + y * y)]])


def vector_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Axis-angle vector [3] in radians, length 0..pi, of a rotation matrix."""
    skew = np.array([rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0], rotation[1, 0] - rotation[0, 1]])
    sine, cosine = 0.5 * math.sqrt(float(skew @ skew)), 0.5 * (float(np.trace(rotation)) - 1.0)
    angle = math.atan2(sine, cosine)
    if sine > 1e-6:
        return skew * (angle / (2.0 * sine))
    if cosine > 0.0:
        return 0.5 * skew
    # Half a turn: the skew part vanishes, the axis is the dominant column of the symmetric part.
    symmetric = 0.5 * (rotation + np.eye(3))
    column = symmetric[:, int(np.argmax(np.diag(symmetric)))]
    return column * (angle / math.sqrt(float(column @ column)))


def matrix_from_pose(pose_mm_rad: np.ndarray) -> np.ndarray:
    """Homogeneous matrix [4, 4] of a pose (x, y, z in mm; roll, pitch, yaw in radians)."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_from_roll_pitch_yaw(*pose_mm_rad[3:6])
    matrix[:3, 3] = pose_mm_rad[:3]
    return matrix


def pose_from_matrix(matrix: np.ndarray) -> np.ndarray:
    """Pose (x, y, z in mm; roll, pitch, yaw in radians) of a homogeneous matrix [4, 4]."""
    return np.concatenate([matrix[:3, 3], roll_pitch_yaw_from_rotation(matrix[:3, :3])])


def link_frames(joints_rad: np.ndarray) -> list[np.ndarray]:
    """Frames of the six links in the base frame, each [4, 4] in mm; the last one is the flange."""
    frames, frame = [], np.eye(4)
    for (d, alpha, a, zero), joint in zip(_LINKS, joints_rad):
        cosine, sine, cosine_alpha, sine_alpha = (math.cos(joint + zero), math.sin(joint + zero), math.cos(alpha),
                                                  math.sin(alpha))
        frame = frame @ np.array([[cosine, -sine, 0.0, a],
                                  [sine * cosine_alpha, cosine * cosine_alpha, -sine_alpha, -d * sine_alpha],
                                  [sine * sine_alpha, cosine * sine_alpha, cosine_alpha, d * cosine_alpha],
                                  [0.0, 0.0, 0.0, 1.0]])
        frames.append(frame)
    return frames


def forward_kinematics(joints_rad: np.ndarray) -> np.ndarray:
    """Flange in the base frame as a homogeneous matrix [4, 4], mm."""
    return link_frames(joints_rad)[-1]


def jacobian(frames: list[np.ndarray]) -> np.ndarray:
    """Geometric Jacobian [6, 6] of the flange in the base frame: rows 0-2 mm/rad, rows 3-5 rad/rad."""
    tip = frames[-1][:3, 3]
    columns = np.empty((6, AXES))
    for index, frame in enumerate(frames):
        axis, arm = frame[:3, 2], tip - frame[:3, 3]
        columns[0, index] = axis[1] * arm[2] - axis[2] * arm[1]
        columns[1, index] = axis[2] * arm[0] - axis[0] * arm[2]
        columns[2, index] = axis[0] * arm[1] - axis[1] * arm[0]
        columns[3:, index] = axis
    return columns


def inverse_kinematics(flange: np.ndarray, seed_rad: np.ndarray, iterations: int = 200) -> np.ndarray:
    """Joint angles [6] in radians that bring the flange to `flange`, on the branch of `seed_rad`.

    Args:
        flange: Homogeneous matrix [4, 4], mm, base frame.
        seed_rad: Joint angles [6] to start from; the nearest solution is found when the pose is near.
        iterations: Steps after which the pose counts as unreachable; a straight wrist can need 80, others under ten.

    Raises:
        ArmError: No solution was found from this seed.

    Source: Levenberg-Marquardt steps on the pose error, lengths scaled by 200 mm so that millimetres and radians
    weigh alike.
    """
    scale = np.array([1 / 200.0] * 3 + [1.0] * 3)
    joints = np.array(seed_rad[:AXES], dtype=float)
    damping = 0.0
    frames = link_frames(joints)
    error = _pose_error(flange, frames[-1]) * scale
    cost = float(error @ error)
    for _ in range(iterations):
        if cost < 1e-16:
            return joints
        scaled = jacobian(frames) * scale[:, None]
        step = np.linalg.solve(scaled.T @ scaled + (damping + 1e-12) * np.eye(AXES), scaled.T @ error)
        largest = float(np.max(np.abs(step)))
        trial = joints + step * min(1.0, 0.5 / largest) if largest > 0.0 else joints
        trial_frames = link_frames(trial)
        trial_error = _pose_error(flange, trial_frames[-1]) * scale
        trial_cost = float(trial_error @ trial_error)
        if trial_cost < cost:
            joints, frames, error, cost, damping = trial, trial_frames, trial_error, trial_cost, damping * 0.1
        else:
            damping = max(damping * 10.0, 1e-6)
    if cost < 1e-12:
        return joints
    raise ArmError('the pose is outside the reach of the xArm 6', 'Choose a pose nearer to the base')


def within_joint_limits(joints_rad: np.ndarray, margin_rad: float = 0.0) -> bool:
    """Whether every joint keeps at least `margin_rad` from both of its limits."""
    joints = np.asarray(joints_rad[:AXES])
    return bool(np.all(joints >= JOINT_LIMITS_RAD[:, 0] + margin_rad)
                and np.all(joints <= JOINT_LIMITS_RAD[:, 1] - margin_rad))


def _pose_error(target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Error [6] from current to target in the base frame: mm, then radians as an axis-angle vector."""
    return np.concatenate([target[:3, 3] - current[:3, 3], vector_from_rotation(target[:3, :3] @ current[:3, :3].T)])
