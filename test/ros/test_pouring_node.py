"""pouring against the simulated controller box: the true vendor library between them, touch scripted by the test."""

import contextlib
import dataclasses
import json
import math
import os
import threading
import time

import numpy as np
import pytest
from geometry_msgs.msg import TwistStamped
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.qos import DurabilityPolicy, QoSProfile
from ros_graph import WAIT_S, wait_until
from sensor_msgs.msg import Image, JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from visuotactile_ros.frame import Prediction, SensorIdentity
from visuotactile_ros.inference.model_card import ModelCard, TensorDescription
from visuotactile_ros.inference.model_folder import write_model_folder
from visuotactile_ros.nodes.pouring_node import PouringNode
from visuotactile_ros.parameters.arm import ArmParameters
from visuotactile_ros.parameters.pouring_task import PouringTaskParameters
from visuotactile_ros.policy.observation import SENSORS
from visuotactile_ros.robot.vessel_geometry import tilt_from_pose
from visuotactile_ros.ros_interface.messages import json_message, stamped_embedding_message
from visuotactile_ros.ros_interface.qos import LATCHED, STREAM_PUBLISHER
from visuotactile_ros.simulation.xarm_controller import XArmController

EMBEDDING_SIZE = 4
ENCODER_SHA256 = 'ab' * 32
APPROACH_DEG, POUR_UNTIL_DEG = 4.0, 7.0
# Latched like the publisher, and deep: a busy test must not miss a phase.
EVERY_PHASE = QoSProfile(depth=20, durability=DurabilityPolicy.TRANSIENT_LOCAL)
TASK = {'approach_tilt_deg': APPROACH_DEG, 'baseline_decisions': 1, 'retract_decisions': 2}


