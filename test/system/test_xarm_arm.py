"""The arm driver with the true vendor library on the simulated controller: every fault ends in one latched line."""

import contextlib
import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from visuotactile_ros.errors import ArmError
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.robot.motion_limits import MotionLimitError
from visuotactile_ros.robot.vessel_geometry import lip_position_mm, tilt_from_pose
from visuotactile_ros.robot.watchdog import Watchdog
from visuotactile_ros.robot.xarm_arm import XArmArm
from visuotactile_ros.robot.xarm_sdk import LateAnswerError
from visuotactile_ros.simulation.xarm_controller import XArmController
from visuotactile_ros.simulation.xarm_protocol import MOTION_REGISTERS, Register

CONTROL_PORT = 5502
_COUNTER = itertools.count(1)
WAIT_S = 30.0
STEP_S = 0.12  # a step of 0.25 degrees may follow the last one after 0.1 s


def free_address() -> str:
    """A loopback address of this process alone: report ports cannot be moved."""
    return f'127.{1 + os.getpid() % 250}.{os.getpid() // 250 % 250}.{next(_COUNTER)}'


def settings(address, **changes):
    # Controller and driver share this process, and a busy machine may stop it for longer than the defaults allow.
    patient = {'report_age_limit_s': 2.0, 'command_timeout_s': 0.8}
    return ArmParameters(**{'address': address, 'control_port': CONTROL_PORT, 'dry_run': False, **patient, **changes})


def bounded(function, *arguments):
    """Run `function` in a thread and return its result or raise its error; a hang fails the test."""
    outcome = []

    def run():
        try:
            outcome.append((function(*arguments), None))
        except ArmError as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(WAIT_S)
    assert outcome, f'{function} hangs'
    if outcome[0][1] is not None:
        raise outcome[0][1]
    return outcome[0][0]


def wait_for(condition):
    """Wait until `condition` is true; never doing so fails the test."""
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s, 'it did not happen'
        time.sleep(0.01)


@pytest.fixture
def controller():
    with XArmController(free_address(), CONTROL_PORT) as controller:
        yield controller


@pytest.fixture
def connected(controller):
    arm = XArmArm(settings(controller.host))
    arm.connect()
    yield arm
    arm.close()


@pytest.fixture
def pouring(connected):
    """An arm in the middle of a pour."""
    connected.arm()
    connected.command_tilt_step(0.25)
    time.sleep(STEP_S)
    connected.command_tilt_step(0.25)
    return connected


def assert_latched(arm, controller, *texts):
    """The fault says one of `texts`, every motion is refused, and none reaches the controller."""
    wait_for(lambda: not arm.armed)
    assert any(text in arm.fault for text in texts), arm.fault
    assert '\n' not in arm.fault
    written = len(controller.motion_commands())
    for motion in (lambda: arm.command_tilt_step(0.25), lambda: arm.approach_tilt(5.0), arm.retract):
        with pytest.raises(ArmError, match='latched'):
            bounded(motion)
    assert len(controller.motion_commands()) == written


def test_pour_moves_the_tilt_and_keeps_the_lip(controller, connected):
    p = settings(controller.host)
    connected.arm()
    connected.approach_tilt(6.0)
    for _ in range(4):
        before_deg = connected.read_state().tilt_deg
        connected.command_tilt_step(0.25)
        time.sleep(STEP_S)
        wait_for(lambda: connected.read_state().tilt_deg > before_deg + 0.2)
    pose = controller.measured_pose_mm_deg()
    assert tilt_from_pose(p.upright_pose_mm_deg, pose) == pytest.approx(7.0, abs=0.15)
    home = lip_position_mm(p.upright_pose_mm_deg, p.lip_in_tool_mm)
    assert np.allclose(lip_position_mm(pose, p.lip_in_tool_mm), home, atol=0.05)
    connected.retract()
    wait_for(lambda: abs(connected.read_state().tilt_deg) < 0.01)
    assert connected.read_state().armed


