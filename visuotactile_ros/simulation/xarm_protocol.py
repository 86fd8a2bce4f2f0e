"""Bytes of the vendor's private TCP protocol: frames of the control port and the numbers in them.

Source: the vendor's published protocol description, checked against xarm-python-sdk 1.18.4. The header is big-endian,
floats and 32-bit integers in payloads are little-endian unless a function says otherwise.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

CONTROL_PROTOCOLS = (2, 3)
HEADER_BYTES = 6

# Status byte of a reply.
STATUS_INVALID, STATUS_NOT_READY, STATUS_WARNING, STATUS_ERROR = 0x08, 0x10, 0x20, 0x40


class Register(IntEnum):
    """The registers this simulation knows, by the vendor's numbers."""

    GET_VERSION = 1
    GET_SERIAL_NUMBER = 2
    ENABLE_MOTION = 11
    SET_STATE = 12
    GET_STATE = 13
    GET_COMMAND_COUNT = 14
    GET_ERROR = 15
    CLEAR_ERROR = 16
    CLEAR_WARNING = 17
    SET_MODE = 19
    MOVE_LINE = 21
    MOVE_JOINTS = 23
    MOVE_HOME = 25
    SERVO_JOINTS = 29
    SERVO_CARTESIAN = 30
    SET_TCP_JERK = 31
    SET_TCP_ACCELERATION = 32
    SET_JOINT_JERK = 33
    SET_JOINT_ACCELERATION = 34
    SET_TCP_OFFSET = 35
    SET_PAYLOAD = 36
    SET_COLLISION_SENSITIVITY = 37
    SET_TEACH_SENSITIVITY = 38
    GET_POSE = 41
    GET_JOINTS = 42
    INVERSE_KINEMATICS = 43
    FORWARD_KINEMATICS = 44
    IS_JOINT_LIMIT = 45
    IS_TCP_LIMIT = 46
    SET_REDUCED_TCP_SPEED = 47
    SET_REDUCED_JOINT_SPEED = 48
    GET_REDUCED_MODE = 49
    SET_REDUCED_MODE = 50
    SET_GRAVITY = 51
    SET_BOUNDARY = 52
    GET_REDUCED_STATES = 53
    GET_JOINT_TORQUE = 55
    SET_REDUCED_JOINT_RANGE = 58
    SET_FENCE = 59
    SET_REBOUND = 60
    SET_WORLD_OFFSET = 73
    SET_SELF_COLLISION = 77
    SET_COLLISION_TOOL = 78
    SET_JOINT_VELOCITY = 81
    SET_CARTESIAN_VELOCITY = 82
    MOVE_RELATIVE = 83
    GET_POSE_AXIS_ANGLE = 91
    SERVO_CARTESIAN_AXIS_ANGLE = 93
    SET_TOOL_MODBUS_TIMEOUT = 123
    TOOL_MODBUS = 124
    WRITE_TOOL_REGISTER = 127
    READ_TOOL_REGISTER = 128
    SET_COMMON = 232
    GET_COMMON = 233
    CHECK_FEEDBACK = 253
    SET_FEEDBACK_TYPE = 254


MOTION_REGISTERS = frozenset({
    Register.MOVE_LINE, Register.MOVE_JOINTS, Register.MOVE_HOME, Register.SERVO_JOINTS, Register.SERVO_CARTESIAN,
    Register.SET_JOINT_VELOCITY, Register.SET_CARTESIAN_VELOCITY, Register.MOVE_RELATIVE,
    Register.SERVO_CARTESIAN_AXIS_ANGLE})


@dataclass(frozen=True)
class Request:
    """One request of the control port."""

    transaction: int
    protocol: int
    register: int
    payload: bytes


def split_requests(buffer: bytearray) -> list[Request]:
    """Take every complete request off the front of `buffer`; a heartbeat (protocol 1) is dropped."""
    requests = []
    while len(buffer) >= HEADER_BYTES:
        transaction, protocol, length = struct.unpack_from('>HHH', buffer)
        if len(buffer) < HEADER_BYTES + length:
            break
        body = bytes(buffer[HEADER_BYTES:HEADER_BYTES + length])
        del buffer[:HEADER_BYTES + length]
        if protocol in CONTROL_PROTOCOLS and body:
            requests.append(Request(transaction, protocol, body[0], body[1:]))
    return requests


def build_reply(request: Request, status: int, payload: bytes) -> bytes:
    """Bytes of the reply to `request`."""
    return struct.pack('>HHHBB', request.transaction, request.protocol, 2 + len(payload), request.register,
                       status) + payload


def pack_floats(values: Sequence[float]) -> bytes:
    """Little-endian float32 of every value."""
    return struct.pack(f'<{len(values)}f', *values)


def unpack_floats(payload: bytes, count: int, offset: int = 0) -> list[float]:
    """`count` little-endian float32 from `offset`.

    Raises:
        struct.error: The payload is too short.
    """
    return list(struct.unpack_from(f'<{count}f', payload, offset))
