"""The simulated controller: how it moves, what its bytes are, and that the true vendor library understands it."""

import itertools
import math
import os
import socket
import struct
import time

import numpy as np
import pytest

from visuotactile_ros.errors import ArmError
from visuotactile_ros.robot.xarm_kinematics import rotation_from_roll_pitch_yaw, rotation_from_vector
from visuotactile_ros.robot.xarm_sdk import XArmLink
from visuotactile_ros.simulation.xarm_controller import XArmController
from visuotactile_ros.simulation.xarm_gripper import BAUD_INDEX_115200, RobotiqGripper
from visuotactile_ros.simulation.xarm_motion import XArmMotion
from visuotactile_ros.simulation.xarm_protocol import Register, Request, build_reply, pack_floats, split_requests
from visuotactile_ros.simulation.xarm_reports import NORMAL_PORT, REAL_TIME_PORT, RICH_PORT

CONTROL_PORT = 5502
_COUNTER = itertools.count(1)
# The vendor's own example of a request: enable all motors.
ENABLE_REQUEST = bytes.fromhex('00 04 00 03 00 03 0b 08 01')


def free_address() -> str:
    """A loopback address of this process alone: report ports cannot be moved."""
    return f'127.{1 + os.getpid() % 250}.{os.getpid() // 250 % 250}.{100 + next(_COUNTER)}'


def ready_motion(mode: int) -> XArmMotion:
    motion = XArmMotion()
    motion.set_enabled(True)
    motion.set_mode(mode)
    motion.set_state(0)
    return motion


def shifted(motion: XArmMotion, x_mm=0.0, y_mm=0.0, z_mm=0.0, turn_rad=(0.0, 0.0, 0.0)) -> np.ndarray:
    target = motion.tool.copy()
    target[:3, 3] += (x_mm, y_mm, z_mm)
    target[:3, :3] = rotation_from_vector(np.array(turn_rad)) @ target[:3, :3]
    return target


def run(motion: XArmMotion, seconds: float) -> None:
    for _ in range(round(seconds / 0.02)):
        motion.advance(0.02)


# Motion, without sockets or wall time.

def test_it_boots_stopped_and_needs_every_step_to_move():
    motion = XArmMotion()
    assert (motion.state, motion.mode, motion.can_move) == (4, 0, False)
    motion.set_state(0)
    assert motion.state == 4, 'it runs with its motors off'
    motion.set_enabled(True)
    assert motion.state == 5
    motion.set_mode(7)
    assert motion.state == 5
    motion.set_state(0)
    assert (motion.state, motion.can_move) == (2, True)


@pytest.mark.parametrize('mode', [0, 7])
def test_a_straight_move_is_straight_bounded_and_exact(mode):
    motion = ready_motion(mode)
    start, target = motion.tool[:3, 3].copy(), shifted(motion, x_mm=30.0, z_mm=40.0)
    motion.move_tool(target, 100.0, 500.0)
    speeds = []
    for _ in range(200):
        motion.advance(0.004)
        speeds.append(motion.tcp_speed_mm_s)
        way = motion.tool[:3, 3] - start
        assert np.linalg.norm(np.cross(way, target[:3, 3] - start)) < 0.01 * 50.0
    assert max(speeds) <= 100.1
    assert max(abs(b - a) for a, b in zip(speeds, speeds[1:])) <= 500.0 * 0.004 * 1.7
    assert np.allclose(motion.tool, target, atol=1e-6)
    assert motion.state == 2


def test_a_new_target_replaces_the_last_in_mode_7_and_queues_in_mode_0():
    for mode, expected_mm in ((7, 20.0), (0, 10.0)):
        motion = ready_motion(mode)
        start = motion.tool[:3, 3].copy()
        motion.move_tool(shifted(motion, z_mm=10.0), 50.0, 1000.0)
        motion.move_tool(shifted(motion, z_mm=20.0), 50.0, 1000.0)
        assert motion.waiting_commands == (1 if mode == 7 else 2)
        for _ in range(150):
            motion.advance(0.004)
            if motion.waiting_commands == (0 if mode == 7 else 1):
                break
        assert motion.tool[2, 3] - start[2] == pytest.approx(expected_mm, abs=1e-3)


def test_motion_of_another_mode_is_ignored_without_an_error():
    motion = ready_motion(1)
    before = motion.tool.copy()
    motion.move_tool(shifted(motion, z_mm=10.0), 100.0, 1000.0)
    motion.set_tool_velocity(np.array([10.0, 0, 0, 0, 0, 0]), False, 1.0)
    motion.set_joint_velocity(np.full(6, 0.1), 1.0)
    run(motion, 0.5)
    assert np.array_equal(motion.tool, before) and motion.error == 0