def test_velocity_mode_pours_and_ends_by_itself(controller):
    arm = XArmArm(settings(controller.host, motion_mode='velocity'))
    arm.connect()
    arm.arm()
    arm.approach_tilt(3.0)
    wait_for(lambda: controller.state == 2)
    before_deg = arm.read_state().tilt_deg
    arm.command_tilt_step(0.25)
    # Nothing more is commanded: the controller itself must end the motion, one step further on.
    wait_for(lambda: controller.state == 2)
    assert arm.read_state().tilt_deg - before_deg == pytest.approx(0.25, abs=0.05)
    assert all(len(command.payload) == 29 for command in controller.motion_commands())
    arm.retract()
    assert abs(arm.read_state().tilt_deg) < 0.2
    arm.close()


def test_torque_reaches_the_state(controller, connected):
    controller.set_joint_torque_source(lambda: (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.0))
    assert connected.read_state().joint_torque_nm == pytest.approx([0, 1, 2, 3, 4, 5, 0])


def test_connecting_configures_and_leaves_the_arm_disarmed(controller, connected):
    state = connected.read_state()
    assert not state.armed and state.fault == ''
    assert controller.state == 4
    with pytest.raises(ArmError, match='not armed'):
        connected.command_tilt_step(0.25)
    registers = {command.register for command in controller.commands()}
    assert {Register.SET_TCP_OFFSET, Register.SET_PAYLOAD, Register.SET_BOUNDARY, Register.SET_FENCE,
            Register.SET_REDUCED_MODE, Register.SET_COLLISION_SENSITIVITY, Register.SET_SELF_COLLISION,
            Register.SET_COLLISION_TOOL, Register.SET_REDUCED_TCP_SPEED} <= registers
    assert not controller.motion_commands()


def test_a_setting_that_the_controller_does_not_take_is_named(controller):
    controller.registers.handlers[Register.SET_BOUNDARY] = lambda _: None
    with pytest.raises(ArmError, match='boundary in mm'):
        XArmArm(settings(controller.host)).connect()


def test_fault_code_mid_pour(controller, pouring):
    time.sleep(STEP_S)
    controller.inject_fault(31)
    written = len(controller.motion_commands())
    with pytest.raises(ArmError, match='C31 Collision'):
        bounded(pouring.command_tilt_step, 0.25)
    assert len(controller.motion_commands()) == written
    assert_latched(pouring, controller, 'C31 Collision Caused Abnormal Current')


def test_fault_code_is_noticed_while_nothing_is_commanded(controller, pouring):
    controller.inject_fault(31)
    assert_latched(pouring, controller, 'C31')


def test_a_hanging_controller(controller, pouring):
    controller.hang(60.0)
    # The library's timeout, or, where the machine stood still for a moment, the deadline of the call.
    with pytest.raises(ArmError, match='no answer in time|did not answer within 1.0 s'):
        bounded(pouring.command_tilt_step, 0.25)
    assert_latched(pouring, controller, 'no report of the xArm', 'did not answer within 1.0 s')
    with pytest.raises(ArmError, match='emergency stop'):
        bounded(pouring.stop)


def test_a_move_that_never_returns(controller, pouring):
    # The library waits 10 s for the answer to a move, whatever its timeout is set to.
    controller.registers.handlers[Register.MOVE_LINE] = lambda _: time.sleep(2.0)
    time.sleep(STEP_S)
    with pytest.raises(ArmError, match='did not answer within 1.0 s'):
        bounded(pouring.command_tilt_step, 0.25)
    assert_latched(pouring, controller, 'did not answer within 1.0 s', 'no report of the xArm')


def test_a_stop_while_arming_wins(controller, connected, monkeypatch):
    command = connected._main.command

    def command_with_a_stop_between(name, *arguments, **keywords):
        if name == 'set_state':
            connected.stop()
        return command(name, *arguments, **keywords)

    monkeypatch.setattr(connected._main, 'command', command_with_a_stop_between)
    with pytest.raises(ArmError, match='stopped while it was being armed'):
        bounded(connected.arm)
    assert controller.state == 4
    assert_latched(connected, controller, 'stopped on request')


def test_stop_does_not_wait_behind_a_hanging_command(controller, pouring):
    released = threading.Event()
    hanging = threading.Thread(target=pouring._main._worker.call, args=('hang', released.wait, WAIT_S),
                               kwargs={'deadline_s': WAIT_S}, daemon=True)
    hanging.start()
    bounded(pouring.stop)
    assert hanging.is_alive() and controller.state == 4
    released.set()
    assert_latched(pouring, controller, 'stopped on request')


