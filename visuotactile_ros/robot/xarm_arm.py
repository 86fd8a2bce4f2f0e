"""XArmArm: the pouring arm through the vendor's library, which refuses rather than guesses.

Mode 7 (online planning) is the default: a new pose replaces the last one, and the last one is never further than one
step, so that silence ends the motion by itself. Mode 5 sends velocities that end by themselves after a duration.
Longer than 300 lines, because connecting, arming, guarding and moving share one state.

Safety, in one place: every command first passes the limits (`motion_limits`) and the gate (`_check_gate`); every
return code is checked; the first fault latches, disarms and stops through a second connection; only `arm` clears it.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from visuotactile_ros.errors import ArmError
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.robot.arm import ArmState
from visuotactile_ros.robot.motion_limits import MotionLimits
from visuotactile_ros.robot.vessel_geometry import lip_distance_mm, lip_position_mm, tilt_from_pose
from visuotactile_ros.robot.xarm_configuration import configure, verify_configuration
from visuotactile_ros.robot.xarm_gripper_driver import RobotiqDriver
from visuotactile_ros.robot.xarm_kinematics import (
    forward_kinematics,
    matrix_from_pose,
    pose_from_matrix,
    rotation_from_roll_pitch_yaw,
    vector_from_rotation,
)
from visuotactile_ros.robot.xarm_sdk import LateAnswerError, XArmLink, describe_error

logger = logging.getLogger(__name__)

_MODES = {'online_planning': 7, 'velocity': 5}
_MODE_NAMES = {0: 'position', 1: 'servo', 2: 'manual', 5: 'velocity', 6: 'online joints', 7: 'online planning'}
_STATE_NAMES = {3: 'paused', 4: 'stopped', 5: 'reset', 6: 'decelerating'}
_AXES = 6
_FOLLOW_PERIOD_S = 0.1
_LOOK_AHEAD_S = 0.25
_STEP_PERIOD_S = 0.2
_MONITOR_PERIOD_S = 0.05
_REPORT_PATIENCE_S = 0.25
_LIP_CORRECTION_PER_S = 1.0
_MEASURING_ATTEMPTS = 3
# How many answers in a row may be late on the way back to upright, where giving up would leave the vessel tilted.
_LATE_ANSWERS = 5
_STOP_LINK_LOST = 'the stop connection to the xArm is lost'
# A calibrated arm differs from the nominal kinematics by a few millimetres; a frozen or foreign pose by far more.
_POSE_AGREEMENT_MM, _POSE_AGREEMENT_DEG = 20.0, 3.0


@dataclass(frozen=True)
class _Report:
    """What the newest report of the controller said."""

    monotonic_s: float
    mode: int
    state: int
    error: int


class _MotionReplacedError(ArmError):
    """A motion that ended because a newer one began; no fault."""


class XArmArm:
    """Implements `robot.arm.Arm` for a UFACTORY xArm 6.

    Args:
        parameters: Settings of the arm.
    """

    def __init__(self, parameters: ArmParameters):
        self._p = parameters
        self.limits = MotionLimits(parameters)
        self._mode = _MODES[parameters.motion_mode]
        self._main: XArmLink | None = None
        self._stop_link: XArmLink | None = None
        self._gripper: RobotiqDriver | None = None
        self._gripper_lock = threading.Lock()
        self._report: _Report | None = None
        self._fault, self._armed, self._configured = '', False, False
        self._latch_lock = threading.Lock()
        self._motion_lock = threading.Lock()
        self._fail_safe_lock = threading.Lock()
        self._fail_safe_reason = ''
        self._generation = 0
        self._last_step_s = -math.inf
        self._forward_travel_deg = 0.0
        self._monitor_stop = threading.Event()
        self._monitor: threading.Thread | None = None

    @property
    def armed(self) -> bool:
        """Whether motion commands are accepted."""
        return self._armed

    @property
    def fault(self) -> str:
        """Text of the latched fault, '' for none; readable when the controller is gone."""
        return self._fault

    # Connecting and arming.

    def connect(self) -> None:
        """Connect, set payload and limits, read them back; the arm stays disarmed. Also after a lost connection.

        Raises:
            ArmError: The controller cannot be reached, is not an xArm 6, or does not take its settings.
        """
        self._disconnect()
        p = self._p
        self._main = self._open_link('control', reports=True)
        try:
            self._stop_link = self._open_link('stop', reports=False)
            self._main.api.register_report_callback(functools.partial(self._on_report, self._main))
            self._wait(lambda: self._report is not None, p.connect_timeout_s, 'no report of the xArm arrives')
            if self._main.api.axis != _AXES:
                raise ArmError(f'the arm at {p.address} has {self._main.api.axis} axes, not {_AXES}', 'Use an xArm 6')
            self._gripper = RobotiqDriver(self._main, p)
            error = self._read_error()
            if error != 0:
                self._fault = describe_error(error)
            if error == 0 and not p.dry_run:
                self._configure()
        except ArmError:
            self._disconnect()
            raise
        self._monitor_stop = threading.Event()
        self._monitor = threading.Thread(target=self._watch, name='xarm_monitor', daemon=True)
        self._monitor.start()
        logger.info('connected to the xArm at %s%s', p.address, ', dry run: nothing will move' if p.dry_run else '')

    def arm(self) -> None:
        """Clear latched faults, enable motion and take the measured pose as target. Always explicit.

        Raises:
            ArmError: The arm does not become ready; it stays disarmed.
        """
        with self._motion_lock:
            self._armed = False
            generation = self._replace_motion()
            try:
                pose = self._make_ready()
                with self._latch_lock:
                    if generation != self._generation:
                        raise ArmError('stopped while it was being armed', 'Arm it again')
                    self._last_step_s, self._forward_travel_deg = -math.inf, 0.0
                    self._fault, self._fail_safe_reason, self._armed = '', '', True
            except ArmError:
                self._stop_quietly()
                raise
        logger.info('the xArm is armed at a tilt of %.2f degrees', tilt_from_pose(self._p.upright_pose_mm_deg, pose))

    def _make_ready(self) -> np.ndarray:
        """Bring the controller to run in this driver's mode; return the measured pose [6]."""
        main = self._require_link()
        if not self._can_stop:
            self._stop_link.close()
            self._stop_link = self._open_link('stop', reports=False)
        if self._p.dry_run:
            logger.info('dry run: would clear errors, enable motion and set mode %d', self._mode)
        else:
            main.command('clean_error')
            main.command('clean_warn')
            if not self._configured:
                self._configure()
            main.command('motion_enable', True, deadline_s=6.0)
            main.command('set_mode', self._mode)
            main.command('set_state', 0)
            verify_configuration(main, self._p)
            asked_s = time.monotonic()
            self._wait(lambda: self._report_says_ready(asked_s), 2.0,
                       'the xArm does not report that it is ready', 'Look at the controller for its error')
        pose = self._read_measurements()[1]
        broken = self.limits.pose_violations(pose)
        if broken:
            raise ArmError(broken[0], 'Move the tool into the box by hand, then arm it again')
        return pose

    def close(self) -> None:
        """Stop motion, leave the arm disarmed and disconnect; calling it again does nothing."""
        self._replace_motion()
        was_armed, self._armed = self._armed, False
        if was_armed:
            self._stop_quietly()
        self._disconnect()

    # Reading.

    def read_state(self) -> ArmState:
        """Measure the arm now (never a cached report).

        Raises:
            ArmError: The arm does not answer, or says something that is not finite.
        """
        torque, pose = self._read_measurements()
        return ArmState(time.time_ns(), pose, tilt_from_pose(self._p.upright_pose_mm_deg, pose), torque, self._armed,
                        self._fault)

    # Moving.

    def approach_tilt(self, tilt_deg: float) -> None:
        """Tilt to `tilt_deg` (at most the approach limit) at the approach speed; blocks until there.

        Raises:
            ArmError: The goal breaks a limit, a fault latched, or another motion replaced this one.
        """
        if not math.isfinite(tilt_deg) or tilt_deg > self._p.approach_limit_deg:
            raise ArmError(f'the approach to {tilt_deg} degrees is over {self._p.approach_limit_deg} degrees',
                           'Approach less far, then pour in steps')
        with self._motion_lock:
            generation = self._begin_motion()
            self._follow(tilt_deg, self._p.approach_rate_deg_s, generation, returning=False)

    def command_tilt_step(self, step_deg: float) -> None:
        """Turn the vessel by `step_deg` from the MEASURED tilt, degrees; returns without waiting.

        Raises:
            MotionLimitError: The step breaks a limit; nothing is written, nothing latches.
            LateAnswerError: An answer came late; nothing is written, nothing latches.
            ArmError: Another motion is under way, or a fault latched.
        """
        if not self._motion_lock.acquire(blocking=False):
            raise _MotionReplacedError(self._fail_safe_reason or 'another motion is under way', 'Wait for its end')
        try:
            generation = self._begin_motion()
            self._check_forward()
            pose = self._read_pose_or_latch()
            now_s = time.monotonic()
            _, target = self.limits.allow_step(pose, step_deg, now_s - self._last_step_s, self._forward_travel_deg)
            if step_deg == 0.0 and self._mode == _MODES['online_planning']:
                # Waiting is no motion: the last target stays, and the arm comes to rest on it.
                self._check_gate(generation)
                return
            # A velocity lasts for one step and no longer, or a step before a pause would turn further than it says.
            self._turn(pose, target, self._p.rate_limit_deg_s, step_deg / _STEP_PERIOD_S,
                       min(self._p.velocity_duration_s, _STEP_PERIOD_S), generation)
            if step_deg != 0.0:
                self._last_step_s = now_s
            self._forward_travel_deg += max(step_deg, 0.0)
        finally:
            self._motion_lock.release()

    def retract(self) -> None:
        """Fail-safe and normal end: return to upright at the limited rate; blocks until upright. Replaces any motion.

        Raises:
            ArmError: A fault latched or the tool is outside its box.
        """
        self._replace_motion()
        with self._motion_lock:
            generation = self._begin_motion()
            pose = self._patiently(self._read_pose_or_latch)
            broken = self.limits.pose_violations(pose)
            if broken:
                raise ArmError(broken[0], 'Move the tool into the box by hand, then arm it again')
            if self.limits.path_violations(pose) and self._mode == _MODES['online_planning']:
                self._move_onto_path(pose, generation)
            self._follow(0.0, self._p.retract_rate_deg_s, generation, returning=True)
            self._forward_travel_deg = 0.0

    def fail_safe(self, reason: str) -> None:
        """Retract because of `reason`, stop where that is impossible, and latch the reason as a fault; never raises."""
        with self._fail_safe_lock:
            if self._fail_safe_reason:
                return
            self._fail_safe_reason = reason
            try:
                self._retract_for_certain()
                outcome = 'the vessel is upright'
            except ArmError as error:
                outcome = f'stopped, because it cannot retract: {error.problem}'
                try:
                    self.stop()
                except ArmError as stop_error:
                    outcome = stop_error.problem
            self._latch(f'{reason}; {outcome}', replace=True)

    def _retract_for_certain(self) -> None:
        """Retract, also when another retraction comes in between; that one must not be stopped."""
        for _ in range(3):
            try:
                return self.retract()
            except _MotionReplacedError:
                continue
        self.retract()

    def stop(self) -> None:
        """Stop at once on a path that no hung command can block, and latch a fault.

        Raises:
            ArmError: The controller did not confirm the stop.
        """
        self._replace_motion()
        self._latch('stopped on request', stop=False)
        self._send_stop()

    # Gripper.

    def grasp(self) -> None:
        """Close the gripper on the vessel; blocks until it holds.

        Raises:
            ArmError: The gripper does not answer or has a fault, which latches.
        """
        self._move_gripper(self._p.grip_closed_position)

    def release(self) -> None:
        """Open the gripper; blocks until it is open. Drops what it holds.

        Raises:
            ArmError: The gripper does not answer or has a fault, which latches.
        """
        self._move_gripper(0)

    def _move_gripper(self, position: int) -> None:
        self._require_link()
        if self._p.gripper == 'none':
            return
        if self._p.dry_run:
            logger.info('dry run: would move the gripper to %d', position)
            return
        with self._gripper_lock:
            try:
                self._gripper.move(position)
            except ArmError as error:
                self._latch(error.problem)
                raise

    # Inside: reading.

    def _require_link(self) -> XArmLink:
        if self._main is None:
            raise ArmError('the arm is not connected', 'Call connect first')
        return self._main

    def _read_measurements(self) -> tuple[np.ndarray, np.ndarray]:
        """Joint torques [7] and pose [6], read now and checked."""
        main = self._require_link()
        for _ in range(_MEASURING_ATTEMPTS):
            joints_rad, _, torque_nm = main.read('get_joint_states', True, 3)
            pose = np.array(main.read('get_position', False), dtype=float)
            # The library replaces a pose that is not a number by its last one, so the joints are what tells.
            if not (np.all(np.isfinite(joints_rad)) and np.all(np.isfinite(pose)) and np.all(np.isfinite(torque_nm))):
                raise ArmError('the xArm says a position that is not a number', 'Restart the controller')
            reported_tool, measured = _matrix(main.api.tcp_offset), _matrix(pose)
            expected = forward_kinematics(np.array(joints_rad)) @ reported_tool
            turn_deg = math.degrees(float(np.linalg.norm(vector_from_rotation(expected[:3, :3].T @ measured[:3, :3]))))
            if math.dist(expected[:3, 3], measured[:3, 3]) < _POSE_AGREEMENT_MM and turn_deg < _POSE_AGREEMENT_DEG:
                break
            # On a busy machine a moving arm gets on between the two readings; a frozen pose differs every time.
        else:
            raise ArmError('the pose and the joint angles of the xArm do not belong together', 'Restart the controller')
        if self._p.dry_run:
            # The controller was not told of the tool, so its pose is that of another point.
            pose = pose_from_matrix(measured @ np.linalg.inv(reported_tool) @ _matrix(self._p.tool_offset_mm_deg))
            pose[3:] = np.degrees(pose[3:])
        return np.array(torque_nm, dtype=float), pose

    def _read_pose_or_latch(self) -> np.ndarray:
        try:
            return self._read_measurements()[1]
        except LateAnswerError:
            raise
        except ArmError as error:
            self._latch(error.problem)
            raise

    def _patiently(self, action: Callable[..., Any], *arguments: Any) -> Any:
        """Result of `action`, tried again after late answers; meanwhile the last motion ends by itself."""
        for _ in range(_LATE_ANSWERS - 1):
            with contextlib.suppress(LateAnswerError):
                return action(*arguments)
        try:
            return action(*arguments)
        except LateAnswerError as error:
            self._latch(error.problem)
            raise

    def _read_error(self) -> int:
        return int(self._require_link().read('get_err_warn_code')[0])

    def _on_report(self, link: XArmLink, item: dict) -> None:
        # Threads of a connection that is given up may live on for a second.
        if link is self._main:
            self._report = _Report(time.monotonic(), link.api.mode, item['state'], item['error_code'])

    def _report_says_ready(self, since_s: float) -> bool:
        report = self._report
        return report is not None and report.monotonic_s > since_s and report.mode == self._mode \
            and report.state in (0, 1, 2) and report.error == 0

    # Inside: guarding.

    def _replace_motion(self) -> int:
        """End the motion under way at its next step; return the number of the new one."""
        with self._latch_lock:
            self._generation += 1
            return self._generation

    def _begin_motion(self) -> int:
        """Refuse while latched or disarmed; return the number that a newer motion will change."""
        if self._fault:
            raise ArmError(f'the arm is latched: {self._fault}', 'Remove the cause, then arm it again')
        if not self._armed:
            raise ArmError('the arm is not armed', 'Arm it first')
        return self._generation

    def _check_forward(self) -> None:
        """Refuse what may tilt further while the vessel is on its fail-safe way back, or nothing else could stop it."""
        if self._fail_safe_reason:
            raise _MotionReplacedError(self._fail_safe_reason, 'Remove the cause, then arm it again')
        if not self._can_stop:
            raise ArmError(_STOP_LINK_LOST, 'Check the connection of the arm, then arm it again')

    def _check_gate(self, generation: int) -> None:
        """Last look before every write: latched, replaced, connection, report age, error, mode, state.

        Raises:
            LateAnswerError: An answer came late; nothing is latched.
            ArmError: Nothing may be written; a problem of the arm is latched.
        """
        self._begin_motion()
        if generation != self._generation:
            raise _MotionReplacedError(self._fail_safe_reason or 'the motion was replaced by a newer one',
                                       'Wait for the end of the newer one')
        problem = self._report_problem()
        if not problem:
            try:
                error = self._read_error()
                state = int(self._require_link().read('get_state'))
                problem = describe_error(error) if error != 0 else self._state_problem(state)
            except LateAnswerError:
                raise
            except ArmError as failure:
                problem = failure.problem
        if problem:
            self._latch(problem)
            raise ArmError(problem, 'Remove the cause, then arm it again')

    @property
    def _can_stop(self) -> bool:
        """Whether the stop connection is alive."""
        return self._stop_link is not None and self._stop_link.alive

    def _report_problem(self) -> str:
        """What the control connection and the newest report say is wrong, '' for nothing."""
        main = self._main
        if main is None or not main.alive:
            return 'the connection to the xArm is lost'
        # A process that was starved finds its reports waiting. Nothing is written meanwhile, but the library gets the
        # time of one report to take them before the arm is blamed.
        patient_until_s = time.monotonic() + _REPORT_PATIENCE_S
        while self._is_stale(report := self._report) and time.monotonic() < patient_until_s:
            time.sleep(0.01)
        if self._is_stale(report):
            return f'no report of the xArm for over {self._p.report_age_limit_s} s'
        if report.error != 0:
            return describe_error(report.error)
        if report.mode != self._mode and not self._p.dry_run:
            return f'something else switched the xArm to mode {report.mode} ({_MODE_NAMES.get(report.mode, "other")})'
        return self._state_problem(report.state)

    def _is_stale(self, report: _Report | None) -> bool:
        return report is None or time.monotonic() - report.monotonic_s > self._p.report_age_limit_s

    def _state_problem(self, state: int) -> str:
        if state in (0, 1, 2) or self._p.dry_run:
            return ''
        return f'something else put the xArm into state {state} ({_STATE_NAMES.get(state, "unknown")})'

    def _watch(self) -> None:
        """Monitor thread: notices while nobody commands."""
        stopping = self._monitor_stop
        while not stopping.wait(_MONITOR_PERIOD_S):
            if not self._armed:
                continue
            problem = self._report_problem()
            if problem and self._armed:
                self._latch(problem)
            elif self._armed and not self._can_stop:
                # The way back is still open, and a tilted vessel that stands still goes on pouring.
                self.fail_safe(_STOP_LINK_LOST)

    def _latch(self, problem: str, *, stop: bool = True, replace: bool = False) -> None:
        """Disarm and keep the first fault (or `replace` it); stop through the second connection if it was armed."""
        with self._latch_lock:
            first = not self._fault
            if first or replace:
                self._fault = problem
            was_armed, self._armed = self._armed, False
        if first or replace:
            logger.error('%s. The arm is disarmed; remove the cause, then arm it again.', problem)
        if stop and was_armed:
            self._stop_quietly()

    def _stop_quietly(self) -> None:
        if self._p.dry_run:
            # What moves during a dry run is somebody else's.
            logger.info('dry run: would stop the arm')
            return
        try:
            self._send_stop()
        except ArmError as error:
            logger.warning('%s', error)

    def _send_stop(self) -> None:
        """Stop the controller: through the stop connection, twice if need be, then through the other one."""
        for link in (self._stop_link, self._stop_link, self._main):
            if link is None or not link.alive:
                continue
            try:
                link.command('set_state', 4)
                if link.api.state in (4, 5):
                    return
            except ArmError:
                continue
        raise ArmError('the xArm did not confirm the stop', 'Press the emergency stop')

    # Inside: moving.

    def _write(self, generation: int, method: str, *arguments: Any, **keywords: Any) -> None:
        """Move the arm by one call of the library; nothing else does."""
        self._check_gate(generation)
        if self._p.dry_run:
            logger.info('dry run: would call %s with %s', method, np.round(arguments, 3).tolist())
            return
        try:
            self._require_link().command(method, *arguments, **keywords)
        except ArmError as error:
            self._latch(self._explained(error))
            raise

    def _turn(self, pose: np.ndarray, target: list[float], rate_deg_s: float, velocity_deg_s: float, duration_s: float,
              generation: int) -> None:
        """Write one turn: towards `target` in mode 7, at `velocity_deg_s` for `duration_s` in mode 5."""
        if self._mode == _MODES['velocity']:
            self._write(generation, 'vc_set_cartesian_velocity', self._twist(pose, velocity_deg_s), is_radian=True,
                        is_tool_coord=True, duration=duration_s)
        else:
            self._move_to(target, math.radians(rate_deg_s) * lip_distance_mm(self._p.lip_in_tool_mm), generation)

    def _move_to(self, target: list[float], speed_mm_s: float, generation: int) -> None:
        # Zero is a value for the library's speed, but it clamps below 0.1 mm/s; accelerate within a twentieth second.
        self._write(generation, 'set_position', *target, speed=max(speed_mm_s, 1.0),
                    mvacc=max(20.0 * speed_mm_s, 20.0), wait=False)

    def _explained(self, error: ArmError) -> str:
        """The problem of a failed command, with the controller's own error where it can still say it."""
        try:
            code = self._read_error()
        except ArmError:
            return error.problem
        return describe_error(code) if code != 0 else error.problem

    def _twist(self, pose: np.ndarray, velocity_deg_s: float) -> list[float]:
        """Velocity of the tool in its own frame (mm/s, rad/s) that turns it about the lip and draws the lip home."""
        lip = np.asarray(self._p.lip_in_tool_mm)
        turn = np.array([0.0, -math.radians(velocity_deg_s), 0.0])
        home = lip_position_mm(self._p.upright_pose_mm_deg, lip)
        rotation = rotation_from_roll_pitch_yaw(*np.radians(pose[3:]))
        correction = rotation.T @ (home - lip_position_mm(pose, lip)) * _LIP_CORRECTION_PER_S
        if velocity_deg_s == 0.0:
            correction = np.zeros(3)
        correction *= min(1.0, self._p.move_rate_mm_s / max(float(np.linalg.norm(correction)), 1e-9))
        return [float(number) for number in np.concatenate([correction - np.cross(turn, lip), turn])]

    def _follow(self, goal_deg: float, rate_deg_s: float, generation: int, *, returning: bool) -> None:
        """Turn to `goal_deg` in short targets ahead of the measured tilt; blocks until there.

        The way back is open from off the path, and without a stop connection.
        """
        upright = self._p.upright_pose_mm_deg
        pose = self._patiently(self._read_pose_or_latch)
        deadline_s = time.monotonic() + 2.0 * abs(goal_deg - tilt_from_pose(upright, pose)) / rate_deg_s + 3.0
        while True:
            if not returning:
                if broken := self.limits.path_violations(pose):
                    raise ArmError(broken[0], 'Retract the arm')
                self._check_forward()
            tilt_deg = tilt_from_pose(upright, pose)
            left_deg = goal_deg - tilt_deg
            arrived = abs(left_deg) <= self._p.tilt_tolerance_deg
            ahead_deg = max(-rate_deg_s * _LOOK_AHEAD_S, min(rate_deg_s * _LOOK_AHEAD_S, left_deg))
            _, target = self.limits.allow_tilt(tilt_deg + ahead_deg, towards=left_deg)
            self._patiently(self._turn, pose, target, rate_deg_s, 0.0 if arrived else ahead_deg / _LOOK_AHEAD_S,
                            self._p.velocity_duration_s, generation)
            if arrived or self._p.dry_run:
                return
            if time.monotonic() > deadline_s:
                self._latch(f'the vessel stays at {tilt_deg:.1f} degrees on its way to {goal_deg:.1f} degrees')
                self._begin_motion()
            time.sleep(_FOLLOW_PERIOD_S)
            pose = self._patiently(self._read_pose_or_latch)

    def _move_onto_path(self, pose: np.ndarray, generation: int) -> None:
        """Straight slow move to where the tool belongs at its measured tilt, for a tool that is off its path."""
        p = self._p
        tilt_deg = min(max(tilt_from_pose(p.upright_pose_mm_deg, pose), p.minimum_tilt_deg), p.maximum_tilt_deg)
        _, target = self.limits.allow_tilt(tilt_deg)
        deadline_s = time.monotonic() + 2.0 * math.dist(pose[:3], target[:3]) / p.move_rate_mm_s + 10.0
        self._patiently(self._move_to, target, p.move_rate_mm_s, generation)
        while not p.dry_run and self.limits.path_violations(self._patiently(self._read_pose_or_latch)):
            self._patiently(self._check_gate, generation)
            if time.monotonic() > deadline_s:
                self._latch('the tool does not come back to its path')
                self._begin_motion()
            time.sleep(_FOLLOW_PERIOD_S)

    # Inside: life.

    def _open_link(self, name: str, *, reports: bool) -> XArmLink:
        p = self._p
        return XArmLink(name, p.address, p.control_port, reports=reports, command_timeout_s=p.command_timeout_s,
                        call_deadline_s=p.call_deadline_s, connect_timeout_s=p.connect_timeout_s)

    def _configure(self) -> None:
        configure(self._require_link(), self._p)
        verify_configuration(self._require_link(), self._p)
        self._configured = True

    def _wait(self, condition: Callable[[], bool], timeout_s: float, problem: str,
              remedy: str = 'Check the connection of the arm') -> None:
        deadline_s = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline_s:
                raise ArmError(problem, remedy)
            time.sleep(0.02)

    def _disconnect(self) -> None:
        self._armed, self._configured = False, False
        self._monitor_stop.set()
        if self._monitor is not None:
            self._monitor.join(2.0)
        if self._gripper is not None:
            self._gripper.close()
        links, self._main, self._stop_link = (self._main, self._stop_link), None, None
        for link in links:
            if link is not None:
                link.close()
        self._monitor = self._gripper = self._report = None


def _matrix(pose_mm_deg: Sequence[float]) -> np.ndarray:
    """Homogeneous matrix [4, 4] of a pose in mm and degrees."""
    return matrix_from_pose(np.concatenate([pose_mm_deg[:3], np.radians(pose_mm_deg[3:])]))