def test_servo_joints_never_turn_faster_than_half_a_turn_a_second():
    motion = ready_motion(1)
    start, target = motion.joints_rad.copy(), motion.joints_rad + (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    motion.servo_joints(target)
    motion.advance(0.1)
    assert np.max(motion.joints_rad - start) <= math.pi * 0.1 + 1e-9
    run(motion, 1.0)
    assert motion.error == 0
    assert np.allclose(motion.joints_rad, target)


def test_servo_steps_over_ten_millimetres_are_not_carried_out():
    motion = ready_motion(1)
    before = motion.tool.copy()
    motion.servo_tool(shifted(motion, z_mm=10.5))
    run(motion, 0.2)
    assert np.array_equal(motion.tool, before)
    motion.servo_tool(shifted(motion, z_mm=5.0))
    run(motion, 0.2)
    assert motion.tool[2, 3] - before[2, 3] == pytest.approx(5.0, abs=0.01)


def test_a_velocity_ends_after_its_duration():
    motion = ready_motion(5)
    start = motion.tool[:3, 3].copy()
    motion.set_tool_velocity(np.array([0, 0, 20.0, 0, 0, 0]), False, 0.4)
    run(motion, 2.0)
    assert motion.tool[2, 3] - start[2] == pytest.approx(8.0, abs=0.3)
    assert motion.state == 2


def test_a_joint_velocity_ends_after_its_duration():
    motion = ready_motion(4)
    start = motion.joints_rad.copy()
    motion.set_joint_velocity(np.array([0.5, 0, 0, 0, 0, 0]), 0.4)
    run(motion, 2.0)
    assert motion.joints_rad[0] - start[0] == pytest.approx(0.2, abs=0.02)


def test_after_a_pause_it_goes_to_the_newest_target():
    motion = ready_motion(7)
    start = motion.tool[:3, 3].copy()
    motion.move_tool(shifted(motion, z_mm=10.0), 20.0, 1000.0)
    run(motion, 0.1)
    motion.set_state(3)
    held = motion.tool.copy()
    motion.move_tool(shifted(motion, z_mm=25.0), 100.0, 1000.0)
    run(motion, 0.5)
    assert motion.state == 3 and np.array_equal(motion.tool, held)
    motion.set_state(0)
    run(motion, 1.0)
    assert motion.tool[2, 3] - start[2] > 20.0


def test_stopping_drops_the_targets():
    motion = ready_motion(7)
    motion.move_tool(shifted(motion, z_mm=50.0), 20.0, 1000.0)
    run(motion, 0.1)
    motion.set_state(4)
    motion.set_state(0)
    held = motion.tool.copy()
    run(motion, 0.5)
    assert np.array_equal(motion.tool, held)


def test_an_error_stops_resets_the_mode_and_lasts_until_cleared():
    motion = ready_motion(7)
    motion.move_tool(shifted(motion, z_mm=50.0), 20.0, 1000.0)
    motion.raise_error(31)
    assert (motion.state, motion.mode, motion.error, motion.moving) == (4, 0, 31, False)
    motion.set_state(0)
    assert motion.state == 4
    motion.clear_error()
    motion.set_mode(7)
    motion.set_state(0)
    assert (motion.state, motion.error) == (2, 0)


def test_an_emergency_stop_switches_the_motors_off():
    motion = ready_motion(7)
    motion.raise_error(2)
    motion.clear_error()
    motion.set_state(0)
    assert not motion.can_move


@pytest.mark.parametrize('code, prepare', [
    (24, lambda m: m.move_tool(shifted(m, x_mm=1500.0), 1000.0, 50000.0)),
    (21, lambda m: m.move_tool(np.full((4, 4), math.nan), 100.0, 1000.0)),
    (35, lambda m: (setattr(m.limits, 'fence', True), setattr(m.limits, 'boundary_mm', [420, 380, 50, -50, 900, 400]),
                    m.move_tool(shifted(m, x_mm=30.0), 100.0, 1000.0))),
])
def test_motion_that_cannot_be_ends_in_its_error(code, prepare):
    motion = ready_motion(7)
    prepare(motion)
    run(motion, 3.0)
    assert (motion.error, motion.state) == (code, 4)


def test_a_joint_at_its_limit_is_error_23():
    motion = ready_motion(6)
    motion.move_joints(np.radians([0, -15, 30, 0, 80, -90]), 2.0, 20.0)
    run(motion, 2.0)
    assert motion.error == 23
    assert motion.joints_rad[2] <= math.radians(10.2)


def test_streaming_too_fast_is_error_60():
    motion = ready_motion(5)
    motion.limits.servo_speed_factor = 0.05
    motion.set_tool_velocity(np.array([0, 0, 80.0, 0, 0, 0]), False, 1.0)
    run(motion, 0.5)
    assert motion.error == 60


def test_reduced_mode_slows_planned_moves():
    motion = ready_motion(7)
    motion.limits.reduced, motion.limits.reduced_tcp_speed_mm_s = True, 10.0
    motion.move_tool(shifted(motion, z_mm=50.0), 100.0, 1000.0)
    run(motion, 0.3)
    assert motion.tcp_speed_mm_s == pytest.approx(10.0, abs=0.1)


# Bytes.

def test_requests_are_split_wherever_the_stream_is_cut():
    stream = ENABLE_REQUEST + bytes.fromhex('00 00 00 01 00 02 00 00') + bytes.fromhex('00 09 00 02 00 01 29')
    buffer, requests = bytearray(), []
    for byte in stream:
        buffer.append(byte)
        requests += split_requests(buffer)
    assert requests == [Request(4, 3, Register.ENABLE_MOTION, b'\x08\x01'), Request(9, 2, Register.GET_POSE, b'')]
    assert build_reply(requests[0], 0x10, b'') == bytes.fromhex('00 04 00 03 00 02 0b 10')


def ask(stream: socket.socket, register: int, payload: bytes = b'', protocol: int = 2) -> tuple[int, bytes]:
    """Send one request by hand and return the status and payload of its reply."""
    stream.sendall(struct.pack('>HHHB', 77, protocol, 1 + len(payload), register) + payload)
    header = stream.recv(6, socket.MSG_WAITALL)
    transaction, answered, length = struct.unpack('>HHH', header)
    body = stream.recv(length, socket.MSG_WAITALL)
    assert (transaction, answered, body[0]) == (77, protocol, register)
    return body[1], body[2:]


@pytest.fixture
def controller():
    with XArmController(free_address(), CONTROL_PORT) as controller:
        yield controller


@pytest.fixture
def stream(controller):
    with socket.create_connection((controller.host, CONTROL_PORT), timeout=5.0) as stream:
        yield stream


def test_status_byte_tells_ready_and_error(controller, stream):
    assert ask(stream, Register.GET_STATE) == (0x10, b'\x04')
    ask(stream, Register.ENABLE_MOTION, b'\x08\x01')
    ask(stream, Register.SET_MODE, b'\x07\x00')
    assert ask(stream, Register.SET_STATE, b'\x00', protocol=3) == (0, b'')
    controller.inject_fault(31)
    assert ask(stream, Register.GET_ERROR) == (0x50, b'\x1f\x00')


def test_unknown_and_broken_requests_are_invalid_not_fatal(stream):
    assert ask(stream, 250)[0] & 0x08
    assert ask(stream, Register.MOVE_LINE, b'\x00' * 7)[0] & 0x08
    assert ask(stream, Register.GET_STATE)[1] == b'\x04'


@pytest.mark.parametrize('port, size', [(NORMAL_PORT, 145), (RICH_PORT, 587), (REAL_TIME_PORT, 135)])
def test_reports_have_their_size_and_place(controller, port, size):
    controller.set_joint_torque_source(lambda: [1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    with socket.create_connection((controller.host, port), timeout=5.0) as reports:
        for _ in range(2):
            report = reports.recv(size, socket.MSG_WAITALL)
            assert struct.unpack_from('>I', report)[0] == size == len(report)
    assert report[4] == 0 << 4 | 4
    pose = struct.unpack_from('<6f', report, 35)
    assert pose[:3] == pytest.approx(controller.measured_pose_mm_deg()[:3], abs=1e-3)
    assert struct.unpack_from('<7f', report, 59) == (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 0.0)


def test_a_second_controller_on_the_same_address_is_refused(controller):
    with pytest.raises(ArmError, match='another loopback address'):
        XArmController(controller.host, CONTROL_PORT).start()


def test_the_gripper_is_deaf_at_the_wrong_speed_and_stops_at_an_object():
    gripper = RobotiqGripper(object_position=120)
    activate = bytes.fromhex('09 10 03 e8 00 03 06 01 00 00 00 00 00')
    close = bytes.fromhex('09 10 03 e8 00 03 06 09 00 00 ff ff 40')
    status = bytes.fromhex('09 03 07 d0 00 03')
    assert gripper.answer(activate, 0.0) is None
    gripper.write_register(0x1A0B, BAUD_INDEX_115200)
    assert gripper.read_register(0x0A0B) != BAUD_INDEX_115200, 'the speed counts before the reboot'
    gripper.write_register(0x0607, 1)
    assert gripper.answer(activate, 0.0) == activate[:6]
    assert gripper.answer(status, 1.0)[3] == 0x31
    gripper.answer(close, 1.0)
    assert gripper.answer(status, 1.01)[3] >> 6 == 0
    assert gripper.answer(status, 3.0)[3] >> 6 == 2 and gripper.answer(status, 3.0)[7] == 120
    gripper.answer(activate, 3.0)
    assert gripper.position == 120, 'it is active already'
    gripper.answer(bytes.fromhex('09 10 03 e8 00 03 06 00 00 00 00 00 00'), 3.0)
    gripper.answer(activate, 3.0)
    assert gripper.position == 0, 'an activation opens it'


# The true vendor library.

@pytest.fixture
def api(controller):
    link = XArmLink('test', controller.host, CONTROL_PORT, reports=True, command_timeout_s=1.0, call_deadline_s=5.0,
                    connect_timeout_s=5.0)
    yield link.api
    link.close()


def arm_by_library(api, mode):
    assert api.motion_enable(True) == 0
    assert api.set_mode(mode) == 0
    assert api.set_state(0) == 0


def test_the_library_knows_the_arm(api):
    assert (api.axis, api.device_type, api.version_number) == (6, 6, (2, 5, 0))


def test_the_library_moves_and_waits_in_mode_0(controller, api):
    arm_by_library(api, 0)
    start = controller.measured_pose_mm_deg()
    assert api.set_position(z=start[2] + 5.0, speed=100, mvacc=2000, wait=True, timeout=5) == 0
    assert controller.measured_pose_mm_deg() - start == pytest.approx([0, 0, 5, 0, 0, 0], abs=1e-3)
    assert api.set_tool_position(z=5.0, speed=100, mvacc=2000, wait=True, timeout=5) == 0
    assert controller.measured_pose_mm_deg()[2] == pytest.approx(start[2], abs=1e-3)
    angles = api.get_servo_angle()[1]
    assert api.set_servo_angle(servo_id=6, angle=angles[5] + 3.0, speed=90, wait=True, timeout=5) == 0
    assert api.get_servo_angle()[1][5] == pytest.approx(angles[5] + 3.0, abs=1e-3)


@pytest.mark.filterwarnings('ignore:The .warn. method')
def test_the_library_streams_in_mode_1(controller, api):
    arm_by_library(api, 1)
    before = controller.measured_pose_mm_deg()
    for _ in range(8):
        assert api.set_servo_cartesian_aa([0, 0, 0, 0, 0.25, 0], is_tool_coord=True, relative=True) == 0
        time.sleep(0.012)
    after = controller.measured_pose_mm_deg()
    first, last = (rotation_from_roll_pitch_yaw(*np.radians(pose[3:])) for pose in (before, after))
    turn = first.T @ last
    assert math.degrees(math.atan2(turn[0, 2], turn[0, 0])) == pytest.approx(2.0, abs=0.01)
    assert np.allclose(after[:3], before[:3], atol=1e-3)


def test_the_library_solves_kinematics(api):
    code, angles = api.get_inverse_kinematics([400.0, 50.0, 480.0, 180.0, 0.0, 90.0])
    assert code == 0
    code, pose = api.get_forward_kinematics(angles)
    assert code == 0
    assert pose[:3] == pytest.approx([400.0, 50.0, 480.0], abs=0.01)
    assert api.is_tcp_limit([400.0, 50.0, 480.0, 180.0, 0.0, 90.0]) == (0, False)
    assert api.is_tcp_limit([1400.0, 50.0, 480.0, 180.0, 0.0, 90.0]) == (0, True)


def test_a_silent_tool_is_error_19(controller, api):
    arm_by_library(api, 0)
    controller.gripper.connected = False
    api.robotiq_reset(check_baud=False)
    assert controller.error == 19
    assert controller.state == 4


def test_controllers_side_by_side_do_not_disturb_each_other(controller, api):
    with XArmController(free_address(), CONTROL_PORT) as other:
        controller.inject_fault(31)
        assert (controller.error, other.error) == (31, 0)
        assert api.get_err_warn_code()[1] == [31, 0]


def test_what_is_asked_is_logged_in_order(controller, stream):
    ask(stream, Register.GET_STATE)
    ask(stream, Register.MOVE_HOME, pack_floats([1.0, 1.0, 0.0]))
    log = controller.commands()
    assert [command.register for command in log] == [Register.GET_STATE, Register.MOVE_HOME]
    assert log[0].monotonic_s <= log[1].monotonic_s
    assert [command.register for command in controller.motion_commands()] == [Register.MOVE_HOME]