def test_the_controller_holds_a_box_of_its_own(controller, connected):
    connected.arm()
    # Past the driver on purpose: what another program may send.
    connected._main.api.set_position(x=560.0, speed=150, mvacc=1000, wait=False)
    wait_for(lambda: controller.error == 35)
    assert controller.measured_pose_mm_deg()[0] < 521.0
    assert_latched(connected, controller, 'C35')


def late_once(function, calls):
    """Stands in for a method of the library whose first answer does not come in time."""
    def call(*arguments, **keywords):
        calls.append(arguments)
        return (3, []) if len(calls) == 1 else function(*arguments, **keywords)
    return call


def answer_late(monkeypatch, api, method, times):
    """Let the next `times` answers to a method of the library come too late."""
    function, left = getattr(api, method), [times]

    def call(*arguments, **keywords):
        left[0] -= 1
        return (3, []) if left[0] >= 0 else function(*arguments, **keywords)
    monkeypatch.setattr(api, method, call)


@pytest.mark.parametrize('method', ['get_joint_states', 'get_position', 'get_err_warn_code', 'get_state'])
def test_late_answers_before_a_step_leave_the_way_back_open(controller, pouring, monkeypatch, method):
    time.sleep(STEP_S)
    pouring.approach_tilt(4.0)
    written = len(controller.motion_commands())
    answer_late(monkeypatch, pouring._main.api, method, 2)
    with pytest.raises(LateAnswerError):
        bounded(pouring.command_tilt_step, 0.25)
    assert len(controller.motion_commands()) == written
    assert pouring.armed and pouring.fault == ''
    answer_late(monkeypatch, pouring._main.api, method, 6)
    bounded(pouring.fail_safe, 'no fresh action')
    assert abs(pouring.read_state().tilt_deg) < 0.2
    assert_latched(pouring, controller, 'no fresh action; the vessel is upright')


def test_answers_that_stay_late_end_the_way_back(controller, pouring, monkeypatch):
    answer_late(monkeypatch, pouring._main.api, 'get_joint_states', 1000)
    bounded(pouring.fail_safe, 'no fresh action')
    assert controller.state == 4
    assert_latched(pouring, controller, 'no fresh action; stopped, because it cannot retract')


def test_a_lost_stop_connection_alone_brings_the_vessel_back(controller, pouring):
    pouring.approach_tilt(8.0)
    written = len(controller.motion_commands())
    pouring._stop_link.close()
    assert_latched(pouring, controller, 'the stop connection to the xArm is lost; the vessel is upright')
    assert abs(pouring.read_state().tilt_deg) < 0.2
    assert len(controller.motion_commands()) > written
    pouring.arm()
    bounded(pouring.stop)
    assert controller.state == 4, 'arming did not open the stop connection again'


@pytest.mark.parametrize('motion', [lambda arm: arm.command_tilt_step(0.25), lambda arm: arm.approach_tilt(5.0)])
def test_nothing_tilts_further_without_a_stop_connection(controller, connected, monkeypatch, motion):
    monkeypatch.setattr(XArmArm, '_watch', lambda arm: None)
    connected.connect()
    connected.arm()
    connected._stop_link.close()
    with pytest.raises(ArmError, match='stop connection'):
        bounded(motion, connected)
    assert not controller.motion_commands()


def test_an_approach_that_a_fail_safe_ends_says_why(connected):
    connected.arm()
    refusals = []
    moving = threading.Thread(target=lambda: refusals.append(pytest.raises(ArmError, connected.approach_tilt, 40.0)),
                              daemon=True)
    moving.start()
    wait_for(lambda: connected.read_state().tilt_deg > 1.0)
    bounded(connected.fail_safe, 'touch is lost')
    moving.join(WAIT_S)
    assert refusals[0].value.problem == 'touch is lost'


def test_no_step_slips_in_while_the_vessel_returns(controller, pouring):
    pouring.approach_tilt(12.0)
    returning = threading.Thread(target=pouring.fail_safe, args=('no fresh action',), daemon=True)
    returning.start()
    wait_for(lambda: pouring.read_state().tilt_deg < 11.5)
    # A step that waited for the end of the return would find the arm latched.
    with pytest.raises(ArmError, match='^no fresh action'):
        pouring.command_tilt_step(0.25)
    returning.join(WAIT_S)
    assert_latched(pouring, controller, 'no fresh action; the vessel is upright')


