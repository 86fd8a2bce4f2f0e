"""pouring: embeddings and measured tilt in, steps of the arm out, five times a second.

Longer than most: everything that can end a pour (lost touch, a fault, a stop, a shutdown) meets here, and reads best in
one place. What decides is PouringTask; what guards a motion is the arm; this node brings them together with ROS.

Threads: `control` ticks at the policy's rate and never blocks for long; what does (grasp, approach, return to upright)
has a thread for each motion; the watchdog has its own; messages and services run on the executor, but `~/stop` on
one of its own, so that no callback can stand in its way. Nobody holds the node's lock while the policy decides or the
arm answers: either may hang, and the lock is what the watchdog and `~/stop` need.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from geometry_msgs.msg import TwistStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.task import Future
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from visuotactile_ros.errors import ArmError, ConfigurationError, MessageError, ModelError, VisuotactileError
from visuotactile_ros.parameters.arm import LONGEST_RETURN_S, ArmParameters
from visuotactile_ros.parameters.pouring_node import PARAMETER_GROUPS, PouringNodeParameters
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.observation import SENSORS, PouringObservation, observation_problem
from visuotactile_ros.policy.pouring_policy import PouringPolicy
from visuotactile_ros.policy.pouring_task import PouringTask, TaskCommand
from visuotactile_ros.resources import model_folder
from visuotactile_ros.robot.arm import ArmState
from visuotactile_ros.robot.motion_limits import MotionLimitError
from visuotactile_ros.robot.watchdog import Watchdog, WatchdogThread
from visuotactile_ros.robot.xarm_arm import XArmArm
from visuotactile_ros.ros_interface import messages
from visuotactile_ros.ros_interface.diagnostics import ERROR, OK, WARN, Health, RecentEvents
from visuotactile_ros.ros_interface.image_codec import decode_vector
from visuotactile_ros.ros_interface.managed_node import ManagedNode
from visuotactile_ros.ros_interface.node_main import run_node
from visuotactile_ros.ros_interface.qos import EMBEDDING_SUBSCRIPTION, LATCHED, STREAM_PUBLISHER

LOG_PERIOD_S = 5.0
SHORTEST_PAUSE_PERIODS = 0.6
ARM_RETRY_S = 0.5
RECONNECT_PERIOD_S = 2.0
# How long touch may be missing while the vessel is upright or at a tilt at which nothing flows.
LONGEST_GAP_S = 3.0
# A tick takes less unless something in it hangs, and then it has no part in the return to upright.
TICK_TIMEOUT_S = 2.0
# What starts, brakes and measures comes on top of the return itself.
RETURN_TIMEOUT_S = LONGEST_RETURN_S + 3.0


class PouringNode(ManagedNode):
    """Pours once for every `~/start`, after an explicit `~/arm`.

    Subscribes to `<tactile_namespace>/embedding_stamped` and `<tactile_namespace>/model_info`. Publishes `~/state`
    (sensor_msgs/JointState: `vessel_tilt`, rad), `~/action` (geometry_msgs/TwistStamped: angular.y in rad/s, frame_id
    is the action's name) and, latched, `~/phase` (std_msgs/String: idle, baseline, approach, pour, retract, done, or
    `fault: <text>`). Services (std_srvs/Trigger): `~/arm`, `~/start`, `~/stop`.

    Whatever makes touch unusable while the vessel is tilted ends in a return to upright, not in a hold: a tilted vessel
    keeps pouring. Every end that is not the policy's own latches a fault that only `~/arm` clears.
    """

    def __init__(self, **node_arguments):
        super().__init__('pouring', PARAMETER_GROUPS, **node_arguments)
        self._arm: XArmArm | None = None
        self._lock = threading.RLock()
        self._control: threading.Thread | None = None
        self._motion: threading.Thread | None = None
        self._stopping = threading.Event()
        self._task: PouringTask | None = None
        self._watchdog_thread: WatchdogThread | None = None
        self._ros_entities: list[tuple[Callable, object]] = []
        self._stop_node: Node | None = None
        self._fault = self._published_phase = ''

    # Lifecycle

    def configure(self) -> None:
        """Load the policy, connect the arm (it stays disarmed) and declare the topics.

        Raises:
            ModelError: The policy is refused.
            ConfigurationError: Task, policy and arm do not fit together.
            ArmError: The arm does not answer.
        """
        self._settings: PouringNodeParameters = self.parameters[PouringNodeParameters]
        self._task_settings: PouringTaskParameters = self.parameters[PouringTaskParameters]
        self._arm_settings: ArmParameters = self.parameters[ArmParameters]
        for wish, limit in (('approach_tilt_deg', 'approach_limit_deg'), ('step_deg', 'step_limit_deg'),
                            ('maximum_tilt_deg', 'maximum_tilt_deg')):
            wanted, allowed = getattr(self._task_settings, wish), getattr(self._arm_settings, limit)
            if wanted > allowed:
                raise ConfigurationError(f'task.{wish} is {wanted}, but arm.{limit} is {allowed}',
                                         'Lower the first or raise the second')
        self._policy = PouringPolicy(model_folder(self._settings.policy))
        self._policy.check_task(self._task_settings)
        self._task = PouringTask(self._policy, self._task_settings)
        self._embeddings, self._stamps_ns = {}, {}
        self._encoder_problem = 'perception has not said yet which encoder it runs'
        self._fault = self._published_phase = ''
        self._auto_start_pending = self._settings.auto_start
        self._missed_deadlines = self._refused_messages = self._unusable_observations = self._limit_violations = 0
        self._touch_problem, self._touched_s = '', 0.0
        self._reconnected_s = -RECONNECT_PERIOD_S
        self._decisions, self._tick_ms = RecentEvents(), RecentEvents()
        self._watchdog = Watchdog(self._arm_settings.watchdog_timeout_s, self._on_watchdog)
        self._connect_arm()
        self._declare_topics()
        self._open_stop_path()

    def _connect_arm(self) -> None:
        self._arm = XArmArm(self._arm_settings)
        deadline_s = time.monotonic() + self._settings.arm_patience_s
        while True:
            try:
                return self._arm.connect()
            except ArmError:
                # In a graph that starts all at once the controller may come up after its client.
                if time.monotonic() > deadline_s or self.stop_requested.wait(ARM_RETRY_S):
                    raise

    def _declare_topics(self) -> None:
        self._state_publisher = self.create_publisher(JointState, '~/state', STREAM_PUBLISHER)
        self._action_publisher = self.create_publisher(TwistStamped, '~/action', STREAM_PUBLISHER)
        self._phase_publisher = self.create_publisher(String, '~/phase', LATCHED)
        namespace = self._settings.tactile_namespace
        embeddings = self.create_subscription(
            Image, f'{namespace}/embedding_stamped', self._on_embedding, EMBEDDING_SUBSCRIPTION)
        model_info = self.create_subscription(String, f'{namespace}/model_info', self._on_model_info, LATCHED)
        # A service that awaits holds its group until it has answered.
        own_group = MutuallyExclusiveCallbackGroup()
        services = [self.create_service(Trigger, '~/arm', self._on_arm, callback_group=own_group),
                    self.create_service(Trigger, '~/start', self._on_start)]
        self._ros_entities = [
            *[(self.destroy_publisher, each)
              for each in (self._state_publisher, self._action_publisher, self._phase_publisher)],
            *[(self.destroy_subscription, each) for each in (embeddings, model_info)],
            *[(self.destroy_service, each) for each in services]]
        self._publish_phase()

    def _open_stop_path(self) -> None:
        # An executor with several threads would do as well, at three times the CPU of the whole node.
        self._stop_node = Node(f'{self.get_name()}_stop', namespace=self.get_namespace(), context=self.context,
                               use_global_arguments=False, start_parameter_services=False)
        self._stop_node.create_service(Trigger, f'{self.get_fully_qualified_name()}/stop', self._on_stop)
        self._stop_executor = SingleThreadedExecutor(context=self.context)
        self._stop_executor.add_node(self._stop_node)
        self._stop_thread = self.start_worker(self._stop_executor.spin, 'stop path')

    def activate(self) -> None:
        """Start to watch touch and arm; nothing moves before `~/arm` and `~/start`, or auto_start."""
        self._stopping.clear()
        self._watchdog_thread = WatchdogThread(self._watchdog)
        self._watchdog_thread.start()
        self._control = self.start_worker(self._run_control, 'control')

    def deactivate(self) -> None:
        """End a pour in progress by returning to upright, then stop to control."""
        if self._watchdog_thread is not None:
            self._watchdog_thread.stop()
            self._watchdog_thread = None
        if self._control is not None:
            self._fail_safe_if_pouring('the node was stopped during a pour')
            self._stopping.set()
            return_by_s = time.monotonic() + RETURN_TIMEOUT_S
            self._control.join(TICK_TIMEOUT_S)
            motion = self._motion
            if motion is not None:
                motion.join(return_by_s - time.monotonic())
            self._control = None

    def cleanup(self) -> None:
        """Leave the arm disarmed, disconnect and forget policy and topics."""
        if self._arm is not None:
            try:
                self._arm.close()
            except ArmError as error:
                self.get_logger().error(str(error))
            self._arm = None
        for destroy, entity in self._ros_entities:
            destroy(entity)
        self._ros_entities = []
        if self._stop_node is not None:
            self._stop_executor.shutdown()
            self._stop_thread.join(TICK_TIMEOUT_S)
            self._stop_node.destroy_node()
            self._stop_node = None

    def hardware_id(self) -> str:
        """Address of the arm."""
        return self.parameters[ArmParameters].address

    def health(self) -> Health:
        """Phase, fault, and how well the control loop keeps its time."""
        work_p50_ms, work_p95_ms = self._tick_ms.percentiles(50, 95)
        values = {'phase': self._phase(), 'policy_hz': self._decisions.rate_hz(),
                  'missed_deadlines': self._missed_deadlines, 'limit_violations': self._limit_violations,
                  'unusable_observations': self._unusable_observations, 'refused_messages': self._refused_messages,
                  'work_p50_ms': work_p50_ms, 'work_p95_ms': work_p95_ms, 'dry_run': self._arm_settings.dry_run}
        if self._fault:
            return Health(ERROR, self._fault, values)
        if self._encoder_problem:
            return Health(WARN, self._encoder_problem, values)
        return Health(OK, self._phase(), values)

    # Messages

    def _on_embedding(self, message: Image) -> None:
        sensor = message.header.frame_id
        if sensor not in SENSORS:
            return
        try:
            embedding = decode_vector(message)
            if embedding.size != self._policy.embedding_size:
                raise MessageError(f'it has {embedding.size} numbers, the policy takes {self._policy.embedding_size}',
                                   'Use the encoder the policy was trained on')
        except MessageError as error:
            self._refused_messages += 1
            self.get_logger().error(f'embedding of {sensor}: {error}', throttle_duration_sec=LOG_PERIOD_S)
            return
        with self._lock:
            self._embeddings[sensor] = embedding
            self._stamps_ns[sensor] = messages.ns_from_time(message.header.stamp)

    def _on_model_info(self, message: String) -> None:
        try:
            hashes = messages.encoder_hashes(message)
            for sensor in SENSORS:
                if sensor not in hashes:
                    raise ModelError(f'perception does not encode {sensor}', 'Add it to its sensors')
                self._policy.check_encoder(hashes[sensor])
            self._encoder_problem = ''
        except VisuotactileError as error:
            self._encoder_problem = str(error)
            self.get_logger().error(self._encoder_problem)
            self._fail_safe_if_pouring(self._encoder_problem)

    # Services

    async def _on_arm(self, _request, response):
        # Arming takes a second or more, in which embeddings must go on coming in.
        problem = Future(executor=self.executor)
        self.start_worker(lambda: problem.set_result(self._arm_again()), 'arm')
        text = await problem
        response.success, response.message = text == '', text or 'The arm is armed.'
        return response

    def _arm_again(self) -> str:
        """Arm and forget the fault; returns why that did not go, '' when it did."""
        try:
            self._refuse_while_pouring()
            self._arm.arm()
        except VisuotactileError as error:
            return str(error)
        with self._lock:
            self._fault = ''
            self._abandon_task()
        return ''

    def _on_start(self, _request, response):
        try:
            self._refuse_while_pouring()
            state = self._arm.read_state()
            problem = self._not_ready(self._observe(state))
            if problem:
                raise ArmError(f'no pour can start: {problem}'.rstrip('.'), 'Mend that, call ~/arm, then ~/start')
            if not state.armed:
                raise ArmError('the arm is not armed', 'Call ~/arm first')
            self._begin_motion(self._begin_pour)
            response.success, response.message = True, 'The pour has begun.'
        except VisuotactileError as error:
            response.success, response.message = False, str(error)
        return response

    def _on_stop(self, _request, response):
        # First the arm, then everything else: no lock of this node stands between the request and the standstill.
        try:
            self._arm.stop()
            response.success, response.message = True, 'The arm is stopped. Call ~/arm to go on.'
        except VisuotactileError as error:
            response.success, response.message = False, str(error)
        self._latch('stopped by ~/stop')
        self._abandon_task()
        return response

    def _refuse_while_pouring(self) -> None:
        if self.state_label != 'active':
            raise ArmError(f'the pouring node is {self.state_label}', 'Activate it first')
        if self._is_pouring() or self._motion is not None:
            raise ArmError('a pour is in progress', 'Wait for its end, or call ~/stop')

    def _not_ready(self, observation: PouringObservation) -> str:
        """Why no pour can start now, '' when one can."""
        return self._fault or self._encoder_problem or observation_problem(
            observation, self._task_settings.maximum_embedding_age_s, self._task_settings.maximum_embedding_skew_s)

    # Control thread

    def _run_control(self) -> None:
        period_s = 1.0 / self._task_settings.policy_rate_hz
        due_s = wake_s = time.monotonic()
        while not self._stopping.wait(max(0.0, wake_s - time.monotonic())):
            started_s = time.monotonic()
            try:
                self._tick()
            except VisuotactileError as error:
                self._fail_safe(str(error))
                self._reconnect()
            now_s = time.monotonic()
            self._tick_ms.add((now_s - started_s) * 1e3)
            due_s += period_s
            if now_s > due_s:
                late_periods = 1 + int((now_s - due_s) / period_s)
                due_s += late_periods * period_s
                if self._is_pouring() and self._motion is None:
                    self._missed_deadlines += late_periods
            # Two steps close together, the first one late, would turn the vessel faster than its limit allows.
            wake_s = max(due_s, now_s + SHORTEST_PAUSE_PERIODS * period_s)

    def _reconnect(self) -> None:
        """Try to get a lost arm back, now and then; it stays disarmed and the fault stays latched."""
        if self._motion is not None or self._stopping.is_set() or \
                time.monotonic() - self._reconnected_s < RECONNECT_PERIOD_S:
            return
        try:
            self._arm.read_state()
        except ArmError:
            try:
                self._arm.connect()
            except ArmError as error:
                self.get_logger().error(str(error), throttle_duration_sec=LOG_PERIOD_S)
        self._reconnected_s = time.monotonic()

    def _tick(self) -> None:
        state = self._arm.read_state()
        self._state_publisher.publish(messages.tilt_message(state.stamp_ns, state.tilt_deg))
        if state.fault:
            self._fail_safe(state.fault)
        observation = self._observe(state)
        if self._auto_start_pending:
            self._auto_start(observation)
        with self._lock:
            task = self._task
            if self._motion is not None or not self._is_pouring():
                return
        command = task.decide(observation)
        with self._lock:
            if self._task is not task or self._motion is not None:
                return  # the pour was ended while this was decided
            self._note_use_of_touch(command.problem)
            if task.outcome not in ('', 'completed'):
                self._fail_safe(task.outcome)
            if self._task is not task:
                return
            if task.phase == 'done':
                self._watchdog.pause()
            if command.kind in ('approach', 'retract'):
                self._begin_motion(self._arm.retract if command.kind == 'retract'
                                   else lambda: self._approach(command.tilt_deg))
        if command.kind == 'step':
            self._step(command.step_deg)
        self._publish_action(command)
        self._publish_phase()

    def _note_use_of_touch(self, problem: str) -> None:
        """Feed the watchdog; where nothing flows yet, a gap in touch is waited out, within bounds."""
        now_s = time.monotonic()
        if problem == '':
            self._touch_problem, self._touched_s = '', now_s
        else:
            self._unusable_observations += 1
            self._touch_problem = problem
        if problem == '' or self._task.phase in ('baseline', 'approach'):
            self._watchdog.feed()
            if now_s - self._touched_s > LONGEST_GAP_S:
                self._fail_safe(problem)

    def _observe(self, state: ArmState) -> PouringObservation:
        with self._lock:
            return PouringObservation(time.time_ns(), dict(self._embeddings), dict(self._stamps_ns), state.tilt_deg)

    def _approach(self, tilt_deg: float) -> None:
        self._arm.approach_tilt(tilt_deg)
        if self._arm_settings.dry_run:
            # What the policy would do from there on it would have to see and measure.
            self.get_logger().info('dry run: the approach is allowed; this is as far as a pour gets without motion')
            with self._lock:
                self._task.give_up('completed')

    def _step(self, step_deg: float) -> None:
        # A pour that is ended from here on has disarmed the arm, or has it on its way back: it then refuses the step.
        try:
            self._arm.command_tilt_step(step_deg)
        except MotionLimitError:
            self._limit_violations += 1
            raise

    def _publish_action(self, command: TaskCommand) -> None:
        rates = {'hold': 0.0, 'approach': self._arm_settings.approach_rate_deg_s,
                 'step': command.step_deg * self._task_settings.policy_rate_hz,
                 'retract': -self._arm_settings.retract_rate_deg_s}
        action = command.kind if command.decision is None else command.decision.action
        if command.decision is not None:
            self._decisions.add()
        self._action_publisher.publish(messages.action_message(time.time_ns(), action, rates[command.kind]))

    def _auto_start(self, observation: PouringObservation) -> None:
        problem = self._not_ready(observation)
        if problem:
            self.get_logger().info(f'Waiting to start by itself: {problem}', throttle_duration_sec=LOG_PERIOD_S)
            return
        self._auto_start_pending = False
        self.get_logger().info('Both fingers send embeddings: arming and starting to pour.')

        def arm_and_begin() -> None:
            self._arm.arm()
            self._begin_pour()
        self._begin_motion(arm_and_begin)

    # Motions

    def _begin_motion(self, motion: Callable[[], None]) -> None:
        """Run a blocking motion in a thread; it replaces one that is under way.

        The watchdog rests until it ends, for touch decides nothing then.
        """
        def run() -> None:
            with self._lock:
                if self._motion is not threading.current_thread():
                    return
            problem = ''
            try:
                motion()
            except VisuotactileError as error:
                problem = str(error)
            with self._lock:
                if self._motion is not threading.current_thread():
                    return
                self._motion, self._touched_s = None, time.monotonic()
                if problem:
                    self._fail_safe(problem)
                elif self._is_pouring():
                    self._watchdog.start()
            self._publish_phase()

        with self._lock:
            self._watchdog.pause()
            self._motion = self.start_worker(run, 'motion')

    def _begin_pour(self) -> None:
        self._arm.retract()
        if self._settings.grasp:
            self._arm.grasp()
        with self._lock:
            if self._fault == '' and not self._stopping.is_set():
                self._task.start()

    # Faults

    def _is_pouring(self) -> bool:
        return self._task is not None and self._task.phase not in ('idle', 'done')

    def _abandon_task(self) -> None:
        with self._lock:
            self._task = PouringTask(self._policy, self._task_settings)
            self._watchdog.pause()
        self._publish_phase()

    def _latch(self, fault: str) -> None:
        """Remember the first fault until `~/arm`."""
        with self._lock:
            self._auto_start_pending = False
            if self._fault == '':
                self._fault = fault.rstrip('.')
                self.get_logger().error(fault)
        self._publish_phase()

    def _fail_safe(self, fault: str) -> None:
        """Latch a fault; in a pour, return to upright as well, or stand still where that is impossible."""
        with self._lock:
            was_pouring = self._is_pouring()
            self._latch(fault)
            if was_pouring:
                self._abandon_task()
                self._begin_motion(lambda: self._arm.fail_safe(self._fault))

    def _fail_safe_if_pouring(self, fault: str) -> None:
        if self._is_pouring():
            self._fail_safe(fault)

    def _on_watchdog(self, age_s: float) -> None:
        why = f': {self._touch_problem}' if self._touch_problem else ''
        self._fail_safe(f'no fresh action for {age_s:.1f} s{why}')

    def _phase(self) -> str:
        return f'fault: {self._fault}' if self._fault else self._task.phase

    def _publish_phase(self) -> None:
        with self._lock:
            phase = self._phase()
            if phase != self._published_phase:
                self._published_phase = phase
                self._phase_publisher.publish(String(data=phase))
                if not self._fault:  # a fault has its own line
                    self.get_logger().info(f'Phase: {phase}.')


def main(arguments: list[str] | None = None) -> int:
    """Run the pouring node."""
    return run_node(PouringNode, arguments)


if __name__ == '__main__':
    sys.exit(main())
