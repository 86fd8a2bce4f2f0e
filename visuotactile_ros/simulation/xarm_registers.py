"""What the controller box holds and answers: every register of the control protocol, without sockets or wall time.

Longer than most, because it is one table.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence

import numpy as np

from visuotactile_ros.errors import ArmError
from visuotactile_ros.robot.xarm_kinematics import (
    AXES,
    forward_kinematics,
    inverse_kinematics,
    matrix_from_pose,
    pose_from_matrix,
    rotation_from_vector,
    vector_from_rotation,
    within_joint_limits,
)
from visuotactile_ros.simulation.xarm_gripper import RobotiqGripper
from visuotactile_ros.simulation.xarm_motion import XArmMotion
from visuotactile_ros.simulation.xarm_protocol import (
    STATUS_ERROR,
    STATUS_INVALID,
    STATUS_NOT_READY,
    STATUS_WARNING,
    Register,
    Request,
    build_reply,
    pack_floats,
    unpack_floats,
)
from visuotactile_ros.simulation.xarm_reports import ReportContent

_TOOL_HOST = 9
_ERROR_TOOL_SILENT = 19
_FIRMWARE = 'v2.5.0'
# Digits in the serial numbers: the SDK reads the hardware generation from them.
_VERSION = f'6,6,XI130506A00001,AC130502A00001,{_FIRMWARE}'.encode()
_SERIAL_NUMBERS = b'XI130506A00001\0AC130502A00001'


class XArmRegisters:
    """The registers of one controller.

    Args:
        motion: The arm that they command.
        gripper: The gripper behind the tool port.
        clock: Seconds that never go back, for the gripper.

    Attributes:
        handlers: By register, what takes the payload of a request and returns the payload of the reply.
        joint_torque_source: Asked for joint torques in newton metres whenever a client wants them.
        pose_is_nan: Say NaN for every pose and joint angle.
    """

    def __init__(self, motion: XArmMotion, gripper: RobotiqGripper, clock: Callable[[], float]):
        self._motion, self._gripper, self._clock = motion, gripper, clock
        self.joint_torque_source: Callable[[], Sequence[float]] = lambda: (0.0,) * 7
        self.pose_is_nan = False
        self._tcp_offset, self._payload = [0.0] * 6, [0.0] * 4
        self._stored: dict[int, list[float]] = {}
        self._collision_sensitivity, self._teach_sensitivity = 3, 3
        self._self_collision, self._collision_tool = 0, 0
        self.handlers = self._build_handlers()

    def answer(self, request: Request) -> bytes:
        """Carry out a request and return the bytes of its reply; a broken one is marked invalid."""
        handler, motion = self.handlers.get(request.register), self._motion
        status, payload = 0, b''
        try:
            if handler is None:
                status = STATUS_INVALID
            else:
                payload = handler(request.payload) or b''
        except (struct.error, IndexError):
            status = STATUS_INVALID
        status |= STATUS_ERROR if motion.error != 0 else 0
        status |= STATUS_WARNING if motion.warning != 0 else 0
        status |= 0 if motion.can_move else STATUS_NOT_READY
        return build_reply(request, status, payload)

    def report_content(self) -> ReportContent:
        """What a report says now."""
        motion = self._motion
        return ReportContent(
            mode=motion.mode, state=motion.state, waiting_commands=motion.waiting_commands, joints_rad=self._joints(),
            pose_mm_rad=self._pose(), pose_axis_angle_rad=self._axis_angle(), joint_torque_nm=self._torques(),
            enabled=motion.enabled, error=motion.error, warning=motion.warning, tcp_offset_mm_rad=self._tcp_offset,
            world_offset_mm_rad=self._stored.get(Register.SET_WORLD_OFFSET, [0.0] * 6), payload=self._payload,
            collision_sensitivity=self._collision_sensitivity, teach_sensitivity=self._teach_sensitivity,
            self_collision=bool(self._self_collision), collision_tool=self._collision_tool,
            tcp_speed_mm_s=motion.tcp_speed_mm_s, joint_speed_rad_s=[*map(float, motion.joint_speed_rad_s), 0.0],
            limits=motion.limits, version=_FIRMWARE)

    def _pose(self) -> list[float]:
        return [math.nan] * 6 if self.pose_is_nan else [float(v) for v in self._motion.pose_mm_rad]

    def _axis_angle(self) -> list[float]:
        return [float(v) for v in vector_from_rotation(self._motion.tool[:3, :3])]

    def _joints(self) -> list[float]:
        return [math.nan] * 7 if self.pose_is_nan else [*(float(v) for v in self._motion.joints_rad), 0.0]

    def _torques(self) -> list[float]:
        return [*(float(v) for v in self.joint_torque_source()), *[0.0] * 7][:7]

    def _build_handlers(self) -> dict[int, Callable[[bytes], bytes | None]]:
        motion, limits = self._motion, self._motion.limits
        handlers: dict[int, Callable[[bytes], bytes | None]] = {
            Register.GET_VERSION: lambda _: _VERSION.ljust(48, b'\0'),
            Register.GET_SERIAL_NUMBER: lambda _: _SERIAL_NUMBERS.ljust(40, b'\0'),
            Register.ENABLE_MOTION: lambda p: motion.set_enabled(p[1] != 0),
            Register.SET_STATE: lambda p: motion.set_state(p[0]),
            Register.GET_STATE: lambda _: bytes([motion.state]),
            Register.GET_COMMAND_COUNT: lambda _: struct.pack('>H', motion.waiting_commands),
            Register.GET_ERROR: lambda _: bytes([motion.error, motion.warning]),
            Register.CLEAR_ERROR: lambda _: motion.clear_error(),
            Register.CLEAR_WARNING: lambda _: setattr(motion, 'warning', 0),
            Register.SET_MODE: lambda p: motion.set_mode(p[0]),
            Register.MOVE_LINE: self._move_line,
            Register.MOVE_JOINTS: self._move_joints,
            Register.MOVE_HOME: lambda p: self._move_joints(pack_floats([0.0] * 7) + p),
            Register.MOVE_RELATIVE: self._move_relative,
            Register.SERVO_JOINTS: lambda p: motion.servo_joints(np.array(unpack_floats(p, 7)[:AXES])),
            Register.SERVO_CARTESIAN: self._servo_cartesian,
            Register.SERVO_CARTESIAN_AXIS_ANGLE: self._servo_axis_angle,
            Register.SET_JOINT_VELOCITY: lambda p: motion.set_joint_velocity(
                np.array(unpack_floats(p, 7)[:AXES]), _duration(p, 29)),
            Register.SET_CARTESIAN_VELOCITY: lambda p: motion.set_tool_velocity(
                np.array(unpack_floats(p, 6)), p[24] != 0, _duration(p, 25)),
            Register.SET_TCP_OFFSET: self._set_tcp_offset,
            Register.SET_PAYLOAD: self._set_payload,
            Register.SET_COLLISION_SENSITIVITY: self._set_collision_sensitivity,
            Register.SET_TEACH_SENSITIVITY: lambda p: setattr(self, '_teach_sensitivity', p[0]),
            Register.GET_POSE: lambda _: pack_floats(self._pose()),
            Register.GET_POSE_AXIS_ANGLE: lambda _: pack_floats(
                self._pose()[:3] + self._axis_angle()),
            Register.GET_JOINTS: self._get_joints,
            Register.GET_JOINT_TORQUE: lambda _: pack_floats(self._torques()),
            Register.INVERSE_KINEMATICS: self._inverse_kinematics,
            Register.FORWARD_KINEMATICS: lambda p: pack_floats(pose_from_matrix(
                forward_kinematics(np.array(unpack_floats(p, 7))) @ motion.tool_offset)),
            Register.IS_JOINT_LIMIT: lambda p: bytes([not within_joint_limits(np.array(unpack_floats(p, 7)))]),
            Register.IS_TCP_LIMIT: lambda p: bytes([self._solve(unpack_floats(p, 6)) is None]),
            Register.SET_REDUCED_TCP_SPEED: lambda p: setattr(limits, 'reduced_tcp_speed_mm_s', unpack_floats(p, 1)[0]),
            Register.SET_REDUCED_JOINT_SPEED: lambda p: setattr(
                limits, 'reduced_joint_speed_rad_s', unpack_floats(p, 1)[0]),
            Register.GET_REDUCED_MODE: lambda _: bytes([limits.reduced]),
            Register.SET_REDUCED_MODE: lambda p: setattr(limits, 'reduced', p[0] != 0),
            Register.SET_BOUNDARY: lambda p: setattr(limits, 'boundary_mm', list(struct.unpack_from('<6i', p))),
            Register.GET_REDUCED_STATES: lambda _: bytes([limits.reduced]) + struct.pack(
                '>6h', *limits.boundary_mm) + pack_floats(
                    [limits.reduced_tcp_speed_mm_s, limits.reduced_joint_speed_rad_s, *limits.reduced_joint_range_rad]
                ) + bytes([limits.fence, limits.rebound]),
            Register.SET_REDUCED_JOINT_RANGE: lambda p: setattr(
                limits, 'reduced_joint_range_rad', unpack_floats(p, 14)),
            Register.SET_FENCE: lambda p: setattr(limits, 'fence', p[0] != 0),
            Register.SET_REBOUND: lambda p: setattr(limits, 'rebound', p[0] != 0),
            Register.SET_SELF_COLLISION: lambda p: setattr(self, '_self_collision', p[0]),
            Register.SET_COLLISION_TOOL: lambda p: setattr(self, '_collision_tool', p[0]),
            Register.TOOL_MODBUS: self._tool_modbus,
            Register.WRITE_TOOL_REGISTER: lambda p: self._gripper.write_register(
                struct.unpack_from('>H', p, 1)[0], unpack_floats(p, 1, 3)[0]),
            Register.READ_TOOL_REGISTER: lambda p: struct.pack(
                '>i', self._gripper.read_register(struct.unpack_from('>H', p, 1)[0])),
            Register.SET_COMMON: self._set_common,
            Register.GET_COMMON: lambda p: pack_floats([limits.servo_speed_factor]) if p[0] == 1 else bytes(4),
        }
        for register, count in ((Register.SET_TCP_JERK, 1), (Register.SET_TCP_ACCELERATION, 1),
                                (Register.SET_JOINT_JERK, 1), (Register.SET_JOINT_ACCELERATION, 1),
                                (Register.SET_GRAVITY, 3), (Register.SET_WORLD_OFFSET, 6)):
            handlers[register] = lambda p, r=register, n=count: self._stored.__setitem__(r, unpack_floats(p, n))
        for register in (Register.SET_TOOL_MODBUS_TIMEOUT, Register.CHECK_FEEDBACK, Register.SET_FEEDBACK_TYPE):
            handlers[register] = lambda _: None
        return handlers

    def _move_line(self, payload: bytes) -> bytes:
        *pose, speed, acceleration, _, _ = unpack_floats(payload, 10)
        tool_frame, axis_angle, check_only = payload[40:43]
        now = self._motion.pose_mm_rad
        if not tool_frame:
            # Positive infinity means: keep what it is.
            pose = [float(now[i]) if value == math.inf else value for i, value in enumerate(pose)]
        target = _matrix(pose, bool(axis_angle))
        if check_only == 0:
            self._motion.move_tool(self._motion.tool @ target if tool_frame else target, speed, acceleration)
        return bytes(3)

    def _move_joints(self, payload: bytes) -> bytes:
        *joints, speed, acceleration, _ = unpack_floats(payload, 10)
        target = np.array([now if value == math.inf else value for value, now in zip(joints, self._motion.joints_rad)])
        if len(payload) <= 40 or payload[40] == 0:
            self._motion.move_joints(target, speed, acceleration)
        return bytes(3)

    def _move_relative(self, payload: bytes) -> bytes:
        *change, speed, acceleration, _, _ = unpack_floats(payload, 11)
        is_joints, axis_angle = payload[44:46]
        if is_joints:
            self._motion.move_joints(self._motion.joints_rad + np.array(change[:AXES]), speed, acceleration)
        elif axis_angle:
            target = self._motion.tool.copy()
            target[:3, 3] += change[:3]
            target[:3, :3] = rotation_from_vector(np.array(change[3:6])) @ target[:3, :3]
            self._motion.move_tool(target, speed, acceleration)
        else:
            target = matrix_from_pose(self._motion.pose_mm_rad + np.array(change[:6]))
            self._motion.move_tool(target, speed, acceleration)
        return bytes(3)

    def _servo_cartesian(self, payload: bytes) -> None:
        *pose, _, _, tool_frame = unpack_floats(payload, 9)
        target = _matrix(pose, False)
        self._motion.servo_tool(self._motion.tool @ target if tool_frame != 0.0 else target)

    def _servo_axis_angle(self, payload: bytes) -> None:
        pose = unpack_floats(payload, 6)
        tool_frame, relative = struct.unpack_from('<i', payload, 32)[0], payload[36]
        target = _matrix(pose, True)
        if tool_frame != 0:
            target = self._motion.tool @ target
        elif relative:
            step, target = target, self._motion.tool.copy()
            target[:3, 3] += step[:3, 3]
            target[:3, :3] = step[:3, :3] @ target[:3, :3]
        self._motion.servo_tool(target)

    def _set_tcp_offset(self, payload: bytes) -> None:
        self._tcp_offset = unpack_floats(payload, 6)
        self._motion.set_tool_offset(self._tcp_offset)

    def _set_payload(self, payload: bytes) -> None:
        self._payload = unpack_floats(payload, 4)

    def _set_collision_sensitivity(self, payload: bytes) -> None:
        self._collision_sensitivity = min(payload[0], 5)
        self._motion.reset_system()

    def _get_joints(self, payload: bytes) -> bytes:
        parts = [self._joints(), [*map(float, self._motion.joint_speed_rad_s), 0.0], self._torques()]
        return pack_floats([value for part in parts[:(payload[0] & 0x0F) if payload else 1] for value in part])

    def _inverse_kinematics(self, payload: bytes) -> bytes:
        joints = self._solve(unpack_floats(payload, 6))
        return pack_floats([math.nan] * 7 if joints is None else [*map(float, joints), 0.0])

    def _solve(self, pose_mm_rad: Sequence[float]) -> np.ndarray | None:
        flange = _matrix(pose_mm_rad, False) @ np.linalg.inv(self._motion.tool_offset)
        try:
            joints = inverse_kinematics(flange, self._motion.joints_rad)
        except ArmError:
            return None
        return joints if within_joint_limits(joints) else None

    def _tool_modbus(self, payload: bytes) -> bytes:
        reply = self._gripper.answer(payload[1:], self._clock()) if payload[0] == _TOOL_HOST else None
        if reply is None:
            self._motion.raise_error(_ERROR_TOOL_SILENT)
        return bytes([payload[0]]) + (reply or b'')

    def _set_common(self, payload: bytes) -> None:
        if payload[0] == 1:
            self._motion.limits.servo_speed_factor = unpack_floats(payload, 1, 1)[0]


def _duration(payload: bytes, offset: int) -> float:
    """Seconds that a velocity lasts: for ever when the request does not say."""
    return unpack_floats(payload, 1, offset)[0] if len(payload) >= offset + 4 else math.inf


def _matrix(pose: Sequence[float], axis_angle: bool) -> np.ndarray:
    """Matrix [4, 4] of a pose in mm and radians, its rotation as roll, pitch, yaw or as an axis-angle vector."""
    if not np.all(np.isfinite(pose)):
        return np.full((4, 4), math.nan)
    if not axis_angle:
        return matrix_from_pose(np.asarray(pose, dtype=float))
    matrix = np.eye(4)
    matrix[:3, 3], matrix[:3, :3] = pose[:3], rotation_from_vector(np.asarray(pose[3:], dtype=float))
    return matrix