def test_the_budget_of_forward_steps_is_that_of_one_pour(controller):
    arm = XArmArm(settings(controller.host, forward_travel_limit_deg=1.0))
    arm.connect()
    arm.arm()
    for _ in range(2):
        for _ in range(4):
            arm.command_tilt_step(0.25)
            time.sleep(STEP_S)
        arm.command_tilt_step(-0.25)
        time.sleep(STEP_S)
        with pytest.raises(MotionLimitError, match='budget'):
            arm.command_tilt_step(0.25)
        arm.retract()
    arm.close()


def test_a_late_answer_is_asked_for_again(connected, monkeypatch):
    api, calls = connected._main.api, []
    monkeypatch.setattr(api, 'get_joint_states', late_once(api.get_joint_states, calls))
    assert connected.read_state().tilt_deg == pytest.approx(0.0, abs=1e-3)
    assert len(calls) == 2


def test_a_motion_is_never_sent_again(pouring, monkeypatch):
    api, calls = pouring._main.api, []
    monkeypatch.setattr(api, 'set_position', late_once(api.set_position, calls))
    time.sleep(STEP_S)
    with pytest.raises(ArmError, match='no answer in time'):
        pouring.command_tilt_step(0.25)
    assert len(calls) == 1 and 'no answer in time' in pouring.fault


def test_a_killed_controller_and_reconnecting(controller, pouring):
    controller.kill()
    assert_latched(pouring, controller, 'connection to the xArm is lost', 'no report of the xArm')
    controller.start()
    with pytest.raises(ArmError):
        pouring.command_tilt_step(0.25)
    written = len(controller.motion_commands())
    bounded(pouring.connect)
    assert not pouring.armed
    with pytest.raises(ArmError):
        pouring.command_tilt_step(0.25)
    assert len(controller.motion_commands()) == written
    pouring.arm()
    pouring.command_tilt_step(0.25)


def test_reports_that_stop(controller, pouring):
    controller.stop_reports()
    assert_latched(pouring, controller, 'no report of the xArm')


def test_stop_acts_while_the_gripper_hangs(controller, pouring):
    controller.slow_modbus(1.0)
    grasping = threading.Thread(target=lambda: pytest.raises(ArmError, pouring.grasp), daemon=True)
    grasping.start()
    wait_for(lambda: any(command.register == Register.SET_STATE and command.payload == b'\x04' or
                         command.register == Register.READ_TOOL_REGISTER
                         for command in controller.commands()[-3:]))
    bounded(pouring.stop)
    assert grasping.is_alive(), 'the stop waited for the gripper'
    assert controller.state == 4
    assert_latched(pouring, controller, 'stopped on request')
    controller.slow_modbus(0.0)


def test_pose_that_is_not_a_number(controller, pouring):
    controller.nan_pose()
    with pytest.raises(ArmError, match='not a number'):
        bounded(pouring.command_tilt_step, 0.25)
    assert_latched(pouring, controller, 'not a number')


def test_another_client_changes_the_mode(controller, pouring):
    controller.flip_mode(0)
    assert_latched(pouring, controller, 'mode 0')
    assert controller.state == 4


def test_a_pause_drops_the_target_for_good(controller, pouring):
    controller.pause()
    assert_latched(pouring, controller, 'paused')
    tilt_deg = pouring.read_state().tilt_deg
    controller.resume()
    time.sleep(0.1)
    assert pouring.read_state().tilt_deg == tilt_deg


def test_only_arming_ends_a_latch(controller, pouring):
    controller.inject_fault(31)
    assert_latched(pouring, controller, 'C31')
    pouring.arm()
    assert pouring.fault == ''
    pouring.command_tilt_step(0.25)


def test_an_error_before_connecting_is_kept_until_armed(controller):
    controller.inject_fault(22)
    arm = XArmArm(settings(controller.host))
    arm.connect()
    assert 'C22' in arm.fault and controller.error == 22
    arm.arm()
    arm.command_tilt_step(0.25)
    arm.close()
    assert controller.state == 4


