"""How the simulated xArm 6 moves: modes, states and errors of its controller, joints of bounded speed.

Nothing here knows sockets or wall time: `advance(dt_s)` is the only clock, in ticks of 4 ms like the real controller.
Numbers follow the vendor's user manual where it gives them. Assumptions, because the vendor does not publish them: the
speed of a straight move limits its translation, and one radian of rotation counts like `ROTATION_MM_PER_RAD`; the
largest accelerations; reduced mode scales planned moves and faults streamed ones.
Longer than 300 lines, because one state machine decides over all modes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from visuotactile_ros.errors import ArmError
from visuotactile_ros.robot.xarm_kinematics import (
    AXES,
    JOINT_LIMITS_RAD,
    forward_kinematics,
    inverse_kinematics,
    matrix_from_pose,
    pose_from_matrix,
    rotation_from_vector,
    vector_from_rotation,
)

TICK_S = 0.004
ROTATION_MM_PER_RAD = 30.0
MAXIMUM_JOINT_SPEED_RAD_S = math.pi
MAXIMUM_SERVO_TCP_SPEED_MM_S = 1200.0
MAXIMUM_SERVO_STEP_MM = 10.0
VELOCITY_MODE_ACCELERATION_MM_S2 = 2000.0
VELOCITY_MODE_ACCELERATION_RAD_S2 = 20.0
# Inverse kinematics and limits are evaluated after at most this many ticks.
_TICKS_PER_CHECK = 10

MODE_POSITION, MODE_SERVO, MODE_JOINT_VELOCITY, MODE_CARTESIAN_VELOCITY = 0, 1, 4, 5
MODE_JOINT_ONLINE, MODE_CARTESIAN_ONLINE = 6, 7
STATE_MOVING, STATE_READY, STATE_PAUSED, STATE_STOPPED, STATE_RESET = 1, 2, 3, 4, 5
ERROR_KINEMATIC, ERROR_JOINT_LIMIT, ERROR_SPEED, ERROR_BOUNDARY, ERROR_LINEAR_SPEED = 21, 23, 24, 35, 60
# Joint angles at which the tool, 244 mm long, holds the vessel upright at (400, 0, 250) mm with yaw 90 degrees.
HOME_JOINTS_DEG = (0.0, -15.6732233, -67.3991133, 0.0, 83.0723366, -90.0)


@dataclass
class ControllerLimits:
    """Registers of the controller that bound its motion; lengths in mm, angles in radians."""

    reduced: bool = False
    fence: bool = False
    rebound: bool = False
    boundary_mm: list[int] = field(default_factory=lambda: [9999, -9999, 9999, -9999, 9999, -9999])
    reduced_tcp_speed_mm_s: float = 250.0
    reduced_joint_speed_rad_s: float = math.pi
    reduced_joint_range_rad: list[float] = field(
        default_factory=lambda: [float(v) for v in JOINT_LIMITS_RAD.reshape(-1)] + [-2 * math.pi, 2 * math.pi])
    servo_speed_factor: float = 1.2


@dataclass
class _Target:
    """One motion: a tool pose, joint angles, or a velocity, and the speed and acceleration of the way there."""

    kind: str
    value: np.ndarray
    speed: float = 0.0
    acceleration: float = 0.0
    remaining_s: float = math.inf
    tool_frame: bool = False


class XArmMotion:
    """The moving part of the controller.

    Args:
        joints_deg: Joint angles [6] at the start, degrees.
    """

    def __init__(self, joints_deg: Sequence[float] = HOME_JOINTS_DEG):
        self.joints_rad = np.radians(np.asarray(joints_deg, dtype=float))
        self.joint_speed_rad_s = np.zeros(AXES)
        self.tcp_speed_mm_s = 0.0
        self.tool_offset = np.eye(4)
        self.limits = ControllerLimits()
        self.mode, self.error, self.warning = MODE_POSITION, 0, 0
        self.enabled = False
        self._base_state = STATE_STOPPED
        self._queue: deque[_Target] = deque()
        self._velocity = np.zeros(6)
        self._error_left = np.zeros(6)
        self._planned: _Target | None = None
        self._spare_s = 0.0
        self._frames()

    # What the rest of the controller sees.

    @property
    def state(self) -> int:
        """State as reported: 1 moving, 2 ready, 3 paused, 4 stopped, 5 after a system reset."""
        return STATE_MOVING if self._base_state == STATE_READY and self.moving else self._base_state

    @property
    def moving(self) -> bool:
        """Whether a motion is under way or waiting."""
        return bool(self._queue) or bool(np.any(self._velocity))

    @property
    def can_move(self) -> bool:
        """Whether a motion command would be carried out."""
        return self.enabled and self.error == 0 and self._base_state in (STATE_READY, STATE_PAUSED)

    @property
    def waiting_commands(self) -> int:
        """Motions not finished yet."""
        return len(self._queue)

    @property
    def pose_mm_rad(self) -> np.ndarray:
        """Tool pose [6] in the base frame: mm, then roll, pitch, yaw in radians."""
        return pose_from_matrix(self.tool)

    # Switching.

    def set_enabled(self, enabled: bool) -> None:
        """Switch all motors; a system reset."""
        self.enabled = enabled
        self._halt(STATE_RESET if enabled else STATE_STOPPED)

    def set_mode(self, mode: int) -> None:
        """Change the mode, which stops and resets; setting the same mode while ready changes nothing."""
        if mode != self.mode or self._base_state not in (STATE_READY, STATE_PAUSED):
            self.mode = mode
            self._halt(STATE_RESET if self.error == 0 else STATE_STOPPED)

    def set_state(self, state: int) -> None:
        """0 run, 3 pause, 4 and 6 stop. Running needs motors on and no error."""
        if state == 0 and self.enabled and self.error == 0:
            self._base_state = STATE_READY
        elif state == 3 and self._base_state == STATE_READY:
            self._base_state = STATE_PAUSED
            self._velocity[:] = 0.0
        elif state in (4, 6):
            self._halt(STATE_STOPPED)

    def clear_error(self) -> None:
        """Forget the error; a system reset."""
        if self.error != 0:
            self.error = 0
            self._halt(STATE_RESET if self.enabled else STATE_STOPPED)

    def raise_error(self, code: int) -> None:
        """Stop with an error: state 4, mode 0, targets dropped; C1 to C3 switch the motors off too."""
        self.error, self.mode = code, MODE_POSITION
        if code in (1, 2, 3):
            self.enabled = False
        self._halt(STATE_STOPPED)

    def reset_system(self) -> None:
        """What changing tool offset or payload does: stop, and wait for set_state(0)."""
        if self._base_state in (STATE_READY, STATE_PAUSED):
            self._halt(STATE_RESET)

    def set_tool_offset(self, offset_mm_rad: Sequence[float]) -> None:
        """Set the tool centre point [6] from the flange; a system reset."""
        self.tool_offset = matrix_from_pose(np.asarray(offset_mm_rad, dtype=float))
        self._frames()
        self.reset_system()

    # Motion commands: taken only in the mode they belong to, silently ignored otherwise, like the real controller.

    def move_tool(self, target: np.ndarray, speed_mm_s: float, acceleration_mm_s2: float) -> None:
        """Straight move of the tool to `target` [4, 4]: queued in mode 0, replaces the last one in mode 7."""
        self._plan(_Target('tool', target, speed_mm_s, acceleration_mm_s2), MODE_CARTESIAN_ONLINE)

    def move_joints(self, target_rad: np.ndarray, speed_rad_s: float, acceleration_rad_s2: float) -> None:
        """Joint move to `target_rad` [6]: queued in mode 0, replaces the last one in mode 6."""
        self._plan(_Target('joints', target_rad, speed_rad_s, acceleration_rad_s2), MODE_JOINT_ONLINE)

    def servo_tool(self, target: np.ndarray) -> None:
        """Jump towards the tool pose [4, 4] at up to 180 degrees a second; mode 1, newest wins, 10 mm at most."""
        if self._accepts(MODE_SERVO, target) and math.dist(target[:3, 3], self.tool[:3, 3]) <= MAXIMUM_SERVO_STEP_MM:
            try:
                flange = target @ np.linalg.inv(self.tool_offset)
                self._replace(_Target('servo', inverse_kinematics(flange, self.joints_rad)))
            except ArmError:
                self.raise_error(ERROR_KINEMATIC)

    def servo_joints(self, target_rad: np.ndarray) -> None:
        """Jump towards joint angles [6] at up to 180 degrees a second; mode 1, newest wins."""
        if self._accepts(MODE_SERVO, target_rad):
            self._replace(_Target('servo', target_rad))

    def set_tool_velocity(self, velocity: np.ndarray, tool_frame: bool, duration_s: float) -> None:
        """Velocity [6] of the tool in mm/s and rad/s for `duration_s`; mode 5, newest wins."""
        if self._accepts(MODE_CARTESIAN_VELOCITY, velocity):
            self._replace(_Target('tool_velocity', velocity, remaining_s=duration_s, tool_frame=tool_frame))

    def set_joint_velocity(self, velocity_rad_s: np.ndarray, duration_s: float) -> None:
        """Velocity [6] of the joints in rad/s for `duration_s`; mode 4, newest wins."""
        if self._accepts(MODE_JOINT_VELOCITY, velocity_rad_s):
            self._replace(_Target('joint_velocity', velocity_rad_s, remaining_s=duration_s))

    def advance(self, dt_s: float) -> None:
        """Move on by `dt_s` seconds, in whole ticks; the rest is kept for the next call."""
        self._spare_s += dt_s
        if self._base_state != STATE_READY or not self.moving:
            self._spare_s = 0.0
            self._rest()
            return
        while self._spare_s >= TICK_S and self._base_state == STATE_READY and self.moving:
            ticks = min(int(self._spare_s / TICK_S), _TICKS_PER_CHECK)
            self._spare_s -= ticks * TICK_S
            self._advance_ticks(ticks)
        if not self.moving:
            self._spare_s = 0.0
            self._rest()

    # Inside.

    def _frames(self) -> None:
        self.tool = forward_kinematics(self.joints_rad) @ self.tool_offset

    def _halt(self, state: int) -> None:
        self._base_state = state
        self._queue.clear()
        self._planned = None
        self._velocity[:] = 0.0
        self._rest()

    def _rest(self) -> None:
        self.joint_speed_rad_s, self.tcp_speed_mm_s = np.zeros(AXES), 0.0

    def _accepts(self, mode: int, numbers: np.ndarray) -> bool:
        if not self.can_move or self.mode != mode:
            return False
        if not np.all(np.isfinite(numbers)):
            self.raise_error(ERROR_KINEMATIC)
            return False
        return True

    def _plan(self, target: _Target, online_mode: int) -> None:
        if self.mode == online_mode and self._accepts(online_mode, target.value):
            self._replace(target)
        elif self._accepts(MODE_POSITION, target.value):
            self._queue.append(target)

    def _replace(self, target: _Target) -> None:
        if self._queue and self._queue[0].kind != target.kind:
            self._velocity[:] = 0.0
        self._queue.clear()
        self._queue.append(target)

    def _advance_ticks(self, ticks: int) -> None:
        dt_s, before_joints, before_tool = ticks * TICK_S, self.joints_rad, self.tool
        target = self._queue[0]
        step: Callable[[_Target], None] = {'tool': self._tick_planned, 'joints': self._tick_planned,
                                           'servo': self._tick_servo, 'tool_velocity': self._tick_tool_velocity,
                                           'joint_velocity': self._tick_joint_velocity}[target.kind]
        self.joints_rad, self.tool = self.joints_rad.copy(), self.tool.copy()
        if target is not self._planned and step == self._tick_planned:
            self._begin(target)
        for _ in range(ticks):
            if not self._queue or self._queue[0] is not target:
                break
            step(target)
        try:
            if target.kind in ('tool', 'tool_velocity'):
                if target.kind == 'tool':
                    self._place_on_way(target)
                self.joints_rad = inverse_kinematics(self.tool @ np.linalg.inv(self.tool_offset), before_joints)
            else:
                if target.kind == 'joints':
                    self.joints_rad = target.value - self._error_left
                self._frames()
        except ArmError:
            self.joints_rad, self.tool = before_joints, before_tool
            self.raise_error(ERROR_KINEMATIC)
            return
        self.joint_speed_rad_s = (self.joints_rad - before_joints) / dt_s
        self.tcp_speed_mm_s = math.dist(before_tool[:3, 3], self.tool[:3, 3]) / dt_s
        code = self._broken_limit(target)
        if code != 0:
            self.joints_rad, self.tool = before_joints, before_tool
            self.raise_error(code)

    def _begin(self, target: _Target) -> None:
        self._planned = target
        if target.kind == 'tool':
            turn = vector_from_rotation(target.value[:3, :3] @ self.tool[:3, :3].T)
            self._error_left = np.concatenate([target.value[:3, 3] - self.tool[:3, 3], turn])
        else:
            self._error_left = target.value - self.joints_rad

    def _length(self, kind: str, vector: np.ndarray) -> float:
        if kind == 'joints':
            return float(np.max(np.abs(vector)))
        return max(math.sqrt(float(vector[:3] @ vector[:3])),
                   ROTATION_MM_PER_RAD * math.sqrt(float(vector[3:] @ vector[3:])))

    def _tick_planned(self, target: _Target) -> None:
        """One tick towards the target: accelerate, cruise, brake so as to arrive at rest."""
        speed = target.speed
        if self.limits.reduced:
            speed = min(speed, self.limits.reduced_tcp_speed_mm_s if target.kind == 'tool'
                        else self.limits.reduced_joint_speed_rad_s)
        left = self._length(target.kind, self._error_left)
        change_limit = target.acceleration * TICK_S
        if left <= change_limit * TICK_S and self._length(target.kind, self._velocity) <= 2.0 * change_limit:
            self._error_left[:] = 0.0
            self._velocity[:] = 0.0
            self._queue.popleft()
            self._planned = None
            return
        wanted = self._error_left * (min(speed, math.sqrt(1.6 * target.acceleration * left), left / TICK_S) / left)
        change = wanted - self._velocity
        size = self._length(target.kind, change)
        self._velocity = wanted if size <= change_limit else self._velocity + change * (change_limit / size)
        self._error_left = self._error_left - self._velocity * TICK_S

    def _place_on_way(self, target: _Target) -> None:
        self.tool[:3, 3] = target.value[:3, 3] - self._error_left[:3]
        self.tool[:3, :3] = rotation_from_vector(-self._error_left[3:]) @ target.value[:3, :3]

    def _tick_servo(self, target: _Target) -> None:
        limit = MAXIMUM_JOINT_SPEED_RAD_S * TICK_S
        self.joints_rad += np.clip(target.value - self.joints_rad, -limit, limit)
        if np.array_equal(self.joints_rad, target.value):
            self._queue.popleft()

    def _tick_tool_velocity(self, target: _Target) -> None:
        rotation = self.tool[:3, :3]
        wanted = np.zeros(6) if target.remaining_s <= 0.0 else target.value
        if target.tool_frame:
            wanted = np.concatenate([rotation @ wanted[:3], rotation @ wanted[3:]])
        limit = np.array([VELOCITY_MODE_ACCELERATION_MM_S2] * 3 + [VELOCITY_MODE_ACCELERATION_RAD_S2] * 3) * TICK_S
        self._velocity = self._velocity + np.clip(wanted - self._velocity, -limit, limit)
        self.tool[:3, 3] += self._velocity[:3] * TICK_S
        self.tool[:3, :3] = rotation_from_vector(self._velocity[3:] * TICK_S) @ rotation
        self._spend(target)

    def _tick_joint_velocity(self, target: _Target) -> None:
        wanted = np.zeros(6) if target.remaining_s <= 0.0 else target.value
        limit = VELOCITY_MODE_ACCELERATION_RAD_S2 * TICK_S
        self._velocity = self._velocity + np.clip(wanted - self._velocity, -limit, limit)
        self.joints_rad += self._velocity * TICK_S
        self._spend(target)

    def _spend(self, target: _Target) -> None:
        target.remaining_s -= TICK_S
        if not np.any(self._velocity) and (target.remaining_s <= 0.0 or not np.any(target.value)):
            self._queue.popleft()

    def _broken_limit(self, target: _Target) -> int:
        """Error code of the first limit that the new pose breaks, or 0."""
        limits, joint_speed = self.limits, float(np.max(np.abs(self.joint_speed_rad_s)))
        ranges = JOINT_LIMITS_RAD
        if limits.reduced:
            ranges = np.array(limits.reduced_joint_range_rad[:2 * AXES]).reshape(AXES, 2)
        tolerance = math.radians(0.1)
        if np.any(self.joints_rad < ranges[:, 0] - tolerance) or np.any(self.joints_rad > ranges[:, 1] + tolerance):
            return ERROR_JOINT_LIMIT
        if joint_speed > MAXIMUM_JOINT_SPEED_RAD_S * 1.05:
            return ERROR_SPEED
        streamed = target.kind in ('servo', 'tool_velocity', 'joint_velocity')
        if streamed and self.tcp_speed_mm_s > min(MAXIMUM_SERVO_TCP_SPEED_MM_S, 1000.0 * limits.servo_speed_factor,
                                             limits.reduced_tcp_speed_mm_s if limits.reduced else math.inf):
            return ERROR_LINEAR_SPEED
        high, low = limits.boundary_mm[::2], limits.boundary_mm[1::2]
        if limits.fence and any(
                not lowest <= value <= highest for lowest, value, highest in zip(low, self.tool[:3, 3], high)):
            return ERROR_BOUNDARY
        return 0
