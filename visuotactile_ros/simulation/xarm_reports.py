"""The three report frames of the controller: normal (145 bytes), rich (587) and real-time (135).

Source: the vendor's description of the report ports, checked against xarm-python-sdk 1.18.4, which closes the stream
when a length changes or a value is outside its range. Floats are little-endian float32, integers big-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from visuotactile_ros.simulation.xarm_motion import ControllerLimits
from visuotactile_ros.simulation.xarm_protocol import pack_floats

NORMAL_PORT, RICH_PORT, REAL_TIME_PORT = 30001, 30002, 30003
# Seconds between reports of each port.
REPORT_PERIOD_S = {NORMAL_PORT: 0.2, RICH_PORT: 0.2, REAL_TIME_PORT: 0.01}


@dataclass(frozen=True)
class ReportContent:
    """Everything that a report says; lengths in mm, angles in radians, torques in newton metres.

    Attributes:
        mode: Mode 0..11.
        state: State 0..9.
        waiting_commands: Commands not finished.
        joints_rad: Seven joint angles, the seventh 0.
        pose_mm_rad: Tool pose [6].
        pose_axis_angle_rad: Rotation of the tool as an axis-angle vector [3].
        joint_torque_nm: Seven torques.
        enabled: Whether the motors are on and the brakes off.
        error: Controller error code.
        warning: Controller warning code.
        tcp_offset_mm_rad: Tool offset [6].
        world_offset_mm_rad: Base offset [6].
        payload: Mass in kg and centre of mass in mm, [4].
        collision_sensitivity: 0..5.
        teach_sensitivity: 0..5.
        self_collision: Whether self collision is checked.
        collision_tool: Number of the collision model of the tool.
        tcp_speed_mm_s: Speed of the tool.
        joint_speed_rad_s: Seven joint speeds.
        limits: Registers that bound the motion.
        version: Firmware version, at most 30 characters.
    """

    mode: int
    state: int
    waiting_commands: int
    joints_rad: Sequence[float]
    pose_mm_rad: Sequence[float]
    pose_axis_angle_rad: Sequence[float]
    joint_torque_nm: Sequence[float]
    enabled: bool
    error: int
    warning: int
    tcp_offset_mm_rad: Sequence[float]
    world_offset_mm_rad: Sequence[float]
    payload: Sequence[float]
    collision_sensitivity: int
    teach_sensitivity: int
    self_collision: bool
    collision_tool: int
    tcp_speed_mm_s: float
    joint_speed_rad_s: Sequence[float]
    limits: ControllerLimits
    version: str


def build_report(port: int, content: ReportContent) -> bytes:
    """Bytes of one report of `port`: 30001 normal, 30002 rich, 30003 real-time."""
    head = struct.pack('>BH', content.mode << 4 | content.state, content.waiting_commands)
    head += pack_floats(content.joints_rad) + pack_floats(content.pose_mm_rad) + pack_floats(content.joint_torque_nm)
    if port == REAL_TIME_PORT:
        return _with_length(head + pack_floats([0.0] * 12))
    motors = 0x7F if content.enabled else 0
    normal = head + bytes([motors, motors, content.error, content.warning])
    normal += pack_floats(content.tcp_offset_mm_rad) + pack_floats(content.payload)
    normal += bytes([content.collision_sensitivity, content.teach_sensitivity]) + pack_floats((0.0, 0.0, -1.0))
    return _with_length(normal if port == NORMAL_PORT else normal + _rich_tail(content))


def _with_length(body: bytes) -> bytes:
    return struct.pack('>I', len(body) + 4) + body


def _rich_tail(content: ReportContent) -> bytes:
    limits = content.limits
    parts = [
        bytes([6, 6, 0, 0, 0, 0]), content.version.encode().ljust(30, b'\0')[:30],
        pack_floats((1000.0, 1.0, 50000.0, 0.1, 1000.0)),       # tool: jerk, acceleration range, speed range
        pack_floats((20.0, 0.01, 20.0, 0.0001, 3.1415926)),     # joints: the same in rad
        pack_floats((2.3, 2.7)), bytes(16), bytes([30] * 7),    # rotation, servo codes and tool io, temperatures
        pack_floats((content.tcp_speed_mm_s,)), pack_floats(content.joint_speed_rad_s),
        struct.pack('>I', 0), pack_floats(content.world_offset_mm_rad), bytes(2),
        bytes([0, int(content.self_collision), content.collision_tool]), pack_floats([0.0] * 6),
        struct.pack('>7H', *[4800] * 7), pack_floats([0.0] * 7), bytes(2), struct.pack('>8H', *[0] * 8), bytes(32),
        pack_floats([0.0] * 12), bytes(1), pack_floats(content.pose_axis_angle_rad),
        bytes([int(limits.reduced) | int(limits.fence) << 1, int(limits.reduced)]),
        struct.pack('>6h', *limits.boundary_mm),
        pack_floats((limits.reduced_tcp_speed_mm_s, limits.reduced_joint_speed_rad_s)),
        pack_floats(limits.reduced_joint_range_rad), bytes([int(limits.fence), int(limits.rebound)]),
        struct.pack('>I', 0), bytes(9),
    ]
    return b''.join(parts)