@pytest.mark.parametrize('step_deg', [float('nan'), float('inf'), -float('inf'), 0.26, -0.26])
def test_a_bad_step_is_refused_without_a_latch(controller, pouring, step_deg):
    time.sleep(STEP_S)
    written = len(controller.motion_commands())
    with pytest.raises(ArmError):
        pouring.command_tilt_step(step_deg)
    assert len(controller.motion_commands()) == written
    assert pouring.armed and pouring.fault == ''
    pouring.retract()


def test_steps_too_fast_are_refused(pouring):
    with pytest.raises(ArmError, match='per second'):
        for _ in range(20):
            pouring.command_tilt_step(0.25)
    assert pouring.armed


def test_waiting_writes_nothing(controller, pouring):
    written = len(controller.motion_commands())
    pouring.command_tilt_step(0.0)
    assert len(controller.motion_commands()) == written


def test_an_approach_over_the_limit_is_refused(controller, connected):
    connected.arm()
    with pytest.raises(ArmError, match='approach'):
        connected.approach_tilt(46.0)
    assert not controller.motion_commands()


def test_stop_ends_a_motion_under_way(controller, connected):
    connected.arm()
    moving = threading.Thread(target=lambda: pytest.raises(ArmError, connected.approach_tilt, 40.0), daemon=True)
    moving.start()
    wait_for(lambda: connected.read_state().tilt_deg > 1.0)
    connected.stop()
    moving.join(WAIT_S)
    assert not moving.is_alive()
    assert controller.state == 4
    assert_latched(connected, controller, 'stopped on request')


def test_a_retract_replaces_an_approach(connected):
    connected.arm()
    moving = threading.Thread(target=lambda: refusals.append(pytest.raises(ArmError, connected.approach_tilt, 40.0)),
                              daemon=True)
    refusals = []
    moving.start()
    wait_for(lambda: connected.read_state().tilt_deg > 1.0)
    connected.retract()
    moving.join(WAIT_S)
    assert 'replaced' in str(refusals[0].value)
    assert abs(connected.read_state().tilt_deg) < 0.2
    assert connected.armed and connected.fault == ''


def test_silence_of_the_policy_retracts_then_latches(controller, pouring):
    pouring.approach_tilt(4.0)
    now_s = [0.0]
    watchdog = Watchdog(0.5, lambda age_s: pouring.fail_safe(f'no fresh action for {age_s:.1f} s'), lambda: now_s[0])
    watchdog.start()
    now_s[0] = 0.6
    watchdog.check()
    assert abs(pouring.read_state().tilt_deg) < 0.2
    assert_latched(pouring, controller, 'no fresh action for 0.6 s; the vessel is upright')


def test_two_reasons_at_once_still_end_upright(controller, pouring):
    time.sleep(STEP_S)
    pouring.approach_tilt(8.0)
    together = [threading.Thread(target=motion, daemon=True)
                for motion in (lambda: pouring.fail_safe('first'), lambda: pouring.fail_safe('second'))]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join(WAIT_S)
    assert abs(pouring.read_state().tilt_deg) < 0.2
    assert_latched(pouring, controller, 'first; the vessel is upright', 'second; the vessel is upright')


def test_a_retraction_that_comes_in_between_is_not_stopped(controller, pouring):
    time.sleep(STEP_S)
    pouring.approach_tilt(8.0)
    failing = threading.Thread(target=pouring.fail_safe, args=('no fresh action',), daemon=True)
    failing.start()
    wait_for(lambda: pouring.read_state().tilt_deg < 7.0)
    with contextlib.suppress(ArmError):
        # Whichever of the two goes on: the other one says that it was replaced, or that the arm is latched already.
        pouring.retract()
    failing.join(WAIT_S)
    assert abs(pouring.read_state().tilt_deg) < 0.2
    assert 'no fresh action; the vessel is upright' in pouring.fault


def test_a_pose_that_froze_is_noticed(controller, pouring, monkeypatch):
    time.sleep(STEP_S)
    frozen = pouring._main.api.get_position(False)
    pouring.approach_tilt(8.0)
    monkeypatch.setattr(pouring._main.api, 'get_position', lambda *_: frozen)
    with pytest.raises(ArmError, match='do not belong together'):
        pouring.command_tilt_step(0.25)
    assert_latched(pouring, controller, 'do not belong together')