def write_scripted_policy(folder):
    """A true model folder whose network pours up to POUR_UNTIL_DEG and from then on retracts."""
    from onnx import TensorProto, helper, numpy_helper
    shapes = {'embeddings': (1, 2, EMBEDDING_SIZE), 'references': (1, 2, 2, EMBEDDING_SIZE), 'context': (1, 5),
              'state': (1, 1), 'action_probabilities': (1, 3), 'poured_mass_g': (1, 1), 'next_state': (1, 1)}
    # context[0] is the sine of the tilt; the state remembers that it was once over the limit.
    constants = {'first': np.array([[1, 0, 0, 0, 0]], np.float32).T, 'zeros': np.zeros((5, 1), np.float32),
                 'limit': np.array([[math.sin(math.radians(POUR_UNTIL_DEG))]], np.float32),
                 'pouring': np.array([[1, -1, 0]], np.float32), 'ended': np.array([[-2, 0, 1]], np.float32)}
    nodes = [helper.make_node('MatMul', ['context', 'first'], ['sine']),
             helper.make_node('Greater', ['sine', 'limit'], ['is_over']),
             helper.make_node('Cast', ['is_over'], ['over'], to=TensorProto.FLOAT),
             helper.make_node('Max', ['state', 'over'], ['next_state']),
             helper.make_node('MatMul', ['next_state', 'ended'], ['change']),
             helper.make_node('Add', ['pouring', 'change'], ['logits']),
             helper.make_node('Softmax', ['logits'], ['action_probabilities'], axis=-1),
             helper.make_node('MatMul', ['context', 'zeros'], ['poured_mass_g'])]

    def described(names):
        return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name]) for name in names]
    inputs, outputs = list(shapes)[:4], list(shapes)[4:]
    graph = helper.make_graph(nodes, 'scripted', described(inputs), described(outputs),
                              [numpy_helper.from_array(values, name) for name, values in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=10)
    task = PouringTaskParameters(**TASK)
    card = ModelCard(
        format_version=1, name='scripted', kind='pouring_policy', sha256='',
        inputs=tuple(TensorDescription(name, 'float32', shapes[name]) for name in inputs),
        outputs=tuple(TensorDescription(name, 'float32', shapes[name], '', 1e-4) for name in outputs),
        licence='Apache-2.0', training={'recipe': 'none'},
        constants={'target_mass_g': task.target_mass_g, 'step_deg': task.step_deg,
                   'policy_rate_hz': task.policy_rate_hz, 'approach_tilt_deg': task.approach_tilt_deg,
                   'encoder_name': 'tiny', 'encoder_sha256': ENCODER_SHA256})
    golden_inputs = {name: np.zeros(shapes[name], np.float32) for name in inputs}
    odds = np.exp(constants['pouring'])
    golden_outputs = {'action_probabilities': odds / odds.sum(), 'poured_mass_g': np.zeros((1, 1), np.float32),
                      'next_state': np.zeros((1, 1), np.float32)}
    write_model_folder(folder, model.SerializeToString(), card, golden_inputs, golden_outputs)


@pytest.fixture(scope='module')
def policy_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('policy') / 'scripted'
    write_scripted_policy(folder)
    return str(folder)


@pytest.fixture
def controller():
    with XArmController(f'127.0.99.{1 + os.getpid() % 250}') as running:
        yield running


class Fingers:
    """Sends both embeddings at 25 Hz, as perception would; `change` may spoil or hold back a prediction."""

    def __init__(self, graph, sha256=ENCODER_SHA256):
        self._publisher = graph.helper.create_publisher(Image, '/tactile/embedding_stamped', STREAM_PUBLISHER)
        self._model_info = graph.helper.create_publisher(String, '/tactile/model_info', LATCHED)
        self._model_info.publish(json_message({'models': [{'sha256': sha256, 'sensors': list(SENSORS)}]}))
        self.change = lambda prediction: prediction
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._stopping.wait(0.04):
            for sensor in SENSORS:
                prediction = self.change(Prediction(time.time_ns(), SensorIdentity(sensor, 'digit'),
                                                    np.full(EMBEDDING_SIZE, 0.5, np.float32)))
                if prediction is not None:
                    self._publisher.publish(stamped_embedding_message(prediction))

    def close(self):
        self._stopping.set()
        self._thread.join(2.0)


@pytest.fixture
def start_fingers(graph):
    """Start the scripted touch; it ends before the graph does."""
    started = []

    def start(**arguments):
        started.append(Fingers(graph, **arguments))
        return started[-1]
    yield start
    for fingers in started:
        fingers.close()


def tilt_deg_of(controller):
    return tilt_from_pose(ArmParameters().upright_pose_mm_deg, controller.measured_pose_mm_deg())


class Pour:
    """A pouring node on the simulated controller, with what it published."""

    def __init__(self, graph, fingers, controller, settings):
        self._graph, self.fingers, self.controller = graph, fingers, controller
        self.phases, self.actions, self.tilts_rad = [], [], []
        graph.listen(String, '/pouring/phase', EVERY_PHASE, lambda message: self.phases.append(message.data))
        graph.listen(TwistStamped, '/pouring/action', 10, self.actions.append)
        graph.listen(JointState, '/pouring/state', 10, lambda message: self.tilts_rad.append(message.position[0]))
        self.node = graph.add(PouringNode, '/', **settings)

    @property
    def tilt_deg(self):
        return tilt_deg_of(self.controller)

    def call(self, name):
        return self._graph.call(Trigger, f'/pouring/{name}')

    def begin(self):
        """Arm, start, and wait until the policy pours."""
        wait_until(lambda: self.node._stamps_ns.keys() == set(SENSORS) and self.node._encoder_problem == '')
        answers = [self.call('arm'), self.call('start')]
        assert all(answer.success for answer in answers), answers
        wait_until(lambda: 'pour' in self.phases)

    def wait_for_fault(self):
        return wait_until(lambda: [phase for phase in self.phases if phase.startswith('fault: ')])[-1]

    def wait_until_upright(self):
        wait_until(lambda: abs(self.tilt_deg) < 0.5 and self.node._motion is None)


@pytest.fixture
def settings(controller, policy_folder):
    return {'policy': policy_folder, 'arm_patience_s': 0.0, 'grasp': False, 'arm.address': controller.host,
            'arm.control_port': controller.control_port, 'arm.dry_run': False,
            # Arm, touch and node share this process, and a busy machine may stop it for longer than the defaults allow.
            'arm.watchdog_timeout_s': 2.5, 'arm.report_age_limit_s': 2.5, 'arm.command_timeout_s': 1.0,
            'arm.call_deadline_s': 3.0, 'task.maximum_embedding_age_s': 2.0, 'task.maximum_embedding_skew_s': 2.0,
            **{f'task.{name}': value for name, value in TASK.items()}}


@pytest.fixture
def pour(controller, settings, graph, start_fingers):
    return Pour(graph, start_fingers(), controller, settings)


def test_a_pour_runs_through_its_phases_and_ends_upright(pour):
    pour.begin()
    wait_until(lambda: pour.phases[-1] == 'done', timeout_s=60)
    assert pour.phases == ['idle', 'baseline', 'approach', 'pour', 'retract', 'done']
    assert abs(pour.tilt_deg) < 0.5
    assert max(pour.tilts_rad) == pytest.approx(math.radians(POUR_UNTIL_DEG), abs=math.radians(0.6))
    poured = [action for action in pour.actions if action.header.frame_id == 'pour']
    assert len(poured) >= 4
    assert {action.twist.angular.y for action in poured} == {math.radians(0.25 * 5.0)}
    assert pour.node._limit_violations == 0


def test_nothing_moves_before_the_arm_is_armed_and_the_pour_started(pour):
    wait_until(lambda: pour.tilts_rad and pour.node._encoder_problem == '' and len(pour.node._stamps_ns) == 2)
    refused = pour.call('start')
    assert not refused.success and 'Call ~/arm first' in refused.message
    assert pour.controller.motion_commands() == []


@pytest.mark.parametrize(('spoil', 'told'), [
    (lambda prediction: None, 'left'),
    (lambda prediction: None if prediction.sensor.name == 'right' else prediction, 'right'),
    (lambda prediction: dataclasses.replace(prediction, embedding=np.full(EMBEDDING_SIZE, np.nan, np.float32)), 'left'),
    (lambda prediction: dataclasses.replace(prediction, stamp_ns=prediction.stamp_ns - 5 * 10**9), 'old'),
])
def test_touch_that_cannot_be_used_ends_in_an_upright_vessel_and_a_latched_fault(pour, spoil, told):
    pour.begin()
    pour.fingers.change = spoil
    fault = pour.wait_for_fault()
    assert told in fault
    pour.wait_until_upright()
    pour.fingers.change = lambda prediction: prediction
    wait_until(lambda: time.time_ns() - min(pour.node._stamps_ns.values()) < 5e8)
    refused = pour.call('start')
    assert not refused.success and 'call ~/arm' in refused.message
    assert pour.call('arm').success
    wait_until(lambda: pour.phases[-1] == 'idle')
    pour.phases.clear()
    assert pour.call('start').success
    wait_until(lambda: 'pour' in pour.phases)


@pytest.fixture
def hang(monkeypatch):
    """Let a method hang until the end of the test, or until the event that this returns is set."""
    may_go_on = threading.Event()

    def hang(owner, name):
        function, hangs = getattr(owner, name), threading.Event()

        def hanging(*arguments, **keywords):
            hangs.set()
            assert may_go_on.wait(WAIT_S), 'it hung until the end of the wait'
            return function(*arguments, **keywords)
        monkeypatch.setattr(owner, name, hanging)
        assert hangs.wait(WAIT_S)
        return may_go_on
    yield hang
    may_go_on.set()


def test_a_decision_that_hangs_is_caught_by_the_watchdog_and_comes_to_nothing(pour, hang):
    pour.begin()
    may_go_on = hang(pour.node._policy, 'decide')
    assert 'no fresh action' in pour.wait_for_fault()
    pour.wait_until_upright()
    written = len(pour.controller.motion_commands())
    may_go_on.set()
    ticks = len(pour.tilts_rad)
    wait_until(lambda: len(pour.tilts_rad) > ticks + 2)
    assert len(pour.controller.motion_commands()) == written


def test_stop_answers_while_a_decision_hangs(pour, graph, hang):
    pour.begin()
    hang(pour.node._policy, 'decide')
    answer = graph.call(Trigger, '/pouring/stop', timeout_s=7.0)
    assert answer.success, answer.message
    assert pour.controller.state == 4


def test_stop_answers_while_a_command_to_the_arm_hangs(controller, settings, graph, start_fingers, hang):
    pour = Pour(graph, start_fingers(), controller, {**settings, 'arm.call_deadline_s': 10.0})
    pour.begin()
    hang(pour.node._arm._main.api, 'set_position')
    answer = graph.call(Trigger, '/pouring/stop', timeout_s=7.0)
    assert answer.success, answer.message
    assert controller.state == 4


def test_a_shutdown_is_not_held_up_by_a_decision_that_hangs(pour, hang):
    pour.begin()
    hang(pour.node._policy, 'decide')
    assert pour.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert abs(pour.tilt_deg) < 0.5
    assert not pour.node.has_crashed, 'it waited for the decision'


def test_stop_stands_still_where_it_is_and_needs_a_new_arming(pour):
    pour.begin()
    answer = pour.call('stop')
    assert answer.success, answer.message
    assert 'stopped' in pour.wait_for_fault()
    where = pour.tilt_deg
    assert where > 1.0
    time.sleep(0.5)
    assert pour.tilt_deg == pytest.approx(where, abs=0.3)
    assert not pour.call('start').success
    assert pour.call('arm').success and pour.call('start').success
    wait_until(lambda: pour.phases[-1] == 'done', timeout_s=60)


def test_an_embedding_of_another_size_is_refused_and_counted(pour):
    pour.begin()
    strange = Prediction(time.time_ns(), SensorIdentity('left', 'digit'), np.zeros(2 * EMBEDDING_SIZE, np.float32))
    for _ in range(3):
        pour.fingers._publisher.publish(stamped_embedding_message(strange))
    wait_until(lambda: pour.node._refused_messages >= 1)
    assert pour.node._embeddings['left'].size == EMBEDDING_SIZE
    assert pour.node.health().values['refused_messages'] >= 1
    wait_until(lambda: pour.phases[-1] == 'done', timeout_s=60)


@pytest.mark.parametrize('content', ['no json', '{"models": [{"sha256": 5, "sensors": ["left", "right"]}]}'])
def test_model_info_that_is_none_is_told(pour, content):
    pour.begin()
    pour.fingers._model_info.publish(String(data=content))
    assert 'model_info is not what a perception node publishes' in pour.wait_for_fault()
    pour.wait_until_upright()
    assert not pour.node.has_crashed


def test_a_fault_of_the_controller_is_told_and_stops_the_pour(pour):
    pour.begin()
    pour.controller.inject_fault(31)
    assert '31' in pour.wait_for_fault()
    assert not pour.call('start').success


def test_a_controller_that_dies_is_a_fault_and_the_node_lives(pour):
    pour.begin()
    pour.controller.kill()
    pour.wait_for_fault()
    assert pour.node.state_label == 'active'


def test_deactivation_during_a_pour_returns_to_upright(pour):
    pour.begin()
    assert pour.node.trigger_deactivate() == TransitionCallbackReturn.SUCCESS
    assert abs(pour.tilt_deg) < 0.5
    assert 'stopped during a pour' in pour.wait_for_fault()


def test_auto_start_arms_and_pours_by_itself(controller, settings, graph, start_fingers):
    pour = Pour(graph, start_fingers(), controller, {**settings, 'auto_start': True, 'grasp': True})
    wait_until(lambda: pour.phases and pour.phases[-1] == 'done', timeout_s=60)


def test_the_embeddings_of_another_encoder_start_no_pour(controller, settings, graph, start_fingers):
    start_fingers(sha256='cd' * 32)
    node = graph.add(PouringNode, '/', **settings)
    wait_until(lambda: 'cdcdcd' in node._encoder_problem and len(node._stamps_ns) == 2)
    graph.call(Trigger, '/pouring/arm')
    refused = graph.call(Trigger, '/pouring/start')
    assert not refused.success and 'cdcdcd' in refused.message


def test_a_dry_run_goes_through_the_phases_without_motion(controller, settings, graph, start_fingers):
    pour = Pour(graph, start_fingers(), controller, {**settings, 'arm.dry_run': True})
    wait_until(lambda: pour.node._stamps_ns.keys() == set(SENSORS) and pour.node._encoder_problem == '')
    assert pour.call('arm').success and pour.call('start').success
    wait_until(lambda: pour.phases[-1] == 'done')
    assert pour.phases == ['idle', 'baseline', 'approach', 'retract', 'done']
    assert controller.motion_commands() == []


@pytest.mark.parametrize(('wrong', 'told'), [
    ({'policy': '/nowhere/policy'}, '/nowhere/policy'),
    ({'arm.control_port': 9}, 'Check'),
    ({'task.approach_tilt_deg': 80.0}, 'arm.approach_limit_deg'),
    ({'task.target_mass_g': 50.0}, 'trained for 60'),
])
def test_what_cannot_pour_stays_unconfigured_with_one_line(settings, graph, wrong, told):
    node = graph.add(PouringNode, '/', active=False, **{**settings, **wrong})
    assert node.trigger_configure() == TransitionCallbackReturn.FAILURE
    assert node.state_label == 'unconfigured'
    assert told in node._last_fault and '\n' not in node._last_fault


def test_the_services_of_a_process_answer_while_embeddings_come_in(controller, settings, graph, start_fingers,
                                                                   start_process):
    tilts = graph.listen(JointState, '/pouring/state', 10)
    start_fingers()
    process = start_process('pouring_node', *arguments_of(settings))
    wait_until(lambda: tilts)

    def call(name):
        return graph.call(Trigger, f'/pouring/{name}')
    assert call('arm').success
    wait_until(lambda: call('start').success)
    assert call('stop').success
    assert not call('start').success
    assert call('arm').success
    process.terminate()
    assert process.end()[0] == 0


def arguments_of(settings):
    return ['--ros-args', *(argument for name, value in settings.items()
                            for argument in ('-p', f'{name}:={json.dumps(value)}'))]


@pytest.fixture
def full_pipe():
    """The end to write to of a pipe that nobody reads and that takes nothing more."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writing, b' ' * 4096)
    os.set_blocking(writing, True)
    yield writing
    os.close(writing)
    os.close(reading)


def test_a_terminal_that_takes_nothing_holds_up_neither_the_pour_nor_the_return(controller, settings, graph,
                                                                                 start_fingers, start_process,
                                                                                 full_pipe):
    phases = graph.listen(String, '/pouring/phase', LATCHED)
    fingers = start_fingers()
    process = start_process('pouring_node', *arguments_of(settings | {'auto_start': True}), output=full_pipe)
    wait_until(lambda: phases and phases[-1].data == 'pour', timeout_s=60)
    fingers.change = lambda prediction: None
    wait_until(lambda: phases[-1].data.startswith('fault: '))
    wait_until(lambda: abs(tilt_deg_of(controller)) < 0.5)
    process.terminate()
    assert process.end()[0] == 0


def test_the_process_returns_to_upright_on_sigterm_and_ends_clean(controller, settings, graph, start_fingers,
                                                                  start_process):
    phases = graph.listen(String, '/pouring/phase', LATCHED)
    start_fingers()
    process = start_process('pouring_node', *arguments_of(settings | {'auto_start': True}))
    wait_until(lambda: phases and phases[-1].data == 'pour', timeout_s=60)
    process.terminate()
    code, output = process.end()
    assert code == 0 and 'Traceback' not in output
    assert abs(tilt_deg_of(controller)) < 0.5
    assert phases[-1].data == 'fault: the node was stopped during a pour'


def test_a_process_that_waits_for_its_arm_says_so_and_can_be_ended(policy_folder, graph, start_process):
    unreachable = {'policy': policy_folder, 'arm.address': '127.0.99.254', 'arm.control_port': 9,
                   **{f'task.{name}': value for name, value in TASK.items()}}

    def start(name, patience_s):
        return start_process('pouring_node', *arguments_of(unreachable | {'arm_patience_s': patience_s}),
                             '-r', f'__node:={name}')
    code, output = start('impatient', 0.0).end()
    assert code == 3 and 'cannot be reached' in output and 'Traceback' not in output
    patient = start('patient', 60.0)
    wait_until(lambda: 'patient' in graph.helper.get_node_names())
    patient.terminate()
    code, output = patient.end()
    assert code == 0 and 'Traceback' not in output