def test_fail_safe_stops_where_it_cannot_retract(controller, pouring):
    controller.inject_fault(31)
    bounded(pouring.fail_safe, 'no fresh action')
    assert_latched(pouring, controller, 'no fresh action; stopped, because it cannot retract')


def test_a_tool_off_its_path_only_retracts():
    controller = XArmController(free_address(), CONTROL_PORT, joints_deg=(4.0, -15.7, -67.4, 0.0, 83.1, -90.0))
    with controller:
        arm = XArmArm(settings(controller.host))
        arm.connect()
        arm.arm()
        with pytest.raises(ArmError, match='off the tilt axis'):
            arm.approach_tilt(5.0)
        assert not controller.motion_commands()
        bounded(arm.retract)
        arm.approach_tilt(2.0)
        arm.close()


def test_dry_run_writes_nothing_that_moves(controller):
    arm = XArmArm(settings(controller.host, dry_run=True))
    arm.connect()
    arm.arm()
    arm.approach_tilt(5.0)
    arm.command_tilt_step(0.25)
    with pytest.raises(ArmError, match='limit'):
        arm.command_tilt_step(0.5)
    arm.grasp()
    arm.retract()
    arm.close()
    registers = {command.register for command in controller.commands()}
    assert not registers & {*MOTION_REGISTERS, Register.ENABLE_MOTION, Register.SET_MODE, Register.SET_STATE,
                            Register.TOOL_MODBUS}


def test_a_stop_is_sent_even_in_a_dry_run(controller):
    arm = XArmArm(settings(controller.host, dry_run=True))
    arm.connect()
    arm.stop()
    sent = [command.payload for command in controller.commands() if command.register == Register.SET_STATE]
    assert sent == [b'\x04']
    arm.close()


def test_the_gripper_holds_the_vessel_and_opens(controller, connected):
    connected.grasp()
    assert controller.gripper.position == pytest.approx(controller.gripper.object_position, abs=1)
    connected.release()
    assert controller.gripper.position == pytest.approx(0, abs=1)


def test_a_gripper_that_holds_the_vessel_never_opens_to_grasp_again(controller, connected, monkeypatch):
    connected.grasp()
    gripper, positions = controller.gripper, []
    answer = gripper.answer

    def answer_and_look(frame, now_s):
        reply = answer(frame, now_s)
        positions.append(gripper.position)
        return reply
    monkeypatch.setattr(gripper, 'answer', answer_and_look)
    # A new connection, and a move that failed: either forgets what the gripper was told before.
    connected.connect()
    connected.grasp()
    with monkeypatch.context() as failing, pytest.raises(ArmError, match='not finished in time'):
        failing.setattr(connected._main.api, 'robotiq_set_position', lambda *_, **__: (100, []))
        connected.grasp()
    connected.grasp()
    assert positions and min(positions) > gripper.object_position - 1


def test_a_gripper_that_is_missing_latches(controller, connected):
    connected.arm()
    controller.gripper.connected = False
    with pytest.raises(ArmError, match='robotiq'):
        bounded(connected.grasp)
    assert_latched(connected, controller, 'robotiq')


def test_nobody_there():
    with pytest.raises(ArmError, match='cannot be reached'):
        XArmArm(settings(free_address())).connect()


def test_the_library_leaves_the_process_alone(controller, capfd):
    arm = XArmArm(settings(controller.host))
    arm.connect()
    arm.close()
    assert capfd.readouterr().out == ''
    assert socket.getdefaulttimeout() is None


def test_one_line_a_fault(controller, pouring, caplog):
    with caplog.at_level(logging.ERROR):
        controller.inject_fault(31)
        assert_latched(pouring, controller, 'C31')
    assert [record.message.count('C31') for record in caplog.records] == [1]


def test_the_library_loads_where_the_home_cannot_be_written():
    program = 'from visuotactile_ros.robot.xarm_sdk import describe_error; print(describe_error(31))'
    result = subprocess.run([sys.executable, '-c', program], env={**os.environ, 'HOME': '/proc/nowhere'}, timeout=60,
                            capture_output=True, text=True, check=False)
    assert result.stdout == 'C31 Collision Caused Abnormal Current\n'
